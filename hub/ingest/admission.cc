#include "hub/ingest/admission.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/model/seq_set.h"
#include "common/wire/names.h"

namespace clusterpulse::ingest {
namespace {

using store::kSilenceLimit;
using store::Presence;

constexpr std::chrono::minutes kProtection{5};

absl::Status TryAgain(std::string_view why) { return base::Unavailable("{}, try again", why); }

std::string_view HostOf(std::string_view peer) { return peer.substr(0, peer.rfind(':')); }

// Whether something so long ago, by the clock of another replica perhaps, is younger than `limit`. What would be far
// ahead was written under another time and says nothing.
bool IsWithin(base::SystemTime::duration age, std::chrono::seconds limit) {
  return age > -kSilenceLimit && age < limit;
}

// Whether `presence` is of the collector that applies now.
bool IsSame(const Presence& presence, const Applicant& applicant) {
  const std::string& instance = applicant.registration.instance;
  if (!instance.empty()) return presence.instance == instance;
  return presence.upstream && HostOf(presence.peer) == HostOf(applicant.peer);
}

class Admitter {
 public:
  Admitter(const Services& services, const Applicant& applicant)
      : services_(services), applicant_(applicant), registration_(applicant.registration) {}

  AdmissionResult Run() {
    AdmissionResult result;
    result.status = Decide(result.admission);
    services_.metrics.registrations.Add({ResultLabel(result.status)});
    const log::Field cluster("cluster", registration_.cluster), peer("peer", applicant_.peer),
        version("version", registration_.version), upstream("upstream", !registration_.capabilities.delivery);
    if (result.status.ok()) {
      services_.log.Write(log::Level::kInfo, "collector registered",
                          {cluster, peer, version, {"instance", result.admission.instance}, upstream});
    } else {
      services_.log.Write(log::Level::kWarn, "collector turned away",
                          {cluster,
                           peer,
                           version,
                           {"instance", registration_.instance},
                           upstream,
                           {"error", cause_.empty() ? base::Message(result.status) : cause_}});
    }
    return result;
  }

 private:
  static std::string_view ResultLabel(const absl::Status& status) {
    switch (status.code()) {
      case absl::StatusCode::kOk:
        return "accepted";
      case absl::StatusCode::kInvalidArgument:
        return "invalid";
      case absl::StatusCode::kUnauthenticated:
        return "unauthenticated";
      case absl::StatusCode::kFailedPrecondition:
        return "refused";
      case absl::StatusCode::kAlreadyExists:
        return "conflict";
      case absl::StatusCode::kAborted:
        return "superseded";
      case absl::StatusCode::kCancelled:
        return "withdrawn";
      default:
        return "unavailable";
    }
  }

  // The peer gets one text for every cause; `why` is for our log.
  absl::Status Unauthenticated(std::string_view reason, std::string why) {
    services_.metrics.auth_failures.Add({reason});
    cause_ = std::move(why);
    return NotAccepted();
  }
  absl::Status StoreFailed(const absl::Status& error) {
    services_.metrics.store_errors.Add();
    cause_ = log::ToText(error);
    return TryAgain("the hub's store does not answer");
  }

  absl::Status Decide(Admission& out) {
    RETURN_IF_ERROR(CheckWithdrawn());
    if (registration_.cluster.empty()) return absl::InvalidArgumentError("register: cluster_name is required");
    RETURN_IF_ERROR(Authenticate(out));
    const std::optional<ClusterPolicy> policy = services_.clusters.Find(registration_.cluster);
    if (!policy.has_value()) return Unauthenticated("unknown_cluster", "there is no such cluster");
    RETURN_IF_ERROR(CheckPolicy(registration_.cluster, policy));
    Presence& presence = out.presence;
    presence = Describe();
    RETURN_IF_ERROR(JudgeRival(presence));
    RETURN_IF_ERROR(CheckWithdrawn());
    RETURN_IF_ERROR(TakeOver(out));
    // Before anybody can read the presence: whoever does must find its stream here.
    const std::string who = fmt::format("collector {} from {}", presence.instance, presence.peer);
    if (!services_.local.Claim(registration_.cluster, presence.epoch, applicant_.stream, who)) return Superseded();
    absl::Status announced = Announce(out);
    if (!announced.ok()) services_.local.Release(registration_.cluster, applicant_.stream);
    return announced;
  }

