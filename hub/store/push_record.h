#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/model/cluster.h"
#include "common/model/health.h"

namespace clusterpulse::store {

// What health depends on, out of the lists of a cluster: small, so that it can be kept and handed on.
struct Facts {
  // Objects in trouble: how many, and the first few in words, in name order.
  struct Trouble {
    std::int64_t count = 0;
    std::vector<std::string> named;
    bool operator==(const Trouble&) const = default;
  };
  std::int64_t nodes = 0;
  Trouble nodes_not_ready;    // "worker-3 (KubeletNotReady)"; cordoned ones by their condition Ready too
  Trouble cluster_operators;  // "ingress is degraded: ..."
  bool operator==(const Facts&) const = default;
};

// What the newest state batch of a push cluster said, in short (cluster:C:push, ours). Written in one step with the
// batch's documents by the replica that has the stream; read by the leader, which judges and reports the cluster by it,
// and by the replica that has the next stream, which carries over what its batches do not hold.
struct PushRecord {
  base::SystemTime data_at{};         // when the data was true, by the hub's clock
  base::SystemTime received_at{};     // when the batch was written
  std::chrono::seconds interval{30};  // between two batches, as the collector said
  Facts facts;
  std::optional<base::SystemTime> cluster_operators_at;  // when those of `facts` were read
  // Of the object's status; absent: not known.
  std::optional<model::ClusterCounts> counts;
  std::optional<std::int64_t> namespaces;
  std::string version, platform;
  // As the status document says.
  model::Health health = model::Health::kUnknown;
  std::string message;
  bool operator==(const PushRecord&) const = default;
};

}  // namespace clusterpulse::store
