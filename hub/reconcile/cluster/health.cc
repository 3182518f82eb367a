#include "hub/reconcile/cluster/health.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "common/base/status.h"
#include "common/base/utf8.h"
#include "common/kube/api_error.h"

namespace clusterpulse::reconcile {
namespace {

constexpr std::size_t kNamedAtMost = 5;        // of the objects in trouble, in a message
constexpr std::size_t kLongestDetail = 200;    // of one object's own words
constexpr std::size_t kLongestMessage = 1024;  // an Event's limit

// Counts the name, and keeps the first few.
void Name(Facts::Trouble& trouble, std::string name) {
  if (static_cast<std::size_t>(++trouble.count) <= kNamedAtMost) trouble.named.push_back(std::move(name));
}

std::string Join(const Facts::Trouble& trouble, std::string_view separator) {
  std::string text = fmt::format("{}", fmt::join(trouble.named, separator));
  const auto more = trouble.count - static_cast<std::int64_t>(trouble.named.size());
  if (more > 0) text += fmt::format("{}and {} more", separator, more);
  return text;
}

std::string Join(const std::vector<std::string>& parts, std::string_view separator) {
  Facts::Trouble trouble;
  for (const std::string& part : parts) Name(trouble, part);
  return Join(trouble, separator);
}

bool IsReady(const model::Node& node) {
  if (node.status == model::NodeStatus::kReady) return true;
  // SchedulingDisabled says nothing about the kubelet: a cordoned node may never have reported.
  return node.status == model::NodeStatus::kSchedulingDisabled &&
         std::any_of(node.conditions.begin(), node.conditions.end(), [](const model::Condition& condition) {
           return condition.type == "Ready" && condition.status == "True";
         });
}

std::string NameNode(const model::Node& node) {
  for (const model::Condition& condition : node.conditions) {
    if (condition.type == "Ready" && !condition.reason.empty())
      return fmt::format("{} ({})", node.name, condition.reason);
  }
  return node.name;
}

std::string NameClusterOperator(const model::ClusterOperator& op) {
  std::string text = fmt::format("{} is {}", op.name, op.available ? "degraded" : "not available");
  const std::string& why = op.message.empty() ? op.reason : op.message;
  if (!why.empty()) text += ": " + Cut(why, kLongestDetail);
  return text;
}

std::string Ago(std::chrono::nanoseconds age) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(age).count();
  // Coarse on purpose: a message that changes with every second would be written with every pass.
  if (seconds < 3600) return fmt::format("more than {} min", std::max<std::int64_t>(1, seconds / 60));
  return fmt::format("more than {} h", seconds / 3600);
}

// Phase, without looking at the state of the cluster.
void JudgeReach(const Evidence& evidence, Verdict& verdict) {
  if (evidence.failure.has_value()) {
    verdict.phase = evidence.failure->needs_person ? model::Phase::kError
                    : evidence.ever_reached        ? model::Phase::kDisconnected
                                                   : model::Phase::kConnecting;
    verdict.phase_reason = evidence.failure->reason;
    verdict.phase_message = evidence.failure->message;
  } else if (!evidence.ever_reached) {
    verdict.phase = model::Phase::kConnecting;
    verdict.phase_reason = "Connecting";
    verdict.phase_message = "the cluster has not been reached yet";
  } else if (!evidence.failed_lists.empty()) {
    verdict.phase = model::Phase::kDegraded;
    verdict.phase_reason = "PartialData";
    verdict.phase_message = "the cluster is reachable, but not all could be read: " + Join(evidence.failed_lists, "; ");
  } else {
    verdict.phase = model::Phase::kConnected;
    verdict.phase_reason = "Connected";
    verdict.phase_message = "Cluster is reachable";  // contract text of spec/wire-and-store.md D.3
  }
}

void JudgeState(const Evidence& evidence, Verdict& verdict) {
  const auto set = [&](model::Health health, std::string reason, std::string message) {
    verdict.health = health;
    verdict.health_reason = std::move(reason);
    verdict.health_message = std::move(message);
  };
  if (evidence.failure.has_value() && !evidence.failure->is_silence) {
    return set(model::Health::kUnhealthy, "Unreachable", evidence.failure->message);
  }
  if (!evidence.facts.has_value() || !evidence.age.has_value()) {
    return set(model::Health::kUnknown, "NoData", "no data of the cluster yet");
  }
  if (IsStale(evidence.age, evidence.interval)) {
    return set(model::Health::kUnknown, "StaleData",
               fmt::format("the newest data of the cluster is {} old", Ago(*evidence.age)));
  }
  const Facts& facts = *evidence.facts;
  if (facts.nodes == 0) return set(model::Health::kUnhealthy, "NoNodes", "the cluster has no node");

  std::vector<std::string> problems;
  const std::int64_t bad = facts.nodes_not_ready.count;
  if (bad > 0) {
    problems.push_back(fmt::format("{} of {} nodes {} not ready: {}", bad, facts.nodes, bad == 1 ? "is" : "are",
                                   Join(facts.nodes_not_ready, ", ")));
  }
  if (facts.cluster_operators.count > 0) {
    problems.push_back(fmt::format("ClusterOperator {}", Join(facts.cluster_operators, "; ")));
  }
  if (problems.empty())
    return set(model::Health::kHealthy, "NodesReady", fmt::format("all {} nodes are ready", facts.nodes));
  // A reason of its own for each step down, so that each is an Event.
  if (2 * bad >= facts.nodes) return set(model::Health::kUnhealthy, "MostNodesNotReady", Join(problems, "; "));
  set(model::Health::kDegraded, bad > 0 ? "NodesNotReady" : "ClusterOperatorsDegraded", Join(problems, "; "));
}

}  // namespace

