#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

#include "common/base/clock.h"
#include "common/model/batch.h"
#include "hub/store/state_store.h"

namespace clusterpulse::store {

// A MetricSource as readers and collectors find it: metricsource:NS:M, its meta, and the indexes.
struct SourceDefinition {
  std::string ns, name;
  std::string json;  // spec/wire-and-store.md D.9
  base::SystemTime compiled_at{};
  std::string hash, kind, api_version;
  std::string resource_type;  // rbac.resourceTypeName; empty: no index
  // Ours: of the object, and its spec.clusters as JSON ("null": all). Empty: an upstream hub wrote it.
  std::string uid, clusters_json;
  bool operator==(const SourceDefinition&) const = default;
};

// How the last run of a source on a cluster went: cluster:C:custom:NS/M:meta.
struct SourceRun {
  base::SystemTime collected_at{};  // of the rows that are stored; zero: there were none
  std::chrono::milliseconds duration{0};
  std::int64_t resources = 0;
  bool truncated = false;
  std::int64_t errors = 0;
  // Ours: of the last run, whether it gave rows or not.
  base::SystemTime ran_at{};
  std::string definition_hash;  // empty: an upstream collector's
  std::string failure, message;
  std::vector<model::SourceField> fields;
  bool operator==(const SourceRun&) const = default;
};

// Definitions of MetricSources and what they gave, as contract documents (D.9, D.10) on any StateStore: the only place
// that knows their keys and contents. Thread-safe. Errors are those of StateStore.
//
// A definition is written by the hub that leads. Results are documents of a cluster, so whoever writes them is its
// writer in the role kData: here are only the writes.
class SourceState {
 public:
  // `store` is borrowed and must outlive this. `cache_ttl`: CACHE_TTL, how long results live at least.
  SourceState(StateStore& store, std::chrono::seconds cache_ttl) : store_(store), cache_ttl_(cache_ttl) {}

  // Definition, meta and indexes; an index of another resource type than before loses it.
  absl::Status PutDefinition(const SourceDefinition& definition);
  // All of PutDefinition, and the results of `clusters`. Repeatable.
  absl::Status Remove(const std::string& ns, const std::string& name, const std::vector<std::string>& clusters);
  // "<ns>/<name>" of all that are stored, sorted.
  absl::StatusOr<std::vector<std::string>> Definitions();
  // Nullopt: there is none.
  absl::StatusOr<std::optional<SourceDefinition>> ReadDefinition(const std::string& ns, const std::string& name);

  // What a run gave: rows, aggregations and meta; of one that failed only the meta, beside what the stored one says of
  // the rows that stay, unless those are of another version of the source: then they go. `at`: when it ran. Documents
  // outlive three intervals. REQUIRES: values_json of each row, and aggregations_json, are JSON objects or empty.
  struct ResultWrite {
    std::vector<Write> writes;
    bool is_news = false;  // the stored run is of another version, or went otherwise, or there is none
  };
  absl::StatusOr<ResultWrite> WriteOf(const std::string& cluster, const model::SourceResult& result,
                                      base::SystemTime at, std::chrono::seconds interval);
  // The cluster has the source no more.
  static std::vector<Write> DropWrites(const std::string& cluster, const std::string& source);
  absl::Status Drop(const std::string& cluster, const std::string& source) {
    return store_.Commit(DropWrites(cluster, source));
  }

  // Of one source on each of the clusters, in their order; nullopt: it never ran there, or long ago.
  absl::StatusOr<std::vector<std::optional<SourceRun>>> ReadRuns(const std::string& source,
                                                                 const std::vector<std::string>& clusters);

  // On the channel metricsource-events (D.11). `data_json`: an object, or "null".
  absl::Status PublishEvent(std::string_view type, const std::string& source, std::string_view data_json,
                            base::SystemTime now);

 private:
  StateStore& store_;
  const std::chrono::seconds cache_ttl_;
};

}  // namespace clusterpulse::store
