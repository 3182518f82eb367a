#include "hub/reconcile/metricsource/source_runner.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/metricsource/collect.h"

namespace clusterpulse::reconcile {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kShortestRetry{30000}, kLongestRetry{300000};
constexpr milliseconds kBusy{1000};        // the cluster has enough to do
constexpr milliseconds kSuperseded{1000};  // what was found is not wanted any more: look again
constexpr milliseconds kFenced{5000};      // somebody else writes the cluster, and whoever reads it will say so
constexpr double kJitter = 0.05;

std::string ResultLabel(const model::SourceResult& result) {
  if (result.failure.empty()) return result.errors > 0 ? "partial" : "ok";
  std::string label;
  for (const char c : result.failure) {
    if (c >= 'A' && c <= 'Z') {
      if (!label.empty()) label += '_';
      label += static_cast<char>(c - 'A' + 'a');
    } else {
      label += c;
    }
  }
  return label;
}

}  // namespace

SourceRunMetrics::SourceRunMetrics(telemetry::Registry& registry)
    : runs(registry.Counters("clusterpulse_hub_source_runs_total",
                             "Runs of MetricSources on clusters that the hub reads itself, by result", {"result"})),
      seconds(registry
                  .Histograms("clusterpulse_hub_source_run_seconds", "Time of one run of a MetricSource on one cluster",
                              telemetry::LatencyBuckets())
                  .With({})),
      rows(registry.Counters("clusterpulse_hub_source_rows_total", "Rows that runs of MetricSources gave").With({})) {}

SourceRunner::SourceRunner(Dependencies dependencies, OnRun on_run, SourceRunMetrics metrics, log::Logger log)
    : deps_(std::move(dependencies)), on_run_(std::move(on_run)), metrics_(metrics), log_(std::move(log)) {}

void SourceRunner::Forget(const kube::ObjectKey& key) {
  base::MutexLock lock(mu_);
  last_[key] = {};
}

SourceCatalog::Entry SourceRunner::Wanted(const kube::ObjectKey& key) const {
  const SourceCatalog::Entry entry = deps_.catalog.Find(key.ns);
  const std::optional<model::Labels> labels = deps_.labels(key.name);
  return entry != nullptr && labels.has_value() && entry->IsFor(key.name, *labels) ? entry : nullptr;
}

absl::StatusOr<runtime::Result> SourceRunner::Reconcile(const kube::ObjectKey& key, std::stop_token stop) {
  const std::string& cluster = key.name;
  const SourceCatalog::Entry entry = Wanted(key);
  const std::optional<Reached> reached = deps_.clusters.Find(cluster);
  if (entry == nullptr || !reached) {
    base::MutexLock lock(mu_);
    last_.erase(key);
    return runtime::Result{};
  }
  if (const auto due = NotDue(key, *entry, *reached)) {
    return runtime::Result{std::max(milliseconds(1), std::chrono::ceil<milliseconds>(*due - deps_.clock.Steady()))};
  }
  {
    base::MutexLock lock(mu_);
    if (running_[cluster] == kPerCluster) return runtime::Result{kBusy};
    ++running_[cluster];
  }
  absl::StatusOr<runtime::Result> result = Run(key, *entry, *reached, std::move(stop));
  base::MutexLock lock(mu_);
  if (--running_[cluster] == 0) running_.erase(cluster);
  return result;
}

std::optional<base::SteadyTime> SourceRunner::NotDue(const kube::ObjectKey& key, const CatalogEntry& entry,
                                                     const Reached& reached) {
  const base::SteadyTime now = deps_.clock.Steady();
  {
    base::MutexLock lock(mu_);
    if (const auto last = last_.find(key); last != last_.end()) {
      const Last& known = last->second;
      const bool is_same = known.hash == entry.source->hash && (!known.outcome || known.api.lock() == reached.api);
      return is_same && now < known.due ? std::optional(known.due) : std::nullopt;
    }
  }
  // The first look of this process. A store that cannot be asked now says nothing.
  const auto runs = deps_.sources.ReadRuns(entry.id, {key.name});
  if (!runs.ok() || !runs->front() || !runs->front()->failure.empty()) return std::nullopt;
  const store::SourceRun& run = *runs->front();
  const auto age = std::max<base::SystemTime::duration>(deps_.clock.Now() - run.ran_at, {});
  if (run.definition_hash != entry.source->hash || age >= entry.source->collection.interval) return std::nullopt;
  const base::SteadyTime due = now + (entry.source->collection.interval - age);
  base::MutexLock lock(mu_);
  last_[key] = {.due = due, .hash = run.definition_hash, .api = {}};
  return due;
}

