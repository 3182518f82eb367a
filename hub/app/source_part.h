#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

#include "common/base/clock.h"
#include "common/base/random.h"
#include "common/kube/kube_api.h"
#include "common/kube/watch_cache.h"
#include "common/log/logger.h"
#include "common/telemetry/registry.h"
#include "hub/app/config.h"
#include "hub/history/history_writer.h"
#include "hub/reconcile/cluster/cluster_connection.h"
#include "hub/reconcile/cluster/reached_clusters.h"
#include "hub/reconcile/metricsource/source_catalog.h"
#include "hub/reconcile/metricsource/source_reconciler.h"
#include "hub/reconcile/metricsource/source_results.h"
#include "hub/reconcile/metricsource/source_runner.h"
#include "hub/runtime/controller.h"
#include "hub/runtime/manager.h"
#include "hub/runtime/resync.h"
#include "hub/store/cluster_state.h"
#include "hub/store/source_state.h"

namespace clusterpulse::app {

// MetricSources: the watch and the catalog on every replica, which collectors are configured from; reconciler and runs
// on the one that leads. Composition only.
class SourcePart {
 public:
  using Connections = kube::WatchCache<reconcile::ClusterConnection>;
  // All borrowed; must outlive this.
  struct Dependencies {
    kube::KubeApi& hub;
    Connections& connections;
    store::StateStore& store;
    store::ClusterState& clusters;
    const base::Clock& clock;
    base::Random& random;
    telemetry::Registry& registry;
    history::HistoryWriter* history = nullptr;  // null: off
  };
  SourcePart(const Config& config, const Dependencies& dependencies, log::Logger log);
  ~SourcePart();

  // For processes that run controllers; before the handlers are wired.
  void ComposeControllers(runtime::StatusWriter& status, runtime::EventRecorder& events);
  // Handlers of the caches. `collectors_changed`: what collectors should run is another now; a little later than the
  // first change, once for many.
  void Wire(std::function<void()> collectors_changed);
  void AddCacheTo(runtime::Manager& manager);
  void AddControllersTo(runtime::Manager& manager);

  // Something changed that the status of a MetricSource shows. False: `id` is not of the form of one. REQUIRES:
  // ComposeControllers.
  bool ReportSoon(std::string_view id);

  // The sources are known as far as they can be, with the last valid version of those that are not valid now: a hub
  // whose API server has no such definition, or does not let it read them for long, has none.
  bool IsSettled() const;
  // Why they are not known, or cannot be; ok: they are.
  absl::Status Trouble() const;

  std::vector<std::string> DefinitionsFor(const std::string& cluster, const model::Labels& labels) const;
  const ingest::SourceResults& results() const { return results_; }
  store::SourceState& state() { return state_; }
  reconcile::ReachedClusters& reached() { return reached_; }

 private:
  class Cache;
  // Calls `collectors_changed` for the changes of a moment.
  class Announcer;

  absl::Status Recover();
  std::vector<reconcile::SourceReconciler::FleetCluster> Fleet() const;
  absl::StatusOr<std::vector<kube::ObjectKey>> AllKeys();
  void EnqueueAll();

  const Config& config_;
  const Dependencies deps_;
  const base::SteadyTime began_;
  const log::Logger log_;

  // spec.labels of a cluster; nullopt: there is none of the name.
  const std::function<std::optional<model::Labels>(const std::string& cluster)> labels_of_;
  mutable std::atomic<bool> is_settled_{false};

  store::SourceState state_;
  reconcile::SourceCatalog catalog_;
  kube::WatchCache<reconcile::MetricSource> sources_;
  std::unique_ptr<Cache> cache_;
  reconcile::CheckedResults results_;
  reconcile::ReachedClusters reached_;
  std::unique_ptr<Announcer> announcer_;
  std::optional<runtime::Controller> announcements_;
  runtime::ChangeFilter connection_changes_;
  // When this process runs controllers.
  std::optional<reconcile::SourceReconciler> reconciler_;
  std::optional<reconcile::SourceRunner> runner_;
  std::optional<runtime::Controller> controller_, runs_;
  std::optional<runtime::Resync> resync_;
};

}  // namespace clusterpulse::app
