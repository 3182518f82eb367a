#pragma once

#include <functional>
#include <ostream>
#include <span>
#include <string>

#include <absl/status/statusor.h>

#include "collector/app/config.h"
#include "common/config/options.h"

namespace clusterpulse::collector {

// What a command uses of the process it runs in; tests bring their own.
struct Process {
  config::Environment environment;
  std::ostream& out;
  std::ostream& err;
  // `clusterpulse-collector` without a command: runs until stopped and returns the exit code.
  std::function<int(const LoadedConfig& config)> run;
};

// Carries out one command line (without the program's name) and returns the exit code: 0; 1 when the work failed; 2
// when the command line or the configuration is refused, with one line on `err`.
int Execute(std::span<const std::string> args, Process& process);

// docs/collector-configuration.md and docs/collector-metrics.md as a whole. For the latter the collector is composed
// without being started.
std::string ConfigurationReference();
absl::StatusOr<std::string> MetricsReference();

}  // namespace clusterpulse::collector
