#include "collector/link/history_part.h"

#include <cstdint>

namespace clusterpulse::link {
namespace {

model::Node Numbers(const model::Node& from) {
  model::Node to;
  to.name = from.name;
  to.status = from.status;
  to.cpu_capacity = from.cpu_capacity;
  to.cpu_allocatable = from.cpu_allocatable;
  to.memory_capacity = from.memory_capacity;
  to.memory_allocatable = from.memory_allocatable;
  to.storage_capacity = from.storage_capacity;
  to.storage_allocatable = from.storage_allocatable;
  to.pods_capacity = from.pods_capacity;
  to.pods_allocatable = from.pods_allocatable;
  to.pods = from.pods;
  to.cpu_usage_percent = from.cpu_usage_percent;
  to.memory_usage_percent = from.memory_usage_percent;
  return to;
}

model::ClusterOperator Signs(const model::ClusterOperator& from) {
  model::ClusterOperator to;
  to.name = from.name;
  to.available = from.available;
  to.progressing = from.progressing;
  to.degraded = from.degraded;
  to.upgradeable = from.upgradeable;
  return to;
}

}  // namespace

model::Batch HistoryPart(const model::Batch& batch) {
  model::Batch out;
  out.cluster = batch.cluster;
  out.id = batch.id;
  out.collected_at = batch.collected_at;
  out.interval = batch.interval;
  out.gaps = batch.gaps;
  const model::ClusterSnapshot& from = batch.snapshot;
  model::ClusterSnapshot& to = out.snapshot;
  to.counts = from.counts;
  // A cluster without any does not exist, and the wire has no word for it.
  if (from.namespaces.has_value() && !from.namespaces->empty() && to.counts.has_value()) {
    to.counts->namespaces = static_cast<std::int32_t>(from.namespaces->size());
  }
  if (from.nodes.has_value()) {
    to.nodes.emplace().reserve(from.nodes->size());
    for (const model::Node& node : *from.nodes) to.nodes->push_back(Numbers(node));
  }
  if (from.operators.has_value()) {
    to.operators.emplace().reserve(from.operators->size());
    for (const model::OlmOperator& op : *from.operators) to.operators->push_back(model::OlmOperator{.name = op.name});
  }
  if (from.cluster_operators.has_value()) {
    to.cluster_operators.emplace().reserve(from.cluster_operators->size());
    for (const model::ClusterOperator& op : *from.cluster_operators) to.cluster_operators->push_back(Signs(op));
  }
  for (const model::SourceResult& source : batch.sources) {
    if (source.aggregations.empty()) continue;
    model::SourceResult& numbers = out.sources.emplace_back();
    numbers.source = source.source;
    numbers.aggregations = source.aggregations;
    numbers.age = source.age;
  }
  return out;
}

}  // namespace clusterpulse::link
