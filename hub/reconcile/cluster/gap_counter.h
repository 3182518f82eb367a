#pragma once

#include "common/model/delivery.h"
#include "common/telemetry/registry.h"

namespace clusterpulse::reconcile {

// clusterpulse_hub_gaps_total, which streams and pulls count in. Default-made ones count nothing.
struct GapCounter {
  telemetry::Registry::CounterFamily gaps;  // cause

  static GapCounter Make(telemetry::Registry* registry) {
    if (registry == nullptr) return {};
    return {registry->Counters("clusterpulse_hub_gaps_total",
                               "Holes in the history of clusters that were told, by cause.", {"cause"})};
  }
  void Add(model::GapCause cause) const { gaps.Add({model::ToString(cause)}); }
};

}  // namespace clusterpulse::reconcile
