// The manifests under deploy/ against the product: a real API server takes each of them, and both programs read a
// cluster, with all that they read of one in place, with no more rights than the sample's ClusterRole grants.
#include <filesystem>

#include <absl/strings/ascii.h>
#include <absl/strings/escaping.h>
#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "tests/e2e/collector_fixture.h"

namespace clusterpulse::testing {
namespace {

using std::chrono::seconds;

const std::string kDeploy = CLUSTERPULSE_SOURCE_DIR "/deploy";
constexpr const char* kNamespace = "clusterpulse-system";  // of the samples

bool Contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

// What OLM and OpenShift bring along, as far as it is read.
std::string Definition(const std::string& kind, const std::string& group, const std::string& version, bool namespaced) {
  return fmt::format(
      "apiVersion: apiextensions.k8s.io/v1\n"
      "kind: CustomResourceDefinition\n"
      "metadata: {{name: {0}s.{1}}}\n"
      "spec:\n"
      "  group: {1}\n"
      "  scope: {2}\n"
      "  names: {{kind: {3}, plural: {0}s}}\n"
      "  versions:\n"
      "    - name: {4}\n"
      "      served: true\n"
      "      storage: true\n"
      "      schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}\n"
      "---\n",
      absl::AsciiStrToLower(kind), group, namespaced ? "Namespaced" : "Cluster", kind, version);
}
constexpr char kObjects[] = R"(
apiVersion: v1
kind: Namespace
metadata: {name: openshift-console}
---
apiVersion: config.openshift.io/v1
kind: ClusterVersion
metadata: {name: version}
status: {desired: {version: 4.15.7}, history: [{state: Completed, version: 4.15.7}]}
---
apiVersion: config.openshift.io/v1
kind: ClusterOperator
metadata: {name: dns}
status: {conditions: [{type: Available, status: "True"}, {type: Degraded, status: "False"}]}
---
apiVersion: route.openshift.io/v1
kind: Route
metadata: {name: console, namespace: openshift-console}
spec: {host: console.shore.example.com}
---
apiVersion: operators.coreos.com/v1alpha1
kind: Subscription
metadata: {name: cart, namespace: default}
spec: {name: cart}
status: {installedCSV: cart.v1.2.3}
---
apiVersion: operators.coreos.com/v1alpha1
kind: ClusterServiceVersion
metadata: {name: cart.v1.2.3, namespace: default}
spec: {displayName: Cart, version: 1.2.3}
status: {phase: Succeeded}
)";

void CheckApply(const KubeTestEnv::Server& api, const std::string& file) {
  // A new type is not served at once.
  CommandResult applied;
  const bool ok = Eventually(seconds(20), [&] {
    applied = api.Kubectl({"apply", "-f", file});
    return applied.exit_code == 0;
  });
  CAPTURE(file, applied.out);
  REQUIRE(ok);
}

std::string KubeconfigFor(const KubeTestEnv::Server& api, const std::string& token) {
  return fmt::format(R"({{"apiVersion":"v1","kind":"Config","current-context":"c",)"
                     R"("clusters":[{{"name":"c","cluster":{{"server":"{}","certificate-authority-data":"{}"}}}}],)"
                     R"("users":[{{"name":"u","user":{{"token":"{}"}}}}],)"
                     R"("contexts":[{{"name":"c","context":{{"cluster":"c","user":"u"}}}}]}})",
                     api.url(), absl::Base64Escape(api.ca_pem()), token);
}

// The Deployment of the sample: everything in it that names something of the program's.
void CheckDeployment(const KubeTestEnv::Server& api, const Collector& collector) {
  const auto deployment = json::Value::Parse(
      api.Kubectl({"-n", kNamespace, "get", "deployment", "clusterpulse-collector", "-o", "json"}).out);
  REQUIRE(deployment.ok());
  const json::Value& pod = (*deployment)["spec"]["template"]["spec"];
  CHECK(pod["serviceAccountName"].StringOr() == "clusterpulse-collector");
  REQUIRE(pod["containers"].items().size() == 1);
  const json::Value& container = pod["containers"].items()[0];
  const std::string help = RunCommand({BinDir() + "/clusterpulse-collector", "--help"}).out;
  REQUIRE_FALSE(container["env"].items().empty());
  for (const json::Value& variable : container["env"].items()) {
    const std::string name(variable["name"].StringOr());
    CAPTURE(name);
    CHECK(Contains(help, "[" + name + "]"));
  }
  for (const json::Value& port : container["ports"].items()) {
    CAPTURE(port.Dump());
    CHECK(Contains(help, fmt::format(":{}", port["containerPort"].IntOr())));
  }
  for (const char* probe : {"livenessProbe", "readinessProbe"}) {
    CAPTURE(probe);
    CHECK(collector.Probe(std::string(container[probe]["httpGet"]["path"].StringOr())).code == 200);
  }
}

// With the rights of the samples every sample source runs, where its kind is served.
void CheckSources(const std::string& kubeconfig) {
  std::string ran;
  for (const auto& entry : std::filesystem::directory_iterator(kDeploy + "/samples/metricsources")) {
    CommandResult tried;
    // The server takes a moment to know of new rights.
    const bool is_allowed = Eventually(seconds(20), [&] {
      tried = RunCommand(
          {BinDir() + "/clusterpulse-hub", "metricsource", "try", entry.path().string(), "--kubeconfig", kubeconfig});
      return tried.exit_code == 0 || Contains(tried.out, ": NotInstalled: ");
    });
    CAPTURE(entry.path(), tried.out);
    CHECK(is_allowed);
    if (tried.exit_code == 0) ran += entry.path().stem().string() + " ";
  }
  for (const char* name : {"pvc-capacity", "deployment-health", "node-pressure", "failed-jobs", "ingress-hosts",
                           "image-versions", "openshift-version-history"}) {
    CAPTURE(name, ran);
    CHECK(Contains(ran, name));
  }
}

TEST_CASE("the samples are taken by the API server and are all the rights that the programs need") {
  REQUIRE_REAL_SERVERS();
  TempDir dir;
  const auto shore = servers->env->StartServer("shore");
  REQUIRE(shore != nullptr);
  WriteFile(dir.File("definitions.yaml"),
            Definition("Subscription", "operators.coreos.com", "v1alpha1", true) +
                Definition("ClusterServiceVersion", "operators.coreos.com", "v1alpha1", true) +
                Definition("ClusterOperator", "config.openshift.io", "v1", false) +
                Definition("ClusterVersion", "config.openshift.io", "v1", false) +
                Definition("Route", "route.openshift.io", "v1", true));
  WriteFile(dir.File("objects.yaml"), kObjects);
  CheckApply(*shore, dir.File("definitions.yaml"));
  CheckApply(*shore, dir.File("objects.yaml"));
  shore->CreateNode("pier-1", true);
  CheckApply(*shore, kDeploy + "/crds");
  REQUIRE(shore->Kubectl({"create", "namespace", kNamespace, "--save-config"}).exit_code == 0);
  // kubectl finds unknown fields by the published schema, which comes a second or so later.
  REQUIRE(Eventually(seconds(30), [&] {
    return shore->Kubectl({"explain", "clusterconnections"}).exit_code == 0 &&
           shore->Kubectl({"explain", "metricsources"}).exit_code == 0;
  }));

  int files = 0;
  for (const char* folder : {"crds", "samples"}) {
    for (const auto& entry : std::filesystem::directory_iterator(kDeploy + "/" + folder)) {
      const CommandResult applied = shore->Kubectl({"apply", "--dry-run=server", "-f", entry.path().string()});
      CAPTURE(entry.path(), applied.out);
      CHECK(applied.exit_code == 0);
      CHECK_FALSE(Contains(applied.out, "Warning"));
      ++files;
    }
  }
  CHECK(files >= 5);

  CheckApply(*shore, kDeploy + "/samples/collector.yaml");
  const std::string token = shore->RequestToken(kNamespace, "clusterpulse-collector");
  WriteFile(dir.File("kubeconfig"), KubeconfigFor(*shore, token));

  HubFixture hub(*servers, {.redis = nullptr, .flags = {}});
  REQUIRE(hub.InstallDefinitions());
  hub.ConnectPush("pushed");
  hub.CreateSecret("shore-token", token, shore->ca_pem());
  hub.Connect("pulled", shore->url(), "shore-token");
  hub.StartHub();
  Collector collector(hub, {.cluster = "pushed", .kubeconfig = dir.File("kubeconfig")});
  for (const char* name : {"pushed", "pulled"}) {
    CHECK(hub.WaitUntil(name, seconds(30), [](const json::Value& object) {
      const json::Value& status = object["status"];
      return status["phase"].StringOr() == "Connected" && status["health"].StringOr() == "healthy" &&
             status["version"].StringOr() == "4.15.7";
    }));
  }
  // All there is to read was read: nothing was forbidden, and nothing was missing.
  CHECK(Eventually(seconds(10), [&] { return collector.Probe("/readyz").code == 200; }));
  const std::string ready = collector.Probe("/readyz").body;
  CAPTURE(ready, collector.Log());
  CHECK(Contains(ready, "degraded: nothing"));
  for (const char* resource : {"nodes", "pods", "namespaces", "deployments"}) {
    CAPTURE(resource);
    CHECK(collector.Metric("watch_lists_total", {fmt::format("resource=\"{}\"", resource)}) == 1);
  }
  for (const char* code : {"code=\"403\"", "code=\"404\""}) {
    CAPTURE(code);
    CHECK(collector.Metric("kube_requests_total", {code}) == 0);
    CHECK(hub.Metric("kube_requests_total", {"cluster=\"pulled\"", code}) == 0);
  }
  CHECK(hub.Metric("kube_requests_total", {"cluster=\"pulled\"", "code=\"200\""}) > 0);
  CheckDeployment(*shore, collector);
  CHECK(collector.process().Stop() == 0);

  // Last: the rights above were to be enough without these.
  CheckApply(*shore, kDeploy + "/samples/metricsources-rbac.yaml");
  CheckSources(dir.File("kubeconfig"));
}

}  // namespace
}  // namespace clusterpulse::testing
