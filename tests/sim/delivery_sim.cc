// delivery_sim [--seeds N] [--first S] [--verbose]: runs so many seeds of the delivery simulation (simulation.h), each
// in some milliseconds. One line for each that fails, with what was violated and the command that replays it bit for
// bit; a line of figures at the end. Exit code 1 when any failed.
#include <chrono>
#include <cstdint>
#include <cstdio>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "tests/sim/simulation.h"

int main(int argc, char** argv) {
  std::uint64_t seeds = 1, first = 1;
  bool verbose = false;
  int outage = 0;
  CLI::App app("Simulates collectors, hubs and stores under faults on virtual time.");
  app.add_option("--seeds", seeds, "how many");
  app.add_option("--first", first, "the first of them");
  app.add_option("--outage", outage, "minutes for which all hubs are gone, as the only fault");
  app.add_flag("--verbose", verbose, "print what happens");
  CLI11_PARSE(app, argc, argv);

  const auto begin = std::chrono::steady_clock::now();
  std::uint64_t failed = 0, batches = 0, faults = 0;
  double hours = 0;
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    const clusterpulse::sim::Result result =
        clusterpulse::sim::Run({.seed = seed, .verbose = verbose, .outage = std::chrono::minutes(outage)});
    batches += result.batches;
    faults += result.faults;
    hours += result.virtual_seconds / 3600;
    if (verbose) fmt::print("log {:016x}\n", result.log_hash);
    if (result.failures.empty()) continue;
    ++failed;
    fmt::print("seed {} failed: {} (and {} more); replay: delivery_sim --first {} --verbose\n", seed,
               result.failures.front(), result.failures.size() - 1, seed);
    (void)std::fflush(stdout);
  }
  const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  fmt::print("{} seeds, {} failed: {} batches, {} faults, {:.0f} virtual hours in {:.1f} s\n", seeds, failed, batches,
             faults, hours, took);
  return failed == 0 ? 0 : 1;
}
