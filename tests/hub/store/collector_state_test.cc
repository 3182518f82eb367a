#include "hub/store/collector_state.h"

#include <catch2/catch.hpp>

#include "common/base/mutex.h"
#include "common/base/testing/manual_clock.h"
#include "hub/store/embedded_store.h"
#include "hub/store/keys.h"

namespace clusterpulse::store {
namespace {

using namespace std::chrono_literals;
using Strings = std::vector<std::string>;

// A store in memory with one push cluster, "c".
struct Hub {
  base::ManualClock clock;
  std::unique_ptr<EmbeddedStore> store = *EmbeddedStore::Open({.data_dir = "", .clock = &clock});
  ClusterState clusters{*store, {.hub_namespace = "hub"}, clock};
  CollectorState state{*store, clusters, "hub"};

  std::uint64_t TakeOver() {
    const auto epoch = clusters.AcquireEpoch("c");
    REQUIRE(epoch.ok());
    return *epoch;
  }
  ApplyResult Apply(const WriterPosition& position, const DurableBatches& durable = {}, bool hint = false) {
    record.received_at = clock.Now();
    const auto result = state.Apply(position, {{}, record, durable, {}, {}, hint});
    REQUIRE(result.ok());
    return *result;
  }
  Presence Connected(std::uint64_t epoch) {
    Presence p;
    p.hub = "hub-0";
    p.instance = "i";
    p.epoch = epoch;
    p.connected_at = p.last_message = clock.Now();
    return p;
  }
  StoredPosition Position() { return *state.ReadPosition("c"); }

  PushRecord record;
};

TEST_CASE("a batch, its record and what is durable are one step, and a later stream goes on from there") {
  Hub hub;
  CHECK(hub.Position() == StoredPosition());
  const std::uint64_t epoch = hub.TakeOver();
  hub.record.health = model::Health::kHealthy;
  hub.record.message = "fine";
  CHECK(hub.Apply({"c", epoch, "i", 4}, {{2, {{4, 4}}}}) == ApplyResult::kApplied);
  CHECK(hub.Position() == StoredPosition{epoch, "i", 4, {{2, {{4, 4}}}}});
  CHECK(hub.state.ReadRecord("c")->value() == hub.record);
  CHECK_THAT(hub.store->Get("cluster:c:status")->value(),
             Catch::Contains(R"("health":"healthy")") && Catch::Contains(R"("message":"fine")"));

  // Repeated or fenced: nothing of it counts.
  hub.record.message = "late";
  CHECK(hub.Apply({"c", epoch, "i", 4}, {{9, {}}}) == ApplyResult::kRepeated);
  const std::uint64_t next = hub.TakeOver();
  CHECK(hub.Apply({"c", epoch, "i", 5}, {{9, {}}}) == ApplyResult::kFenced);
  CHECK(hub.state.ReadRecord("c")->value().message == "fine");
  CHECK(hub.Position() == StoredPosition{next, "i", 4, {{2, {{4, 4}}}}});
}

TEST_CASE("what only the hub holds is in the position until somebody says otherwise") {
  Hub hub;
  const std::uint64_t epoch = hub.TakeOver();
  const HeldSamples held{hub.clock.Now() - 60s, hub.clock.Now(), 2};
  CHECK(hub.Apply({"c", epoch, "i", 1}, {.held = held}) == ApplyResult::kApplied);
  const auto seen = [&hub] { return hub.Position().durable.held.value_or(HeldSamples()); };
  const HeldSamples first = seen();
  CHECK(first.batches == 2);
  // In ms.
  CHECK(held.since - first.since < 1ms);
  CHECK(held.until - first.until < 1ms);
  // Whoever has nothing to say of it leaves it; it outlives its writer.
  CHECK(hub.Apply({"c", epoch, "i", 2}, {{1, {}}}) == ApplyResult::kApplied);
  const std::uint64_t next = hub.TakeOver();
  REQUIRE(hub.state.PutDurable("c", next, "j", {{3, {}}}).ok());
  CHECK(seen() == first);
  std::vector<Write> writes;
  ClusterState::PutHeld("c", {held.since, held.until, 7}, writes);
  REQUIRE(hub.clusters.WriteAs({"c", next, {}, 0}, writes).ok());
  CHECK(seen().batches == 7);
  CHECK(hub.Apply({"c", next, "j", 1}, {.held = HeldSamples()}) == ApplyResult::kApplied);
  CHECK_FALSE(hub.Position().durable.held.has_value());
}

// As Redis takes a batch of several chunks: each is there for good before the next is sent. Breaks off before the last.
class BrokenOffStore final : public StateStore {
 public:
  explicit BrokenOffStore(StateStore& store) : store_(store) {}

