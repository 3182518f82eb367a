#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include <absl/container/flat_hash_map.h>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/token_bucket.h"
#include "common/kube/resource.h"
#include "common/telemetry/registry.h"

namespace clusterpulse::runtime {

// How long a failed key waits before it is tried again: the larger of its own exponential delay and its turn in a token
// bucket shared by all keys. Confined to one thread (WorkQueue guards it).
class RetryLimiter {
 public:
  struct Options {
    std::chrono::milliseconds base_delay{5};  // of a key's first failure; doubled by each further one
    std::chrono::milliseconds max_delay{1000000};
    double per_second = 10;  // retries of all keys together
    double burst = 100;
  };
  explicit RetryLimiter(Options options) : options_(options), bucket_(options.per_second, options.burst) {}

  // Counts one failure of `key` and returns its wait.
  std::chrono::nanoseconds Next(const kube::ObjectKey& key, base::SteadyTime now);
  // Starts `key` again at the base delay. What it took from the shared bucket stays taken.
  void Forget(const kube::ObjectKey& key) { failures_.erase(key); }
  // Failures since the last Forget.
  int Retries(const kube::ObjectKey& key) const;

 private:
  const Options options_;
  base::TokenBucket bucket_;
  absl::flat_hash_map<kube::ObjectKey, int> failures_;
};

// The data structure below WorkQueue: which keys wait, in what order, and which are being handled. A key is handled by
// one worker at a time; adding it while it waits does nothing, adding it while it is handled makes it wait again after
// Done. First in, first out between keys. Memory is bounded by the number of distinct keys. Confined to one thread;
// time is an argument.
class KeyQueue {
 public:
  struct Item {
    kube::ObjectKey key;
    std::chrono::nanoseconds waited;  // since it was added, delays not counted
  };

  // True when the key was not waiting before. Refused after ShutDown.
  bool Add(const kube::ObjectKey& key, base::SteadyTime now);
  // Adds it at `now + delay`; at once when that is not positive. Of two delayed adds of a key the earlier one stays.
  // True when NextReady or the queue changed.
  bool AddAfter(const kube::ObjectKey& key, std::chrono::nanoseconds delay, base::SteadyTime now);
  // Drops the delayed add of the key, if there is one.
  void DropDelayed(const kube::ObjectKey& key);
  // Adds the delayed keys whose time has come and returns how many were not waiting before.
  int PopReady(base::SteadyTime now);
  // When PopReady has something to do next.
  std::optional<base::SteadyTime> NextReady() const;

  // The next key, which is being handled from now until Done. Absent: none waits. Does not look at delayed keys.
  std::optional<Item> Get(base::SteadyTime now);
  // Returns how long it was handled. REQUIRES: `key` came from Get.
  std::chrono::nanoseconds Done(const kube::ObjectKey& key, base::SteadyTime now);

  // Refuses further adds and drops the delayed ones. What waits can still be taken.
  void ShutDown();
  bool shutting_down() const { return shutting_down_; }

  std::size_t depth() const { return queue_.size(); }
  std::size_t delayed() const { return delayed_.size(); }
  std::size_t processing() const { return processing_.size(); }
  // Time spent so far on the keys being handled: of all together, and of the one handled longest.
  std::chrono::nanoseconds UnfinishedWork(base::SteadyTime now) const;
  std::chrono::nanoseconds LongestRunning(base::SteadyTime now) const;

 private:
  using Delayed = std::multimap<base::SteadyTime, kube::ObjectKey>;  // equal times keep their order

  std::deque<kube::ObjectKey> queue_;
  absl::flat_hash_map<kube::ObjectKey, base::SteadyTime> dirty_;       // to be handled, since when
  absl::flat_hash_map<kube::ObjectKey, base::SteadyTime> processing_;  // being handled, since when
  Delayed delayed_;
  absl::flat_hash_map<kube::ObjectKey, Delayed::iterator> delayed_by_key_;
  bool shutting_down_ = false;
};

// Metrics of one queue; default-made ones count nothing.
struct WorkQueueMetrics {
  telemetry::Counter adds, retries;
  telemetry::Gauge depth, unfinished_seconds, longest_running_seconds;
  telemetry::Histogram queue_duration, work_duration;

