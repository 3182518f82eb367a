#pragma once

#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <absl/status/statusor.h>

#include "common/base/clock.h"
#include "common/model/cluster.h"
#include "common/model/health.h"
#include "hub/store/durable_batches.h"
#include "hub/store/gap_ledger.h"
#include "hub/store/state_store.h"

namespace clusterpulse::store {

// cluster:C:spec and cluster:C:labels.
struct ClusterSpec {
  std::string display_name, endpoint;
  std::string credentials_name, credentials_namespace;  // as written in the spec; namespace may be empty
  model::Labels labels;
  std::int64_t interval_seconds = 0, timeout_seconds = 0;  // as written; 0 when absent
  bool operator==(const ClusterSpec&) const = default;
};

// cluster:C:status.
struct ClusterStatus {
  model::Health health = model::Health::kUnknown;
  std::string message;
};

// How often the writer comes back; lives of documents follow, so that data never expires between two runs.
struct Cadence {
  std::chrono::seconds interval{30};
  std::chrono::seconds operator_interval{300};
};

struct ClusterEvent {
  std::string type;       // "cluster.reconciled", ...
  std::string data_json;  // object, or "null"
};

// The clusters' current state as contract documents (spec/wire-and-store.md D) on any StateStore: the only place that
// knows their keys and contents. Thread-safe. Errors are those of StateStore.
//
// Every document of a cluster has a fenced writer (StateStore::Apply), so that one who was replaced spoils nothing: the
// spec is written in the role kSpec, by the hub that leads; data and status in the role kData, by whoever reads the
// cluster. The puller of the leader holds both. With a collector its stream holds kData, and the leader writes the spec
// beside it; a leader that declares such a cluster lost writes its status as of the position it read
// (WriterPosition::as_read), so that no batch is covered and no newer stream disturbed; one that reads such a cluster
// itself acquires kData first, which fences a stream that only seemed dead. A cluster is visible, by its spec, before
// it was ever reached.
class ClusterState {
 public:
  struct Options {
    std::chrono::seconds cache_ttl{600};           // CACHE_TTL
    std::chrono::seconds metrics_retention{3600};  // METRICS_RETENTION
    std::string hub_namespace;                     // several hubs in one store are told apart by it
  };
  // `store` and `clock` are borrowed and must outlive this.
  ClusterState(StateStore& store, Options options, const base::Clock& clock)
      : store_(store), options_(std::move(options)), clock_(clock) {}

  // Refuses (kFailedPrecondition) a store written by a newer version of us; marks a fresh one. Every write asks by
  // itself until it was answered once, so that a store which comes back newer than us is never written to.
  absl::Status CheckSchema();

  // Spec and labels documents and the entry in clusters:all. REQUIRES: position.role is kSpec.
  absl::StatusOr<ApplyResult> PutSpec(const WriterPosition& position, const ClusterSpec& spec);

  // One atomic step: every scope the snapshot carries (replacing it, vanished nodes and operators pruned), the status
  // document, last_update, and the events. An empty snapshot leaves the data as it is: a cluster that cannot be
  // reached. `beside`: what else belongs to the step. `data_at`: when the snapshot was true, if not now, never to come;
  // its documents and samples carry that time, status and events that of the write. REQUIRES: position.role is kData.
  absl::StatusOr<ApplyResult> Apply(const WriterPosition& position, const model::ClusterSnapshot& snapshot,
                                    const ClusterStatus& status, const Cadence& cadence,
                                    const std::vector<ClusterEvent>& events, std::vector<Write> beside = {},
                                    std::optional<base::SystemTime> data_at = {});

  // Everything Apply ever wrote from snapshots: the connection leads to another cluster now. REQUIRES: position.role is
  // kData.
  absl::StatusOr<ApplyResult> DropData(const WriterPosition& position);

  // What the status document says now; nullopt: there is none.
  absl::StatusOr<std::optional<model::Health>> ReadHealth(const std::string& cluster);

  // The holes in the cluster's history. Only the writer of its data changes them: it reads them under its epoch and
  // puts what they are then among its writes (`beside`), which also makes them the ledger's next revision. Whoever
  // writes as_read does the same with the revision it read.
  absl::StatusOr<GapLedger> ReadGaps(const std::string& cluster);
  void PutGaps(const std::string& cluster, GapLedger& ledger, std::vector<Write>& writes) const;
  // What nobody but the hub has now: to be written with, and so before, the samples that are added to it. Whoever finds
  // it asks the history store for them (HistoryWriter::Find). Of the writer of the data alone.
  static void PutHeld(const std::string& cluster, const HeldSamples& held, std::vector<Write>& writes);

  // Every key and index of the cluster; writers still at it are fenced. Publishes `cluster.deleted`. Repeatable.
  absl::Status Remove(const std::string& cluster);

  // The clusters that this hub (by its namespace) has put and not removed, sorted.
  absl::StatusOr<std::vector<std::string>> Clusters();

  absl::StatusOr<std::uint64_t> AcquireEpoch(const std::string& cluster, WriterRole role = WriterRole::kData);

  // For the other documents of a cluster that this folder knows (collector_state.h).
  absl::StatusOr<ApplyResult> WriteAs(const WriterPosition& position, const std::vector<Write>& writes);

 private:
  absl::Status EnsureSchema();

  StateStore& store_;
  const Options options_;
  const base::Clock& clock_;
  std::atomic<bool> schema_checked_{false};
};

}  // namespace clusterpulse::store
