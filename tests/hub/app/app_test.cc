#include "hub/app/app.h"

#include <catch2/catch.hpp>

#include "hub/store/keys.h"
#include "tests/hub/app/app_fixture.h"

namespace clusterpulse::app {
namespace {

TEST_CASE("the hub starts, shows a cluster, answers its probes and stops cleanly") {
  Fixture f;
  f.InstallDefinition();
  f.PutConnection();
  f.Create();
  f.Start();
  CHECK(Eventually([&] { return f.Phase() == "Connected"; }));
  CHECK(Eventually([&] { return f.app->Ready().ok; }));
  CHECK(f.Fetch(f.app->probe_port(), "/healthz") ==
        std::pair<int, std::string>(200, "[+] monitor: ok\n[+] passes: ok\nok\n"));
  CHECK(f.Fetch(f.app->probe_port(), "/readyz") ==
        std::pair<int, std::string>(200,
                                    "[+] running: ok\n[+] clusterconnections: ok\n[+] secrets: ok\n"
                                    "[+] ingester: ok\n[+] metricsources: ok\n[+] store: ok\nok\n"));
  const auto [code, metrics] = f.Fetch(f.app->metrics_port(), "/metrics");
  CHECK(code == 200);
  CHECK(metrics.find("clusterpulse_hub_build_info") != std::string::npos);
  CHECK(metrics.find("process_resident_memory_bytes") != std::string::npos);
  CHECK(f.store->SetMembers("clusters:all").value_or(std::vector<std::string>()) == std::vector<std::string>{"a"});
  CHECK(f.Stop().ok());
  CHECK_FALSE(f.app->Ready().ok);
}

TEST_CASE("a cluster whose object went while no hub looked leaves the store; those of others stay") {
  Fixture f;
  f.InstallDefinition();
  f.PutConnection();
  f.Create();
  store::ClusterState ours(*f.store, {.hub_namespace = "fleet"}, base::SystemClock());
  store::ClusterState others(*f.store, {.hub_namespace = "elsewhere"}, base::SystemClock());
  const auto put = [](store::ClusterState& state, const std::string& cluster) {
    const auto epoch = state.AcquireEpoch(cluster, store::WriterRole::kSpec);
    REQUIRE(epoch.ok());
    REQUIRE(state.PutSpec({cluster, *epoch, "an earlier hub", 1, store::WriterRole::kSpec}, {}).ok());
  };
  put(ours, "orphan");
  put(others, "foreign");
  f.Start();
  CHECK(Eventually([&] {
    return f.store->SetMembers("clusters:all").value_or(std::vector<std::string>()) ==
           std::vector<std::string>{"a", "foreign"};
  }));
  CHECK(Eventually([&] { return f.store->Keys("cluster:orphan:")->empty(); }));
  CHECK(Eventually([&] { return f.Phase() == "Connected"; }));
  CHECK(f.Stop().ok());
}

TEST_CASE("without the definition the hub lives, is not ready and says what to do; then it goes on by itself") {
  Fixture f;
  f.Create();
  f.Start();
  CHECK(Eventually([&] {
    return f.app->Ready().body.find(
               "[-] clusterconnections: FAILED_PRECONDITION: the ClusterConnection definition is "
               "not installed; run `clusterpulse-hub crds apply`") != std::string::npos;
  }));
  CHECK(f.app->Alive().ok);
  f.InstallDefinition();
  f.PutConnection();
  CHECK(Eventually([&] { return f.app->Ready().ok; }));
  CHECK(Eventually([&] { return f.Phase() == "Connected"; }));
  CHECK(f.Stop().ok());
}

TEST_CASE("a store of a newer version refuses the start") {
  Fixture f;
  f.InstallDefinition();
  f.Create();
  REQUIRE(f.store->Commit({store::SetString{.key = std::string(store::keys::kSchema), .value = "999"}}).ok());
  f.Start();
  REQUIRE(f.result.wait_for(20s) == std::future_status::ready);
  CHECK(f.result.get().code() == absl::StatusCode::kFailedPrecondition);
}

TEST_CASE("an address in use refuses the start and names it") {
  Fixture first;
  first.InstallDefinition();
  first.Create();
  first.Start();
  REQUIRE(Eventually([&] { return first.app->probe_port() != 0; }));
  Fixture second;
  second.config.probe_address = "127.0.0.1:" + std::to_string(first.app->probe_port());
  second.Create();
  second.Start();
  REQUIRE(second.result.wait_for(20s) == std::future_status::ready);
  const absl::Status status = second.result.get();
  CHECK(status.code() == absl::StatusCode::kUnavailable);
  CHECK(base::Message(status).find(second.config.probe_address) != std::string::npos);
  CHECK(first.Stop().ok());
}

TEST_CASE("a history store that is away is noted, and everything else goes on") {
  Fixture f;
  f.config.history = "victoriametrics";
  f.config.vm_endpoint = "http://127.0.0.1:1";
  f.InstallDefinition();
  f.PutConnection();
  f.Create();
  CHECK(f.app->Ready().body.find("[i] history: ok\n") != std::string::npos);  // not asked yet
  f.Start();
  CHECK(Eventually([&] { return f.Phase() == "Connected"; }));
  CHECK(Eventually([&] { return f.app->Ready().ok; }));
  CHECK(Eventually([&] { return f.app->Ready().body.find("[i] history: UNAVAILABLE") != std::string::npos; }));
  CHECK(f.app->Ready().ok);
  CHECK(Eventually([&] {
    return f.Fetch(f.app->metrics_port(), "/metrics").second.find("clusterpulse_hub_history_up 0") != std::string::npos;
  }));
  CHECK(f.Stop().ok());
}

TEST_CASE("servers that are switched off are not there, and the rest works") {
  Fixture f;
  f.config.probe_address = "0";
  f.config.metrics_address = "0";
  f.InstallDefinition();
  f.PutConnection();
  f.Create();
  f.Start();
  CHECK(Eventually([&] { return f.Phase() == "Connected"; }));
  CHECK(f.app->probe_port() == 0);
  CHECK(f.Stop().ok());
}

TEST_CASE("of two hubs under one Lease one leads, and the other takes over when it stops") {
  Fixture f;
  f.config.leader_elect = true;
  f.InstallDefinition();
  f.PutConnection();
  f.Create();
  f.Start();
  const auto holder = [&] {
    const auto lease = f.hub.Get(kube::kLeases, {"fleet", "cluster-controller.clusterpulse.io"});
    if (!lease.ok()) return std::string();
    return std::string((*json::Value::Parse((*lease)->json))["spec"]["holderIdentity"].StringOr());
  };
  CHECK(Eventually([&] { return !holder().empty(); }));
  CHECK(f.Stop().ok());
  CHECK(holder().empty());  // given back, not left to expire
}

}  // namespace
}  // namespace clusterpulse::app
