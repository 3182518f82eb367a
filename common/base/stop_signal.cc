#include "common/base/stop_signal.h"

#include <algorithm>

namespace clusterpulse::base {

void StopSignal::RequestStop() {
  {
    // The flag is set under the mutex: a waiter between its check and its wait would otherwise miss the wake-up.
    MutexLock lock(mu_);
    stop_ = true;
  }
  stopped_.NotifyAll();
  source_.request_stop();
}

bool StopSignal::WaitFor(std::chrono::nanoseconds limit) {
  // A year is for ever, and keeps the sum below from overflowing.
  const auto deadline =
      std::chrono::steady_clock::now() + std::min<std::chrono::nanoseconds>(limit, std::chrono::hours(8760));
  MutexLock lock(mu_);
  while (!stop_) {
    const auto left = deadline - std::chrono::steady_clock::now();
    if (left <= std::chrono::nanoseconds::zero()) return false;
    stopped_.WaitFor(mu_, left);
  }
  return true;
}

void StopSignal::Wait() {
  MutexLock lock(mu_);
  while (!stop_) stopped_.Wait(mu_);
}

}  // namespace clusterpulse::base
