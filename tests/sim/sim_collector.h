#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "collector/app/batcher.h"
#include "collector/link/link_machine.h"
#include "collector/link/outbox.h"
#include "collector/spool/testing/fake_file_system.h"
#include "tests/sim/delivery_log.h"
#include "tests/sim/network.h"
#include "tests/sim/world.h"

namespace clusterpulse::sim {

// One collector: the real Batcher, Outbox and LinkMachine, the latter driven as HubLink's loop does. Its cluster is one
// node whose CPU is another number in each batch, so that every sample can be traced to the batch that made it.
// Everything it makes, and what the hub tells it, goes into the log.
class SimCollector {
 public:
  struct Options {
    std::string cluster;            // two of one cluster are rivals
    std::uint64_t first_value = 1;  // rivals' values must differ
    std::chrono::seconds interval{30};
    std::size_t max_batches = 10;  // in memory
    bool has_spool = true;
    std::uint64_t spool_bytes = std::uint64_t{1} << 20, segment_bytes = std::uint64_t{16} << 10;
  };
  // What is found on the disk when it is opened: an account of the processes before.
  using OnSpool = std::function<void(const SimCollector& collector, const std::string& instance, const Kept& kept)>;
  SimCollector(World& world, Network& network, DeliveryLog& log, std::size_t index, std::size_t hubs, Options options,
               OnSpool on_spool);
  ~SimCollector();

  void Start();
  // kill -9; `silent`: its host loses power.
  void Kill(bool silent);
  // Within the n-th change of its disk from now.
  void KillInChange(std::uint64_t changes);
  // As a process that returns from main, or whose disk was stopped.
  void End();
  // SIGTERM: gone once the link has ended, at the latest after seven seconds.
  void Stop();
  bool is_up() const { return process_ != nullptr; }

  HostClock& clock() { return clock_; }
  spool::FakeFileSystem& disk() { return disk_; }
  // From here on the disk may lose what it was given; before, everything that was kept on it must be there.
  void DiskIsHarmed() { is_disk_harmed_ = true; }
  bool is_disk_harmed() const { return is_disk_harmed_; }
  // One bit of what is on its disk, when nobody has it open. False: there is none, or somebody has.
  bool FlipBit();
  const std::string& cluster() const { return cluster_; }
  // Which hub the next connect goes to; nullopt: any.
  void PreferHub(std::optional<std::size_t> hub) { preferred_hub_ = hub; }
  // Between two batches, also of later processes.
  void SetInterval(std::chrono::seconds interval);
  // Something in its cluster changed: an early batch is due.
  void News();
  // The instance and what it holds, for the account; nullopt: no process lives.
  std::optional<std::pair<std::string, Kept>> Describe() const;
  // All it made is known to be durable, or given up.
  bool is_settled() const;
  // A rule of HubTransport that was broken; empty: none.
  const std::string& fault() const { return fault_; }

 private:
  struct Process;

  World& world_;
  Network& network_;
  DeliveryLog& log_;
  const std::size_t index_, hubs_;
  Options options_;
  const OnSpool on_spool_;
  const std::string cluster_;
  HostClock clock_;
  spool::FakeFileSystem disk_;
  bool is_disk_harmed_ = false;
  std::optional<std::size_t> preferred_hub_;
  std::uint64_t processes_ = 0, made_ = 0;
  std::string fault_;
  std::unique_ptr<Process> process_;
};

}  // namespace clusterpulse::sim
