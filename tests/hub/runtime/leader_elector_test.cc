#include "hub/runtime/leader_elector.h"

#include <algorithm>

#include <catch2/catch.hpp>

#include "common/base/testing/manual_clock.h"
#include "common/kube/testing/fake_kube_api.h"

namespace clusterpulse::runtime {
namespace {

using namespace std::chrono_literals;
using base::ManualClock;
using kube::FakeKubeApi;
using kube::ObjectStore;
using kube::Verb;
using State = LeaderElector::State;

const kube::ObjectKey kKey{"default", "hub"};

// One process: its own way to the shared API server, its own clock.
struct Process {
  Process(ObjectStore& store, std::string identity)
      : api(store),
        elector({.ns = kKey.ns, .name = kKey.name, .identity = std::move(identity), .registry = &registry}, api, clock,
                random, {}) {}

  State Step() {
    wait = elector.Step({});
    return elector.state();
  }
  // Lives for `time`, stepping whenever a step is due.
  State Live(std::chrono::nanoseconds time) {
    const auto end = clock.Steady() + time;
    while (clock.Steady() + wait <= end) {
      clock.AdvanceBy(wait);
      Step();
    }
    const auto left = end - clock.Steady();
    clock.AdvanceBy(left);
    wait -= left;
    return elector.state();
  }
  void Partition() {
    for (const Verb verb : {Verb::kGet, Verb::kCreate, Verb::kReplace}) {
      api.FailNext(verb, "leases", absl::UnavailableError("no route to host"), FakeKubeApi::kForever);
    }
  }

  ManualClock clock;
  base::SeededRandom random{1};
  telemetry::Registry registry;
  FakeKubeApi api;
  LeaderElector elector;
  std::chrono::nanoseconds wait{0};
};

struct TwoProcesses {
  ObjectStore store;
  Process a{store, "a"}, b{store, "b"};

