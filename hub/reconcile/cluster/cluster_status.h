#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/json/value.h"
#include "common/model/cluster.h"
#include "common/model/health.h"
#include "hub/reconcile/cluster/health.h"
#include "hub/reconcile/cluster/push.h"
#include "hub/runtime/conditions.h"
#include "hub/runtime/event_recorder.h"
#include "hub/store/gap_ledger.h"

// The status of a ClusterConnection: from what a pass found to the object's members, conditions and Events. Pure.
namespace clusterpulse::reconcile {

inline constexpr std::string_view kReady = "Ready";          // the hub gets data of the cluster
inline constexpr std::string_view kHealthy = "Healthy";      // the health in machine's words
inline constexpr std::string_view kDataFresh = "DataFresh";  // what readers see is no older than 3 intervals
inline constexpr std::string_view kStoreAvailable = "StoreAvailable";
inline constexpr std::string_view kPaused = "Paused";          // present while paused
inline constexpr std::string_view kPushActive = "PushActive";  // present when push is asked for and cannot be had

// What a pass that was not paused found.
struct Findings {
  Verdict verdict;
  absl::Status store;                            // of the writes of this pass
  bool push_unavailable = false;                 // push was asked for, pulled instead
  std::optional<base::SystemTime> last_sync;     // when the stored data was read
  std::optional<base::SystemTime> last_attempt;  // when the cluster was last asked
  std::chrono::seconds interval{30};
  std::int64_t generation = 0;
  std::string endpoint;     // what is stored is of; empty: not known
  bool forget_old = false;  // what the status says was read at another endpoint: what this pass does not know goes
  // All borrowed.
  const model::ClusterSnapshot* snapshot = nullptr;  // of this pass, when it read one
  const store::PushRecord* record = nullptr;         // of the collector, when it is the newest there is
  const CollectorFindings* collector = nullptr;      // in push mode
  // Holes in the history of what the hub reads itself; absent: not known now. In push mode none: they are the
  // collector's.
  std::optional<store::GapSummary> gaps = std::nullopt;
};

// Conditions after the pass, given those before; conditions of other owners stay.
std::vector<runtime::Condition> NextConditions(std::vector<runtime::Condition> conditions, const Findings& findings,
                                               base::SystemTime now);

// StoreAvailable alone, when nothing else is known.
std::vector<runtime::Condition> StoreConditions(std::vector<runtime::Condition> conditions, const absl::Status& store,
                                                std::int64_t generation, base::SystemTime now);

// Members of the status; what this pass does not know is not named and so stays (but Findings::forget_old).
// lastSyncTime is null when nothing of this cluster is stored.
json::Value BuildStatus(const Findings& findings, const std::vector<runtime::Condition>& conditions);
// Members that may lag (runtime::StatusUpdate::routine).
std::vector<std::string> RoutineMembers();

// A paused connection: what was known stays until it is too old to be true.
std::vector<runtime::Condition> PausedConditions(std::vector<runtime::Condition> conditions, bool stale,
                                                 std::int64_t generation, base::SystemTime now);

// A connection the hub cannot work for at all: nothing is read and nothing stored until `failure` is over.
std::vector<runtime::Condition> HeldConditions(std::vector<runtime::Condition> conditions, const Failure& failure,
                                               std::int64_t generation, base::SystemTime now);

json::Value ConditionsToJson(const std::vector<runtime::Condition>& conditions);
// Broken ones are left out.
std::vector<runtime::Condition> ConditionsFromJson(const json::Value& conditions);

// Kubernetes Events for what changed between two sets of conditions: a Warning for what broke, Normal for what
// recovered.
struct Announcement {
  runtime::EventType type;
  std::string reason, message;
};
std::vector<Announcement> Announcements(const std::vector<runtime::Condition>& before,
                                        const std::vector<runtime::Condition>& after);

}  // namespace clusterpulse::reconcile