absl::StatusOr<runtime::Result> SourceRunner::Run(const kube::ObjectKey& key, const CatalogEntry& entry,
                                                  const Reached& reached, std::stop_token stop) {
  const metricsource::Source& source = *entry.source;
  const base::SteadyTime begin = deps_.clock.Steady();
  metricsource::Collection collection =
      metricsource::Collect(source, *reached.api, *reached.discovery, deps_.clock, deps_.random, {.stop = stop});
  if (stop.stop_requested()) return absl::CancelledError("the hub is stopping");
  const base::SystemTime at = collection.started;
  const model::SourceResult result = metricsource::ToResult(source, collection);
  metrics_.runs.Add({ResultLabel(result)});
  metrics_.seconds.Observe(std::chrono::duration<double>(collection.duration).count());
  metrics_.rows.Add(static_cast<double>(result.rows.size()));

  // While it ran, the source may have gone or changed, or the cluster have become another one.
  const SourceCatalog::Entry now = Wanted(key);
  const std::optional<Reached> there = deps_.clusters.Find(key.name);
  if (now == nullptr || now->source->hash != source.hash || !there || there->api != reached.api) {
    return runtime::Result{kSuperseded};
  }
  const absl::StatusOr<store::ApplyResult> stored = Store(entry, key.name, reached.epoch, result, at);
  if (stored.ok() && *stored == store::ApplyResult::kFenced) return runtime::Result{kFenced};

  milliseconds wait = source.collection.interval;
  if (!stored.ok() || !result.failure.empty() || result.errors > 0) {
    wait = std::min(wait, std::clamp(wait / 2, kShortestRetry, kLongestRetry));
  }
  wait += milliseconds(static_cast<std::int64_t>(static_cast<double>(wait.count()) * kJitter * deps_.random.Uniform()));
  const base::SteadyTime due = begin + wait;
  bool is_news = false;
  {
    base::MutexLock lock(mu_);
    Last& last = last_[key];
    is_news = last.outcome != result.failure || last.hash != source.hash;
    last = {due, source.hash, reached.api, result.failure};
  }
  if (!stored.ok()) {
    log_.Warn("what a metric source found cannot be stored",
              {{"source", entry.id}, {"cluster", key.name}, {"error", log::ToText(stored.status())}});
  } else {
    if (deps_.history != nullptr && !result.aggregations.empty()) {
      model::Batch samples{.cluster = key.name, .collected_at = at};
      samples.sources.push_back({.source = entry.id, .aggregations = result.aggregations});
      deps_.clusters.AddSamples(key.name, {at, deps_.history->Write(samples)});
    }
    on_run_(entry.id, is_news);
  }
  return runtime::Result{std::max(milliseconds(1), std::chrono::ceil<milliseconds>(due - deps_.clock.Steady()))};
}

absl::StatusOr<store::ApplyResult> SourceRunner::Store(const CatalogEntry& entry, const std::string& cluster,
                                                       std::uint64_t epoch, const model::SourceResult& result,
                                                       base::SystemTime at) {
  ASSIGN_OR_RETURN(const store::SourceState::ResultWrite write,
                   deps_.sources.WriteOf(cluster, result, at, entry.source->collection.interval));
  // Without a number: fenced once somebody else writes the cluster.
  return deps_.state.WriteAs({.cluster = cluster, .epoch = epoch, .role = store::WriterRole::kData}, write.writes);
}

}  // namespace clusterpulse::reconcile
