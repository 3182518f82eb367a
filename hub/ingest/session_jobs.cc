#include <algorithm>
#include <utility>

#include "common/base/failpoint.h"
#include "common/base/status.h"
#include "hub/ingest/session.h"

// The part of Session that has to do with the store: which job is next, and what its result means.
namespace clusterpulse::ingest {
namespace {

constexpr std::chrono::seconds kBetweenDurableWrites{10};
constexpr std::chrono::seconds kNearlyLost = store::kSilenceLimit - std::chrono::seconds(30);
// A stream that has taken the place of another says so right after that.
constexpr std::chrono::milliseconds kNextFenceLook{250};
constexpr int kMostFenceLooks = 4;
constexpr std::chrono::seconds kNextGaps{5};  // after the store did not take them
// What keeps the hub from letting a collector in may be over in a moment: it has just started and lists its objects.
// One of ours takes a hub that is silent for 2 s for an upstream one.
constexpr std::chrono::milliseconds kAdmissionPatience{1500}, kNextAdmission{250};

}  // namespace

base::SteadyTime Session::presence_due() const {
  return presence_ && !fenced_ ? presence_->due() : base::SteadyTime::max();
}

base::SteadyTime Session::durable_due() const {
  const bool is_known = !receipts_ || fenced_ || receipts_->upstream() || receipts_->durable() == durable_written_;
  if (is_known) return base::SteadyTime::max();
  // Whoever comes next goes by it: an instance in the place of this one takes the rest for lost.
  if (state_ == State::kEnding) return base::SteadyTime::min();
  return lane_->empty() ? durable_written_at_ + kBetweenDurableWrites : base::SteadyTime::max();
}

base::SteadyTime Session::gaps_due() const {
  return !fenced_ && gaps_->has_news() ? gaps_retry_at_ : base::SteadyTime::max();
}

Job Session::NextJob(Now now, bool& is_history) {
  if (job_running_) return {};
  if (state_ == State::kLive && std::exchange(verify_due_, false)) {
    return [&authenticator = services_.authenticator, cluster = registration_.cluster, credential = credential_] {
      return JobResult(CredentialVerified{authenticator.Verify(cluster, credential)});
    };
  }
  if (now.steady < retry_at_) return {};
  if (state_ == State::kAdmitting) {
    return [&services = services_, applicant = Applicant{info_.id, info_.peer, info_.bearer, registration_,
                                                         withdrawn_}] { return JobResult(Admit(services, applicant)); };
  }
  if (fenced_) {
    if (state_ != State::kLive) return {};
    return [&services = services_, cluster = registration_.cluster, epoch = presence_->presence().epoch] {
      return JobResult(ExplainFence(services, cluster, epoch));
    };
  }
  // Rare, and what follows from them waits for them.
  if (state_ == State::kLive && gaps_due() <= now.steady) return WriteGaps();
  // Presence and batches, or at the end the position, take turns, so that neither waits for a write of the other that
  // keeps failing.
  const bool presence_is_due = presence_due() <= now.steady;
  if (batch_first_ || !presence_is_due) {
    if (state_ == State::kEnding && durable_due() <= now.steady) {
      batch_first_ = false;
      return WriteDurable();
    }
    if (state_ == State::kLive) {
      if (std::function<Stored()> write = lane_->NextWrite(now.steady)) {
        batch_first_ = false;
        is_history = lane_->is_history_next();
        return [write = std::move(write)] { return JobResult(write()); };
      }
    }
  }
  if (presence_is_due) {
    batch_first_ = true;
    return WritePresence(now);
  }
  if (durable_due() <= now.steady) return WriteDurable();
  return {};
}

Job Session::WritePresence(Now now) {
  const bool is_held = state_ == State::kLive && !MayRead(now);
  return [writer = writer_, presence = presence_->Take(is_held, now.wall)] {
    return JobResult(PresenceWritten{writer->PutPresence(presence)});
  };
}

Job Session::WriteDurable() {
  return [writer = writer_, instance = presence_->presence().instance,
          durable = store::DurableBatches{receipts_->durable(), receipts_->newest_durable()}] {
    base::FailPoint("position.writing");
    DurableWritten written{writer->PutDurable(instance, durable), durable.position};
    base::FailPoint("position.written");
    return JobResult(std::move(written));
  };
}

Job Session::WriteGaps() {
  return [&data = services_.data, writer = writer_, news = gaps_->Take()] {
    GapsWritten written{.result = store::ApplyResult::kRepeated, .continuity = data.Durable().continuity};
    written.result = writer->PutGaps(news);
    return JobResult(std::move(written));
  };
}

void Session::TakeResult(JobResult result, Now now) {
  job_running_ = false;
  std::visit([&](auto& value) { Take(std::move(value), now); }, result);
}

bool Session::Absorb(const absl::StatusOr<store::ApplyResult>& result, Now now) {
  if (!result.ok()) {
    services_.metrics.store_errors.Add();
    retry_at_ = now.steady + backoff_.Next();
    services_.log.Write(log::Level::kWarn, "the store does not take what a stream writes, trying again",
                        {{"cluster", registration_.cluster}, {"error", log::ToText(result.status())}});
    return false;
  }
  backoff_.Reset();
  retry_at_ = {};
  fenced_ |= *result == store::ApplyResult::kFenced;
  // The leader heard nothing of this stream for so long that it may have called it lost.
  if (!fenced_ && gaps_ && now.steady - std::exchange(stored_at_, now.steady) >= kNearlyLost) {
    gaps_->LinkMayBeLost();
    if (!receipts_->upstream() && last_seq_ > 0) awaited_ = {1, last_seq_};
  }
  return !fenced_;
}

void Session::Take(AdmissionResult result, Now now) {
  if (state_ == State::kEnding) {
    // It was let in too late.
    if (!result.status.ok()) return;
    services_.local.Release(registration_.cluster, info_.id);
    writer_ = std::move(result.admission.writer);
    presence_.emplace(std::move(result.admission.presence), now.steady);
    presence_->End("ended while it registered", now.wall);
    return;
  }
  if (result.status.ok()) {
    backoff_.Reset();
    retry_at_ = {};
    return GoLive(std::move(result.admission), now);
  }
  if (result.status.code() == absl::StatusCode::kUnavailable) {
    retry_at_ = now.steady + (capabilities_.delivery ? kNextAdmission : backoff_.Next());
    if (!capabilities_.delivery || retry_at_ < registered_ + kAdmissionPatience) return;
  }
  End(result.status, now);
}

void Session::Take(const Stored& stored, Now now) {
  if (!lane_) return;  // the stream ended meanwhile
  if (!Absorb(lane_->OnStored(stored, now.steady), now) || !stored.durable.has_value()) return;
  durable_written_ = stored.durable->position;
  durable_written_at_ = now.steady;
}

void Session::Take(const PresenceWritten& written, Now now) {
  if (Absorb(written.result, now)) {
    presence_->Written(now.steady);
  } else {
    presence_->Failed();
  }
}

void Session::Take(DurableWritten written, Now now) {
  if (!Absorb(written.result, now)) return;
  durable_written_ = std::move(written.durable);
  durable_written_at_ = now.steady;
}

void Session::Take(const GapsWritten& written, Now now) {
  if (!written.result.ok()) {
    // Nothing else waits for it.
    gaps_->Failed();
    gaps_retry_at_ = now.steady + kNextGaps;
    services_.metrics.store_errors.Add();
    services_.log.Write(log::Level::kWarn, "the store does not take what a stream tells of holes, trying again",
                        {{"cluster", registration_.cluster}, {"error", log::ToText(written.result.status())}});
    return;
  }
  if (!Absorb(written.result, now)) return gaps_->Failed();
  gaps_->Written(now.steady, services_.data.DurableAfter(), written.continuity);
}

void Session::Take(const FenceExplained& explained, Now now) {
  if (state_ != State::kLive) return;
  if (explained.may_change && ++fence_looks_ < kMostFenceLooks) {
    retry_at_ = now.steady + kNextFenceLook;
    return;
  }
  End(explained.why.value_or(base::Unavailable("the hub's store does not answer, try again")), now);
}

void Session::Take(const CredentialVerified& verified, Now now) {
  // Any other error says nothing about the credential; the next Recheck asks again.
  if (state_ == State::kLive && absl::IsUnauthenticated(verified.status)) End(NotAccepted(), now);
}

void Session::Take(const JobFailed& failed, Now now) {
  services_.local.Release(registration_.cluster, info_.id);  // an admission may have come so far
  Failed(failed.what, now);
}

}  // namespace clusterpulse::ingest
