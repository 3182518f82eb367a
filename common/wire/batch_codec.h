#pragma once

#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

#include "clusterpulse/collector/v1/collector.pb.h"
#include "common/model/batch.h"

// MetricsBatch <-> model::Batch. Stateless.
namespace clusterpulse::wire {

namespace v1 = ::clusterpulse::collector::v1;

// Checks everything a peer can get wrong: numbers finite and not negative, names such as Kubernetes gives them and
// unique in their list, times between 1970 and 2262. (protobuf's own parser has refused text that is not UTF-8.)
// kInvalidArgument names the field: "node_metrics[3].cpu_capacity: not a finite number". The message's own size bounds
// everything else.
//
// Scopes: those listed in `scopes`; in a batch without seq and `scopes` (upstream) those it carries, with upstream's
// meaning: namespaces come with cluster_metrics, an empty list of anything says nothing. A part carries the scope of
// its list.
absl::StatusOr<model::Batch> Decode(const v1::MetricsBatch& message);
// The same with the bytes of each NodeMetrics in place of `message.node_metrics`, which then cost no objects of
// protobuf's. Bytes that are no node are found only when they are of this batch's scopes.
absl::StatusOr<model::Batch> Decode(const v1::MetricsBatch& message, const std::vector<std::string_view>& nodes);
// All of it but snapshot and sources, for which the message needs none of its lists.
absl::Status DecodeHead(const v1::MetricsBatch& message, model::Batch& batch);

// Overwrites `out`, with nothing that Decode refuses: what is no number or negative goes as 0, a time of a condition
// outside those bounds as none, an aggregation that is no number not at all. Names are taken as Kubernetes made them.
// The snapshot's deployments, when absent, go as unknown.
void Encode(const model::Batch& batch, v1::MetricsBatch& out);

}  // namespace clusterpulse::wire
