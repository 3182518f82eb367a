// What a batch of 50 nodes (20 labels each, over TLS) costs the real hub, in CPU time of its whole process from the
// wire to the acknowledgement that it is durable, divided by
//   - redis-server's CPU time for the same keys written with the plain commands that the hub's Redis recorded;
//   - the CPU time of plain_server, which only receives, decodes and acknowledges the same load.
// The three run in turns; the medians of the rounds count. Any argument: the short run that only shows that it works.
#include <vector>

#include <fmt/format.h>

#include "tests/bench/bench_row.h"
#include "tests/bench/process_stats.h"
#include "tests/bench/push_rig.h"
#include "tests/bench/redis_replay.h"

namespace clusterpulse::bench {
namespace {

using fleetload::Fleet;
using testing::CpuSeconds;

constexpr int kNodes = 50;
constexpr std::chrono::seconds kLimit{60};

struct Size {
  int rounds = 7, clusters = 25, batches = 16;  // of each cluster in a round
};

// Microseconds of `pid` for each batch that `fleet` gets through.
double Load(Fleet& fleet, int pid, const Size& size) {
  const auto before = fleet.result().counts;
  const double cpu = CpuSeconds(pid);
  if (!fleet.Push(size.batches, kLimit) || !fleet.Settle(kLimit)) Fail("not every batch was made durable");
  const double used = CpuSeconds(pid) - cpu;
  const auto after = fleet.result().counts;
  const int wanted = size.clusters * size.batches;
  if (after.violations != 0 || after.applied - before.applied != static_cast<std::uint64_t>(wanted)) {
    Fail(fmt::format("{} of {} batches applied, {} violations", after.applied - before.applied, wanted,
                     after.violations));
  }
  return used * 1e6 / wanted;
}

// Makes `copy` hold what `server` holds, now and again whenever it is told DEBUG RELOAD NOSAVE.
void Copy(const testing::RedisServer& server, const testing::RedisServer& copy) {
  copy.Cli({"REPLICAOF", "127.0.0.1", std::to_string(server.port())});
  const bool synced = testing::Eventually(std::chrono::seconds(20), [&] {
    return copy.Ask({"INFO", "replication"}).find("master_link_status:up") != std::string::npos;
  });
  if (!synced) Fail("redis does not replicate");
  copy.Cli({"REPLICAOF", "NO", "ONE"});
  if (copy.Ask({"SAVE"}) != "OK") Fail("redis does not save");
}

int Run(const Size& size) {
  const std::vector<std::string> redis_config{"enable-debug-command yes", "repl-diskless-sync-delay 0"};
  const auto rig = PushRig::Start({.clusters = size.clusters, .redis_config = redis_config});
  const auto copy = testing::RedisServer::Start({.config = redis_config});
  if (rig == nullptr || copy == nullptr) return 77;
  const PlainServer plain(*rig);
  const auto options = [](fleetload::FleetOptions o) {
    o.interval = std::chrono::hours(1);  // none by the clock, only those that are pushed
    o.nodes = kNodes;
    return o;
  };
  Fleet to_hub(options(rig->FleetOptions()), rig->tokens()), to_plain(options(plain.FleetOptions()), rig->tokens());
  for (Fleet* const fleet : {&to_hub, &to_plain}) {
    if (!fleet->ConnectAll(kLimit) || !fleet->Push(2, kLimit) || !fleet->Settle(kLimit)) Fail("no connection");
  }

  // Recorded once, before the rounds: recording costs the server.
  RedisPipe player(*copy);
  std::vector<RedisStep> recorded;
  {
    RedisRecorder recorder(rig->redis());
    Copy(rig->redis(), *copy);
    Load(to_hub, rig->hub_pid(), size);
    recorded = recorder.Take();
    player.Play(recorded);
    // The hub writes a little by the clock as well.
    const bool same = testing::Eventually(std::chrono::seconds(10), [&] {
      player.Play(recorder.Take());
      return rig->redis().Ask({"DEBUG", "DIGEST"}) == copy->Ask({"DEBUG", "DIGEST"});
    });
    if (!same) Fail("the recorded commands did not end in the same keys");
  }
  std::size_t commands = 0;
  for (const RedisStep& step : recorded) commands += step.count;
  if (copy->Ask({"SCARD", "cluster:cluster-0001:nodes"}) != std::to_string(kNodes)) Fail("not every node is stored");

  const double batches = size.clusters * size.batches;
  std::vector<double> to_redis, to_transport, hub_times, redis_times, plain_times;
  fmt::print("{:.0f} commands recorded for each batch\n{:>6} {:>12} {:>22} {:>20} {:>16}\n",
             static_cast<double>(commands) / batches, "round", "hub us", "redis us (recorded)", "redis us (ours)",
             "plain server us");
  for (int round = 1; round <= size.rounds; ++round) {
    const double own_before = CpuSeconds(rig->redis().pid());
    const double hub = Load(to_hub, rig->hub_pid(), size);
    const double own = (CpuSeconds(rig->redis().pid()) - own_before) * 1e6 / batches;
    copy->Ask({"DEBUG", "RELOAD", "NOSAVE"});
    const double before = CpuSeconds(copy->pid());
    player.Play(recorded);
    const double redis = (CpuSeconds(copy->pid()) - before) * 1e6 / batches;
    const double transport = Load(to_plain, plain.pid(), size);
    fmt::print("{:>6} {:>12.0f} {:>22.0f} {:>20.0f} {:>16.0f}\n", round, hub, redis, own, transport);
    to_redis.push_back(hub / redis);
    to_transport.push_back(hub / transport);
    hub_times.push_back(hub);
    redis_times.push_back(redis);
    plain_times.push_back(transport);
  }
  const std::string what = fmt::format("hub ingest, CPU per batch of {} nodes / ", kNodes);
  PrintRow(
      what + "redis-server, recorded plain commands",
      fmt::format("ratio {:.2f} ({:.0f} us / {:.0f} us)", Median(to_redis), Median(hub_times), Median(redis_times)),
      "<= 1.5", "1.0");
  PrintRow(
      what + "receive, decode, acknowledge",
      fmt::format("ratio {:.2f} ({:.0f} us / {:.0f} us)", Median(to_transport), Median(hub_times), Median(plain_times)),
      "report", "<= 3");
  rig->StopHub();
  return 0;
}

}  // namespace
}  // namespace clusterpulse::bench

int main(int argc, char** /*argv*/) {
  using namespace clusterpulse::bench;
  const Size size = argc > 1 ? Size{.rounds = 1, .clusters = 2, .batches = 2} : Size();
  return RunBenchmark([&size] { return Run(size); });
}
