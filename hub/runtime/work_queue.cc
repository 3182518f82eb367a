#include "hub/runtime/work_queue.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include <absl/container/inlined_vector.h>

namespace clusterpulse::runtime {
namespace {

using std::chrono::nanoseconds;

// Upper bound of the timer's wait: what moves delayed keys when the clock is not the system's.
constexpr std::chrono::seconds kSafetyWakeUp{10};

double Seconds(nanoseconds d) { return std::chrono::duration<double>(d).count(); }

// 10 ns times powers of 10, up to 10 s.
std::vector<double> QueueBuckets() {
  std::vector<double> buckets;
  for (int exponent = -8; exponent <= 1; ++exponent) buckets.push_back(std::pow(10.0, exponent));
  return buckets;
}

}  // namespace

nanoseconds RetryLimiter::Next(const kube::ObjectKey& key, base::SteadyTime now) {
  int& failures = failures_[key];
  // The exponent is bounded, so that no number of failures can overflow it.
  const double grown = static_cast<double>(options_.base_delay.count()) * std::ldexp(1.0, std::min(failures, 60));
  const double own_ms = std::min(grown, static_cast<double>(options_.max_delay.count()));
  if (failures < 1000000) ++failures;
  const auto own = std::chrono::duration_cast<nanoseconds>(std::chrono::duration<double, std::milli>(own_ms));
  return std::max(own, bucket_.Reserve(now));
}

int RetryLimiter::Retries(const kube::ObjectKey& key) const {
  const auto it = failures_.find(key);
  return it == failures_.end() ? 0 : it->second;
}

bool KeyQueue::Add(const kube::ObjectKey& key, base::SteadyTime now) {
  if (shutting_down_ || !dirty_.emplace(key, now).second) return false;
  if (!processing_.contains(key)) queue_.push_back(key);
  return true;
}

bool KeyQueue::AddAfter(const kube::ObjectKey& key, nanoseconds delay, base::SteadyTime now) {
  if (shutting_down_) return false;
  if (delay <= nanoseconds::zero()) return Add(key, now);
  const base::SteadyTime ready = now + delay;
  const auto known = delayed_by_key_.find(key);
  if (known == delayed_by_key_.end()) {
    delayed_by_key_.emplace(key, delayed_.emplace(ready, key));
    return true;
  }
  if (known->second->first <= ready) return false;
  delayed_.erase(known->second);
  known->second = delayed_.emplace(ready, key);
  return true;
}

void KeyQueue::DropDelayed(const kube::ObjectKey& key) {
  const auto known = delayed_by_key_.find(key);
  if (known == delayed_by_key_.end()) return;
  delayed_.erase(known->second);
  delayed_by_key_.erase(known);
}

int KeyQueue::PopReady(base::SteadyTime now) {
  int added = 0;
  while (!delayed_.empty() && delayed_.begin()->first <= now) {
    const auto first = delayed_.begin();
    // It has been waiting since its time came, not since somebody looked.
    if (Add(first->second, first->first)) ++added;
    delayed_by_key_.erase(first->second);
    delayed_.erase(first);
  }
  return added;
}

std::optional<base::SteadyTime> KeyQueue::NextReady() const {
  if (delayed_.empty()) return std::nullopt;
  return delayed_.begin()->first;
}

std::optional<KeyQueue::Item> KeyQueue::Get(base::SteadyTime now) {
  if (queue_.empty()) return std::nullopt;
  Item item{std::move(queue_.front()), {}};
  queue_.pop_front();
  const auto since = dirty_.find(item.key);
  item.waited = now - since->second;
  dirty_.erase(since);
  processing_.emplace(item.key, now);
  return item;
}

nanoseconds KeyQueue::Done(const kube::ObjectKey& key, base::SteadyTime now) {
  const auto since = processing_.find(key);
  if (since == processing_.end()) return nanoseconds::zero();
  const nanoseconds took = now - since->second;
  processing_.erase(since);
  if (dirty_.contains(key)) queue_.push_back(key);
  return took;
}

void KeyQueue::ShutDown() {
  shutting_down_ = true;
  delayed_.clear();
  delayed_by_key_.clear();
}

nanoseconds KeyQueue::UnfinishedWork(base::SteadyTime now) const {
  nanoseconds sum{0};
  for (const auto& [key, since] : processing_) sum += now - since;
  return sum;
}

nanoseconds KeyQueue::LongestRunning(base::SteadyTime now) const {
  nanoseconds longest{0};
  for (const auto& [key, since] : processing_) longest = std::max<nanoseconds>(longest, now - since);
  return longest;
}

WorkQueueMetrics WorkQueueMetrics::Make(telemetry::Registry& registry, std::string_view name) {
  WorkQueueMetrics m;
  m.adds = registry.Counters("clusterpulse_hub_workqueue_adds_total", "Keys added to the work queue.", {"name"})
               .With({name});
  m.retries =
      registry.Counters("clusterpulse_hub_workqueue_retries_total", "Keys added again after a failure.", {"name"})
          .With({name});
  m.depth = registry.Gauges("clusterpulse_hub_workqueue_depth", "Keys that wait to be handled.", {"name"}).With({name});
  m.unfinished_seconds = registry
                             .Gauges("clusterpulse_hub_workqueue_unfinished_work_seconds",
                                     "Time spent so far on the keys being handled, summed.", {"name"})
                             .With({name});
  m.longest_running_seconds = registry
                                  .Gauges("clusterpulse_hub_workqueue_longest_running_processor_seconds",
                                          "Time spent so far on the key handled longest.", {"name"})
                                  .With({name});
  m.queue_duration = registry
                         .Histograms("clusterpulse_hub_workqueue_queue_duration_seconds",
                                     "Time a key waited before it was handled.", QueueBuckets(), {"name"})
                         .With({name});
  m.work_duration = registry
                        .Histograms("clusterpulse_hub_workqueue_work_duration_seconds", "Time handling a key took.",
                                    QueueBuckets(), {"name"})
                        .With({name});
  return m;
}

WorkQueue::WorkQueue(const base::Clock& clock, RetryLimiter::Options retries, WorkQueueMetrics metrics)
    : clock_(clock), metrics_(metrics), limiter_(retries) {}

// Notifies who was chosen under the lock once it is free again (declared before the lock): who was woken earlier would
// only wait for it.
class WorkQueue::Notifier {
 public:
  explicit Notifier(WorkQueue& queue) : queue_(queue) {}
  ~Notifier() {
    for (Sleeper* const sleeper : told) sleeper->woken.NotifyOne();
    if (timer) queue_.timer_.NotifyOne();
  }
  Notifier(const Notifier&) = delete;
  Notifier& operator=(const Notifier&) = delete;

