#pragma once

#include <string>
#include <utility>

#include "common/base/status.h"
#include "common/kube/watch_cache.h"
#include "hub/runtime/runnable.h"

namespace clusterpulse::app {

// A watch cache as a part of the program. The cache is borrowed and must outlive this.
template <typename T>
class CachePart final : public runtime::Runnable {
 public:
  CachePart(std::string name, kube::WatchCache<T>& cache) : name_(std::move(name)), cache_(cache) {}

  std::string_view name() const override { return name_; }
  absl::Status Start() override {
    cache_.Start();
    return absl::OkStatus();
  }
  absl::Status WaitReady(std::chrono::milliseconds limit, std::stop_token stop) override {
    if (cache_.WaitForSync(limit, stop)) return absl::OkStatus();
    if (stop.stop_requested()) return absl::CancelledError("stopped");
    return base::MakeStatus(absl::StatusCode::kDeadlineExceeded, "no complete list yet: {}",
                            base::Message(cache_.LastError()));
  }
  // Its calls end at once by their stop token.
  bool Stop(std::chrono::milliseconds limit) override {
    if (limit <= limit.zero()) return false;
    cache_.Stop();
    return true;
  }

 private:
  const std::string name_;
  kube::WatchCache<T>& cache_;
};

}  // namespace clusterpulse::app
