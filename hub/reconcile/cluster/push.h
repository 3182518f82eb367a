#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include <absl/status/status.h>

#include "common/base/clock.h"
#include "common/json/value.h"
#include "hub/reconcile/cluster/health.h"
#include "hub/runtime/conditions.h"
#include "hub/store/gap_ledger.h"
#include "hub/store/presence.h"

// What is said about the collector of a push cluster, given what the replicas wrote about it: pure functions, no I/O.
namespace clusterpulse::reconcile {

inline constexpr std::string_view kCollectorConnected = "CollectorConnected";
inline constexpr std::string_view kWaitingForCollector = "WaitingForCollector";  // its reason before the first one
// Present while they apply.
inline constexpr std::string_view kCollectorConflict = "CollectorConflict";  // two collectors use the cluster's name
inline constexpr std::string_view kCollectorToken = "CollectorToken";        // False: its Secret cannot be made
inline constexpr std::string_view kIngestLimited = "IngestLimited";          // a limit of the hub holds data back
inline constexpr std::string_view kPullFallback = "PullFallback";  // the hub reads the cluster in the collector's place

using store::kSilenceLimit;
// A stream that ended counts as lost without a successor for so long.
inline constexpr std::chrono::seconds kSuccessorLimit{15};

struct CollectorEvidence {
  std::optional<store::Presence> presence;
  base::SystemTime now{};
  // Since this process first saw what the presence says; bounds what clocks of replicas that differ can do.
  std::chrono::nanoseconds unchanged_for{};
  // Since the store answers without a break: one that was away has kept streams from telling that they live.
  std::chrono::nanoseconds store_up_for{};
  bool was_connected = false;  // as last said
  bool was_known = false;      // the status names a collector; then an absent presence was lost by the store
  // The presence moved before our eyes: it is not only what a stream left behind that died long ago.
  bool seen_to_change = false;
};

struct CollectorVerdict {
  enum class State { kNever, kConnected, kLost };
  State state = State::kNever;
  base::SystemTime lost_at{};                          // when kLost
  std::optional<std::chrono::nanoseconds> changes_in;  // look again then, though nothing is heard
};

// Lost is only who was silent, or ended and was not replaced, long enough by the clock and before our eyes, with a
// store that could be written all the while. Until that is certain it stays what it was: a process that looks for the
// first time takes neither a connection nor a loss back because of what was written before it looked.
CollectorVerdict JudgeCollector(const CollectorEvidence& evidence);

// The hub reads a cluster itself.
struct Fallback {
  bool active = false;  // otherwise: it was tried, and cannot
  std::string reason, message;
};

struct CollectorFindings {
  CollectorVerdict verdict;
  std::optional<store::Presence> presence;
  std::string token_secret;  // its name
  absl::Status token;        // of making it
  std::optional<Fallback> fallback;
  std::string how_to_connect;         // what to do, for a cluster no collector ever came from
  store::GapSummary gaps;             // in the cluster's history
  base::SystemTime newest_durable{};  // when the newest durable batch was collected; zero: not known
};

// Why no data comes from the collector; nullopt while it is connected.
std::optional<Failure> FailureOf(const CollectorFindings& findings);

// Sets the conditions above; nullopt: drops them all (pull mode).
void SetCollectorConditions(std::vector<runtime::Condition>& conditions, const CollectorFindings* findings,
                            std::int64_t generation, base::SystemTime now);
// Count, those that are open, the oldest; null: there are none.
json::Value GapStatus(const store::GapSummary& gaps);
// status.collectorStatus; null in pull mode.
json::Value CollectorStatus(const CollectorFindings* findings);

}  // namespace clusterpulse::reconcile
