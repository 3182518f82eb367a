#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/random.h"
#include "common/log/logger.h"
#include "common/telemetry/registry.h"
#include "hub/history/history_writer.h"
#include "hub/reconcile/cluster/reached_clusters.h"
#include "hub/reconcile/metricsource/source_catalog.h"
#include "hub/runtime/reconciler.h"
#include "hub/store/cluster_state.h"
#include "hub/store/source_state.h"

namespace clusterpulse::reconcile {

// Our own metrics of runs in pull mode.
struct SourceRunMetrics {
  SourceRunMetrics() = default;
  explicit SourceRunMetrics(telemetry::Registry& registry);

  telemetry::Registry::CounterFamily runs;  // by result: ok, partial, or the failure in snake case
  telemetry::Histogram seconds;
  telemetry::Counter rows;
};

// Runs one MetricSource on one cluster that the hub reads itself: its key is {source id, cluster}. So each pair has its
// own time, and a slow cluster delays no other and no status. A run is due one interval after the last one began,
// spread by a twentieth; at once when the source has changed, or was never run. A failed one is tried again after half
// of it, but after 30 s at least and 5 min at most. What it found goes to the store as the cluster's writer, and its
// numbers to the history.
//
// At most kPerCluster runs of a cluster go on at once, so that one that hangs does not take all workers. After a start
// what the store says of the last run counts: a new leader does not list everything at once.
//
// A pair that is not to be run (the source is gone or not for the cluster, a collector has the cluster, or it is out of
// reach) ends without a requeue: whoever changes that enqueues it. Threads: as Reconciler says.
class SourceRunner final : public runtime::Reconciler {
 public:
  // All borrowed; must outlive this.
  struct Dependencies {
    const SourceCatalog& catalog;
    ReachedClusters& clusters;
    // spec.labels of a cluster; nullopt: there is none of the name.
    std::function<std::optional<model::Labels>(const std::string& cluster)> labels;
    store::ClusterState& state;
    store::SourceState& sources;
    history::HistoryWriter* history = nullptr;  // null: off
    const base::Clock& clock;
    base::Random& random;
  };
  static constexpr int kPerCluster = 2;
  // `on_run`: a run of that source has ended and is stored; from the thread of the run. `is_news`: it ended another way
  // than the one before, or is the first.
  using OnRun = std::function<void(const std::string& source, bool is_news)>;
  SourceRunner(Dependencies dependencies, OnRun on_run, SourceRunMetrics metrics = {}, log::Logger log = {});

  // The pair is due at once: the store has nothing of it.
  void Forget(const kube::ObjectKey& key);

  absl::StatusOr<runtime::Result> Reconcile(const kube::ObjectKey& key, std::stop_token stop) override;

 private:
  struct Last {
    base::SteadyTime due{};
    std::string hash;                         // of what was run
    std::weak_ptr<kube::KubeApi> api;         // where
    std::optional<std::string> outcome = {};  // failure, or empty; nullopt: the run is an earlier process's
  };
  using Reached = ReachedClusters::Cluster;
  // The source as the pair is to run it; null: it is not.
  SourceCatalog::Entry Wanted(const kube::ObjectKey& key) const;
  // When the pair is due, if not now.
  std::optional<base::SteadyTime> NotDue(const kube::ObjectKey& key, const CatalogEntry& entry, const Reached& reached);
  absl::StatusOr<runtime::Result> Run(const kube::ObjectKey& key, const CatalogEntry& entry, const Reached& reached,
                                      std::stop_token stop);
  absl::StatusOr<store::ApplyResult> Store(const CatalogEntry& entry, const std::string& cluster, std::uint64_t epoch,
                                           const model::SourceResult& result, base::SystemTime at);

  const Dependencies deps_;
  const OnRun on_run_;
  const SourceRunMetrics metrics_;
  const log::Logger log_;

  base::Mutex mu_;
  std::map<kube::ObjectKey, Last> last_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, int> running_ ABSL_GUARDED_BY(mu_);  // by cluster
};

}  // namespace clusterpulse::reconcile
