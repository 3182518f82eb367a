#include "hub/reconcile/cluster/collector_data.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <random>
#include <thread>

#include <catch2/catch.hpp>

#include "common/base/mutex.h"
#include "common/base/testing/manual_clock.h"
#include "common/base/time_format.h"
#include "common/json/value.h"
#include "hub/reconcile/cluster/health.h"
#include "hub/store/embedded_store.h"

namespace clusterpulse::reconcile {
namespace {

using namespace std::chrono_literals;
using store::ApplyResult;
using Words = std::vector<std::string>;

std::vector<model::Node> Nodes(std::string_view states) {  // R ready, N not ready
  std::vector<model::Node> nodes;
  for (const char state : states) {
    nodes.emplace_back();
    nodes.back().name = "n" + std::to_string(nodes.size());
    nodes.back().status = state == 'R' ? model::NodeStatus::kReady : model::NodeStatus::kNotReady;
  }
  return nodes;
}

model::Batch BatchOf(std::string_view states) {
  model::Batch batch;
  batch.cluster = "a";
  batch.interval = 30s;
  batch.snapshot.nodes = Nodes(states);
  batch.snapshot.counts.emplace();
  batch.snapshot.counts->nodes = static_cast<std::int32_t>(states.size());
  batch.snapshot.counts->nodes_ready = static_cast<std::int32_t>(std::count(states.begin(), states.end(), 'R'));
  return batch;
}

std::vector<model::ClusterOperator> Dns(bool degraded) {
  model::ClusterOperator dns;
  dns.name = "dns";
  dns.available = true;
  dns.degraded = degraded;
  dns.message = "no endpoints";
  return {dns};
}

// Whatever a collector sends was asked of it.
class AllWanted final : public ingest::SourceResults {
 public:
  std::size_t Complete(model::Batch&) const override { return 0; }
  std::chrono::seconds Interval(const std::string&) const override { return 60s; }
};

struct Fixture {
  base::ManualClock clock;
  std::unique_ptr<store::EmbeddedStore> store = *store::EmbeddedStore::Open({.data_dir = "", .clock = &clock});
  store::ClusterState clusters{*store, {.hub_namespace = "hub"}, clock};
  store::CollectorState collectors{*store, clusters, "hub"};
  store::SourceState sources{*store, 600s};
  AllWanted results;
  PushedClusters data{{*store, clusters, collectors, clock, nullptr, &sources, &results},
                      [](const std::string& name) {
                        ClusterConnection connection;
                        connection.meta.name = name;
                        connection.spec.display_name = "The A";
                        connection.spec.endpoint = "https://a:6443";
                        return std::optional(connection);
                      },
                      {}};
  std::unique_ptr<ingest::ClusterWriter> writer;
  std::uint64_t epoch = 0, seq = 0;

