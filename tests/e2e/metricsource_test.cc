// MetricSources on real parts: kube-apiserver for hub and managed cluster, Redis, hub and collector.
#include <atomic>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "common/kube/http_kube_api.h"
#include "common/kube/kube_config.h"
#include "tests/e2e/collector_fixture.h"
#include "tests/e2e/raw_collector.h"

namespace clusterpulse::testing {
namespace {

using std::chrono::seconds;
using Steady = std::chrono::steady_clock;

constexpr int kObjects = 3000;
const kube::ResourceType kConfigMaps{"", "v1", "configmaps", "ConfigMap", true};

// A kind whose plural no rule of spelling gives.
constexpr std::string_view kOddDefinition = R"(
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: moorage.ms.example.org}
spec:
  group: ms.example.org
  scope: Cluster
  names: {kind: Berth, plural: moorage, singular: berth, listKind: BerthList}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
)";

std::string MapSource(std::string_view namespaces, std::string_view more = "") {
  return fmt::format(R"(
apiVersion: clusterpulse.io/v1alpha1
kind: MetricSource
metadata: {{name: maps}}
spec:
  source: {{apiVersion: v1, kind: ConfigMap, namespaces: {{include: {}}}, labelSelector: {{matchLabels: {{ms: "yes"}}}}}}
  fields:
    - {{name: load, path: .data.load, type: quantity}}
    - {{name: zone, path: ".metadata.labels['example.org/zone']", default: none}}
  computed:
    - {{name: heavy, expression: load > 1, type: boolean}}
  aggregations:
    - {{name: total, function: count}}
    - {{name: load, function: sum, field: load}}
    - {{name: p90, function: percentile, field: load, percentile: 90}}
    - {{name: by_zone, function: count, groupBy: zone}}
    - {{name: heavy_by_zone, function: count, groupBy: zone, filter: {{field: heavy, operator: equals, value: "true"}}}}
  collection: {{batchSize: 400, intervalSeconds: 30}}
  rbac: {{resourceTypeName: map}}
{})",
                     namespaces, more);
}

// Rows of 160 KB each, which no hub takes of all objects at once.
std::string WideSource() {
  std::string fields;
  for (int i = 0; i < 40; ++i) {
    fields += fmt::format("    - {{name: pad{}, path: .no, default: {}}}\n", i, std::string(4000, 'x'));
  }
  return fmt::format(R"(
apiVersion: clusterpulse.io/v1alpha1
kind: MetricSource
metadata: {{name: wide}}
spec:
  source: {{apiVersion: v1, kind: ConfigMap, labelSelector: {{matchLabels: {{ms: "yes"}}}}}}
  fields:
{}  rbac: {{resourceTypeName: wide}}
)",
                     fields);
}

// ConfigMaps 0..kObjects of two namespaces, made by several at once.
void CreateMaps(KubeTestEnv::Server& cluster) {
  const auto config = kube::LoadConnectionConfig({.kubeconfig = cluster.kubeconfig()});
  REQUIRE(config.ok());
  const auto api = kube::HttpKubeApi::Create(*config, {.qps = 1e6, .burst = 1e6});
  REQUIRE(api.ok());
  for (const char* ns : {"ms-a", "ms-b"}) {
    (*api)->Create(kube::kNamespaces, "", fmt::format(R"({{"metadata":{{"name":"{}"}}}})", ns), {}).IgnoreError();
  }
  std::atomic<int> next{0}, failed{0};
  std::vector<std::jthread> makers;
  for (int t = 0; t < 8; ++t) {
    makers.emplace_back([&] {
      for (int i = next++; i < kObjects; i = next++) {
        const std::string body = fmt::format(
            R"({{"metadata":{{"name":"m-{:05}","labels":{{"ms":"yes","example.org/zone":"z{}"}}}},"data":{{"load":"{}m"}}}})",
            i, i % 7, i);
        const auto made = (*api)->Create(kConfigMaps, i % 3 == 0 ? "ms-b" : "ms-a", body, {});
        if (!made.ok() && !kube::IsAlreadyExists(made.status())) ++failed;
      }
    });
  }
  makers.clear();
  REQUIRE(failed == 0);
}

