#include "hub/runtime/work_queue.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <fstream>
#include <iterator>
#include <numeric>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include "common/base/mutex.h"
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

// Below the 10 s after which a worker looks by itself: what depends on that fails.
constexpr std::chrono::seconds kLimit{5};

// Counts keys that are being handled, for handlers that wait for one another.
class Meeting {
 public:
  void Arrive() {
    base::MutexLock lock(mu_);
    ++arrived_;
    changed_.NotifyAll();
  }
  // False when fewer than `keys` arrived in time.
  bool Await(int keys) {
    const auto deadline = std::chrono::steady_clock::now() + kLimit;
    base::MutexLock lock(mu_);
    while (arrived_ < keys) {
      if (!changed_.WaitFor(mu_, deadline - std::chrono::steady_clock::now()) && arrived_ < keys) return false;
    }
    return true;
  }

 private:
  base::Mutex mu_;
  base::CondVar changed_;
  int arrived_ ABSL_GUARDED_BY(mu_) = 0;
};

TEST_CASE("as many keys are handled at once as there are workers, however they come") {
  struct Case {
    const char* name;
    std::chrono::nanoseconds delay;
    int every;  // the n-th key is delayed
  };
  constexpr int kWorkers = 8, kRounds = 150;
  constexpr Case kCases[] = {{"at once", 0us, 1}, {"all delayed", 300us, 1}, {"some delayed", 50us, 2}};
  for (const Case& c : kCases) {
    CAPTURE(c.name);
    WorkQueue queue(base::SystemClock(), {});
    Meeting meeting;
    std::atomic<int> missed{0};
    std::vector<std::jthread> workers;
    for (int i = 0; i < kWorkers; ++i) {
      workers.emplace_back([&] {
        while (const auto key = queue.Get()) {
          // No key of a round is done before each of them is with a worker of its own.
          meeting.Arrive();
          if (missed == 0 && !meeting.Await(kWorkers * (std::stoi(key->ns) + 1))) ++missed;
          queue.Done(*key);
        }
      });
    }
    for (int round = 0; round < kRounds; ++round) {
      const std::string name = std::to_string(round);
      std::jthread other([&] {
        for (int i = 0; i < kWorkers / 2; ++i) queue.Add({name, std::to_string(i)});
      });
      for (int i = kWorkers / 2; i < kWorkers; ++i) {
        queue.AddAfter({name, std::to_string(i)}, i % c.every == 0 ? c.delay : 0ns);
      }
      if (missed != 0 || !meeting.Await(kWorkers * (round + 1))) break;
    }
    CHECK(meeting.Await(kWorkers * kRounds));
    CHECK(missed == 0);
    CHECK(queue.WaitIdle(kLimit));
    queue.ShutDown();
  }
}

bool IsAsleep(pid_t thread) {
  std::ifstream stat(fmt::format("/proc/self/task/{}/stat", thread));
  const std::string text(std::istreambuf_iterator<char>(stat), {});
  const std::size_t end_of_name = text.rfind(')');
  return end_of_name != std::string::npos && text.compare(end_of_name, 3, ") S") == 0;
}

TEST_CASE("keys that come one by one are handled by the worker that was busy last") {
  constexpr int kWorkers = 8, kKeys = 100;
  WorkQueue queue(base::SystemClock(), {});
  std::array<std::atomic<int>, kWorkers> handled{};
  std::array<std::atomic<pid_t>, kWorkers> threads{};
  std::vector<std::jthread> workers;
  for (std::size_t i = 0; i < kWorkers; ++i) {
    workers.emplace_back([&queue, &count = handled[i], &thread = threads[i]] {
      thread = ::gettid();
      while (const auto key = queue.Get()) {
        ++count;
        queue.Done(*key);
      }
    });
  }
  const auto all_asleep = [&] {
    const auto until = std::chrono::steady_clock::now() + kLimit;
    while (!std::ranges::all_of(threads, [](pid_t thread) { return thread != 0 && IsAsleep(thread); })) {
      if (std::chrono::steady_clock::now() > until) return false;
      std::this_thread::yield();
    }
    return true;
  };
  for (int i = 0; i < kKeys; ++i) {
    REQUIRE(all_asleep());
    queue.Add({"", std::to_string(i)});
    REQUIRE(queue.WaitIdle(kLimit));
  }
  queue.ShutDown();
  workers.clear();
  std::vector<int> counts(handled.begin(), handled.end());
  std::sort(counts.rbegin(), counts.rend());
  CHECK(counts[0] > kKeys * 9 / 10);  // in turn, each would have an eighth
  CHECK(std::accumulate(counts.begin(), counts.end(), 0) == kKeys);
}

