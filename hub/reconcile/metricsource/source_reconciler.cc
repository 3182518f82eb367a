#include "hub/reconcile/metricsource/source_reconciler.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "common/base/status.h"
#include "common/json/writer.h"
#include "hub/runtime/conditions.h"

namespace clusterpulse::reconcile {
namespace {

constexpr std::chrono::seconds kTrouble{10};  // of the store or the API server: come back soon
constexpr std::chrono::seconds kLook{30};     // for runs of collectors, and for those that do not come
constexpr std::chrono::milliseconds kHubCallTimeout{10000};
constexpr std::chrono::milliseconds kRoutine{10000};
// What a source leaves is taken away again a pass later: a batch or a run may have been on its way.
constexpr int kRemovals = 2;

std::vector<runtime::Condition> ConditionsOf(const json::Value& status) {
  std::vector<runtime::Condition> conditions;
  json::Parser parser;
  const std::string text = status["conditions"].Dump();
  // What cannot be read is written anew.
  parser.Parse(text, [&](json::Cursor array) { return runtime::ReadConditions(array, conditions); }).IgnoreError();
  return conditions;
}

json::Value ToValue(const std::vector<runtime::Condition>& conditions) {
  std::string text;
  json::Writer writer(text);
  runtime::WriteConditions(writer, conditions);
  auto value = json::Value::Parse(text);
  return value.ok() ? *std::move(value) : json::Value();
}

}  // namespace

SourceReconciler::SourceReconciler(Dependencies dependencies, log::Logger log)
    : deps_(std::move(dependencies)), log_(std::move(log)) {}

absl::StatusOr<runtime::Result> SourceReconciler::Reconcile(const kube::ObjectKey& key, std::stop_token stop) {
  const std::optional<MetricSource> object = deps_.object(key);
  const SourceCatalog::Entry entry = deps_.catalog.Find(key.ToString());
  if (!object.has_value()) return Gone(key);
  // The catalog follows the same cache: it has the object a moment later.
  if (entry == nullptr || entry->uid != object->meta.uid) return runtime::Result{std::chrono::seconds(1)};
  if (object->meta.deleting()) {
    RETURN_IF_ERROR(Remove(key));
    return runtime::Result{};
  }
  absl::StatusOr<std::vector<SourceCluster>> clusters = std::vector<SourceCluster>();
  absl::Status stored;
  if (!entry->enabled) {
    stored = Remove(key);
  } else if (entry->source != nullptr) {
    stored = PutDefinition(*entry, key);
    clusters = ClustersOf(*entry, key);
    if (stored.ok()) stored = clusters.status();
  } else if (entry->is_sought) {
    // What there is under its name is of another object.
    const auto other = deps_.sources.ReadDefinition(key.ns, key.name);
    stored = !other.ok() || !other->has_value() ? other.status() : Remove(key);
  }
  if (!stored.ok()) {
    log_.Warn("the store refuses what belongs to a metric source",
              {{"source", entry->id}, {"error", log::ToText(stored)}});
  }
  if (clusters.ok()) {
    const SourceReport report =
        ReportOn(*entry, *clusters, ConditionsOf(object->status), deps_.clock.Now(), deps_.catalog.Namesakes(*entry));
    Publish(*entry, key, report);
    RETURN_IF_ERROR(Report(*object, report, stop));
  }
  return runtime::Result{stored.ok() ? kLook : kTrouble};
}

absl::StatusOr<runtime::Result> SourceReconciler::Gone(const kube::ObjectKey& key) {
  // The key may come from the store, where another replica put the definition of an object our cache lacks yet.
  const auto object = deps_.hub.Get(kMetricSources, key, {kHubCallTimeout, {}});
  if (object.ok()) return runtime::Result{kTrouble};
  if (!kube::IsNotFound(object.status())) return base::Annotate(object.status(), "making sure that the object is gone");
  RETURN_IF_ERROR(Remove(key));
  deps_.status.Forget(kMetricSources, key);
  base::MutexLock lock(mu_);
  if (known_[key].removals < kRemovals) return runtime::Result{kLook};
  known_.erase(key);
  return runtime::Result{};
}

absl::Status SourceReconciler::Remove(const kube::ObjectKey& key) {
  {
    base::MutexLock lock(mu_);
    if (known_[key].removals >= kRemovals) return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(std::vector<std::string> clusters, deps_.stored_clusters());
  for (const FleetCluster& cluster : deps_.clusters()) clusters.push_back(cluster.name);
  std::sort(clusters.begin(), clusters.end());
  clusters.erase(std::unique(clusters.begin(), clusters.end()), clusters.end());
  RETURN_IF_ERROR(deps_.sources.Remove(key.ns, key.name, clusters));
  bool is_first = false;
  {
    base::MutexLock lock(mu_);
    is_first = known_[key].removals++ == 0;
  }
  if (!is_first) return absl::OkStatus();
  log_.Info("metric source removed", {{"source", key.ToString()}});
  return deps_.sources.PublishEvent("deleted", key.ToString(), "null", deps_.clock.Now());
}

absl::Status SourceReconciler::PutDefinition(const CatalogEntry& entry, const kube::ObjectKey& key) {
  {
    base::MutexLock lock(mu_);
    known_[key].removals = 0;
  }
  // The store may have lost it.
  ASSIGN_OR_RETURN(const std::optional<store::SourceDefinition> stored, deps_.sources.ReadDefinition(key.ns, key.name));
  const metricsource::Source& source = *entry.source;
  store::SourceDefinition definition{.ns = key.ns,
                                     .name = key.name,
                                     .json = entry.definition,
                                     .compiled_at = stored ? stored->compiled_at : base::SystemTime{},
                                     .hash = source.hash,
                                     .kind = source.spec.target.kind,
                                     .api_version = source.spec.target.api_version,
                                     .resource_type = source.spec.rbac.resource_type_name,
                                     .uid = entry.uid,
                                     .clusters_json = entry.clusters_json};
  if (stored == definition) return absl::OkStatus();
  definition.compiled_at = deps_.clock.Now();
  RETURN_IF_ERROR(deps_.sources.PutDefinition(definition));
  log_.Info("metric source in force", {{"source", entry.id}, {"hash", source.hash}});
  return absl::OkStatus();
}

absl::StatusOr<std::vector<SourceCluster>> SourceReconciler::ClustersOf(const CatalogEntry& entry,
                                                                        const kube::ObjectKey& key) {
  std::vector<FleetCluster> fleet = deps_.clusters();
  std::vector<std::string> names;
  names.reserve(fleet.size());
  for (const FleetCluster& cluster : fleet) names.push_back(cluster.name);
  ASSIGN_OR_RETURN(auto runs, deps_.sources.ReadRuns(entry.id, names));
  std::vector<SourceCluster> clusters;
  std::size_t left_out = 0;
  for (std::size_t i = 0; i < fleet.size(); ++i) {
    if (!entry.IsFor(fleet[i].name, fleet[i].labels)) {
      if (runs[i]) RETURN_IF_ERROR(deps_.sources.Drop(fleet[i].name, entry.id));
      continue;
    }
    const bool is_missing = !runs[i] || runs[i]->definition_hash != entry.source->hash;
    if (fleet[i].is_pulled && is_missing) deps_.run(entry.id, fleet[i].name);
    const bool is_left_out = !fleet[i].is_pulled && deps_.catalog.IsLeftOut(entry, fleet[i].name, fleet[i].labels);
    left_out += is_left_out;
    clusters.push_back({std::move(fleet[i].name), fleet[i].is_reached, std::move(runs[i]), is_left_out});
  }
  TellLeftOut(entry, key, left_out);
  return clusters;
}

void SourceReconciler::TellLeftOut(const CatalogEntry& entry, const kube::ObjectKey& key, std::size_t clusters) {
  {
    base::MutexLock lock(mu_);
    if (std::exchange(known_[key].left_out, clusters) == clusters) return;
  }
  if (clusters == 0) return;
  log_.Warn("collectors are not given a metric source: the sources for their clusters are too large together",
            {{"source", entry.id},
             {"collectors", clusters},
             {"bytes", entry.definition.size()},
             {"most_bytes", SourceCatalog::kMostDefinitionBytes}});
}

absl::Status SourceReconciler::Report(const MetricSource& object, const SourceReport& report, std::stop_token stop) {
  const runtime::ObjectRef about{kMetricSources.ApiVersion(), kMetricSources.kind, object.key(), object.meta.uid};
  const std::vector<runtime::Condition> before = ConditionsOf(object.status);
  const runtime::Condition* was = runtime::FindCondition(before, "Ready");
  const runtime::Condition* is = runtime::FindCondition(report.conditions, "Ready");
  const bool is_news = is != nullptr && (was == nullptr || was->status != is->status || was->reason != is->reason);
  if (is_news) {
    deps_.events.Record(
        about,
        is->status == "False" && is->reason != "Disabled" ? runtime::EventType::kWarning : runtime::EventType::kNormal,
        is->reason, is->message);
  }
  runtime::StatusUpdate update;
  update.resource = kMetricSources;
  update.key = object.key();
  update.current = object.status;
  update.desired = report.status;
  update.desired.Mutable("conditions") = ToValue(report.conditions);
  update.routine = {"lastCollectionTime", "lastCollectionDuration", "resourcesCollected", "fieldValidation",
                    "truncated"};
  // Counts in words and numbers may lag; that it began or ceased to work may not, nor which spec this is about.
  if (!is_news && object.status["observedGeneration"].IntOr() == object.meta.generation) {
    update.routine.insert(update.routine.end(), {"conditions", "message", "errorsLastRun", "clustersCollected"});
  }
  update.routine_interval = kRoutine;
  return deps_.status.Write(update, std::move(stop));
}

void SourceReconciler::Publish(const CatalogEntry& entry, const kube::ObjectKey& key, const SourceReport& report) {
  if (!report.last_run) return;
  {
    base::MutexLock lock(mu_);
    Known& known = known_[key];
    if (known.told && *known.told >= *report.last_run) return;
    known.told = report.last_run;
  }
  const std::string data =
      fmt::format(R"({{"resources":{},"clusters":{},"errors":{}}})", report.resources, report.clusters, report.errors);
  // A hint: nobody depends on it.
  deps_.sources.PublishEvent("reconciled", entry.id, data, deps_.clock.Now()).IgnoreError();
}

}  // namespace clusterpulse::reconcile
