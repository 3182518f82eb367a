#pragma once

#include <chrono>
#include <map>
#include <stop_token>

#include <absl/status/statusor.h>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "hub/runtime/reconciler.h"

namespace clusterpulse::app {

// Knows how long the passes of a Reconciler have been running: a pass whose calls all have deadlines and that still
// never ends is a defect that only a restart mends. Thread-safe.
class PassWatch final : public runtime::Reconciler {
 public:
  // Both borrowed; must outlive this.
  PassWatch(runtime::Reconciler& inner, const base::Clock& clock) : inner_(inner), clock_(clock) {}

  absl::StatusOr<runtime::Result> Reconcile(const kube::ObjectKey& key, std::stop_token stop) override;

  // kDeadlineExceeded names the pass that has been running for longer than `limit`.
  absl::Status Check(std::chrono::seconds limit) const;

 private:
  runtime::Reconciler& inner_;
  const base::Clock& clock_;
  mutable base::Mutex mu_;
  std::map<kube::ObjectKey, base::SteadyTime> running_ ABSL_GUARDED_BY(mu_);
};

}  // namespace clusterpulse::app
