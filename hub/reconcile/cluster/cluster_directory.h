#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "hub/ingest/ports.h"
#include "hub/reconcile/cluster/cluster_connection.h"

namespace clusterpulse::reconcile {

// The ClusterConnection of that name, as a watch cache has it.
using ConnectionLookup = std::function<std::optional<ClusterConnection>(const std::string& cluster)>;

// What the hub wants of a cluster's collector, out of its ClusterConnection. Thread-safe; answers from memory.
class ClusterPolicies final : public ingest::ClusterDirectory {
 public:
  struct Options {
    Timing defaults;                              // of JudgeSpec
    std::chrono::seconds operator_interval{300};  // OPERATOR_SCAN_INTERVAL
    ingest::Limits limits;
  };
  // The definitions of MetricSources that a cluster of these labels should run, in a stable order.
  using Sources = std::function<std::vector<std::string>(const std::string& cluster, const model::Labels& labels)>;
  // `sources` may be empty: none.
  ClusterPolicies(ConnectionLookup connection, Options options, Sources sources = {})
      : connection_(std::move(connection)), options_(options), sources_(std::move(sources)) {}

  // A collector is wanted of a valid object in push mode that is neither paused nor being deleted. Its interval is that
  // of the spec, at least 30 s; 0 (the collector's own) when the spec does not say.
  std::optional<ingest::ClusterPolicy> Find(const std::string& cluster) const override;

 private:
  const ConnectionLookup connection_;
  const Options options_;
  const Sources sources_;
};

}  // namespace clusterpulse::reconcile