  absl::StatusOr<ApplyResult> Apply(const WriterPosition& position, const std::vector<Write>& writes) override {
    WriterPosition unmoved = position;
    unmoved.seq = 0;
    const std::vector<Write> chunk(writes.begin(), std::prev(writes.end()));
    const auto result = store_.Apply(unmoved, chunk);
    if (!result.ok() || *result != ApplyResult::kApplied) return result;
    return absl::UnavailableError("broken off");
  }
  absl::Status Commit(const std::vector<Write>& writes) override { return store_.Commit(writes); }
  absl::StatusOr<std::uint64_t> AcquireEpoch(const std::string& cluster, WriterRole role, std::int64_t now) override {
    return store_.AcquireEpoch(cluster, role, now);
  }
  absl::StatusOr<std::optional<std::string>> Get(const std::string& key) override { return store_.Get(key); }
  absl::StatusOr<std::vector<std::optional<std::string>>> GetMany(const std::vector<std::string>& keys) override {
    return store_.GetMany(keys);
  }
  absl::StatusOr<std::map<std::string, std::string>> HashGetAll(const std::string& key) override {
    return store_.HashGetAll(key);
  }
  absl::StatusOr<std::vector<std::string>> SetMembers(const std::string& key) override {
    return store_.SetMembers(key);
  }
  absl::StatusOr<std::vector<std::pair<std::string, double>>> SortedNewest(const std::string& key,
                                                                           std::size_t limit) override {
    return store_.SortedNewest(key, limit);
  }
  absl::StatusOr<std::vector<std::string>> ListRange(const std::string& key, std::size_t limit) override {
    return store_.ListRange(key, limit);
  }
  absl::StatusOr<Ttl> TimeToLive(const std::string& key) override { return store_.TimeToLive(key); }
  absl::StatusOr<std::int64_t> DeletePrefix(const std::string& prefix) override { return store_.DeletePrefix(prefix); }
  absl::StatusOr<std::vector<std::string>> Keys(const std::string& prefix) override { return store_.Keys(prefix); }
  absl::StatusOr<bool> AcquireLease(const std::string& name, const std::string& holder,
                                    std::chrono::milliseconds ttl) override {
    return store_.AcquireLease(name, holder, ttl);
  }
  absl::StatusOr<std::optional<std::string>> LeaseHolder(const std::string& name) override {
    return store_.LeaseHolder(name);
  }
  absl::Status ReleaseLease(const std::string& name, const std::string& holder) override {
    return store_.ReleaseLease(name, holder);
  }
  absl::StatusOr<std::unique_ptr<Subscription>> Subscribe(const std::string& channel,
                                                          std::function<void(std::string_view)> on_message) override {
    return store_.Subscribe(channel, std::move(on_message));
  }
  std::chrono::milliseconds DurableAfter() const override { return store_.DurableAfter(); }
  model::DurableMark Durable() override { return store_.Durable(); }
  absl::Status Ping() override { return store_.Ping(); }

