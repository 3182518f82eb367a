#include "hub/ingest/metrics.h"

namespace clusterpulse::ingest {

Metrics Metrics::Make(telemetry::Registry* registry) {
  Metrics m;
  if (registry == nullptr) return m;
  telemetry::Registry& r = *registry;
  m.streams = r.Gauges("clusterpulse_hub_ingest_streams", "Streams of collectors now.", {"kind"});
  m.registrations = r.Counters("clusterpulse_hub_ingest_registrations_total",
                               "Registrations of collectors by what came of them.", {"result"});
  m.auth_failures = r.Counters("clusterpulse_hub_ingest_auth_failures_total",
                               "Registrations that were not authenticated, by cause.", {"reason"});
  m.ended = r.Counters("clusterpulse_hub_ingest_streams_ended_total", "Streams that ended, by status.", {"code"});
  m.batches = r.Counters("clusterpulse_hub_ingest_batches_total", "Batches by what came of them.", {"result"});
  m.rejected =
      r.Counters("clusterpulse_hub_ingest_rejected_total", "Batches that can never be stored, by cause.", {"kind"});
  m.acks = r.Counters("clusterpulse_hub_ingest_acks_total", "Acknowledgements sent.", {"kind"});
  m.bytes = r.Counters("clusterpulse_hub_ingest_received_bytes_total", "Bytes of messages received.").With({});
  m.store_errors =
      r.Counters("clusterpulse_hub_ingest_store_errors_total", "Calls to the store that failed; they are tried again.")
          .With({});
  m.source_results_dropped = r.Counters("clusterpulse_hub_ingest_source_results_dropped_total",
                                        "Results of MetricSources that the collector was not asked for.")
                                 .With({});
  m.malformed_messages = r.Counters("clusterpulse_hub_ingest_malformed_messages_total",
                                    "Messages other than batches that break a rule of the protocol.")
                             .With({});
  m.replays = r.Counters("clusterpulse_hub_ingest_replays_total",
                         "Requests to send batches again because a store may have lost them.")
                  .With({});
  m.replay_batches =
      r.Counters("clusterpulse_hub_ingest_replay_batches_total", "Batches asked for by such requests.").With({});
  m.apply_seconds = r.Histograms("clusterpulse_hub_ingest_apply_seconds", "Time writing a batch to the store took.",
                                 telemetry::LatencyBuckets())
                        .With({});
  m.in_flight_bytes =
      r.Gauges("clusterpulse_hub_ingest_in_flight_bytes", "Bytes of batches received and not yet stored.").With({});
  m.backlog_batches =
      r.Gauges("clusterpulse_hub_ingest_backlog_batches",
               "Batches that the collectors connected here keep because they are not durable yet, as they said last.")
          .With({});
  m.backlog_bytes = r.Gauges("clusterpulse_hub_ingest_backlog_bytes", "Bytes of such batches.").With({});
  return m;
}

}  // namespace clusterpulse::ingest