json::Value Document(const RedisServer& redis, const std::string& cluster, const std::string& source,
                     const std::string& what) {
  return AskJson(redis, {"GET", "cluster:" + cluster + ":custom:" + source + ":" + what});
}

json::Value SourceObject(HubFixture& hub, const std::string& name) {
  const auto object = json::Value::Parse(hub.Kubectl({"get", "metricsource", name, "-o", "json"}).out);
  return object.ok() ? *object : json::Value();
}

}  // namespace

TEST_CASE("pulled and pushed, the same cluster gives the same rows, and what is changed holds at once") {
  REQUIRE_REAL_SERVERS();
  REQUIRE_REAL_REDIS({.aof = true});
  CreateMaps(*servers->managed);
  HubFixture hub(*servers, {.redis = redis.get(), .ingester_tls = true});
  REQUIRE(hub.StartConnected());  // harbour, which the hub reads
  hub.ConnectPush("quay", "no-credentials", "  labels: {ring: canary}\n");
  Collector collector(hub, {.cluster = "quay"});
  REQUIRE(hub.WaitForCollector("quay", true));
  const std::string id = hub.ns() + "/maps";
  const auto rows = [&](const std::string& cluster) { return Document(*redis, cluster, id, "resources")["resources"]; };
  const auto values = [&](const std::string& cluster) {
    return Document(*redis, cluster, id, "aggregations")["values"];
  };

  REQUIRE(hub.Apply(MapSource("[ms-a, ms-b]")).exit_code == 0);
  const auto applied = Steady::now();
  REQUIRE(Eventually(seconds(20), [&] { return !rows("harbour").IsNull() && !rows("quay").IsNull(); }));
  WARN("rows of 3,000 objects from both after "
       << std::chrono::duration_cast<std::chrono::milliseconds>(Steady::now() - applied).count() << " ms");
  REQUIRE(rows("harbour").items().size() == kObjects);
  CHECK(rows("harbour").Dump() == rows("quay").Dump());
  CHECK(values("harbour").Dump() == values("quay").Dump());
  CHECK(values("quay")["total"].IntOr() == kObjects);
  CHECK(values("quay")["load"].DoubleOr() == Approx(kObjects * (kObjects - 1) / 2 / 1000.0));
  CHECK(values("quay")["by_zone"]["z0"].IntOr() == 429);
  const json::Value row = rows("quay").items().front();
  CHECK(row["_id"].StringOr() == "ms-a/m-00001");
  CHECK(row["values"].Dump() == R"({"heavy":false,"load":0.001,"zone":"z1"})");
  json::Value object;
  CHECK(Eventually(seconds(10), [&] {
    object = SourceObject(hub, "maps");
    return object["status"]["clusters"]["current"].IntOr() == 2;
  }));
  CAPTURE(object["status"].Dump());
  CHECK(object["status"]["resourcesCollected"].IntOr() == 2 * kObjects);
  CHECK(object["status"]["phase"].StringOr() == "Active");
  CHECK(object["status"]["fieldValidation"].items().size() == 2);

  // What is too large for a batch is cut, and the same on both; it costs nothing else.
  const std::string wide = hub.ns() + "/wide";
  REQUIRE(hub.Apply(WideSource()).exit_code == 0);
  const auto cut = [&](const std::string& cluster) { return Document(*redis, cluster, wide, "resources"); };
  CHECK(Eventually(seconds(30), [&] { return !cut("harbour").IsNull() && !cut("quay").IsNull(); }));
  CHECK(cut("quay")["truncated"].BoolOr());
  CHECK(cut("quay")["resources"].items().size() > 150);
  CHECK(cut("quay")["resources"].Dump() == cut("harbour")["resources"].Dump());
  hub.Kubectl({"delete", "metricsource", "wide"});

  // A change is in force on both within seconds.
  REQUIRE(hub.Apply(MapSource("[ms-b]", "  clusters: {labelSelector: {matchLabels: {ring: canary}}}\n")).exit_code ==
          0);
  CHECK(Eventually(seconds(10), [&] { return rows("quay").items().size() == kObjects / 3; }));
  CHECK(Eventually(seconds(10), [&] { return rows("harbour").IsNull(); }));

  // One that is wrong changes nothing.
  REQUIRE(hub.Apply(MapSource("[ms-a]")).exit_code == 0);
  CHECK(Eventually(seconds(10), [&] { return rows("quay").items().size() == kObjects * 2 / 3; }));
  REQUIRE(hub.Apply(MapSource("[ms-b]", "  computed: [{name: x, expression: nope}]\n")).exit_code == 0);
  CHECK(Eventually(seconds(10), [&] { return SourceObject(hub, "maps")["status"]["phase"].StringOr() == "Error"; }));
  CHECK(rows("quay").items().size() == kObjects * 2 / 3);

  // Nor does it when both sides start again, the collector first and alone.
  collector.process().Kill9();
  hub.hub().Kill9();
  redis->Ask({"DEL", "cluster:quay:custom:" + id + ":resources", "cluster:harbour:custom:" + id + ":resources"});
  collector.Start();
  hub.StartHub();
  CHECK(Eventually(seconds(45), [&] { return rows("quay").items().size() == kObjects * 2 / 3; }));
  CHECK(Eventually(seconds(45), [&] { return rows("harbour").items().size() == kObjects * 2 / 3; }));

  // The last one that goes takes everything with it, on collectors too.
  hub.Kubectl({"delete", "metricsource", "maps"});
  CHECK(Eventually(seconds(10), [&] { return redis->Ask({"KEYS", "*custom*"}).empty(); }));
  CHECK(Eventually(seconds(5), [&] { return collector.Metric("sources_in_force") == 0; }));
  CHECK(redis->Ask({"KEYS", "metricsource*"}).empty());
  CHECK(collector.process().Stop() == 0);
  CHECK(hub.hub().Stop() == 0);
}

