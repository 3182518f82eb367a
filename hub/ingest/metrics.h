#pragma once

#include "common/telemetry/registry.h"

namespace clusterpulse::ingest {

// clusterpulse_hub_ingest_*. Default-made ones count nothing. Label values are from closed sets, given where they are
// counted.
struct Metrics {
  telemetry::Registry::GaugeFamily streams;          // kind: unregistered, delivery, upstream
  telemetry::Registry::CounterFamily registrations;  // result
  telemetry::Registry::CounterFamily auth_failures;  // reason
  telemetry::Registry::CounterFamily ended;          // code
  telemetry::Registry::CounterFamily batches;        // result: applied, repeated, history, rejected
  telemetry::Registry::CounterFamily rejected;       // kind
  telemetry::Registry::CounterFamily acks;           // kind: delivery, upstream, upstream_failed
  telemetry::Counter bytes, store_errors, source_results_dropped, malformed_messages, replays, replay_batches;
  telemetry::Histogram apply_seconds;
  telemetry::Gauge in_flight_bytes, backlog_batches, backlog_bytes;

  static Metrics Make(telemetry::Registry* registry);
};

}  // namespace clusterpulse::ingest
