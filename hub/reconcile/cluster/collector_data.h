#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "common/base/clock.h"
#include "common/telemetry/registry.h"
#include "hub/ingest/ports.h"
#include "hub/reconcile/cluster/cluster_directory.h"
#include "hub/reconcile/cluster/gap_counter.h"
#include "hub/store/collector_state.h"
#include "hub/store/source_state.h"
#include "hub/store/state_store.h"

namespace clusterpulse::reconcile {

// What a batch says about the cluster: facts carried over what it does not hold, judged with the rules of pull mode
// (health.h). Pure.
struct PushJudgement {
  store::PushRecord record;
  bool health_changed = false;  // since `health_before`
};
struct PushContext {
  std::optional<store::PushRecord> before;
  std::optional<model::Health> health_before;  // as readers see it; absent: nothing was said yet
  base::SystemTime now, data_at;
  std::chrono::seconds interval{60};  // when the batch does not say
  std::chrono::seconds operator_interval{300};
  std::string degraded;  // what the collector says it cannot read; empty: nothing
};
PushJudgement JudgeBatch(const model::Batch& batch, const PushContext& context);

// The store behind the streams: documents, status, event on change, record and position of a batch in one step, under
// the epoch of the stream; and what streams hear of holes. Writes the same documents as pull mode does of the same
// snapshot. Gives a hint to the leader when what the status of the object, or of a MetricSource, shows at once has
// changed.
class PushedClusters final : public ingest::CollectorData {
 public:
  struct Options {
    std::chrono::seconds operator_interval{300};  // OPERATOR_SCAN_INTERVAL
  };
  // All borrowed; must outlive this and the writers.
  struct Dependencies {
    store::StateStore& store;
    store::ClusterState& clusters;
    store::CollectorState& collectors;
    const base::Clock& clock;
    telemetry::Registry* registry = nullptr;  // null: no metrics
    store::SourceState* sources = nullptr;    // both or none
    const ingest::SourceResults* source_results = nullptr;
  };
  PushedClusters(const Dependencies& dependencies, ConnectionLookup connection, Options options)
      : deps_(dependencies),
        connection_(std::move(connection)),
        options_(options),
        gaps_(GapCounter::Make(dependencies.registry)) {}

  absl::StatusOr<ingest::Position> ReadPosition(const std::string& cluster) override;
  absl::StatusOr<std::unique_ptr<ingest::ClusterWriter>> TakeOver(const std::string& cluster,
                                                                  std::uint64_t& epoch) override;
  absl::StatusOr<std::optional<store::Presence>> ReadPresence(const std::string& cluster) override;
  absl::Status NoteRefused(const std::string& cluster, const store::Presence::Rival& rival) override;
  std::chrono::milliseconds DurableAfter() const override { return deps_.store.DurableAfter(); }
  model::DurableMark Durable() const override { return deps_.store.Durable(); }

 private:
  class Writer;

  const Dependencies deps_;
  const ConnectionLookup connection_;
  const Options options_;
  const GapCounter gaps_;
};

}  // namespace clusterpulse::reconcile
