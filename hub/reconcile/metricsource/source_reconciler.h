#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/kube/kube_api.h"
#include "common/log/logger.h"
#include "hub/reconcile/metricsource/source_catalog.h"
#include "hub/reconcile/metricsource/source_status.h"
#include "hub/runtime/event_recorder.h"
#include "hub/runtime/reconciler.h"
#include "hub/runtime/status_writer.h"
#include "hub/store/source_state.h"

namespace clusterpulse::reconcile {

inline const kube::ResourceType kMetricSources{"clusterpulse.io", "v1alpha1", "metricsources", "MetricSource", true};

// Keeps the store and the object's status true for one MetricSource: its definition and indexes, and what its runs
// gave, whoever ran them (SourceRunner, collectors). Has it run where it is not yet. Takes everything away when the
// object goes, is disabled, or is not for a cluster any more.
//
// A pass is due when the object or a run changes something, and every 30 s, so that laggards are seen. Threads: as
// Reconciler says.
class SourceReconciler final : public runtime::Reconciler {
 public:
  // A cluster of the fleet.
  struct FleetCluster {
    std::string name;
    model::Labels labels;
    bool is_pulled = false;   // the hub reads it
    bool is_reached = false;  // somebody reads it at present
  };
  // All borrowed; must outlive this.
  struct Dependencies {
    kube::KubeApi& hub;
    const SourceCatalog& catalog;
    std::function<std::optional<MetricSource>(const kube::ObjectKey&)> object;
    std::function<std::vector<FleetCluster>()> clusters;  // all, by name
    // Clusters with documents in the store, of objects that are there or not.
    std::function<absl::StatusOr<std::vector<std::string>>()> stored_clusters;
    // Has the source run on a cluster that the hub reads: the store has nothing of it, or of an older version.
    std::function<void(const std::string& source, const std::string& cluster)> run;
    store::SourceState& sources;
    runtime::StatusWriter& status;
    runtime::EventRecorder& events;
    const base::Clock& clock;
  };
  explicit SourceReconciler(Dependencies dependencies, log::Logger log = {});

  absl::StatusOr<runtime::Result> Reconcile(const kube::ObjectKey& key, std::stop_token stop) override;

 private:
  // What this process knows it has written.
  struct Known {
    std::optional<base::SystemTime> told;  // newest run that was published
    int removals = 0;                      // since it was last in force
    std::size_t left_out = 0;              // collectors that are not given it
  };

  absl::StatusOr<runtime::Result> Gone(const kube::ObjectKey& key);
  absl::Status Remove(const kube::ObjectKey& key);
  absl::Status PutDefinition(const CatalogEntry& entry, const kube::ObjectKey& key);
  // Those it is for, with their runs; drops what the others have of it.
  absl::StatusOr<std::vector<SourceCluster>> ClustersOf(const CatalogEntry& entry, const kube::ObjectKey& key);
  void TellLeftOut(const CatalogEntry& entry, const kube::ObjectKey& key, std::size_t clusters);
  absl::Status Report(const MetricSource& object, const SourceReport& report, std::stop_token stop);
  void Publish(const CatalogEntry& entry, const kube::ObjectKey& key, const SourceReport& report);

  const Dependencies deps_;
  const log::Logger log_;
  base::Mutex mu_;
  std::map<kube::ObjectKey, Known> known_ ABSL_GUARDED_BY(mu_);
};

}  // namespace clusterpulse::reconcile
