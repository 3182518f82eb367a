#include "hub/history/series.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <span>

namespace clusterpulse::history {
namespace {

using model::ClusterCounts;
using model::ClusterOperator;
using model::Node;

// One series of a scope and where its value is.
template <typename T>
struct Row {
  MetricName name;
  Number (*value)(const T&);
};

constexpr Row<ClusterCounts> kClusterRows[] = {
    {"clusterpulse_cluster_nodes_total", [](const ClusterCounts& c) -> Number { return c.nodes; }},
    {"clusterpulse_cluster_nodes_ready", [](const ClusterCounts& c) -> Number { return c.nodes_ready; }},
    {"clusterpulse_cluster_pods_total", [](const ClusterCounts& c) -> Number { return c.pods; }},
    {"clusterpulse_cluster_pods_running", [](const ClusterCounts& c) -> Number { return c.pods_running; }},
    {"clusterpulse_cluster_cpu_capacity", [](const ClusterCounts& c) -> Number { return c.cpu_capacity; }},
    {"clusterpulse_cluster_memory_capacity_bytes", [](const ClusterCounts& c) -> Number { return c.memory_capacity; }},
};

constexpr Row<Node> kNodeRows[] = {
    {"clusterpulse_node_cpu_usage_percent", [](const Node& n) -> Number { return n.cpu_usage_percent; }},
    {"clusterpulse_node_memory_usage_percent", [](const Node& n) -> Number { return n.memory_usage_percent; }},
    {"clusterpulse_node_pods_total", [](const Node& n) -> Number { return n.pods.total; }},
    {"clusterpulse_node_pods_running", [](const Node& n) -> Number { return n.pods.running; }},
    {"clusterpulse_node_cpu_capacity", [](const Node& n) -> Number { return n.cpu_capacity; }},
    {"clusterpulse_node_memory_capacity_bytes", [](const Node& n) -> Number { return n.memory_capacity; }},
    {"clusterpulse_node_storage_capacity_bytes", [](const Node& n) -> Number { return n.storage_capacity; }},
    {"clusterpulse_node_pods_capacity", [](const Node& n) -> Number { return n.pods_capacity; }},
    {"clusterpulse_node_cpu_allocatable", [](const Node& n) -> Number { return n.cpu_allocatable; }},
    {"clusterpulse_node_memory_allocatable_bytes", [](const Node& n) -> Number { return n.memory_allocatable; }},
    {"clusterpulse_node_storage_allocatable_bytes", [](const Node& n) -> Number { return n.storage_allocatable; }},
    {"clusterpulse_node_pods_allocatable", [](const Node& n) -> Number { return n.pods_allocatable; }},
    {"clusterpulse_node_cpu_requested", [](const Node& n) -> Number { return n.pods.cpu_requested; }},
    {"clusterpulse_node_memory_requested_bytes", [](const Node& n) -> Number { return n.pods.memory_requested; }},
    {"clusterpulse_node_pods_pending", [](const Node& n) -> Number { return n.pods.pending; }},
    {"clusterpulse_node_pods_failed", [](const Node& n) -> Number { return n.pods.failed; }},
    {"clusterpulse_node_pods_succeeded", [](const Node& n) -> Number { return n.pods.succeeded; }},
};

constexpr Row<ClusterOperator> kClusterOperatorRows[] = {
    {"clusterpulse_cluster_operator_available", [](const ClusterOperator& o) -> Number { return int{o.available}; }},
    {"clusterpulse_cluster_operator_progressing",
     [](const ClusterOperator& o) -> Number { return int{o.progressing}; }},
    {"clusterpulse_cluster_operator_degraded", [](const ClusterOperator& o) -> Number { return int{o.degraded}; }},
    {"clusterpulse_cluster_operator_upgradeable",
     [](const ClusterOperator& o) -> Number { return int{o.upgradeable}; }},
};

constexpr MetricName kNamespaces = "clusterpulse_cluster_namespaces_total";
constexpr MetricName kDeployments = "clusterpulse_cluster_deployments_total";
constexpr MetricName kOperatorInstalled = "clusterpulse_operator_installed";
constexpr MetricName kOperators = "clusterpulse_cluster_operators_total";
constexpr MetricName kClusterOperators = "clusterpulse_cluster_operators_count";
constexpr std::string_view kAggregationPrefix = "clusterpulse_custom_resource_";

template <typename T>
constexpr bool AllValid(std::span<const Row<T>> rows) {
  return std::all_of(rows.begin(), rows.end(), [](const Row<T>& row) { return row.name.is_valid(); });
}
static_assert(AllValid<ClusterCounts>(kClusterRows) && AllValid<Node>(kNodeRows) &&
              AllValid<ClusterOperator>(kClusterOperatorRows));

template <typename T>
void Samples(std::span<const Row<T>> rows, const T& from, SampleSink& sink) {
  for (const Row<T>& row : rows) sink.Sample(row.name, row.value(from));
}

std::int64_t SizeOf(const auto& list) { return static_cast<std::int64_t>(list.size()); }

void OperatorSamples(const model::Batch& batch, SampleSink& sink) {
  const auto& operators = batch.snapshot.operators;
  const auto& cluster_operators = batch.snapshot.cluster_operators;
  if ((!operators || operators->empty()) && (!cluster_operators || cluster_operators->empty())) return;
  if (operators) {
    for (const model::OlmOperator& installed : *operators) {
      sink.Labels(batch.cluster, "operator", installed.name);
      sink.Sample(kOperatorInstalled, 1);
    }
  }
  if (cluster_operators) {
    for (const ClusterOperator& part : *cluster_operators) {
      sink.Labels(batch.cluster, "operator", part.name);
      Samples<ClusterOperator>(kClusterOperatorRows, part, sink);
    }
  }
  sink.Labels(batch.cluster, "", "");
  // A numbered batch may be one of several of the same moment, and another one has the list that is missing here.
  const bool is_whole = batch.seq == 0;
  if (operators || is_whole) sink.Sample(kOperators, operators ? SizeOf(*operators) : 0);
  if (cluster_operators || is_whole) {
    sink.Sample(kClusterOperators, cluster_operators ? SizeOf(*cluster_operators) : 0);
  }
}

// With every character that the name of a series cannot have replaced.
std::string AggregationName(std::string_view aggregation) {
  std::string name(kAggregationPrefix);
  name.append(aggregation);
  for (std::size_t i = kAggregationPrefix.size(); i < name.size(); ++i) {
    if (!IsMetricName({&name[i], 1}) && !(name[i] >= '0' && name[i] <= '9')) name[i] = '_';
  }
  return name;
}

void AggregationSamples(const std::string& cluster, const model::SourceResult& result, SampleSink& sink) {
  if (result.aggregations.empty()) return;
  sink.Labels(cluster, "source", result.source);
  sink.Earlier(result.age);
  std::set<std::string> altered;
  for (const auto& [aggregation, value] : result.aggregations) {
    const std::string name = AggregationName(aggregation);
    const std::string_view plain = std::string_view(name).substr(kAggregationPrefix.size());
    // One whose name is valid as it is has it for itself.
    const bool taken =
        plain != aggregation && (result.aggregations.contains(std::string(plain)) || !altered.insert(name).second);
    taken ? sink.Ambiguous(aggregation) : sink.Sample(MetricName(name), value);
  }
}

}  // namespace

void ForEachSample(const model::Batch& batch, SampleSink& sink) {
  const model::ClusterSnapshot& snapshot = batch.snapshot;
  sink.Labels(batch.cluster, "", "");
  if (snapshot.counts) {
    Samples<ClusterCounts>(kClusterRows, *snapshot.counts, sink);
    if (snapshot.counts->deployments) sink.Sample(kDeployments, *snapshot.counts->deployments);
  }
  if (snapshot.namespaces) {
    sink.Sample(kNamespaces, SizeOf(*snapshot.namespaces));
  } else if (snapshot.counts && snapshot.counts->namespaces) {
    sink.Sample(kNamespaces, *snapshot.counts->namespaces);
  }
  if (snapshot.nodes) {
    for (const Node& node : *snapshot.nodes) {
      sink.Labels(batch.cluster, "node", node.name);
      Samples<Node>(kNodeRows, node, sink);
    }
  }
  OperatorSamples(batch, sink);
  for (const model::SourceResult& result : batch.sources) AggregationSamples(batch.cluster, result, sink);
}

std::int64_t StampOf(const model::Batch& batch) {
  return std::chrono::floor<std::chrono::milliseconds>(batch.collected_at.time_since_epoch()).count();
}

}  // namespace clusterpulse::history
