#include "common/base/token_bucket.h"

#include <algorithm>

namespace clusterpulse::base {

void TokenBucket::RefillLocked(SteadyTime now) {
  if (now <= last_) return;
  tokens_ = std::min(burst_, tokens_ + rate_ * std::chrono::duration<double>(now - last_).count());
  last_ = now;
}

std::chrono::nanoseconds TokenBucket::Reserve(SteadyTime now) {
  MutexLock lock(mu_);
  RefillLocked(now);
  tokens_ -= 1;
  if (tokens_ >= 0) return std::chrono::nanoseconds::zero();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(-tokens_ / rate_));
}

bool TokenBucket::TryTake(SteadyTime now) {
  MutexLock lock(mu_);
  RefillLocked(now);
  if (tokens_ < 1) return false;
  tokens_ -= 1;
  return true;
}

void TokenBucket::Cancel() {
  MutexLock lock(mu_);
  tokens_ = std::min(burst_, tokens_ + 1);
}

}  // namespace clusterpulse::base
