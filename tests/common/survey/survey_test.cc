#include "common/survey/survey.h"

#include <algorithm>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "common/json/value.h"
#include "common/kube/testing/fake_kube_api.h"

namespace clusterpulse::survey {
namespace {

using kube::FakeKubeApi;
using kube::Verb;

const kube::CallOptions kCall;
constexpr const char* kEndpoint = "https://api.harbour.example.com:6443";

absl::Status ServerError(int code, const char* reason = "") {
  return kube::ToStatus({.code = code, .reason = reason, .message = "no", .retry_after = {}});
}

// Lists answer from scripted pages; everything else fails. For what no real store would hold or do.
class ScriptedLists final : public kube::KubeApi {
 public:
  struct Page {
    std::vector<std::string> objects;
    absl::Status end;  // after the objects
  };
  std::map<std::string, std::vector<Page>> pages;  // by plural; used up in order

  absl::StatusOr<kube::ListPage> List(const kube::ListQuery& query, kube::ItemVisitor visit,
                                      const kube::CallOptions&) override {
    auto& left = pages[query.resource.plural];
    if (left.empty()) return kube::ListPage{"1", ""};
    const Page page = std::move(left.front());
    left.erase(left.begin());
    json::Parser parser;
    for (const auto& object : page.objects) RETURN_IF_ERROR(parser.Parse(object, visit));
    RETURN_IF_ERROR(page.end);
    return kube::ListPage{"1", left.empty() ? "" : fmt::format("more-{}", left.size())};
  }
  absl::Status Watch(const kube::WatchQuery&, kube::WatchVisitor, const kube::CallOptions&) override { return No(); }
  absl::StatusOr<std::string> Get(const kube::ResourceType&, const kube::ObjectKey&,
                                  const kube::CallOptions&) override {
    return No();
  }
  absl::StatusOr<std::string> GetPath(std::string_view, const kube::CallOptions&) override { return No(); }
  absl::StatusOr<std::string> Create(const kube::ResourceType&, std::string_view, std::string_view,
                                     const kube::CallOptions&) override {
    return No();
  }
  absl::StatusOr<std::string> Replace(const kube::ResourceType&, const kube::ObjectKey&, std::string_view,
                                      const kube::CallOptions&) override {
    return No();
  }
  absl::StatusOr<std::string> Patch(const kube::ResourceType&, const kube::ObjectKey&, kube::PatchType,
                                    std::string_view, const kube::PatchOptions&, const kube::CallOptions&) override {
    return No();
  }
  absl::Status Delete(const kube::ResourceType&, const kube::ObjectKey&, const kube::DeleteOptions&,
                      const kube::CallOptions&) override {
    return No();
  }

 private:
  static absl::Status No() { return absl::UnimplementedError("not scripted"); }
};

std::string Node(const std::string& name, const char* ready = "True", bool cordoned = false) {
  return fmt::format(R"({{"metadata":{{"name":"{}"}},"spec":{{"unschedulable":{}}},"status":{{
    "capacity":{{"cpu":"4","memory":"16Gi"}},"allocatable":{{"cpu":"4","memory":"8Gi"}},
    "conditions":[{{"type":"Ready","status":"{}"}}]}}}})",
                     name, cordoned, ready);
}

std::string Pod(const std::string& name, const std::string& node, const char* phase, const char* cpu = "500m",
                const char* memory = "1Gi") {
  return fmt::format(R"({{"metadata":{{"name":"{}","namespace":"shop"}},"spec":{{{}"containers":[
    {{"name":"c","resources":{{"requests":{{"cpu":"{}","memory":"{}"}}}}}}]}},"status":{{"phase":"{}"}}}})",
                     name, node.empty() ? "" : "\"nodeName\":\"" + node + "\",", cpu, memory, phase);
}

void Put(FakeKubeApi& api, const kube::ResourceType& type, const std::string& json) {
  auto value = json::Value::Parse(json);
  REQUIRE(value.ok());
  const auto put = api.store().Put(type, *std::move(value));
  INFO(put.status());
  REQUIRE(put.ok());
}

