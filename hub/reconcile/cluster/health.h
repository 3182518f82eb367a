#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <absl/status/status.h>

#include "common/model/cluster.h"
#include "common/model/health.h"
#include "hub/store/push_record.h"

// What is said about a cluster, given what is known: pure functions, no clock, no I/O. The rules are the product's
// promise: nothing is called healthy on old data, and the message names the worst reason in words to act on.
namespace clusterpulse::reconcile {

// Data older than this many intervals says nothing about the cluster any more.
inline constexpr int kFreshIntervals = 3;
bool IsStale(std::optional<std::chrono::nanoseconds> age, std::chrono::seconds interval);

// Why no data came.
struct Failure {
  bool needs_person = false;  // spec, credentials, TLS: trying again does not help
  std::string reason;         // CamelCase, from a closed set: of the Ready condition and of Events
  std::string message;
  // Nothing was heard of the cluster, which says nothing about it: its health is that of the data until that is too
  // old.
  bool is_silence = false;
};

// The step of a pass that failed.
enum class Step { kConnectionTest, kReadNodes };

// `status` is what KubeApi gave for the cluster at `endpoint` with the token of `secret` ("namespace/name").
Failure ClassifyClusterFailure(Step step, const absl::Status& status, const std::string& endpoint,
                               const std::string& secret);
// `status` is what reading the Secret gave.
Failure ClassifySecretFailure(const absl::Status& status, const std::string& secret, const std::string& hub_namespace);

using store::Facts;
Facts Summarize(const std::vector<model::Node>& nodes, const std::vector<model::ClusterOperator>& cluster_operators);

struct Evidence {
  std::optional<Failure> failure;               // of this pass
  std::optional<Facts> facts;                   // newest that was read
  std::optional<std::chrono::nanoseconds> age;  // of `facts`; absent: no data yet
  std::chrono::seconds interval{30};
  std::vector<std::string> failed_lists;  // "operators: permission denied", lists that are not critical
  bool ever_reached = false;              // before or in this pass
};

struct Verdict {
  model::Phase phase = model::Phase::kConnecting;
  model::Health health = model::Health::kUnknown;
  std::string phase_reason, health_reason;  // CamelCase words
  std::string phase_message, health_message;
  std::string message;  // both in one, the worst first; at most 1,024 bytes
};

Verdict JudgeHealth(const Evidence& evidence);

// Cuts at a character's border and marks the cut.
std::string Cut(std::string text, std::size_t limit);

}  // namespace clusterpulse::reconcile
