#include "hub/reconcile/cluster/push.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "common/base/status.h"
#include "common/base/time_format.h"

namespace clusterpulse::reconcile {
namespace {

using State = CollectorVerdict::State;

constexpr std::chrono::minutes kConflictShown{5};  // after the last attempt of the one that is kept out
constexpr std::size_t kLongestText = 500;          // of what peers and the API server said

// The age of something that was noted by another replica's clock and first seen by us `seen_for` ago.
std::chrono::nanoseconds AgeOf(base::SystemTime noted, const CollectorEvidence& evidence) {
  const std::chrono::nanoseconds age = evidence.now - noted;
  return age < age.zero() ? evidence.unchanged_for : std::min(age, evidence.unchanged_for);
}

std::string_view HostOf(std::string_view peer) { return peer.substr(0, peer.rfind(':')); }

// For people who look for it; without what every connection has anew.
std::string Name(const store::Presence& presence) {
  return Cut(fmt::format("{} from {}", presence.upstream ? "of upstream" : presence.instance, HostOf(presence.peer)),
             kLongestText);
}

// The one that was kept out is the one that has the cluster now. Collectors of upstream have no name but their host
// (store::Presence::Rival::instance is "upstream").
bool IsSame(const store::Presence::Rival& refused, const store::Presence& presence) {
  if (!presence.upstream) return refused.instance == presence.instance;
  return refused.instance == "upstream" && HostOf(refused.peer) == HostOf(presence.peer);
}

}  // namespace

CollectorVerdict JudgeCollector(const CollectorEvidence& evidence) {
  CollectorVerdict verdict;
  if (!evidence.presence.has_value() && !evidence.was_known) return verdict;

  std::chrono::nanoseconds gone_for = evidence.unchanged_for;
  std::chrono::nanoseconds limit = kSilenceLimit;
  base::SystemTime since =
      evidence.now - std::chrono::duration_cast<base::SystemTime::duration>(evidence.unchanged_for);
  if (evidence.presence.has_value()) {
    const store::Presence& presence = *evidence.presence;
    const base::SystemTime noted = presence.ended_at.value_or(presence.last_message);
    gone_for = AgeOf(noted, evidence);
    if (noted <= evidence.now) since = noted;  // otherwise by our own clock
    if (presence.ended_at.has_value()) {
      limit = kSuccessorLimit;
    } else if (gone_for < kSilenceLimit) {
      const bool is_young = std::chrono::abs(evidence.now - noted) < kSilenceLimit;
      if (evidence.was_connected || evidence.seen_to_change || is_young) {
        verdict.state = State::kConnected;
        verdict.changes_in = kSilenceLimit - gone_for;
        return verdict;
      }
      // Left behind by a replica that died, or told by a clock that is off: the next heartbeat would tell.
      verdict.state = State::kLost;
      verdict.lost_at = since;
      verdict.changes_in = std::min<std::chrono::nanoseconds>(kSilenceLimit - gone_for, kSuccessorLimit);
      return verdict;
    }
  }
  verdict.lost_at = since;
  std::chrono::nanoseconds wait = limit - gone_for;
  // Any successor of a stream that was seen to end would have been seen, too, while the store was up.
  const bool was_watched = evidence.seen_to_change && evidence.store_up_for >= evidence.unchanged_for;
  if (!was_watched) wait = std::max<std::chrono::nanoseconds>(wait, kSilenceLimit - evidence.store_up_for);
  if (wait <= wait.zero()) {
    verdict.state = State::kLost;
    return verdict;
  }
  verdict.state = evidence.was_connected ? State::kConnected : State::kLost;
  verdict.changes_in = wait;
  return verdict;
}

std::optional<Failure> FailureOf(const CollectorFindings& findings) {
  switch (findings.verdict.state) {
    case State::kConnected:
      return std::nullopt;
    case State::kNever:
      return Failure{false, std::string(kWaitingForCollector),
                     "no collector has connected yet: " + findings.how_to_connect, true};
    case State::kLost:
      break;
  }
  const std::string since = base::FormatSeconds(findings.verdict.lost_at);
  const std::string end_reason = findings.presence.has_value() ? findings.presence->end_reason : std::string();
  if (end_reason == store::kCollectorEnded) {
    return Failure{false, "CollectorEnded",
                   fmt::format("the collector was stopped at {}: check that it is meant to run in the cluster", since),
                   true};
  }
  std::string message = fmt::format("the collector is lost since {}", since);
  if (!end_reason.empty()) message += fmt::format(" ({})", Cut(end_reason, kLongestText));
  message += ": check that it runs in the cluster and reaches the hub";
  return Failure{false, "CollectorLost", std::move(message), true};
}

void SetCollectorConditions(std::vector<runtime::Condition>& conditions, const CollectorFindings* findings,
                            std::int64_t generation, base::SystemTime now) {
  if (findings == nullptr) {
    for (const auto type : {kCollectorConnected, kCollectorConflict, kCollectorToken, kIngestLimited, kPullFallback}) {
      runtime::RemoveCondition(conditions, type);
    }
    return;
  }
  const std::optional<store::Presence>& presence = findings->presence;
  const bool is_connected = findings->verdict.state == State::kConnected;
  const auto put = [&](std::string_view type, bool status, std::string_view reason, std::string message) {
    runtime::SetCondition(
        conditions,
        {std::string(type), status ? "True" : "False", generation, "", std::string(reason), std::move(message)}, now);
  };

  if (const auto failure = FailureOf(*findings); failure.has_value()) {
    put(kCollectorConnected, false, failure->reason, failure->message);
  } else if (presence.has_value()) {
    put(kCollectorConnected, true, "Connected",
        fmt::format("a collector{} is connected",
                    presence->version.empty() ? std::string()
                                              : fmt::format(" of version {}", Cut(presence->version, kLongestText))));
  } else {
    put(kCollectorConnected, true, "Connected",
        "the hub's store lost what it knew of the collector, which is expected to tell it again");
  }

  if (presence.has_value() && presence->refused.has_value() && now - presence->refused->at < kConflictShown &&
      !IsSame(*presence->refused, *presence)) {
    put(kCollectorConflict, true, "TwoCollectors",
        fmt::format("collector {} has the cluster, and {} from {} was kept out: two collectors use this cluster's name "
                    "and token; remove one",
                    Name(*presence), Cut(presence->refused->instance, kLongestText),
                    Cut(std::string(HostOf(presence->refused->peer)), kLongestText)));
  } else {
    runtime::RemoveCondition(conditions, kCollectorConflict);
  }
  if (!findings->token.ok()) {
    put(kCollectorToken, false, absl::IsPermissionDenied(findings->token) ? "Forbidden" : "CannotMakeSecret",
        "the token for the collector cannot be provided: " + Cut(base::Message(findings->token), kLongestText));
  } else {
    runtime::RemoveCondition(conditions, kCollectorToken);
  }
  if (is_connected && presence.has_value() && !presence->limited.empty()) {
    put(kIngestLimited, true, "LimitReached",
        "a limit of the hub holds data of the cluster back: " + Cut(presence->limited, kLongestText));
  } else {
    runtime::RemoveCondition(conditions, kIngestLimited);
  }
  if (findings->fallback.has_value()) {
    put(kPullFallback, findings->fallback->active, findings->fallback->reason, findings->fallback->message);
  } else {
    runtime::RemoveCondition(conditions, kPullFallback);
  }
}

json::Value GapStatus(const store::GapSummary& gaps) {
  if (gaps.count == 0) return {};
  json::Value status;
  status.Mutable("count") = static_cast<std::int64_t>(gaps.count);
  status.Mutable("open") = static_cast<std::int64_t>(gaps.open);
  if (gaps.oldest.has_value()) status.Mutable("oldest") = base::FormatSeconds(*gaps.oldest);
  return status;
}

json::Value CollectorStatus(const CollectorFindings* findings) {
  if (findings == nullptr) return {};
  json::Value status;
  status.Mutable("connected") = findings->verdict.state == State::kConnected;
  if (!findings->token_secret.empty()) status.Mutable("tokenSecret") = findings->token_secret;
  if (findings->presence.has_value()) {
    const store::Presence& presence = *findings->presence;
    status.Mutable("lastHeartbeat") = base::FormatSeconds(presence.last_message);
    const auto put = [&status](const char* member, const std::string& text) {
      if (!text.empty()) status.Mutable(member) = Cut(text, kLongestText);
    };
    put("version", presence.version);
    put("hub", presence.hub);
    put("instance", presence.instance);
    if (!presence.upstream) {
      json::Value& backlog = status.Mutable("backlog");
      backlog.Mutable("batches") = static_cast<std::int64_t>(presence.buffered_batches);
      backlog.Mutable("bytes") = static_cast<std::int64_t>(presence.buffered_bytes);
      if (presence.oldest_buffered.has_value()) {
        backlog.Mutable("oldest") = base::FormatSeconds(*presence.oldest_buffered);
      }
    }
  }
  if (findings->newest_durable != base::SystemTime{}) {
    status.Mutable("lastDurable") = base::FormatSeconds(findings->newest_durable);
  }
  if (findings->gaps.count > 0) status.Mutable("gaps") = GapStatus(findings->gaps);
  return status;
}

}  // namespace clusterpulse::reconcile
