#pragma once

#include <atomic>
#include <chrono>
#include <optional>
#include <stop_token>
#include <string>

#include <absl/status/statusor.h>

#include "common/base/clock.h"
#include "common/base/random.h"
#include "common/json/value.h"
#include "common/kube/kube_api.h"
#include "common/log/logger.h"
#include "common/telemetry/registry.h"

namespace clusterpulse::runtime {

// Holds or tries for a Lease, so that one of several processes leads. A state machine: Step does what is due and says
// when to call it again. Never compares another machine's clock with ours: a holder has expired when its lease did not
// change for its duration as seen by our steady clock. A leader that cannot renew gives up `renew_deadline` after it
// *began* its last successful write; others wait `lease_duration` after they *saw* that write, which is later: between
// the two, a partitioned leader has `lease_duration - renew_deadline` to stop.
//
// Confined to one thread, except leading().
class LeaderElector {
 public:
  struct Options {
    std::string ns, name;                             // of the Lease
    std::string identity;                             // unique for each run of the program: host name and random part
    std::chrono::milliseconds lease_duration{15000};  // written in whole seconds, at least 1
    std::chrono::milliseconds renew_deadline{10000};  // REQUIRES: below lease_duration
    std::chrono::milliseconds retry_period{2000};     // between tries and renewals; spread by up to a fifth
    telemetry::Registry* registry = nullptr;          // borrowed; null: no metrics
  };
  enum class State {
    kFollowing,
    kLeading,
    kLost,  // led and lost it; final
  };

  // All borrowed; must outlive this.
  LeaderElector(Options options, kube::KubeApi& api, const base::Clock& clock, base::Random& random, log::Logger log);

  // Tries to take or renew the lease and returns how long to wait before the next call. Errors of the API are retried
  // by further calls. Blocks for at most a few calls of half a renew deadline, and never past the renew deadline while
  // leading; `stop` cancels.
  std::chrono::nanoseconds Step(std::stop_token stop);
  State state() const { return state_; }
  // Thread-safe: true while this process may act as the leader, also between calls of Step.
  bool leading() const;

  // Gives the lease up, when held, so that another process can take it at once. For a clean stop, after everything that
  // needs the lead has stopped. Blocks for at most `limit`.
  absl::Status Release(std::chrono::milliseconds limit);

 private:
  absl::Status Campaign(base::SteadyTime start, std::stop_token stop);
  absl::Status Renew(base::SteadyTime start, std::stop_token stop);
  absl::Status Fetch(const kube::CallOptions& options);
  absl::Status Remember(const absl::StatusOr<std::string>& object);
  absl::Status WriteRecord(bool release, const kube::CallOptions& options);
  bool HeldByOther() const;
  bool Expired(base::SteadyTime now) const;
  void BecomeLeader(base::SteadyTime start);
  void Lose(std::string_view why);
  kube::CallOptions Call(std::chrono::nanoseconds limit, std::stop_token stop) const;

  const Options options_;
  const kube::ObjectKey key_;
  kube::KubeApi& api_;
  const base::Clock& clock_;
  base::Random& random_;
  const log::Logger log_;
  telemetry::Gauge leader_gauge_;

  State state_ = State::kFollowing;
  std::optional<json::Value> lease_;  // as last seen; absent: not there
  base::SteadyTime observed_{};       // when its spec was first seen as it is now
  base::SteadyTime deadline_{};       // while leading: when the lead ends without a renewal
  std::atomic<base::SteadyTime> leading_until_{base::SteadyTime::min()};
};

}  // namespace clusterpulse::runtime