  absl::InlinedVector<Sleeper*, 4> told;
  bool timer = false;

 private:
  WorkQueue& queue_;
};

void WorkQueue::Add(const kube::ObjectKey& key) {
  Notifier notifier(*this);
  base::MutexLock lock(mu_);
  const std::size_t before = queue_.depth();
  if (!queue_.Add(key, clock_.Steady())) return;
  metrics_.adds.Add();
  WakeLocked(before, notifier);
}

void WorkQueue::AddAfter(const kube::ObjectKey& key, nanoseconds delay) {
  Notifier notifier(*this);
  base::MutexLock lock(mu_);
  AddAfterLocked(key, delay, notifier);
}

void WorkQueue::AddAfterLocked(const kube::ObjectKey& key, nanoseconds delay, Notifier& notifier) {
  const std::size_t before = queue_.depth();
  if (!queue_.AddAfter(key, delay, clock_.Steady())) return;
  if (delay <= nanoseconds::zero()) metrics_.adds.Add();
  WakeLocked(before, notifier);
  WatchDelayedLocked(notifier);
}

void WorkQueue::AddRateLimited(const kube::ObjectKey& key) {
  Notifier notifier(*this);
  base::MutexLock lock(mu_);
  if (queue_.shutting_down()) return;
  metrics_.retries.Add();
  AddAfterLocked(key, limiter_.Next(key, clock_.Steady()), notifier);
}

void WorkQueue::Forget(const kube::ObjectKey& key) {
  base::MutexLock lock(mu_);
  limiter_.Forget(key);
}

void WorkQueue::DropDelayed(const kube::ObjectKey& key) {
  base::MutexLock lock(mu_);
  queue_.DropDelayed(key);
}

int WorkQueue::Retries(const kube::ObjectKey& key) const {
  base::MutexLock lock(mu_);
  return limiter_.Retries(key);
}

std::optional<kube::ObjectKey> WorkQueue::GetLocked(Notifier& notifier) {
  const base::SteadyTime now = clock_.Steady();
  const std::size_t before = queue_.depth();
  metrics_.adds.Add(queue_.PopReady(now));
  std::optional<KeyQueue::Item> item = queue_.Get(now);
  if (!item) return std::nullopt;
  // For what became ready. When others waited already, the key taken was theirs and all that came are left.
  WakeLocked(before > 0 ? before - 1 : 0, notifier);
  WatchDelayedLocked(notifier);
  metrics_.queue_duration.Observe(Seconds(item->waited));
  return std::move(item->key);
}

std::optional<kube::ObjectKey> WorkQueue::Get() {
  Notifier notifier(*this);
  base::MutexLock lock(mu_);
  while (true) {
    if (auto key = GetLocked(notifier)) return key;
    if (queue_.shutting_down()) return std::nullopt;
    SleepLocked();
  }
}

void WorkQueue::SleepLocked() {
  if (timer_until_) {
    if (unused_.empty()) unused_.push_back(&made_.emplace_back());
    Sleeper& self = *unused_.back();
    unused_.pop_back();
    self.told = false;
    sleepers_.push_back(&self);
    while (!self.told && !queue_.shutting_down()) self.woken.Wait(mu_);
    if (self.told) {
      --wakes_;
    } else {
      std::erase(sleepers_, &self);
    }
    unused_.push_back(&self);
    return;
  }
  const base::SteadyTime now = clock_.Steady();
  nanoseconds wait = kSafetyWakeUp;
  if (const auto ready = queue_.NextReady()) wait = std::min<nanoseconds>(wait, *ready - now);
  timer_until_ = now + wait;
  timer_.WaitFor(mu_, wait);
  timer_until_.reset();
}

void WorkQueue::WakeLocked(std::size_t depth_before, Notifier& notifier) {
  for (std::size_t keys = depth_before; keys < queue_.depth(); ++keys) {
    if (sleepers_.empty()) {
      notifier.timer = true;
      return;
    }
    TellLocked(notifier);
  }
}

void WorkQueue::TellLocked(Notifier& notifier) {
  Sleeper& sleeper = *sleepers_.back();
  sleepers_.pop_back();
  sleeper.told = true;
  ++wakes_;
  notifier.told.push_back(&sleeper);
}

void WorkQueue::WatchDelayedLocked(Notifier& notifier) {
  const auto ready = queue_.NextReady();
  if (!ready) return;
  if (timer_until_) {
    if (*ready < *timer_until_) notifier.timer = true;
  } else if (wakes_ == 0 && !sleepers_.empty()) {  // who is already told to wake becomes the timer, or hands that on
    TellLocked(notifier);
  }
}

std::optional<kube::ObjectKey> WorkQueue::TryGet() {
  Notifier notifier(*this);
  base::MutexLock lock(mu_);
  return GetLocked(notifier);
}

void WorkQueue::Done(const kube::ObjectKey& key) {
  Notifier notifier(*this);
  base::MutexLock lock(mu_);
  const std::size_t before = queue_.depth();
  metrics_.work_duration.Observe(Seconds(queue_.Done(key, clock_.Steady())));
  WakeLocked(before, notifier);
  if (queue_.depth() == 0 && queue_.processing() == 0) idle_.NotifyAll();
}

void WorkQueue::ShutDown() {
  base::MutexLock lock(mu_);
  queue_.ShutDown();
  for (Sleeper* const sleeper : sleepers_) sleeper->woken.NotifyOne();
  timer_.NotifyAll();
}

bool WorkQueue::WaitIdle(nanoseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  base::MutexLock lock(mu_);
  while (queue_.depth() > 0 || queue_.processing() > 0) {
    const nanoseconds left = deadline - std::chrono::steady_clock::now();
    if (left <= nanoseconds::zero()) return false;
    idle_.WaitFor(mu_, left);
  }
  return true;
}

void WorkQueue::Collect() const {
  base::MutexLock lock(mu_);
  const base::SteadyTime now = clock_.Steady();
  metrics_.depth.Set(static_cast<double>(queue_.depth()));
  metrics_.unfinished_seconds.Set(Seconds(queue_.UnfinishedWork(now)));
  metrics_.longest_running_seconds.Set(Seconds(queue_.LongestRunning(now)));
}

}  // namespace clusterpulse::runtime
