#pragma once

#include "common/telemetry/registry.h"

namespace clusterpulse::history {

// What the writer of samples counts. Handles count nothing without a registry.
struct Metrics {
  telemetry::Counter written, retries, sent_bytes;
  telemetry::Registry::CounterFamily refused;   // kind
  telemetry::Registry::CounterFamily dropped;   // reason
  telemetry::Registry::CounterFamily requests;  // result
  telemetry::Histogram request_seconds;
  telemetry::Gauge queue_bytes, lag_seconds, up, by_time, retention_seconds;

  static Metrics Make(telemetry::Registry* registry);
};

}  // namespace clusterpulse::history
