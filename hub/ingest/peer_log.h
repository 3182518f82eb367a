#pragma once

#include <atomic>
#include <cstdint>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/base/token_bucket.h"
#include "common/log/logger.h"

namespace clusterpulse::ingest {

// The log for whatever a peer can trigger: a few lines a second over all of them, each with how many were left out
// before it. Thread-safe.
class PeerLog {
 public:
  PeerLog(log::Logger log, const base::Clock& clock) : log_(std::move(log)), clock_(clock) {}

  void Write(log::Level level, std::string_view message, std::initializer_list<log::Field> fields) const {
    if (!log_.Enabled(level)) return;
    if (!bucket_.TryTake(clock_.Steady())) {
      ++suppressed_;
      return;
    }
    if (const std::int64_t suppressed = suppressed_.exchange(0); suppressed > 0) {
      log_.With({{"suppressed_lines", suppressed}}).Write(level, message, fields);
    } else {
      log_.Write(level, message, fields);
    }
  }

 private:
  static constexpr double kPerSecond = 5, kBurst = 100;

  const log::Logger log_;
  const base::Clock& clock_;
  mutable base::TokenBucket bucket_{kPerSecond, kBurst};
  mutable std::atomic<std::int64_t> suppressed_ = 0;
};

}  // namespace clusterpulse::ingest
