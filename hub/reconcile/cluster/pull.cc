#include "hub/reconcile/cluster/pull.h"

#include <functional>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "common/base/status.h"
#include "common/base/stop_signal.h"
#include "common/survey/survey.h"
#include "hub/reconcile/cluster/parallel.h"

namespace clusterpulse::reconcile {
namespace {

constexpr std::size_t kLongestError = 200;

absl::Status TestConnection(kube::KubeApi& api, const kube::CallOptions& options) {
  kube::ListQuery query;
  query.resource = kube::kNamespaces;
  query.limit = 1;
  const auto ignore = [](json::Cursor) { return absl::OkStatus(); };
  return api.List(query, ignore, options).status();
}

// A list that is not critical: its value goes into the snapshot, its failure into a line.
template <typename T>
void Settle(std::string_view name, absl::StatusOr<T>& read, std::optional<T>& out, std::vector<std::string>& failed) {
  if (read.ok()) {
    out = *std::move(read);
  } else {
    failed.push_back(fmt::format("{}: {}", name, Cut(base::Message(read.status()), kLongestError)));
  }
}

}  // namespace

PullResult Pull(kube::KubeApi& api, const PullRequest& request, std::stop_token stop) {
  PullResult result;
  result.status = TestConnection(api, {request.test_timeout, stop});
  if (!result.status.ok()) return result;
  result.failed_at = Step::kReadNodes;

  base::StopSignal pass(stop);
  const kube::CallOptions call{request.call_timeout, pass.token()};
  const absl::Status not_run = absl::CancelledError("not read");
  absl::StatusOr<survey::NodesRead> nodes = not_run;
  absl::StatusOr<std::vector<std::string>> namespaces = not_run;
  absl::StatusOr<std::int32_t> deployments = not_run;
  absl::StatusOr<std::vector<model::ClusterOperator>> cluster_operators = not_run;
  absl::StatusOr<model::ClusterInfo> info = not_run;
  absl::StatusOr<std::vector<model::OlmOperator>> operators = not_run;

  std::vector<std::function<void()>> reads;
  reads.emplace_back([&] {
    nodes = survey::ReadNodes(api, call);
    if (!nodes.ok()) pass.RequestStop();
  });
  reads.emplace_back([&] { cluster_operators = survey::ReadClusterOperators(api, call); });
  reads.emplace_back([&] { namespaces = survey::ReadNamespaces(api, call); });
  reads.emplace_back([&] { deployments = survey::CountDeployments(api, call); });
  if (request.read_info) reads.emplace_back([&] { info = survey::ReadClusterInfo(api, request.endpoint, call); });
  if (request.read_operators) reads.emplace_back([&] { operators = survey::ReadOperators(api, call); });
  RunParallel(reads, request.parallel_reads);

  if (stop.stop_requested()) {
    result.status = absl::CancelledError("the hub is stopping");
    return result;
  }
  if (!nodes.ok()) {
    result.status = nodes.status();
    return result;
  }
  result.snapshot.nodes = std::move(nodes->nodes);
  result.snapshot.counts = nodes->counts;
  Settle("ClusterOperators", cluster_operators, result.snapshot.cluster_operators, result.failed_lists);
  Settle("namespaces", namespaces, result.snapshot.namespaces, result.failed_lists);
  Settle("deployments", deployments, result.snapshot.counts->deployments, result.failed_lists);
  if (request.read_info) Settle("version", info, result.snapshot.info, result.failed_lists);
  if (request.read_operators) Settle("operators", operators, result.snapshot.operators, result.failed_lists);
  return result;
}

}  // namespace clusterpulse::reconcile
