#include "hub/store/cluster_state.h"

#include <catch2/catch.hpp>

#include "common/base/testing/manual_clock.h"
#include "common/telemetry/registry.h"
#include "hub/store/embedded_store.h"
#include "hub/store/keys.h"
#include "hub/store/metered_store.h"

namespace clusterpulse::store {
namespace {

using namespace std::chrono_literals;
using Strings = std::vector<std::string>;

const ClusterStatus kHealthy{model::Health::kHealthy, "Cluster is reachable"};

// A hub that pulls one cluster into a store in memory.
struct Hub {
  base::ManualClock clock;
  std::unique_ptr<EmbeddedStore> store = *EmbeddedStore::Open({.data_dir = "", .clock = &clock});
  ClusterState state{*store, {.hub_namespace = "hub"}, clock};
  WriterPosition position{"c", *state.AcquireEpoch("c"), "puller", 0};
  std::map<std::string, WriterPosition> leader;  // by cluster
  Cadence cadence;

  ApplyResult Report(const model::ClusterSnapshot& snapshot, const std::vector<ClusterEvent>& events = {}) {
    ++position.seq;
    const auto result = state.Apply(position, snapshot, kHealthy, cadence, events);
    REQUIRE(result.ok());
    return *result;
  }
  // As the leader, which takes the spec with its first write.
  absl::StatusOr<ApplyResult> TryPutSpec(const std::string& cluster, const ClusterSpec& spec) {
    WriterPosition& p = leader[cluster];
    if (p.epoch == 0) p = {cluster, *state.AcquireEpoch(cluster, WriterRole::kSpec), "leader", 0, WriterRole::kSpec};
    ++p.seq;
    return state.PutSpec(p, spec);
  }
  ApplyResult PutSpec(const std::string& cluster, const ClusterSpec& spec) {
    const auto result = TryPutSpec(cluster, spec);
    REQUIRE(result.ok());
    return *result;
  }
  std::string Text(const std::string& key) { return store->Get(key)->value_or("(none)"); }
  std::chrono::seconds Life(const std::string& key) {
    const auto ttl = store->TimeToLive(key);
    INFO(key);
    REQUIRE(ttl.ok());
    return ttl->value_or(0s);
  }
};

std::vector<model::Node> Nodes(const Strings& names) {
  std::vector<model::Node> nodes;
  for (const auto& name : names) {
    nodes.emplace_back();
    nodes.back().name = name;
    nodes.back().status = model::NodeStatus::kReady;
  }
  return nodes;
}

TEST_CASE("a snapshot becomes every document of the contract") {
  Hub hub;
  model::ClusterSnapshot snapshot;
  snapshot.nodes = Nodes({"w1"});
  snapshot.counts = model::ClusterCounts{1, 1, 5, 4, 8, 1024, 3};
  snapshot.namespaces = Strings{"default", "etl"};
  snapshot.info = model::ClusterInfo{.version = "v1.29.3"};
  snapshot.operators = {{.name = "pg"}};
  snapshot.cluster_operators = {{.name = "dns"}};
  CHECK(hub.Report(snapshot, {{"cluster.reconciled", "{\"health\":\"healthy\"}"}}) == ApplyResult::kApplied);
  CHECK(*hub.store->Keys("") == Strings{"cluster:c:cluster_operator:dns",
                                        "cluster:c:cluster_operators",
                                        "cluster:c:cluster_operators:set",
                                        "cluster:c:cluster_operators_summary",
                                        "cluster:c:info",
                                        "cluster:c:meta",
                                        "cluster:c:metrics",
                                        "cluster:c:namespaces",
                                        "cluster:c:namespaces:set",
                                        "cluster:c:node:w1",
                                        "cluster:c:node:w1:metrics",
                                        "cluster:c:nodes",
                                        "cluster:c:nodes:summary",
                                        "cluster:c:operators",
                                        "cluster:c:operators_summary",
                                        "cluster:c:status",
                                        "cluster:c:writer",
                                        "clusterpulse:schema",
                                        "clusters:all",
                                        "events:c"});
  CHECK(*hub.store->SetMembers("clusters:all") == Strings{"c"});
  CHECK(*hub.store->SetMembers("cluster:c:nodes") == Strings{"w1"});
  CHECK(*hub.store->SetMembers("cluster:c:namespaces:set") == Strings{"default", "etl"});
  CHECK(*hub.store->HashGetAll("cluster:c:meta") ==
        std::map<std::string, std::string>{{"last_update", "2031-04-05T06:07:08Z"}});
  CHECK(
      hub.Text("cluster:c:metrics") ==
      R"({"cpu_capacity":8,"deployments":3,"memory_capacity":1024,"namespaces":2,"nodes":1,"nodes_ready":1,"pods":5,"pods_running":4,"timestamp":"2031-04-05T06:07:08Z"})");
  CHECK(hub.store->SortedNewest("cluster:c:node:w1:metrics", 9)->front().second == 1933135628);
  CHECK(
      *hub.store->ListRange("events:c", 9) ==
      Strings{
          R"({"cluster":"c","data":{"health":"healthy"},"timestamp":"2031-04-05T06:07:08Z","type":"cluster.reconciled"})"});
}

TEST_CASE("vanished nodes and operators go with the write that no longer has them") {
  Hub hub;
  hub.Report({.nodes = Nodes({"w1", "w2"}),
              .operators = {{{.name = "pg"}}},
              .cluster_operators = {{{.name = "dns"}, {.name = "auth"}}}});
  hub.Report({.nodes = Nodes({"w2"}), .cluster_operators = {{{.name = "dns"}}}});
  CHECK(*hub.store->Keys("cluster:c:node:") == Strings{"cluster:c:node:w2", "cluster:c:node:w2:metrics"});
  CHECK(*hub.store->SetMembers("cluster:c:nodes") == Strings{"w2"});
  CHECK(*hub.store->Keys("cluster:c:cluster_operator:") == Strings{"cluster:c:cluster_operator:dns"});
  CHECK(hub.Text("cluster:c:operators") != "(none)");  // this pass did not read them
  hub.Report(
      {.operators = std::vector<model::OlmOperator>{}, .cluster_operators = std::vector<model::ClusterOperator>{}});
  CHECK(hub.store->Keys("cluster:c:operators")->empty());
  CHECK(hub.store->Keys("cluster:c:cluster_operator")->empty());
  CHECK(*hub.store->SetMembers("cluster:c:nodes") == Strings{"w2"});
}

TEST_CASE("what a pass could not read stays as it was") {
  Hub hub;
  hub.Report({.counts = model::ClusterCounts{.pods = 5, .deployments = 61}, .namespaces = Strings{"a", "b"}});
  hub.Report({.counts = model::ClusterCounts{.pods = 6, .deployments = std::nullopt}});
  CHECK_THAT(hub.Text("cluster:c:metrics"), Catch::Contains("\"deployments\":61") &&
                                                Catch::Contains("\"namespaces\":2") && Catch::Contains("\"pods\":6"));
  CHECK(*hub.store->SetMembers("cluster:c:namespaces:set") == Strings{"a", "b"});
  // Nothing to carry over: not known is not 0.
  REQUIRE(hub.store->Commit({Delete{"cluster:c:metrics"}}).ok());
  hub.Report({.counts = model::ClusterCounts{.pods = 6, .deployments = std::nullopt}});
  CHECK_THAT(hub.Text("cluster:c:metrics"),
             Catch::Contains("\"pods\":6") && !Catch::Contains("deployments") && !Catch::Contains("namespaces"));
  hub.Report({.counts = model::ClusterCounts{.pods = 7, .deployments = 0}, .namespaces = Strings{}});
  CHECK_THAT(hub.Text("cluster:c:metrics"),
             Catch::Contains("\"deployments\":0") && Catch::Contains("\"namespaces\":0"));
  CHECK(hub.Text("cluster:c:namespaces") == R"({"count":0,"namespaces":[],"timestamp":"2031-04-05T06:07:08Z"})");
  CHECK(hub.store->SetMembers("cluster:c:namespaces:set")->empty());
}

TEST_CASE("lives follow the cadence and are never shorter than upstream's") {
  struct Case {
    std::chrono::seconds interval, operators, cache, info, metrics, operator_life, samples;
  };
  const Case c =
      GENERATE(Case{30s, 300s, 600s, 3600s, 300s, 960s, 3600s}, Case{30s, 60s, 600s, 3600s, 300s, 600s, 3600s},
               Case{3600s, 300s, 10860s, 10860s, 10860s, 10860s, 10860s});
  Hub hub;
  hub.cadence = {c.interval, c.operators};
  hub.Report({.nodes = Nodes({"w1"}),
              .counts = model::ClusterCounts{},
              .namespaces = Strings{"a"},
              .info = model::ClusterInfo{},
              .operators = {{{.name = "pg"}}},
              .cluster_operators = {{{.name = "dns"}}}});
  CHECK(hub.Life("cluster:c:node:w1") == c.cache);
  CHECK(hub.Life("cluster:c:nodes:summary") == c.cache);
  CHECK(hub.Life("cluster:c:namespaces") == c.cache);
  CHECK(hub.Life("cluster:c:namespaces:set") == c.cache);
  CHECK(hub.Life("cluster:c:info") == c.info);
  CHECK(hub.Life("cluster:c:metrics") == c.metrics);
  CHECK(hub.Life("cluster:c:operators") == c.operator_life);
  CHECK(hub.Life("cluster:c:operators_summary") == c.operator_life);
  CHECK(hub.Life("cluster:c:cluster_operators") == c.operator_life);
  CHECK(hub.Life("cluster:c:cluster_operator:dns") == c.operator_life);
  CHECK(hub.Life("cluster:c:node:w1:metrics") == c.samples);
  for (const char* key : {"status", "meta", "nodes"}) CHECK(hub.Life(std::string("cluster:c:") + key) == 0s);
}

TEST_CASE("samples older than the retention are trimmed") {
  Hub hub;
  for (int i = 0; i < 5; ++i) {
    hub.Report({.nodes = Nodes({"w1"})});
    hub.clock.AdvanceBy(1200s);
  }
  // Written at 0, 1200, ..., 4800; what is as old as 3600 s goes too.
  CHECK(hub.store->SortedNewest("cluster:c:node:w1:metrics", 100)->size() == 3);
}

TEST_CASE("removing all labels removes their document") {
  Hub hub;
  hub.PutSpec("c", {.display_name = "C", .labels = {{"ring", "canary"}}});
  CHECK(hub.Text("cluster:c:labels") == R"({"ring":"canary"})");
  CHECK(*hub.store->SetMembers("clusters:all") == Strings{"c"});
  hub.PutSpec("c", {.display_name = "C"});
  CHECK(hub.Text("cluster:c:labels") == "(none)");
}

TEST_CASE("a cluster that cannot be reached says so and keeps its data") {
  Hub hub;
  hub.Report({.nodes = Nodes({"w1"})});
  ++hub.position.seq;
  REQUIRE(hub.state
              .Apply(hub.position, {}, {model::Health::kUnhealthy, "connection refused"}, hub.cadence,
                     {{"cluster.unreachable", "null"}})
              .ok());
  CHECK(hub.Text("cluster:c:status") ==
        R"({"health":"unhealthy","last_check":"2031-04-05T06:07:08Z","message":"connection refused"})");
  CHECK(hub.store->ListRange("events:c", 9)->size() == 1);
  CHECK(*hub.store->SetMembers("cluster:c:nodes") == Strings{"w1"});
}

TEST_CASE("a deposed leader cannot overwrite its successor's spec, and neither disturbs the data") {
  Hub hub;
  CHECK(hub.PutSpec("c", {.display_name = "old", .labels = {{"ring", "old"}}}) == ApplyResult::kApplied);
  const WriterPosition deposed = hub.leader["c"];
  hub.leader["c"] = {"c", *hub.state.AcquireEpoch("c", WriterRole::kSpec), "successor", 0, WriterRole::kSpec};
  CHECK(hub.PutSpec("c", {.display_name = "new"}) == ApplyResult::kApplied);
  WriterPosition late = deposed;
  ++late.seq;
  CHECK(*hub.state.PutSpec(late, {.display_name = "old", .labels = {{"ring", "old"}}}) == ApplyResult::kFenced);
  CHECK_THAT(hub.Text("cluster:c:spec"), Catch::Contains(R"("displayName":"new")"));
  CHECK(hub.Text("cluster:c:labels") == "(none)");
  CHECK(hub.Report({.nodes = Nodes({"w1"})}) == ApplyResult::kApplied);
}

TEST_CASE("dropping the data leaves what the connection says") {
  Hub hub;
  hub.PutSpec("c", {.labels = {{"a", "b"}}});
  hub.Report({.nodes = Nodes({"w1", "w2"}),
              .counts = model::ClusterCounts{},
              .namespaces = Strings{"a"},
              .info = model::ClusterInfo{},
              .operators = {{{.name = "pg"}}},
              .cluster_operators = {{{.name = "dns"}}}},
             {{"cluster.reconciled", "null"}});
  ++hub.position.seq;
  CHECK(*hub.state.DropData(hub.position) == ApplyResult::kApplied);
  CHECK(*hub.store->Keys("") == Strings{"cluster:c:labels", "cluster:c:meta", "cluster:c:spec", "cluster:c:spec_writer",
                                        "cluster:c:status", "cluster:c:writer", "clusterpulse:clusters:hub",
                                        "clusterpulse:schema", "clusters:all", "events:c"});
  const WriterPosition old = hub.position;
  hub.position.epoch = *hub.state.AcquireEpoch("c");
  hub.Report({.nodes = Nodes({"w3"})});
  CHECK(*hub.state.DropData(old) == ApplyResult::kFenced);
  CHECK(*hub.store->SetMembers("cluster:c:nodes") == Strings{"w3"});
}

TEST_CASE("a hub finds the clusters it has put, and no others") {
  Hub hub;
  hub.PutSpec("b", {});
  hub.PutSpec("a", {});
  ClusterState other(*hub.store, {.hub_namespace = "elsewhere"}, hub.clock);
  REQUIRE(other.PutSpec({"x", *other.AcquireEpoch("x", WriterRole::kSpec), "i", 1, WriterRole::kSpec}, {}).ok());
  REQUIRE(hub.store->Commit({SetAdd{"clusters:all", {"upstreams"}}}).ok());
  CHECK(*hub.state.Clusters() == Strings{"a", "b"});
  CHECK(*other.Clusters() == Strings{"x"});
  REQUIRE(hub.state.Remove("a").ok());
  CHECK(*hub.state.Clusters() == Strings{"b"});
}

TEST_CASE("a removed cluster leaves only its events and fences its writer") {
  Hub hub;
  hub.PutSpec("c", {.labels = {{"a", "b"}}});
  hub.PutSpec("c2", {});
  hub.Report({.nodes = Nodes({"w1"}), .namespaces = Strings{"a"}, .cluster_operators = {{{.name = "dns"}}}});
  REQUIRE(hub.state.Remove("c").ok());
  CHECK(*hub.store->Keys("") == Strings{"cluster:c2:spec", "cluster:c2:spec_writer", "clusterpulse:clusters:hub",
                                        "clusterpulse:schema", "clusters:all", "events:c"});
  CHECK(*hub.store->SetMembers("clusters:all") == Strings{"c2"});
  CHECK(hub.store->ListRange("events:c", 1)->front() ==
        R"({"cluster":"c","data":null,"timestamp":"2031-04-05T06:07:08Z","type":"cluster.deleted"})");
  CHECK(hub.Report({.nodes = Nodes({"w1"})}) == ApplyResult::kFenced);
  CHECK(hub.PutSpec("c", {}) == ApplyResult::kFenced);
  CHECK(hub.store->Keys("cluster:c:")->empty());
  REQUIRE(hub.state.Remove("c").ok());
  CHECK(hub.store->ListRange("events:c", 9)->size() == 1);  // a repeat is silent
}

TEST_CASE("a store of a newer version is refused") {
  Hub hub;
  REQUIRE(hub.state.CheckSchema().ok());
  CHECK(hub.Text("clusterpulse:schema") == "1");
  REQUIRE(hub.state.CheckSchema().ok());
  const std::string newer = GENERATE("2", "1.5", "");
  REQUIRE(hub.store->Commit({SetString{"clusterpulse:schema", newer, {}}}).ok());
  CHECK(hub.state.CheckSchema().code() == absl::StatusCode::kFailedPrecondition);
  CHECK(hub.Text("clusterpulse:schema") == newer);
}

TEST_CASE("a store that turns out to be newer is never written to") {
  Hub hub;
  REQUIRE(hub.store->Commit({SetString{"clusterpulse:schema", "2", {}}}).ok());
  CHECK(hub.TryPutSpec("c", {}).status().code() == absl::StatusCode::kFailedPrecondition);
  const auto before = *hub.store->Keys("");
  ++hub.position.seq;
  CHECK(hub.TryPutSpec("c", {}).status().code() == absl::StatusCode::kFailedPrecondition);
  CHECK(hub.state.DropData(hub.position).status().code() == absl::StatusCode::kFailedPrecondition);
  CHECK(hub.state.Apply(hub.position, {}, kHealthy, hub.cadence, {}).status().code() ==
        absl::StatusCode::kFailedPrecondition);
  CHECK(*hub.store->Keys("") == before);
}

TEST_CASE("a store that lost its data is marked again") {
  Hub hub;
  REQUIRE(hub.state.CheckSchema().ok());
  REQUIRE(hub.store->DeletePrefix("cluster").ok());
  CHECK(hub.Report({}) == ApplyResult::kFenced);
  CHECK(hub.PutSpec("c", {}) == ApplyResult::kApplied);
  CHECK(hub.Text("clusterpulse:schema") == "1");
}

TEST_CASE("the life of the cluster's info follows how rarely it is read") {
  Hub hub;
  hub.cadence = {.interval = 30s, .operator_interval = 7200s};
  model::ClusterSnapshot snapshot;
  snapshot.info = model::ClusterInfo{.version = "v1.29.3"};
  hub.Report(snapshot);
  CHECK(hub.Life("cluster:c:info") > 2 * 7200s);
}

TEST_CASE("calls are counted by result") {
  Hub hub;
  telemetry::Registry registry;
  MeteredStore store(*hub.store, registry);
  CHECK(store.Commit({SetString{"k", "v", {}}}).ok());
  CHECK(*store.Get("k") == "v");
  CHECK_FALSE(store.HashGetAll("k").ok());
  const std::string text = registry.Render();
  CHECK_THAT(text,
             Catch::Contains(R"(clusterpulse_hub_store_operations_total{op="commit",result="ok"} 1)") &&
                 Catch::Contains(R"(clusterpulse_hub_store_operations_total{op="hash_get_all",result="error"} 1)") &&
                 Catch::Contains(R"(clusterpulse_hub_store_operation_seconds_count{op="get"} 1)"));
}

}  // namespace
}  // namespace clusterpulse::store
