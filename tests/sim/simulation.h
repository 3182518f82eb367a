#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace clusterpulse::sim {

// One run of the whole delivery path under faults: collectors, link, hub replicas and stores in one process, on virtual
// time, network and disk (delivery.md, and the classes beside this). The seed decides the shape of the fleet, every
// delay and every fault. After the last fault all is healed and left alone; then the model checker has its say, at the
// latest after twenty virtual minutes (after an outage: four hours).
struct Result {
  std::uint64_t seed = 0;
  std::uint64_t log_hash = 0;  // the same for the same seed
  std::vector<std::string> failures;
  // What it amounted to.
  std::uint64_t batches = 0, faults = 0, actions = 0;
  std::uint64_t lost = 0;  // numbers in gaps of the ledger, at the end
  double virtual_seconds = 0;
};

struct Options {
  std::uint64_t seed = 1;
  bool verbose = false;  // the log goes to stdout
  // What a kill of the history store costs; more than ten seconds is more than the hub reckons with, and is found.
  std::chrono::seconds history_unwritten{10};
  // No faults but one: all hubs are gone for so long. 0: faults as the seed has it.
  std::chrono::minutes outage{0};
  std::uint64_t outage_spool_bytes = std::uint64_t{16} << 20;
};

Result Run(const Options& options);

}  // namespace clusterpulse::sim
