#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <absl/status/statusor.h>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/stop_signal.h"
#include "common/kube/kube_api.h"
#include "common/log/logger.h"
#include "common/model/cluster.h"

namespace clusterpulse::observe {

// Reads what changes rarely and can be slow to read, on a thread of its own: the operators of OLM, the ClusterOperators
// and the cluster's info (common/survey). Each of the three is read every interval; one whose read failed is read again
// sooner, and its last value stays.
//
// Construct, Start, Stop (the destructor does). Thread-safe. `api` and the clock are borrowed and must outlive this.
class InventoryScan {
 public:
  struct Options {
    std::chrono::seconds interval{300};             // OPERATOR_SCAN_INTERVAL
    std::chrono::seconds retry{30};                 // after a failure; never longer than the interval
    std::chrono::milliseconds call_timeout{30000};  // of each request; a scan has one for each operator
    // One of the three was read for the first time. Called on the thread, without locks; must not block.
    std::function<void()> on_first;
    log::Logger log;
    const base::Clock* clock = &base::SystemClock();
  };
  InventoryScan(kube::KubeApi& api, Options options);
  ~InventoryScan();
  InventoryScan(const InventoryScan&) = delete;
  InventoryScan& operator=(const InventoryScan&) = delete;

  void Start();
  // Ends a read that is under way.
  void Stop();
  // Takes effect within 10 s.
  void SetInterval(std::chrono::seconds interval);

  // Sets what was read since the last Take; with `all` everything that is known. What was never read stays absent.
  void Take(bool all, model::ClusterSnapshot& out);
  // Why parts could not be read at the last attempt, a text for each: "operators: UNAVAILABLE: ...".
  std::vector<std::string> Failures() const;
  // When the thread last came around or began one of the three; many operators with slow answers take minutes.
  base::SteadyTime last_turn() const;

  // Reads what is due on the calling thread; returns how long until something is. What the thread does in its loop, for
  // tests. REQUIRES: Start was not called.
  std::chrono::nanoseconds Step();

 private:
  template <typename T>
  struct Part {
    std::optional<T> value;
    bool is_new = false;  // since the last Take
    std::string failure;  // of the last attempt
    std::optional<base::SteadyTime> attempt;
  };
  template <typename T>
  bool IsDueLocked(const Part<T>& part, base::SteadyTime now, std::chrono::nanoseconds& wait) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  template <typename T, typename Read>
  void Refresh(std::string_view name, Part<T> InventoryScan::*part, std::chrono::nanoseconds& wait, Read read);

  // Constant after construction.
  kube::KubeApi& api_;
  const Options options_;

  base::StopSignal stop_;  // synchronises itself

  mutable base::Mutex mu_;
  std::chrono::seconds interval_ ABSL_GUARDED_BY(mu_);
  Part<model::ClusterInfo> info_ ABSL_GUARDED_BY(mu_);
  Part<std::vector<model::OlmOperator>> operators_ ABSL_GUARDED_BY(mu_);
  Part<std::vector<model::ClusterOperator>> cluster_operators_ ABSL_GUARDED_BY(mu_);
  base::SteadyTime last_turn_ ABSL_GUARDED_BY(mu_);

  base::Mutex lifecycle_mu_;  // held while joining
  std::jthread thread_ ABSL_GUARDED_BY(lifecycle_mu_);
};

}  // namespace clusterpulse::observe
