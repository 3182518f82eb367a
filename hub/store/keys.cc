#include "hub/store/keys.h"

#include <initializer_list>

namespace clusterpulse::store::keys {
namespace {

std::string Join(std::initializer_list<std::string_view> parts) {
  std::size_t size = 0;
  for (const std::string_view part : parts) size += part.size();
  std::string key;
  key.reserve(size);
  for (const std::string_view part : parts) key.append(part);
  return key;
}

}  // namespace

std::string ClusterPrefix(std::string_view cluster) { return Join({"cluster:", cluster, ":"}); }
std::string Cluster(std::string_view cluster, std::string_view document) {
  return Join({"cluster:", cluster, ":", document});
}
std::string NodePrefix(std::string_view cluster) { return Join({"cluster:", cluster, ":node:"}); }
std::string Node(std::string_view cluster, std::string_view node) {
  return Join({"cluster:", cluster, ":node:", node});
}
std::string NodeMetrics(std::string_view cluster, std::string_view node) {
  return Join({"cluster:", cluster, ":node:", node, kNodeMetricsSuffix});
}
std::string ClusterOperatorPrefix(std::string_view cluster) {
  return Join({"cluster:", cluster, ":cluster_operator:"});
}
std::string ClusterOperatorIndex(std::string_view cluster) { return Cluster(cluster, "cluster_operators:set"); }
std::string Writer(std::string_view cluster, WriterRole role) {
  switch (role) {
    case WriterRole::kData:
      return Cluster(cluster, "writer");
    case WriterRole::kSpec:
      return Cluster(cluster, "spec_writer");
  }
  return {};
}
std::string Collector(std::string_view cluster) { return Cluster(cluster, "collector"); }
std::string CollectorRefused(std::string_view cluster) { return Cluster(cluster, "collector:refused"); }
std::string Push(std::string_view cluster) { return Cluster(cluster, "push"); }
std::string Gaps(std::string_view cluster) { return Cluster(cluster, "gaps"); }
std::string CollectorHints(std::string_view hub_namespace) { return Join({"clusterpulse:collectors:", hub_namespace}); }
std::string ClustersOfHub(std::string_view hub_namespace) { return Join({"clusterpulse:clusters:", hub_namespace}); }
std::string Source(std::string_view ns, std::string_view name) { return Join({"metricsource:", ns, ":", name}); }
std::string SourceMeta(std::string_view ns, std::string_view name) {
  return Join({"metricsource:", ns, ":", name, ":meta"});
}
std::string SourcesByType(std::string_view resource_type) {
  return Join({"metricsources:by:resourcetype:", resource_type});
}
std::string SourceResultsPrefix(std::string_view cluster) { return Join({"cluster:", cluster, ":custom:"}); }
std::string SourceResult(std::string_view cluster, std::string_view source, std::string_view document) {
  return Join({"cluster:", cluster, ":custom:", source, ":", document});
}
std::string Events(std::string_view name) { return Join({"events:", name}); }
std::string Lease(std::string_view name) { return Join({"clusterpulse:lease:", name}); }

}  // namespace clusterpulse::store::keys
