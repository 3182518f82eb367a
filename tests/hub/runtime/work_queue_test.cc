#include "hub/runtime/work_queue.h"

#include <atomic>
#include <set>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>

#include "common/base/testing/manual_clock.h"

namespace clusterpulse::runtime {
namespace {

using namespace std::chrono_literals;
using base::ManualClock;
using kube::ObjectKey;

const ObjectKey kA{"ns", "a"}, kB{"ns", "b"}, kC{"ns", "c"};

std::vector<std::string> TakeAll(KeyQueue& queue, base::SteadyTime now) {
  std::vector<std::string> names;
  while (auto item = queue.Get(now)) {
    names.push_back(item->key.name);
    queue.Done(item->key, now);
  }
  return names;
}

TEST_CASE("keys come out in the order they went in, and many adds of one are one") {
  KeyQueue queue;
  const base::SteadyTime now{};
  CHECK(queue.Add(kB, now));
  CHECK(queue.Add(kA, now));
  CHECK_FALSE(queue.Add(kB, now));
  CHECK(queue.Add(kC, now));
  CHECK_FALSE(queue.Add(kA, now));
  CHECK(queue.depth() == 3);
  CHECK(TakeAll(queue, now) == std::vector<std::string>{"b", "a", "c"});
}

TEST_CASE("a key that is being handled waits until it is done, then comes again once") {
  KeyQueue queue;
  base::SteadyTime now{};
  queue.Add(kA, now);
  REQUIRE(queue.Get(now)->key == kA);
  CHECK(queue.Add(kA, now));
  CHECK_FALSE(queue.Add(kA, now));
  CHECK_FALSE(queue.Get(now));
  now += 3s;
  CHECK(queue.LongestRunning(now) == 3s);
  CHECK(queue.UnfinishedWork(now) == 3s);
  CHECK(queue.Done(kA, now) == 3s);
  CHECK(queue.UnfinishedWork(now) == 0s);
  const auto again = queue.Get(now);
  REQUIRE(again);
  CHECK(again->waited == 3s);
  queue.Done(kA, now);
  CHECK_FALSE(queue.Get(now));
}

TEST_CASE("a delayed key comes when its time has come; of two delays the earlier one counts") {
  KeyQueue queue;
  const base::SteadyTime now{};
  CHECK_FALSE(queue.NextReady());
  CHECK(queue.AddAfter(kA, 10s, now));
  CHECK(queue.AddAfter(kB, 5s, now));
  CHECK_FALSE(queue.AddAfter(kB, 7s, now));
  CHECK(queue.NextReady() == now + 5s);
  CHECK(queue.AddAfter(kA, 2s, now));
  CHECK(queue.NextReady() == now + 2s);
  CHECK(queue.delayed() == 2);
  CHECK(queue.PopReady(now + 1s) == 0);
  CHECK(queue.PopReady(now + 2s) == 1);
  CHECK(TakeAll(queue, now + 2s) == std::vector<std::string>{"a"});
  CHECK(queue.PopReady(now + 60s) == 1);
  CHECK(queue.Get(now + 60s)->waited == 55s);
  CHECK_FALSE(queue.NextReady());
}

TEST_CASE("a delay that is not positive adds at once") {
  KeyQueue queue;
  CHECK(queue.AddAfter(kA, 0s, {}));
  CHECK(queue.AddAfter(kB, -1s, {}));
  CHECK(queue.depth() == 2);
  CHECK(queue.delayed() == 0);
}

TEST_CASE("after shutdown adds are refused and what waits can still be taken") {
  KeyQueue queue;
  const base::SteadyTime now{};
  queue.Add(kA, now);
  queue.AddAfter(kB, 1s, now);
  queue.ShutDown();
  CHECK_FALSE(queue.Add(kC, now));
  CHECK_FALSE(queue.AddAfter(kC, 1s, now));
  CHECK(queue.PopReady(now + 2s) == 0);
  CHECK(TakeAll(queue, now) == std::vector<std::string>{"a"});
}

TEST_CASE("a key's own delay doubles from 5 ms to 1000 s and starts again when forgotten") {
  RetryLimiter limiter({.per_second = 1e9, .burst = 1e9});
  const std::vector<std::chrono::milliseconds> expected{
      5ms,    10ms,    20ms,    40ms,    80ms,    160ms,    320ms,    640ms,    1280ms,    2560ms,
      5120ms, 10240ms, 20480ms, 40960ms, 81920ms, 163840ms, 327680ms, 655360ms, 1000000ms, 1000000ms};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    CAPTURE(i);
    CHECK(limiter.Next(kA, {}) == expected[i]);
    CHECK(limiter.Retries(kA) == static_cast<int>(i) + 1);
  }
  CHECK(limiter.Next(kB, {}) == 5ms);
  limiter.Forget(kA);
  CHECK(limiter.Retries(kA) == 0);
  CHECK(limiter.Next(kA, {}) == 5ms);
  for (int i = 0; i < 2000; ++i) limiter.Next(kC, {});
  CHECK(limiter.Next(kC, {}) == 1000s);
}

TEST_CASE("retries of all keys together are held to 10 a second after a burst of 100") {
  RetryLimiter limiter({});
  const base::SteadyTime now{1h};
  for (int i = 0; i < 100; ++i) CHECK(limiter.Next({"", std::to_string(i)}, now) == 5ms);
  const auto tolerance = 1us;
  CHECK(std::chrono::abs(limiter.Next({"", "x"}, now) - 100ms) < tolerance);
  CHECK(std::chrono::abs(limiter.Next({"", "y"}, now) - 200ms) < tolerance);
  // What forgetting a key clears is its own delay only.
  limiter.Forget({"", "y"});
  CHECK(std::chrono::abs(limiter.Next({"", "y"}, now) - 300ms) < tolerance);
  CHECK(limiter.Next({"", "z"}, now + 10s) == 5ms);
}

TEST_CASE("first adds are never throttled") {
  ManualClock clock;
  WorkQueue queue(clock, {.per_second = 1, .burst = 1});
  for (int i = 0; i < 10000; ++i) queue.Add({"", std::to_string(i)});
  for (int i = 0; i < 10000; ++i) REQUIRE(queue.TryGet());
}

TEST_CASE("a rate-limited add comes after its delay") {
  ManualClock clock;
  WorkQueue queue(clock, {});
  queue.AddRateLimited(kA);
  CHECK_FALSE(queue.TryGet());
  clock.AdvanceBy(5ms);
  CHECK(queue.TryGet() == kA);
  queue.Done(kA);
  queue.AddRateLimited(kA);
  CHECK(queue.Retries(kA) == 2);
  clock.AdvanceBy(9ms);
  CHECK_FALSE(queue.TryGet());
  clock.AdvanceBy(1ms);
  CHECK(queue.TryGet() == kA);
}

TEST_CASE("a queue counts and measures what passes through it") {
  telemetry::Registry registry;
  ManualClock clock;
  const WorkQueueMetrics metrics = WorkQueueMetrics::Make(registry, "q");
  WorkQueue queue(clock, {}, metrics);
  queue.Add(kA);
  queue.Add(kA);
  queue.Add(kB);
  queue.AddRateLimited(kC);
  REQUIRE(queue.TryGet());
  clock.AdvanceBy(2s);
  queue.Collect();
  CHECK(metrics.depth.Value() == 1);
  CHECK(metrics.unfinished_seconds.Value() == 2);
  CHECK(metrics.longest_running_seconds.Value() == 2);
  CHECK(metrics.adds.Value() == 2);
  CHECK(metrics.retries.Value() == 1);
  REQUIRE(queue.TryGet());
  CHECK(metrics.adds.Value() == 3);  // the delayed one arrived
}

TEST_CASE("no key is lost and none is handled twice at once by many workers") {
  WorkQueue queue(base::SystemClock(), {});
  constexpr int kKeys = 20, kAdds = 4000;
  std::array<std::atomic<int>, kKeys> busy{}, wanted{}, handled{};
  std::atomic<int> overlaps{0};
  std::vector<std::jthread> workers;
  for (int i = 0; i < 4; ++i) {
    workers.emplace_back([&] {
      while (const auto key = queue.Get()) {
        const auto k = static_cast<std::size_t>(std::stoi(key->name));
        if (busy[k].fetch_add(1) != 0) ++overlaps;
        handled[k].store(wanted[k].load());
        busy[k].fetch_sub(1);
        queue.Done(*key);
      }
    });
  }
  for (int i = 0; i < kAdds; ++i) {
    const auto k = static_cast<std::size_t>(i % kKeys);
    ++wanted[k];
    const ObjectKey key{"", std::to_string(k)};
    if (i % 3 == 0) {
      queue.AddAfter(key, 1us);
    } else {
      queue.Add(key);
    }
  }
  // Delayed adds may still be on their way: one more of each is enough for the newest wish to be seen.
  for (int k = 0; k < kKeys; ++k) queue.Add({"", std::to_string(k)});
  CHECK(queue.WaitIdle(10s));
  queue.ShutDown();
  workers.clear();
  CHECK(overlaps == 0);
  for (std::size_t k = 0; k < kKeys; ++k) CHECK(handled[k] == wanted[k]);
}

TEST_CASE("a blocked worker wakes for a delayed key and ends at shutdown") {
  WorkQueue queue(base::SystemClock(), {});
  std::vector<std::string> seen;
  std::jthread worker([&] {
    while (const auto key = queue.Get()) {
      seen.push_back(key->name);
      if (key->name == "late") queue.AddAfter({"", "early"}, 1ms);
      queue.Done(*key);
      if (key->name == "early") queue.ShutDown();
    }
  });
  queue.AddAfter({"", "never"}, 1h);
  queue.AddAfter({"", "late"}, 5ms);
  worker.join();
  CHECK(seen == std::vector<std::string>{"late", "early"});
}

}  // namespace
}  // namespace clusterpulse::runtime
