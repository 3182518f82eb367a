#pragma once

#include <functional>
#include <memory>
#include <ostream>
#include <span>
#include <string>

#include <absl/status/statusor.h>

#include "common/app/signals.h"
#include "common/config/options.h"
#include "common/kube/kube_api.h"
#include "hub/app/config.h"

namespace clusterpulse::app {

// What a command uses of the process it runs in; tests bring their own.
struct Process {
  config::Environment environment;
  std::ostream& out;
  std::ostream& err;
  bool out_is_terminal = false;

  // The API of the hub cluster, or of the one that a command looks at, by kubeconfig (empty: KUBECONFIG, in-cluster)
  // and context (empty: its current one).
  std::function<absl::StatusOr<std::unique_ptr<kube::KubeApi>>(const std::string& kubeconfig,
                                                               const std::string& context)>
      hub_api;
  // Makes signals stop the command.
  std::function<absl::StatusOr<std::unique_ptr<SignalHandler>>(base::StopSignal&, SignalHandler::Options)> signals;
  // `clusterpulse-hub` without a command: runs until stopped and returns the exit code.
  std::function<int(const LoadedConfig& config, Process& process)> run;
};

// Carries out one command line (without the program's name) and returns the exit code: 0; 1 when the work failed; 2
// when the command line or the configuration is refused, with one line on `err`.
int Execute(std::span<const std::string> args, Process& process);

// What `help` prints.
std::string Usage();

}  // namespace clusterpulse::app
