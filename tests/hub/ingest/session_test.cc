// Single steps of a session, where a harness would hide what happens between them.
#include "hub/ingest/session.h"

#include <map>

#include <catch2/catch.hpp>
#include <malloc.h>

#include "tests/hub/ingest/harness.h"

namespace clusterpulse::ingest {
namespace {

using namespace std::chrono_literals;
using absl::StatusCode;

class OneStream final : public LocalStreams {
 public:
  bool Has(const std::string& cluster, std::uint64_t epoch) const override {
    const auto at = epochs_.find(cluster);
    return at != epochs_.end() && at->second == epoch;
  }
  bool Claim(const std::string& cluster, std::uint64_t epoch, std::uint64_t /*stream*/,
             const std::string& /*who*/) override {
    epochs_[cluster] = epoch;
    return true;
  }
  void Release(const std::string& cluster, std::uint64_t /*stream*/) override { epochs_.erase(cluster); }

 private:
  std::map<std::string, std::uint64_t> epochs_;
};

struct Rig {
  Rig() {
    clusters.Put(kCluster, {.uid = "uid"});
    authenticator.Put(kCluster, kToken);
  }
  Now now() const { return {clock.Steady(), clock.Now()}; }
  Session::Next Step(Events events = {}) { return session.Step(std::move(events), now()); }
  Session::Next Say(std::string bytes) {
    REQUIRE(peer.TakeRead());
    Events events;
    events.message = Message{std::move(bytes), now()};
    return Step(std::move(events));
  }
  // Runs the job, and what is due at once.
  Session::Next Do(Session::Next next) {
    while (next.job || next.at.value_or(base::SteadyTime::max()) <= clock.Steady()) {
      Events events;
      if (next.job) events.result = next.job();
      events.written = peer.TakeWritten();
      next = Step(std::move(events));
    }
    return next;
  }
  void GoLive() {
    Step();
    Do(Say(wire::Encode(DeliveryRegistration())));
    Events events;
    events.written = peer.TakeWritten();
    Do(Step(std::move(events)));
    REQUIRE(session.kind() == Session::Kind::kDelivery);
  }

  base::ManualClock clock;
  base::SeededRandom random{5};
  FakeClusters clusters;
  FakeAuthenticator authenticator;
  FakeCollectorData data{clock};
  OneStream local;
  Metrics metrics;
  PeerLog log{log::Logger(), clock};
  FlightBudget budget{std::int64_t{256} << 20};
  Services services{.hub = "hub-1",
                    .version = "1",
                    .clusters = clusters,
                    .authenticator = authenticator,
                    .data = data,
                    .local = local,
                    .budget = budget,
                    .clock = clock,
                    .random = random,
                    .log = log,
                    .metrics = metrics};
  FakePeer peer;
  Session session{{.id = 1, .peer = "10.0.0.1:4000"}, peer, services, now()};
};

TEST_CASE("a stream that has ended sleeps until its job is back, however long that takes") {
  const bool stopping = GENERATE(true, false);
  Rig rig;
  rig.Step();
  Session::Next next = rig.Say(wire::Encode(DeliveryRegistration()));
  const Job admission = std::move(next.job);
  REQUIRE(admission);
  Events gone;
  gone.gone = gone.closed = true;
  gone.stopping = stopping;
  CHECK(!rig.Step(std::move(gone)).at.has_value());
  rig.clock.AdvanceBy(10min);
  next = rig.Step();
  CHECK(!next.at.has_value());
  CHECK(!next.over);
  Events back;
  back.result = admission();
  CHECK(rig.Step(std::move(back)).over);
}

TEST_CASE("batches that wait are kept as bytes, not decoded") {
  Rig rig;
  rig.GoLive();
  rig.data.FailApply(absl::UnavailableError("down"));
  std::size_t bytes = 0;
  std::size_t before = 0;
  for (std::uint64_t seq = 1; seq <= 11; ++seq) {
    std::vector<std::string> nodes;
    for (int i = 0; i < 3000; ++i) nodes.push_back("node-" + std::to_string(i));
    const std::string message = wire::Encode(MakeBatch(seq, std::move(nodes)));
    rig.Do(rig.Say(message));
    if (seq == 1) before = mallinfo2().uordblks;  // one was tried already
    if (seq > 1) bytes += message.size();
  }
  const std::size_t after = mallinfo2().uordblks;
  if (before == 0) return;  // an allocator that does not tell, as that of the sanitizers
  CHECK(after - before < 2 * bytes);
}

TEST_CASE("the store is asked what is durable when a wait may be over, not at every step") {
  Rig rig;
  rig.data.SetDurableAfter(2s);
  rig.GoLive();
  rig.Do(rig.Say(wire::Encode(MakeBatch(1))));
  const int before = rig.data.durable_calls();
  for (int i = 0; i < 100; ++i) rig.Do(rig.Step());
  CHECK(rig.data.durable_calls() == before);
  rig.clock.AdvanceBy(2s);
  rig.Do(rig.Step());
  CHECK(rig.data.durable_calls() == before + 1);
}

TEST_CASE("a step that throws ends the stream, and nothing of it stays") {
  Rig rig;
  Session::Next next;
  SECTION("while it is live") {
    rig.GoLive();
    rig.clock.AdvanceBy(31s);  // it looks at its policy again
    rig.clusters.ThrowNext();
    rig.Do(rig.Step());
    CHECK(!rig.session.Step({}, rig.now()).over);
    Events closed;
    closed.closed = true;
    next = rig.Do(rig.Step(std::move(closed)));
  }
  SECTION("in the step that says that the peer is gone") {
    rig.Step();
    next = rig.Say(wire::Encode(DeliveryRegistration()));
    Events events;
    events.result = next.job();
    events.closed = true;
    rig.clusters.ThrowNext();
    next = rig.Do(rig.Step(std::move(events)));
  }
  REQUIRE(rig.peer.finished().has_value());
  CHECK(rig.peer.finished()->code() == StatusCode::kInternal);
  CHECK(next.over);
  CHECK(rig.data.Get(kCluster).presence->end_reason == "the hub failed");
}

}  // namespace
}  // namespace clusterpulse::ingest