std::string Cut(std::string text, std::size_t limit) {
  constexpr std::string_view kMark = "...";
  if (text.size() <= limit) return text;
  return base::CutUtf8(text, limit > kMark.size() ? limit - kMark.size() : 0).append(kMark);
}

bool IsStale(std::optional<std::chrono::nanoseconds> age, std::chrono::seconds interval) {
  return !age.has_value() || *age > kFreshIntervals * interval;
}

Failure ClassifyClusterFailure(Step step, const absl::Status& status, const std::string& endpoint,
                               const std::string& secret) {
  const std::string what = step == Step::kConnectionTest ? "connection test failed" : "nodes and pods cannot be read";
  const std::string why = Cut(base::Message(status), 2 * kLongestDetail);
  const auto api_error = kube::GetApiError(status);
  switch (status.code()) {
    case absl::StatusCode::kUnauthenticated:
      if (api_error.has_value()) {
        return {true, "CredentialsInvalid",
                fmt::format("{}: {} refuses the token of Secret {} ({}): the token is wrong, expired or revoked; put a "
                            "valid one into the Secret's key token",
                            what, endpoint, secret, why)};
      }
      return {true, "TLSFailed",
              fmt::format("{}: TLS to {} failed ({}): check ca.crt in Secret {} and the server's certificate", what,
                          endpoint, why, secret)};
    case absl::StatusCode::kPermissionDenied:
      return {true, "PermissionDenied",
              fmt::format("{}: {} does not allow it to the token of Secret {} ({}): grant the ServiceAccount list on "
                          "nodes, pods, namespaces and deployments",
                          what, endpoint, secret, why)};
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kDataLoss:
      return {
          true, "NotKubernetes",
          fmt::format("{}: {} does not answer as a Kubernetes API server ({}): check spec.endpoint, its port and path",
                      what, endpoint, why)};
    case absl::StatusCode::kInvalidArgument:
      if (!api_error.has_value()) {
        return {true, "CredentialsInvalid",
                fmt::format("no client can be made for {} with Secret {}: {}", endpoint, secret, why)};
      }
      break;
    case absl::StatusCode::kDeadlineExceeded:
      return {
          false, "ConnectionFailed",
          fmt::format("{}: {} did not answer in time ({}): check the network and the API server{}", what, endpoint, why,
                      step == Step::kConnectionTest ? ", or raise spec.monitoring.timeout (30 s at most)" : "")};
    default:
      break;
  }
  return {false, "ConnectionFailed",
          fmt::format("{}: {} cannot be used ({}): check that the API server runs and can be reached from the hub",
                      what, endpoint, why)};
}

Failure ClassifySecretFailure(const absl::Status& status, const std::string& secret, const std::string& hub_namespace) {
  const std::string why = Cut(base::Message(status), 2 * kLongestDetail);
  switch (status.code()) {
    case absl::StatusCode::kNotFound:
      return {true, "SecretNotFound",
              fmt::format("Secret {} of spec.credentialsRef does not exist: create it with the key token", secret)};
    case absl::StatusCode::kPermissionDenied:
      return {true, "CredentialsForbidden",
              fmt::format("the hub may not read Secret {}: move it into namespace {} or grant the hub get on it ({})",
                          secret, hub_namespace, why)};
    case absl::StatusCode::kInvalidArgument:
      return {true, "CredentialsInvalid", fmt::format("Secret {}: {}", secret, why)};
    default:
      return {false, "SecretUnreadable",
              fmt::format("Secret {} cannot be read from the hub's API server ({}): trying again", secret, why)};
  }
}

Facts Summarize(const std::vector<model::Node>& nodes, const std::vector<model::ClusterOperator>& cluster_operators) {
  Facts facts;
  facts.nodes = static_cast<std::int64_t>(nodes.size());
  for (const model::Node& node : nodes) {
    if (!IsReady(node)) Name(facts.nodes_not_ready, NameNode(node));
  }
  for (const model::ClusterOperator& op : cluster_operators) {
    if (op.degraded || !op.available) Name(facts.cluster_operators, NameClusterOperator(op));
  }
  return facts;
}

Verdict JudgeHealth(const Evidence& evidence) {
  Verdict verdict;
  JudgeReach(evidence, verdict);
  JudgeState(evidence, verdict);
  if (evidence.failure.has_value() || verdict.health == model::Health::kHealthy) {
    verdict.message = verdict.phase_message;
  } else if (verdict.phase == model::Phase::kDegraded) {
    verdict.message = fmt::format("{}; {}", verdict.health_message, verdict.phase_message);
  } else {
    verdict.message = verdict.health_message;
  }
  verdict.message = Cut(std::move(verdict.message), kLongestMessage);
  return verdict;
}

}  // namespace clusterpulse::reconcile
