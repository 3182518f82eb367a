#pragma once

#include <random>
#include <string>
#include <vector>

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "collector/observe/cluster_observer.h"
#include "common/json/value.h"
#include "common/kube/testing/object_store.h"
#include "common/survey/survey.h"

namespace clusterpulse::observe {

inline void Put(kube::ObjectStore& store, const kube::ResourceType& type, const std::string& json) {
  auto value = json::Value::Parse(json);
  REQUIRE(value.ok());
  const auto put = store.Put(type, *std::move(value));
  INFO(put.status());
  REQUIRE(put.ok());
}

inline void PutNode(kube::ObjectStore& store, const std::string& name, const std::string& ready = "True",
                    bool cordoned = false, const std::string& heartbeat = "2031-04-05T06:00:00Z") {
  Put(store, kube::kNodes,
      fmt::format(R"({{"metadata":{{"name":"{}","labels":{{"zone":"a"}}}},"spec":{{"unschedulable":{}}},"status":{{
        "capacity":{{"cpu":"4","memory":"16Gi"}},"allocatable":{{"cpu":"3900m","memory":"8Gi"}},
        "conditions":[{{"type":"Ready","status":"{}","lastHeartbeatTime":"{}"}}]}}}})",
                  name, cordoned, ready, heartbeat));
}

inline void PutPod(kube::ObjectStore& store, const std::string& name, const std::string& node,
                   const std::string& phase = "Running", const std::string& cpu = "500m",
                   const std::string& memory = "1Gi") {
  Put(store, kube::kPods,
      fmt::format(R"({{"metadata":{{"name":"{}","namespace":"shop"}},"spec":{{{}"containers":[
        {{"name":"c","resources":{{"requests":{{"cpu":"{}","memory":"{}"}}}}}}]}},"status":{{"phase":"{}"}}}})",
                  name, node.empty() ? "" : "\"nodeName\":\"" + node + "\",", cpu, memory, phase));
}

inline void PutDeployment(kube::ObjectStore& store, const std::string& name) {
  Put(store, kube::kDeployments, fmt::format(R"({{"metadata":{{"name":"{}","namespace":"shop"}}}})", name));
}

inline void PutNamespace(kube::ObjectStore& store, const std::string& name) {
  Put(store, kube::kNamespaces, fmt::format(R"({{"metadata":{{"name":"{}"}}}})", name));
}

// One random change to a small cluster whose objects come, change, move and go; quantities of every shape.
inline void RandomChange(kube::ObjectStore& store, std::mt19937& random) {
  const auto pick = [&](std::initializer_list<const char*> words) {
    return std::string(*(words.begin() + random() % words.size()));
  };
  const auto forget = [&](const kube::ResourceType& type, const kube::ObjectKey& key) {
    (void)store.Delete(type, key);  // it may not be there
  };
  const std::string index = std::to_string(random() % 12);
  const std::string node = "w" + std::to_string(random() % 8);
  switch (random() % 10) {
    case 0:
      PutNode(store, node, pick({"True", "False", "Unknown"}), random() % 4 == 0,
              fmt::format("2031-04-05T06:00:{:02}Z", random() % 60));
      break;
    case 1:
      forget(kube::kNodes, {"", node});
      break;
    case 2:
      forget(kube::kPods, {"shop", "p" + index});
      break;
    case 3:
      PutDeployment(store, "d" + index);
      break;
    case 4:
      forget(kube::kDeployments, {"shop", "d" + index});
      break;
    case 5:
      PutNamespace(store, "team-" + index);
      break;
    case 6:
      forget(kube::kNamespaces, {"", "team-" + index});
      break;
    default:
      PutPod(store, "p" + index, random() % 5 == 0 ? "" : node,
             pick({"Running", "Pending", "Succeeded", "Failed", "?"}),
             pick({"100m", "0.5", "2e-1", "1500m", "1n", "odd"}), pick({"64Mi", "1e8", "100000k", "1m", "1Gi", "3"}));
      break;
  }
}

// What reading the whole cluster now gives, as far as the caches hold it.
inline model::ClusterSnapshot Survey(kube::KubeApi& api) {
  model::ClusterSnapshot snapshot;
  auto nodes = survey::ReadNodes(api, {});
  auto namespaces = survey::ReadNamespaces(api, {});
  const auto deployments = survey::CountDeployments(api, {});
  REQUIRE((nodes.ok() && namespaces.ok() && deployments.ok()));
  snapshot.nodes = std::move(nodes->nodes);
  snapshot.counts = nodes->counts;
  snapshot.counts->deployments = *deployments;
  snapshot.namespaces = *std::move(namespaces);
  return snapshot;
}

// Without the inventory.
inline model::ClusterSnapshot Cached(ClusterObserver& observer) {
  model::ClusterSnapshot snapshot = observer.Observe(false).snapshot;
  snapshot.info.reset();
  snapshot.operators.reset();
  snapshot.cluster_operators.reset();
  return snapshot;
}

}  // namespace clusterpulse::observe
