// 300 push clusters of 50 nodes (20 labels each) that report over TLS every 30 s to the real hub, with its controllers
// and status writes on and a real Redis (append-only file, synced every second) beside it: CPU and memory of the hub
// over 90 s. Any argument: the short run that only shows that it works.
#include <sstream>

#include <fmt/format.h>

#include "tests/bench/bench_row.h"
#include "tests/bench/process_stats.h"
#include "tests/bench/push_rig.h"

namespace clusterpulse::bench {
namespace {

constexpr int kNodes = 50;
constexpr double kConnectsPerSecond = 50;
constexpr std::chrono::seconds kLimit{60};

struct Size {
  int clusters = 300;
  std::chrono::seconds interval{30}, settle{40}, measured{90};
};

// Rows of the fleet table that say connected and healthy.
int HealthyClusters(const PushRig& rig) {
  std::istringstream table(testing::RunCommand({testing::BinDir() + "/clusterpulse-hub", "fleet",
                                                "--kubeconfig=" + rig.File("hub.kubeconfig"), "--namespace=default"})
                               .out);
  int count = 0;
  for (std::string line; std::getline(table, line);) {
    count += line.find(" Connected ") != std::string::npos && line.find(" healthy ") != std::string::npos;
  }
  return count;
}

int Run(const Size& size) {
  const auto rig =
      PushRig::Start({.clusters = size.clusters, .redis_config = {"appendonly yes", "appendfsync everysec"}});
  if (rig == nullptr) return 77;
  fleetload::FleetOptions options = rig->FleetOptions();
  options.nodes = kNodes;
  options.interval = size.interval;
  options.connects_per_second = kConnectsPerSecond;
  fleetload::Fleet fleet(options, rig->tokens());
  if (!fleet.ConnectAll(kLimit)) Fail("not every collector is connected", rig->File("hub.log"));
  fleet.RunFor(size.settle);

  const auto counts_before = fleet.result().counts;
  const double cpu_before = testing::CpuSeconds(rig->hub_pid());
  const double redis_before = testing::CpuSeconds(rig->redis().pid());
  const auto start = std::chrono::steady_clock::now();
  fleet.RunFor(size.measured);
  const double wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double cpu = 100 * (testing::CpuSeconds(rig->hub_pid()) - cpu_before) / wall;
  const double redis = 100 * (testing::CpuSeconds(rig->redis().pid()) - redis_before) / wall;
  const auto sent = fleet.result().counts.batches_sent - counts_before.batches_sent;
  const double rss = testing::StatusMiB(rig->hub_pid(), "VmRSS"), peak = testing::StatusMiB(rig->hub_pid(), "VmHWM");

  // While batches come: data of three intervals is old.
  const auto until = std::chrono::steady_clock::now() + kLimit;
  for (int healthy = 0; (healthy = HealthyClusters(*rig)) != size.clusters; fleet.RunFor(std::chrono::seconds(1))) {
    if (std::chrono::steady_clock::now() < until) continue;
    Fail(fmt::format("{} of {} clusters say connected and healthy", healthy, size.clusters));
  }

  if (!fleet.Settle(kLimit)) Fail("not every batch was made durable", rig->File("hub.log"));
  const auto result = fleet.result();
  if (result.counts.violations != 0 || result.counts.ended != 0 ||
      result.counts.durable != result.counts.batches_made) {
    Fail(fmt::format("{} of {} batches durable, {} streams ended, {} violations", result.counts.durable,
                     result.counts.batches_made, result.counts.ended, result.counts.violations));
  }
  PrintRow(fmt::format("hub, {} push clusters x {} nodes every {} s, {:.0f} s measured", size.clusters, kNodes,
                       size.interval.count(), wall),
           fmt::format("CPU {:.2f} % of a core, RSS {:.0f} MiB (peak {:.0f}), {} batches, all applied and durable; "
                       "redis-server {:.2f} %",
                       cpu, rss, peak, sent, redis),
           "<= 4 % of a core, RSS <= 128 MiB, every batch acked", "2 %");
  rig->StopHub();
  return 0;
}

}  // namespace
}  // namespace clusterpulse::bench

int main(int argc, char** /*argv*/) {
  using namespace clusterpulse::bench;
  using std::chrono::seconds;
  const Size size =
      argc > 1 ? Size{.clusters = 3, .interval = seconds(1), .settle = seconds(0), .measured = seconds(3)} : Size();
  return RunBenchmark([&size] { return Run(size); });
}
