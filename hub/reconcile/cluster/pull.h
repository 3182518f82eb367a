#pragma once

#include <chrono>
#include <string>
#include <vector>

#include <absl/status/status.h>

#include "common/kube/kube_api.h"
#include "common/model/cluster.h"
#include "hub/reconcile/cluster/health.h"

namespace clusterpulse::reconcile {

// How long one pass over a cluster with this interval may take, all its calls together: the interval, but at least a
// minute and never more than five. Whatever waits for the pass (a new spec, a changed Secret, the deletion) waits no
// longer than that.
std::chrono::milliseconds PassLimit(std::chrono::seconds interval);

struct PullRequest {
  std::string endpoint;
  std::chrono::milliseconds test_timeout{10000};  // of the connection test
  std::chrono::milliseconds call_timeout{30000};  // of every other call (a page of a list)
  std::chrono::milliseconds limit{60000};         // of all calls together
  int parallel_reads = 3;
  bool read_info = true, read_operators = true;  // they change rarely and are read rarely
};

struct PullResult {
  // Ok: the nodes and pods are in `snapshot`, the cluster counts as reached. kDeadlineExceeded: no answer, or too slow
  // for PullRequest::limit, which the message names then. kCancelled: `stop` ended it, no verdict.
  absl::Status status;
  Step failed_at = Step::kConnectionTest;  // when not ok
  model::ClusterSnapshot snapshot;
  std::vector<std::string> failed_lists;  // "operators: ...": what is missing in the snapshot though it was asked for
};

// One pass over a managed cluster: the connection test first, then all reads in parallel. Only nodes and pods are
// critical; their failure ends the other reads. Lists that are not done at the limit count as failed. Thread-safe;
// blocks for at most the limit.
PullResult Pull(kube::KubeApi& api, const PullRequest& request, std::stop_token stop);

}  // namespace clusterpulse::reconcile