// Each worker that wakes looks at the clock.
class CountingClock final : public base::Clock {
 public:
  base::SystemTime Now() const override { return base::SystemClock().Now(); }
  base::SteadyTime Steady() const override {
    ++looks_;
    return base::SystemClock().Steady();
  }
  int looks() const { return looks_; }

 private:
  mutable std::atomic<int> looks_{0};
};

TEST_CASE("a key wakes one worker, not all that are idle") {
  CountingClock clock;
  WorkQueue queue(clock, {});
  Meeting handled;
  std::vector<std::jthread> workers;
  for (int i = 0; i < 16; ++i) {
    workers.emplace_back([&] {
      while (const auto key = queue.Get()) {
        handled.Arrive();
        queue.Done(*key);
      }
    });
  }
  constexpr int kKeys = 300;
  for (int i = 1; i <= kKeys; ++i) {
    queue.Add({"", std::to_string(i)});
    CHECK(handled.Await(i));
  }
  CHECK(queue.WaitIdle(kLimit));
  // Add, the worker that woke, Done, its next Get; half as many again for workers that become the timer.
  CHECK(clock.looks() <= 6 * kKeys);
  queue.ShutDown();
}

TEST_CASE("a delayed key is not left behind when the worker that watched the time is busy") {
  const bool is_known_before = GENERATE(true, false);
  CAPTURE(is_known_before);
  WorkQueue queue(base::SystemClock(), {});
  Meeting second;
  std::atomic<int> missed{0};
  std::vector<std::jthread> workers;
  for (int i = 0; i < 3; ++i) {
    workers.emplace_back([&] {
      while (const auto key = queue.Get()) {
        if (key->name == "second") {
          second.Arrive();
        } else {
          if (!is_known_before) queue.AddAfter({key->ns, "second"}, 100us);
          if (!second.Await(std::stoi(key->ns))) ++missed;
        }
        queue.Done(*key);
      }
    });
  }
  for (int round = 1; round <= 100 && missed == 0; ++round) {
    const std::string name = std::to_string(round);
    if (is_known_before) queue.AddAfter({name, "second"}, 400us);
    queue.AddAfter({name, "first"}, 200us);
    if (!second.Await(round) || !queue.WaitIdle(kLimit)) ++missed;
  }
  CHECK(missed == 0);
  queue.ShutDown();
}

TEST_CASE("keys added before the first worker came are all handled, and shutdown ends every worker") {
  WorkQueue queue(base::SystemClock(), {});
  Meeting handled;
  for (int i = 0; i < 50; ++i) queue.Add({"", std::to_string(i)});
  for (int i = 50; i < 100; ++i) queue.AddAfter({"", std::to_string(i)}, 1us * i);
  std::vector<std::jthread> workers;
  Meeting ended;
  for (int i = 0; i < 8; ++i) {
    workers.emplace_back([&] {
      while (const auto key = queue.Get()) {
        handled.Arrive();
        queue.Done(*key);
      }
      ended.Arrive();
    });
  }
  CHECK(handled.Await(100));
  CHECK(queue.WaitIdle(kLimit));
  queue.ShutDown();
  CHECK(ended.Await(8));
}

}  // namespace
}  // namespace clusterpulse::runtime
