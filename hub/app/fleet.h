#pragma once

#include <chrono>
#include <ostream>
#include <stop_token>
#include <string>
#include <vector>

#include <absl/status/status.h>

#include "common/base/clock.h"
#include "hub/app/connections.h"

namespace clusterpulse::app {

struct FleetView {
  std::string ns;  // empty: all namespaces, with a column for it
  bool json = false;
  bool watch = false;
  std::chrono::seconds interval{2};
  bool clear_screen = false;  // between two prints of `watch`
};

// Prints the fleet as the ClusterConnections tell it: once, or with `watch` until `stop`. A failed read ends the first
// print with its error; later ones print the error and go on.
absl::Status ShowFleet(kube::KubeApi& api, const FleetView& options, const base::Clock& clock, std::ostream& out,
                       std::stop_token stop);

// CLUSTER MODE PHASE HEALTH READY NODES PODS VERSION DATA-AGE, aligned.
std::string FleetTable(const std::vector<ConnectionRow>& rows, bool with_namespace, base::SystemTime now);
// One line: an array of objects with the same contents; what is unknown is left out.
std::string FleetJson(const std::vector<ConnectionRow>& rows, base::SystemTime now);

}  // namespace clusterpulse::app
