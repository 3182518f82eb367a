#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/mutex.h"
#include "common/http/server.h"
#include "hub/runtime/runnable.h"

namespace clusterpulse::app {

// An HTTP server as a part of the program: serves from Start to Stop. Thread-safe.
class HttpEndpoint final : public runtime::Runnable {
 public:
  HttpEndpoint(http::Server::Options options, std::vector<http::Server::Route> routes)
      : options_(std::move(options)), routes_(std::move(routes)) {}

  std::string_view name() const override { return options_.name; }
  absl::Status Start() override;
  bool Stop(std::chrono::milliseconds limit) override;
  // 0 before Start.
  int port() const { return port_.load(); }

 private:
  const http::Server::Options options_;
  const std::vector<http::Server::Route> routes_;
  std::atomic<int> port_{0};
  base::Mutex mu_;
  std::unique_ptr<http::Server> server_ ABSL_GUARDED_BY(mu_);
};

}  // namespace clusterpulse::app
