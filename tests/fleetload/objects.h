#pragma once

#include <chrono>
#include <map>
#include <string>

#include <absl/status/statusor.h>

#include "common/kube/kube_api.h"

namespace clusterpulse::fleetload {

// Applies `count` ClusterConnections in push mode named "<prefix>-0001"... and waits until the hub has made a token for
// each. cluster -> token.
absl::StatusOr<std::map<std::string, std::string>> MakeClusters(kube::KubeApi& hub, const std::string& ns,
                                                                const std::string& prefix, int count,
                                                                std::chrono::seconds interval,
                                                                std::chrono::seconds limit);

}  // namespace clusterpulse::fleetload
