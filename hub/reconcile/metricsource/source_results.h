#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>

#include "common/model/labels.h"
#include "hub/ingest/ports.h"
#include "hub/reconcile/metricsource/source_catalog.h"

namespace clusterpulse::reconcile {

// Looks through what collectors send of MetricSources. Only what a source of the catalog asks of the cluster stays. Of
// a collector of ours, which ran the same engine, the JSON is checked; for an upstream one, which computes nothing and
// leaves no namespace out, the rows are completed and aggregated here. Thread-safe.
class CheckedResults final : public ingest::SourceResults {
 public:
  // `catalog` is borrowed and must outlive this. `labels`: spec.labels of a cluster; nullopt: there is none of the
  // name.
  CheckedResults(const SourceCatalog& catalog,
                 std::function<std::optional<model::Labels>(const std::string& cluster)> labels)
      : catalog_(catalog), labels_(std::move(labels)) {}

  std::size_t Complete(model::Batch& batch) const override;
  std::chrono::seconds Interval(const std::string& source) const override;

 private:
  const SourceCatalog& catalog_;
  const std::function<std::optional<model::Labels>(const std::string&)> labels_;
};

}  // namespace clusterpulse::reconcile
