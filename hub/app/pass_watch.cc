#include "hub/app/pass_watch.h"

#include "common/base/status.h"

namespace clusterpulse::app {

absl::StatusOr<runtime::Result> PassWatch::Reconcile(const kube::ObjectKey& key, std::stop_token stop) {
  // Also left when the pass throws, which the controller contains.
  struct Running {
    PassWatch& watch;
    const kube::ObjectKey& key;
    Running(PassWatch& w, const kube::ObjectKey& k) : watch(w), key(k) {
      base::MutexLock lock(watch.mu_);
      watch.running_[key] = watch.clock_.Steady();
    }
    ~Running() {
      base::MutexLock lock(watch.mu_);
      watch.running_.erase(key);
    }
  } running(*this, key);
  return inner_.Reconcile(key, stop);
}

absl::Status PassWatch::Check(std::chrono::seconds limit) const {
  const base::SteadyTime now = clock_.Steady();
  base::MutexLock lock(mu_);
  for (const auto& [key, since] : running_) {
    const auto running = std::chrono::duration_cast<std::chrono::seconds>(now - since);
    if (running <= limit) continue;
    return base::MakeStatus(absl::StatusCode::kDeadlineExceeded, "the pass over {} has been running for {} s",
                            key.ToString(), running.count());
  }
  return absl::OkStatus();
}

}  // namespace clusterpulse::app
