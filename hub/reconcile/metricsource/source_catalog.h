#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/mutex.h"
#include "common/metricsource/diagnostics.h"
#include "common/metricsource/source.h"
#include "common/metricsource/spec.h"
#include "common/model/labels.h"
#include "hub/reconcile/metricsource/metric_source.h"

namespace clusterpulse::reconcile {

// One MetricSource as this replica sees it. Immutable.
struct CatalogEntry {
  std::string id;  // "<ns>/<name>"
  std::string uid;
  std::int64_t generation = 0;
  bool enabled = true;                                 // spec.enabled is not false, and the object is not being deleted
  metricsource::Diagnostics problems;                  // of this generation
  metricsource::ClusterSelector clusters;              // of the generation `source` is of
  std::shared_ptr<const metricsource::Source> source;  // null: no generation was ever valid, as far as this process saw
  bool is_current = false;                             // `source` is of this generation
  std::string definition;                              // what collectors are given; empty with a null source

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

  // Takes over what the watch cache has now; null: the object is gone. Compiles only what is new. True when what some
  // cluster should collect has changed.
  bool Update(const kube::ObjectKey& key, const MetricSource* object);

  // Null: there is none.
  Entry Find(std::string_view id) const;
  std::vector<Entry> All() const;  // by id
  // Those that are to be collected from the cluster, by id.
  std::vector<Entry> For(std::string_view cluster, const model::Labels& labels) const;

 private:
  mutable base::Mutex mu_;
  std::map<std::string, Entry, std::less<>> entries_ ABSL_GUARDED_BY(mu_);
};

}  // namespace clusterpulse::reconcile
