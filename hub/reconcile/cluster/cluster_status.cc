#include "hub/reconcile/cluster/cluster_status.h"

#include <utility>

#include <fmt/format.h>

#include "common/base/status.h"
#include "common/base/time_format.h"

namespace clusterpulse::reconcile {
namespace {

constexpr std::size_t kLongestError = 300;

void Set(std::vector<runtime::Condition>& conditions, std::string_view type, std::string_view status,
         std::int64_t generation, std::string_view reason, std::string message, base::SystemTime now) {
  runtime::Condition next;
  next.type = type;
  next.status = status;
  next.observed_generation = generation;
  next.reason = reason;
  next.message = std::move(message);
  runtime::SetCondition(conditions, std::move(next), now);
}

std::string_view HealthyStatus(model::Health health) {
  switch (health) {
    case model::Health::kHealthy:
      return "True";
    case model::Health::kDegraded:
    case model::Health::kUnhealthy:
      return "False";
    case model::Health::kUnknown:
      return "Unknown";
  }
  return "Unknown";
}

json::Value TextOrNull(const std::string& text) { return text.empty() ? json::Value() : json::Value(text); }

void PutCounts(const std::optional<model::ClusterCounts>& counts, json::Value& status) {
  if (!counts.has_value()) return;
  status.Mutable("nodes") = static_cast<std::int64_t>(counts->nodes);
  status.Mutable("nodesReady") = static_cast<std::int64_t>(counts->nodes_ready);
  status.Mutable("pods") = static_cast<std::int64_t>(counts->pods);
  status.Mutable("podsRunning") = static_cast<std::int64_t>(counts->pods_running);
  if (counts->deployments.has_value()) status.Mutable("deployments") = static_cast<std::int64_t>(*counts->deployments);
}

bool GetsData(model::Phase phase) { return phase == model::Phase::kConnected || phase == model::Phase::kDegraded; }

}  // namespace

std::vector<runtime::Condition> NextConditions(std::vector<runtime::Condition> conditions, const Findings& findings,
                                               base::SystemTime now) {
  const Verdict& verdict = findings.verdict;
  const std::int64_t generation = findings.generation;
  Set(conditions, kReady, GetsData(verdict.phase) ? "True" : "False", generation, verdict.phase_reason,
      verdict.phase_message, now);
  Set(conditions, kHealthy, HealthyStatus(verdict.health), generation, verdict.health_reason, verdict.health_message,
      now);

  const bool fresh = findings.last_sync.has_value() && !IsStale(now - *findings.last_sync, findings.interval);
  if (fresh) {
    Set(conditions, kDataFresh, "True", generation, "Fresh", "the data is no older than 3 intervals", now);
  } else {
    const std::string_view reason = findings.last_sync.has_value() ? "StaleData" : "NoData";
    Set(conditions, kDataFresh, "False", generation, reason,
        findings.last_sync.has_value()
            ? fmt::format("readers see data of {}, older than 3 intervals", base::FormatSeconds(*findings.last_sync))
            : std::string("no data of the cluster has been stored yet"),
        now);
  }

  conditions = StoreConditions(std::move(conditions), findings.store, generation, now);
  SetCollectorConditions(conditions, findings.collector, generation, now);
  runtime::RemoveCondition(conditions, kPaused);
  if (findings.push_unavailable) {
    Set(conditions, kPushActive, "False", generation, "PushNotAvailable",
        "spec.collectionMode is push, but this hub runs no ingester: the hub reads the cluster itself (pull)", now);
  } else {
    runtime::RemoveCondition(conditions, kPushActive);
  }
  return conditions;
}

std::vector<runtime::Condition> StoreConditions(std::vector<runtime::Condition> conditions, const absl::Status& store,
                                                std::int64_t generation, base::SystemTime now) {
  if (store.ok()) {
    Set(conditions, kStoreAvailable, "True", generation, "Stored", "the state store takes writes", now);
  } else {
    Set(conditions, kStoreAvailable, "False", generation, "StoreUnavailable",
        fmt::format("the state store refused the cluster's data ({}): readers see what was stored before; check the "
                    "hub's store, nothing is wrong with the cluster",
                    Cut(base::Message(store), kLongestError)),
        now);
  }
  return conditions;
}

std::vector<runtime::Condition> HeldConditions(std::vector<runtime::Condition> conditions, const Failure& failure,
                                               std::int64_t generation, base::SystemTime now) {
  Set(conditions, kReady, "False", generation, failure.reason, failure.message, now);
  Set(conditions, kHealthy, "Unknown", generation, failure.reason, failure.message, now);
  Set(conditions, kDataFresh, "False", generation, failure.reason, failure.message, now);
  return conditions;
}

std::vector<runtime::Condition> PausedConditions(std::vector<runtime::Condition> conditions, bool stale,
                                                 std::int64_t generation, base::SystemTime now) {
  const std::string message = "the annotation clusterpulse.io/paused is \"true\": nothing is read until it is removed";
  Set(conditions, kPaused, "True", generation, "PausedByAnnotation", message, now);
  if (stale) {
    Set(conditions, kReady, "Unknown", generation, "Paused", message, now);
    Set(conditions, kHealthy, "Unknown", generation, "Paused", message, now);
    Set(conditions, kDataFresh, "False", generation, "Paused", message, now);
  }
  return conditions;
}

json::Value BuildStatus(const Findings& findings, const std::vector<runtime::Condition>& conditions) {
  json::Value status;
  status.Mutable("phase") = model::ToString(findings.verdict.phase);
  status.Mutable("health") = model::ToString(findings.verdict.health);
  std::string message = findings.verdict.message;
  if (!findings.store.ok()) {
    message += fmt::format("; the data could not be stored: {}", Cut(base::Message(findings.store), kLongestError));
  }
  status.Mutable("message") = std::move(message);
  status.Mutable("observedGeneration") = findings.generation;
  status.Mutable("conditions") = ConditionsToJson(conditions);
  // Null removes it: the data was that of another endpoint.
  status.Mutable("lastSyncTime") =
      findings.last_sync.has_value() ? json::Value(base::FormatSeconds(*findings.last_sync)) : json::Value();
  if (findings.last_attempt.has_value())
    status.Mutable("lastAttemptTime") = base::FormatSeconds(*findings.last_attempt);
  if (!findings.endpoint.empty()) status.Mutable("endpoint") = findings.endpoint;
  if (findings.forget_old) {
    for (const char* member :
         {"nodes", "nodesReady", "namespaces", "pods", "podsRunning", "deployments", "version", "platform"}) {
      status.Mutable(member) = json::Value();
    }
  }
  status.Mutable("collectorStatus") = CollectorStatus(findings.collector);
  if (findings.gaps.has_value()) status.Mutable("gaps") = GapStatus(*findings.gaps);
  if (findings.record != nullptr) {
    const store::PushRecord& record = *findings.record;
    PutCounts(record.counts, status);
    if (record.namespaces.has_value()) status.Mutable("namespaces") = *record.namespaces;
    if (!record.version.empty()) status.Mutable("version") = record.version;
    if (!record.platform.empty()) status.Mutable("platform") = record.platform;
  }
  if (findings.snapshot == nullptr) return status;

  const model::ClusterSnapshot& snapshot = *findings.snapshot;
  PutCounts(snapshot.counts, status);
  if (snapshot.namespaces.has_value()) {
    status.Mutable("namespaces") = static_cast<std::int64_t>(snapshot.namespaces->size());
  }
  if (snapshot.info.has_value()) {
    status.Mutable("version") = TextOrNull(snapshot.info->version);
    status.Mutable("platform") = TextOrNull(snapshot.info->platform);
  }
  return status;
}

std::vector<std::string> RoutineMembers() {
  // Of the collector, what people wait for is also in its condition.
  return {"lastSyncTime", "lastAttemptTime", "nodes",       "nodesReady",      "namespaces",
          "pods",         "podsRunning",     "deployments", "collectorStatus", "gaps"};
}

json::Value ConditionsToJson(const std::vector<runtime::Condition>& conditions) {
  std::string text;
  json::Writer writer(text);
  runtime::WriteConditions(writer, conditions);
  auto value = json::Value::Parse(text);
  return value.ok() ? *std::move(value) : json::Value(json::Value::Array());
}

std::vector<runtime::Condition> ConditionsFromJson(const json::Value& conditions) {
  std::vector<runtime::Condition> out;
  if (!conditions.IsArray()) return out;
  json::Parser parser;
  // What cannot be read is written anew by the pass.
  (void)parser.Parse(conditions.Dump(), [&](json::Cursor array) { return runtime::ReadConditions(array, out); });
  // The schema would refuse them, and with them the whole status.
  std::erase_if(out, [](const runtime::Condition& c) {
    return c.status.empty() || c.reason.empty() || !base::ParseRfc3339(c.last_transition_time).has_value();
  });
  return out;
}

std::vector<Announcement> Announcements(const std::vector<runtime::Condition>& before,
                                        const std::vector<runtime::Condition>& after) {
  std::vector<Announcement> out;
  for (const std::string_view type : {kReady, kHealthy, kStoreAvailable, kCollectorToken}) {
    const runtime::Condition* now = runtime::FindCondition(after, type);
    const runtime::Condition* was = runtime::FindCondition(before, type);
    if (now == nullptr || (was != nullptr && was->status == now->status && was->reason == now->reason)) continue;
    // Not reaching the cluster is said once, by Ready.
    if (type == kHealthy && now->reason == "Unreachable") continue;
    if (now->status == "False" || now->reason == "PartialData") {
      out.push_back({runtime::EventType::kWarning, now->reason, now->message});
      continue;
    }
    if (now->status != "True") continue;
    const bool recovered = was != nullptr && (was->status == "False" || was->reason == "PartialData");
    const bool first_contact = type == kReady && (was == nullptr || was->status != "True");
    const bool said_by_ready = type == kHealthy && was != nullptr && was->reason == "Unreachable";
    if ((recovered || first_contact) && !said_by_ready) {
      out.push_back({runtime::EventType::kNormal, now->reason, now->message});
    }
  }
  return out;
}

}  // namespace clusterpulse::reconcile
