// Taking the hub away: what it leaves behind can be deleted, or used by upstream.
#include <set>

#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>
#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "tests/e2e/hub_fixture.h"

namespace clusterpulse::testing {
namespace {

using std::chrono::seconds;

// Upstream's definition of ClusterConnection: fields, requirements and columns by its published schema.
constexpr char kUpstreamCrd[] = R"(
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: clusterconnections.clusterpulse.io
  annotations: {controller-gen.kubebuilder.io/version: v0.20.1}
spec:
  group: clusterpulse.io
  scope: Namespaced
  names:
    kind: ClusterConnection
    listKind: ClusterConnectionList
    plural: clusterconnections
    singular: clusterconnection
    shortNames: [cc]
  versions:
    - name: v1alpha1
      served: true
      storage: true
      subresources: {status: {}}
      additionalPrinterColumns:
        - {name: Display Name, type: string, jsonPath: .spec.displayName}
        - {name: Endpoint, type: string, jsonPath: .spec.endpoint}
        - {name: Status, type: string, jsonPath: .status.phase}
        - {name: Health, type: string, jsonPath: .status.health}
        - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
      schema:
        openAPIV3Schema:
          type: object
          properties:
            apiVersion: {type: string}
            kind: {type: string}
            metadata: {type: object}
            spec:
              type: object
              required: [credentialsRef, endpoint]
              properties:
                displayName: {type: string}
                endpoint: {type: string}
                credentialsRef:
                  type: object
                  required: [name]
                  properties: {name: {type: string}, namespace: {type: string}}
                labels: {type: object, additionalProperties: {type: string}}
                monitoring:
                  type: object
                  properties: {interval: {type: integer, format: int32}, timeout: {type: integer, format: int32}}
                collectionMode: {type: string, enum: [pull, push], default: pull}
                ingesterAddress: {type: string}
                collectorVersion: {type: string}
            status:
              type: object
              properties:
                phase: {type: string}
                lastSyncTime: {type: string, format: date-time}
                health: {type: string}
                message: {type: string}
                nodes: {type: integer}
                namespaces: {type: integer}
                collectorStatus:
                  type: object
                  required: [connected]
                  properties:
                    connected: {type: boolean}
                    lastHeartbeat: {type: string, format: date-time}
                    version: {type: string}
)";

std::string Finalizers(HubFixture& hub, const std::string& name) {
  return hub.Object(name)["metadata"]["finalizers"].Dump();
}

// What a namespaced kubectl call takes for "everything".
std::string AllTypes(HubFixture& hub) {
  const std::string lines = hub.Kubectl({"api-resources", "--verbs=list,delete", "--namespaced", "-o", "name"}).out;
  const std::vector<std::string> types = absl::StrSplit(lines, '\n', absl::SkipEmpty());
  return absl::StrJoin(types, ",");
}

TEST_CASE("a namespace whose hub was killed can be deleted after uninstall, with all that is in it") {
  REQUIRE_REAL_SERVERS();
  HubFixture hub(*servers, {});
  REQUIRE(hub.StartConnected());
  hub.Connect("quay", servers->managed->url(), "harbour-token");
  hub.Connect("lost", "https://localhost:1", "harbour-token");
  REQUIRE(hub.WaitFor("quay", "Connected", "healthy", seconds(30), false));
  REQUIRE(hub.WaitFor("lost", "Connecting", "unhealthy", seconds(30), false));
  hub.hub().Kill9();

  // There is no namespace controller here: as it does, delete all objects, and finalize the namespace when none is
  // left.
  REQUIRE(hub.Kubectl({"delete", "namespace", hub.ns(), "--wait=false"}).exit_code == 0);
  const std::string types = AllTypes(hub);
  CAPTURE(types);
  REQUIRE(types.find("clusterconnections.clusterpulse.io") != std::string::npos);
  const auto left = [&] {
    const CommandResult result = hub.Kubectl({"get", types, "-o", "name", "--ignore-not-found"});
    std::set<std::string> names = absl::StrSplit(result.out, '\n', absl::SkipEmpty());
    if (result.exit_code != 0) names.insert("kubectl failed");
    std::erase_if(names, [](const std::string& line) { return line.starts_with("Warning:"); });  // old API versions
    return names;
  };
  hub.Kubectl({"delete", types, "--all", "--wait=false"});
  const std::string kind = "clusterconnection.clusterpulse.io/";
  CHECK(Eventually(seconds(20), [&] {
    return left() == std::set<std::string>{kind + "harbour", kind + "lost", kind + "quay"};
  }));

  const CommandResult result = hub.Hub({"uninstall"});
  CAPTURE(result.out);
  CHECK(result.exit_code == 0);
  CHECK(result.out.find("finalizer removed from 3") != std::string::npos);
  CHECK(Eventually(seconds(20), [&] { return left().empty(); }));
  CHECK(hub.Hub({"uninstall"}).exit_code == 0);  // and once more, to be sure

  const TempDir dir;
  const std::string body = dir.File("namespace.json");
  WriteFile(body, fmt::format(R"({{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"{}"}},"spec":{{}}}})",
                              hub.ns()));
  const CommandResult finalized =
      hub.Kubectl({"replace", "--raw", fmt::format("/api/v1/namespaces/{}/finalize", hub.ns()), "-f", body});
  CAPTURE(finalized.out);
  CHECK(finalized.exit_code == 0);
  CHECK(Eventually(seconds(10), [&] {
    return hub.Kubectl({"get", "namespace", hub.ns()}).out.find("NotFound") != std::string::npos;
  }));
}

TEST_CASE("back to upstream: objects, their writability and the store's documents survive the hub") {
  REQUIRE_REAL_SERVERS();
  REQUIRE_REAL_REDIS({.config = {"enable-debug-command yes"}});
  HubFixture hub(*servers, {.redis = redis.get(), .flags = {}});
  REQUIRE(hub.StartConnected());
  hub.Connect("quay", servers->managed->url(), "harbour-token", "  displayName: Quay\n  labels: {ring: canary}\n");
  hub.Connect("odd", "ftp://nowhere", "harbour-token", "  monitoring: {interval: -1, timeout: 0}\n");
  REQUIRE(hub.WaitFor("quay", "Connected", "healthy", seconds(30), false));
  REQUIRE(hub.WaitFor("odd", "Error", "", seconds(30), false));
  CHECK(hub.Kubectl({"patch", "cc", "quay", "--type=json", "-p",
                     R"([{"op":"add","path":"/metadata/finalizers/-","value":"example.com/theirs"}])"})
            .exit_code == 0);
  REQUIRE(hub.hub().Stop() == 0);
  const std::string digest = redis->Ask({"DEBUG", "DIGEST"});
  REQUIRE(digest.size() == 40);

  const CommandResult result = hub.Hub({"uninstall"});
  CAPTURE(result.out);
  CHECK(result.exit_code == 0);
  CHECK(Finalizers(hub, "harbour") == "null");
  CHECK(Finalizers(hub, "odd") == "null");
  CHECK(Finalizers(hub, "quay") == R"(["example.com/theirs"])");

  // Upstream's definition takes the place of ours; what it does not know is no longer served.
  const TempDir dir;
  WriteFile(dir.File("crd.yaml"), kUpstreamCrd);
  const CommandResult applied = hub.Kubectl({"apply", "-f", dir.File("crd.yaml")});
  CAPTURE(applied.out);
  REQUIRE(applied.exit_code == 0);
  REQUIRE(Eventually(seconds(20), [&] {
    const json::Value object = hub.Object("harbour");
    return object["status"]["phase"].StringOr() == "Connected" && object["status"].Find("conditions") == nullptr;
  }));

  for (const char* name : {"harbour", "quay", "odd"}) {
    CAPTURE(name);
    const json::Value before = hub.Object(name);
    // As upstream's hub writes, and as an operator does.
    const CommandResult status = hub.api().Patch(
        fmt::format("/apis/clusterpulse.io/v1alpha1/namespaces/{}/clusterconnections/{}/status", hub.ns(), name),
        R"({"status":{"phase":"Connected","health":"healthy","message":"written by upstream",)"
        R"("lastSyncTime":"2026-01-02T03:04:05Z","collectorStatus":{"connected":true,"version":"v2.3.0"}}})");
    CAPTURE(status.out);
    CHECK(hub.Object(name)["status"]["message"].StringOr() == "written by upstream");
    CHECK(hub.Object(name)["status"]["collectorStatus"]["connected"].BoolOr());
    CHECK(hub.Kubectl({"patch", "cc", name, "--type=merge", "-p", R"({"spec":{"displayName":"renamed"}})"}).exit_code ==
          0);
    CHECK(hub.Kubectl({"label", "cc", name, "fleet=old"}).exit_code == 0);
    CHECK(hub.Object(name)["spec"]["displayName"].StringOr() == "renamed");
    CHECK(hub.Object(name)["spec"]["endpoint"] == before["spec"]["endpoint"]);
  }

  // Nothing of this touched the store, and a reader written for upstream finds all it reads.
  CHECK(redis->Ask({"DEBUG", "DIGEST"}) == digest);
  CHECK(redis->Ask({"SISMEMBER", "clusters:all", "quay"}) == "1");
  const auto document = [&](const std::string& key) {
    const auto value = json::Value::Parse(redis->Ask({"GET", "cluster:quay:" + key}));
    return value.ok() ? *value : json::Value();
  };
  CHECK(document("spec")["displayName"].StringOr() == "Quay");
  CHECK(document("spec")["endpoint"].StringOr() == servers->managed->url());
  CHECK(document("spec")["credentialsRef"]["name"].StringOr() == "harbour-token");
  CHECK(document("labels")["ring"].StringOr() == "canary");
  CHECK(document("status")["health"].StringOr() == "healthy");
  CHECK(document("status")["message"].StringOr() == "Cluster is reachable");
  CHECK_FALSE(document("status")["last_check"].StringOr().empty());
  CHECK(document("info")["api_url"].StringOr() == servers->managed->url());
  CHECK_FALSE(document("info")["version"].StringOr().empty());
  CHECK(document("metrics")["nodes"].IntOr() == 3);
  CHECK_FALSE(redis->Ask({"HGET", "cluster:quay:meta", "last_update"}).empty());
  CHECK(redis->Ask({"SCARD", "cluster:quay:nodes"}) == "3");
  const auto node = json::Value::Parse(redis->Ask({"HGET", "cluster:quay:node:worker-1", "current"}));
  REQUIRE(node.ok());
  CHECK((*node)["name"].StringOr() == "worker-1");

  CHECK(hub.Kubectl({"delete", "cc", "harbour", "odd", "--timeout=10s"}).exit_code == 0);
  hub.Kubectl({"patch", "cc", "quay", "--type=merge", "-p", R"({"metadata":{"finalizers":null}})"});
  CHECK(hub.Kubectl({"delete", "cc", "quay", "--timeout=10s"}).exit_code == 0);
  CHECK(hub.Hub({"crds", "apply"}).exit_code == 0);  // and forward again
}

}  // namespace
}  // namespace clusterpulse::testing
