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

void Put(std::vector<runtime::Condition>& conditions, std::string_view type, bool status, std::string_view reason,
         std::string message, std::int64_t generation, base::SystemTime now) {
  runtime::SetCondition(
      conditions,
      {std::string(type), status ? "True" : "False", generation, "", std::string(reason), std::move(message)}, now);
}

void Drop(std::vector<runtime::Condition>& conditions, std::string_view type) {
  std::erase_if(conditions, [&](const runtime::Condition& c) { return c.type == type; });
}

std::string Name(const store::Presence& presence) {
  return Cut(fmt::format("{} from {}", presence.upstream ? "of upstream" : presence.instance, presence.peer),
             kLongestText);
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
    since = presence.ended_at.value_or(presence.last_message);
    gone_for = AgeOf(since, evidence);
    if (presence.ended_at.has_value()) {
      limit = kSuccessorLimit;
    } else if (gone_for < kSilenceLimit) {
      verdict.state = State::kConnected;
      verdict.changes_in = kSilenceLimit - gone_for;
      return verdict;
    }
  }
  verdict.lost_at = std::min(since, evidence.now);
  const std::chrono::nanoseconds wait =
      std::max<std::chrono::nanoseconds>(limit - gone_for, kSilenceLimit - evidence.store_up_for);
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
      return Failure{false, "WaitingForCollector", "no collector has connected yet: " + findings.how_to_connect, true};
    case State::kLost:
      break;
  }
  std::string message = fmt::format("the collector is lost since {}", base::FormatSeconds(findings.verdict.lost_at));
  if (findings.presence.has_value()) {
    const store::Presence& presence = *findings.presence;
    message += fmt::format(" ({}{})", Name(presence),
                           presence.end_reason.empty() ? std::string() : ": " + Cut(presence.end_reason, kLongestText));
  }
  message += ": check that it runs in the cluster and reaches the hub";
  return Failure{false, "CollectorLost", std::move(message), true};
}

void SetCollectorConditions(std::vector<runtime::Condition>& conditions, const CollectorFindings* findings,
                            std::int64_t generation, base::SystemTime now) {
  if (findings == nullptr) {
    for (const auto type : {kCollectorConnected, kCollectorConflict, kCollectorToken, kIngestLimited, kPullFallback}) {
      Drop(conditions, type);
    }
    return;
  }
  const std::optional<store::Presence>& presence = findings->presence;
  const bool is_connected = findings->verdict.state == State::kConnected;
  const auto put = [&](std::string_view type, bool status, std::string_view reason, std::string message) {
    Put(conditions, type, status, reason, std::move(message), generation, now);
  };

  if (const auto failure = FailureOf(*findings); failure.has_value()) {
    put(kCollectorConnected, false, failure->reason, failure->message);
  } else if (presence.has_value()) {
    put(kCollectorConnected, true, "Connected",
        fmt::format("collector {}{} is connected to {}", Name(*presence),
                    presence->version.empty() ? std::string()
                                              : fmt::format(", version {},", Cut(presence->version, kLongestText)),
                    presence->hub));
  } else {
    put(kCollectorConnected, true, "Connected",
        "the hub's store lost what it knew of the collector, which is expected to tell it again");
  }

  if (presence.has_value() && presence->refused.has_value() && now - presence->refused->at < kConflictShown) {
    put(kCollectorConflict, true, "TwoCollectors",
        fmt::format("collector {} has the cluster, and {} from {} was kept out: two collectors use this cluster's name "
                    "and token; remove one",
                    Name(*presence), Cut(presence->refused->instance, kLongestText),
                    Cut(presence->refused->peer, kLongestText)));
  } else {
    Drop(conditions, kCollectorConflict);
  }
  if (!findings->token.ok()) {
    put(kCollectorToken, false, absl::IsPermissionDenied(findings->token) ? "Forbidden" : "CannotMakeSecret",
        "the token for the collector cannot be provided: " + Cut(base::Message(findings->token), kLongestText));
  } else {
    Drop(conditions, kCollectorToken);
  }
  if (is_connected && presence.has_value() && !presence->limited.empty()) {
    put(kIngestLimited, true, "LimitReached",
        "a limit of the hub holds data of the cluster back: " + Cut(presence->limited, kLongestText));
  } else {
    Drop(conditions, kIngestLimited);
  }
  if (findings->fallback.has_value()) {
    put(kPullFallback, findings->fallback->active, findings->fallback->reason, findings->fallback->message);
  } else {
    Drop(conditions, kPullFallback);
  }
}

json::Value CollectorStatus(const CollectorFindings* findings) {
  if (findings == nullptr) return {};
  json::Value status;
  status.Mutable("connected") = findings->verdict.state == State::kConnected;
  if (!findings->token_secret.empty()) status.Mutable("tokenSecret") = findings->token_secret;
  if (findings->presence.has_value()) {
    const store::Presence& presence = *findings->presence;
    status.Mutable("lastHeartbeat") = base::FormatSeconds(presence.last_message);
    if (!presence.version.empty()) status.Mutable("version") = Cut(presence.version, kLongestText);
    status.Mutable("hub") = presence.hub;
    status.Mutable("instance") = presence.instance;
  }
  return status;
}

}  // namespace clusterpulse::reconcile
