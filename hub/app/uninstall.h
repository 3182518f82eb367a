#pragma once

#include <ostream>
#include <stop_token>
#include <string>

#include <absl/status/status.h>

#include "common/kube/kube_api.h"

namespace clusterpulse::app {

// Takes our finalizer off every ClusterConnection of a namespace (empty: of all), so that the objects, their namespace
// and their definition can be deleted with no hub running. Objects stay, other finalizers too. Run it after the hub was
// stopped: a running hub puts the finalizer back. Repeatable. Prints a line per changed object and a summary; ends with
// the first error after having tried all objects. No definition installed: nothing to do.
absl::Status RemoveFinalizers(kube::KubeApi& api, const std::string& ns, std::ostream& out, std::stop_token stop);

}  // namespace clusterpulse::app
