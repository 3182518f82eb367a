#include "hub/reconcile/cluster/health.h"

#include <catch2/catch.hpp>

#include "common/base/status.h"
#include "common/kube/api_error.h"

namespace clusterpulse::reconcile {
namespace {

using namespace std::chrono_literals;
using model::Health;
using model::NodeStatus;
using model::Phase;

// `pattern`: one letter a node: R ready, N not ready, C cordoned, X cordoned and never heard of, U unknown.
std::vector<model::Node> Nodes(std::string_view pattern) {
  std::vector<model::Node> nodes;
  for (const char c : pattern) {
    model::Node node;
    node.name = "n" + std::to_string(nodes.size());
    node.status = c == 'R'               ? NodeStatus::kReady
                  : c == 'N'             ? NodeStatus::kNotReady
                  : c == 'C' || c == 'X' ? NodeStatus::kSchedulingDisabled
                                         : NodeStatus::kUnknown;
    if (c == 'N') node.conditions.push_back({"Ready", "False", "KubeletNotReady", "PLEG is not healthy", {}});
    if (c == 'C') node.conditions.push_back({"Ready", "True", "KubeletReady", "", {}});
    nodes.push_back(std::move(node));
  }
  return nodes;
}

model::ClusterOperator Operator(std::string name, bool available, bool degraded, std::string message = "") {
  model::ClusterOperator op;
  op.name = std::move(name);
  op.available = available;
  op.degraded = degraded;
  op.message = std::move(message);
  return op;
}

Evidence Good(std::string_view nodes = "RRR", const std::vector<model::ClusterOperator>& operators = {}) {
  Evidence evidence;
  evidence.facts = Summarize(Nodes(nodes), operators);
  evidence.age = 0s;
  evidence.interval = 30s;
  evidence.ever_reached = true;
  return evidence;
}

TEST_CASE("health follows the share of nodes that are not ready") {
  struct Case {
    const char* nodes;
    Health health;
    const char* reason;
    const char* message;
  };
  const Case cases[] = {
      {"R", Health::kHealthy, "NodesReady", "Cluster is reachable"},
      {"RRC", Health::kHealthy, "NodesReady", "Cluster is reachable"},
      {"CC", Health::kHealthy, "NodesReady", "Cluster is reachable"},
      {"", Health::kUnhealthy, "NoNodes", "the cluster has no node"},
      {"N", Health::kUnhealthy, "MostNodesNotReady", "1 of 1 nodes is not ready: n0 (KubeletNotReady)"},
      {"RN", Health::kUnhealthy, "MostNodesNotReady", "1 of 2 nodes is not ready: n1 (KubeletNotReady)"},
      {"RU", Health::kUnhealthy, "MostNodesNotReady", "1 of 2 nodes is not ready: n1"},
      {"CN", Health::kUnhealthy, "MostNodesNotReady", "1 of 2 nodes is not ready: n1 (KubeletNotReady)"},
      {"RRX", Health::kDegraded, "NodesNotReady", "1 of 3 nodes is not ready: n2"},
      {"XX", Health::kUnhealthy, "MostNodesNotReady", "2 of 2 nodes are not ready"},
      {"RRN", Health::kDegraded, "NodesNotReady", "1 of 3 nodes is not ready: n2 (KubeletNotReady)"},
      {"RNN", Health::kUnhealthy, "MostNodesNotReady", "2 of 3 nodes are not ready"},
      {"RRRNN", Health::kDegraded, "NodesNotReady", "2 of 5 nodes are not ready"},
      {"RRNN", Health::kUnhealthy, "MostNodesNotReady", "2 of 4 nodes are not ready"},
      {"NNNNNNN", Health::kUnhealthy, "MostNodesNotReady", "n4 (KubeletNotReady), and 2 more"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.nodes);
    const Verdict verdict = JudgeHealth(Good(c.nodes));
    CHECK(verdict.phase == Phase::kConnected);
    CHECK(verdict.health == c.health);
    CHECK(verdict.health_reason == c.reason);
    CHECK_THAT(verdict.message, Catch::Contains(c.message));
  }
}

TEST_CASE("a ClusterOperator that is degraded or not available degrades the cluster and is named") {
  struct Case {
    bool available, degraded;
    Health health;
    const char* message;
  };
  for (const Case& c : {Case{true, false, Health::kHealthy, "Cluster is reachable"},
                        Case{true, true, Health::kDegraded, "ClusterOperator dns is degraded: no endpoints"},
                        Case{false, false, Health::kDegraded, "ClusterOperator dns is not available: no endpoints"},
                        Case{false, true, Health::kDegraded, "ClusterOperator dns is not available: no endpoints"}}) {
    CAPTURE(c.available, c.degraded);
    const Verdict verdict = JudgeHealth(
        Good("RR", {Operator("auth", true, false), Operator("dns", c.available, c.degraded, "no endpoints")}));
    CHECK(verdict.health == c.health);
    CHECK(verdict.message == c.message);
  }
  CHECK(JudgeHealth(Good("RR", {Operator("dns", true, true)})).health_reason == "ClusterOperatorsDegraded");
}

TEST_CASE("nodes come before operators in the message, both are named") {
  const Verdict verdict = JudgeHealth(Good("RRN", {Operator("dns", true, true)}));
  CHECK(verdict.health == Health::kDegraded);
  CHECK(verdict.health_reason == "NodesNotReady");
  CHECK(verdict.message == "1 of 3 nodes is not ready: n2 (KubeletNotReady); ClusterOperator dns is degraded");
}

TEST_CASE("data older than three intervals says nothing any more") {
  for (const auto& [age, health] : {std::pair{std::chrono::milliseconds(0), Health::kHealthy},
                                    std::pair{std::chrono::milliseconds(89999), Health::kHealthy},
                                    std::pair{std::chrono::milliseconds(90000), Health::kHealthy},
                                    std::pair{std::chrono::milliseconds(90001), Health::kUnknown},
                                    std::pair{std::chrono::milliseconds(9000000), Health::kUnknown}}) {
    CAPTURE(age.count());
    Evidence evidence = Good();
    evidence.age = age;
    const Verdict verdict = JudgeHealth(evidence);
    CHECK(verdict.health == health);
    if (health == Health::kUnknown) CHECK(verdict.health_reason == "StaleData");
    CHECK(IsStale(age, 30s) == (health == Health::kUnknown));
  }
  CHECK(IsStale(std::nullopt, 30s));
  // Bad news of old is no news either.
  Evidence old = Good("NN");
  old.age = 91s;
  CHECK(JudgeHealth(old).health == Health::kUnknown);
}

TEST_CASE("without data and without a failure a cluster is connecting and unknown") {
  const Verdict verdict = JudgeHealth(Evidence{});
  CHECK(verdict.phase == Phase::kConnecting);
  CHECK(verdict.health == Health::kUnknown);
  CHECK(verdict.health_reason == "NoData");
}

TEST_CASE("a failure decides the phase by what it needs and by whether the cluster was ever there") {
  struct Case {
    bool needs_person, ever_reached;
    Phase phase;
  };
  for (const Case& c : {Case{false, false, Phase::kConnecting}, Case{false, true, Phase::kDisconnected},
                        Case{true, false, Phase::kError}, Case{true, true, Phase::kError}}) {
    CAPTURE(c.needs_person, c.ever_reached);
    Evidence evidence = Good();  // fresh good data does not help
    evidence.ever_reached = c.ever_reached;
    evidence.failure = Failure{c.needs_person, "ConnectionFailed", "it is gone"};
    const Verdict verdict = JudgeHealth(evidence);
    CHECK(verdict.phase == c.phase);
    CHECK(verdict.health == Health::kUnhealthy);
    CHECK(verdict.phase_reason == "ConnectionFailed");
    CHECK(verdict.message == "it is gone");
  }
}

TEST_CASE("a failed list that is not critical degrades the phase and leaves the health") {
  Evidence evidence = Good();
  evidence.failed_lists = {"operators: forbidden", "namespaces: time-out"};
  Verdict verdict = JudgeHealth(evidence);
  CHECK(verdict.phase == Phase::kDegraded);
  CHECK(verdict.phase_reason == "PartialData");
  CHECK(verdict.health == Health::kHealthy);
  CHECK_THAT(verdict.message, Catch::Contains("operators: forbidden; namespaces: time-out"));

  evidence.facts = Summarize(Nodes("RRN"), {});
  verdict = JudgeHealth(evidence);
  CHECK(verdict.health == Health::kDegraded);
  CHECK_THAT(verdict.message, Catch::StartsWith("1 of 3 nodes") && Catch::Contains("operators: forbidden"));
}

TEST_CASE("failures of a cluster are told apart by who must act") {
  const auto api = [](int code, std::string reason) {
    return kube::ToStatus({code, reason, reason + " from the server", {}});
  };
  struct Case {
    const char* name;
    absl::Status status;
    bool needs_person;
    const char* reason;
    const char* says;
  };
  const Case cases[] = {
      {"refused", absl::UnavailableError("connection refused"), false, "ConnectionFailed", "connection refused"},
      {"time-out", absl::DeadlineExceededError("no answer"), false, "ConnectionFailed", "monitoring.timeout"},
      {"throttled", api(429, "TooManyRequests"), false, "ConnectionFailed", "TooManyRequests"},
      {"server error", api(500, "InternalError"), false, "ConnectionFailed", "InternalError"},
      {"token", api(401, "Unauthorized"), true, "CredentialsInvalid", "hub/creds"},
      {"TLS", absl::UnauthenticatedError("certificate verify failed"), true, "TLSFailed", "ca.crt"},
      {"RBAC", api(403, "Forbidden"), true, "PermissionDenied", "grant"},
      {"wrong path", api(404, "NotFound"), true, "NotKubernetes", "spec.endpoint"},
      {"no API", absl::DataLossError("no JSON"), true, "NotKubernetes", "spec.endpoint"},
      {"bad CA", absl::InvalidArgumentError("ca.crt: no certificate"), true, "CredentialsInvalid", "no certificate"},
      {"bad request", api(400, "BadRequest"), false, "ConnectionFailed", "BadRequest"},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      const Failure f = ClassifyClusterFailure(Step::kConnectionTest, c.status, "https://a:6443", "hub/creds");
      CHECK(f.needs_person == c.needs_person);
      CHECK(f.reason == c.reason);
      CHECK_THAT(f.message, Catch::Contains(c.says) && Catch::Contains("https://a:6443"));
    }
  }
  CHECK_THAT(ClassifyClusterFailure(Step::kReadNodes, absl::UnavailableError("x"), "e", "s").message,
             Catch::Contains("nodes and pods"));
}

TEST_CASE("failures to read the Secret name it and what to do") {
  struct Case {
    absl::Status status;
    bool needs_person;
    const char* reason;
    const char* says;
  };
  for (const Case& c :
       {Case{absl::NotFoundError("nf"), true, "SecretNotFound", "create it"},
        Case{absl::PermissionDeniedError("pd"), true, "CredentialsForbidden", "namespace fleet"},
        Case{absl::InvalidArgumentError("key token is missing"), true, "CredentialsInvalid", "key token"},
        Case{absl::UnavailableError("down"), false, "SecretUnreadable", "hub's API server"}}) {
    CAPTURE(c.reason);
    const Failure f = ClassifySecretFailure(c.status, "other/creds", "fleet");
    CHECK(f.needs_person == c.needs_person);
    CHECK(f.reason == c.reason);
    CHECK_THAT(f.message, Catch::Contains(c.says) && Catch::Contains("other/creds"));
  }
}

TEST_CASE("messages are bounded and cut between characters") {
  CHECK(Cut("abc", 3) == "abc");
  CHECK(Cut("abcdef", 5) == "ab...");
  CHECK(Cut("a\xC3\xA4\xC3\xA4\xC3\xA4", 6) == "a\xC3\xA4...");
  CHECK(Cut("a\xC3\xA4\xC3\xA4\xC3\xA4", 5) == "a...");
  Evidence evidence = Good();
  evidence.failure = Failure{false, "ConnectionFailed", std::string(5000, 'x')};
  CHECK(JudgeHealth(evidence).message.size() == 1024);
}

}  // namespace
}  // namespace clusterpulse::reconcile
