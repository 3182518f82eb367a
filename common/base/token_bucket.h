#pragma once

#include <chrono>

#include "common/base/clock.h"
#include "common/base/mutex.h"

namespace clusterpulse::base {

// Token bucket: `rate` tokens a second, at most `burst` saved up. Thread-safe; time is an argument.
class TokenBucket {
 public:
  // REQUIRES: rate > 0, burst >= 1.
  TokenBucket(double rate_per_second, double burst) : rate_(rate_per_second), burst_(burst), tokens_(burst) {}

  // Takes one token, going into debt if need be, and returns how long the caller must wait before acting (zero: now).
  std::chrono::nanoseconds Reserve(SteadyTime now);
  // Takes one token only if it is there.
  bool TryTake(SteadyTime now);
  // Gives back a token that Reserve took and the caller did not use.
  void Cancel();

 private:
  void RefillLocked(SteadyTime now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const double rate_;
  const double burst_;
  Mutex mu_;
  double tokens_ ABSL_GUARDED_BY(mu_);
  SteadyTime last_ ABSL_GUARDED_BY(mu_){};
};

}  // namespace clusterpulse::base
