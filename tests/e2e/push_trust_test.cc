// Who may push for which cluster: whatever a peer shows or sends, it harms nobody else, and what is wrong is told.
#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "tests/e2e/collector_fixture.h"
#include "tests/e2e/raw_collector.h"

namespace clusterpulse::testing {
namespace {

using absl::StatusCode;
using std::chrono::seconds;

bool Contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

std::string Instance(const json::Value& object) {
  return std::string(object["status"]["collectorStatus"]["instance"].StringOr());
}

TEST_CASE("who is not the cluster's collector is turned away in words, and touches no data") {
  REQUIRE_REAL_SERVERS();
  REQUIRE_REAL_REDIS({.aof = true});
  HubFixture hub(*servers, {.redis = redis.get(), .flags = {}, .ingester_tls = true});
  REQUIRE(hub.InstallDefinitions());
  hub.ConnectPush("quay");
  hub.ConnectPush("dock");
  hub.StartHub();
  Collector quay(hub, {.cluster = "quay"});
  REQUIRE(hub.WaitFor("quay", "Connected", "healthy", seconds(20), false));
  const std::string quay_token = hub.CollectorToken("quay");

  // The real collector with a wrong token says so, and takes the right one without a restart.
  Collector dock(hub, {.cluster = "dock", .token = "not-the-token"});
  CHECK(Eventually(seconds(20), [&] { return Contains(dock.Log(), "the credential was not accepted"); }));
  CHECK_FALSE(Contains(dock.Log() + hub.HubLog(), "not-the-token"));
  CHECK(hub.Metric("ingest_auth_failures_total", {"reason=\"bad_token\""}) >= 1);
  json::Value object = hub.Object("dock");
  CHECK(HubFixture::Condition(object, "CollectorConnected", "reason") == "WaitingForCollector");
  CHECK_FALSE(object["status"]["collectorStatus"]["connected"].BoolOr(true));
  CHECK(redis->Ask({"SCARD", "cluster:dock:nodes"}) == "0");
  CHECK(dock.Metric("batches_sent_total") == 0);
  dock.WriteToken(hub.CollectorToken("dock"));
  REQUIRE(hub.WaitFor("dock", "Connected", "healthy", seconds(20), false));
  CHECK(redis->Ask({"SCARD", "cluster:dock:nodes"}) == "3");
  CHECK(dock.process().Stop() == 0);

  struct Case {
    const char *name, *cluster;
    std::string token;
  };
  for (const Case& c : {Case{"no token", "quay", ""}, Case{"another cluster's token", "dock", quay_token},
                        Case{"a cluster that is not there", "nowhere", quay_token}}) {
    CAPTURE(c.name);
    RawCollector stranger(hub, c.cluster, c.token);
    CHECK_FALSE(stranger.Register());
    CHECK(stranger.client().Finish().code() == StatusCode::kUnauthenticated);
  }
  CHECK(redis->Ask({"KEYS", "cluster:nowhere:*"}).empty());
  CHECK(redis->Ask({"SISMEMBER", "clusters:all", "nowhere"}) == "0");

  // A batch of another cluster on a stream that is bound to one.
  const std::string before = Instance(hub.Object("quay"));
  RawCollector smuggler(hub, "dock", hub.CollectorToken("dock"));
  REQUIRE(smuggler.Register());
  model::Batch foreign = smuggler.MakeBatch(1, {"smuggled"});
  foreign.cluster = "quay";
  REQUIRE(smuggler.Send(foreign));
  CHECK(smuggler.client().Finish().code() == StatusCode::kPermissionDenied);
  CHECK(hub.Metric("ingest_rejected_total", {"kind=\"foreign\""}) == 1);
  REQUIRE(quay.WaitForDurable());
  for (const char* cluster : {"quay", "dock"}) {
    CAPTURE(cluster);
    CHECK(redis->Ask({"SCARD", fmt::format("cluster:{}:nodes", cluster)}) == "3");
    CHECK(redis->Ask({"EXISTS", fmt::format("cluster:{}:node:smuggled", cluster)}) == "0");
  }
  CHECK(Instance(hub.Object("quay")) == before);
  CHECK(quay.Metric("connects_total") == 1);
  CHECK(hub.Phase("quay") == "Connected");

  // The token changes under a live stream: it ends, and only the new one is taken.
  RawCollector rotated(hub, "dock", hub.CollectorToken("dock"));
  REQUIRE(rotated.Register());
  REQUIRE(rotated.Send(rotated.MakeBatch(1, {"dock-1"})));
  REQUIRE(rotated.WaitForApplied(1));
  CHECK(hub.Kubectl({"patch", "secret", "dock-collector-token", "-p", R"({"stringData":{"token":"rotated-by-hand"}})"})
            .exit_code == 0);
  CHECK(rotated.client().Finish(seconds(60)).code() == StatusCode::kUnauthenticated);
  RawCollector renewed(hub, "dock", "rotated-by-hand");
  REQUIRE(renewed.Register());
  REQUIRE(renewed.Send(renewed.MakeBatch(2, {"dock-1", "dock-2"})));
  REQUIRE(renewed.WaitForApplied(2));
  CHECK(redis->Ask({"SCARD", "cluster:dock:nodes"}) == "2");
  CHECK(hub.WaitForCollector("dock", true));

  // Taken away altogether: the hub makes another.
  CHECK(hub.Kubectl({"delete", "secret", "quay-collector-token"}).exit_code == 0);
  CHECK(Eventually(seconds(60), [&] { return quay.Metric("connection_failures_total") >= 1; }));
  CHECK(Contains(quay.Log(), "the credential was not accepted"));
  const std::string made = hub.CollectorToken("quay", quay_token);
  CHECK(made != quay_token);
  quay.WriteToken(made);
  CHECK(Eventually(seconds(30), [&] { return quay.IsConnected(); }));
  CHECK(quay.WaitForDurable());
  CHECK(hub.WaitFor("quay", "Connected", "healthy", seconds(10), false));
  CHECK(hub.WaitForCollector("quay", true));
  CHECK(quay.Metric("batches_lost_total") == 0);
}

TEST_CASE("two collectors with one name: the newer has it, both are named, and the data is of one cluster") {
  REQUIRE_REAL_SERVERS();
  REQUIRE_REAL_REDIS({.aof = true});
  HubFixture hub(*servers, {.redis = redis.get(), .flags = {}, .ingester_tls = true});
  REQUIRE(hub.InstallDefinitions());
  servers->hub->CreateNode("pier-1", true);
  hub.ConnectPush("quay");
  hub.StartHub();
  const auto nodes = [&] { return redis->Ask({"SMEMBERS", "cluster:quay:nodes"}); };
  Collector older(hub, {.cluster = "quay"});
  REQUIRE(hub.WaitFor("quay", "Connected", "healthy", seconds(20), false));
  CHECK(redis->Ask({"SCARD", "cluster:quay:nodes"}) == "3");
  const std::string older_instance = Instance(hub.Object("quay"));

  Collector newer(hub, {.cluster = "quay", .api = servers->hub.get()});
  REQUIRE(hub.WaitUntil("quay", seconds(20), [](const json::Value& object) {
    return HubFixture::Condition(object, "CollectorConflict", "status") == "True";
  }));
  const json::Value object = hub.Object("quay");
  const std::string newer_instance = Instance(object);
  CHECK(newer_instance != older_instance);
  const std::string words = HubFixture::Condition(object, "CollectorConflict", "message");
  CAPTURE(words);
  CHECK(Contains(words, older_instance));
  CHECK(Contains(words, newer_instance));
  CHECK(Contains(older.Log(), "has another collector"));
  // However often the older one knocks.
  const double knocks = older.Metric("connection_failures_total");
  CHECK(Eventually(seconds(30), [&] { return older.Metric("connection_failures_total") >= knocks + 2; }));
  CHECK(newer.WaitForDurable());
  CHECK(nodes() == "pier-1");
  CHECK(newer.Metric("connects_total") == 1);
  CHECK(hub.Object("quay")["status"]["collectorStatus"]["connected"].BoolOr());
  CHECK(Instance(hub.Object("quay")) == newer_instance);

  CHECK(newer.process().Stop() == 0);
  CHECK(older.WaitForDurable());
  CHECK(redis->Ask({"SCARD", "cluster:quay:nodes"}) == "3");
  CHECK(AskJson(*redis, {"GET", "cluster:quay:collector"})["instance"].StringOr() == older_instance);
  CHECK(hub.WaitFor("quay", "Connected", "healthy", seconds(10), false));
  CHECK(older.Metric("batches_lost_total") == 0);
}

}  // namespace
}  // namespace clusterpulse::testing
