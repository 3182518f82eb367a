// Many collectors: a thousand at once, the certificate replaced under their load, three hubs they move between.
#include <cstdio>
#include <cstdlib>
#include <set>

#include <absl/strings/str_split.h>
#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "tests/e2e/collector_fixture.h"

namespace clusterpulse::testing {
namespace {

using std::chrono::seconds;

// fleetload against the hub of a fixture, on its way until its end is waited for.
class Fleet {
 public:
  Fleet(HubFixture& hub, int port, int collectors, std::vector<std::string> flags) : collectors_(collectors) {
    std::vector<std::string> argv{BinDir() + "/fleetload",
                                  fmt::format("--hub=localhost:{}", port),
                                  "--kubeconfig=" + hub.api().kubeconfig(),
                                  "--namespace=" + hub.ns(),
                                  fmt::format("--collectors={}", collectors),
                                  "--nodes=3",
                                  "--labels=3",
                                  "--tls-ca=" + hub.ingester_ca()};
    argv.insert(argv.end(), flags.begin(), flags.end());
    auto child = ChildProcess::Start({.argv = argv, .output = dir_.File("log")});
    if (!child.ok()) std::abort();
    process_ = *std::move(child);
  }
  std::string Log() const { return ReadFile(dir_.File("log")); }
  // Every collector's first batch was applied.
  bool WaitForAll(seconds limit) {
    return Eventually(limit, [this] { return Log().find("connected\n") != std::string::npos; });
  }
  // 0: nothing happened that must not, and all that was made was stored.
  int Wait(seconds limit) { return process_->Wait(limit).value_or(-1); }
  // Seconds from the first connect to that point, as it tells at its end.
  double AllLiveAfter() const {
    const std::string log = Log();
    const auto at = log.find("all live after ");
    return at == std::string::npos ? -1 : std::atof(log.c_str() + at + 15);
  }
  int collectors() const { return collectors_; }

