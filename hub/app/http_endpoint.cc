#include "hub/app/http_endpoint.h"

#include "common/base/status.h"

namespace clusterpulse::app {

absl::Status HttpEndpoint::Start() {
  base::MutexLock lock(mu_);
  ASSIGN_OR_RETURN(server_, http::Server::Start(options_, routes_),
                   fmt::format("serving {} on {}", options_.name, options_.address));
  port_ = server_->port();
  return absl::OkStatus();
}

bool HttpEndpoint::Stop(std::chrono::milliseconds limit) {
  if (limit <= limit.zero()) return false;
  std::unique_ptr<http::Server> server;
  {
    base::MutexLock lock(mu_);
    server = std::move(server_);
  }
  // Joins its threads: running handlers answer within a second.
  server.reset();
  return true;
}

}  // namespace clusterpulse::app
