// Any bytes either are projected or are refused as kDataLoss, by every projection of a Kubernetes object, and what
// comes out keeps its promises: nothing negative from nothing negative, no NaN, lists no longer than the bytes.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "common/json/cursor.h"
#include "common/survey/cluster_info.h"
#include "common/survey/cluster_operator.h"
#include "common/survey/node.h"
#include "common/survey/olm.h"
#include "common/survey/pod.h"
#include "common/survey/pod_tally.h"

using namespace clusterpulse;

namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

template <typename T>
bool Reads(std::string_view bytes, absl::Status (*read)(json::Cursor, T&), T& out) {
  json::Parser parser;
  const absl::Status status = parser.Parse(bytes, [&](json::Cursor object) { return read(object, out); });
  Require(status.ok() || absl::IsDataLoss(status));
  return status.ok();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  static survey::Unreadable unreadable;

  survey::PodRecord pod;
  if (Reads<survey::PodRecord>(
          bytes, [](json::Cursor object, survey::PodRecord& out) { return survey::ReadPod(object, out, unreadable); },
          pod)) {
    Require(pod.node.size() <= size);
    survey::PodTally tally;
    tally.Add(pod);
    tally.Add(pod);
    Require(tally.All().total == 2 && std::isfinite(tally.All().cpu_requested));
  }

  model::Node node;
  if (Reads<model::Node>(
          bytes, [](json::Cursor object, model::Node& out) { return survey::ReadNode(object, out, unreadable); },
          node)) {
    survey::SetPods({.cpu_requested = 1, .memory_requested = 1}, node);
    Require(std::isfinite(node.cpu_usage_percent) && std::isfinite(node.memory_usage_percent));
    Require(node.cpu_usage_percent >= 0 && node.memory_usage_percent >= 0);
    Require(node.pods_capacity >= 0 && node.conditions.size() <= size && node.roles.size() <= node.labels.size());
  }

  model::ClusterOperator cluster_operator;
  Reads(bytes, survey::ReadClusterOperator, cluster_operator);
  model::ClusterInfo info;
  Reads(bytes, survey::ReadClusterVersion, info);
  Reads(bytes, survey::ReadServerVersion, info);
  Reads(bytes, survey::ReadConsoleRoute, info);
  survey::DeriveConsoleUrl(bytes);

  survey::Subscription subscription;
  survey::ClusterServiceVersion csv;
  if (Reads(bytes, survey::ReadSubscription, subscription) && Reads(bytes, survey::ReadClusterServiceVersion, csv)) {
    const model::OlmOperator made = survey::MakeOperator(subscription, csv);
    Require(!made.status.empty() && !made.version.empty());
    Require(made.is_cluster_wide == (made.install_mode == "AllNamespaces"));
  }
  return 0;
}
