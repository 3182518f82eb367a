#pragma once

#include <string>

#include "common/model/batch.h"

namespace clusterpulse::history {

// A batch of `nodes` nodes and nothing else: 17 samples a node.
inline model::Batch NodeBatch(const std::string& cluster, int nodes, base::SystemTime at) {
  model::Batch batch;
  batch.cluster = cluster;
  batch.collected_at = at;
  std::vector<model::Node> list(static_cast<std::size_t>(nodes));
  for (int i = 0; i < nodes; ++i) {
    model::Node& node = list[static_cast<std::size_t>(i)];
    node.name = "worker-" + std::to_string(i) + ".example.com";
    node.cpu_capacity = 16;
    node.cpu_allocatable = 15.5;
    node.memory_capacity = 67'430'170'624 - 4096LL * i;
    node.memory_allocatable = 66'353'446'912 - 4096LL * i;
    node.storage_capacity = 107'374'182'400;
    node.storage_allocatable = 98'956'046'499;
    node.pods_capacity = node.pods_allocatable = 110;
    node.pods = {.running = 30 + i % 50,
                 .pending = i % 3,
                 .failed = 0,
                 .succeeded = i % 7,
                 .total = 40 + i % 50,
                 .cpu_requested = 3.25 + 0.01 * i,
                 .memory_requested = 8'589'934'592 + 1'048'576LL * i};
    node.cpu_usage_percent = 20.96774193548387 + 0.0645161290322581 * i;
    node.memory_usage_percent = 12.945664184 + 0.00158 * i;
  }
  batch.snapshot.nodes = std::move(list);
  return batch;
}
inline constexpr std::size_t kSamplesOfNode = 17;

// One sample: clusterpulse_cluster_namespaces_total.
inline model::Batch SmallBatch(const std::string& cluster, base::SystemTime at, int namespaces = 1) {
  model::Batch batch;
  batch.cluster = cluster;
  batch.collected_at = at;
  batch.snapshot.namespaces.emplace(static_cast<std::size_t>(namespaces), "x");
  return batch;
}

}  // namespace clusterpulse::history
