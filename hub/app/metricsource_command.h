#pragma once

#include <span>
#include <string>

#include "hub/app/command_line.h"

namespace clusterpulse::app {

// `metricsource check FILE...` and `metricsource try FILE`: for the person who writes a MetricSource. Exit codes as
// Execute: check gives 1 when a source has an error.
int MetricSourceCommand(std::span<const std::string> args, Process& process);

}  // namespace clusterpulse::app
