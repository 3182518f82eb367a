#include "common/app/process_metrics.h"

#include <ctime>

#include <catch2/catch.hpp>

#include "common/telemetry/registry.h"

namespace clusterpulse::app {
namespace {

TEST_CASE("process metrics tell memory, CPU, descriptors and the version") {
  telemetry::Registry registry;
  {
    ProcessMetrics metrics(registry, "clusterpulse_hub");
    registry.Render();
    CHECK(registry.Gauges("process_resident_memory_bytes", "").With({}).Value() > 1 << 20);
    CHECK(registry.Gauges("process_open_fds", "").With({}).Value() >= 3);
    CHECK(registry.Gauges("process_max_fds", "").With({}).Value() >= 3);
    CHECK(registry.Gauges("process_threads", "").With({}).Value() >= 1);
    // Started after 2020 and not in the future.
    const double start = registry.Gauges("process_start_time_seconds", "").With({}).Value();
    CHECK(start > 1577836800);
    CHECK(start < static_cast<double>(std::time(nullptr)) + 2);
    const double cpu = registry.Counters("process_cpu_seconds_total", "").With({}).Value();
    registry.Render();
    CHECK(registry.Counters("process_cpu_seconds_total", "").With({}).Value() >= cpu);
  }
  CHECK(registry.Render().find("clusterpulse_hub_build_info{") != std::string::npos);
}

}  // namespace
}  // namespace clusterpulse::app
