// Collectors that go: cut off without a word, killed, not reading any more, no longer wanted. The object tells within
// the promised time, the hub reads the cluster itself where it can, and there is one writer all the while.
#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "tests/e2e/collector_fixture.h"
#include "tests/e2e/raw_collector.h"

namespace clusterpulse::testing {
namespace {

using std::chrono::seconds;
using Steady = std::chrono::steady_clock;

bool Contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

std::string Nodes(const RedisServer& redis, const std::string& cluster) {
  return redis.Ask({"SORT", "cluster:" + cluster + ":nodes", "ALPHA"});
}
constexpr const char* kWorkers = "worker-1\nworker-2\nworker-3";

std::string Health(const RedisServer& redis, const std::string& cluster) {
  return std::string(AskJson(redis, {"GET", "cluster:" + cluster + ":status"})["health"].StringOr());
}

void SetMode(HubFixture& hub, const std::string& name, const std::string& mode) {
  const std::string patch = fmt::format(R"({{"spec":{{"collectionMode":"{}"}}}})", mode);
  REQUIRE(hub.Kubectl({"patch", "cc", name, "--type=merge", "-p", patch}).exit_code == 0);
}

double LastPull(const HubFixture& hub, const std::string& cluster) {
  return hub.Metric("pull_last_success_timestamp_seconds", {fmt::format("cluster=\"{}\"", cluster)});
}

// The collector watches another cluster than the endpoint names, so that the data tells who wrote it.
void PushPullPush(HubFixture& hub, RedisServer& redis) {
  Collector collector(hub, {.cluster = "switched", .api = hub.servers().hub.get()});
  REQUIRE(hub.WaitFor("switched", "Connected", "healthy", seconds(20), false));
  CHECK(Nodes(redis, "switched") == "pier-1");

  SetMode(hub, "switched", "pull");
  REQUIRE(hub.WaitUntil("switched", seconds(20), [&](const json::Value& object) {
    return object["status"]["collectorStatus"].IsNull() && object["status"]["nodes"].IntOr() == 3;
  }));
  const double refused = collector.Metric("connection_failures_total");
  bool pulled = true;
  CHECK(Eventually(seconds(30), [&] {
    pulled = pulled && Nodes(redis, "switched") == kWorkers;
    return collector.Metric("connection_failures_total") >= refused + 2;
  }));
  CHECK(pulled);
  CHECK(HubFixture::Condition(hub.Object("switched"), "CollectorConnected", "status").empty());

  SetMode(hub, "switched", "push");
  REQUIRE(hub.WaitForCollector("switched", true));
  REQUIRE(collector.WaitForDurable());
  CHECK(Nodes(redis, "switched") == "pier-1");
  const double pulled_at = LastPull(hub, "switched");
  hub.SyncNow("switched");
  for (int batch = 0; batch < 2; ++batch) {
    CHECK(collector.WaitForDurable());
    CHECK(Nodes(redis, "switched") == "pier-1");
  }
  CHECK(LastPull(hub, "switched") == pulled_at);
  CHECK(hub.WaitFor("switched", "Connected", "healthy", seconds(5), false));
  CHECK(collector.Metric("batches_lost_total") == 0);
  CHECK(collector.process().Stop() == 0);
}

TEST_CASE("collectors that go, each in its own way") {
  REQUIRE_REAL_SERVERS();
  REQUIRE_REAL_REDIS({.aof = true});
  HubFixture hub(*servers, {.redis = redis.get(), .flags = {}, .ingester_tls = true});
  REQUIRE(hub.InstallDefinitions());
  servers->hub->CreateNode("pier-1", true);
  hub.CreateSecret("harbour-token", servers->token, servers->managed->ca_pem());
  for (const char* name : {"killed", "switched"}) hub.ConnectPush(name, "harbour-token");
  for (const char* name : {"cut", "slow", "steady"}) hub.ConnectPush(name);
  TcpProxy line(hub.ingester_port());
  hub.StartHub();
  // Nobody is called lost by a hub that has not seen its store for 90 s.
  const auto watched_since = Steady::now();
  Collector steady(hub, {.cluster = "steady"});
  Collector killed(hub, {.cluster = "killed"});
  Collector cut(hub, {.cluster = "cut", .port = line.port()});
  for (const char* name : {"steady", "killed", "cut"}) {
    REQUIRE(hub.WaitFor(name, "Connected", "healthy", seconds(20), false));
  }

  // Takes no answer, until the hub can send no more and reads no more. (One of ours could not: it has credits.)
  RawCollector slow(hub, "slow", hub.CollectorToken("slow"), true);
  REQUIRE(slow.Register());
  std::uint64_t sent = 0;
  constexpr std::uint64_t kMany = 60000;
  bool is_taken = true;
  while (is_taken && sent < kMany) {
    model::Batch batch = slow.MakeBatch(++sent, {"slow-1"});
    batch.id += std::string(200, 'x');  // comes back with every answer
    is_taken = slow.Send(batch);
  }
  CAPTURE(sent);
  CHECK_FALSE(is_taken);
  CHECK(Nodes(*redis, "slow") == "slow-1");

  PushPullPush(hub, *redis);

  REQUIRE(Eventually(seconds(60), [&] { return Steady::now() - watched_since > seconds(50); }));
  const std::string cut_data = Nodes(*redis, "cut");
  line.Set({.freeze = true});
  const auto cut_at = Steady::now();
  killed.process().Kill9();
  const auto killed_at = Steady::now();

  REQUIRE(hub.WaitForCollector("cut", false, seconds(60)));
  const std::chrono::duration<double> cut_shown = Steady::now() - cut_at;
  CHECK(cut_shown.count() <= 45);
  json::Value object = hub.Object("cut");
  CHECK(HubFixture::Condition(object, "CollectorConnected", "reason") == "CollectorLost");
  CHECK(object["status"]["phase"].StringOr() == "Disconnected");
  CHECK(Nodes(*redis, "cut") == cut_data);  // what was known stays
  CHECK(Health(*redis, "cut") == object["status"]["health"].StringOr());
  line.Heal();
  REQUIRE(hub.WaitForCollector("cut", true, seconds(60)));
  REQUIRE(cut.WaitForDurable());
  CHECK(hub.WaitFor("cut", "Connected", "healthy", seconds(10), false));
  CHECK(Nodes(*redis, "cut") == kWorkers);

  // The hub reads the cluster of the killed one, and says so.
  REQUIRE(hub.WaitUntil("killed", seconds(90), [](const json::Value& o) {
    return HubFixture::Condition(o, "PullFallback", "status") == "True";
  }));
  CAPTURE(std::chrono::duration<double>(Steady::now() - killed_at).count());
  object = hub.Object("killed");
  CHECK(object["status"]["phase"].StringOr() == "Degraded");
  CHECK(object["status"]["health"].StringOr() == "healthy");
  CHECK_FALSE(object["status"]["collectorStatus"]["connected"].BoolOr(true));
  CHECK(HubFixture::Condition(object, "DataFresh", "status") == "True");
  servers->managed->CreateNode("worker-3", false);
  CHECK(hub.WaitFor("killed", "Degraded", "degraded"));
  CHECK(Health(*redis, "killed") == "degraded");
  servers->managed->CreateNode("worker-3", true);
  CHECK(hub.WaitFor("killed", "Degraded", "healthy"));
  killed.Start();
  REQUIRE(hub.WaitForCollector("killed", true));
  REQUIRE(hub.WaitFor("killed", "Connected", "healthy", seconds(10), false));
  CHECK(HubFixture::Condition(hub.Object("killed"), "PullFallback", "status").empty());
  const double pulled_at = LastPull(hub, "killed");
  CHECK(pulled_at > 0);
  hub.SyncNow("killed");
  CHECK(killed.WaitForDurable());
  CHECK(killed.WaitForDurable());
  CHECK(LastPull(hub, "killed") == pulled_at);
  CHECK(Nodes(*redis, "killed") == kWorkers);

  // The one that does not read was ended; the others never noticed.
  CHECK(hub.WaitForCollector("slow", false, seconds(60)));
  const std::string why = HubFixture::Condition(hub.Object("slow"), "CollectorConnected", "message");
  CAPTURE(why, redis->Ask({"GET", "cluster:slow:collector"}));
  CHECK(Contains(why, "the peer does not take what it is sent"));
  CHECK(Nodes(*redis, "slow") == "slow-1");
  // The one that was stopped is not called lost.
  CHECK(hub.WaitForCollector("switched", false, seconds(30)));
  CHECK(HubFixture::Condition(hub.Object("switched"), "CollectorConnected", "reason") == "CollectorEnded");
  CHECK(steady.Metric("connects_total") == 1);
  CHECK(hub.WaitFor("steady", "Connected", "healthy", seconds(5), false));
  for (Collector* collector : {&steady, &killed, &cut}) CHECK(collector->Metric("batches_lost_total") == 0);
  CHECK(hub.hub().running());
}

}  // namespace
}  // namespace clusterpulse::testing