  static WorkQueueMetrics Make(telemetry::Registry& registry, std::string_view name);
};

// KeyQueue with retries for many threads. Thread-safe. Only Get and WaitIdle block.
//
// A key wakes one idle worker, the one that was busy last: its memory is still at hand, and of many workers only as
// many are used as there is work for. One of the idle workers, the timer, sleeps until the first delayed key's time;
// the others sleep until they are woken, and are woken before it.
class WorkQueue {
 public:
  // `clock` is borrowed and must outlive this. Waits are real time: a clock that is not the system's moves delayed keys
  // only when somebody asks (TryGet, or Get within 10 s).
  WorkQueue(const base::Clock& clock, RetryLimiter::Options retries, WorkQueueMetrics metrics = {});

  void Add(const kube::ObjectKey& key);
  void AddAfter(const kube::ObjectKey& key, std::chrono::nanoseconds delay);
  // AddAfter with the wait the RetryLimiter gives.
  void AddRateLimited(const kube::ObjectKey& key);
  // A pass succeeded: the key's failures are dropped.
  void Forget(const kube::ObjectKey& key);
  // A pass begins: the key's delayed add is dropped, so that what earlier passes asked for does not come after what
  // this one finds. What is added during the pass stays.
  void DropDelayed(const kube::ObjectKey& key);
  int Retries(const kube::ObjectKey& key) const;

  // Blocks until a key is there, or until ShutDown was called and no key waits: then absent.
  std::optional<kube::ObjectKey> Get();
  // The same without blocking.
  std::optional<kube::ObjectKey> TryGet();
  void Done(const kube::ObjectKey& key);

  void ShutDown();
  // True when no key waits or is handled, within `limit`.
  bool WaitIdle(std::chrono::nanoseconds limit);

  // Sets the gauges to what is true now.
  void Collect() const;

 private:
  class Notifier;
  // An idle worker but the timer.
  struct Sleeper {
    base::CondVar woken;
    bool told = false;  // to wake
  };

  std::optional<kube::ObjectKey> GetLocked(Notifier& notifier) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void AddAfterLocked(const kube::ObjectKey& key, std::chrono::nanoseconds delay, Notifier& notifier)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SleepLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // One idle worker for each key that came to the queue since it held `depth_before`.
  void WakeLocked(std::size_t depth_before, Notifier& notifier) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // REQUIRES: one sleeps.
  void TellLocked(Notifier& notifier) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Sees to it that some idle worker, if there is one, sleeps no longer than until the first delayed key's time.
  void WatchDelayedLocked(Notifier& notifier) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const base::Clock& clock_;
  const WorkQueueMetrics metrics_;
  mutable base::Mutex mu_;
  base::CondVar timer_;  // the timer
  base::CondVar idle_;   // WaitIdle
  KeyQueue queue_ ABSL_GUARDED_BY(mu_);
  RetryLimiter limiter_ ABSL_GUARDED_BY(mu_);
  std::deque<Sleeper> made_ ABSL_GUARDED_BY(mu_);  // each stays: whoever told it may notify it late
  std::vector<Sleeper*> unused_ ABSL_GUARDED_BY(mu_);
  std::vector<Sleeper*> sleepers_ ABSL_GUARDED_BY(mu_);  // not told to wake; who went to sleep last stands last
  int wakes_ ABSL_GUARDED_BY(mu_) = 0;                   // told to wake and not yet awake
  std::optional<base::SteadyTime> timer_until_ ABSL_GUARDED_BY(mu_);  // absent: no worker is the timer
};

}  // namespace clusterpulse::runtime