TEST_CASE("kinds that are not there yet, or not to be listed, are said and found later") {
  REQUIRE_REAL_SERVERS();
  REQUIRE_REAL_REDIS({.aof = true});
  KubeTestEnv::Server& cluster = *servers->managed;
  HubFixture hub(*servers, {.redis = redis.get()});
  REQUIRE(hub.StartConnected());
  // May read what the hub needs of every cluster, and nothing else.
  const std::string ns = hub.ns();
  WriteFile(servers->env->dir() + "/narrow.yaml", fmt::format(R"(
apiVersion: v1
kind: ServiceAccount
metadata: {{name: {0}, namespace: default}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {0}}}
rules: [{{apiGroups: ["", apps], resources: [nodes, pods, namespaces, deployments], verbs: [list, get, watch]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {0}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {0}}}
subjects: [{{kind: ServiceAccount, name: {0}, namespace: default}}]
)",
                                                              ns));
  REQUIRE(cluster.Kubectl({"apply", "-f", servers->env->dir() + "/narrow.yaml"}).exit_code == 0);
  const std::string token = cluster.RequestToken("default", ns);
  REQUIRE_FALSE(token.empty());
  hub.CreateSecret("narrow-token", token, cluster.ca_pem());
  hub.Connect("narrow", cluster.url(), "narrow-token");
  REQUIRE(hub.WaitFor("narrow", "Connected", "healthy"));

  REQUIRE(hub.Apply(R"(
apiVersion: clusterpulse.io/v1alpha1
kind: MetricSource
metadata: {name: berths}
spec:
  source: {apiVersion: ms.example.org/v1, kind: Berth, scope: Cluster}
  fields: [{name: length, path: .spec.length, type: integer}]
  clusters: {names: [harbour, narrow]}
  collection: {intervalSeconds: 30}
  rbac: {resourceTypeName: berth}
)")
              .exit_code == 0);
  const auto state_of = [&](std::string_view name) -> std::string {
    const json::Value object = SourceObject(hub, "berths");
    for (const json::Value& problem : object["status"]["clusters"]["problems"].items()) {
      if (problem["name"].StringOr() == name) return std::string(problem["state"].StringOr());
    }
    return "";
  };
  CHECK(Eventually(seconds(15), [&] { return state_of("harbour") == "NotInstalled"; }));
  INFO(SourceObject(hub, "berths")["status"].Dump());

  WriteFile(servers->env->dir() + "/odd.yaml", std::string(kOddDefinition));
  REQUIRE(cluster.Kubectl({"apply", "-f", servers->env->dir() + "/odd.yaml"}).exit_code == 0);
  WriteFile(servers->env->dir() + "/berth.yaml",
            "apiVersion: ms.example.org/v1\nkind: Berth\nmetadata: {name: north}\nspec: {length: 120}\n");
  REQUIRE(Eventually(seconds(20), [&] {
    return cluster.Kubectl({"apply", "-f", servers->env->dir() + "/berth.yaml"}).exit_code == 0;
  }));
  json::Value rows;
  CHECK(Eventually(seconds(60), [&] {
    rows = Document(*redis, "harbour", ns + "/berths", "resources")["resources"];
    return !rows.IsNull();
  }));
  REQUIRE(rows.items().size() == 1);
  CHECK(rows.items()[0]["_id"].StringOr() == "north");
  CHECK(rows.items()[0]["values"]["length"].IntOr() == 120);
  CHECK(Eventually(seconds(45), [&] { return state_of("narrow") == "Forbidden"; }));
  CHECK(Eventually(seconds(10), [&] { return state_of("harbour").empty(); }));
  cluster.Kubectl({"delete", "crd", "moorage.ms.example.org", "--wait=false"});
  CHECK(hub.hub().Stop() == 0);
}

