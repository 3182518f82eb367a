#pragma once

#include <cstdint>

#include "common/json/cursor.h"
#include "common/kube/quantity.h"

namespace clusterpulse::survey {

// What a survey could not read and took for nothing; one odd object never spoils a list.
struct Unreadable {
  std::int64_t quantities = 0;  // counted as 0
  std::int64_t objects = 0;     // left out: no name
  bool operator==(const Unreadable&) const = default;
};

// A quantity as an object has it: text, or a plain number. Anything else is zero and counted.
kube::Quantity ReadQuantity(json::Cursor value, Unreadable& unreadable);

}  // namespace clusterpulse::survey
