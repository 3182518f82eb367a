#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "common/model/delivery.h"
#include "common/telemetry/registry.h"

namespace clusterpulse::ingest {

// The memory that batches received and not yet stored take, over all streams of this replica, and each stream's share
// of it. Thread-safe.
class FlightBudget {
 public:
  // A stream's credits: delivery.md 6.
  static constexpr std::uint32_t kBatches = 16;
  static constexpr std::uint64_t kMostBytes = std::uint64_t{4} << 20;
  // With so many streams that shares become smaller than this, the bound gives way: less would stop live batches.
  static constexpr std::uint64_t kLeastBytes = std::uint64_t{64} << 10;

  explicit FlightBudget(std::int64_t cap, telemetry::Gauge used = {}) : cap_(cap), gauge_(used) {}

  void Take(std::size_t bytes) { Change(static_cast<std::int64_t>(bytes)); }
  void Return(std::size_t bytes) { Change(-static_cast<std::int64_t>(bytes)); }
  std::int64_t used() const { return used_; }
  // Nothing more is taken of a peer beyond its credits.
  bool full() const { return used_ >= cap_; }

  void Join() { ++streams_; }
  void Leave() { --streams_; }
  // What a stream may have in flight now.
  model::Credits Share() const {
    const auto streams = static_cast<std::uint64_t>(std::max<std::int64_t>(streams_, 1));
    return {kBatches, std::clamp(static_cast<std::uint64_t>(cap_) / streams, kLeastBytes, kMostBytes)};
  }

 private:
  void Change(std::int64_t by) {
    used_ += by;
    gauge_.Add(static_cast<double>(by));
  }

  const std::int64_t cap_;
  const telemetry::Gauge gauge_;
  std::atomic<std::int64_t> used_ = 0, streams_ = 0;
};

}  // namespace clusterpulse::ingest
