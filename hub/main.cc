#include <iostream>
#include <string>
#include <vector>

#include <malloc.h>
#include <unistd.h>

#include "common/app/signals.h"
#include "hub/app/app.h"
#include "hub/app/command_line.h"

int main(int argc, char** argv) {
  // Pages of lists are megabytes that live for milliseconds on many threads. A fixed threshold returns them to the
  // system when freed, and few arenas keep what stays in one place: 83 instead of 241 MiB for 50 clusters
  // (docs/benchmarks.md).
  ::mallopt(M_MMAP_THRESHOLD, 128 << 10);
  ::mallopt(M_ARENA_MAX, 2);
  using namespace clusterpulse;
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