 private:
  StateStore& store_;
};

TEST_CASE("a batch of another instance that breaks off between its chunks leaves the position as it was") {
  Hub hub;
  const std::uint64_t epoch = hub.TakeOver();
  REQUIRE(hub.Apply({"c", epoch, "old", 9}, {{4, {}}}) == ApplyResult::kApplied);
  BrokenOffStore broken(*hub.store);
  ClusterState clusters(broken, {.hub_namespace = "hub"}, hub.clock);
  CollectorState state(broken, clusters, "hub");
  const DurableBatches durable{{7, {}}};
  GapLedger gaps;
  gaps.Record("new", {{1, 2}, hub.clock.Now(), hub.clock.Now(), model::GapCause::kRejected});
  const model::ClusterSnapshot snapshot;
  const auto result = state.Apply({"c", epoch, "new", 8}, {.snapshot = snapshot,
                                                           .record = hub.record,
                                                           .durable = durable,
                                                           .cadence = {},
                                                           .events = {},
                                                           .hint = true,
                                                           .data_at = std::nullopt,
                                                           .gaps = &gaps});
  CHECK(result.status().code() == absl::StatusCode::kUnavailable);
  const StoredPosition position = hub.Position();
  CHECK(position.instance == "old");
  CHECK(position.state_seq == 9);
  CHECK(position.durable == DurableBatches{{4, {}}});
}

TEST_CASE("what is durable can be remembered alone; another instance starts over") {
  Hub hub;
  const std::uint64_t epoch = hub.TakeOver();
  REQUIRE(hub.Apply({"c", epoch, "i", 4}, {{2, {}}}) == ApplyResult::kApplied);
  CHECK(*hub.state.PutDurable("c", epoch, "i", {{4, {}}}) == ApplyResult::kApplied);
  CHECK(hub.Position() == StoredPosition{epoch, "i", 4, {{4, {}}}});
  CHECK(*hub.state.PutDurable("c", epoch, "new", {{1, {}}}) == ApplyResult::kApplied);
  CHECK(hub.Position() == StoredPosition{epoch, "new", 0, {{1, {}}}});
  CHECK(hub.Apply({"c", epoch, "new", 1}) == ApplyResult::kApplied);
  CHECK(*hub.state.PutDurable("c", epoch - 1, "i", {{9, {}}}) == ApplyResult::kFenced);
  CHECK(hub.Position() == StoredPosition{epoch, "new", 1, {}});
}

TEST_CASE("a presence is of the writer alone and moves no position") {
  Hub hub;
  CHECK_FALSE(hub.state.Read("c")->presence.has_value());
  const std::uint64_t epoch = hub.TakeOver();
  REQUIRE(hub.Apply({"c", epoch, "i", 4}) == ApplyResult::kApplied);
  const Presence first = hub.Connected(epoch);
  CHECK(*hub.state.PutPresence("c", first, false) == ApplyResult::kApplied);
  CHECK(hub.state.Read("c")->presence.value() == first);
  CHECK(hub.Position() == StoredPosition{epoch, "i", 4, {}});
  CHECK(*hub.clusters.Clusters() == Strings{"c"});

  const Presence second = hub.Connected(hub.TakeOver());
  CHECK(*hub.state.PutPresence("c", second, false) == ApplyResult::kApplied);
  CHECK(*hub.state.PutPresence("c", first, false) == ApplyResult::kFenced);
  CHECK(hub.state.Read("c")->presence.value() == second);
}

TEST_CASE("data is a sign of life") {
  Hub hub;
  const std::uint64_t epoch = hub.TakeOver();
  const Presence presence = hub.Connected(epoch);
  REQUIRE(hub.state.PutPresence("c", presence, false).ok());
  hub.clock.AdvanceBy(20s);
  REQUIRE(hub.Apply({"c", epoch, "i", 1}) == ApplyResult::kApplied);
  CHECK(hub.state.Read("c")->presence.value().last_message == hub.clock.Now());
  CHECK(hub.state.Read("c")->presence.value().connected_at == presence.connected_at);
}

TEST_CASE("who was turned away is remembered whoever writes the presence, for ten minutes") {
  Hub hub;
  const std::uint64_t epoch = hub.TakeOver();
  const Presence::Rival rival{"other", "peer", hub.clock.Now()};
  REQUIRE(hub.state.NoteRefused("c", rival).ok());
  REQUIRE(hub.state.PutPresence("c", hub.Connected(epoch), false).ok());
  CHECK(hub.state.Read("c")->presence.value().refused == rival);
  hub.clock.AdvanceBy(601s);
  CHECK_FALSE(hub.state.Read("c")->presence.value().refused.has_value());
}

TEST_CASE("a removed cluster takes all of it along and fences its stream") {
  Hub hub;
  const std::uint64_t epoch = hub.TakeOver();
  REQUIRE(hub.Apply({"c", epoch, "i", 1}) == ApplyResult::kApplied);
  REQUIRE(hub.state.PutPresence("c", hub.Connected(epoch), false).ok());
  REQUIRE(hub.state.NoteRefused("c", {}).ok());
  REQUIRE(hub.clusters.Remove("c").ok());
  CHECK(hub.store->Keys("cluster:c:")->empty());
  CHECK(*hub.state.PutPresence("c", hub.Connected(epoch), false) == ApplyResult::kFenced);
  CHECK(*hub.state.PutDurable("c", epoch, "i", {1, {}}) == ApplyResult::kFenced);
  CHECK(hub.Apply({"c", epoch, "i", 2}) == ApplyResult::kFenced);
  CHECK(hub.store->Keys("cluster:c:")->empty());
}

TEST_CASE("another endpoint: what was pushed is dropped with the data") {
  Hub hub;
  const std::uint64_t epoch = hub.TakeOver();
  REQUIRE(hub.Apply({"c", epoch, "i", 1}) == ApplyResult::kApplied);
  CHECK(*hub.clusters.DropData({"c", epoch, "", 0}) == ApplyResult::kApplied);
  CHECK_FALSE(hub.state.ReadRecord("c")->has_value());
}

TEST_CASE("what a collector left goes with the mode, by the writer alone") {
  Hub hub;
  const std::uint64_t epoch = hub.TakeOver();
  REQUIRE(hub.Apply({"c", epoch, "i", 1}) == ApplyResult::kApplied);
  REQUIRE(hub.state.PutPresence("c", hub.Connected(epoch), false).ok());
  REQUIRE(hub.state.NoteRefused("c", {}).ok());
  const std::uint64_t puller = hub.TakeOver();
  CHECK(*hub.state.Drop({"c", epoch, "", 0}) == ApplyResult::kFenced);
  CHECK(hub.state.Read("c")->presence.has_value());
  CHECK(*hub.state.Drop({"c", puller, "p", 1}) == ApplyResult::kApplied);
  CHECK_FALSE(hub.state.Read("c")->presence.has_value());
  CHECK_FALSE(hub.state.ReadRecord("c")->has_value());
  CHECK_FALSE(hub.store->Get(keys::CollectorRefused("c"))->has_value());
  CHECK(hub.store->Get("cluster:c:status")->has_value());
}

TEST_CASE("hints name the cluster, and only when asked for and when the write counted") {
  Hub hub;
  base::Mutex mu;
  base::CondVar heard_more;
  Strings heard;
  const auto subscription = hub.state.Subscribe([&](std::string_view cluster) {
    base::MutexLock lock(mu);
    heard.emplace_back(cluster);
    heard_more.NotifyAll();
  });
  REQUIRE(subscription.ok());
  const std::uint64_t epoch = hub.TakeOver();
  REQUIRE(hub.state.PutPresence("c", hub.Connected(epoch), false).ok());
  REQUIRE(hub.state.PutPresence("c", hub.Connected(epoch), true).ok());      // 1
  REQUIRE(hub.state.PutPresence("c", hub.Connected(epoch + 1), true).ok());  // fenced
  REQUIRE(hub.Apply({"c", epoch, "i", 1}, {}, false) == ApplyResult::kApplied);
  REQUIRE(hub.Apply({"c", epoch, "i", 2}, {}, true) == ApplyResult::kApplied);  // 2
  REQUIRE(hub.Apply({"c", epoch, "i", 2}, {}, true) == ApplyResult::kRepeated);
  REQUIRE(hub.state.NoteRefused("c", {}).ok());                                     // 3
  REQUIRE(hub.store->Commit({Publish{keys::CollectorHints("hub"), "last"}}).ok());  // 4
  REQUIRE(hub.store->Commit({Publish{keys::CollectorHints("elsewhere"), "foreign"}}).ok());
  base::MutexLock lock(mu);
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  while (heard.size() < 4 && std::chrono::steady_clock::now() < deadline) heard_more.WaitFor(mu, 100ms);
  CHECK(heard == Strings{"c", "c", "c", "last"});
}

}  // namespace
}  // namespace clusterpulse::store
