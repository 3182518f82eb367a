#include "common/survey/survey.h"

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

#include "common/kube/discovery.h"
#include "common/kube/lister.h"
#include "common/kube/object_meta.h"
#include "common/survey/cluster_info.h"
#include "common/survey/cluster_operator.h"
#include "common/survey/node.h"
#include "common/survey/olm.h"
#include "common/survey/pod.h"

namespace clusterpulse::survey {
namespace {

const kube::ObjectKey kClusterVersion{"", "version"};
const kube::ObjectKey kConsoleRoute{"openshift-console", "console"};

std::int64_t SaturatingAdd(std::int64_t a, std::int64_t b) {
  std::int64_t sum;
  if (__builtin_add_overflow(a, b, &sum))
    return a < 0 ? std::numeric_limits<std::int64_t>::min() : std::numeric_limits<std::int64_t>::max();
  return sum;
}

// The object's metadata.name; empty when it has none.
absl::Status ReadName(json::Cursor object, std::string& out) {
  return object.ForEachMember([&](std::string_view key, json::Cursor value) -> absl::Status {
    if (key != "metadata") return absl::OkStatus();
    kube::ObjectMeta meta;
    RETURN_IF_ERROR(kube::ReadMeta(value, kube::MetaParts::kIdentity, meta));
    out = std::move(meta.name);
    return absl::OkStatus();
  });
}

absl::StatusOr<std::vector<model::Node>> ListNodes(kube::KubeApi& api, Unreadable& unreadable,
                                                   const kube::CallOptions& options) {
  std::vector<model::Node> nodes;
  Unreadable odd;
  const auto visit = [&](json::Cursor object) -> absl::Status {
    RETURN_IF_ERROR(ReadNode(object, nodes.emplace_back(), odd));
    if (nodes.back().name.empty()) {
      nodes.pop_back();
      ++odd.objects;
    }
    return absl::OkStatus();
  };
  const auto restart = [&] {
    nodes.clear();
    odd = {};
  };
  const auto listed = kube::ListAll(api, {.resource = kube::kNodes}, visit, restart, options);
  if (!listed.ok()) return base::Annotate(listed.status(), "listing nodes");
  unreadable.quantities += odd.quantities;
  unreadable.objects += odd.objects;
  return nodes;
}

absl::StatusOr<PodTally> TallyPods(kube::KubeApi& api, Unreadable& unreadable, const kube::CallOptions& options) {
  PodTally tally;
  Unreadable odd;
  PodRecord pod;
  const auto visit = [&](json::Cursor object) -> absl::Status {
    RETURN_IF_ERROR(ReadPod(object, pod, odd));
    tally.Add(pod);
    return absl::OkStatus();
  };
  const auto restart = [&] {
    tally.Clear();
    odd = {};
  };
  const auto listed = kube::ListAll(api, {.resource = kube::kPods}, visit, restart, options);
  if (!listed.ok()) return base::Annotate(listed.status(), "listing pods");
  unreadable.quantities += odd.quantities;
  return tally;
}

// An answer of the API server as one JSON object.
absl::Status Project(std::string_view json, std::string_view what,
                     absl::FunctionRef<absl::Status(json::Cursor)> project) {
  json::Parser parser;
  return base::Annotate(parser.Parse(json, project), what);
}

// True when `status` means that the cluster does not serve the resource. Neither answer proves it: 404 comes also while
// a definition is being replaced, and a server authorises before it looks for the resource, so that a token without the
// right gets 403 where there is no such thing. Discovery, which everybody may read and which is asked anew, tells.
bool IsNotServed(kube::KubeApi& api, const kube::ResourceType& resource, const absl::Status& status,
                 const kube::CallOptions& options) {
  if (!kube::IsNotFound(status) && !absl::IsPermissionDenied(status)) return false;
  kube::Discovery discovery(api, base::SystemClock(), {});
  return kube::IsNotFound(discovery.Find(resource.ApiVersion(), resource.kind, options).status());
}

// One object, whose absence (kNotFound) is not that of its definition for a moment.
absl::StatusOr<std::string> GetForSure(kube::KubeApi& api, const kube::ResourceType& resource,
                                       const kube::ObjectKey& key, const kube::CallOptions& options) {
  auto object = api.Get(resource, key, options);
  if (kube::IsNotFound(object.status()) && !IsNotServed(api, resource, object.status(), options)) {
    object = api.Get(resource, key, options);
  }
  return object;
}

}  // namespace

NodesRead JoinPods(std::vector<model::Node> nodes, const PodTally& pods) {
  NodesRead read;
  std::ranges::sort(nodes, {}, &model::Node::name);
  for (auto& node : nodes) {
    SetPods(pods.On(node.name), node);
    if (node.status == model::NodeStatus::kReady) ++read.counts.nodes_ready;
    read.counts.cpu_capacity += node.cpu_capacity;
    read.counts.memory_capacity = SaturatingAdd(read.counts.memory_capacity, node.memory_capacity);
  }
  read.counts.nodes = static_cast<std::int32_t>(nodes.size());
  const model::PodTotals all = pods.All();
  read.counts.pods = all.total;
  read.counts.pods_running = all.running;
  read.nodes = std::move(nodes);
  return read;
}

absl::StatusOr<NodesRead> ReadNodes(kube::KubeApi& api, const kube::CallOptions& options) {
  Unreadable unreadable;
  ASSIGN_OR_RETURN(std::vector<model::Node> nodes, ListNodes(api, unreadable, options));
  ASSIGN_OR_RETURN(const PodTally pods, TallyPods(api, unreadable, options));
  NodesRead read = JoinPods(std::move(nodes), pods);
  read.unreadable = unreadable;
  return read;
}

absl::StatusOr<std::vector<std::string>> ReadNamespaces(kube::KubeApi& api, const kube::CallOptions& options) {
  ASSIGN_OR_RETURN(
      auto listed,
      kube::ListInto<std::string>(api, {.resource = kube::kNamespaces, .metadata_only = true}, ReadName, options),
      "listing namespaces");
  std::erase(listed.items, "");
  std::ranges::sort(listed.items);
  return std::move(listed.items);
}

absl::StatusOr<std::int32_t> CountDeployments(kube::KubeApi& api, const kube::CallOptions& options) {
  std::int32_t count = 0;
  const auto listed = kube::ListAll(
      api, {.resource = kube::kDeployments, .metadata_only = true},
      [&](json::Cursor) {
        ++count;
        return absl::OkStatus();
      },
      [&] { count = 0; }, options);
  if (!listed.ok()) return base::Annotate(listed.status(), "listing deployments");
  return count;
}

absl::StatusOr<model::ClusterInfo> ReadClusterInfo(kube::KubeApi& api, const std::string& endpoint,
                                                   const kube::CallOptions& options) {
  model::ClusterInfo info;
  info.api_url = endpoint;
  if (const auto object = GetForSure(api, kube::kClusterVersions, kClusterVersion, options); object.ok()) {
    RETURN_IF_ERROR(Project(*object, "reading the ClusterVersion",
                            [&](json::Cursor cursor) { return ReadClusterVersion(cursor, info); }));
  } else if (!kube::IsNotFound(object.status()) &&
             !IsNotServed(api, kube::kClusterVersions, object.status(), options)) {
    return base::Annotate(object.status(), "reading the ClusterVersion");
  } else {
    ASSIGN_OR_RETURN(const std::string version, api.GetPath("/version", options), "reading the server's version");
    RETURN_IF_ERROR(Project(version, "reading the server's version",
                            [&](json::Cursor cursor) { return ReadServerVersion(cursor, info); }));
  }
  if (const auto route = api.Get(kube::kRoutes, kConsoleRoute, options); route.ok()) {
    RETURN_IF_ERROR(Project(*route, "reading the console's Route",
                            [&](json::Cursor cursor) { return ReadConsoleRoute(cursor, info); }));
  } else if (!absl::IsPermissionDenied(route.status()) && !kube::IsNotFound(route.status())) {
    return base::Annotate(route.status(), "reading the console's Route");
  }
  if (info.console_url.empty()) info.console_url = DeriveConsoleUrl(endpoint);
  return info;
}

absl::StatusOr<std::vector<model::OlmOperator>> ReadOperators(kube::KubeApi& api, const kube::CallOptions& options) {
  auto subscriptions = kube::ListInto<Subscription>(api, {.resource = kube::kSubscriptions}, ReadSubscription, options);
  if (!subscriptions.ok()) {
    if (IsNotServed(api, kube::kSubscriptions, subscriptions.status(), options)) {
      return std::vector<model::OlmOperator>();
    }
    return base::Annotate(subscriptions.status(), "listing subscriptions");
  }

  // One read per installed CSV, of which there are tens. A list looks cheaper and is not: OLM copies the CSV of every
  // cluster-wide operator into every namespace, and the API server reads and decodes all these copies of hundreds of
  // KiB each before a selector (olm.copiedFrom) drops them; OLM releases without that label would even send them.
  std::vector<model::OlmOperator> operators;
  std::ranges::sort(subscriptions->items, {}, [](const Subscription& s) { return std::tie(s.installed_csv, s.ns); });
  const Subscription* previous = nullptr;
  for (const auto& subscription : subscriptions->items) {
    const kube::ObjectKey key{subscription.ns, subscription.installed_csv};
    if (!kube::IsPathSegment(key.ns) || !kube::IsPathSegment(key.name)) continue;  // nothing installed (yet)
    if (previous != nullptr && previous->ns == key.ns && previous->installed_csv == key.name) continue;
    previous = &subscription;
    const auto object = GetForSure(api, kube::kClusterServiceVersions, key, options);
    if (kube::IsNotFound(object.status())) continue;
    const std::string what = "reading the ClusterServiceVersion " + key.ToString();
    if (!object.ok()) return base::Annotate(object.status(), what);
    ClusterServiceVersion csv;
    RETURN_IF_ERROR(
        Project(*object, what, [&](json::Cursor cursor) { return ReadClusterServiceVersion(cursor, csv); }));
    if (!csv.has_spec || csv.name.empty()) continue;
    operators.push_back(MakeOperator(subscription, csv));
  }
  std::ranges::sort(operators, {}, [](const model::OlmOperator& o) { return std::tie(o.name, o.installed_namespace); });
  return operators;
}

absl::StatusOr<std::vector<model::ClusterOperator>> ReadClusterOperators(kube::KubeApi& api,
                                                                         const kube::CallOptions& options) {
  auto listed =
      kube::ListInto<model::ClusterOperator>(api, {.resource = kube::kClusterOperators}, ReadClusterOperator, options);
  if (!listed.ok()) {
    if (IsNotServed(api, kube::kClusterOperators, listed.status(), options)) {
      return std::vector<model::ClusterOperator>();
    }
    return base::Annotate(listed.status(), "listing cluster operators");
  }
  std::erase_if(listed->items, [](const model::ClusterOperator& o) { return o.name.empty(); });
  std::ranges::sort(listed->items, {}, &model::ClusterOperator::name);
  return std::move(listed->items);
}

}  // namespace clusterpulse::survey
