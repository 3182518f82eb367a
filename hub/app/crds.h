#pragma once

#include <chrono>
#include <ostream>
#include <span>
#include <stop_token>
#include <string_view>

#include <absl/status/status.h>

#include "common/kube/kube_api.h"

namespace clusterpulse::app {

// One file of deploy/crds, compiled in.
struct EmbeddedCrd {
  std::string_view file, yaml;
};
std::span<const EmbeddedCrd> EmbeddedCrds();

// All of them as one YAML text.
void PrintCrds(std::ostream& out);

// Server-side applies each definition, taking over fields of other managers, and waits until the server serves it: at
// most `timeout` over all. One line each: created, configured or unchanged. Repeatable. kDeadlineExceeded names what is
// not established yet; otherwise the errors of KubeApi.
absl::Status ApplyCrds(kube::KubeApi& api, std::chrono::milliseconds timeout, std::ostream& out, std::stop_token stop);

}  // namespace clusterpulse::app
