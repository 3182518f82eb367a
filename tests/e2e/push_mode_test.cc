// Push mode on real parts: kube-apiserver for hub and managed cluster, Redis, both binaries, TLS between them.
#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "common/base/time_format.h"
#include "tests/e2e/collector_fixture.h"
#include "tests/e2e/raw_collector.h"

namespace clusterpulse::testing {
namespace {

using std::chrono::seconds;
using Steady = std::chrono::steady_clock;

// A running pod on worker-1 and one that waits for a node, in a namespace of their own.
void CreatePods(KubeTestEnv& env, KubeTestEnv::Server& cluster, const std::string& ns) {
  std::string yaml = fmt::format(
      "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {0}}}\n---\n"
      "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: default, namespace: {0}}}\n",
      ns);
  for (const char* spec : {"running, nodeName: worker-1", "waiting, nodeName: \"\""}) {
    const std::string_view text(spec);
    yaml += fmt::format(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {}, namespace: {}}}\n"
        "spec: {{{}, automountServiceAccountToken: false, containers: [{{name: c, image: none}}]}}\n",
        text.substr(0, text.find(',')), ns, text.substr(text.find(',') + 2));
  }
  WriteFile(env.dir() + "/pods.yaml", yaml);
  const CommandResult created = cluster.Kubectl({"create", "-f", env.dir() + "/pods.yaml"});
  INFO(created.out);
  REQUIRE(created.exit_code == 0);
  cluster.Patch(fmt::format("/api/v1/namespaces/{}/pods/running/status", ns), R"({"status":{"phase":"Running"}})");
}

TEST_CASE("a collector connects, its cluster is served, and what changes there shows at once") {
  REQUIRE_REAL_SERVERS();
  REQUIRE_REAL_REDIS({.aof = true});
  HubFixture hub(*servers, {.redis = redis.get(), .flags = {"--leader-elect"}, .ingester_tls = true});
  REQUIRE(hub.InstallDefinitions());
  hub.ConnectPush("quay");
  hub.StartHub();
  REQUIRE(hub.WaitForCollector("quay", false));
  CHECK(HubFixture::Condition(hub.Object("quay"), "CollectorConnected", "reason") == "WaitingForCollector");
  CHECK(hub.Object("quay")["status"]["collectorStatus"]["tokenSecret"].StringOr() == "quay-collector-token");

  Collector collector(hub, {.cluster = "quay"});
  REQUIRE(Eventually(seconds(20), [&] { return collector.IsConnected(); }));
  CHECK(hub.WaitForCollector("quay", true, seconds(2)));
  REQUIRE(hub.WaitFor("quay", "Connected", "healthy", seconds(10), false));
  json::Value object = hub.Object("quay");
  CAPTURE(object.Dump());
  CHECK(object["status"]["nodes"].IntOr() == 3);
  CHECK(object["status"]["nodesReady"].IntOr() == 3);
  CHECK(object["status"]["pods"].IntOr(7) == 0);
  CHECK(object["status"]["namespaces"].IntOr() >= 4);
  CHECK(object["status"]["collectorStatus"]["hub"].StringOr().find(std::to_string(hub.ingester_port())) !=
        std::string::npos);
  CHECK_FALSE(object["status"]["collectorStatus"]["lastHeartbeat"].StringOr().empty());
  CHECK(HubFixture::Condition(object, "DataFresh", "status") == "True");
  CHECK(HubFixture::Condition(object, "Ready", "status") == "True");
  CHECK(HubFixture::Condition(object, "CollectorConflict", "status").empty());
  CHECK(hub.Metric("ingester_tls_enabled", {}) == 1);

  CHECK(redis->Ask({"SISMEMBER", "clusters:all", "quay"}) == "1");
  CHECK(redis->Ask({"SCARD", "cluster:quay:nodes"}) == "3");
  CHECK(AskJson(*redis, {"GET", "cluster:quay:status"})["health"].StringOr() == "healthy");
  CHECK(AskJson(*redis, {"HGET", "cluster:quay:node:worker-1", "current"})["cpu_allocatable"].DoubleOr() == 7.5);
  CHECK(redis->Ask({"SISMEMBER", "cluster:quay:namespaces:set", "kube-system"}) == "1");

  // Objects that come are in the next batch. (Counts in the object may lag an interval of the hub's.)
  CreatePods(*servers->env, *servers->managed, "cranes");
  json::Value metrics;
  CHECK(Eventually(seconds(15), [&] {
    metrics = AskJson(*redis, {"GET", "cluster:quay:metrics"});
    return metrics["pods"].IntOr() == 2;
  }));
  CHECK(metrics["pods_running"].IntOr() == 1);
  CHECK(redis->Ask({"SISMEMBER", "cluster:quay:namespaces:set", "cranes"}) == "1");
  CHECK(AskJson(*redis, {"HGET", "cluster:quay:node:worker-1", "current"})["pods_running"].IntOr() == 1);

  // A node that turns does not wait for the interval.
  for (const bool ready : {false, true}) {
    CAPTURE(ready);
    servers->managed->CreateNode("worker-3", ready);
    const auto changed = Steady::now();
    const std::string health = ready ? "healthy" : "degraded";
    CHECK(Eventually(seconds(3), [&] {
      return AskJson(*redis, {"GET", "cluster:quay:status"})["health"].StringOr() == health;
    }));
    CHECK(AskJson(*redis, {"HGET", "cluster:quay:node:worker-3", "current"})["status"].StringOr() ==
          (ready ? "Ready" : "NotReady"));
    CHECK(hub.WaitFor("quay", "Connected", health, seconds(3), false));
    CHECK(Steady::now() - changed < seconds(3));
    object = hub.Object("quay");
    CHECK(object["status"]["pods"].IntOr() == 2);
    CHECK(object["status"]["nodesReady"].IntOr() == (ready ? 3 : 2));
    CHECK((object["status"]["message"].StringOr().find("worker-3") != std::string::npos) == !ready);
  }

  REQUIRE(collector.WaitForDurable());
  CHECK(collector.Metric("batches_rejected_total") == 0);
  CHECK(collector.Metric("batches_lost_total") == 0);
  CHECK(collector.process().Stop() == 0);
  CHECK(hub.hub().Stop() == 0);
  servers->managed->Kubectl({"delete", "namespace", "cranes", "--wait=false"});
}

