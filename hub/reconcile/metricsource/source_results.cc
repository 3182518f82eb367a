#include "hub/reconcile/metricsource/source_results.h"

#include <algorithm>
#include <utility>

#include "common/base/status.h"
#include "common/json/validate.h"
#include "common/metricsource/collect.h"

namespace clusterpulse::reconcile {
namespace {

// Of a run that gave nothing that can be used.
void Refuse(std::string message, model::SourceResult& result) {
  result.rows.clear();
  result.aggregations.clear();
  result.aggregations_json.clear();
  result.fields.clear();
  result.failure = "InvalidAnswer";
  result.message = std::move(message);
  result.errors = 1;
}

// As the run of an upstream collector would have ended here.
void CompleteRows(const metricsource::Source& source, base::SystemTime now, model::SourceResult& result) {
  const absl::Status status = metricsource::CompleteResult(source, now, result);
  if (status.ok()) return;
  result.definition_hash = source.hash;  // what an earlier run gave stays
  Refuse(base::Message(status), result);
}

void Check(model::SourceResult& result) {
  const auto is_broken = [](const model::SourceRow& row) {
    return !row.values_json.empty() && !json::IsObject(row.values_json);
  };
  if (const auto broken = std::find_if(result.rows.begin(), result.rows.end(), is_broken);
      broken != result.rows.end()) {
    return Refuse("the values of " + broken->id + " are no JSON object", result);
  }
  if (!result.aggregations_json.empty() && !json::IsObject(result.aggregations_json)) {
    Refuse("the aggregations are no JSON object", result);
  }
}

}  // namespace

std::size_t CheckedResults::Complete(model::Batch& batch) const {
  if (batch.sources.empty()) return 0;
  const std::optional<model::Labels> labels = labels_(batch.cluster);
  std::vector<model::SourceResult> wanted;
  const std::size_t all = batch.sources.size();
  for (model::SourceResult& result : batch.sources) {
    const SourceCatalog::Entry entry = catalog_.Find(result.source);
    if (entry == nullptr || !labels.has_value() || !entry->IsFor(batch.cluster, *labels)) continue;
    if (!batch.history_only) {
      if (result.definition_hash.empty()) {
        CompleteRows(*entry->source, batch.collected_at, result);
      } else {
        Check(result);
      }
    }
    wanted.push_back(std::move(result));
  }
  batch.sources = std::move(wanted);
  return all - batch.sources.size();
}

std::chrono::seconds CheckedResults::Interval(const std::string& source) const {
  const SourceCatalog::Entry entry = catalog_.Find(source);
  return entry != nullptr && entry->source != nullptr ? entry->source->collection.interval : std::chrono::seconds(60);
}

}  // namespace clusterpulse::reconcile
