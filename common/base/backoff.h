#pragma once

#include <chrono>

#include "common/base/random.h"

namespace clusterpulse::base {

// Exponential backoff: a base of initial, initial*factor, ... up to max, each spread by jitter. Confined to one thread.
class Backoff {
 public:
  struct Options {
    std::chrono::milliseconds initial{800};
    std::chrono::milliseconds max{30000};
    double factor = 2.0;
    // The wait is drawn from [base, base * (1 + jitter)]; 1.0 as in client-go's reflector.
    double jitter = 1.0;
    // Drawn from [0, base] instead: spreads many callers that begin at once best.
    bool full_jitter = false;
  };
  // `random` is borrowed and must outlive this.
  Backoff(Options options, Random& random) : options_(options), random_(random) {}

  // The next wait; never above max * (1 + jitter), however often it is called.
  std::chrono::milliseconds Next() { return Next(options_.max); }
  // The same with another max for this wait.
  std::chrono::milliseconds Next(std::chrono::milliseconds max);
  // Start again at `initial`, after success.
  void Reset() { failures_ = 0; }
  int failures() const { return failures_; }

 private:
  Options options_;
  Random& random_;
  int failures_ = 0;
};

}  // namespace clusterpulse::base