  absl::Status CheckWithdrawn() const {
    if (!*applicant_.withdrawn) return absl::OkStatus();
    return absl::CancelledError("the stream ended before it was let in");
  }

  absl::Status Authenticate(Admission& out) {
    const std::string& told = registration_.token;
    if (told.empty() && applicant_.bearer.empty()) return Unauthenticated("missing_token", "no token");
    if (!told.empty() && !applicant_.bearer.empty() && told != applicant_.bearer) {
      return Unauthenticated("tokens_differ", "the tokens of metadata and registration differ");
    }
    // No object has such a name.
    if (!wire::IsDnsSubdomain(registration_.cluster)) {
      return Unauthenticated("unknown_cluster", "there is no such cluster");
    }
    absl::StatusOr<Credential> credential =
        services_.authenticator.Authenticate(registration_.cluster, told.empty() ? applicant_.bearer : told);
    if (!credential.ok()) {
      if (credential.status().code() != absl::StatusCode::kUnauthenticated) {
        cause_ = log::ToText(credential.status());
        return TryAgain("the credential cannot be checked now");
      }
      return Unauthenticated(services_.clusters.Find(registration_.cluster) ? "bad_token" : "unknown_cluster",
                             base::Message(credential.status()));
    }
    out.credential = *credential;
    return absl::OkStatus();
  }

  Presence Describe() const {
    const base::SystemTime now = services_.clock.Now();
    Presence presence;
    presence.hub = services_.hub;
    presence.instance = registration_.instance;
    presence.peer = applicant_.peer;
    presence.version = registration_.version;
    presence.upstream = !registration_.capabilities.delivery;
    presence.connected_at = presence.last_message = now;
    presence.interval = registration_.interval;
    presence.config_hash = registration_.config_hash;
    return presence;
  }

  absl::Status JudgeRival(Presence& mine) {
    const absl::StatusOr<std::optional<Presence>> read = services_.data.ReadPresence(registration_.cluster);
    if (!read.ok()) return StoreFailed(read.status());
    if (!read->has_value()) return absl::OkStatus();
    const Presence& other = **read;
    before_ = other;
    const base::SystemTime now = mine.connected_at;
    const bool is_protected = other.superseded.has_value() && IsWithin(now - other.superseded->at, kProtection);
    if (IsSame(other, applicant_)) {
      if (is_protected) mine.superseded = other.superseded;
      mine.degraded = other.degraded;  // until its first heartbeat says otherwise
      return absl::OkStatus();
    }
    const bool here_and_gone = other.hub == services_.hub && !services_.local.Has(registration_.cluster, other.epoch);
    if (other.ended_at.has_value() || here_and_gone || now - other.last_message >= kSilenceLimit)
      return absl::OkStatus();
    if (!is_protected) {
      mine.superseded = Presence::Rival{other.instance, other.peer, now};
      return absl::OkStatus();
    }
    const absl::Status noted =
        services_.data.NoteRefused(registration_.cluster, {mine.upstream ? "upstream" : mine.instance, mine.peer, now});
    if (!noted.ok()) services_.metrics.store_errors.Add();  // the answer is the same
    return base::MakeStatus(absl::StatusCode::kAlreadyExists, "cluster {} has another collector, {} from {}",
                            registration_.cluster, other.instance, other.peer);
  }

  absl::Status TakeOver(Admission& out) {
    Presence& presence = out.presence;
    absl::StatusOr<std::unique_ptr<ClusterWriter>> writer =
        services_.data.TakeOver(registration_.cluster, presence.epoch);
    if (!writer.ok()) return StoreFailed(writer.status());
    out.writer = *std::move(writer);
    if (presence.upstream) presence.instance = fmt::format("upstream/{}/{}", applicant_.peer, presence.epoch);
    out.instance = presence.instance;

    // Read behind the fence: nobody moves it any more.
    const absl::StatusOr<Position> position = services_.data.ReadPosition(registration_.cluster);
    if (!position.ok()) return StoreFailed(position.status());
    if (position->epoch != presence.epoch) return Superseded();
    if (position->instance != out.instance) RETURN_IF_ERROR(NoteLost(*position, *out.writer));
    if (!presence.upstream) {
      model::SeqSet durable;
      if (position->instance == out.instance) {
        out.state_seq = position->state_seq;
        durable = model::SeqSet(position->durable.position);
        out.durable_stored = durable.position();
      }
      // What it was once told is gone from its spool, whatever the store remembers.
      durable.AddUpTo(registration_.durable_low);
      for (const model::SeqRange& range : registration_.durable) durable.Add(range);
      out.durable = {durable.position(), position->durable.newest};
    }
    out.durable.held = position->durable.held;
    return absl::OkStatus();
  }

