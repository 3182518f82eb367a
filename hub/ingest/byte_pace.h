#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "common/base/clock.h"

namespace clusterpulse::ingest {

// Holds a peer to bytes per second by saying when to read on. A token bucket that is kept as the time at which it would
// be full again. Confined to one thread; time is an argument.
class BytePace {
 public:
  // Saved up at most: ten seconds' worth, and never less than what a collector sends at once after a connect.
  static constexpr std::int64_t kLeastBurst = std::int64_t{4} << 20;

  // 0: no limit.
  void SetRate(std::int64_t bytes_per_second) { rate_ = bytes_per_second; }
  // So much was read. Returns how long to wait before the next.
  std::chrono::nanoseconds Take(std::size_t bytes, base::SteadyTime now) {
    if (rate_ <= 0) return {};
    const auto cost = [this](double n) {
      return std::chrono::nanoseconds(static_cast<std::int64_t>(n * 1e9 / static_cast<double>(rate_)));
    };
    full_at_ = std::max(full_at_, now) + cost(static_cast<double>(bytes));
    const auto burst = std::max<std::chrono::nanoseconds>(std::chrono::seconds(10), cost(kLeastBurst));
    return std::max<std::chrono::nanoseconds>(full_at_ - now - burst, std::chrono::nanoseconds::zero());
  }

 private:
  std::int64_t rate_ = 0;
  base::SteadyTime full_at_{};
};

}  // namespace clusterpulse::ingest
