#include "hub/history/metrics.h"

namespace clusterpulse::history {

Metrics Metrics::Make(telemetry::Registry* registry) {
  Metrics m;
  if (registry == nullptr) return m;
  telemetry::Registry& r = *registry;
  m.written =
      r.Counters("clusterpulse_hub_history_samples_written_total", "Samples that the history store took.").With({});
  m.refused =
      r.Counters("clusterpulse_hub_history_samples_refused_total",
                 "Samples that can never be stored, by what is wrong with them: name, label, value, time, "
                 "ambiguous (two of one batch with the same name), server (refused by the history store), retention "
                 "(older than it keeps any).",
                 {"kind"});
  m.dropped = r.Counters("clusterpulse_hub_history_samples_dropped_total",
                         "Samples taken from the queue or not let into it; collectors are asked to send them again. By "
                         "reason: full, stopped.",
                         {"reason"});
  m.requests = r.Counters("clusterpulse_hub_history_requests_total",
                          "Requests to write samples by outcome: ok, retry, misconfigured, refused.", {"result"});
  m.request_seconds = r.Histograms("clusterpulse_hub_history_request_seconds", "Time of requests to write samples.",
                                   telemetry::LatencyBuckets())
                          .With({});
  m.retries =
      r.Counters("clusterpulse_hub_history_retries_total", "Requests to write samples that were sent again.").With({});
  m.sent_bytes = r.Counters("clusterpulse_hub_history_sent_bytes_total", "Bytes of samples sent, compressed.").With({});
  m.queue_bytes = r.Gauges("clusterpulse_hub_history_queue_bytes",
                           "Bytes of samples, compressed, that wait for the history store to take them.")
                      .With({});
  m.lag_seconds = r.Gauges("clusterpulse_hub_history_lag_seconds",
                           "How long the oldest samples have waited for the history store to take them.")
                      .With({});
  m.up = r.Gauges("clusterpulse_hub_history_up", "1 while the history store takes what it is given.").With({});
  m.by_time = r.Gauges("clusterpulse_hub_history_durable_by_time",
                       "1 while the history store does not tell when it was started: samples then count as durable by "
                       "their age alone.")
                  .With({});
  m.retention_seconds =
      r.Gauges("clusterpulse_hub_history_retention_seconds",
               "For how long the history store keeps samples; 0: it does not tell, and ignores what is "
               "older without a word.")
          .With({});
  return m;
}

}  // namespace clusterpulse::history