  // Another instance takes the place of one whose batches are not all durable: nobody will send those any more, nor
  // what it made while it had no stream. (A collector of upstream's is another one with each stream, and is known to
  // send nothing of before; the session says so.)
  absl::Status NoteLost(const Position& position, ClusterWriter& writer) {
    const bool is_upstream = !registration_.capabilities.delivery;
    if (!before_.has_value() || (before_->upstream && is_upstream) ||
        (!is_upstream && before_->instance == registration_.instance)) {
      return absl::OkStatus();
    }
    const base::SystemTime now = services_.clock.Now();
    GapNews news{.instance = before_->instance, .link = store::GapLedger::LinkEnd::kLost, .at = now};
    // The position may be of the puller's writes.
    if (!before_->upstream && before_->instance == position.instance) news.gaps = LostOf(position, now);
    const absl::StatusOr<store::ApplyResult> written = writer.PutGaps(news);
    if (!written.ok()) return StoreFailed(written.status());
    return *written == store::ApplyResult::kFenced ? Superseded() : absl::OkStatus();
  }

  static std::vector<model::Gap> LostOf(const Position& position, base::SystemTime now) {
    const base::SystemTime newest = position.durable.newest;
    const base::SystemTime since = newest != base::SystemTime{} ? std::min(newest, now) : now;
    const model::DurablePosition durable = model::SeqSet(position.durable.position).position();
    std::vector<model::Gap> lost;
    std::uint64_t next = durable.low + 1;
    const auto up_to = [&](std::uint64_t last) {
      if (next > last) return;
      lost.push_back({.seqs = {next, last}, .from = since, .to = now, .cause = model::GapCause::kCollectorLost});
    };
    for (const model::SeqRange& range : durable.ranges) {
      up_to(std::min(range.first - 1, position.state_seq));
      next = range.last + 1;
    }
    up_to(position.state_seq);
    return lost;
  }

  absl::Status Announce(Admission& out) {
    const absl::StatusOr<store::ApplyResult> written = out.writer->PutPresence(out.presence);
    if (!written.ok()) return StoreFailed(written.status());
    if (*written == store::ApplyResult::kFenced) return Superseded();
    return absl::OkStatus();
  }

  static absl::Status Superseded() { return absl::AbortedError("another stream registered at the same time"); }

  const Services& services_;
  const Applicant& applicant_;
  const model::Registration& registration_;
  std::optional<Presence> before_;  // who had the cluster
  std::string cause_;
};

}  // namespace

absl::Status NotAccepted() { return absl::UnauthenticatedError("the credential was not accepted"); }

absl::Status CheckPolicy(const std::string& cluster, const std::optional<ClusterPolicy>& policy) {
  if (!policy.has_value()) return NotAccepted();
  if (policy->refusal.empty()) return absl::OkStatus();
  return base::MakeStatus(absl::StatusCode::kFailedPrecondition, "cluster {} {}", cluster, policy->refusal);
}

AdmissionResult Admit(const Services& services, const Applicant& applicant) {
  return Admitter(services, applicant).Run();
}

FenceExplained ExplainFence(const Services& services, const std::string& cluster, std::uint64_t epoch) {
  if (absl::Status status = CheckPolicy(cluster, services.clusters.Find(cluster)); !status.ok()) return {status};
  const absl::StatusOr<std::optional<Presence>> presence = services.data.ReadPresence(cluster);
  if (!presence.ok()) return {};
  if (presence->has_value() && (*presence)->epoch > epoch) {
    return {base::MakeStatus(absl::StatusCode::kAborted, "superseded by collector {} from {}", (*presence)->instance,
                             (*presence)->peer)};
  }
  const absl::StatusOr<Position> position = services.data.ReadPosition(cluster);
  if (!position.ok()) return {};
  return {base::Unavailable("state lost, send it again"), position->epoch > epoch};
}

}  // namespace clusterpulse::ingest
