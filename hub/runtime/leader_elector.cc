#include "hub/runtime/leader_elector.h"

#include <algorithm>
#include <utility>

#include "common/base/status.h"
#include "common/base/time_format.h"

namespace clusterpulse::runtime {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

// Another holder's own duration counts when it is longer than ours, but not without bound: a lease somebody wrote by
// hand must not keep every process from leading.
constexpr std::chrono::seconds kMaxHonouredDuration{600};

}  // namespace

LeaderElector::LeaderElector(Options options, kube::KubeApi& api, const base::Clock& clock, base::Random& random,
                             log::Logger log)
    : options_(std::move(options)),
      key_{options_.ns, options_.name},
      api_(api),
      clock_(clock),
      random_(random),
      log_(log.With({{"lease", key_.ToString()}, {"identity", options_.identity}})) {
  if (options_.registry == nullptr) return;
  leader_gauge_ = options_.registry->Gauges("clusterpulse_hub_leader", "1 while this process holds the lead.").With({});
  leader_gauge_.Set(0);
}

bool LeaderElector::leading() const { return clock_.Steady() < leading_until_.load(); }

kube::CallOptions LeaderElector::Call(nanoseconds limit, std::stop_token stop) const {
  const auto timeout = std::min<nanoseconds>(limit, options_.renew_deadline / 2);
  return {std::max(std::chrono::duration_cast<milliseconds>(timeout), milliseconds(1)), std::move(stop)};
}

nanoseconds LeaderElector::Step(std::stop_token stop) {
  const base::SteadyTime start = clock_.Steady();
  switch (state_) {
    case State::kFollowing:
      if (const absl::Status status = Campaign(start, stop); !status.ok()) {
        log_.Debug("cannot reach for the lead", {{"error", log::ToText(status)}});
      }
      break;
    case State::kLeading: {
      if (start >= deadline_) {
        Lose("not renewed in time");
        break;
      }
      const absl::Status status = Renew(start, stop);
      if (state_ == State::kLeading && !status.ok()) {
        log_.Warn("cannot renew the lease", {{"error", log::ToText(status)}});
        if (clock_.Steady() >= deadline_) Lose("not renewed in time");
      }
      break;
    }
    case State::kLost:
      break;
  }
  const auto period = std::chrono::duration_cast<nanoseconds>(options_.retry_period);
  if (state_ == State::kLeading) {
    // No jitter here, and awake exactly when the deadline passes.
    return std::clamp<nanoseconds>(deadline_ - clock_.Steady(), nanoseconds::zero(), period);
  }
  return period + nanoseconds(static_cast<std::int64_t>(static_cast<double>(period.count()) * 0.2 * random_.Uniform()));
}

absl::Status LeaderElector::Campaign(base::SteadyTime start, std::stop_token stop) {
  const kube::CallOptions options = Call(options_.renew_deadline, std::move(stop));
  RETURN_IF_ERROR(Fetch(options));
  if (HeldByOther() && !Expired(clock_.Steady())) return absl::OkStatus();
  // A write that somebody else's overtook changes nothing: the next step looks again.
  start = clock_.Steady();
  RETURN_IF_ERROR(WriteRecord(false, options));
  BecomeLeader(start);
  log_.Info("became the leader");
  return absl::OkStatus();
}

absl::Status LeaderElector::Renew(base::SteadyTime start, std::stop_token stop) {
  absl::Status status = WriteRecord(false, Call(deadline_ - start, stop));
  if (kube::IsConflict(status) || kube::IsNotFound(status) || kube::IsAlreadyExists(status)) {
    // Somebody else wrote it, or our own last write arrived although its answer did not.
    RETURN_IF_ERROR(Fetch(Call(deadline_ - clock_.Steady(), stop)));
    if (HeldByOther()) {
      Lose("another process holds the lease");
      return absl::OkStatus();
    }
    start = clock_.Steady();
    if (start >= deadline_) return absl::DeadlineExceededError("renew deadline passed");
    status = WriteRecord(false, Call(deadline_ - start, stop));
  }
  if (status.ok()) BecomeLeader(start);
  return status;
}

