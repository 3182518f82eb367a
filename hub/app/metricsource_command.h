#pragma once

#include <span>
#include <string>

#include "hub/app/command_line.h"

namespace clusterpulse::app {

// `metricsource check FILE...` and `metricsource try FILE...`: for the person who writes a MetricSource. Exit codes as
// Execute; 1 also when a source has an error, or one of its lists failed.
int MetricSourceCommand(std::span<const std::string> args, Process& process);

}  // namespace clusterpulse::app
