#include "hub/reconcile/metricsource/source_runner.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/metricsource/collect.h"

namespace clusterpulse::reconcile {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kShortestRetry{30000};
constexpr milliseconds kStoreTrouble{10000};
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

SourceRunner::SourceRunner(Dependencies dependencies, std::function<void(const std::string&)> on_run,
                           SourceRunMetrics metrics, log::Logger log)
    : deps_(std::move(dependencies)), on_run_(std::move(on_run)), metrics_(std::move(metrics)), log_(std::move(log)) {}

absl::StatusOr<runtime::Result> SourceRunner::Reconcile(const kube::ObjectKey& key, std::stop_token stop) {
  const std::string &id = key.ns, &cluster = key.name;
  const SourceCatalog::Entry entry = deps_.catalog.Find(id);
  const std::optional<model::Labels> labels = deps_.labels(cluster);
  const bool is_wanted = entry != nullptr && labels.has_value() && entry->IsFor(cluster, *labels);
  const std::optional<ReachedClusters::Cluster> reached = deps_.clusters.Find(cluster);
  if (!is_wanted || !reached) {
    base::MutexLock lock(mu_);
    last_.erase(key);
    return runtime::Result{};
  }
  const metricsource::Source& source = *entry->source;
  const base::SteadyTime begin = deps_.clock.Steady();
  {
    base::MutexLock lock(mu_);
    const auto last = last_.find(key);
    if (last != last_.end() && last->second.hash == source.hash && begin < last->second.due) {
      return runtime::Result{std::chrono::ceil<milliseconds>(last->second.due - begin)};
    }
  }

  metricsource::Collection collection =
      metricsource::Collect(source, *reached->api, *reached->discovery, deps_.clock, deps_.random, {.stop = stop});
  if (stop.stop_requested()) return absl::CancelledError("the hub is stopping");
  const base::SystemTime at = collection.started;
  const model::SourceResult result = metricsource::ToResult(source, collection);
  metrics_.runs.Add({ResultLabel(result)});
  metrics_.seconds.Observe(std::chrono::duration<double>(collection.duration).count());
  metrics_.rows.Add(static_cast<double>(result.rows.size()));

  if (const absl::Status stored = Store(*entry, cluster, reached->epoch, result, at); !stored.ok()) {
    log_.Warn("what a metric source found cannot be stored",
              {{"source", id}, {"cluster", cluster}, {"error", log::ToText(stored)}});
    return runtime::Result{kStoreTrouble};
  }
  if (deps_.history != nullptr && !result.aggregations.empty()) {
    model::Batch samples{.cluster = cluster, .collected_at = at};
    samples.sources.push_back({.source = id, .aggregations = result.aggregations});
    deps_.history->Write(samples);
  }
  milliseconds wait = source.collection.interval;
  if (!result.failure.empty() || result.errors > 0) wait = std::max(wait / 2, kShortestRetry);
  wait += milliseconds(static_cast<std::int64_t>(static_cast<double>(wait.count()) * kJitter * deps_.random.Uniform()));
  const base::SteadyTime due = begin + wait;
  {
    base::MutexLock lock(mu_);
    last_[key] = {due, source.hash};
  }
  on_run_(id);
  return runtime::Result{std::max(milliseconds(1), std::chrono::ceil<milliseconds>(due - deps_.clock.Steady()))};
}

absl::Status SourceRunner::Store(const CatalogEntry& entry, const std::string& cluster, std::uint64_t epoch,
                                 const model::SourceResult& result, base::SystemTime at) {
  std::optional<store::SourceRun> before;
  if (!result.failure.empty()) {
    ASSIGN_OR_RETURN(auto runs, deps_.sources.ReadRuns(entry.id, {cluster}));
    before = std::move(runs.front());
  }
  const std::vector<store::Write> writes =
      deps_.sources.ResultWrites(cluster, result, at, entry.source->collection.interval, before);
  // Without a number: fenced once somebody else writes the cluster.
  return deps_.state.WriteAs({.cluster = cluster, .epoch = epoch, .role = store::WriterRole::kData}, writes).status();
}

}  // namespace clusterpulse::reconcile
