#pragma once

#include <string>

#include "common/telemetry/registry.h"

namespace clusterpulse::app {

// What Prometheus' own client libraries tell of every process (process_cpu_seconds_total,
// process_resident_memory_bytes, process_open_fds, ...) and <prefix>_build_info. Read from /proc at every scrape; what
// cannot be read stays 0.
class ProcessMetrics {
 public:
  // `registry` is borrowed and must outlive this; `prefix` is that of the program: "clusterpulse_hub".
  ProcessMetrics(telemetry::Registry& registry, const std::string& prefix);
  ~ProcessMetrics();
  ProcessMetrics(const ProcessMetrics&) = delete;
  ProcessMetrics& operator=(const ProcessMetrics&) = delete;

 private:
  void Collect();

  telemetry::Registry& registry_;
  telemetry::Counter cpu_seconds_;
  telemetry::Gauge resident_bytes_, virtual_bytes_, open_fds_, max_fds_, threads_, start_time_;
  int collector_ = 0;
};

}  // namespace clusterpulse::app
