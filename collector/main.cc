#include <iostream>
#include <string>
#include <vector>

#include <malloc.h>

#include "collector/app/app.h"
#include "collector/app/command_line.h"
#include "common/app/signals.h"

int main(int argc, char** argv) {
  // Pages of lists are megabytes that live for milliseconds. A fixed threshold returns them to the system when freed,
  // and one arena keeps what stays in one place (docs/benchmarks.md).
  ::mallopt(M_MMAP_THRESHOLD, 128 << 10);
  ::mallopt(M_ARENA_MAX, 1);
  using namespace clusterpulse;
  app::BlockSignals();  // before the first thread
  const std::vector<std::string> args(argv + 1, argv + argc);
  collector::Process process{
      .environment = config::ProcessEnvironment(), .out = std::cout, .err = std::cerr, .run = collector::RunCollector};
  return collector::Execute(args, process);
}
