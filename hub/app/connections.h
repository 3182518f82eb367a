#pragma once

#include <optional>
#include <string>
#include <vector>

#include <absl/status/statusor.h>

#include "common/base/clock.h"
#include "common/kube/kube_api.h"

namespace clusterpulse::app {

// A ClusterConnection as the fleet table shows it.
struct ConnectionRow {
  kube::ObjectKey key;
  std::string mode = "pull", phase, health, version, message;
  std::optional<std::int64_t> nodes, nodes_ready, pods;
  std::optional<base::SystemTime> last_sync;
};

// All pages; namespace and name order. Empty `ns`: all namespaces. kNotFound: the definition is not installed.
absl::StatusOr<std::vector<ConnectionRow>> ListConnections(kube::KubeApi& api, const std::string& ns,
                                                           const kube::CallOptions& options);

}  // namespace clusterpulse::app
