#pragma once

#include <string>

#include <absl/status/statusor.h>

namespace clusterpulse::app {

// docs/configuration.md as a whole: made from the table of options.
std::string ConfigurationReference();

// docs/metrics.md as a whole: composes the hub without starting it and describes what it registered.
absl::StatusOr<std::string> MetricsReference();

}  // namespace clusterpulse::app
