#pragma once

#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include <absl/status/statusor.h>

#include "common/base/clock.h"
#include "common/model/cluster.h"
#include "common/model/health.h"
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
class ClusterState {
 public:
  struct Options {
    std::chrono::seconds cache_ttl{600};           // CACHE_TTL
    std::chrono::seconds metrics_retention{3600};  // METRICS_RETENTION
  };
  // `store` and `clock` are borrowed and must outlive this.
  ClusterState(StateStore& store, Options options, const base::Clock& clock)
      : store_(store), options_(options), clock_(clock) {}

  // Refuses (kFailedPrecondition) a store written by a newer version of us; marks a fresh one. Every write asks by
  // itself until it was answered once, so that a store which comes back newer than us is never written to.
  absl::Status CheckSchema();

  // Spec and labels documents and the entry in clusters:all, so that a cluster is visible before it was ever reached.
  absl::Status PutSpec(const std::string& cluster, const ClusterSpec& spec);

  // One atomic step: every scope the snapshot carries (replacing it, vanished nodes and operators pruned), the status
  // document, last_update, and the events, while `position` is the writer.
  absl::StatusOr<ApplyResult> Apply(const WriterPosition& position, const model::ClusterSnapshot& snapshot,
                                    const ClusterStatus& status, const Cadence& cadence,
                                    const std::vector<ClusterEvent>& events);

  // Status alone (and events), also without being the writer: a cluster that cannot be reached.
  absl::Status PutStatus(const std::string& cluster, const ClusterStatus& status,
                         const std::vector<ClusterEvent>& events);

  // Every key and index of the cluster; a writer still at it is fenced. Publishes `cluster.deleted`. Repeatable.
  absl::Status Remove(const std::string& cluster);

  absl::StatusOr<std::uint64_t> AcquireEpoch(const std::string& cluster);

 private:
  absl::Status EnsureSchema();

  StateStore& store_;
  const Options options_;
  const base::Clock& clock_;
  std::atomic<bool> schema_checked_{false};
};

}  // namespace clusterpulse::store
