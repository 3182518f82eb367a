#include "hub/reconcile/cluster/cluster_directory.h"

#include <fmt/format.h>

#include "hub/reconcile/cluster/health.h"
#include "hub/reconcile/cluster/token.h"

namespace clusterpulse::reconcile {
namespace {

constexpr std::size_t kLongestRefusal = 300;

std::string RefusalOf(const ClusterConnection& connection, const Judgement& judgement) {
  if (connection.meta.deleting()) return "is being deleted";
  if (!judgement.problems.empty()) return Cut("has an invalid spec: " + judgement.problems.front(), kLongestRefusal);
  if (judgement.mode != model::CollectionMode::kPush) return "is in pull mode";
  if (IsPaused(connection)) return "is paused";
  return {};
}

// Names the content, so that a collector is told only what is new to it, whichever replica it talks to.
std::string HashOf(const model::CollectorConfig& config) {
  std::string text = fmt::format("{};{};{};{}", config.interval.count(), config.operator_interval.count(),
                                 config.max_nodes, config.max_bytes_per_second);
  for (const std::string& source : config.metric_sources) text += fmt::format(";{}:{}", source.size(), source);
  return Hex(DigestOf(text), 16);
}

}  // namespace

std::optional<ingest::ClusterPolicy> ClusterPolicies::Find(const std::string& cluster) const {
  const std::optional<ClusterConnection> connection = connection_(cluster);
  if (!connection.has_value()) return std::nullopt;
  const Judgement judgement = JudgeSpec(connection->spec, options_.defaults);
  ingest::ClusterPolicy policy;
  policy.uid = connection->meta.uid;
  policy.refusal = RefusalOf(*connection, judgement);
  policy.limits = options_.limits;
  if (connection->spec.interval_seconds > 0) policy.config.interval = judgement.timing.interval;
  policy.config.operator_interval = options_.operator_interval;
  policy.config.max_nodes = options_.limits.max_nodes;
  policy.config.max_bytes_per_second = options_.limits.max_bytes_per_second;
  if (sources_) policy.config.metric_sources = sources_(cluster, connection->spec.labels);
  policy.config.hash = HashOf(policy.config);
  return policy;
}

}  // namespace clusterpulse::reconcile
