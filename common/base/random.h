#pragma once

#include <cstdint>
#include <random>

#include "common/base/mutex.h"

namespace clusterpulse::base {

// Port to randomness for jitter and identifiers; not for secrets. Thread-safe.
class Random {
 public:
  virtual ~Random() = default;
  // Uniform over all 64-bit values.
  virtual std::uint64_t Next() = 0;
  // Uniform in [0, 1).
  double Uniform() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }
};

// A generator with a given seed: the same seed gives the same sequence.
class SeededRandom final : public Random {
 public:
  explicit SeededRandom(std::uint64_t seed) : engine_(seed) {}
  std::uint64_t Next() override {
    MutexLock lock(mu_);
    return engine_();
  }

 private:
  Mutex mu_;
  std::mt19937_64 engine_ ABSL_GUARDED_BY(mu_);
};

// Seeded from the system once. Lives as long as the process.
Random& SystemRandom();

}  // namespace clusterpulse::base
