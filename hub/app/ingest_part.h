#pragma once

#include <string>

#include "common/base/clock.h"
#include "common/base/random.h"
#include "common/kube/kube_api.h"
#include "common/log/logger.h"
#include "common/telemetry/registry.h"
#include "hub/app/config.h"
#include "hub/app/source_part.h"
#include "hub/history/history_writer.h"
#include "hub/ingest/ingester.h"
#include "hub/reconcile/cluster/cluster_directory.h"
#include "hub/reconcile/cluster/collector_data.h"
#include "hub/reconcile/cluster/collector_tokens.h"
#include "hub/reconcile/cluster/token_secret.h"
#include "hub/runtime/controller.h"
#include "hub/store/cluster_state.h"
#include "hub/store/collector_state.h"

namespace clusterpulse::app {

// The ingester and what it stands on: what collectors may do, who they are, where their data goes. Composition only.
class IngestPart {
 public:
  // All borrowed; must outlive this.
  struct Dependencies {
    kube::KubeApi& hub;
    store::StateStore& store;
    store::ClusterState& clusters;
    store::CollectorState& collectors;
    const base::Clock& clock;
    base::Random& random;
    telemetry::Registry& registry;
    history::HistoryWriter* history = nullptr;  // null: off
    SourcePart* sources = nullptr;              // null: none
  };
  // `sources` answer from watch caches. `hub_name` names this replica, also after a restart of its container.
  IngestPart(const Config& config, std::string hub_name, const Dependencies& dependencies,
             const reconcile::CollectorTokens::Sources& sources, log::Logger log);

  ingest::Ingester& ingester() { return ingester_; }
  runtime::Controller& token_marks() { return token_marks_; }

  // For the handler of the ClusterConnections: its streams look again when what they go by has changed. `meta` is null
  // for an object that is gone.
  void ConnectionChanged(const kube::ObjectKey& key, const kube::ObjectMeta* meta);

 private:
  reconcile::ClusterPolicies policies_;
  reconcile::TokenUseMarker token_marker_;
  runtime::Controller token_marks_;
  reconcile::CollectorTokens tokens_;
  reconcile::PushedClusters data_;
  runtime::ChangeFilter changes_;
  ingest::Ingester ingester_;
};

}  // namespace clusterpulse::app