TEST_CASE("nodes are read with their pods, and the cluster adds them up") {
  FakeKubeApi api;
  Put(api, kube::kNodes, Node("w2"));
  Put(api, kube::kNodes, Node("w1"));
  Put(api, kube::kNodes, Node("w3", "False", true));
  Put(api, kube::kNodes, Node("w4", "True", true));
  Put(api, kube::kPods, Pod("a", "w1", "Running"));
  Put(api, kube::kPods, Pod("b", "w1", "Pending"));
  Put(api, kube::kPods, Pod("c", "w1", "Succeeded"));
  Put(api, kube::kPods, Pod("d", "w2", "Failed"));
  Put(api, kube::kPods, Pod("e", "", "Pending"));        // not scheduled
  Put(api, kube::kPods, Pod("f", "unseen", "Running"));  // on a node that is not listed

  const auto read = ReadNodes(api, kCall);
  REQUIRE(read.ok());
  REQUIRE(read->nodes.size() == 4);
  CHECK(read->nodes[0].name == "w1");
  CHECK(read->nodes[0].pods == model::PodTotals{.running = 1,
                                                .pending = 1,
                                                .succeeded = 1,
                                                .total = 3,
                                                .cpu_requested = 1,
                                                .memory_requested = std::int64_t{2} << 30});
  CHECK(read->nodes[0].cpu_usage_percent == 25);
  CHECK(read->nodes[0].memory_usage_percent == 25);
  CHECK(read->nodes[1].pods == model::PodTotals{.failed = 1, .total = 1});
  CHECK(read->nodes[2].status == model::NodeStatus::kNotReady);
  CHECK(read->nodes[3].status == model::NodeStatus::kSchedulingDisabled);
  CHECK(read->counts == model::ClusterCounts{.nodes = 4,
                                             .nodes_ready = 2,  // exactly Ready: a cordoned one does not count
                                             .pods = 6,
                                             .pods_running = 2,
                                             .cpu_capacity = 16,
                                             .memory_capacity = std::int64_t{64} << 30,
                                             .deployments = std::nullopt});
  CHECK(read->unreadable == Unreadable{});
}

TEST_CASE("a cluster without nodes is read as such") {
  FakeKubeApi api;
  Put(api, kube::kPods, Pod("a", "", "Pending"));
  const auto read = ReadNodes(api, kCall);
  REQUIRE(read.ok());
  CHECK(read->nodes.empty());
  CHECK(read->counts.pods == 1);
}

TEST_CASE("malformed objects never spoil the list") {
  ScriptedLists api;
  api.pages["nodes"] = {{{R"({"metadata":{}})", Node("w1"), "[null]", R"({"metadata":"w9"})",
                          R"({"metadata":{"name":"w2"},"status":{"capacity":{"cpu":"many","memory":"1Gi"}}})"},
                         {}}};
  api.pages["pods"] = {
      {{R"({"spec":7})", Pod("a", "w1", "Running"), R"([])", Pod("b", "w1", "Running", "1", "much")}, {}}};
  const auto read = ReadNodes(api, kCall);
  REQUIRE(read.ok());
  REQUIRE(read->nodes.size() == 2);
  CHECK(read->nodes[0].pods.cpu_requested == 1.5);
  CHECK(read->nodes[0].pods.memory_requested == std::int64_t{1} << 30);
  CHECK(read->nodes[1].memory_capacity == std::int64_t{1} << 30);
  CHECK(read->counts.pods == 4);
  CHECK(read->unreadable == Unreadable{.quantities = 2, .objects = 3});
}

