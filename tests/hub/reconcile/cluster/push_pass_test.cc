// ClusterReconciler over clusters whose collector pushes: streams write through PushedClusters, as the ingester does.
#include <catch2/catch.hpp>

#include "common/base/time_format.h"
#include "common/kube/api_error.h"
#include "hub/reconcile/cluster/collector_data.h"
#include "tests/hub/reconcile/cluster/cluster_fixture.h"

namespace clusterpulse::reconcile {
namespace {

using Words = std::vector<std::string>;
using store::ApplyResult;

constexpr const char* kPush = R"({"collectionMode":"push"})";

// The collector of cluster "a", which has two ready nodes; passes are those of the leader.
struct PushFleet : Fleet {
  PushedClusters data{{store(), state(), collectors(), clock},
                      [](const std::string&) { return std::optional<ClusterConnection>(); },
                      {}};
  std::unique_ptr<ingest::ClusterWriter> stream;
  store::Presence presence;
  std::uint64_t seq = 0;
  std::chrono::seconds interval{30};

  void Open(const std::string& instance = "i1") {
    auto taken = data.TakeOver("a", presence.epoch);
    REQUIRE(taken.ok());
    stream = *std::move(taken);
    presence.hub = "hub-0";
    presence.instance = instance;
    presence.peer = "10.0.0.1:443";
    presence.version = "v1.2";
    presence.interval = interval;
    presence.ended_at.reset();
    presence.connected_at = clock.Now();
    CHECK(Beat() == ApplyResult::kApplied);
  }
  ApplyResult Beat() {
    presence.last_message = clock.Now();
    return *stream->PutPresence(presence);
  }
  ApplyResult Batch(bool second_ready = true) {
    model::Batch batch;
    batch.interval = interval;
    batch.snapshot.nodes.emplace();
    for (const char* name : {"p1", "p2"}) {
      model::Node node;
      node.name = name;
      node.status =
          second_ready || name == std::string("p1") ? model::NodeStatus::kReady : model::NodeStatus::kNotReady;
      batch.snapshot.nodes->push_back(node);
    }
    batch.snapshot.counts = model::ClusterCounts{2, second_ready ? 2 : 1, 10, 9, 8, 1024, 4};
    batch.snapshot.namespaces = Words{"default"};
    batch.snapshot.info = model::ClusterInfo{.version = "v1.29", .platform = "linux/amd64"};
    return *stream->Apply({"a", presence.epoch, presence.instance, ++seq}, batch, clock.Now(), {});
  }
  // With the pass that the hint brings about.
  runtime::Result Close(std::string_view reason = "connection reset") {
    presence.ended_at = clock.Now();
    presence.end_reason = reason;
    REQUIRE(stream->PutPresence(presence).ok());
    return Reconcile("a");
  }
  // A stream with data, as one pass reports it.
  void Connected() {
    Start("a", kPush);
    Reconcile("a");
    Open();
    REQUIRE(Batch() == ApplyResult::kApplied);
    Reconcile("a");
    REQUIRE(Phase("a") == "Connected");
  }
  // Time goes on while the stream lives: beats, batches and passes.
  void Live(std::chrono::seconds time) {
    for (std::chrono::seconds t{0}; t < time; t += 10s) {
      clock.AdvanceBy(10s);
      if (t.count() % 30 == 0) {
        (void)Beat();
        (void)Batch();
      }
      Reconcile("a");
    }
  }
  std::string Says(std::string_view type) {
    const json::Value status = Status("a");
    for (const json::Value& c : status["conditions"].items()) {
      if (c["type"].StringOr() == type) return std::string(c["message"].StringOr());
    }
    return {};
  }
  json::Value Collector() { return Status("a")["collectorStatus"]; }
  int Lists() { return Cluster("a").Count(kube::Verb::kList, ""); }
  int CallsToCluster() { return static_cast<int>(Cluster("a").calls().size()); }
};

TEST_CASE("a push cluster waits for its collector and says what to do") {
  PushFleet f;
  f.Start("a", kPush);
  const auto next = f.Reconcile("a");
  CHECK(next.requeue_after >= 30s);
  CHECK(f.Phase("a") == "Connecting");
  CHECK(f.Health("a") == "unknown");
  CHECK(f.Condition("a", "Ready") == "False/WaitingForCollector");
  CHECK(f.Condition("a", "CollectorConnected") == "False/WaitingForCollector");
  CHECK(f.Condition("a", "DataFresh") == "False/NoData");
  CHECK(f.Condition("a", "PushActive") == "");
  CHECK_THAT(f.Message("a"), Catch::Contains("CLUSTER_NAME=a, INGESTER_ADDRESS=hub.example:443") &&
                                 Catch::Contains("Secret hub/a-collector-token"));
  CHECK(f.Collector().Dump() == R"({"connected":false,"tokenSecret":"a-collector-token"})");
  CHECK(f.StoredHealth("a") == "unknown");
  CHECK(f.Document("cluster:a:spec")["displayName"].StringOr() == "a display");
  CHECK(f.CallsToCluster() == 0);
  CHECK(f.hub.store().Get(kube::kSecrets, {"hub", "a-collector-token"}).ok());
  // The spec's own address goes before the hub's.
  f.Patch("a", R"({"spec":{"ingesterAddress":"ingest.example:7"}})");
  f.Reconcile("a");
  CHECK_THAT(f.Message("a"), Catch::Contains("INGESTER_ADDRESS=ingest.example:7"));
}

TEST_CASE("a connected collector and its data are reported, and nothing is pulled or written over") {
  PushFleet f;
  f.Start("a", kPush);
  f.Reconcile("a");
  f.Open();
  f.Reconcile("a");
  CHECK(f.Phase("a") == "Connected");
  CHECK(f.Health("a") == "unknown");
  CHECK(f.Condition("a", "CollectorConnected") == "True/Connected");
  CHECK(f.Condition("a", "Ready") == "True/Connected");
  CHECK(f.Condition("a", "DataFresh") == "False/NoData");

  f.clock.AdvanceBy(2s);
  f.Batch();
  const base::SystemTime data_at = f.clock.Now();
  f.clock.AdvanceBy(29s);
  f.Beat();
  f.Reconcile("a");
  const json::Value status = f.Status("a");
  CHECK(f.Health("a") == "healthy");
  CHECK(f.Message("a") == "Cluster is reachable");
  CHECK(status["nodes"].IntOr() == 2);
  CHECK(status["nodesReady"].IntOr() == 2);
  CHECK(status["pods"].IntOr() == 10);
  CHECK(status["namespaces"].IntOr() == 1);
  CHECK(status["deployments"].IntOr() == 4);
  CHECK(status["version"].StringOr() == "v1.29");
  CHECK(status["platform"].StringOr() == "linux/amd64");
  CHECK(status["lastSyncTime"].StringOr() == base::FormatSeconds(data_at));
  CHECK(f.Condition("a", "DataFresh") == "True/Fresh");
  CHECK(f.Collector()["connected"].BoolOr());
  CHECK(f.Collector()["hub"].StringOr() == "hub-0");
  CHECK(f.Collector()["instance"].StringOr() == "i1");
  CHECK(f.Collector()["version"].StringOr() == "v1.2");
  CHECK(f.Collector()["lastHeartbeat"].StringOr() == base::FormatSeconds(f.clock.Now()));
  CHECK(f.CallsToCluster() == 0);

  f.Live(300s);
  CHECK(f.Beat() == ApplyResult::kApplied);                             // the leader never took the data over
  CHECK(f.StoreEvents("a") == Words{"unknown", "unknown", "healthy"});  // waits, connected, data
  CHECK(f.data.ReadPosition("a")->instance == "i1");
  CHECK(f.data.ReadPosition("a")->state_seq == f.seq);
}

TEST_CASE("a change of the health or of the nodes is in the status with the next pass") {
  PushFleet f;
  f.Connected();
  f.clock.AdvanceBy(1s);
  f.Batch(false);
  f.Reconcile("a");
  CHECK(f.Health("a") == "unhealthy");
  CHECK(f.Status("a")["nodesReady"].IntOr() == 1);
  CHECK_THAT(f.Message("a"), Catch::Contains("1 of 2 nodes is not ready: p2"));
}

TEST_CASE("a cluster is lost 15 s after its stream ended, 90 s after the last sign of life, and not before") {
  PushFleet f;
  f.interval = 60s;
  f.Connected();
  std::chrono::seconds limit{};
  SECTION("the stream ended") {
    f.Close();
    limit = 15s;
  }
  SECTION("its replica died") { limit = 90s; }
  f.events.Clear();
  auto next = f.Reconcile("a");
  CHECK(f.Phase("a") == "Connected");
  REQUIRE(next.requeue_after.has_value());
  CHECK(*next.requeue_after <= limit + 1s);
  f.clock.AdvanceBy(limit - 1s);
  f.Reconcile("a");
  CHECK(f.Condition("a", "CollectorConnected") == "True/Connected");
  f.clock.AdvanceBy(1s);
  f.Reconcile("a");
  CHECK(f.Phase("a") == "Disconnected");
  CHECK(f.Condition("a", "CollectorConnected") == "False/CollectorLost");
  CHECK(f.Condition("a", "Ready") == "False/CollectorLost");
  CHECK_FALSE(f.Collector()["connected"].BoolOr(true));
  CHECK(f.Collector()["version"].StringOr() == "v1.2");
  CHECK_THAT(f.Message("a"), Catch::Contains("the collector is lost since"));
  REQUIRE(f.events.events().size() == 2);
  CHECK(f.events.events()[0].reason == "CollectorLost");
  CHECK(f.events.events()[1].reason == "GapOpened");
  // The data is still young, and true as long as it is.
  CHECK(f.StoredHealth("a") == "healthy");
  CHECK(f.Health("a") == "healthy");

  f.Open("i2");
  f.Reconcile("a");
  CHECK(f.Phase("a") == "Connected");
  CHECK(f.Collector()["instance"].StringOr() == "i2");
}

TEST_CASE("a successor in time is no loss") {
  PushFleet f;
  f.Connected();
  f.events.Clear();
  f.Close();
  f.clock.AdvanceBy(14s);
  f.Reconcile("a");
  f.Open("i2");
  f.clock.AdvanceBy(14s);
  f.Reconcile("a");
  CHECK(f.Phase("a") == "Connected");
  CHECK(f.events.events().empty());
}

TEST_CASE("data that stops coming grows old by the interval the collector reports") {
  PushFleet f;
  f.interval = 60s;
  f.Connected();
  const auto beat_for = [&](std::chrono::seconds time) {
    for (std::chrono::seconds t{0}; t < time; t += 10s) {
      f.clock.AdvanceBy(10s);
      f.Beat();
      f.Reconcile("a");
    }
  };
  beat_for(180s);
  CHECK(f.Condition("a", "DataFresh") == "True/Fresh");
  CHECK(f.Health("a") == "healthy");
  beat_for(10s);
  CHECK(f.Condition("a", "DataFresh") == "False/StaleData");
  CHECK(f.Health("a") == "unknown");
  CHECK(f.Phase("a") == "Connected");  // the stream lives
  CHECK(f.StoredHealth("a") == "unknown");
  CHECK(f.CallsToCluster() == 0);
  f.Batch();
  f.Reconcile("a");
  CHECK(f.Health("a") == "healthy");
  CHECK(f.StoreEvents("a") == Words{"unknown", "healthy", "unknown", "healthy"});  // one each
}

TEST_CASE("the leader looks again when something changes that nobody tells") {
  PushFleet f;
  f.Start("a", R"({"collectionMode":"push","monitoring":{"interval":3600}})");
  f.Reconcile("a");
  f.Open();
  f.Batch();
  CHECK(*f.Reconcile("a").requeue_after <= 95s);  // the silence limit
  CHECK(*f.Close().requeue_after <= 16s);
}

TEST_CASE("a store that is away declares nobody lost, for however long and also after it is back") {
  PushFleet f;
  f.Connected();
  f.store().down = true;
  for (int i = 0; i < 30; ++i) {  // 5 min
    f.clock.AdvanceBy(10s);
    const auto next = f.Reconcile("a");
    CHECK(*next.requeue_after <= 10s);
    CHECK(f.Phase("a") == "Connected");
    CHECK(f.Condition("a", "CollectorConnected") == "True/Connected");
    CHECK(f.Condition("a", "StoreAvailable") == "False/StoreUnavailable");
  }
  CHECK(f.Health("a") == "unknown");  // nothing is called healthy on old data
  CHECK(f.Condition("a", "DataFresh") == "False/StaleData");
  f.store().down = false;
  f.store_up_since = f.clock.Steady();
  f.Reconcile("a");
  CHECK(f.Phase("a") == "Connected");
  CHECK(f.Condition("a", "StoreAvailable") == "True/Stored");
  f.clock.AdvanceBy(5s);  // streams tell again
  CHECK(f.Beat() == ApplyResult::kApplied);
  CHECK(f.Batch() == ApplyResult::kApplied);
  f.Reconcile("a");
  CHECK(f.Health("a") == "healthy");
  f.Live(120s);
  CHECK(f.Phase("a") == "Connected");
  CHECK(f.CallsToCluster() == 0);

  SECTION("one that did not come back is lost then") {
    f.store_up_since = f.clock.Steady();
    f.clock.AdvanceBy(91s);
    f.Reconcile("a");
    CHECK(f.Condition("a", "CollectorConnected") == "False/CollectorLost");
  }
}

TEST_CASE("a hub that starts without its store says only that") {
  PushFleet f;
  f.Connected();
  f.RestartHub();
  f.store().down = true;
  f.clock.AdvanceBy(400s);
  f.Reconcile("a");
  CHECK(f.Phase("a") == "Connected");
  CHECK(f.Health("a") == "healthy");
  CHECK(f.Condition("a", "StoreAvailable") == "False/StoreUnavailable");
}

TEST_CASE("a store that lost everything is told again; meanwhile nobody is lost") {
  PushFleet f;
  f.Connected();
  REQUIRE(f.store().DeletePrefix("").ok());
  f.Reconcile("a");
  CHECK(f.Phase("a") == "Connected");
  CHECK(f.Beat() == ApplyResult::kFenced);  // so the stream ends and its collector comes again
  f.clock.AdvanceBy(5s);
  f.Open();
  f.Batch();
  f.Reconcile("a");
  CHECK(f.Health("a") == "healthy");
  CHECK(f.Beat() == ApplyResult::kApplied);

  REQUIRE(f.store().DeletePrefix("").ok());
  f.Reconcile("a");
  f.clock.AdvanceBy(91s);
  f.Reconcile("a");
  CHECK(f.Condition("a", "CollectorConnected") == "False/CollectorLost");
}

TEST_CASE("a hub that starts anew keeps what was said until it can tell better") {
  PushFleet f;
  f.Connected();
  SECTION("connected, and the streams of the old process ended with it") {
    f.clock.AdvanceBy(3600s);
    f.RestartHub();
    f.store_up_since = f.clock.Steady();
    f.Reconcile("a");
    CHECK(f.Condition("a", "CollectorConnected") == "True/Connected");
    CHECK(f.Health("a") == "unknown");
    f.clock.AdvanceBy(91s);
    f.Reconcile("a");
    CHECK(f.Condition("a", "CollectorConnected") == "False/CollectorLost");
  }
  SECTION("lost stays lost") {
    f.Close();
    f.clock.AdvanceBy(20s);
    f.Reconcile("a");
    REQUIRE(f.Phase("a") == "Disconnected");
    f.RestartHub();
    f.store_up_since = f.clock.Steady();
    f.Reconcile("a");
    CHECK(f.Phase("a") == "Disconnected");
  }
  SECTION("lost stays lost, too, where its replica was killed and nobody wrote that the stream ended") {
    REQUIRE(f.hub.store().Delete(kube::kSecrets, {"hub", "a-creds"}).ok());  // no fallback
    f.clock.AdvanceBy(91s);
    f.Reconcile("a");
    REQUIRE(f.Phase("a") == "Disconnected");
    f.clock.AdvanceBy(600s);
    f.RestartHub();
    f.store_up_since = f.clock.Steady();
    f.events.Clear();
    for (std::chrono::seconds t{0}; t < 120s; t += 10s) {
      f.Reconcile("a");
      CHECK(f.Phase("a") == "Disconnected");
      CHECK(f.Condition("a", "CollectorConnected") == "False/CollectorLost");
      CHECK(f.Condition("a", "Ready") == "False/CollectorLost");
      CHECK_FALSE(f.Collector()["connected"].BoolOr(true));
      f.clock.AdvanceBy(10s);
    }
    CHECK(f.events.events().empty());
    f.Open("i2");
    f.Reconcile("a");
    CHECK(f.Phase("a") == "Connected");
  }
  SECTION("lost, and back before the new process looked: its next beat tells, whatever its replica's clock says") {
    REQUIRE(f.hub.store().Delete(kube::kSecrets, {"hub", "a-creds"}).ok());  // no fallback
    f.Close();
    f.clock.AdvanceBy(100s);
    f.Reconcile("a");
    REQUIRE(f.Phase("a") == "Disconnected");
    const auto beat_an_hour_behind = [&] {
      const base::SystemTime now = f.clock.Now();
      f.clock.SetSystem(now - 1h);
      CHECK(f.Beat() == ApplyResult::kApplied);
      f.clock.SetSystem(now);
    };
    f.Open("i2");
    beat_an_hour_behind();
    f.RestartHub();
    CHECK(*f.Reconcile("a").requeue_after <= 16s);
    CHECK(f.Phase("a") == "Disconnected");
    f.clock.AdvanceBy(15s);
    beat_an_hour_behind();
    f.Reconcile("a");
    CHECK(f.Phase("a") == "Connected");
  }
}

TEST_CASE("clocks that are an hour off, or are set back, keep nothing alive that is gone") {
  PushFleet f;
  const bool can_fall_back = GENERATE(true, false);
  CAPTURE(can_fall_back);
  const auto pass_for = [&](std::chrono::seconds time) {
    for (std::chrono::seconds t{0}; t < time; t += 10s) {
      f.clock.AdvanceBy(10s);
      f.Reconcile("a");
    }
  };
  SECTION("the clock of the replica is ahead") {
    f.Start("a", kPush);
    f.Reconcile("a");
    f.clock.SetSystem(f.clock.Now() + 1h);
    f.Open();
    REQUIRE(f.Batch() == ApplyResult::kApplied);
    f.clock.SetSystem(f.clock.Now() - 1h);
    f.Reconcile("a");
  }
  SECTION("the clock was set back") {
    f.Connected();
    f.clock.SetSystem(f.clock.Now() - 1h);
    f.Reconcile("a");
  }
  if (!can_fall_back) REQUIRE(f.hub.store().Delete(kube::kSecrets, {"hub", "a-creds"}).ok());
  CHECK(f.Phase("a") == "Connected");
  CHECK(f.Condition("a", "DataFresh") == "True/Fresh");
  CHECK(f.Health("a") == "healthy");
  const base::SystemTime gone_since = f.clock.Now();
  pass_for(90s);
  CHECK(f.Condition("a", "CollectorConnected") == "False/CollectorLost");
  CHECK_THAT(f.Says("CollectorConnected"), Catch::Contains("lost since " + base::FormatSeconds(gone_since)));
  pass_for(10s);
  if (can_fall_back) {
    CHECK(f.Condition("a", "PullFallback") == "True/CollectorLost");
    CHECK(f.Condition("a", "DataFresh") == "True/Fresh");
  } else {
    CHECK(f.Condition("a", "DataFresh") == "False/StaleData");
    CHECK(f.Health("a") == "unknown");
    CHECK(f.StoredHealth("a") == "unknown");
  }
  // Said once; clocks that do not run quite alike change nothing of it.
  const std::string said = f.Says("CollectorConnected");
  f.clock.SetSystem(f.clock.Now() + 1500ms);
  pass_for(60s);
  CHECK(f.Says("CollectorConnected") == said);
}

TEST_CASE("a fleet that comes back over new connections costs no status write that others wait for") {
  constexpr int kClusters = 20;
  PushFleet f;
  std::vector<std::unique_ptr<ingest::ClusterWriter>> streams;
  const auto name = [](int i) { return fmt::format("c{}", i); };
  const auto connect_all = [&](const std::string& hub) {
    for (int i = 0; i < kClusters; ++i) {
      std::uint64_t epoch = 0;
      auto writer = f.data.TakeOver(name(i), epoch);
      REQUIRE(writer.ok());
      store::Presence presence;
      presence.hub = hub;
      presence.instance = fmt::format("{}-{}", hub, i);
      presence.peer = fmt::format("10.0.0.{}:{}", i, epoch % 60000);
      presence.version = "v1.2";
      presence.epoch = epoch;
      presence.connected_at = presence.last_message = f.clock.Now();
      CHECK(*(*writer)->PutPresence(presence) == ApplyResult::kApplied);
      streams.push_back(*std::move(writer));
    }
  };
  const auto pass_all = [&](std::chrono::milliseconds each) {
    for (int i = 0; i < kClusters; ++i) {
      f.Reconcile(name(i));
      f.clock.AdvanceBy(each);
    }
  };
  for (int i = 0; i < kClusters; ++i) f.Connect(name(i), kPush);
  connect_all("hub-0");
  pass_all(100ms);
  SECTION("the hub lives") {}
  SECTION("the hub was restarted") { f.RestartHub(); }
  connect_all("hub-1");
  const int before = f.StatusWrites();
  pass_all(0ms);
  CHECK(f.StatusWrites() - before <= 1);  // of routine, which wait for nobody
  CHECK(f.Phase(name(kClusters - 1)) == "Connected");
}

TEST_CASE("a collector that was stopped is told apart from one that was lost") {
  PushFleet f;
  f.Connected();
  f.events.Clear();
  const std::string ended_at = base::FormatSeconds(f.clock.Now());
  f.Close(store::kCollectorEnded);
  CHECK(f.Condition("a", "CollectorConnected") == "True/Connected");  // one may come in its place
  f.clock.AdvanceBy(15s);
  f.Reconcile("a");
  CHECK(f.Phase("a") == "Disconnected");
  CHECK(f.Condition("a", "CollectorConnected") == "False/CollectorEnded");
  CHECK(f.Condition("a", "Ready") == "False/CollectorEnded");
  CHECK_FALSE(f.Collector()["connected"].BoolOr(true));
  CHECK_THAT(f.Message("a"), Catch::Contains("the collector was stopped at " + ended_at));
  REQUIRE(f.events.events().size() == 2);
  CHECK(f.events.events()[0].reason == "CollectorEnded");
  CHECK(f.events.events()[1].reason == "GapOpened");
  f.clock.AdvanceBy(75s);
  f.Reconcile("a");
  CHECK(f.Condition("a", "PullFallback") == "True/CollectorEnded");
  CHECK_THAT(f.Says("PullFallback"), Catch::Contains("the collector was stopped at " + ended_at));
}

// What readers of the ledger see.
std::vector<store::KnownGap> Gaps(PushFleet& f) {
  const auto ledger = f.state().ReadGaps("a");
  REQUIRE(ledger.ok());
  return ledger->gaps();
}

TEST_CASE("a lost link is a hole that is open, and gone when all that was kept has come") {
  PushFleet f;
  f.Connected();
  const base::SystemTime data_at = f.clock.Now();
  f.presence.buffered_batches = 7;
  f.presence.buffered_bytes = 700;
  f.presence.oldest_buffered = f.clock.Now() - 60s;
  f.Close();
  CHECK(Gaps(f).empty());
  f.events.Clear();
  f.clock.AdvanceBy(15s);
  f.Reconcile("a");
  REQUIRE(Gaps(f).size() == 1);
  CHECK(Gaps(f)[0].from == data_at);
  CHECK_FALSE(Gaps(f)[0].to.has_value());
  CHECK(Gaps(f)[0].cause == model::GapCause::kLinkDown);
  CHECK(Gaps(f)[0].fillable);
  f.clock.AdvanceBy(31s);
  f.Reconcile("a");
  CHECK(f.Collector()["gaps"].Dump() == R"({"count":1,"oldest":")" + base::FormatSeconds(data_at) + R"(","open":1})");
  CHECK(f.Collector()["backlog"].Dump() ==
        R"({"batches":7,"bytes":700,"oldest":")" + base::FormatSeconds(data_at - 60s) + R"("})");
  f.Reconcile("a");
  CHECK(f.events.Count("GapOpened") == 1);
  CHECK(f.events.Count("GapClosed") == 0);
  SECTION("another leader says nothing again") {
    f.RestartHub();
    f.Reconcile("a");
    f.clock.AdvanceBy(31s);
    f.Reconcile("a");
    CHECK(f.events.Count("GapOpened") == 1);
  }
  SECTION("nor when it comes back meanwhile") { f.RestartHub(); }

  f.Open();
  f.Batch();
  f.clock.AdvanceBy(31s);
  f.Reconcile("a");
  CHECK(f.Collector()["gaps"]["open"].IntOr() == 1);  // what it kept has not come yet
  REQUIRE(f.stream->PutGaps({.instance = "i1", .link = store::GapLedger::LinkEnd::kFilled, .at = f.clock.Now()}).ok());
  f.Batch();
  f.clock.AdvanceBy(31s);
  f.Beat();
  f.Reconcile("a");
  CHECK(f.Collector()["gaps"].IsNull());
  CHECK(f.events.Count("GapOpened") == 1);
  REQUIRE(f.events.Count("GapClosed") == 1);
  CHECK(f.events.events().back().type == runtime::EventType::kNormal);
  f.Reconcile("a");
  CHECK(f.events.Count("GapClosed") == 1);
}

TEST_CASE("a hole that is told when it is over is announced once") {
  PushFleet f;
  f.Connected();
  f.events.Clear();
  const model::Gap gap{{3, 5}, f.clock.Now() - 60s, f.clock.Now() - 20s, model::GapCause::kSpoolOverflow};
  REQUIRE(f.stream->PutGaps({.instance = "i1", .gaps = {gap}}).ok());
  REQUIRE(f.stream->PutGaps({.instance = "i1", .gaps = {gap}}).ok());
  f.clock.AdvanceBy(31s);
  f.Beat();
  f.Batch();
  f.Reconcile("a");
  REQUIRE(f.events.Count("GapClosed") == 1);
  CHECK_THAT(f.events.events().back().message, Catch::Contains("spool_overflow") && Catch::Contains("batches 3 to 5"));
  CHECK(f.Collector()["gaps"]["count"].IntOr() == 1);
  CHECK(f.Collector()["gaps"]["open"].IntOr(-1) == 0);
  f.RestartHub();
  f.Reconcile("a");
  CHECK(f.events.Count("GapClosed") == 1);
}

TEST_CASE("a lost collector's hole does not cover what its stream tells meanwhile") {
  PushFleet f;
  f.interval = 60s;  // the hub does not read it itself yet
  f.Connected();
  f.clock.AdvanceBy(91s);  // silent, and yet it lives
  f.store().before_data = [&] {
    const model::Gap gap{{3, 5}, f.clock.Now() - 60s, f.clock.Now() - 20s, model::GapCause::kSpoolOverflow};
    CHECK(*f.stream->PutGaps({.instance = "i1", .gaps = {gap}}) == ApplyResult::kApplied);
  };
  f.Reconcile("a");
  REQUIRE(Gaps(f).size() == 1);
  CHECK(Gaps(f)[0].cause == model::GapCause::kSpoolOverflow);
  f.clock.AdvanceBy(2s);
  f.Reconcile("a");
  CHECK(Gaps(f).size() == 2);
}

TEST_CASE("the time of the newest durable batch is told") {
  PushFleet f;
  f.Connected();
  CHECK(f.Collector()["lastDurable"].IsNull());
  REQUIRE(f.stream->PutDurable("i1", {{1, {}}, f.clock.Now() - 5s}).ok());
  const std::string then = base::FormatSeconds(f.clock.Now() - 5s);
  f.clock.AdvanceBy(31s);
  f.Beat();
  f.Reconcile("a");
  CHECK(f.Collector()["lastDurable"].StringOr() == then);
}

TEST_CASE("a cluster that is pulled from now on waits for no collector's history") {
  PushFleet f;
  f.Connected();
  f.Close();
  f.clock.AdvanceBy(15s);
  f.Reconcile("a");
  REQUIRE(Gaps(f).size() == 1);
  f.Patch("a", R"({"spec":{"collectionMode":"pull"}})");
  f.Reconcile("a");
  REQUIRE(Gaps(f).size() == 1);
  CHECK(Gaps(f)[0].to == f.clock.Now());
  CHECK_FALSE(Gaps(f)[0].fillable);
}

TEST_CASE("in a lost collector's place the hub's own reads become samples") {
  PushFleet f;
  f.with_history = true;
  f.RestartHub();
  f.Connected();
  CHECK(f.history.written().empty());  // those of a stream are the ingester's
  f.Close();
  f.clock.AdvanceBy(90s);
  f.Reconcile("a");
  f.clock.AdvanceBy(30s);
  f.Reconcile("a");
  REQUIRE(f.Condition("a", "PullFallback") == "True/CollectorLost");
  REQUIRE_FALSE(f.history.written().empty());
  CHECK(f.history.written().back().cluster == "a");
  CHECK(f.history.written().back().collected_at == f.clock.Now());
  CHECK(Gaps(f).at(0).cause == model::GapCause::kLinkDown);
}

TEST_CASE("three intervals after the loss the hub reads the cluster itself, until the collector is back") {
  PushFleet f;
  f.Connected();
  const std::uint64_t seq = f.seq;
  f.Close();
  f.clock.AdvanceBy(89s);
  f.Reconcile("a");
  CHECK(f.CallsToCluster() == 0);
  CHECK(f.Condition("a", "PullFallback") == "");
  f.clock.AdvanceBy(1s);
  f.Reconcile("a");
  CHECK(f.Condition("a", "PullFallback") == "True/CollectorLost");
  CHECK(f.Phase("a") == "Degraded");
  CHECK(f.Condition("a", "Ready") == "True/PullFallback");
  CHECK(f.Health("a") == "healthy");
  CHECK(f.Condition("a", "DataFresh") == "True/Fresh");
  CHECK(f.Condition("a", "CollectorConnected") == "False/CollectorLost");
  CHECK(f.StoredNodes("a") == Words{"n1", "n2"});
  CHECK(f.Status("a")["lastSyncTime"].StringOr() == base::FormatSeconds(f.clock.Now()));
  CHECK_THAT(f.Says("PullFallback"), Catch::Contains("the hub reads the cluster itself"));
  // A stream that only seemed dead is fenced, and what the collector numbered is remembered.
  CHECK(f.Batch() == ApplyResult::kFenced);
  CHECK(f.data.ReadPosition("a")->instance == "i1");
  CHECK(f.data.ReadPosition("a")->state_seq == seq);

  for (int i = 0; i < 3; ++i) {
    f.clock.AdvanceBy(31s);
    f.Reconcile("a");
    CHECK(f.Health("a") == "healthy");
    CHECK(f.Status("a")["lastSyncTime"].StringOr() == base::FormatSeconds(f.clock.Now()));
  }

  f.clock.AdvanceBy(5s);
  f.Open("i2");
  const int calls = f.CallsToCluster();
  f.Batch();
  f.Reconcile("a");
  CHECK(f.Condition("a", "PullFallback") == "");
  CHECK(f.Phase("a") == "Connected");
  CHECK(f.CallsToCluster() == calls);
  CHECK(f.StoredNodes("a") == Words{"p1", "p2"});
  f.Live(120s);
  CHECK(f.Batch() == ApplyResult::kApplied);  // no second writer
  CHECK(f.CallsToCluster() == calls);
}

TEST_CASE("a stream that comes while the hub reads the cluster wins") {
  PushFleet f;
  f.Connected();
  f.Close();
  f.clock.AdvanceBy(90s);
  f.Reconcile("a");
  REQUIRE(f.Condition("a", "PullFallback") == "True/CollectorLost");
  f.clock.AdvanceBy(31s);
  f.store().fence_next = 1;  // at the very moment of the write
  const auto next = f.Reconcile("a");
  CHECK(*next.requeue_after <= 1s);
  f.Open("i2");
  CHECK(f.Batch() == ApplyResult::kApplied);
  f.Reconcile("a");
  CHECK(f.Phase("a") == "Connected");
  CHECK(f.Batch() == ApplyResult::kApplied);
}

TEST_CASE("without credentials there is no fallback, and that is said") {
  PushFleet f;
  f.Connected();
  REQUIRE(f.hub.store().Delete(kube::kSecrets, {"hub", "a-creds"}).ok());
  f.Close();
  f.clock.AdvanceBy(91s);
  f.Reconcile("a");
  CHECK(f.Phase("a") == "Disconnected");
  CHECK(f.Health("a") == "unknown");
  CHECK(f.StoredHealth("a") == "unknown");
  CHECK(f.Condition("a", "PullFallback") == "False/SecretNotFound");
  CHECK_THAT(f.Message("a"), Catch::Contains("the collector is lost since") && Catch::Contains("Secret hub/a-creds"));
  CHECK(f.StoredNodes("a") == Words{"p1", "p2"});
}

TEST_CASE("what the leader says never disturbs a stream that came meanwhile") {
  PushFleet f;
  f.Connected();
  f.Close();
  f.clock.AdvanceBy(20s);
  f.store().fence_next = 1;  // somebody takes over between the look and the word
  const auto next = f.Reconcile("a");
  CHECK(*next.requeue_after <= 1s);
  CHECK(f.StoredHealth("a") == "healthy");
}

TEST_CASE("what the leader says never covers what a batch said meanwhile") {
  PushFleet f;
  SECTION("the first batch of a stream") {
    f.Start("a", kPush);
    f.Reconcile("a");
    f.Open();
  }
  SECTION("a batch after a silence of three intervals") {
    f.Connected();
    for (int i = 0; i < 10; ++i) {
      f.clock.AdvanceBy(10s);
      CHECK(f.Beat() == ApplyResult::kApplied);
    }
  }
  f.store().before_data = [&] { CHECK(f.Batch() == ApplyResult::kApplied); };
  const auto next = f.Reconcile("a");
  CHECK_FALSE(f.store().before_data);
  CHECK(*next.requeue_after <= 1s);
  CHECK(f.StoredHealth("a") == "healthy");
  f.Reconcile("a");
  CHECK(f.Health("a") == "healthy");
  CHECK(f.StoredHealth("a") == "healthy");
  CHECK(f.Batch() == ApplyResult::kApplied);
}

TEST_CASE("a stream that registers while the leader looks at an empty store is not disturbed") {
  PushFleet f;
  f.Start("a", kPush);
  f.store().before_data = [&] { f.Open(); };
  const auto next = f.Reconcile("a");
  CHECK(*next.requeue_after <= 1s);
  CHECK(f.Beat() == ApplyResult::kApplied);
  CHECK(f.Batch() == ApplyResult::kApplied);
  f.Reconcile("a");
  CHECK(f.Phase("a") == "Connected");
  CHECK(f.StoredHealth("a") == "healthy");
  CHECK(f.store().epochs == 1);  // the stream's
}

TEST_CASE("pull, push and pull again leave one writer") {
  PushFleet f;
  f.Start("a");
  f.Reconcile("a");
  REQUIRE(f.Phase("a") == "Connected");
  f.Patch("a", R"({"spec":{"collectionMode":"push"}})");
  f.clock.AdvanceBy(1s);
  f.Reconcile("a");
  CHECK(f.Condition("a", "CollectorConnected") == "False/WaitingForCollector");
  CHECK(f.Health("a") == "healthy");  // as long as the data is young
  f.Open();
  f.Batch();
  f.Reconcile("a");
  CHECK(f.Phase("a") == "Connected");
  CHECK(f.StoredNodes("a") == Words{"p1", "p2"});
  const int calls = f.CallsToCluster();
  f.Live(90s);
  CHECK(f.CallsToCluster() == calls);

  f.Patch("a", R"({"spec":{"collectionMode":"pull"}})");
  f.Reconcile("a");
  CHECK(f.Phase("a") == "Connected");
  CHECK(f.StoredNodes("a") == Words{"n1", "n2"});
  CHECK(f.Batch() == ApplyResult::kFenced);
  CHECK(f.Beat() == ApplyResult::kFenced);
  CHECK(f.Condition("a", "CollectorConnected") == "");
  CHECK(f.Collector().IsNull());

  // What the old collector left says nothing weeks later.
  CHECK_FALSE(f.collectors().ReadRecord("a")->has_value());
  f.clock.AdvanceBy(31s);
  f.Reconcile("a");
  f.Patch("a", R"({"spec":{"collectionMode":"push"}})");
  f.Reconcile("a");
  CHECK(f.Condition("a", "CollectorConnected") == "False/WaitingForCollector");
  CHECK(f.Status("a")["pods"].IntOr() == 0);  // as pulled
}

TEST_CASE("while the hub's own reading is the newest, the last batch is not reported") {
  PushFleet f;
  f.Connected();
  REQUIRE(f.Status("a")["pods"].IntOr() == 10);
  f.Close();
  f.clock.AdvanceBy(90s);
  f.Reconcile("a");
  REQUIRE(f.Condition("a", "PullFallback") == "True/CollectorLost");
  REQUIRE(f.Status("a")["pods"].IntOr() == 0);
  const std::string read_at(f.Status("a")["lastSyncTime"].StringOr());
  f.Cut("a");
  for (int i = 0; i < 3; ++i) {
    f.clock.AdvanceBy(31s);
    f.Reconcile("a");
    CHECK(f.Condition("a", "PullFallback") == "False/ConnectionFailed");
    CHECK(f.Status("a")["pods"].IntOr() == 0);
    CHECK(f.Status("a")["lastSyncTime"].StringOr() == read_at);
  }
}

TEST_CASE("a cluster that was pulled before is not left without data while it waits for a collector") {
  PushFleet f;
  f.Start("a");
  f.Reconcile("a");
  f.Patch("a", R"({"spec":{"collectionMode":"push"}})");
  f.clock.AdvanceBy(31s);
  f.Reconcile("a");
  CHECK(f.Condition("a", "PullFallback") == "");
  f.clock.AdvanceBy(60s);
  f.Reconcile("a");
  CHECK(f.Condition("a", "PullFallback") == "True/WaitingForCollector");
  CHECK(f.Health("a") == "healthy");
}

TEST_CASE("an invalid spec, a pause and another endpoint hold for push clusters too") {
  PushFleet f;
  f.Connected();
  SECTION("invalid") {
    f.Patch("a", R"({"spec":{"endpoint":"ftp://a"}})");
    f.Reconcile("a");
    CHECK(f.Phase("a") == "Error");
    CHECK(f.Condition("a", "Ready") == "False/InvalidSpec");
  }
  SECTION("paused") {
    f.Annotate("a", kPausedAnnotation, R"("true")");
    f.Reconcile("a");
    CHECK(f.Condition("a", "CollectorConnected") == "");
    CHECK_FALSE(f.Collector()["connected"].BoolOr(true));
    f.clock.AdvanceBy(91s);
    f.Reconcile("a");
    CHECK(f.Health("a") == "unknown");
    CHECK(f.StoredHealth("a") == "unknown");
    f.Annotate("a", kPausedAnnotation, "null");
    f.Open("i2");
    f.Batch();
    f.Reconcile("a");
    CHECK(f.Phase("a") == "Connected");
  }
  SECTION("another endpoint: the collector sends of its cluster all the same, and is not disturbed") {
    f.Patch("a", R"({"spec":{"endpoint":"https://b:6443"}})");
    f.Reconcile("a");
    CHECK(f.StoredNodes("a") == Words{"p1", "p2"});
    CHECK(f.Status("a")["nodes"].IntOr() == 2);
    CHECK(f.Status("a")["endpoint"].StringOr() == "https://b:6443");
    CHECK(f.Phase("a") == "Connected");
    CHECK(f.Health("a") == "healthy");
    CHECK(f.Batch() == ApplyResult::kApplied);
    // Lost, and the endpoint is mended for the fallback: what the collector sent stays until that reads.
    f.Close();
    f.clock.AdvanceBy(20s);
    f.Patch("a", R"({"spec":{"endpoint":"https://c:6443"}})");
    f.Reconcile("a");
    CHECK(f.StoredNodes("a") == Words{"p1", "p2"});
  }
  SECTION("another endpoint while the hub reads the cluster itself: nothing of the old one is told") {
    f.Close();
    f.clock.AdvanceBy(90s);
    f.Reconcile("a");
    REQUIRE(f.StoredNodes("a") == Words{"n1", "n2"});
    if (const bool restarted = GENERATE(false, true); restarted) f.RestartHub();
    f.Cut("b");
    f.Patch("a", R"({"spec":{"endpoint":"https://b:6443"}})");
    f.clock.AdvanceBy(1s);
    f.Reconcile("a");
    CHECK(f.StoredNodes("a").empty());
    CHECK(f.Status("a")["nodes"].IsNull());
  }
  SECTION("another endpoint before any collector came: what was pulled of the old one goes") {
    PushFleet pulled;
    pulled.Start("a");
    pulled.Reconcile("a");
    pulled.Patch("a", R"({"spec":{"collectionMode":"push"}})");
    pulled.Reconcile("a");
    REQUIRE(pulled.StoredNodes("a") == Words{"n1", "n2"});
    pulled.Patch("a", R"({"spec":{"endpoint":"https://b:6443"}})");
    pulled.Reconcile("a");
    CHECK(pulled.StoredNodes("a").empty());
    CHECK(pulled.Status("a")["nodes"].IsNull());
  }
  SECTION("deleted") {
    f.Delete("a");
    f.Reconcile("a");
    CHECK(f.Keys("cluster:a:").empty());
    CHECK(f.Batch() == ApplyResult::kFenced);
    CHECK(f.Beat() == ApplyResult::kFenced);
    CHECK(f.Keys("cluster:a:").empty());
  }
}

TEST_CASE("a token that cannot be made is said, and tried again") {
  PushFleet f;
  f.Start("a", kPush);
  f.hub.FailNext(kube::Verb::kCreate, "secrets", kube::ToStatus({403, "Forbidden", "no", {}}));
  const auto next = f.Reconcile("a");
  CHECK(*next.requeue_after <= 10s);
  CHECK(f.Condition("a", "CollectorToken") == "False/Forbidden");
  CHECK_THAT(f.Says("CollectorToken"), Catch::Contains("grant it get, create and patch on secrets"));
  CHECK(f.Collector()["tokenSecret"].IsNull());
  f.Reconcile("a");
  CHECK(f.Condition("a", "CollectorToken") == "");
  CHECK(f.Collector()["tokenSecret"].StringOr() == "a-collector-token");

  // Deleted: made anew, and what was known of its use stays known.
  const auto used = PushFleet::Json(R"({"metadata":{"annotations":{"clusterpulse.io/collector-token-used":"true"}}})");
  REQUIRE(f.hub.store().Patch(kube::kSecrets, {"hub", "a-collector-token"}, kube::StorePatch::kMerge, used).ok());
  f.Reconcile("a");
  REQUIRE(f.hub.store().Delete(kube::kSecrets, {"hub", "a-collector-token"}).ok());
  f.Reconcile("a");
  const auto secret = f.hub.store().Get(kube::kSecrets, {"hub", "a-collector-token"});
  REQUIRE(secret.ok());
  CHECK(PushFleet::Json((*secret)->json)["metadata"]["annotations"][kTokenUsedAnnotation].StringOr() == "true");
}

TEST_CASE("what the collector tells of itself shows in the conditions") {
  PushFleet f;
  f.Connected();
  REQUIRE(f.data.NoteRefused("a", {"i9", "10.0.0.9:1", f.clock.Now()}).ok());
  f.presence.limited = "too many nodes";
  f.presence.degraded = "pods: forbidden";
  f.Beat();
  f.Reconcile("a");
  CHECK(f.Condition("a", "CollectorConflict") == "True/TwoCollectors");
  CHECK(f.Condition("a", "IngestLimited") == "True/LimitReached");
  CHECK(f.Phase("a") == "Degraded");
  CHECK_THAT(f.Message("a"), Catch::Contains("pods: forbidden"));
}

}  // namespace
}  // namespace clusterpulse::reconcile
