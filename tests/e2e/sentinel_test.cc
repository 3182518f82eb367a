// The hub behind Redis Sentinel: the master dies, a replica takes its place.
#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "tests/e2e/hub_fixture.h"

namespace clusterpulse::testing {
namespace {

using std::chrono::seconds;

// The node's status as the store has it.
std::string StoredStatus(const RedisServer& redis, const std::string& node) {
  const auto document = json::Value::Parse(redis.Cli({"HGET", "cluster:harbour:node:" + node, "current"}).out);
  return document.ok() ? std::string((*document)["status"].StringOr()) : "";
}

TEST_CASE("after a failover the hub writes to the new master, and the cluster was never declared lost") {
  REQUIRE_REAL_SERVERS();
  REQUIRE_REAL_REDIS({});
  const auto replica = RedisServer::Start({.config = {fmt::format("replicaof 127.0.0.1 {}", redis->port())}});
  const auto sentinel = RedisServer::Start(
      {.config = {fmt::format("sentinel monitor fleet 127.0.0.1 {} 1", redis->port()),
                  "sentinel down-after-milliseconds fleet 500", "sentinel failover-timeout fleet 3000"},
       .sentinel = true});
  // The first address answers nobody: the next is asked.
  HubFixture hub(*servers,
                 {.flags = {fmt::format("--redis-sentinel-addresses=127.0.0.1:1,127.0.0.1:{}", sentinel->port()),
                            "--redis-sentinel-master=fleet"}});
  REQUIRE(hub.StartConnected());
  CHECK(StoredStatus(*redis, "worker-3") == "Ready");
  CHECK(HttpGet(hub.probe_port(), "/readyz").code == 200);
  REQUIRE(Eventually(seconds(20), [&] {
    return StoredStatus(*replica, "worker-3") == "Ready" &&
           sentinel->Cli({"SENTINEL", "replicas", "fleet"}).out.find(std::to_string(replica->port())) !=
               std::string::npos;
  }));

  redis->Kill9();
  servers->managed->CreateNode("worker-3", false);
  CHECK(Eventually(seconds(30), [&] {
    hub.SyncNow("harbour");
    const std::string phase = hub.Phase("harbour");
    CAPTURE(phase);
    CHECK((phase == "Connected" || phase == "Degraded"));
    return StoredStatus(*replica, "worker-3") == "NotReady";
  }));
  CHECK(replica->Cli({"ROLE"}).out.starts_with("master"));
  CHECK(hub.WaitFor("harbour", "Connected", "degraded"));
  CHECK(Eventually(seconds(20), [&] { return HttpGet(hub.probe_port(), "/readyz").code == 200; }));
  CHECK(hub.hub().running());

  servers->managed->CreateNode("worker-3", true);
  CHECK(hub.WaitFor("harbour", "Connected", "healthy"));
}

}  // namespace
}  // namespace clusterpulse::testing
