// What an operator does with kubectl, on a simulated server and on a real one alike: the simulation is good enough for
// kubectl, and the real server takes our CustomResourceDefinition.
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "common/kube/http_kube_api.h"
#include "common/telemetry/registry.h"
#include "tests/kubesim/kubesim.h"
#include "tests/support/kube_api_server.h"

namespace clusterpulse::testing {
namespace {

using std::chrono::seconds;

// One API server and the kubectl for it.
struct Cluster {
  std::string name;
  std::string kubectl, kubeconfig, dir;

  std::vector<std::string> Argv(std::vector<std::string> args) const {
    args.insert(args.begin(), {kubectl, "--kubeconfig", kubeconfig, "--cache-dir", dir + "/kubectl-" + name});
    return args;
  }
  CommandResult Kubectl(const std::vector<std::string>& args) const { return RunCommand(Argv(args), {}, seconds(60)); }
  CommandResult Apply(const std::string& yaml) const {
    const std::string file = dir + "/apply.yaml";
    WriteFile(file, yaml);
    return Kubectl({"apply", "-f", file});
  }
  // What the hub does, which kubectl 1.20 cannot.
  absl::Status SetStatus(const std::string& name, const std::string& status) const {
    static telemetry::Registry registry;
    const auto config = kube::ParseKubeConfig(ReadFile(kubeconfig), kubeconfig, ".", "", true);
    if (!config.ok()) return config.status();
    kube::HttpKubeApi::Options options;
    options.metrics = kube::ApiMetrics::Make(registry, "clusterpulse_test");
    const auto api = kube::HttpKubeApi::Create(*config, options);
    if (!api.ok()) return api.status();
    return (*api)
        ->Patch(kube::kClusterConnections, {"default", name}, kube::PatchType::kMerge, "{\"status\":" + status + "}",
                {.subresource = "status"}, {})
        .status();
  }
};

const std::unique_ptr<KubeTestEnv>& Env() {
  static const std::unique_ptr<KubeTestEnv> env = KubeTestEnv::Create();
  return env;
}

kubesim::Kubesim& Simulation() {
  static const auto sim = *kubesim::Kubesim::Create(
      {.clusters = 1, .openshift = 1, .fleet = {.nodes = 2, .pods_per_node = 3}, .dir = Env()->dir()});
  return *sim;
}

Cluster Simulated(const std::string& name) {
  Simulation();
  return {name, Env()->assets() + "/kubectl", Env()->dir() + "/" + name + ".kubeconfig", Env()->dir()};
}

Cluster Real() {
  static const auto server = Env()->StartServer("real");
  if (server == nullptr) std::abort();  // the reason was printed
  return {"real", Env()->assets() + "/kubectl", server->kubeconfig(), Env()->dir()};
}

bool Has(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

struct Step {
  std::vector<std::string> args;
  std::vector<std::string> shown;  // parts of the output
  bool fails = false;
};

void Check(const Cluster& cluster, const Step& step) {
  std::string line = "kubectl";
  for (const std::string& arg : step.args) line += " " + arg;
  const CommandResult result = cluster.Kubectl(step.args);
  CAPTURE(line, result.out);
  CHECK(result.exit_code == (step.fails ? 1 : 0));
  for (const std::string& part : step.shown) {
    CAPTURE(part);
    CHECK(Has(result.out, part));
  }
}

constexpr char kHarbour[] =
    "apiVersion: clusterpulse.io/v1alpha1\n"
    "kind: ClusterConnection\n"
    "metadata: {name: harbour, namespace: default, labels: {ring: canary}}\n"
    "spec:\n"
    "  displayName: Harbour 7\n"
    "  endpoint: https://10.42.0.11:6443\n"
    "  credentialsRef: {name: harbour-credentials}\n";
constexpr char kReady[] =
    R"({"phase":"Connected","health":"healthy","nodes":3,"nodesReady":3,"message":"all is well","conditions":[)"
    R"({"type":"Ready","status":"True","reason":"Connected","message":"all lists succeed","lastTransitionTime":"2026-01-02T03:04:05Z"}]})";

TEST_CASE("an operator's kubectl works on ClusterConnections") {
  if (Env() == nullptr) return;
  const Cluster cluster = GENERATE(as<std::string>(), "hub", "real") == "hub" ? Simulated("hub") : Real();
  CAPTURE(cluster.name);

  const std::string crds = CLUSTERPULSE_SOURCE_DIR "/deploy/crds";
  Check(cluster, {{"apply", "-f", crds}, {"customresourcedefinition.apiextensions.k8s.io/clusterconnections"}});
  Check(cluster, {{"wait", "--for=condition=Established", "crd/clusterconnections.clusterpulse.io", "--timeout=20s"},
                  {"condition met"}});
  Check(cluster, {{"apply", "-f", crds}, {"clusterconnections.clusterpulse.io unchanged"}});

  // Servers publish the schema of a new type after a second or so.
  CHECK(Eventually(seconds(30), [&] { return cluster.Kubectl({"explain", "clusterconnections"}).exit_code == 0; }));
  Check(cluster, {{"explain", "clusterconnections"},
                  {"KIND:     ClusterConnection", "VERSION:  clusterpulse.io/v1alpha1", "A managed cluster and how"}});
  Check(cluster, {{"explain", "clusterconnections.spec"},
                  {"RESOURCE: spec <Object>", "credentialsRef\t<Object> -required-", "endpoint\t<string> -required-",
                   "labels\t<map[string]string>", "Secret with the keys token"}});
  Check(cluster, {{"explain", "cc.spec.monitoring.interval"}, {"FIELD:    interval <integer>", "Seconds between"}});
  Check(cluster,
        {{"explain", "cc.status.conditions"}, {"RESOURCE: conditions <[]Object>", "reason\t<string> -required-"}});
  Check(cluster,
        {{"explain", "cc", "--recursive"}, {"   collectorStatus\t<Object>\n", "      connected\t<boolean>\n"}});
  Check(cluster, {{"explain", "cc.spec.nonsense"}, {"does not exist"}, true});

  CHECK(Has(cluster.Apply(kHarbour).out, "clusterconnection.clusterpulse.io/harbour created"));
  CHECK(Has(cluster.Apply(kHarbour).out, "clusterconnection.clusterpulse.io/harbour unchanged"));
  // kubectl itself looks at the schema first.
  CommandResult refused = cluster.Apply(std::string(kHarbour) + "  endpont: x\n");
  CHECK(refused.exit_code == 1);
  CHECK(Has(refused.out, "unknown field \"endpont\""));
  refused = cluster.Kubectl({"apply", "--validate=false", "-f", cluster.dir + "/apply.yaml"});
  CHECK(refused.exit_code == 0);  // pruned
  Check(cluster, {{"patch", "cc", "harbour", "--type=merge", "-p", R"({"spec":{"collectionMode":"carrier pigeon"}})"},
                  {"ClusterConnection", "\"harbour\" is invalid", "collectionMode", "pull"},
                  true});

  Check(cluster, {{"get", "cc"}, {"NAME", "MODE", "PHASE", "HEALTH", "NODES", "DATA AGE", "harbour", "pull"}});
  Check(cluster, {{"get", "cc", "-o", "wide"}, {"ENDPOINT", "https://10.42.0.11:6443", "Harbour 7"}});
  Check(cluster,
        {{"get", "cc", "-A", "-l", "ring=canary", "-o", "name"}, {"clusterconnection.clusterpulse.io/harbour\n"}});
  Check(cluster, {{"get", "cc", "-l", "ring=stable"}, {"No resources found"}});
  Check(cluster, {{"get", "cc", "harbour", "-o", "jsonpath={.spec.collectionMode}"}, {"pull"}});  // its default
  Check(cluster,
        {{"get", "cc", "mole"}, {"Error from server (NotFound)", "clusterconnections.clusterpulse.io \"mole\""}, true});

  Check(cluster, {{"wait", "--for=condition=Ready", "cc/harbour", "--timeout=1s"}, {"timed out"}, true});
  auto waiting =
      ChildProcess::Start({.argv = cluster.Argv({"wait", "--for=condition=Ready", "cc/harbour", "--timeout=30s"}),
                           .env = {},
                           .unset = {},
                           .output = cluster.dir + "/wait.log"});
  REQUIRE(waiting.ok());
  const absl::Status reported = cluster.SetStatus("harbour", kReady);
  CAPTURE(reported.ToString());
  REQUIRE(reported.ok());
  CHECK(waiting->Wait(seconds(40)) == 0);
  Check(cluster, {{"get", "cc"}, {"Connected", "healthy", "3"}});
  Check(cluster, {{"describe", "cc", "harbour"},
                  {"Name:         harbour", "Endpoint:  ", "https://10.42.0.11:6443", "Phase:    ", "Type:", "Ready",
                   "Nodes Ready:", "all is well", "Events:"}});

  Check(cluster, {{"label", "cc", "harbour", "ring=stable", "--overwrite"}, {"labeled"}});
  Check(cluster, {{"annotate", "cc", "harbour", "clusterpulse.io/paused=true"}, {"annotated"}});
  Check(cluster,
        {{"patch", "cc", "harbour", "--type=merge", "-p", R"({"spec":{"displayName":"Harbour 8"}})"}, {"patched"}});
  Check(cluster, {{"get", "cc", "harbour", "-o", "yaml"},
                  {"ring: stable", "clusterpulse.io/paused: \"true\"", "displayName: Harbour 8", "phase: Connected"}});

  // Held by a finalizer, as the hub's are, then let go.
  const auto finalizers = [](const char* list) { return std::string(R"({"metadata":{"finalizers":)") + list + "}}"; };
  Check(cluster,
        {{"patch", "cc", "harbour", "--type=merge", "-p", finalizers(R"(["clusterpulse.io/cleanup"])")}, {"patched"}});
  Check(cluster, {{"delete", "cc", "harbour", "--timeout=1s"}, {"timed out"}, true});
  Check(cluster, {{"get", "cc", "harbour", "-o", "jsonpath={.metadata.deletionTimestamp}"}, {"T"}});
  Check(cluster, {{"patch", "cc", "harbour", "--type=merge", "-p", finalizers("null")}, {"patched"}});
  Check(cluster, {{"get", "cc", "harbour"}, {"NotFound"}, true});

  CHECK(Has(cluster.Apply(kHarbour).out, "created"));
  Check(cluster, {{"delete", "cc", "--all", "--timeout=30s"}, {"\"harbour\" deleted"}});
  Check(cluster, {{"get", "cc"}, {"No resources found"}});
  Check(cluster, {{"delete", "-f", crds, "--timeout=30s"}, {"deleted"}});
  Check(cluster, {{"get", "crd", "clusterconnections.clusterpulse.io"}, {"NotFound"}, true});
}

TEST_CASE("kubectl shows a simulated fleet") {
  if (Env() == nullptr) return;
  const Cluster cluster = Simulated("cluster-1");
  const std::string pod = cluster
                              .Kubectl({"get", "pods", "-A", "--field-selector=spec.nodeName=node-1", "-o",
                                        "jsonpath={.items[0].metadata.namespace} {.items[0].metadata.name}"})
                              .out;
  const auto blank = pod.find(' ');
  REQUIRE(blank != pod.npos);
  Check(cluster, {{"version"}, {"v1.20.2"}});
  Check(cluster, {{"api-resources"}, {"nodes", "deployments", "clusteroperators", "customresourcedefinitions"}});
  Check(cluster, {{"get", "nodes"}, {"NAME", "STATUS", "ROLES", "node-1", "node-2", "Ready", "worker"}});
  Check(cluster,
        {{"get", "nodes,namespaces,deployments", "-A"}, {"node/node-1", "namespace/team-1", "deployment.apps/"}});
  Check(cluster, {{"get", "pods", "-A"}, {"READY", "RESTARTS", "Running"}});
  Check(cluster, {{"get", "clusterversion", "version", "-o", "jsonpath={.status.desired.version}"}, {"4."}});
  Check(cluster,
        {{"describe", "node", "node-1"}, {"Capacity:", "Allocatable:", "KubeletReady", "Non-terminated Pods:"}});
  Check(cluster, {{"describe", "pod", "-n", pod.substr(0, blank), pod.substr(blank + 1)}, {"node-1", "Containers:"}});
  Check(cluster, {{"wait", "--for=condition=Ready", "node/node-1", "--timeout=5s"}, {"condition met"}});
  Check(cluster, {{"cordon", "node-1"}, {"node/node-1 cordoned"}});
  Check(cluster, {{"get", "node", "node-1"}, {"Ready,SchedulingDisabled"}});
  Check(cluster, {{"uncordon", "node-1"}, {"node/node-1 uncordoned"}});
  Check(cluster, {{"create", "configmap", "-n", "default", "m", "--from-literal=a=b"}, {"created"}});
  Check(cluster, {{"delete", "configmap", "-n", "default", "m"}, {"deleted"}});
}

}  // namespace
}  // namespace clusterpulse::testing