TEST_CASE("totals do not depend on how a list is cut into pages or ordered") {
  std::mt19937 random(20310405);
  std::vector<std::string> pods;
  for (int i = 0; i < 400; ++i) {
    const char* phase = std::vector<const char*>{"Running", "Pending", "Succeeded", "Failed", "Odd"}[random() % 5];
    const auto node = random() % 12;
    pods.push_back(Pod(fmt::format("p{}", i),
                       node < 10    ? fmt::format("w{}", node)
                       : node == 10 ? ""
                                    : "gone",
                       phase, fmt::format("{}{}", random() % 5000, random() % 2 ? "m" : "u").c_str(),
                       fmt::format("{}{}", random() % 5000, random() % 2 ? "Mi" : "m").c_str()));
  }
  std::vector<std::string> nodes;
  for (int i = 0; i < 10; ++i) nodes.push_back(Node(fmt::format("w{}", i)));
  const auto read = [&](const std::function<std::size_t()>& page_size) {
    ScriptedLists api;
    api.pages["nodes"] = {{nodes, {}}};
    for (std::size_t at = 0; at < pods.size();) {
      const std::size_t end = std::min(pods.size(), at + page_size());
      api.pages["pods"].push_back({{pods.begin() + static_cast<long>(at), pods.begin() + static_cast<long>(end)}, {}});
      at = end;
    }
    auto result = ReadNodes(api, kCall);
    REQUIRE(result.ok());
    return *std::move(result);
  };
  const NodesRead whole = read([&] { return pods.size(); });
  CHECK(whole.counts.pods == 400);
  for (int round = 0; round < 20; ++round) {
    std::shuffle(pods.begin(), pods.end(), random);
    const NodesRead split = read([&] { return random() % 60; });  // empty pages too
    REQUIRE(split.nodes == whole.nodes);
    REQUIRE(split.counts == whole.counts);
  }
}

TEST_CASE("an expired continue token starts the tally anew") {
  const absl::Status expired = ServerError(410, "Expired");
  ScriptedLists api;
  api.pages["nodes"] = {{{Node("w1"), Node("gone")}, {}}, {{}, expired}, {{Node("w1")}, {}}, {{Node("w2")}, {}}};
  api.pages["pods"] = {{{Pod("a", "w1", "Running"), Pod("b", "w1", "Running", "odd")}, {}},
                       {{Pod("c", "w1", "Running")}, expired},
                       {{Pod("a", "w1", "Running")}, {}},
                       {{Pod("c", "w2", "Running")}, {}}};
  const auto read = ReadNodes(api, kCall);
  REQUIRE(read.ok());
  REQUIRE(read->nodes.size() == 2);
  CHECK(read->counts.pods == 2);
  CHECK(read->nodes[0].pods.total == 1);
  CHECK(read->nodes[1].pods.total == 1);
  CHECK(read->unreadable == Unreadable{});  // of the pages that count
}

TEST_CASE("long lists are read page by page") {
  FakeKubeApi api;
  for (int i = 0; i < 1203; ++i) Put(api, kube::kPods, Pod(fmt::format("p{:04}", i), "w1", "Running"));
  Put(api, kube::kNodes, Node("w1"));
  const auto read = ReadNodes(api, kCall);
  REQUIRE(read.ok());
  CHECK(read->nodes[0].pods.running == 1203);
  CHECK(api.Count(Verb::kList, "pods") == 3);
}

TEST_CASE("a list that fails is an error that says which, never empty data") {
  struct Case {
    const char* resource;
    absl::Status status;
    absl::StatusCode code;
  };
  const std::vector<Case> cases = {
      {"nodes", absl::UnavailableError("connection refused"), absl::StatusCode::kUnavailable},
      {"nodes", ServerError(404, "NotFound"), absl::StatusCode::kNotFound},
      {"nodes", ServerError(403, "Forbidden"), absl::StatusCode::kPermissionDenied},
      {"pods", ServerError(500), absl::StatusCode::kUnavailable},
      {"pods", ServerError(401, "Unauthorized"), absl::StatusCode::kUnauthenticated},
      {"namespaces", absl::DeadlineExceededError("slow"), absl::StatusCode::kDeadlineExceeded},
      {"namespaces", ServerError(404, "NotFound"), absl::StatusCode::kNotFound},
      {"deployments", ServerError(503), absl::StatusCode::kUnavailable},
      {"deployments", ServerError(404, "NotFound"), absl::StatusCode::kNotFound},
      {"subscriptions", ServerError(403, "Forbidden"), absl::StatusCode::kPermissionDenied},
      {"subscriptions", ServerError(500), absl::StatusCode::kUnavailable},
      {"subscriptions", ServerError(404), absl::StatusCode::kNotFound},
      {"clusteroperators", ServerError(503), absl::StatusCode::kUnavailable},
      {"clusteroperators", ServerError(404), absl::StatusCode::kNotFound},
  };
  for (const auto& c : cases) {
    CAPTURE(c.resource, c.status.ToString());
    FakeKubeApi api;
    api.store().Serve(kube::OpenShiftTypes());
    api.store().Serve(kube::OperatorLifecycleTypes());
    Put(api, kube::kNodes, Node("w1"));
    api.FailNext(Verb::kList, c.resource, c.status);
    const std::string resource = c.resource;
    const absl::Status status = resource == "namespaces"         ? ReadNamespaces(api, kCall).status()
                                : resource == "deployments"      ? CountDeployments(api, kCall).status()
                                : resource == "subscriptions"    ? ReadOperators(api, kCall).status()
                                : resource == "clusteroperators" ? ReadClusterOperators(api, kCall).status()
                                                                 : ReadNodes(api, kCall).status();
    CHECK(status.code() == c.code);
    CHECK(std::string(status.message()).find("listing ") == 0);
    CHECK(kube::GetApiError(status).has_value() == kube::GetApiError(c.status).has_value());
  }
}