  Fixture() { Connect(); }
  void Connect() {
    auto taken = data.TakeOver("a", epoch);
    REQUIRE(taken.ok());
    writer = *std::move(taken);
  }
  ApplyResult Push(const model::Batch& batch, std::chrono::milliseconds age = 0ms) {
    const auto result =
        writer->Apply({"a", epoch, "i", ++seq}, batch, clock.Now() - age, store::DurableBatches{{seq - 1, {}}});
    REQUIRE(result.ok());
    return *result;
  }
  void PutPresence(const std::function<void(store::Presence&)>& change = {}) {
    store::Presence presence;
    presence.epoch = epoch;
    presence.last_message = clock.Now();
    if (change) change(presence);
    REQUIRE(writer->PutPresence(presence).ok());
  }
  json::Value Document(const std::string& key) {
    const auto text = store->Get("cluster:a:" + key);
    REQUIRE(text.ok());
    return text->has_value() ? *json::Value::Parse(**text) : json::Value();
  }
  std::string Health() { return std::string(Document("status")["health"].StringOr()); }
  std::string Message() { return std::string(Document("status")["message"].StringOr()); }
  store::PushRecord Record() { return collectors.ReadRecord("a")->value(); }
  Words Events() {
    Words out;
    const auto list = store->ListRange("events:a", 100);
    REQUIRE(list.ok());
    for (const std::string& text : *list) {
      const json::Value event = *json::Value::Parse(text);
      CHECK(event["type"].StringOr() == "cluster.reconciled");
      CHECK(event["data"]["display_name"].StringOr() == "The A");
      CHECK(event["data"]["source"].StringOr() == "collector-push");
      out.emplace(out.begin(), event["data"]["health"].StringOr());
    }
    return out;
  }
};

TEST_CASE("a batch becomes documents, a judged status, a record, and an event when the health changed") {
  Fixture f;
  CHECK(f.Push(BatchOf("RR"), 3s) == ApplyResult::kApplied);
  CHECK(f.Health() == "healthy");
  CHECK(f.Message() == "Cluster is reachable");
  CHECK(f.Record().data_at == f.clock.Now() - 3s);
  CHECK(f.Record().received_at == f.clock.Now());
  CHECK(f.Record().interval == 30s);
  CHECK(f.Record().counts->nodes_ready == 2);
  CHECK(f.data.ReadPosition("a")->state_seq == 1);
  CHECK(f.data.ReadPosition("a")->instance == "i");

  f.clock.AdvanceBy(30s);
  f.Push(BatchOf("RRN"));
  CHECK(f.Health() == "degraded");
  CHECK_THAT(f.Message(), Catch::Contains("1 of 3 nodes is not ready: n3"));
  f.Push(BatchOf("RNN"));
  CHECK(f.Health() == "unhealthy");
  f.Push(BatchOf("RNN"));
  f.Push(BatchOf(""));
  CHECK(f.Message() == "the cluster has no node");
  f.Push(BatchOf("RR"));
  CHECK(f.Events() == Words{"healthy", "degraded", "unhealthy", "healthy"});
}

TEST_CASE("what a batch does not carry stays, as long as it can be true") {
  Fixture f;
  model::Batch full = BatchOf("RR");
  full.snapshot.cluster_operators = Dns(true);
  full.snapshot.counts->deployments = 7;
  full.snapshot.namespaces = Words{"default", "etl"};
  full.snapshot.info = model::ClusterInfo{.version = "4.14", .platform = "OpenShift"};
  f.Push(full);
  CHECK(f.Message() == "ClusterOperator dns is degraded: no endpoints");

  const auto silent = [&](std::chrono::seconds after) {
    f.clock.AdvanceBy(after);
    f.Push(BatchOf("RR"));
  };
  silent(300s);  // read every five minutes: no news is no recovery
  CHECK(f.Health() == "degraded");
  CHECK(f.Record().counts->deployments == 7);
  CHECK(f.Record().namespaces == 2);
  CHECK(f.Record().version == "4.14");
  CHECK(f.Record().platform == "OpenShift");
  silent(601s);
  CHECK(f.Health() == "healthy");

  // A list of nodes that failed: the old one counts until it is too old.
  model::Batch without = BatchOf("");
  without.snapshot = {};
  f.clock.AdvanceBy(60s);
  f.Push(without);
  CHECK(f.Health() == "healthy");
  CHECK(f.Record().data_at == f.clock.Now() - 60s);
  f.clock.AdvanceBy(31s);
  f.Push(without);
  CHECK(f.Health() == "unknown");
  CHECK(f.store->SetMembers("cluster:a:nodes")->size() == 2);
}

TEST_CASE("without any node list nothing is known, and nothing is called unhealthy") {
  Fixture f;
  model::Batch batch;
  batch.snapshot.namespaces = Words{"default"};
  f.Push(batch);
  CHECK(f.Health() == "unknown");
  CHECK(f.Message() == "no data of the cluster yet");
}

TEST_CASE("a later stream, on whichever replica, goes on from what is stored") {
  Fixture f;
  model::Batch full = BatchOf("RR");
  full.snapshot.cluster_operators = Dns(true);
  f.Push(full);
  f.Connect();
  f.clock.AdvanceBy(30s);
  f.Push(BatchOf("RR"));
  CHECK(f.Health() == "degraded");
  CHECK(f.Events() == Words{"degraded"});
}

TEST_CASE("a recovery is an event also when the leader had the last word") {
  Fixture f;
  f.Push(BatchOf("RR"));
  const auto say_unknown = [&] {
    REQUIRE(f.clusters.Apply({"a", f.epoch, "", 0}, {}, {model::Health::kUnknown, "lost"}, {}, {}).ok());
  };
  SECTION("a new stream") {
    say_unknown();
    f.Connect();
  }
  SECTION("the same stream after a silence") {
    f.clock.AdvanceBy(91s);
    say_unknown();
  }
  f.Push(BatchOf("RR"));
  CHECK(f.Health() == "healthy");
  CHECK(f.Events() == Words{"healthy", "healthy"});
}

TEST_CASE("what the collector cannot read is said") {
  Fixture f;
  f.PutPresence([](store::Presence& p) { p.degraded = "pods: forbidden"; });
  f.Push(BatchOf("RR"));
  CHECK(f.Health() == "healthy");
  CHECK_THAT(f.Message(), Catch::Contains("not all could be read: pods: forbidden"));
}

TEST_CASE("data is never from the future, and an interval that is not told is that of the stream") {
  Fixture f;
  model::Batch batch = BatchOf("R");
  batch.interval = 0s;
  f.Push(batch, -10s);
  CHECK(f.Record().data_at == f.clock.Now());
  CHECK(f.Record().interval == 60s);
  f.PutPresence([](store::Presence& p) { p.interval = 45s; });
  f.Push(batch);
  CHECK(f.Record().interval == 45s);
}

TEST_CASE("the address of the connection stands in where the collector knows none") {
  Fixture f;
  model::Batch batch = BatchOf("R");
  batch.snapshot.info = model::ClusterInfo{.version = "v1.29"};
  f.Push(batch);
  CHECK(f.Document("info")["api_url"].StringOr() == "https://a:6443");
  batch.snapshot.info->api_url = "https://inside";
  f.Push(batch);
  CHECK(f.Document("info")["api_url"].StringOr() == "https://inside");
}

TEST_CASE("a fenced writer changes nothing") {
  Fixture f;
  f.Push(BatchOf("RR"));
  const auto old = std::move(f.writer);
  const std::uint64_t old_epoch = f.epoch;
  f.Connect();
  CHECK(*old->Apply({"a", old_epoch, "i", 99}, BatchOf("NN"), f.clock.Now(), {}) == ApplyResult::kFenced);
  CHECK(*old->PutDurable("i", {{99, {}}}) == ApplyResult::kFenced);
  store::Presence presence;
  presence.epoch = old_epoch;
  CHECK(*old->PutPresence(presence) == ApplyResult::kFenced);
  CHECK(f.Health() == "healthy");
  CHECK(f.data.ReadPosition("a")->epoch == f.epoch);
}

TEST_CASE("the leader is told of what its status shows, not of every sign of life") {
  Fixture f;
  std::atomic<int> hints{0};
  const auto subscription = f.collectors.Subscribe([&](std::string_view cluster) { hints += cluster == "a"; });
  REQUIRE(subscription.ok());
  int expected = 0;
  const auto after = [&](bool hint, const std::function<void()>& act) {
    act();
    expected += hint;
    // A hint of our own comes behind what was given before it.
    REQUIRE(f.data.NoteRefused("a", {}).ok());
    ++expected;
    const auto deadline = std::chrono::steady_clock::now() + 10s;
    while (hints < expected && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    CHECK(hints == expected);
  };
  after(true, [&] { f.PutPresence(); });
  after(false, [&] {
    f.clock.AdvanceBy(25s);
    f.PutPresence([](store::Presence& p) { p.buffered_batches = 3; });
  });
  after(true, [&] { f.PutPresence([](store::Presence& p) { p.limited = "nodes"; }); });
  after(true, [&] { f.Push(BatchOf("RR")); });
  after(false, [&] { f.Push(BatchOf("RR")); });
  after(true, [&] { f.Push(BatchOf("RN")); });
  // After a silence in which it may have called the collector lost.
  const auto beat = [&] { f.PutPresence([](store::Presence& p) { p.limited = "nodes"; }); };
  after(false, beat);
  after(true, [&] {
    f.clock.AdvanceBy(90s);
    beat();
  });
  after(false, [&] {
    f.clock.AdvanceBy(60s);
    beat();
  });
  after(true, [&] {
    f.clock.AdvanceBy(90s);
    f.Push(BatchOf("RN"));
  });
  after(false, beat);
  after(true, [&] { f.PutPresence([&](store::Presence& p) { p.ended_at = f.clock.Now(); }); });
  // The same data, of which the leader has said meanwhile that it is not known any more.
  REQUIRE(f.clusters.Apply({"a", f.epoch, "", 0}, {}, {model::Health::kUnknown, "lost"}, {}, {}).ok());
  f.Connect();
  after(true, [&] { f.Push(BatchOf("RN")); });
}

TEST_CASE("the leader is told of the MetricSources whose runs went otherwise than before") {
  Fixture f;
  base::Mutex mu;
  base::CondVar came;
  Words hints;
  const auto subscription = f.collectors.Subscribe([&](std::string_view hint) {
    if (hint == "a") return;
    const base::MutexLock lock(mu);
    hints.emplace_back(hint);
    came.NotifyAll();
  });
  REQUIRE(subscription.ok());
  struct Step {
    const char* name;
    std::vector<model::SourceResult> results;
    Words expected;
    std::function<void()> before = [] {};
  };
  const auto of = [](std::string id, std::string hash, std::string failure = "") {
    model::SourceResult result{.source = std::move(id)};
    result.definition_hash = std::move(hash);
    result.failure = std::move(failure);
    return result;
  };
  const std::vector<Step> steps{
      {"their first runs", {of("hub/a", "1"), of("hub/b", "1")}, {"hub/a", "hub/b"}},
      {"the same again", {of("hub/a", "1"), of("hub/b", "1")}, {}},
      {"nothing of either", {}, {}},
      {"another version of one", {of("hub/a", "2"), of("hub/b", "1")}, {"hub/a"}},
      {"a failure", {of("hub/b", "1", "Forbidden")}, {"hub/b"}},
      {"the same failure", {of("hub/b", "1", "Forbidden")}, {}},
      {"no failure", {of("hub/b", "1")}, {"hub/b"}},
      {"another stream", {of("hub/a", "2"), of("hub/b", "1")}, {}, [&] { f.Connect(); }},
      {"what was taken away",
       {of("hub/a", "2"), of("hub/b", "1")},
       {"hub/b"},
       [&] { REQUIRE(f.sources.Drop("a", "hub/b").ok()); }},
  };
  for (const Step& step : steps) {
    CAPTURE(step.name);
    model::Batch batch = BatchOf("R");
    batch.sources = step.results;
    {
      const base::MutexLock lock(mu);
      hints.clear();
    }
    step.before();
    f.Push(batch);
    REQUIRE(f.data.NoteRefused("end", {}).ok());  // a hint of our own comes behind them
    Words expected = step.expected;
    expected.emplace_back("end");
    const base::MutexLock lock(mu);
    while ((hints.empty() || hints.back() != "end") && came.WaitFor(mu, 10s)) {
    }
    CHECK(hints == expected);
  }
}

TEST_CASE("a batch that was held is of its time, in documents, samples and verdict") {
  Fixture f;
  model::Batch batch = BatchOf("R");
  batch.snapshot.namespaces = Words{"default"};
  batch.snapshot.operators = {{.name = "pg"}};
  batch.snapshot.cluster_operators = Dns(true);
  for (const std::chrono::seconds age : {300s, 270s, 0s}) f.Push(batch, age);
  std::vector<double> scores;
  const auto newest = f.store->SortedNewest("cluster:a:node:n1:metrics", 9);
  for (const auto& [sample, score] : newest.value()) scores.push_back(score);
  const auto now = static_cast<double>(base::UnixSeconds(f.clock.Now()));
  CHECK(scores == std::vector<double>{now, now - 270, now - 300});

  f.clock.AdvanceBy(60s);
  f.Push(batch, 45s);
  const std::string then = base::FormatSeconds(f.clock.Now() - 45s);
  const std::string written = base::FormatSeconds(f.clock.Now());
  for (const char* key : {"metrics", "namespaces", "cluster_operators_summary", "cluster_operator:dns"}) {
    CAPTURE(key);
    CHECK(f.Document(key)["timestamp"].StringOr() == then);
  }
  CHECK(f.store->HashGetAll("cluster:a:node:n1")->at("last_update") == then);
  CHECK_THAT(f.store->HashGetAll("cluster:a:nodes:summary")->at("data"), Catch::Contains(then));
  CHECK(f.Document("operators").items().front()["created_at"].StringOr() == then);
  CHECK(f.Record().cluster_operators_at == f.clock.Now() - 45s);
  CHECK(f.Document("status")["last_check"].StringOr() == written);
  CHECK(f.store->HashGetAll("cluster:a:meta")->at("last_update") == written);

  // Data is never from the future.
  f.Push(batch, -3600s);
  CHECK(f.Document("metrics")["timestamp"].StringOr() == written);
}

TEST_CASE("what an hour that was set back left behind does not look young") {
  Fixture f;
  model::Batch full = BatchOf("RR");
  full.snapshot.cluster_operators = Dns(true);
  f.Push(full);
  f.clock.SetSystem(f.clock.Now() - 1h);
  if (const bool other_replica = GENERATE(false, true); other_replica) f.Connect();
  model::Batch without = BatchOf("");
  without.snapshot = {};
  f.Push(without);
  CHECK(f.Health() == "degraded");
  CHECK(f.Record().data_at == f.clock.Now());
  f.clock.AdvanceBy(91s);
  f.Push(without);
  CHECK(f.Health() == "unknown");
}

TEST_CASE("push and pull write the same documents of the same cluster, but for times and our own keys") {
  std::mt19937 random(20310405);
  for (int round = 0; round < 30; ++round) {
    CAPTURE(round);
    model::ClusterSnapshot snapshot;
    const auto coin = [&] { return random() % 3 != 0; };
    std::string states;
    for (std::size_t i = random() % 9; i > 0; --i) states.push_back(coin() ? 'R' : 'N');
    snapshot = BatchOf(states).snapshot;
    if (coin()) snapshot.counts->deployments = 3;
    if (coin()) snapshot.namespaces = Words{"default", "etl"};
    if (coin())
      snapshot.info = model::ClusterInfo{.api_url = "https://a:6443", .version = "v1.29", .platform = "linux"};
    if (coin()) snapshot.operators = {{.name = "pg"}};
    if (coin()) snapshot.cluster_operators = Dns(coin());

    Fixture pushed;
    model::Batch batch = BatchOf("");
    batch.snapshot = snapshot;
    pushed.Push(batch);

    Fixture pulled;  // as ClusterReconciler writes a pass
    Evidence evidence;
    evidence.facts =
        Summarize(*snapshot.nodes, snapshot.cluster_operators.value_or(std::vector<model::ClusterOperator>()));
    evidence.age = 0s;
    evidence.ever_reached = true;
    const Verdict verdict = JudgeHealth(evidence);
    REQUIRE(pulled.clusters
                .Apply({"a", pulled.epoch, "puller", 1}, snapshot, {verdict.health, verdict.message}, {30s, 300s}, {})
                .ok());

    const auto dump = [](Fixture& f) {
      std::map<std::string, std::string> all;
      const std::vector<std::string> keys = *f.store->Keys("cluster");
      for (const std::string& key : keys) {
        if (key == "cluster:a:push" || key == "cluster:a:writer" || key == "clusterpulse:schema") continue;
        std::string text = std::to_string(f.store->TimeToLive(key)->value_or(0s).count());
        if (const auto value = f.store->Get(key); value.ok()) {
          text += " " + **value;
        } else if (const auto fields = f.store->HashGetAll(key); fields.ok()) {
          for (const auto& [name, field] : *fields) text += " " + name + "=" + field;
        } else if (const auto members = f.store->SetMembers(key); members.ok()) {
          for (const std::string& member : *members) text += " " + member;
        } else {
          const auto newest = *f.store->SortedNewest(key, 100);
          for (const auto& [member, score] : newest) text += " " + member;
        }
        all[key] = text;
      }
      return all;
    };
    CHECK(dump(pushed) == dump(pulled));
  }
}

TEST_CASE("a hole that a batch tells is written in one step with it") {
  Fixture f;
  model::Batch batch = BatchOf("RR");
  batch.gaps = {{{}, f.clock.Now() - 300s, f.clock.Now(), model::GapCause::kCollectorDown}};
  REQUIRE(f.Push(batch) == ApplyResult::kApplied);
  REQUIRE(f.clusters.ReadGaps("a")->gaps().size() == 1);
  CHECK(f.clusters.ReadGaps("a")->gaps()[0].cause == model::GapCause::kCollectorDown);
  CHECK(f.collectors.ReadPosition("a")->gaps_revision == 1);
  // A repeat of it, or another that tells nothing new, writes nothing of it.
  --f.seq;
  CHECK(f.Push(batch) == ApplyResult::kRepeated);
  CHECK(f.Push(batch) == ApplyResult::kApplied);
  CHECK(f.collectors.ReadPosition("a")->gaps_revision == 1);

  // Nor does one of a writer whose cluster another has.
  const auto old = std::exchange(f.writer, nullptr);
  const std::uint64_t old_epoch = f.epoch;
  f.Connect();
  batch.gaps[0].from -= 1h;
  CHECK(*old->Apply({"a", old_epoch, "i", 99}, batch, f.clock.Now(), {}) == ApplyResult::kFenced);
  CHECK(f.clusters.ReadGaps("a")->gaps()[0].from == f.clock.Now() - 300s);
}

TEST_CASE("a link that a stream has ended is not opened by a leader who looked before that") {
  Fixture f;
  const store::StoredPosition read = *f.collectors.ReadPosition("a");
  store::GapLedger ledger = *f.clusters.ReadGaps("a");
  CHECK(*f.writer->PutGaps({.instance = "i", .link = store::GapLedger::LinkEnd::kFilled, .at = f.clock.Now()}) ==
        ApplyResult::kApplied);

  REQUIRE(ledger.OpenLink(f.clock.Now() - 60s, true));
  std::vector<store::Write> beside;
  f.clusters.PutGaps("a", ledger, beside);
  const store::WriterPosition position{.cluster = "a",
                                       .epoch = read.epoch,
                                       .instance = read.instance,
                                       .seq = read.state_seq,
                                       .as_read = true,
                                       .gaps_revision = read.gaps_revision};
  CHECK(*f.clusters.Apply(position, {}, {model::Health::kUnknown, "lost"}, {}, {}, std::move(beside)) ==
        ApplyResult::kFenced);
  CHECK(f.clusters.ReadGaps("a")->open_link() == nullptr);
}

TEST_CASE("what a stream hears of holes goes into the ledger once, and is counted") {
  telemetry::Registry registry;
  Fixture f;
  PushedClusters data({*f.store, f.clusters, f.collectors, f.clock, &registry},
                      [](const std::string&) { return std::optional<ClusterConnection>(); }, {});
  const auto counted = [&] {
    return registry.Counters("clusterpulse_hub_gaps_total", "", {"cause"}).With({"spool_overflow"}).Value();
  };
  std::uint64_t epoch = 0;
  const auto writer = *data.TakeOver("a", epoch);
  const ingest::GapNews news{
      .instance = "i", .gaps = {{{3, 5}, f.clock.Now() - 60s, f.clock.Now() - 20s, model::GapCause::kSpoolOverflow}}};
  CHECK(*writer->PutGaps(news) == ApplyResult::kApplied);
  CHECK(*writer->PutGaps(news) == ApplyResult::kApplied);
  CHECK(counted() == 1);
  CHECK(f.clusters.ReadGaps("a")->gaps().size() == 1);
  CHECK(f.clusters.ReadGaps("a")->revision() == 1);
  // Another stream goes on from there; this one is fenced.
  f.Connect();
  ingest::GapNews more = news;
  more.gaps[0].seqs = {9, 9};
  CHECK(*writer->PutGaps(more) == ApplyResult::kFenced);
  CHECK(*f.writer->PutGaps(more) == ApplyResult::kApplied);
  CHECK(f.clusters.ReadGaps("a")->gaps().size() == 2);
  CHECK(counted() == 1);
}

}  // namespace
}  // namespace clusterpulse::reconcile
