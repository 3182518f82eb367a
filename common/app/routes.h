#pragma once

#include <vector>

#include "common/app/health.h"
#include "common/http/server.h"
#include "common/telemetry/registry.h"

namespace clusterpulse::app {

// What the small servers of a program answer. The arguments are borrowed and must outlive the server.

// GET /healthz and /readyz: 200 or 503 with the answer's body.
std::vector<http::Server::Route> ProbeRoutes(const HealthChecks& alive, const HealthChecks& ready);
// GET /metrics in Prometheus' text format.
std::vector<http::Server::Route> MetricsRoutes(telemetry::Registry& registry);

}  // namespace clusterpulse::app