absl::Status LeaderElector::Fetch(const kube::CallOptions& options) {
  const absl::StatusOr<std::string> object = api_.Get(kube::kLeases, key_, options);
  if (kube::IsNotFound(object.status())) {
    lease_.reset();
    return absl::OkStatus();
  }
  return Remember(object);
}

absl::Status LeaderElector::Remember(const absl::StatusOr<std::string>& object) {
  if (!object.ok()) return object.status();
  ASSIGN_OR_RETURN(json::Value lease, json::Value::Parse(*object), "decoding the lease");
  // Changes of metadata alone are no sign of life.
  if (!lease_ || (*lease_)["spec"] != lease["spec"]) observed_ = clock_.Steady();
  lease_ = std::move(lease);
  return absl::OkStatus();
}

bool LeaderElector::HeldByOther() const {
  if (!lease_) return false;
  const std::string_view holder = (*lease_)["spec"]["holderIdentity"].StringOr();
  return !holder.empty() && holder != options_.identity;
}

bool LeaderElector::Expired(base::SteadyTime now) const {
  const std::chrono::seconds theirs(
      std::clamp<std::int64_t>((*lease_)["spec"]["leaseDurationSeconds"].IntOr(0), 0, kMaxHonouredDuration.count()));
  return now >= observed_ + std::max<nanoseconds>(theirs, options_.lease_duration);
}

absl::Status LeaderElector::WriteRecord(bool release, const kube::CallOptions& options) {
  // Based on what is there: labels, and fields of newer API versions, stay; the resource version makes a write fail
  // that somebody else's overtook.
  json::Value lease = lease_.value_or(json::Value());
  const std::string now = base::FormatMicros(clock_.Now());
  json::Value& spec = lease.Mutable("spec");
  const bool taken_over = spec["holderIdentity"].StringOr() != options_.identity;
  if (taken_over) spec.Mutable("acquireTime") = now;
  if (lease_) {
    spec.Mutable("leaseTransitions") = spec["leaseTransitions"].IntOr(0) + (taken_over && !release ? 1 : 0);
  } else {
    spec.Mutable("leaseTransitions") = 0;
  }
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(options_.lease_duration).count();
  spec.Mutable("holderIdentity") = release ? std::string() : options_.identity;
  spec.Mutable("leaseDurationSeconds") = release ? std::int64_t{1} : std::max<std::int64_t>(seconds, 1);
  spec.Mutable("renewTime") = now;
  if (lease_) return Remember(api_.Replace(kube::kLeases, key_, lease.Dump(), options));

  lease.Mutable("apiVersion") = kube::kLeases.ApiVersion();
  lease.Mutable("kind") = kube::kLeases.kind;
  lease.Mutable("metadata").Mutable("name") = key_.name;
  lease.Mutable("metadata").Mutable("namespace") = key_.ns;
  return Remember(api_.Create(kube::kLeases, key_.ns, lease.Dump(), options));
}

void LeaderElector::BecomeLeader(base::SteadyTime start) {
  state_ = State::kLeading;
  deadline_ = start + options_.renew_deadline;
  leading_until_.store(deadline_);
  leader_gauge_.Set(1);
}

void LeaderElector::Lose(std::string_view why) {
  state_ = State::kLost;
  leading_until_.store(base::SteadyTime::min());
  leader_gauge_.Set(0);
  log_.Error("lost the lead", {{"error", why}});
}

absl::Status LeaderElector::Release(milliseconds limit) {
  if (state_ != State::kLeading) return absl::OkStatus();
  state_ = State::kLost;
  leading_until_.store(base::SteadyTime::min());
  leader_gauge_.Set(0);
  const kube::CallOptions options = Call(limit / 3, {});  // of at most three calls
  absl::Status status = WriteRecord(true, options);
  if (kube::IsConflict(status)) {
    RETURN_IF_ERROR(Fetch(options));
    if (!lease_ || HeldByOther()) return absl::OkStatus();
    status = WriteRecord(true, options);
  }
  if (kube::IsNotFound(status)) return absl::OkStatus();
  return base::Annotate(status, "releasing the lease");
}

}  // namespace clusterpulse::runtime
