#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include <absl/status/statusor.h>

#include "common/base/random.h"
#include "common/base/stop_signal.h"
#include "common/log/logger.h"
#include "hub/runtime/controller.h"
#include "hub/runtime/runnable.h"
#include "hub/runtime/worker_group.h"

namespace clusterpulse::runtime {

// Gives a controller every key it may have work with, once when it starts to lead and from time to time after: whatever
// a handler missed, and whatever went while nobody looked, is found then. Bounds how long a defect of ours can hide.
// One thread, from Start to Stop; a key that waits already is not added twice.
class Resync final : public Runnable {
 public:
  struct Options {
    std::chrono::milliseconds period{std::chrono::hours(10)};  // up to a tenth shorter or longer
    std::chrono::milliseconds retry{60000};                    // after `list` failed
  };
  // The keys of the objects there are and of those whose traces are left. Called on the thread of this.
  using List = std::function<absl::StatusOr<std::vector<kube::ObjectKey>>()>;

  // `controller` and `random` are borrowed and must outlive this.
  Resync(Options options, Controller& controller, List list, base::Random& random, log::Logger log);
  ~Resync() override { stop_.RequestStop(); }

  std::string_view name() const override { return name_; }
  bool needs_lead() const override { return controller_.needs_lead(); }
  absl::Status Start() override;
  bool Stop(std::chrono::milliseconds limit) override;

  // Enqueues them all; returns how long to wait before the next call. What the thread loops over; tests call it.
  std::chrono::nanoseconds Step();

 private:
  const Options options_;
  Controller& controller_;
  const List list_;
  base::Random& random_;
  const log::Logger log_;
  const std::string name_;
  base::StopSignal stop_;
  WorkerGroup thread_;
};

}  // namespace clusterpulse::runtime