TEST_CASE("a kind that its group no longer has is an empty list") {
  FakeKubeApi api;
  std::vector<kube::ServedType> types = kube::OpenShiftTypes();
  std::erase_if(types, [](const kube::ServedType& type) { return type.resource == kube::kClusterOperators; });
  api.store().Serve(types);
  REQUIRE(api.GetPath(kube::kClusterOperators.RootPath(), kCall).ok());
  const auto answer = GENERATE(404, 403);
  api.FailNext(Verb::kList, "clusteroperators", ServerError(answer));
  const auto read = ReadClusterOperators(api, kCall);
  REQUIRE(read.ok());
  CHECK(read->empty());
}

TEST_CASE("a token without the right sees an empty list where the cluster has no such resource") {
  FakeKubeApi api;  // neither OLM nor OpenShift
  api.FailNext(Verb::kList, "subscriptions", ServerError(403, "Forbidden"));
  api.FailNext(Verb::kList, "clusteroperators", ServerError(403, "Forbidden"));
  api.FailNext(Verb::kGet, "clusterversions", ServerError(403, "Forbidden"));
  const auto operators = ReadOperators(api, kCall);
  REQUIRE(operators.ok());
  CHECK(operators->empty());
  const auto cluster_operators = ReadClusterOperators(api, kCall);
  REQUIRE(cluster_operators.ok());
  CHECK(cluster_operators->empty());
  const auto info = ReadClusterInfo(api, kEndpoint, kCall);
  REQUIRE(info.ok());
  CHECK_FALSE(info->is_openshift);
}

TEST_CASE("namespaces and deployments are counted from metadata alone") {
  FakeKubeApi api;
  for (const char* name : {"zeta", "etl-a", "apps"}) {
    Put(api, kube::kNamespaces, fmt::format(R"({{"metadata":{{"name":"{}"}}}})", name));
  }
  auto names = ReadNamespaces(api, kCall);
  REQUIRE(names.ok());
  CHECK(std::is_sorted(names->begin(), names->end()));
  CHECK(*names == std::vector<std::string>{"apps", "default", "etl-a", "kube-system", "zeta"});

  CHECK(CountDeployments(api, kCall).value() == 0);
  for (int i = 0; i < 501; ++i) {
    Put(api, kube::kDeployments, fmt::format(R"({{"metadata":{{"name":"d{}","namespace":"apps"}},"spec":{{}}}})", i));
  }
  CHECK(CountDeployments(api, kCall).value() == 501);
}

TEST_CASE("a plain cluster has no OpenShift and no OLM, which is no error") {
  FakeKubeApi api;
  CHECK(ReadOperators(api, kCall).value().empty());
  CHECK(ReadClusterOperators(api, kCall).value().empty());
  const auto info = ReadClusterInfo(api, "https://k8s.example.com:6443", kCall);
  REQUIRE(info.ok());
  CHECK_FALSE(info->is_openshift);
  CHECK(info->api_url == "https://k8s.example.com:6443");
  CHECK(info->console_url == "https://k8s.example.com:6443");
  CHECK(info->version == "v1.20.2");
  CHECK(info->platform == "linux/amd64");
}

struct OpenShift {
  OpenShift() {
    api.store().Serve(kube::OpenShiftTypes());
    api.store().Serve(kube::OperatorLifecycleTypes());
    Put(api, kube::kClusterVersions,
        R"({"metadata":{"name":"version"},"spec":{"channel":"stable-4.16"},"status":{"desired":{"version":"4.16.3"}}})");
  }
  FakeKubeApi api;
};

