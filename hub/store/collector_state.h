#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

#include "common/model/delivery.h"
#include "hub/store/cluster_state.h"
#include "hub/store/durable_batches.h"
#include "hub/store/gap_ledger.h"
#include "hub/store/presence.h"
#include "hub/store/push_record.h"
#include "hub/store/state_store.h"

namespace clusterpulse::store {

// Where a cluster's data writer stands: hash cluster:C:writer. The numbers are those of the last writer that numbered
// its batches; a writer without numbers (WriterPosition::seq 0) leaves them alone.
struct StoredPosition {
  std::uint64_t epoch = 0;  // 0: the cluster has no writer
  std::string instance;
  std::uint64_t state_seq = 0;
  DurableBatches durable;
  std::uint64_t gaps_revision = 0;  // GapLedger::revision
  bool operator==(const StoredPosition&) const = default;
};

// What the hub's replicas tell each other about push clusters, beside the documents of ClusterState, and the hints that
// go with it. Thread-safe. Errors are those of StateStore. Everything goes with the cluster (ClusterState::Remove).
//
// A hint is the name of a cluster, or the id ("<ns>/<name>") of a MetricSource, on the channel keys::CollectorHints:
// something changed that its status shows. Lost ones cost the time until the object's next pass.
class CollectorState {
 public:
  // All borrowed; must outlive this. `hub_namespace` as in ClusterState::Options.
  CollectorState(StateStore& store, ClusterState& clusters, std::string hub_namespace)
      : store_(store), clusters_(clusters), hub_namespace_(std::move(hub_namespace)) {}

  absl::StatusOr<StoredPosition> ReadPosition(const std::string& cluster);

  // ClusterState::Apply, and in the same step the record and `durable` as that of position.instance. REQUIRES:
  // position.seq > 0.
  struct Batch {
    const model::ClusterSnapshot& snapshot;
    const PushRecord& record;
    const DurableBatches& durable;
    Cadence cadence;
    std::vector<ClusterEvent> events;
    bool hint = false;
    std::optional<base::SystemTime> data_at;  // of the snapshot, as in ClusterState::Apply
    std::vector<Write> beside = {};           // what else belongs to the step
    GapLedger* gaps = nullptr;                // with what the batch says of them; null: nothing. Becomes what is stored
    std::vector<std::string> source_news = {};  // MetricSources to give a hint of
  };
  absl::StatusOr<ApplyResult> Apply(const WriterPosition& position, const Batch& batch);

  // Below, `epoch` is that of the cluster's data writer.

  // `durable` alone. An instance that wrote no state yet becomes the one the position is about.
  absl::StatusOr<ApplyResult> PutDurable(const std::string& cluster, std::uint64_t epoch, const std::string& instance,
                                         const DurableBatches& durable);
  // The ledger alone; it was read under this epoch, and becomes what is stored.
  absl::StatusOr<ApplyResult> PutGaps(const std::string& cluster, std::uint64_t epoch, GapLedger& gaps);
  // Also counts the cluster among the hub's (ClusterState::Clusters), so that a stream that outlived its object leaves
  // nothing for ever. `presence.refused` is not written.
  absl::StatusOr<ApplyResult> PutPresence(const std::string& cluster, const Presence& presence, bool hint);
  // Presence: with what NoteRefused noted, and `last_message` no older than the newest data.
  struct Seen {
    std::optional<Presence> presence;
    std::optional<PushRecord> record;
    std::string gaps;            // the document of GapLedger, not read yet; empty: none
    base::SystemTime beat_at{};  // `last_message` as written, which moves with every beat whatever the clocks say
  };
  absl::StatusOr<Seen> Read(const std::string& cluster);
  absl::StatusOr<std::optional<PushRecord>> ReadRecord(const std::string& cluster);
  // Whoever has the cluster; kept for ten minutes.
  absl::Status NoteRefused(const std::string& cluster, const Presence::Rival& rival);
  // Presence and record: the cluster is not in push mode any more. REQUIRES: position.role is kData.
  absl::StatusOr<ApplyResult> Drop(const WriterPosition& position);

  // Calls `on_hint` with each hint, from a thread of the store, until the subscription is dropped.
  absl::StatusOr<std::unique_ptr<Subscription>> Subscribe(std::function<void(std::string_view hint)> on_hint);

 private:
  Write Hint(const std::string& what) const;

  StateStore& store_;
  ClusterState& clusters_;
  const std::string hub_namespace_;
};

}  // namespace clusterpulse::store
