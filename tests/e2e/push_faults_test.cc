// What stands behind the streams fails: a program is killed, the store or the hub's API server goes away for a while.
// Collectors resume by themselves, nobody is declared lost by it, and nothing that was durable is lost.
#include <cstdlib>

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "tests/e2e/collector_fixture.h"

namespace clusterpulse::testing {
namespace {

using std::chrono::seconds;
using Steady = std::chrono::steady_clock;

// What Redis holds of the collector's batches (delivery.md 2).
struct Position {
  std::string instance;
  long epoch = 0, state_seq = 0;
  std::string durable;
};
Position PositionOf(const RedisServer& redis, const std::string& cluster) {
  const auto field = [&](const char* name) { return redis.Ask({"HGET", "cluster:" + cluster + ":writer", name}); };
  return {field("instance"), std::atol(field("epoch").c_str()), std::atol(field("state_seq").c_str()),
          field("durable")};
}

std::string LastUpdate(const RedisServer& redis, const std::string& cluster) {
  return redis.Ask({"HGET", "cluster:" + cluster + ":meta", "last_update"});
}

// Object and store both say that all is well, with data of after `since`.
void CheckServed(HubFixture& hub, const RedisServer& redis, Collector& collector, const std::string& cluster) {
  CAPTURE(cluster);
  CHECK(collector.WaitForDurable());
  CHECK(hub.WaitForCollector(cluster, true));
  CHECK(hub.WaitFor(cluster, "Connected", "healthy", seconds(40), false));
  const json::Value object = hub.Object(cluster);
  CAPTURE(object.Dump());
  CHECK(HubFixture::Condition(object, "DataFresh", "status") == "True");
  CHECK(HubFixture::Condition(object, "StoreAvailable", "status") == "True");
  CHECK(redis.Ask({"SCARD", "cluster:" + cluster + ":nodes"}) == "3");
  CHECK(AskJson(redis, {"GET", "cluster:" + cluster + ":status"})["health"].StringOr() == "healthy");
  CHECK(collector.Metric("batches_lost_total") == 0);
  CHECK(collector.Metric("batches_rejected_total") == 0);
}

// When the collector was last declared lost, or found again.
std::string ConnectedSince(HubFixture& hub, const std::string& cluster) {
  return HubFixture::Condition(hub.Object(cluster), "CollectorConnected", "lastTransitionTime");
}

TEST_CASE("hub and collectors killed with -9, the store and the API server away: all resume") {
  REQUIRE_REAL_SERVERS();
  REQUIRE_REAL_REDIS({.aof = true});
  TcpProxy api(servers->hub->port());
  HubFixture hub(*servers, {.redis = redis.get(), .flags = {}, .proxy = &api, .ingester_tls = true});
  REQUIRE(hub.InstallDefinitions());
  for (const char* name : {"quay", "dock"}) hub.ConnectPush(name);
  hub.StartHub();
  Collector quay(hub, {.cluster = "quay"});
  Collector dock(hub, {.cluster = "dock", .env = {{"BUFFER_SIZE", "100"}}});
  for (const char* name : {"quay", "dock"}) REQUIRE(hub.WaitFor(name, "Connected", "healthy", seconds(20), false));
  REQUIRE(quay.WaitForDurable());
  const std::string connected_since = ConnectedSince(hub, "quay");

  // The hub is killed; meanwhile the cluster changes.
  const Position before = PositionOf(*redis, "quay");
  CHECK(before.state_seq > 0);
  CHECK_FALSE(before.durable.empty());
  hub.hub().Kill9();
  servers->managed->CreateNode("worker-3", false);
  const double held = quay.Metric("buffered_batches");
  REQUIRE(Eventually(seconds(20), [&] { return quay.Metric("buffered_batches") > held; }));  // goes on collecting
  hub.StartHub();
  REQUIRE(hub.WaitFor("quay", "Connected", "degraded", seconds(30), false));
  servers->managed->CreateNode("worker-3", true);
  CheckServed(hub, *redis, quay, "quay");
  CheckServed(hub, *redis, dock, "dock");
  Position after = PositionOf(*redis, "quay");
  CHECK(after.instance == before.instance);
  CHECK(after.epoch > before.epoch);
  CHECK(after.state_seq > before.state_seq);
  CHECK(quay.Metric("connects_total") == 2);
  CHECK(ConnectedSince(hub, "quay") == connected_since);

  // The collector is killed: a new instance, which begins at 1, and the data is never less than it was.
  quay.process().Kill9();
  CHECK(redis->Ask({"SCARD", "cluster:quay:nodes"}) == "3");
  quay.Start();
  CheckServed(hub, *redis, quay, "quay");
  after = PositionOf(*redis, "quay");
  CHECK(after.instance != before.instance);
  CHECK(AskJson(*redis, {"GET", "cluster:quay:collector"})["instance"].StringOr() == after.instance);
  CHECK(ConnectedSince(hub, "quay") == connected_since);

  // The hub's API server is away: streams and data go on.
  const double connects = quay.Metric("connects_total");
  api.Set({.refuse = true});
  std::string seen = LastUpdate(*redis, "quay");
  for (int batch = 0; batch < 3; ++batch) {
    CHECK(Eventually(seconds(15), [&] { return LastUpdate(*redis, "quay") > seen; }));
    seen = LastUpdate(*redis, "quay");
  }
  servers->managed->CreateNode("worker-3", false);
  CHECK(Eventually(seconds(5), [&] {
    return AskJson(*redis, {"GET", "cluster:quay:status"})["health"].StringOr() == "degraded";
  }));
  CHECK(hub.Health("quay") == "healthy");  // nobody can write it
  CHECK(HttpGet(hub.probe_port(), "/healthz").code == 200);
  api.Heal();
  CHECK(hub.WaitFor("quay", "Connected", "degraded", seconds(60), false));
  servers->managed->CreateNode("worker-3", true);
  CheckServed(hub, *redis, quay, "quay");
  CHECK(quay.Metric("connects_total") == connects);
  CHECK(ConnectedSince(hub, "quay") == connected_since);
  CHECK(hub.Object("quay")["status"]["collectorStatus"]["instance"].StringOr() == after.instance);
}

TEST_CASE("the store is away: no cluster is declared lost, and what was collected arrives") {
  // CLUSTERPULSE_STORE_OUTAGE_SECONDS: as long as a soak wants it to be.
  const char* const asked = std::getenv("CLUSTERPULSE_STORE_OUTAGE_SECONDS");
  const seconds outage(asked != nullptr ? std::atoi(asked) : 25);
  REQUIRE_REAL_SERVERS();
  REQUIRE_REAL_REDIS({.aof = true});
  HubFixture hub(*servers, {.redis = redis.get(), .flags = {}, .ingester_tls = true});
  REQUIRE(hub.InstallDefinitions());
  for (const char* name : {"quay", "dock"}) hub.ConnectPush(name);
  hub.StartHub();
  const std::map<std::string, std::string> roomy{{"BUFFER_SIZE", "200"}};
  Collector quay(hub, {.cluster = "quay", .env = roomy});
  Collector dock(hub, {.cluster = "dock", .env = roomy});
  for (const char* name : {"quay", "dock"}) REQUIRE(hub.WaitFor(name, "Connected", "healthy", seconds(20), false));
  REQUIRE(quay.WaitForDurable());
  const Position before = PositionOf(*redis, "quay");
  const std::string connected_since = ConnectedSince(hub, "quay");

  redis->Stop();
  const auto begin = Steady::now();
  servers->managed->CreateNode("worker-2", false);
  REQUIRE(hub.WaitUntil("quay", seconds(60), [](const json::Value& object) {
    return HubFixture::Condition(object, "StoreAvailable", "status") == "False";
  }));
  CHECK(HttpGet(hub.probe_port(), "/readyz").code != 200);
  CHECK(HttpGet(hub.probe_port(), "/healthz").code == 200);
  // One collector comes anew while nothing can be looked up.
  dock.process().Kill9();
  dock.Start();
  bool lost = false;
  const auto look = [&] {
    for (const char* name : {"quay", "dock"}) {
      const json::Value object = hub.Object(name);
      lost = lost || HubFixture::Condition(object, "CollectorConnected", "status") != "True" ||
             !object["status"]["collectorStatus"]["connected"].BoolOr();
    }
    return lost;
  };
  Eventually(std::chrono::duration_cast<std::chrono::milliseconds>(outage - (Steady::now() - begin)), look);
  CHECK_FALSE(lost);

  REQUIRE(redis->Restart());
  // Until all is as before.
  Eventually(seconds(90), [&] { return look() || hub.Health("quay") == "degraded"; });
  CHECK_FALSE(lost);
  CHECK(hub.WaitFor("quay", "Connected", "degraded", seconds(60), false));
  CHECK(AskJson(*redis, {"GET", "cluster:quay:status"})["health"].StringOr() == "degraded");
  servers->managed->CreateNode("worker-2", true);
  CheckServed(hub, *redis, quay, "quay");
  CheckServed(hub, *redis, dock, "dock");
  const Position after = PositionOf(*redis, "quay");
  CHECK(after.instance == before.instance);
  CHECK(after.state_seq > before.state_seq);
  // All that was collected meanwhile became durable.
  CHECK(Eventually(seconds(30), [&] { return quay.Metric("buffered_batches") <= 2; }));
  CHECK(ConnectedSince(hub, "quay") == connected_since);
}

}  // namespace
}  // namespace clusterpulse::testing
