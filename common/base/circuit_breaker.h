#pragma once

#include <chrono>

#include "common/base/clock.h"
#include "common/base/mutex.h"

namespace clusterpulse::base {

// Stops calling a dependency that keeps failing. Closed: calls pass; `threshold` consecutive failures open it. Open:
// calls are refused for `recovery`. Half-open: one probe at a time passes; its success closes, its failure opens again.
// A success while closed resets the count. Thread-safe; time is an argument.
class CircuitBreaker {
 public:
  struct Options {
    int threshold = 5;
    std::chrono::milliseconds recovery{60000};
  };
  enum class State { kClosed, kOpen, kHalfOpen };

  explicit CircuitBreaker(Options options) : options_(options) {}

  // True when the caller may call now; it must then report OnSuccess, OnFailure or OnAbandoned.
  bool Allow(SteadyTime now);
  void OnSuccess();
  void OnFailure(SteadyTime now);
  // The allowed call ended without a verdict (cancelled by our own stop): frees the probe slot, changes nothing else.
  void OnAbandoned();
  State state() const;
  // How long until a call may pass; zero when one may pass now.
  std::chrono::nanoseconds RetryIn(SteadyTime now) const;

 private:
  const Options options_;
  mutable Mutex mu_;
  State state_ ABSL_GUARDED_BY(mu_) = State::kClosed;
  int failures_ ABSL_GUARDED_BY(mu_) = 0;
  bool probing_ ABSL_GUARDED_BY(mu_) = false;
  SteadyTime opened_ ABSL_GUARDED_BY(mu_){};
};

}  // namespace clusterpulse::base