TEST_CASE("cluster info on OpenShift comes from its ClusterVersion and console route") {
  OpenShift cluster;
  auto info = ReadClusterInfo(cluster.api, kEndpoint, kCall);
  REQUIRE(info.ok());
  CHECK(info->is_openshift);
  CHECK(info->platform == "OpenShift");
  CHECK(info->version == "4.16.3");
  CHECK(info->console_url == "https://console-openshift-console.apps.harbour.example.com");

  Put(cluster.api, kube::kRoutes,
      R"({"metadata":{"name":"console","namespace":"openshift-console"},"spec":{"host":"console.own.example.com","tls":{}}})");
  info = ReadClusterInfo(cluster.api, kEndpoint, kCall);
  REQUIRE(info.ok());
  CHECK(info->console_url == "https://console.own.example.com");
  CHECK(cluster.api.Count(Verb::kGetPath, "/version") == 0);
}

TEST_CASE("what decides that a cluster is no OpenShift") {
  struct Case {
    const char* name;
    absl::Status cluster_version, route;
    absl::StatusCode expected;
    bool is_openshift;
  };
  const std::vector<Case> cases = {
      {"both readable", {}, {}, absl::StatusCode::kOk, true},
      {"no ClusterVersion", ServerError(404, "NotFound"), {}, absl::StatusCode::kOk, false},
      {"not allowed to see it", ServerError(403, "Forbidden"), {}, absl::StatusCode::kPermissionDenied, true},
      {"server error", ServerError(500), {}, absl::StatusCode::kUnavailable, false},
      {"overload", ServerError(429), {}, absl::StatusCode::kResourceExhausted, false},
      {"time-out", absl::DeadlineExceededError("slow"), {}, absl::StatusCode::kDeadlineExceeded, false},
      {"connection lost", absl::UnavailableError("lost"), {}, absl::StatusCode::kUnavailable, false},
      {"token expired", ServerError(401), {}, absl::StatusCode::kUnauthenticated, false},
      {"route not allowed", {}, ServerError(403, "Forbidden"), absl::StatusCode::kOk, true},
      {"route fails", {}, ServerError(503), absl::StatusCode::kUnavailable, true},
  };
  for (const auto& c : cases) {
    DYNAMIC_SECTION(c.name) {
      OpenShift cluster;
      if (!c.cluster_version.ok()) {
        cluster.api.FailNext(Verb::kGet, "clusterversions", c.cluster_version, FakeKubeApi::kForever);
      }
      if (!c.route.ok()) cluster.api.FailNext(Verb::kGet, "routes", c.route);
      const auto info = ReadClusterInfo(cluster.api, kEndpoint, kCall);
      CHECK(info.status().code() == c.expected);
      if (info.ok()) {
        CHECK(info->is_openshift == c.is_openshift);
        CHECK(info->version == (c.is_openshift ? "4.16.3" : "v1.20.2"));
        CHECK(info->console_url == "https://console-openshift-console.apps.harbour.example.com");
      }
    }
  }
  SECTION("neither readable") {
    FakeKubeApi api;
    api.FailNext(Verb::kGetPath, "/version", ServerError(503));
    CHECK(ReadClusterInfo(api, kEndpoint, kCall).status().code() == absl::StatusCode::kUnavailable);
  }
}

void PutSubscription(FakeKubeApi& api, const char* ns, const char* name, const char* installed) {
  Put(api, kube::kSubscriptions,
      fmt::format(R"({{"metadata":{{"name":"{}","namespace":"{}"}},"spec":{{}},"status":{{"installedCSV":"{}"}}}})",
                  name, ns, installed));
}
void PutCsv(FakeKubeApi& api, const char* ns, const char* name, const char* spec = "{}") {
  Put(api, kube::kClusterServiceVersions,
      fmt::format(R"({{"metadata":{{"name":"{}","namespace":"{}"}},"spec":{},"status":{{"phase":"Succeeded"}}}})", name,
                  ns, spec));
}

