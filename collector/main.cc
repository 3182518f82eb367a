#include <iostream>
#include <string>
#include <vector>

#include "collector/app/app.h"
#include "collector/app/command_line.h"
#include "common/app/runtime.h"
#include "common/app/signals.h"

int main(int argc, char** argv) {
  using namespace clusterpulse;
  app::TuneRuntime();
  app::BlockSignals();  // before the first thread
  const std::vector<std::string> args(argv + 1, argv + argc);
  collector::Process process{
      .environment = config::ProcessEnvironment(), .out = std::cout, .err = std::cerr, .run = collector::RunCollector};
  return collector::Execute(args, process);
}
