#include "tests/kubesim/fleet.h"

#include <array>

#include "common/base/status.h"
#include "common/base/time_format.h"
#include "tests/kubesim/fleet_templates.h"

namespace clusterpulse::kubesim {

using json::Value;

namespace {

// Each way to write a quantity, as people do.
constexpr std::array<const char*, 8> kCpuRequests{"100m", "250m", "0.5", "1", "50m", "1500m", "10m", "2e-1"};
constexpr std::array<const char*, 8> kMemoryRequests{"128Mi", "64Mi",    "1Gi",       "256M",
                                                     "1e8",   "100000k", "134217728", "512Mi"};

constexpr std::array<const char*, 26> kClusterOperatorNames{"authentication",
                                                            "baremetal",
                                                            "cloud-credential",
                                                            "cluster-autoscaler",
                                                            "config-operator",
                                                            "console",
                                                            "csi-snapshot-controller",
                                                            "dns",
                                                            "etcd",
                                                            "image-registry",
                                                            "ingress",
                                                            "insights",
                                                            "kube-apiserver",
                                                            "kube-controller-manager",
                                                            "kube-scheduler",
                                                            "kube-storage-version-migrator",
                                                            "machine-api",
                                                            "machine-approver",
                                                            "machine-config",
                                                            "marketplace",
                                                            "monitoring",
                                                            "network",
                                                            "node-tuning",
                                                            "openshift-apiserver",
                                                            "operator-lifecycle-manager",
                                                            "storage"};

constexpr std::string_view kOpenShiftVersion = "4.14.21";

Value Condition(std::string_view type, std::string_view status, std::string_view reason, std::string_view message) {
  return Value::Object{{"type", type},
                       {"status", status},
                       {"reason", reason},
                       {"message", message},
                       {"lastTransitionTime", "2031-04-05T06:00:14Z"}};
}

Value Meta(std::string_view name, std::string_view ns = "") {
  Value meta(Value::Object{{"name", name}});
  if (!ns.empty()) meta.Mutable("namespace") = ns;
  return meta;
}

Value* FindCondition(Value& object, std::string_view type) {
  for (Value& condition : object.Mutable("status").Mutable("conditions").MutableArray()) {
    if (condition["type"].StringOr() == type) return &condition;
  }
  return nullptr;
}

// Marks the pod as one that is not running (any more).
void SetPhase(Value& pod, std::string_view phase) {
  Value& status = pod.Mutable("status");
  status.Mutable("phase") = phase;
  const bool running = phase == "Running";
  for (Value& container : status.Mutable("containerStatuses").MutableArray()) container.Mutable("ready") = running;
  if (Value* ready = FindCondition(pod, "Ready")) ready->Mutable("status") = running ? "True" : "False";
}

}  // namespace

Fleet::Fleet(kube::ObjectStore& store, const FleetOptions& options)
    : store_(store), options_(options), random_(options.seed) {
  // The templates are ours and parse.
  if (auto parsed = Value::Parse(kPodTemplate); parsed.ok()) pod_template_ = *std::move(parsed);
  if (auto parsed = Value::Parse(kNodeTemplate); parsed.ok()) node_template_ = *std::move(parsed);
}

absl::Status Fleet::Seed() {
  if (options_.openshift) store_.Serve(kube::OpenShiftTypes());
  if (options_.openshift || options_.operators > 0) store_.Serve(kube::OperatorLifecycleTypes());
  for (int i = 1; i <= options_.namespaces; ++i) {
    RETURN_IF_ERROR(store_.Put(kube::kNamespaces, Value::Object{{"metadata", Meta("team-" + std::to_string(i))}}));
  }
  for (int i = 1; i <= options_.nodes; ++i) RETURN_IF_ERROR(AddNode(i));
  for (const std::string& node : nodes_) {
    for (int i = 0; i < options_.pods_per_node; ++i) RETURN_IF_ERROR(AddPod(node));
  }
  const int scheduled = pods_made_;
  for (int i = 0; i < scheduled / 50; ++i) RETURN_IF_ERROR(AddPod(""));
  for (int i = 1; i <= options_.deployments; ++i) RETURN_IF_ERROR(AddDeployment(i));
  if (options_.openshift) RETURN_IF_ERROR(AddOpenShift());
  for (int i = 1; i <= options_.operators; ++i) RETURN_IF_ERROR(AddOperator(i));
  return absl::OkStatus();
}

absl::Status Fleet::AddNode(int index) {
  const bool control_plane = index <= 3 && options_.nodes > 3;
  const std::string name = fmt::format("node-{}", index);
  const std::string address = fmt::format("10.{}.{}.{}", random_() % 200, index / 250, index % 250 + 1);
  Value node = node_template_;
  Value& meta = node.Mutable("metadata");
  meta.Mutable("name") = name;
  Value& labels = meta.Mutable("labels");
  labels.Mutable("kubernetes.io/hostname") = name;
  labels.Mutable("kubernetes.io/os") = "linux";
  labels.Mutable("kubernetes.io/arch") = "amd64";
  labels.Mutable("topology.kubernetes.io/zone") = fmt::format("zone-{}", index % 3 + 1);
  labels.Mutable(control_plane ? "node-role.kubernetes.io/master" : "node-role.kubernetes.io/worker") = "";
  for (int i = static_cast<int>(labels.members().size()); i < options_.labels_per_node; ++i) {
    labels.Mutable(fmt::format("fleet.example.net/label-{}", i)) = fmt::format("value-{}", Draw(10));
  }
  const int cpus = 4 << Draw(4);
  Value& status = node.Mutable("status");
  status.Mutable("capacity") = Value::Object{{"cpu", std::to_string(cpus)},
                                             {"memory", fmt::format("{}Ki", cpus * 4 * 1024 * 1024 - 7340)},
                                             {"ephemeral-storage", "103079200Ki"},
                                             {"hugepages-2Mi", "0"},
                                             {"pods", "110"}};
  status.Mutable("allocatable") = Value::Object{{"cpu", fmt::format("{}m", cpus * 1000 - 500)},
                                                {"memory", fmt::format("{}Ki", cpus * 4 * 1024 * 1024 - 1155948)},
                                                {"ephemeral-storage", "94998000153"},
                                                {"hugepages-2Mi", "0"},
                                                {"pods", "110"}};
  status.Mutable("addresses") = Value::Array{Value::Object{{"type", "InternalIP"}, {"address", address}},
                                             Value::Object{{"type", "Hostname"}, {"address", name}}};
  const std::string id = fmt::format("{:016x}{:016x}", random_(), random_());
  for (const char* key : {"machineID", "systemUUID", "bootID"}) status.Mutable("nodeInfo").Mutable(key) = id;
  node.Mutable("spec").Mutable("providerID") = "sim:///" + name;
  nodes_.push_back(name);
  return store_.Put(kube::kNodes, std::move(node)).status();
}

absl::Status Fleet::AddPod(const std::string& node) {
  const std::string ns = Team();
  const std::string name = fmt::format("orders-api-6d5f8c7b94-{:06d}", pods_made_++);
  Value pod = pod_template_;
  Value& meta = pod.Mutable("metadata");
  meta.Mutable("name") = name;
  meta.Mutable("namespace") = ns;
  meta.Mutable("labels").Mutable("app.kubernetes.io/name") = fmt::format("app-{}", Draw(20));
  Value& spec = pod.Mutable("spec");
  const int size = Draw(static_cast<int>(kCpuRequests.size()));
  Value& container = spec.Mutable("containers").MutableArray().front();
  container.Mutable("resources").Mutable("requests") =
      Value::Object{{"cpu", kCpuRequests[static_cast<std::size_t>(size)]},
                    {"memory", kMemoryRequests[static_cast<std::size_t>(size)]}};
  if (Draw(10) == 0) {
    spec.Mutable("initContainers") = Value::Array{
        Value::Object{{"name", "migrate"},
                      {"image", "registry.example.net/shop/migrate:v4.18.2"},
                      {"resources", Value::Object{{"requests", Value::Object{{"cpu", "2"}, {"memory", "300Mi"}}}}}}};
  }
  if (Draw(20) == 0) spec.Mutable("overhead") = Value::Object{{"cpu", "250m"}, {"memory", "120Mi"}};
  const std::string address = fmt::format("10.128.{}.{}", Draw(250), 1 + Draw(250));
  Value& status = pod.Mutable("status");
  if (node.empty()) {
    spec.Erase("nodeName");
    status = Value::Object{{"phase", "Pending"},
                           {"qosClass", "Burstable"},
                           {"conditions", Value::Array{Condition("PodScheduled", "False", "Unschedulable",
                                                                 "0/5 nodes are available: 5 Insufficient cpu.")}}};
  } else {
    spec.Mutable("nodeName") = node;
    status.Mutable("podIP") = address;
    status.Mutable("podIPs") = Value::Array{Value::Object{{"ip", address}}};
    const int dice = Draw(100);
    if (dice >= 91) SetPhase(pod, dice < 94 ? "Pending" : dice < 97 ? "Failed" : "Succeeded");
  }
  pods_.push_back({ns, name});
  return store_.Put(kube::kPods, std::move(pod)).status();
}

absl::Status Fleet::AddDeployment(int index) {
  const std::string name = fmt::format("orders-{}", index);
  const std::string ns = Team();
  const int replicas = 1 + Draw(5);
  const Value labels(Value::Object{{"app.kubernetes.io/name", name}});
  Value pod_spec(Value::Object{
      {"containers", Value::Array{Value::Object{{"name", "api"}, {"image", "registry.example.net/shop/orders:v4"}}}}});
  Value deployment(Value::Object{
      {"metadata", Meta(name, ns)},
      {"spec", Value::Object{{"replicas", replicas},
                             {"selector", Value::Object{{"matchLabels", labels}}},
                             {"template", Value::Object{{"metadata", Value::Object{{"labels", labels}}},
                                                        {"spec", std::move(pod_spec)}}}}},
      {"status", Value::Object{{"observedGeneration", 1},
                               {"replicas", replicas},
                               {"updatedReplicas", replicas},
                               {"readyReplicas", replicas},
                               {"availableReplicas", replicas},
                               {"conditions", Value::Array{Condition("Available", "True", "MinimumReplicasAvailable",
                                                                     "Deployment has minimum availability.")}}}}});
  deployments_.push_back({ns, name});
  return store_.Put(kube::kDeployments, std::move(deployment)).status();
}

absl::Status Fleet::AddOpenShift() {
  RETURN_IF_ERROR(store_.Put(
      kube::kClusterVersions,
      Value::Object{
          {"metadata", Meta("version")},
          {"spec",
           Value::Object{{"channel", "stable-4.14"},
                         {"clusterID", fmt::format("0f0f0f0f-0000-4000-a000-{:012x}", random_() & 0xffffffffffff)}}},
          {"status", Value::Object{{"desired", Value::Object{{"version", kOpenShiftVersion}}},
                                   {"history", Value::Array{Value::Object{{"state", "Completed"},
                                                                          {"version", kOpenShiftVersion}}}},
                                   {"conditions", Value::Array{Condition("Available", "True", "", "Done")}}}}}));
  for (const char* name : kClusterOperatorNames) {
    RETURN_IF_ERROR(store_.Put(
        kube::kClusterOperators,
        Value::Object{
            {"metadata", Meta(name)},
            {"spec", Value::Object()},
            {"status",
             Value::Object{
                 {"conditions", Value::Array{Condition("Available", "True", "AsExpected", "All is well"),
                                             Condition("Progressing", "False", "AsExpected", ""),
                                             Condition("Degraded", "False", "AsExpected", ""),
                                             Condition("Upgradeable", "True", "AsExpected", "")}},
                 {"versions", Value::Array{Value::Object{{"name", "operator"}, {"version", kOpenShiftVersion}}}},
                 {"relatedObjects",
                  Value::Array{Value::Object{
                      {"group", ""}, {"resource", "namespaces"}, {"name", fmt::format("openshift-{}", name)}}}}}}}));
  }
  return store_
      .Put(kube::kRoutes,
           Value::Object{{"metadata", Meta("console", "openshift-console")},
                         {"spec", Value::Object{{"host", fmt::format("console.apps.sim-{}.example.net", options_.seed)},
                                                {"tls", Value::Object{{"termination", "reencrypt"}}},
                                                {"to", Value::Object{{"kind", "Service"}, {"name", "console"}}}}}})
      .status();
}

absl::Status Fleet::AddOperator(int index) {
  const std::string name = fmt::format("operator-{}", index);
  const std::string csv = fmt::format("{}.v1.{}.0", name, index);
  const std::string ns = index % 2 == 1 ? "openshift-operators" : Team();
  const bool all_namespaces = index % 2 == 1;
  RETURN_IF_ERROR(store_.Put(
      kube::kSubscriptions,
      Value::Object{
          {"metadata", Meta(name, ns)},
          {"spec", Value::Object{{"name", name}, {"channel", "stable"}, {"installPlanApproval", "Automatic"}}},
          {"status", Value::Object{{"installedCSV", csv}, {"state", "AtLatestKnown"}}}}));
  Value::Array modes;
  for (const char* mode : {"OwnNamespace", "SingleNamespace", "MultiNamespace", "AllNamespaces"}) {
    const bool supported = (mode == std::string_view("AllNamespaces")) == all_namespaces;
    modes.emplace_back(Value::Object{{"type", mode}, {"supported", supported}});
  }
  Value object(Value::Object{{"metadata", Meta(csv, ns)},
                             {"spec", Value::Object{{"displayName", fmt::format("Operator {}", index)},
                                                    {"version", fmt::format("1.{}.0", index)},
                                                    {"provider", Value::Object{{"name", "Example Net"}}},
                                                    {"installModes", std::move(modes)}}},
                             {"status", Value::Object{{"phase", "Succeeded"}}}});
  object.Mutable("metadata").Mutable("annotations").Mutable("olm.targetNamespaces") = all_namespaces ? "" : ns;
  return store_.Put(kube::kClusterServiceVersions, std::move(object)).status();
}

absl::Status Fleet::Step() {
  const int dice = Draw(100);
  const std::string now = base::FormatSeconds(base::SystemClock().Now());
  // Somebody else may have deleted what is picked: then nothing happens.
  const auto ignore_missing = [](const absl::Status& status) {
    return status.code() == absl::StatusCode::kNotFound ? absl::OkStatus() : status;
  };
  if (dice < 75 && !pods_.empty()) {
    const auto& key = pods_[static_cast<std::size_t>(Draw(static_cast<int>(pods_.size())))];
    const auto edited = store_.Edit(kube::kPods, key, [&](Value& pod) {
      if (Draw(10) == 0 && pod["spec"].Find("nodeName") != nullptr) {
        SetPhase(pod, Draw(4) == 0 ? "Failed" : "Running");
      }
      for (Value& container : pod.Mutable("status").Mutable("containerStatuses").MutableArray()) {
        container.Mutable("restartCount") = container["restartCount"].IntOr() + 1;
      }
      if (Value* ready = FindCondition(pod, "Ready")) ready->Mutable("lastTransitionTime") = now;
    });
    return ignore_missing(edited.status());
  }
  if (dice < 85 && !pods_.empty() && !nodes_.empty()) {
    const auto index = static_cast<std::size_t>(Draw(static_cast<int>(pods_.size())));
    const kube::ObjectKey gone = pods_[index];
    pods_[index] = pods_.back();
    pods_.pop_back();
    RETURN_IF_ERROR(ignore_missing(store_.Delete(kube::kPods, gone).status()));
    return AddPod(nodes_[static_cast<std::size_t>(Draw(static_cast<int>(nodes_.size())))]);
  }
  if (dice < 95 && !nodes_.empty()) {
    const auto& name = nodes_[static_cast<std::size_t>(Draw(static_cast<int>(nodes_.size())))];
    const auto edited = store_.Edit(kube::kNodes, {"", name}, [&](Value& node) {
      for (Value& condition : node.Mutable("status").Mutable("conditions").MutableArray()) {
        condition.Mutable("lastHeartbeatTime") = now;
      }
    });
    return ignore_missing(edited.status());
  }
  if (deployments_.empty()) return absl::OkStatus();
  const auto& key = deployments_[static_cast<std::size_t>(Draw(static_cast<int>(deployments_.size())))];
  const auto edited = store_.Edit(kube::kDeployments, key, [&](Value& deployment) {
    deployment.Mutable("status").Mutable("readyReplicas") =
        Draw(static_cast<int>(deployment["spec"]["replicas"].IntOr(1)) + 1);
  });
  return ignore_missing(edited.status());
}

absl::Status SetNodeReady(kube::ObjectStore& store, const std::string& node, bool ready) {
  return store
      .Edit(kube::kNodes, {"", node},
            [ready](Value& object) {
              Value* condition = FindCondition(object, "Ready");
              if (condition == nullptr) return;
              condition->Mutable("status") = ready ? "True" : "False";
              condition->Mutable("reason") = ready ? "KubeletReady" : "KubeletNotReady";
              condition->Mutable("message") =
                  ready ? "kubelet is posting ready status" : "container runtime is down (simulated)";
              condition->Mutable("lastTransitionTime") = base::FormatSeconds(base::SystemClock().Now());
            })
      .status();
}

absl::Status SetCordoned(kube::ObjectStore& store, const std::string& node, bool cordoned) {
  return store
      .Edit(kube::kNodes, {"", node},
            [cordoned](Value& object) {
              if (cordoned) {
                object.Mutable("spec").Mutable("unschedulable") = true;
              } else {
                object.Mutable("spec").Erase("unschedulable");
              }
            })
      .status();
}

}  // namespace clusterpulse::kubesim
