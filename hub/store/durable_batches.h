#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "common/base/clock.h"
#include "common/model/delivery.h"

namespace clusterpulse::store {

// Samples that nobody but the hub has, for no collector keeps them (the hub reads the cluster itself, or its collector
// is of upstream's): what was collected after `since`, until `until`, in so many batches, and is not known to survive a
// crash of the history store. No batches: all is known to.
struct HeldSamples {
  base::SystemTime since{}, until{};
  std::uint64_t batches = 0;
  bool operator==(const HeldSamples&) const = default;

  // `more` are held as well.
  void Add(const HeldSamples& more) {
    if (more.batches == 0) return;
    since = batches == 0 ? more.since : std::min(since, more.since);
    until = batches == 0 ? more.until : std::max(until, more.until);
    batches += more.batches;
  }
};

// Which batches of an instance survive whatever happens, and when the newest of them was collected (zero: not known).
struct DurableBatches {
  model::DurablePosition position;
  base::SystemTime newest{};
  std::optional<HeldSamples> held{};  // of the cluster; absent: not told, it stays as it is
  bool operator==(const DurableBatches&) const = default;
};

}  // namespace clusterpulse::store
