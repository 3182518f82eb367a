#include <iostream>
#include <string>
#include <vector>

#include <unistd.h>

#include "common/app/runtime.h"
#include "common/app/signals.h"
#include "hub/app/app.h"
#include "hub/app/command_line.h"

int main(int argc, char** argv) {
  using namespace clusterpulse;
  app::TuneRuntime();
  app::BlockSignals();  // before the first thread
  const std::vector<std::string> args(argv + 1, argv + argc);
  app::Process process{
      .environment = config::ProcessEnvironment(),
      .out = std::cout,
      .err = std::cerr,
      .out_is_terminal = ::isatty(STDOUT_FILENO) == 1,
      .hub_api = app::ConnectHub,
      .signals = app::SignalHandler::Start,
      .run = app::RunHub,
  };
  return app::Execute(args, process);
}
