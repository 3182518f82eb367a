#pragma once

#include <string>
#include <string_view>

#include <absl/status/status.h>

#include "common/json/cursor.h"
#include "common/model/cluster.h"

namespace clusterpulse::survey {

// Each reads one object and sets the members of `out` that it tells. Fields of a wrong type count as absent. kDataLoss:
// broken JSON.

// An OpenShift ClusterVersion: also makes `out` an OpenShift one.
absl::Status ReadClusterVersion(json::Cursor object, model::ClusterInfo& out);
// The answer of /version: version ("unknown" when it tells none) and platform.
absl::Status ReadServerVersion(json::Cursor object, model::ClusterInfo& out);
// The Route of the console: its address, untouched when the route has no host.
absl::Status ReadConsoleRoute(json::Cursor object, model::ClusterInfo& out);

// Where a cluster's console most likely is: https://api.<base>:port gives
// https://console-openshift-console.apps.<base>, anything else the endpoint itself.
std::string DeriveConsoleUrl(std::string_view endpoint);

}  // namespace clusterpulse::survey