// What readers are told of the cluster's age is by the hub's clock, and fresh.
void CheckFresh(HubFixture& hub, const RedisServer& redis, const std::string& name) {
  CAPTURE(name);
  REQUIRE(hub.WaitFor(name, "Connected", "healthy", seconds(30), false));
  const json::Value object = hub.Object(name);
  CAPTURE(object.Dump());
  CHECK(object["status"]["nodes"].IntOr() == 3);
  CHECK(HubFixture::Condition(object, "DataFresh", "status") == "True");
  const auto now = base::SystemClock().Now();
  const auto check_recent = [&](const std::string& what, std::string_view text) {
    CAPTURE(what, text);
    const auto at = base::ParseRfc3339(text);
    REQUIRE(at.has_value());
    CHECK(*at > now - seconds(60));
    CHECK(*at < now + seconds(10));
  };
  check_recent("lastSyncTime", object["status"]["lastSyncTime"].StringOr());
  check_recent("lastHeartbeat", object["status"]["collectorStatus"]["lastHeartbeat"].StringOr());
  const auto stored = [&](const std::string& document) {
    return AskJson(redis, {"GET", "cluster:" + name + ":" + document});
  };
  check_recent("last_update", redis.Ask({"HGET", "cluster:" + name + ":meta", "last_update"}));
  check_recent("metrics", stored("metrics")["timestamp"].StringOr());
  check_recent("last_check", stored("status")["last_check"].StringOr());
  CHECK(stored("status")["health"].StringOr() == "healthy");
  CHECK(redis.Ask({"SCARD", "cluster:" + name + ":nodes"}) == "3");
}

TEST_CASE("a collector whose clock is an hour off is as fresh as any, and so is an upstream one") {
  REQUIRE_REAL_SERVERS();
  REQUIRE_REAL_REDIS({.aof = true});
  HubFixture hub(*servers, {.redis = redis.get(), .flags = {}, .ingester_tls = true});
  REQUIRE(hub.InstallDefinitions());
  for (const char* name : {"ahead", "behind"}) hub.ConnectPush(name);
  hub.StartHub();

  // The real one; its certificates are too young for a clock that is behind.
  Collector ahead(
      hub, {.cluster = "ahead", .wrapper = {"faketime", "-f", "+1h"}, .env = {{"FAKETIME_DONT_FAKE_MONOTONIC", "1"}}});
  RawCollector behind(hub, "behind", hub.CollectorToken("behind"));
  REQUIRE(behind.Register());
  const auto send_behind = [&](std::uint64_t seq) {
    model::Batch batch = behind.MakeBatch(seq, {"b-1", "b-2", "b-3"});
    batch.collected_at -= std::chrono::hours(1);
    return behind.Send(batch) && behind.WaitForApplied(seq);
  };
  REQUIRE(send_behind(1));
  const CommandResult upstream = RunCommand(
      {BinDir() + "/fleetload", fmt::format("--hub=localhost:{}", hub.ingester_port()),
       "--kubeconfig=" + hub.api().kubeconfig(), "--namespace=" + hub.ns(), "--prefix=upstream", "--collectors=2",
       "--nodes=3", "--labels=3", "--interval=5", "--seconds=6", "--upstream=1", "--tls-ca=" + hub.ingester_ca()},
      {}, seconds(60));
  INFO(upstream.out);
  CHECK(upstream.exit_code == 0);
  CHECK(upstream.out.find("failures 0") != std::string::npos);
  for (const char* name : {"upstream-0001", "upstream-0002"}) CheckFresh(hub, *redis, name);
  REQUIRE(ahead.WaitForDurable());
  REQUIRE(send_behind(2));
  for (const char* name : {"ahead", "behind"}) CheckFresh(hub, *redis, name);

  // A change shows at once all the same, and an hour's difference is no reason to call anything old.
  servers->managed->CreateNode("worker-3", false);
  CHECK(Eventually(seconds(3), [&] {
    return AskJson(*redis, {"GET", "cluster:ahead:status"})["health"].StringOr() == "degraded";
  }));
  servers->managed->CreateNode("worker-3", true);
  REQUIRE(ahead.WaitForDurable());
  CheckFresh(hub, *redis, "ahead");
  CHECK(ahead.Metric("batches_lost_total") == 0);
  CHECK(ahead.Metric("durable_age_seconds") < 60);
}

}  // namespace
}  // namespace clusterpulse::testing
