#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <absl/status/statusor.h>

#include "common/kube/kube_api.h"
#include "common/model/cluster.h"
#include "common/survey/amount.h"
#include "common/survey/pod_tally.h"

// Reads one cluster through KubeApi into model values: what the puller (hub) writes and the collector sends. The
// formulas are those of spec/wire-and-store.md B.5-B.9 with the listed defects corrected. Each function is one
// independent read, so that callers run them in parallel and a failure of one leaves the others alone. All are
// stateless and thread-safe (given a thread-safe KubeApi); all pages are projected as they are decoded, so memory is
// O(nodes + one page).
//
// Errors are those of KubeApi with what was being listed put in front. ReadOperators and ReadClusterOperators: a
// resource that the cluster does not serve (404 or 403 on the collection, and discovery, asked anew, does not know the
// kind: no OLM, no OpenShift) is an empty list and not an error. A 404 of a kind that discovery knows is an error: its
// definition is being replaced, and nothing is known about its objects. Fields of a wrong type count as absent and
// objects without a name are left out.
namespace clusterpulse::survey {

struct NodesRead {
  std::vector<model::Node> nodes;  // in name order
  model::ClusterCounts counts;     // deployments left absent
  Unreadable unreadable;           // for a metric
};
// The nodes, which may be in any order, with what runs on them.
NodesRead JoinPods(std::vector<model::Node> nodes, const PodTally& pods);

// Nodes and pods. A pod on a node that is not (or not yet) listed counts in `counts` only.
absl::StatusOr<NodesRead> ReadNodes(kube::KubeApi& api, const kube::CallOptions& options);

// Names, in name order.
absl::StatusOr<std::vector<std::string>> ReadNamespaces(kube::KubeApi& api, const kube::CallOptions& options);

absl::StatusOr<std::int32_t> CountDeployments(kube::KubeApi& api, const kube::CallOptions& options);

// `endpoint` is the connection's address: api_url, and where the console's address is derived from when no route tells.
// OpenShift is where a ClusterVersion can be read; where there is none, or no such kind, /version tells. Any other
// error of these reads, a transient one above all, is an error and not "this is no OpenShift".
absl::StatusOr<model::ClusterInfo> ReadClusterInfo(kube::KubeApi& api, const std::string& endpoint,
                                                   const kube::CallOptions& options);

// What OLM Subscriptions installed, in the order of name and namespace. A ClusterServiceVersion that is gone is left
// out.
absl::StatusOr<std::vector<model::OlmOperator>> ReadOperators(kube::KubeApi& api, const kube::CallOptions& options);

// In name order.
absl::StatusOr<std::vector<model::ClusterOperator>> ReadClusterOperators(kube::KubeApi& api,
                                                                         const kube::CallOptions& options);

}  // namespace clusterpulse::survey
