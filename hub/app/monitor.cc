#include "hub/app/monitor.h"

#include <utility>

#include "common/base/status.h"
#include "common/kube/api_error.h"

namespace clusterpulse::app {

Monitor::Monitor(Options options, store::StateStore& store, store::ClusterState& state, const base::Clock& clock,
                 log::Logger log)
    : options_(std::move(options)),
      store_(store),
      state_(state),
      clock_(clock),
      log_(std::move(log)),
      heartbeat_(clock),
      store_status_(absl::UnavailableError("not reached yet")) {}

absl::Status Monitor::Start() {
  thread_.Start(1, "monitor", [this] {
    do {
      LookOnce();
    } while (!stop_.WaitFor(options_.interval));
  });
  return absl::OkStatus();
}

absl::Status Monitor::WaitReady(std::chrono::milliseconds limit, std::stop_token stop) {
  const base::SteadyTime deadline = base::SystemClock().Steady() + limit;
  std::stop_callback wake(stop, [this] {
    base::MutexLock lock(mu_);
    looked_changed_.NotifyAll();
  });
  base::MutexLock lock(mu_);
  while (!looked_) {
    if (stop.stop_requested()) return absl::CancelledError("stopped");
    const auto left = deadline - base::SystemClock().Steady();
    if (left <= left.zero()) return absl::DeadlineExceededError("the store neither answered nor failed");
    looked_changed_.WaitFor(mu_, left);
  }
  // A store that is merely away is no reason not to start.
  return store_status_.code() == absl::StatusCode::kFailedPrecondition ? store_status_ : absl::OkStatus();
}

bool Monitor::Stop(std::chrono::milliseconds limit) {
  stop_.RequestStop();
  return thread_.Join(limit);
}

absl::Status Monitor::StoreStatus() const {
  base::MutexLock lock(mu_);
  return store_status_;
}

std::chrono::nanoseconds Monitor::StoreUpFor() const {
  base::MutexLock lock(mu_);
  return store_up_since_.has_value() ? clock_.Steady() - *store_up_since_ : std::chrono::nanoseconds::zero();
}

void Monitor::LookOnce() {
  absl::Status status = store_.Ping();
  if (status.ok() && !schema_checked_) {
    status = state_.CheckSchema();
    schema_checked_ = status.ok();
  }
  const bool fatal = !schema_checked_ && status.code() == absl::StatusCode::kFailedPrecondition;
  bool first = false;
  {
    base::MutexLock lock(mu_);
    store_status_ = status;
    if (!status.ok()) {
      store_up_since_.reset();
    } else if (!store_up_since_.has_value()) {
      store_up_since_ = clock_.Steady();
    }
    first = !std::exchange(looked_, true);
    looked_changed_.NotifyAll();
  }
  // At the first look WaitReady tells.
  if (fatal && !first && !std::exchange(fatal_reported_, true) && options_.on_fatal) options_.on_fatal(status);
  if (options_.on_look) options_.on_look(status);
  HintAtMissingDefinition();
  heartbeat_.Beat();
}

void Monitor::HintAtMissingDefinition() {
  if (!options_.connections_error || !kube::IsNotFound(options_.connections_error())) {
    hinted_.reset();
    return;
  }
  const base::SteadyTime now = clock_.Steady();
  if (hinted_ && now - *hinted_ < options_.hint_interval) return;
  hinted_ = now;
  log_.Error("the ClusterConnection definition is not installed on the hub cluster; run `clusterpulse-hub crds apply`");
}

}  // namespace clusterpulse::app
