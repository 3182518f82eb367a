#pragma once

#include "common/base/clock.h"
#include "common/model/delivery.h"

namespace clusterpulse::store {

// Which batches of an instance survive whatever happens, and when the newest of them was collected (zero: not known).
struct DurableBatches {
  model::DurablePosition position;
  base::SystemTime newest{};
  bool operator==(const DurableBatches&) const = default;
};

}  // namespace clusterpulse::store
