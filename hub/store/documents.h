#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/clock.h"
#include "common/model/cluster.h"
#include "common/model/health.h"
#include "hub/store/cluster_state.h"

// The JSON documents and hash fields of spec/wire-and-store.md D.3-D.6 and D.11, byte for byte: pure functions from
// model values to text. `now` is the text of the time the values are of (base::FormatSeconds). Documents that upstream
// makes from maps have their keys in byte order, the others in the order of the spec's tables.
namespace clusterpulse::store::documents {

using Fields = std::vector<std::pair<std::string, std::string>>;

// D.3
std::string Spec(const ClusterSpec& spec);
std::string LabelsOf(const model::Labels& labels);
std::string Status(const ClusterStatus& status, std::string_view now);
// The reverse, of the word and of the document; unknown for anything else.
model::Health HealthOf(std::string_view word);
model::Health ReadHealth(std::string_view status_json);
// A version or platform that is not known has no member, as upstream's pull mode writes it.
std::string Info(const model::ClusterInfo& info);
std::string Namespaces(const std::vector<std::string>& namespaces, std::string_view now);
// What one pass does not know (deployments, namespaces) comes from the document before it; what neither knows is left
// out, since 0 would be a statement.
struct CarriedCounts {
  std::optional<std::int64_t> deployments, namespaces;
};
std::string Metrics(const model::ClusterCounts& counts, const CarriedCounts& carried, std::string_view now);
// Absent: what `metrics_json` does not hold; all of it when that is no document.
CarriedCounts ReadCarriedCounts(std::string_view metrics_json);

// D.4
Fields NodeHash(const model::Node& node, std::string_view now);
std::string NodeCurrent(const model::Node& node, std::string_view now);
std::string NodeSample(const model::Node& node, std::string_view now);
std::string NodesSummary(const std::vector<model::Node>& nodes, std::string_view now);

// D.5. available_in_namespaces is cut to 20 as the contract says; all_available_namespaces then has them all.
std::string Operators(const std::vector<model::OlmOperator>& operators, std::string_view now);
std::string OperatorsSummary(const std::vector<model::OlmOperator>& operators);

// D.6
std::string ClusterOperators(const std::vector<model::ClusterOperator>& operators);
std::string ClusterOperatorsSummary(const std::vector<model::ClusterOperator>& operators, std::string_view now);
std::string ClusterOperator(const model::ClusterOperator& op, std::string_view now);

// D.11
std::string Event(std::string_view type, std::string_view cluster, std::string_view data_json, std::string_view now);

}  // namespace clusterpulse::store::documents
