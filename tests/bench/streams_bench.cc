// What 500 and 1,000 connected, idle collectors cost the real hub in memory, divided by what as many cost plain_server;
// and how long it takes until 1,000 are back after a restart of the hub, divided by 1,000 TLS handshakes alone from the
// same process. Every collector has a TLS connection of its own and sends one batch when it was let in, to both
// servers; for the restart it is encoded before, as each collector does for itself in the field. Any argument: the
// short run that only shows that it works.
#include <array>
#include <vector>

#include <fmt/format.h>
#include <grpcpp/channel.h>

#include "tests/bench/bench_row.h"
#include "tests/bench/process_stats.h"
#include "tests/bench/push_rig.h"

namespace clusterpulse::bench {
namespace {

using fleetload::Fleet;

constexpr int kNodes = 50;
constexpr std::chrono::seconds kLimit{60};

struct Size {
  int rounds = 5, streams = 1000;
  std::chrono::seconds settle{2};
};

// KiB of `pid` for each stream: with half of the fleet connected, with all, and after all have sent two batches more.
std::array<double, 3> MemoryPerStream(Fleet& fleet, int pid, const Size& size) {
  constexpr int kAtOnce = 25;  // few handshakes at a time: what they need for a moment would count for all
  const double before = testing::StatusMiB(pid, "VmRSS");
  std::array<double, 3> each{};
  int connected = 0;
  const auto settle = [&] {
    if (!fleet.Settle(kLimit)) Fail("not every batch was made durable");
    fleet.RunFor(size.settle);
    return (testing::StatusMiB(pid, "VmRSS") - before) * 1024 / connected;
  };
  for (int half = 1; half <= 2; ++half) {
    const int wanted = size.streams * half / 2;
    while (connected < wanted) {
      connected = std::min(connected + kAtOnce, wanted);
      if (!fleet.Connect(static_cast<std::size_t>(connected), kLimit)) Fail("not every stream is live");
    }
    each[static_cast<std::size_t>(half - 1)] = settle();
  }
  if (!fleet.Push(2, kLimit)) Fail("not every batch was applied");
  each[2] = settle();
  return each;
}

// Seconds until so many connections of their own are up.
double Handshakes(const Fleet& fleet, int count) {
  const auto start = std::chrono::steady_clock::now();
  std::vector<std::shared_ptr<grpc::Channel>> channels;
  for (int i = 0; i < count; ++i) {
    channels.push_back(fleet.MakeChannel());
    channels.back()->GetState(true);
  }
  const auto until = std::chrono::system_clock::now() + kLimit;
  for (const auto& channel : channels) {
    if (!channel->WaitForConnected(until)) Fail("not every handshake was done");
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void Check(const Fleet& fleet, const Size& size) {
  const auto result = fleet.result();
  if (result.counts.violations != 0 || result.live != size.streams) {
    Fail(fmt::format("{} of {} streams live, {} violations", result.live, size.streams, result.counts.violations));
  }
}

int Run(const Size& size) {
  const auto rig = PushRig::Start({.clusters = size.streams, .interval = std::chrono::seconds(300)});
  if (rig == nullptr) return 77;
  const auto options = [](fleetload::FleetOptions o, int round) {
    o.interval = std::chrono::hours(1);  // idle: none by the clock
    o.nodes = kNodes;
    o.seed = static_cast<std::uint64_t>(round);  // collectors that the hub has not met
    return o;
  };
  std::array<std::vector<double>, 3> hub_each, plain_each, ratios;
  std::vector<double> live, welcomed, alone, storm_ratios, welcome_ratios;
  fmt::print("{:>6} {:>23} {:>23} {:>10} {:>10} {:>15}\n", "round", "hub KiB", "plain KiB", "live s", "let in s",
             "handshakes s");
  for (int round = 1; round <= size.rounds; ++round) {
    rig->StopHub();
    rig->StartHub();
    Fleet fleet(options(rig->FleetOptions(), round), rig->tokens());
    fleet.RunFor(size.settle);  // the hub looks at every object once
    const auto hub = MemoryPerStream(fleet, rig->hub_pid(), size);
    Check(fleet, size);

    rig->StopHub();
    fleet.DropAll();
    fleet.Prepare();
    rig->StartHub();
    if (!fleet.ConnectAll(kLimit)) Fail("not every stream returned", rig->File("hub.log"));
    Check(fleet, size);
    const auto storm = fleet.result();
    fleet.DropAll();

    const PlainServer plain(*rig);
    Fleet to_plain(options(plain.FleetOptions(), round), rig->tokens());
    const auto bare = MemoryPerStream(to_plain, plain.pid(), size);
    Check(to_plain, size);
    to_plain.DropAll();
    const double handshakes = Handshakes(to_plain, size.streams);

    fmt::print("{:>6} {:>7.1f} {:>7.1f} {:>7.1f} {:>7.1f} {:>7.1f} {:>7.1f} {:>10.2f} {:>10.2f} {:>15.2f}\n", round,
               hub[0], hub[1], hub[2], bare[0], bare[1], bare[2], storm.all_live_seconds, storm.all_welcomed_seconds,
               handshakes);
    for (std::size_t i = 0; i < ratios.size(); ++i) {
      hub_each[i].push_back(hub[i]);
      plain_each[i].push_back(bare[i]);
      ratios[i].push_back(hub[i] / bare[i]);
    }
    live.push_back(storm.all_live_seconds);
    welcomed.push_back(storm.all_welcomed_seconds);
    alone.push_back(handshakes);
    storm_ratios.push_back(storm.all_live_seconds / handshakes);
    welcome_ratios.push_back(storm.all_welcomed_seconds / handshakes);
  }
  const auto print = [&](std::size_t i, int streams, std::string_view what, std::string_view must,
                         std::string_view aim) {
    PrintRow(fmt::format("{} connected collectors, {}: hub memory each / bare gRPC server", streams, what),
             fmt::format("ratio {:.2f} ({:.1f} KiB / {:.1f} KiB)", Median(ratios[i]), Median(hub_each[i]),
                         Median(plain_each[i])),
             must, aim);
  };
  print(0, size.streams / 2, "idle", "<= 1.5", "1.2");
  print(1, size.streams, "idle", "<= 1.5", "1.2");
  print(2, size.streams, "idle after three batches", "report", "-");
  PrintRow(
      fmt::format("reconnect storm, {} streams return after a restart / as many TLS handshakes alone", size.streams),
      fmt::format("ratio {:.2f} until all have their first batch of {} nodes applied ({:.2f} s), {:.2f} until all "
                  "are let in ({:.2f} s); handshakes {:.2f} s",
                  Median(storm_ratios), kNodes, Median(live), Median(welcome_ratios), Median(welcomed), Median(alone)),
      "<= 2", "1.2");
  rig->StopHub();
  return 0;
}

}  // namespace
}  // namespace clusterpulse::bench

int main(int argc, char** /*argv*/) {
  using namespace clusterpulse::bench;
  using std::chrono::seconds;
  const Size size = argc > 1 ? Size{.rounds = 1, .streams = 10, .settle = seconds(0)} : Size();
  return RunBenchmark([&size] { return Run(size); });
}