TEST_CASE("operators are what subscriptions installed, in name order") {
  OpenShift cluster;
  auto& api = cluster.api;
  PutSubscription(api, "etl-a", "kafka", "kafka.v1");
  PutSubscription(api, "etl-b", "kafka", "kafka.v1");
  PutSubscription(api, "etl-b", "kafka-again", "kafka.v1");  // the same one
  PutSubscription(api, "etl-a", "argo", "argo.v3");
  PutSubscription(api, "etl-a", "pending", "");
  PutSubscription(api, "etl-a", "removed", "gone.v1");
  PutSubscription(api, "etl-a", "evil", "../../nodes");
  PutCsv(api, "etl-a", "kafka.v1");
  PutCsv(api, "etl-b", "kafka.v1");
  PutCsv(api, "etl-a", "argo.v3", R"({"installModes":[{"type":"AllNamespaces","supported":true}]})");
  PutCsv(api, "shop", "argo.v3");     // OLM's copy
  PutCsv(api, "etl-a", "orphan.v1");  // no subscription

  const auto operators = ReadOperators(api, kCall);
  REQUIRE(operators.ok());
  std::vector<std::string> found;
  for (const auto& o : *operators) found.push_back(o.installed_namespace + "/" + o.name);
  CHECK(found == std::vector<std::string>{"etl-a/argo.v3", "etl-a/kafka.v1", "etl-b/kafka.v1"});
  CHECK(operators->front().is_cluster_wide);
  CHECK(api.Count(Verb::kGet, "clusterserviceversions") == 5);  // the one that is gone twice, the copies never
}

TEST_CASE("a ClusterServiceVersion that cannot be read now is an error and does not vanish") {
  OpenShift cluster;
  PutSubscription(cluster.api, "etl-a", "kafka", "kafka.v1");
  PutCsv(cluster.api, "etl-a", "kafka.v1");
  cluster.api.FailNext(Verb::kGet, "clusterserviceversions", ServerError(500));
  const auto status = ReadOperators(cluster.api, kCall).status();
  CHECK(status.code() == absl::StatusCode::kUnavailable);
  CHECK(std::string(status.message()).find("etl-a/kafka.v1") != std::string::npos);
}

TEST_CASE("cluster operators are listed in name order") {
  OpenShift cluster;
  for (const char* name : {"network", "dns", "etcd"}) {
    Put(cluster.api, kube::kClusterOperators,
        fmt::format(
            R"({{"metadata":{{"name":"{}"}},"status":{{"conditions":[{{"type":"Available","status":"True"}}]}}}})",
            name));
  }
  const auto read = ReadClusterOperators(cluster.api, kCall);
  REQUIRE(read.ok());
  REQUIRE(read->size() == 3);
  CHECK((*read)[0].name == "dns");
  CHECK((*read)[2].name == "network");
  CHECK((*read)[1].available);
}

TEST_CASE("a definition that is away for a moment makes nothing vanish") {
  OpenShift cluster;
  PutSubscription(cluster.api, "etl-a", "kafka", "kafka.v1");
  PutCsv(cluster.api, "etl-a", "kafka.v1");
  for (const char* resource : {"clusterversions", "clusterserviceversions"}) {
    cluster.api.FailNext(Verb::kGet, resource, ServerError(404));
  }
  const auto info = ReadClusterInfo(cluster.api, kEndpoint, kCall);
  REQUIRE(info.ok());
  CHECK(info->version == "4.16.3");
  const auto operators = ReadOperators(cluster.api, kCall);
  REQUIRE(operators.ok());
  CHECK(operators->size() == 1);

  // Discovery that cannot answer proves nothing.
  cluster.api.FailNext(Verb::kList, "subscriptions", ServerError(404));
  cluster.api.FailNext(Verb::kGetPath, "/apis/operators.coreos.com/v1alpha1", ServerError(503));
  CHECK(absl::IsNotFound(ReadOperators(cluster.api, kCall).status()));
}

TEST_CASE("a stop request ends a read as cancelled") {
  FakeKubeApi api;
  Put(api, kube::kNodes, Node("w1"));
  std::stop_source stop;
  stop.request_stop();
  kube::CallOptions options;
  options.stop = stop.get_token();
  CHECK(ReadNodes(api, options).status().code() == absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace clusterpulse::survey