TEST_CASE("every replica configures the collectors that it has, whoever leads") {
  REQUIRE_REAL_SERVERS();
  REQUIRE_REAL_REDIS({.aof = true});
  CreateMaps(*servers->managed);
  const HubFixture::Options options{.redis = redis.get(), .flags = {"--leader-elect"}, .ingester_tls = true};
  HubFixture leader(*servers, options);
  HubFixture::Options replica = options;
  replica.replica_of = &leader;
  HubFixture other(*servers, replica);
  REQUIRE(leader.InstallDefinitions());
  leader.ConnectPush("quay", "no-credentials", "  labels: {ring: canary}\n");
  leader.ConnectPush("west");
  leader.StartHub();
  REQUIRE(Eventually(seconds(20), [&] { return leader.Metric("leader", {}) == 1; }));
  other.StartHub();
  Collector quay(leader, {.cluster = "quay"}), west(other, {.cluster = "west"});
  REQUIRE(leader.WaitForCollector("quay", true));
  REQUIRE(leader.WaitForCollector("west", true));
  const std::string id = leader.ns() + "/maps";
  // Sources that the two have, once they are so many; how long that took is said.
  const auto have = [&](double at_quay, double at_west) {
    const auto began = Steady::now();
    const bool is_so = Eventually(seconds(10), [&] {
      return quay.Metric("sources_in_force") == at_quay && west.Metric("sources_in_force") == at_west;
    });
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(Steady::now() - began);
    CHECK(took < seconds(5));  // within 2 s of the change, here with kubectl and a machine that does other things
    return is_so;
  };
  const auto status = [&] { return SourceObject(leader, "maps")["status"]; };
  const auto current = [&](int count) {
    return Eventually(seconds(15), [&] { return status()["clusters"]["current"].IntOr() == count; });
  };

  REQUIRE(leader.Apply(MapSource("[ms-a]")).exit_code == 0);
  CHECK(have(1, 1));
  CHECK(current(2));
  REQUIRE(leader.Apply(MapSource("[ms-a]", "  clusters: {names: [west]}\n")).exit_code == 0);
  CHECK(have(0, 1));
  CHECK(Eventually(seconds(10), [&] { return Document(*redis, "quay", id, "resources").IsNull(); }));
  REQUIRE(leader.Apply(MapSource("[ms-a]", "  enabled: false\n")).exit_code == 0);
  CHECK(have(0, 0));
  CHECK(Eventually(seconds(10), [&] { return status()["phase"].StringOr() == "Disabled"; }));
  REQUIRE(leader.Apply(MapSource("[ms-a]", "  enabled: true\n")).exit_code == 0);
  CHECK(have(1, 1));
  CHECK(current(2));

  // Nobody leads for a while, and a collector is told all the same.
  leader.hub().Kill9();
  REQUIRE(leader.Apply(MapSource("[ms-b]")).exit_code == 0);
  CHECK(Eventually(seconds(10), [&] {
    return Document(*redis, "west", id, "resources")["resources"].items().size() == kObjects / 3;
  }));
  CHECK(Eventually(seconds(45), [&] { return other.Metric("leader", {}) == 1; }));
  CHECK(Eventually(seconds(15), [&] {
    return status()["observedGeneration"].IntOr() == SourceObject(leader, "maps")["metadata"]["generation"].IntOr();
  }));
  leader.Kubectl({"delete", "metricsource", "maps"});
  CHECK(Eventually(seconds(10), [&] { return west.Metric("sources_in_force") == 0; }));
  CHECK(other.hub().Stop() == 0);
}

