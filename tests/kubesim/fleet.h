#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "common/json/value.h"
#include "common/kube/testing/object_store.h"

namespace clusterpulse::kubesim {

struct FleetOptions {
  int nodes = 5;
  int pods_per_node = 20;  // and one pod without a node for every 50 others
  int namespaces = 4;      // "team-1", ...: pods and deployments live there
  int deployments = 10;
  int labels_per_node = 20;
  bool openshift = false;  // ClusterVersion, ClusterOperators, the console's Route
  int operators = 0;  // Subscriptions with their ClusterServiceVersions; above 0, or openshift: OLM's types are served
  std::uint64_t seed = 1;
};

// The objects of one simulated cluster: made from a seed, then changed by Step. Pods are 5 KB and more, with the
// managedFields a real server keeps. Confined to one thread; the store must outlive it.
class Fleet {
 public:
  Fleet(kube::ObjectStore& store, const FleetOptions& options);

  // Fills the store.
  absl::Status Seed();
  // One change, as a living cluster makes them: mostly a pod's status, now and then a pod that goes and another that
  // comes, a node's heartbeat, a deployment's status.
  absl::Status Step();

 private:
  absl::Status AddPod(const std::string& node);
  absl::Status AddNode(int index);
  absl::Status AddDeployment(int index);
  absl::Status AddOpenShift();
  absl::Status AddOperator(int index);
  int Draw(int below) { return static_cast<int>(random_() % static_cast<std::uint64_t>(below)); }
  std::string Team() { return "team-" + std::to_string(1 + Draw(options_.namespaces)); }

  kube::ObjectStore& store_;
  const FleetOptions options_;
  std::mt19937_64 random_;
  json::Value pod_template_, node_template_;
  std::vector<std::string> nodes_;
  std::vector<kube::ObjectKey> pods_, deployments_;
  int pods_made_ = 0;
};

// What operators and tests do to one node. kNotFound when there is none of the name.
absl::Status SetNodeReady(kube::ObjectStore& store, const std::string& node, bool ready);
absl::Status SetCordoned(kube::ObjectStore& store, const std::string& node, bool cordoned);

}  // namespace clusterpulse::kubesim