  json::Value Spec() {
    const auto object = store.Get(kube::kLeases, kKey);
    REQUIRE(object.ok());
    return (*json::Value::Parse((*object)->json))["spec"];
  }
  void Edit(absl::FunctionRef<void(json::Value&)> change) { REQUIRE(store.Edit(kube::kLeases, kKey, change).ok()); }
  // Both live for `time`, taking turns in small steps; true as soon as `until` holds.
  bool LiveUntil(std::chrono::nanoseconds time, absl::FunctionRef<bool()> until) {
    for (auto lived = 0ms; lived < time; lived += 100ms) {
      if (until()) return true;
      a.Live(100ms);
      b.Live(100ms);
    }
    return until();
  }
};

TEST_CASE("the first process makes the lease and leads; the second one follows") {
  TwoProcesses t;
  CHECK(t.a.Step() == State::kLeading);
  CHECK(t.a.elector.leading());
  CHECK(t.b.Step() == State::kFollowing);
  CHECK_FALSE(t.b.elector.leading());
  CHECK(t.Spec().Dump() ==
        R"({"acquireTime":"2031-04-05T06:07:08.000000Z","holderIdentity":"a","leaseDurationSeconds":15,)"
        R"("leaseTransitions":0,"renewTime":"2031-04-05T06:07:08.000000Z"})");
  // Nothing changes while both live.
  CHECK_FALSE(t.LiveUntil(10min, [&] { return !t.a.elector.leading() || t.b.elector.leading(); }));
  CHECK(t.Spec()["holderIdentity"].StringOr() == "a");
  CHECK(t.Spec()["acquireTime"].StringOr() == "2031-04-05T06:07:08.000000Z");
  CHECK(t.Spec()["renewTime"].StringOr() > "2031-04-05T06:17");
}

TEST_CASE("a leader renews every retry period with one write") {
  TwoProcesses t;
  t.a.Step();
  CHECK(t.a.wait == 2s);
  t.a.api.ClearCalls();
  t.a.Live(20s);
  CHECK(t.a.api.Count(Verb::kReplace, "leases") == 10);
  CHECK(t.a.api.Count(Verb::kGet, "leases") == 0);
}

TEST_CASE("followers spread their tries") {
  TwoProcesses t;
  t.a.Step();
  t.b.Step();
  std::chrono::nanoseconds least = 1h, most = 0s;
  for (int i = 0; i < 50; ++i) {
    t.b.Step();
    least = std::min(least, t.b.wait);
    most = std::max(most, t.b.wait);
  }
  CHECK(least >= 2s);
  CHECK(most <= 2400ms);
  CHECK(most - least > 200ms);
}

TEST_CASE("another process takes over when the leader has gone silent for the lease's duration") {
  TwoProcesses t;
  t.a.Step();
  t.b.Step();
  CHECK(t.b.Live(14900ms) == State::kFollowing);
  CHECK(t.b.Live(2600ms) == State::kLeading);
  CHECK(t.Spec()["holderIdentity"].StringOr() == "b");
  CHECK(t.Spec()["leaseTransitions"].IntOr() == 1);
}

TEST_CASE("a partitioned leader stops before another one starts") {
  TwoProcesses t;
  t.a.Step();
  t.b.Step();
  t.LiveUntil(7300ms, [] { return false; });
  t.a.Partition();
  bool both = false;
  std::chrono::milliseconds a_until{0}, b_from{0};
  for (auto lived = 0ms; lived < 30s; lived += 10ms) {
    t.a.Live(10ms);
    t.b.Live(10ms);
    both = both || (t.a.elector.leading() && t.b.elector.leading());
    if (t.a.elector.state() == State::kLeading) a_until = lived;
    if (!t.b.elector.leading()) b_from = lived;
  }
  CHECK_FALSE(both);
  CHECK(t.a.elector.state() == State::kLost);
  CHECK(t.b.elector.state() == State::kLeading);
  CHECK(b_from - a_until >= 5s);  // what the old leader has to stop
  // It does not come back by itself.
  t.a.api.ClearFaults();
  CHECK(t.a.Live(1min) == State::kLost);
}

TEST_CASE("a lease that was released is taken at once") {
  TwoProcesses t;
  t.a.Step();
  t.b.Step();
  t.a.clock.AdvanceBy(1s);
  REQUIRE(t.a.elector.Release(1s).ok());
  CHECK_FALSE(t.a.elector.leading());
  CHECK(t.Spec()["holderIdentity"] == json::Value(""));
  CHECK(t.Spec()["leaseDurationSeconds"].IntOr() == 1);
  CHECK(t.Spec()["leaseTransitions"].IntOr() == 0);
  CHECK(t.b.Step() == State::kLeading);
  CHECK(t.Spec()["leaseTransitions"].IntOr() == 1);
  CHECK(t.Spec()["leaseDurationSeconds"].IntOr() == 15);
  CHECK(t.a.Step() == State::kLost);
}

TEST_CASE("releasing what is not held touches nothing") {
  TwoProcesses t;
  t.a.Step();
  t.b.Step();
  REQUIRE(t.b.elector.Release(1s).ok());
  CHECK(t.Spec()["holderIdentity"].StringOr() == "a");
}

TEST_CASE("the clock of another machine is never believed") {
  TwoProcesses t;
  t.a.clock.SetSystem(t.a.clock.Now() - 24h * 365);  // its renewTime is a year old
  t.a.Step();
  CHECK(t.b.Step() == State::kFollowing);
  CHECK_FALSE(t.LiveUntil(2min, [&] { return t.b.elector.leading(); }));
  // A step of our own system clock means nothing either.
  t.b.clock.SetSystem(t.b.clock.Now() + 24h);
  CHECK_FALSE(t.LiveUntil(2min, [&] { return t.b.elector.leading(); }));
}

TEST_CASE("a longer duration of the holder is honoured, within bounds") {
  TwoProcesses t;
  t.a.Step();
  SECTION("longer") {
    t.Edit([](json::Value& lease) { lease.Mutable("spec").Mutable("leaseDurationSeconds") = 60; });
    t.b.Step();
    CHECK(t.b.Live(59s) == State::kFollowing);
    CHECK(t.b.Live(4s) == State::kLeading);
  }
  SECTION("without end") {
    t.Edit([](json::Value& lease) { lease.Mutable("spec").Mutable("leaseDurationSeconds") = 1000000000; });
    t.b.Step();
    CHECK(t.b.Live(11min) == State::kLeading);
  }
}

TEST_CASE("a leader survives what does not take the lease from it") {
  TwoProcesses t;
  t.a.Step();
  t.b.Step();
  SECTION("errors shorter than the renew deadline") {
    t.a.api.FailNext(Verb::kReplace, "leases", absl::UnavailableError("down"), 3);
    CHECK(t.a.Live(30s) == State::kLeading);
  }
  SECTION("somebody edits the lease; the edit stays") {
    t.Edit([](json::Value& lease) { lease.Mutable("metadata").Mutable("labels").Mutable("l") = "1"; });
    CHECK(t.a.Live(30s) == State::kLeading);
    const auto object = t.store.Get(kube::kLeases, kKey);
    REQUIRE(object.ok());
    CHECK((*object)->json.find("\"labels\":{\"l\":\"1\"}") != std::string::npos);
  }
  SECTION("the lease is deleted") {
    REQUIRE(t.store.Delete(kube::kLeases, kKey).ok());
    CHECK(t.a.Live(2s) == State::kLeading);
    CHECK(t.Spec()["holderIdentity"].StringOr() == "a");
  }
  SECTION("its own write arrived and the answer did not") {
    t.Edit([](json::Value& lease) { lease.Mutable("spec").Mutable("renewTime") = "2031-04-05T06:07:09.000000Z"; });
    CHECK(t.a.Live(30s) == State::kLeading);
  }
}

TEST_CASE("a leader that finds another holder has lost at once") {
  TwoProcesses t;
  t.a.Step();
  t.Edit([](json::Value& lease) { lease.Mutable("spec").Mutable("holderIdentity") = "b"; });
  CHECK(t.a.Live(2s) == State::kLost);
  CHECK_FALSE(t.a.elector.leading());
  REQUIRE(t.a.elector.Release(1s).ok());
  CHECK(t.Spec()["holderIdentity"].StringOr() == "b");
}

TEST_CASE("a write that was overtaken does not make a leader") {
  TwoProcesses t;
  // Both see no lease; the store decides.
  t.a.api.FailNext(Verb::kCreate, "leases",
                   kube::ToStatus({.code = 409, .reason = "AlreadyExists", .message = "exists"}));
  CHECK(t.a.Step() == State::kFollowing);
  CHECK(t.b.Step() == State::kLeading);
  CHECK(t.a.Step() == State::kFollowing);
}

TEST_CASE("a leader says so in its metrics") {
  TwoProcesses t;
  const auto gauge = t.a.registry.Gauges("clusterpulse_hub_leader", "").With({});
  CHECK(gauge.Value() == 0);
  t.a.Step();
  CHECK(gauge.Value() == 1);
  REQUIRE(t.a.elector.Release(1s).ok());
  CHECK(gauge.Value() == 0);
}

}  // namespace
}  // namespace clusterpulse::runtime
