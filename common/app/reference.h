#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/config/options.h"
#include "common/telemetry/registry.h"

namespace clusterpulse::app {

// The generated documents of a program, as a whole. A test of each program compares them with docs/.

// `rules`: what the table does not say, a markdown list.
std::string ConfigurationDocument(std::string_view program, const std::vector<config::Option>& options,
                                  std::string_view rules);
// `about`: one sentence on what is counted.
std::string MetricsDocument(std::string_view program, const telemetry::Registry& registry, std::string_view about);

}  // namespace clusterpulse::app
