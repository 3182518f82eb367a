#include "hub/reconcile/cluster/pull.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <optional>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "common/base/parallel.h"
#include "common/base/status.h"
#include "common/base/stop_signal.h"
#include "common/base/thread.h"
#include "common/survey/survey.h"

namespace clusterpulse::reconcile {
namespace {

constexpr std::size_t kLongestError = 200;
constexpr std::chrono::seconds kShortestPassLimit{60};
constexpr std::chrono::seconds kLongestPassLimit{300};

// Stops `pass` when it takes longer than `limit`, and tells the calls it cut short from those that failed. Each call
// has a deadline of its own, but a list has as many calls as pages.
class PassTimer {
 public:
  PassTimer(base::StopSignal& pass, std::chrono::milliseconds limit)
      : pass_(pass), limit_(limit), thread_(base::StartThread("cluster-timer", [this] {
          if (pass_.WaitFor(limit_)) return;
          expired_ = true;
          pass_.RequestStop();
        })) {}
  // Waits for the thread, which ends with the pass.
  ~PassTimer() { pass_.RequestStop(); }

  absl::Status Explain(const absl::Status& status) const {
    if (!absl::IsCancelled(status) || !expired_) return status;
    return base::MakeStatus(absl::StatusCode::kDeadlineExceeded,
                            "reading the whole cluster took longer than the limit of {} s",
                            std::chrono::duration<double>(limit_).count());
  }

 private:
  base::StopSignal& pass_;
  const std::chrono::milliseconds limit_;
  std::atomic<bool> expired_ = false;
  std::jthread thread_;  // last: uses the others
};

absl::Status TestConnection(kube::KubeApi& api, const kube::CallOptions& options) {
  kube::ListQuery query;
  query.resource = kube::kNamespaces;
  query.limit = 1;
  const auto ignore = [](json::Cursor) { return absl::OkStatus(); };
  return api.List(query, ignore, options).status();
}

// A list that is not critical: its value goes into the snapshot, its failure into a line.
template <typename T>
void Settle(std::string_view name, const PassTimer& timer, absl::StatusOr<T>& read, std::optional<T>& out,
            std::vector<std::string>& failed) {
  if (read.ok()) {
    out = *std::move(read);
  } else {
    failed.push_back(fmt::format("{}: {}", name, Cut(base::Message(timer.Explain(read.status())), kLongestError)));
  }
}

}  // namespace

std::chrono::milliseconds PassLimit(std::chrono::seconds interval) {
  return std::clamp(interval, kShortestPassLimit, kLongestPassLimit);
}

PullResult Pull(kube::KubeApi& api, const PullRequest& request, std::stop_token stop) {
  PullResult result;
  base::StopSignal pass(stop);
  const PassTimer timer(pass, request.limit);
  result.status = timer.Explain(TestConnection(api, {request.test_timeout, pass.token()}));
  if (!result.status.ok()) return result;
  result.failed_at = Step::kReadNodes;

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
  base::RunParallel(reads, request.parallel_reads);

  if (stop.stop_requested()) {
    result.status = absl::CancelledError("the hub is stopping");
    return result;
  }
  if (!nodes.ok()) {
    result.status = timer.Explain(nodes.status());
    return result;
  }
  result.snapshot.nodes = std::move(nodes->nodes);
  result.snapshot.counts = nodes->counts;
  Settle("ClusterOperators", timer, cluster_operators, result.snapshot.cluster_operators, result.failed_lists);
  Settle("namespaces", timer, namespaces, result.snapshot.namespaces, result.failed_lists);
  Settle("deployments", timer, deployments, result.snapshot.counts->deployments, result.failed_lists);
  if (request.read_info) Settle("version", timer, info, result.snapshot.info, result.failed_lists);
  if (request.read_operators) Settle("operators", timer, operators, result.snapshot.operators, result.failed_lists);
  return result;
}

}  // namespace clusterpulse::reconcile
