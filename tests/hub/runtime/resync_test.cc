#include "hub/runtime/resync.h"

#include <set>

#include <catch2/catch.hpp>

#include "common/base/testing/manual_clock.h"

namespace clusterpulse::runtime {
namespace {

using namespace std::chrono_literals;
using kube::ObjectKey;
using Keys = std::vector<ObjectKey>;

struct Recorder final : Reconciler {
  absl::StatusOr<Result> Reconcile(const ObjectKey& key, std::stop_token) override {
    passes.push_back(key);
    return Result{};
  }
  Keys passes;
};

struct Fixture {
  base::ManualClock clock;
  base::SeededRandom random{1};
  Recorder recorder;
  Controller controller{{.name = "test"}, recorder, clock, {}};
  absl::StatusOr<Keys> keys = Keys{{"ns", "a"}, {"ns", "b"}};
  Resync resync{{}, controller, [this] { return keys; }, random, {}};

  Keys Passes() {
    recorder.passes.clear();
    while (controller.RunOnce()) {
    }
    return recorder.passes;
  }
};

TEST_CASE("every key is enqueued, once, and again after ten hours give or take a tenth") {
  Fixture f;
  f.controller.Enqueue({"ns", "b"});
  std::set<std::int64_t> waits;
  for (int i = 0; i < 200; ++i) {
    const auto wait = f.resync.Step();
    CHECK(wait >= 9h);
    CHECK(wait <= 11h);
    waits.insert(wait.count());
    if (i == 0) {
      CHECK(f.Passes() == Keys{{"ns", "b"}, {"ns", "a"}});
    } else {
      CHECK(f.Passes() == *f.keys);
    }
  }
  CHECK(waits.size() > 100);  // processes that started together do not stay in step
  CHECK(*waits.begin() < std::chrono::nanoseconds(9h + 30min).count());
  CHECK(*waits.rbegin() > std::chrono::nanoseconds(10h + 30min).count());
}

TEST_CASE("keys that cannot be listed are asked for again soon") {
  Fixture f;
  f.keys = absl::UnavailableError("the store is down");
  CHECK(f.resync.Step() == 60s);
  CHECK(f.Passes().empty());
  f.keys = Keys{{"ns", "c"}};
  CHECK(f.resync.Step() > 1h);
  CHECK(f.Passes() == Keys{{"ns", "c"}});
}

TEST_CASE("it leads with its controller, begins at once and stops at once") {
  Fixture f;
  CHECK(f.resync.needs_lead());
  CHECK(f.resync.name() == "resync of test");
  CHECK(f.resync.Stop(0ms));  // before Start it does nothing
  base::StopSignal listed;
  Resync resync{{.period = 10h},
                f.controller,
                [&]() -> absl::StatusOr<Keys> {
                  listed.RequestStop();
                  return Keys{};
                },
                f.random,
                {}};
  REQUIRE(resync.Start().ok());
  CHECK(listed.WaitFor(10s));
  CHECK(resync.Stop(10s));
}

}  // namespace
}  // namespace clusterpulse::runtime