 private:
  const int collectors_;
  TempDir dir_;
  std::optional<ChildProcess> process_;
};

// Every object of the namespace is connected, healthy and fresh.
bool AllServed(HubFixture& hub, int count) {
  const CommandResult rows =
      hub.Kubectl({"get", "cc", "-o",
                   R"(jsonpath={range .items[*]}{.status.phase}/{.status.health}/{.status.collectorStatus.connected}/)"
                   R"({.status.conditions[?(@.type=="DataFresh")].status}{"\n"}{end})"});
  int good = 0;
  for (const absl::string_view row : absl::StrSplit(rows.out, '\n', absl::SkipEmpty())) {
    if (row == "Connected/healthy/true/True") ++good;
  }
  return good == count;
}

// How many of the fleet's clusters have their three nodes in the store.
std::string StoredClusters(const RedisServer& redis, int count) {
  return redis.Ask({"EVAL",
                    "local n = 0 for i = 1, tonumber(ARGV[1]) do "
                    "if redis.call('SCARD', string.format('cluster:load-%04d:nodes', i)) == 3 then n = n + 1 end end "
                    "return n",
                    "0", std::to_string(count)});
}

std::string ShownCertificate(const HubFixture& hub) {
  return RunCommand({"sh", "-c",
                     fmt::format("openssl s_client -connect localhost:{} -alpn h2 < /dev/null 2> /dev/null | openssl "
                                 "x509 -noout -subject",
                                 hub.ingester_port())})
      .out;
}

TEST_CASE("a thousand collectors at once, and the certificate replaced under their load") {
  REQUIRE_REAL_SERVERS();
  REQUIRE_REAL_REDIS({.aof = true});
  HubFixture hub(*servers, {.redis = redis.get(), .flags = {}, .ingester_tls = true});
  REQUIRE(hub.InstallDefinitions());
  hub.ConnectPush("quay");
  hub.StartHub();
  Collector quay(hub, {.cluster = "quay"});
  REQUIRE(hub.WaitFor("quay", "Connected", "healthy", seconds(20), false));

  Fleet fleet(hub, hub.ingester_port(), 1000, {"--interval=30", "--seconds=90", "--drops=10"});
  REQUIRE(fleet.WaitForAll(seconds(240)));
  const std::string before = ShownCertificate(hub);
  CHECK(before.find("CN = hub") != std::string::npos);
  hub.UseCertificate("apiserver");
  CHECK(
      Eventually(seconds(20), [&] { return ShownCertificate(hub).find("CN = kube-apiserver") != std::string::npos; }));
  // The first words about a thousand new objects go out at 20 a second, while the fleet runs.
  CHECK(Eventually(seconds(90), [&] { return AllServed(hub, fleet.collectors() + 1); }));
  const int result = fleet.Wait(seconds(120));
  INFO(fleet.Log());
  CHECK(result == 0);
  CHECK(fleet.AllLiveAfter() > 0);
  CHECK(fleet.AllLiveAfter() < 60);
  CHECK(StoredClusters(*redis, fleet.collectors()) == "1000");

  // The collector that was there before never noticed, and comes back to the new certificate.
  CHECK(quay.WaitForDurable());
  CHECK(quay.Metric("connects_total") == 1);
  CHECK(quay.process().Stop() == 0);
  quay.Start();
  CHECK(quay.WaitForDurable());
  CHECK(hub.WaitFor("quay", "Connected", "healthy", seconds(10), false));
  CHECK(redis->Ask({"SCARD", "cluster:quay:nodes"}) == "3");
}

TEST_CASE("three hubs on one Redis: collectors move between them at any time, and hubs come and go") {
  REQUIRE_REAL_SERVERS();
  REQUIRE_REAL_REDIS({.aof = true});
  const HubFixture::Options options{.redis = redis.get(), .flags = {"--leader-elect"}, .ingester_tls = true};
  HubFixture hub(*servers, options);
  HubFixture::Options replica = options;
  replica.replica_of = &hub;
  HubFixture second(*servers, replica), third(*servers, replica);
  REQUIRE(hub.InstallDefinitions());
  hub.ConnectPush("quay");
  for (HubFixture* each : {&hub, &second, &third}) each->StartHub();
  TcpProxy door({hub.ingester_port(), second.ingester_port(), third.ingester_port()});
  Collector quay(hub, {.cluster = "quay", .port = door.port()});
  REQUIRE(hub.WaitFor("quay", "Connected", "healthy", seconds(30), false));
  Fleet fleet(hub, door.port(), 60, {"--interval=5", "--seconds=45", "--drops=5"});
  REQUIRE(fleet.WaitForAll(seconds(60)));

  // Every connection lasts 4 s; one hub is killed, and the one that leads is stopped.
  door.Set({.max_age = seconds(4)});
  std::set<std::string> had_by;
  bool lost = false;
  const auto look = [&] {
    const json::Value presence = AskJson(*redis, {"GET", "cluster:quay:collector"});
    had_by.insert(std::string(presence["hub"].StringOr()));
    lost = lost || HubFixture::Condition(hub.Object("quay"), "CollectorConnected", "status") != "True";
  };
  second.hub().Kill9();
  const double moves = quay.Metric("connects_total");
  CHECK(Eventually(seconds(30), [&] {
    look();
    return quay.Metric("connects_total") >= moves + 2;
  }));
  second.StartHub();
  CHECK(hub.hub().Stop() == 0);
  servers->managed->CreateNode("worker-3", false);
  CHECK(Eventually(seconds(20), [&] {
    look();
    return AskJson(*redis, {"GET", "cluster:quay:status"})["health"].StringOr() == "degraded";
  }));
  CHECK(hub.WaitFor("quay", "Connected", "degraded", seconds(40), false));
  hub.StartHub();
  CHECK(Eventually(seconds(60), [&] {
    look();
    return had_by.size() >= 2 && quay.Metric("connects_total") >= moves + 4;
  }));
  for (HubFixture* each : {&hub, &second, &third}) {
    CHECK(Eventually(seconds(20),
                     [&] { return each->Metric("ingest_registrations_total", {"result=\"accepted\""}) >= 1; }));
  }
  servers->managed->CreateNode("worker-3", true);
  door.Heal();
  CHECK_FALSE(lost);

  CHECK(Eventually(seconds(40), [&] { return AllServed(hub, fleet.collectors() + 1); }));
  const int result = fleet.Wait(seconds(120));
  INFO(fleet.Log());
  CHECK(result == 0);
  CHECK(StoredClusters(*redis, fleet.collectors()) == "60");
  CHECK(quay.WaitForDurable());
  CHECK(hub.WaitFor("quay", "Connected", "healthy", seconds(10), false));
  const json::Value object = hub.Object("quay");
  CHECK(HubFixture::Condition(object, "CollectorConflict", "status").empty());
  CHECK(redis->Ask({"SORT", "cluster:quay:nodes", "ALPHA"}) == "worker-1\nworker-2\nworker-3");
  CHECK(quay.Metric("batches_lost_total") == 0);
  CHECK(quay.Metric("batches_rejected_total") == 0);
}

}  // namespace
}  // namespace clusterpulse::testing
