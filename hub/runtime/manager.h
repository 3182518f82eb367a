#pragma once

#include <chrono>
#include <stop_token>
#include <vector>

#include <absl/status/status.h>

#include "common/base/mutex.h"
#include "common/base/stop_signal.h"
#include "common/log/logger.h"
#include "hub/runtime/leader_elector.h"
#include "hub/runtime/runnable.h"

namespace clusterpulse::runtime {

// Runs the parts of a program in order:
//   1. everything that does not need the lead starts, in the order added; then each is waited for until it is ready;
//   2. the lead is won (when there is an elector);
//   3. what needs it starts, in the order added;
//   4. after the stop: what needs the lead ends, all at once; then the rest, one by one, last added first; then the
//   lease
//      is released. The lease is renewed until then.
class Manager {
 public:
  struct Options {
    std::chrono::milliseconds ready_limit{120000};  // for all of step 1 together
    std::chrono::milliseconds stop_limit{30000};    // for all of step 4 together
    std::chrono::milliseconds release_limit{2000};  // for giving the lease back, after that
    // After the lead was lost, for all of step 4. At most lease_duration - renew_deadline of the elector, or two
    // leaders act at once.
    std::chrono::milliseconds lost_stop_limit{5000};
  };
  // `elector` may be null: then this process leads. Borrowed; must outlive Run.
  Manager(Options options, LeaderElector* elector, log::Logger log);

  // REQUIRES: before Run. `runnable` is borrowed and must outlive Run.
  void Add(Runnable& runnable) { runnables_.push_back(&runnable); }

  // Blocks until `stop`, or until something fails; called once. Everything has stopped when it returns, except with
  // kDeadlineExceeded. Errors: those of Start and WaitReady; kAborted when the lead was lost (end the process: another
  // one leads now); kDeadlineExceeded when parts did not stop in time (named in the message; their threads still run,
  // so end the process without destroying anything).
  absl::Status Run(std::stop_token stop);

 private:
  absl::Status StartAll(std::stop_token stop);
  absl::Status StartLed();
  absl::Status Start(Runnable& runnable);
  void HoldLease();
  absl::Status StopAll(std::chrono::milliseconds limit);

  const Options options_;
  LeaderElector* const elector_;
  const log::Logger log_;
  std::vector<Runnable*> runnables_;
  std::vector<Runnable*> started_;
  base::StopSignal elector_stop_;

  base::Mutex mu_;
  base::CondVar changed_;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  LeaderElector::State lead_ ABSL_GUARDED_BY(mu_) = LeaderElector::State::kFollowing;
};

}  // namespace clusterpulse::runtime
