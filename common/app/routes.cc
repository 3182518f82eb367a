#include "common/app/routes.h"

namespace clusterpulse::app {
namespace {

http::Server::Route ProbeRoute(const char* path, const HealthChecks& checks) {
  return {"GET", path, [&checks](const http::ServerRequest&) {
            const HealthChecks::Answer answer = checks.Run();
            return http::ServerReply{.code = answer.ok ? 200 : 503, .body = answer.body};
          }};
}

}  // namespace

std::vector<http::Server::Route> ProbeRoutes(const HealthChecks& alive, const HealthChecks& ready) {
  return {ProbeRoute("/healthz", alive), ProbeRoute("/readyz", ready)};
}

std::vector<http::Server::Route> MetricsRoutes(telemetry::Registry& registry) {
  return {{"GET", "/metrics", [&registry](const http::ServerRequest&) {
             return http::ServerReply{.content_type = "text/plain; version=0.0.4; charset=utf-8",
                                      .body = registry.Render()};
           }}};
}

}  // namespace clusterpulse::app
