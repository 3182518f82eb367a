// The main job on real parts: kube-apiserver and etcd (hub and managed cluster), Redis, the hub binary, and kubectl as
// the operator's hand.
#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "tests/e2e/hub_fixture.h"

namespace clusterpulse::testing {
namespace {

using std::chrono::seconds;

TEST_CASE("an operator connects a cluster, looks at it, and deletes it") {
  REQUIRE_REAL_SERVERS();
  REQUIRE_REAL_REDIS({});
  HubFixture hub(*servers, {.redis = redis.get(), .flags = {"--leader-elect"}});
  REQUIRE(hub.StartConnected());

  CHECK(hub.Kubectl({"wait", "--for=condition=Ready", "clusterconnection/harbour", "--timeout=10s"}).exit_code == 0);
  const std::string table = hub.Kubectl({"get", "cc"}).out;
  CAPTURE(table);
  CHECK(table.find("MODE") != std::string::npos);
  CHECK(table.find("Connected") != std::string::npos);
  CHECK(table.find("healthy") != std::string::npos);
  const json::Value object = hub.Object("harbour");
  CHECK(object["status"]["nodes"].IntOr() == 3);
  CHECK(object["status"]["namespaces"].IntOr() >= 4);
  CHECK(object["status"]["observedGeneration"].IntOr() == object["metadata"]["generation"].IntOr());

  // The store, as a reader written for upstream sees it.
  CHECK(redis->Ask({"SISMEMBER", "clusters:all", "harbour"}) == "1");
  CHECK(redis->Ask({"SCARD", "cluster:harbour:nodes"}) == "3");
  const auto status = json::Value::Parse(redis->Ask({"GET", "cluster:harbour:status"}));
  REQUIRE(status.ok());
  CHECK((*status)["health"].StringOr() == "healthy");
  const auto node = json::Value::Parse(redis->Ask({"HGET", "cluster:harbour:node:worker-1", "current"}));
  REQUIRE(node.ok());
  CHECK((*node)["cpu_allocatable"].DoubleOr() == 7.5);
  CHECK((*node)["memory_capacity"].IntOr() == 34359738368);
  CHECK(redis->Ask({"GET", "cluster:harbour:metrics"}).find("\"nodes\":3") != std::string::npos);
  CHECK(redis->Ask({"SISMEMBER", "cluster:harbour:namespaces:set", "kube-system"}) == "1");

  CHECK(HttpGet(hub.probe_port(), "/readyz").code == 200);
  CHECK(HttpGet(hub.metrics_port(), "/metrics").body.find("clusterpulse_hub_") != std::string::npos);

  CHECK(hub.Kubectl({"delete", "cc", "harbour", "--timeout=30s"}).exit_code == 0);
  CHECK(redis->Ask({"KEYS", "cluster:harbour:*"}).empty());
  CHECK(redis->Ask({"SISMEMBER", "clusters:all", "harbour"}) == "0");

  CHECK(hub.hub().Stop() == 0);
}

TEST_CASE("every failure of the way to a cluster reaches the object in words, and clears again") {
  REQUIRE_REAL_SERVERS();
  HubFixture hub(*servers, {});
  REQUIRE(hub.StartConnected());
  const std::string ca = servers->managed->ca_pem();

  SECTION("a wrong CA needs a person, and a right one takes effect without a restart") {
    hub.CreateSecret("harbour-token", servers->token, ReadFile(servers->env->tls_dir() + "/other-ca.crt"));
    REQUIRE(hub.WaitFor("harbour", "Error", "unhealthy", seconds(45), false));
    const json::Value object = hub.Object("harbour");
    CHECK(object["status"]["message"].StringOr().find("certificate") != std::string::npos);
    CHECK(HubFixture::Condition(object, "Ready", "status") == "False");
    CHECK(hub.Kubectl({"get", "events"}).out.find("harbour") != std::string::npos);
    hub.CreateSecret("harbour-token", servers->token, ca);
    CHECK(hub.WaitFor("harbour", "Connected", "healthy", seconds(45), false));
  }
  SECTION("a token that is refused") {
    hub.CreateSecret("harbour-token", "not-a-token", ca);
    REQUIRE(hub.WaitFor("harbour", "Error", "unhealthy"));
    CHECK(hub.Object("harbour")["status"]["message"].StringOr().find("harbour-token") != std::string::npos);
    hub.CreateSecret("harbour-token", servers->token, ca);
    CHECK(hub.WaitFor("harbour", "Connected", "healthy"));
  }
  SECTION("a Secret that is missing, then there") {
    hub.Kubectl({"delete", "secret", "harbour-token"});
    REQUIRE(hub.WaitFor("harbour", "Error", "unhealthy"));
    CHECK(hub.Object("harbour")["status"]["message"].StringOr().find("harbour-token") != std::string::npos);
    hub.CreateSecret("harbour-token", servers->token, ca);
    CHECK(hub.WaitFor("harbour", "Connected", "healthy", seconds(45), false));
  }
  SECTION("a spec that cannot work") {
    hub.Connect("harbour", "ftp://nowhere", "harbour-token");
    REQUIRE(hub.WaitFor("harbour", "Error", ""));
    CHECK(HubFixture::Condition(hub.Object("harbour"), "Ready", "reason") == "InvalidSpec");
    hub.Connect("harbour", servers->managed->url(), "harbour-token");
    CHECK(hub.WaitFor("harbour", "Connected", "healthy"));
  }
  SECTION("the managed API server stops, and comes back") {
    servers->managed->Kill9();
    CHECK(hub.WaitFor("harbour", "Disconnected", "unhealthy"));
    REQUIRE(servers->managed->Restart());
    CHECK(hub.WaitFor("harbour", "Connected", "healthy", seconds(90)));
  }
  SECTION("the managed API server freezes, and thaws") {
    servers->managed->Freeze();
    const bool lost = hub.WaitFor("harbour", "Disconnected", "unhealthy", seconds(60));
    servers->managed->Resume();
    CHECK(lost);
    CHECK(hub.WaitFor("harbour", "Connected", "healthy", seconds(90)));
  }
  SECTION("nodes that are not Ready") {
    servers->managed->CreateNode("worker-3", false);
    CHECK(hub.WaitFor("harbour", "Connected", "degraded"));
    CHECK(hub.Object("harbour")["status"]["message"].StringOr().find("worker-3") != std::string::npos);
    servers->managed->CreateNode("worker-2", false);
    CHECK(hub.WaitFor("harbour", "Connected", "unhealthy"));
    servers->managed->CreateNode("worker-2", true);
    servers->managed->CreateNode("worker-3", true);
    CHECK(hub.WaitFor("harbour", "Connected", "healthy"));
  }
}

TEST_CASE("killed with -9 and started again, the hub goes on where it was") {
  REQUIRE_REAL_SERVERS();
  REQUIRE_REAL_REDIS({});
  HubFixture hub(*servers, {.redis = redis.get(), .flags = {}});
  REQUIRE(hub.StartConnected());
  hub.hub().Kill9();
  const std::string before(hub.Object("harbour")["status"]["lastSyncTime"].StringOr());
  servers->managed->CreateNode("worker-3", false);
  hub.StartHub();
  CHECK(hub.WaitFor("harbour", "Connected", "degraded"));
  CHECK(Eventually(seconds(45), [&] {
    hub.SyncNow("harbour");
    return hub.Object("harbour")["status"]["lastSyncTime"].StringOr() > before;
  }));
  servers->managed->CreateNode("worker-3", true);
  CHECK(hub.WaitFor("harbour", "Connected", "healthy"));
}

TEST_CASE("while Redis is away the cluster is not declared lost, and afterwards its data is back") {
  REQUIRE_REAL_SERVERS();
  REQUIRE_REAL_REDIS({});
  HubFixture hub(*servers, {.redis = redis.get(), .flags = {}});
  REQUIRE(hub.StartConnected());
  redis->Kill9();
  CHECK(Eventually(seconds(20), [&] { return HttpGet(hub.probe_port(), "/readyz").code == 503; }));
  CHECK(HttpGet(hub.probe_port(), "/healthz").code == 200);
  // 20 s of outage with a pass asked for every 2 s: not one of them may call the cluster lost.
  const auto until = std::chrono::steady_clock::now() + seconds(20);
  Eventually(seconds(30), [&] {
    hub.SyncNow("harbour");
    const std::string phase = hub.Phase("harbour");
    CAPTURE(phase);
    CHECK((phase == "Connected" || phase == "Degraded"));
    return std::chrono::steady_clock::now() >= until;
  });
  REQUIRE(redis->Restart());
  CHECK(Eventually(seconds(45), [&] {
    hub.SyncNow("harbour");
    return redis->Ask({"SCARD", "cluster:harbour:nodes"}) == "3";
  }));
  CHECK(hub.WaitFor("harbour", "Connected", "healthy"));
  CHECK(Eventually(seconds(20), [&] { return HttpGet(hub.probe_port(), "/readyz").code == 200; }));
}

TEST_CASE("uninstall frees objects that a hub which is gone would have kept for ever") {
  REQUIRE_REAL_SERVERS();
  HubFixture hub(*servers, {});
  REQUIRE(hub.StartConnected());
  hub.hub().Kill9();
  CHECK(hub.Kubectl({"delete", "cc", "harbour", "--timeout=3s"}).exit_code != 0);  // held by the finalizer
  const CommandResult result = hub.Hub({"uninstall"});
  CAPTURE(result.out);
  CHECK(result.exit_code == 0);
  CHECK(Eventually(seconds(10), [&] { return hub.Object("harbour").IsNull(); }));
}

TEST_CASE("of two replicas one leads, and the other takes over when it is killed") {
  REQUIRE_REAL_SERVERS();
  REQUIRE_REAL_REDIS({});
  HubFixture first(*servers, {.redis = redis.get(), .flags = {"--leader-elect"}});
  REQUIRE(first.StartConnected());
  HubFixture second(*servers, {.redis = redis.get(), .flags = {"--leader-elect", "--namespace=" + first.ns()}});
  second.StartHub();
  CHECK(Eventually(seconds(20), [&] { return HttpGet(second.probe_port(), "/readyz").code == 200; }));
  first.hub().Kill9();
  const std::string before(first.Object("harbour")["status"]["lastSyncTime"].StringOr());
  // 15 s lease, a retry, and one pass.
  CHECK(Eventually(seconds(60), [&] {
    first.SyncNow("harbour");
    return first.Object("harbour")["status"]["lastSyncTime"].StringOr() > before;
  }));
}

}  // namespace
}  // namespace clusterpulse::testing