TEST_CASE("an upstream collector gets the definition, and what it leaves out is computed") {
  REQUIRE_REAL_SERVERS();
  REQUIRE_REAL_REDIS({.aof = true});
  HubFixture hub(*servers, {.redis = redis.get(), .ingester_tls = true});
  REQUIRE(hub.InstallDefinitions());
  hub.ConnectPush("quay");
  hub.StartHub();
  const std::string id = hub.ns() + "/maps";
  REQUIRE(hub.Apply(MapSource("[\"ms-*\"]")).exit_code == 0);
  RawCollector collector(hub, "quay", hub.CollectorToken("quay"), true);
  REQUIRE(Eventually(seconds(10), [&] { return redis->Ask({"EXISTS", "metricsource:" + hub.ns() + ":maps"}) == "1"; }));
  REQUIRE(collector.Register());
  const auto config = collector.client().Await<model::CollectorConfig>();
  REQUIRE(config.has_value());
  REQUIRE(config->metric_sources.size() == 1);
  const auto definition = json::Value::Parse(config->metric_sources[0]);
  REQUIRE(definition.ok());
  CHECK((*definition)["source"]["resource"].StringOr() == "configmaps");
  CHECK((*definition)["fields"].items().at(0)["pathSegments"].Dump() == R"(["data","load"])");

  model::Batch batch = collector.MakeBatch(1, {"n1"});
  model::SourceResult theirs{.source = id, .resource_count = 2};
  theirs.rows = {{"ms-a/x", "ms-a", "x", {}, R"({"load":2.0,"zone":"z1"})"},
                 {"other/y", "other", "y", {}, R"({"load":3,"zone":"z1"})"}};
  theirs.aggregations = {{"total", 2}};
  batch.sources = {theirs, {.source = hub.ns() + "/unknown"}};
  REQUIRE(collector.Send(batch));
  CHECK(Eventually(seconds(10), [&] { return !Document(*redis, "quay", id, "resources").IsNull(); }));
  CHECK(Document(*redis, "quay", id, "resources")["resources"].Dump() ==
        R"([{"_id":"ms-a/x","_name":"x","_namespace":"ms-a","values":{"heavy":true,"load":2,"zone":"z1"}}])");
  CHECK(Document(*redis, "quay", id, "aggregations")["values"].Dump() ==
        R"({"by_zone":{"z1":1},"heavy_by_zone":{"z1":1},"load":2,"p90":2,"total":1})");
  CHECK(redis->Ask({"EXISTS", "cluster:quay:custom:" + hub.ns() + "/unknown:meta"}) == "0");

  // A change reaches it while it is connected, and the end of the last source too.
  REQUIRE(hub.Apply(MapSource("[ms-a]")).exit_code == 0);
  const auto changed = collector.client().Await<model::CollectorConfig>();
  REQUIRE(changed.has_value());
  CHECK(changed->metric_sources.size() == 1);
  CHECK(changed->metric_sources != config->metric_sources);
  hub.Kubectl({"delete", "metricsource", "maps"});
  const auto none = collector.client().Await<model::CollectorConfig>();
  REQUIRE(none.has_value());
  CHECK(none->metric_sources.empty());
  CHECK(hub.hub().Stop() == 0);
}

}  // namespace clusterpulse::testing
