#pragma once

#include "common/base/clock.h"
#include "common/base/mutex.h"

namespace clusterpulse::base {

// A clock that moves only when told to. Both of its clocks move together; SetSystem steps the system clock alone, as
// NTP or an operator would. Thread-safe. Does not imitate: waking threads that wait on real time.
class ManualClock final : public Clock {
 public:
  // Starts at 2031-04-05T06:07:08Z, an arbitrary whole second.
  explicit ManualClock(SystemTime start = SystemTime(std::chrono::seconds(1933135628))) : system_(start) {}

  SystemTime Now() const override {
    MutexLock lock(mu_);
    return system_;
  }
  SteadyTime Steady() const override {
    MutexLock lock(mu_);
    return steady_;
  }
  void AdvanceBy(std::chrono::nanoseconds by) {
    MutexLock lock(mu_);
    system_ += std::chrono::duration_cast<SystemTime::duration>(by);
    steady_ += std::chrono::duration_cast<SteadyTime::duration>(by);
  }
  void SetSystem(SystemTime now) {
    MutexLock lock(mu_);
    system_ = now;
  }

 private:
  mutable Mutex mu_;
  SystemTime system_ ABSL_GUARDED_BY(mu_);
  SteadyTime steady_ ABSL_GUARDED_BY(mu_){std::chrono::hours(1)};
};

}  // namespace clusterpulse::base
