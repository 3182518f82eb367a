#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/mutex.h"
#include "common/metricsource/diagnostics.h"
#include "common/metricsource/source.h"
#include "common/metricsource/spec.h"
#include "common/model/labels.h"
#include "hub/reconcile/metricsource/metric_source.h"
#include "hub/store/source_state.h"

namespace clusterpulse::reconcile {

// One MetricSource as this replica sees it. Immutable.
struct CatalogEntry {
  std::string id;  // "<ns>/<name>"
  std::string uid;
  std::int64_t generation = 0;
  bool enabled = true;                                 // spec.enabled is not false, and the object is not being deleted
  metricsource::Diagnostics problems;                  // of this generation
  metricsource::ClusterSelector clusters;              // of the generation `source` is of
  std::shared_ptr<const metricsource::Source> source;  // null: no generation was ever valid, as far as is known
  bool is_current = false;                             // `source` is of this generation
  bool is_sought = false;                              // the store was asked for a version from before this process
  std::string definition;                              // what collectors are given; empty with a null source
  std::string clusters_json;                           // `clusters` as written

  // No valid version is known, and there may be one from before this process.
  bool LacksVersion() const { return enabled && source == nullptr && !is_sought; }
  // It is to be collected there.
  bool IsFor(std::string_view cluster, const model::Labels& labels) const {
    return enabled && source != nullptr && clusters.Matches(cluster, labels);
  }
};

// The MetricSources of the watched namespace, compiled. Every replica has one, fed by its watch, and so all give
// collectors the same. A generation that does not compile leaves the one before in force. Thread-safe.
class SourceCatalog {
 public:
  using Entry = std::shared_ptr<const CatalogEntry>;

  // Of all definitions that one collector is given, in one message, in bytes.
  static constexpr std::size_t kMostDefinitionBytes = std::size_t{3} << 20;

  // Takes over what the watch cache has now; null: the object is gone. Compiles only what is new. True when what some
  // cluster should collect has changed.
  bool Update(const kube::ObjectKey& key, const MetricSource* object);

  // Those that lack a version.
  std::vector<Entry> WithoutVersion() const;
  // Puts the version that the store has, if it is one of the same object, in force for an entry of WithoutVersion. True
  // when that was done; nothing is when the entry was replaced meanwhile.
  bool Recover(const Entry& entry, const std::optional<store::SourceDefinition>& stored);

  // Null: there is none.
  Entry Find(std::string_view id) const;
  std::vector<Entry> All() const;  // by id
  // Those that are to be collected from the cluster, by id.
  std::vector<Entry> For(std::string_view cluster, const model::Labels& labels) const;
  // Those of them that its collector is given: the first that have room in a message.
  std::vector<Entry> GivenTo(std::string_view cluster, const model::Labels& labels) const;
  bool IsLeftOut(const CatalogEntry& entry, std::string_view cluster, const model::Labels& labels) const;
  // Ids of the others with its rbac.resourceTypeName, of which readers get any one.
  std::vector<std::string> Namesakes(const CatalogEntry& entry) const;

 private:
  void PutLocked(Entry entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void EraseLocked(const std::string& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable base::Mutex mu_;
  std::map<std::string, Entry, std::less<>> entries_ ABSL_GUARDED_BY(mu_);
  std::size_t definition_bytes_ ABSL_GUARDED_BY(mu_) = 0;  // of all
};

}  // namespace clusterpulse::reconcile
