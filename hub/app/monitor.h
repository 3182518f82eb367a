#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string_view>

#include <absl/status/status.h>

#include "common/app/health.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/stop_signal.h"
#include "common/log/logger.h"
#include "hub/runtime/runnable.h"
#include "hub/runtime/worker_group.h"
#include "hub/store/cluster_state.h"

namespace clusterpulse::app {

// Looks every few seconds whether the things the hub depends on are there, so that probes answer at once from what is
// known. Also the loop whose standstill makes the process not alive. One thread, from Start to Stop.
//
// The store: may be missing at the start, the hub then runs and is not ready. Its schema is checked as soon as it
// answers; one of a newer version ends the program (WaitReady, or on_fatal when the store appears later). The
// ClusterConnection definition: while it is missing, a line a minute says how to install it.
class Monitor final : public runtime::Runnable {
 public:
  struct Options {
    std::chrono::milliseconds interval{1000};
    std::chrono::milliseconds hint_interval{60000};
    // Why the watch of ClusterConnections fails; ok when it does not. Called from the monitor's thread.
    std::function<absl::Status()> connections_error;
    // Called at most once, from the monitor's thread.
    std::function<void(const absl::Status&)> on_fatal;
    // Called after each look with what StoreStatus gives, from the monitor's thread.
    std::function<void(const absl::Status& store)> on_look;
  };
  // All borrowed; must outlive this.
  Monitor(Options options, store::StateStore& store, store::ClusterState& state, const base::Clock& clock,
          log::Logger log);
  ~Monitor() override { stop_.RequestStop(); }

  std::string_view name() const override { return "monitor"; }
  absl::Status Start() override;
  // Until the first look is done; kFailedPrecondition: the store is of a newer version.
  absl::Status WaitReady(std::chrono::milliseconds limit, std::stop_token stop) override;
  bool Stop(std::chrono::milliseconds limit) override;

  // Thread-safe. Ok when the last round trip to the store worked and its schema is ours.
  absl::Status StoreStatus() const;
  // For how long every look has found it so; zero when the last did not.
  std::chrono::nanoseconds StoreUpFor() const;
  const Heartbeat& heartbeat() const { return heartbeat_; }

  // One look, as the thread does it; for tests.
  void LookOnce();

 private:
  void HintAtMissingDefinition();

  const Options options_;
  store::StateStore& store_;
  store::ClusterState& state_;
  const base::Clock& clock_;
  const log::Logger log_;
  Heartbeat heartbeat_;

  // Confined to the thread.
  bool schema_checked_ = false;
  bool fatal_reported_ = false;
  std::optional<base::SteadyTime> hinted_;

  base::StopSignal stop_;
  mutable base::Mutex mu_;
  base::CondVar looked_changed_;
  bool looked_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status store_status_ ABSL_GUARDED_BY(mu_);
  std::optional<base::SteadyTime> store_up_since_ ABSL_GUARDED_BY(mu_);

  runtime::WorkerGroup thread_;
};

}  // namespace clusterpulse::app
