// pull_bench [--clusters N] [--nodes N] [--pods-per-node N] [--seconds S]: CPU and memory of the real hub that pulls
// simulated clusters every 30 s, measured from /proc over whole intervals after every cluster became healthy.
// Limits: <= 25 % of a core and <= 128 MiB for 50 clusters of 100 nodes and 2,000 pods (aim 10 %).
#include <cstdio>
#include <sstream>
#include <thread>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "tests/bench/bench_row.h"
#include "tests/bench/process_stats.h"
#include "tests/support/process.h"

namespace clusterpulse::testing {
namespace {

struct Options {
  int clusters = 50, nodes = 100, pods_per_node = 20, seconds = 90;
  bool check = false;
};

int Run(const Options& options) {
  const TempDir dir;
  const std::string bin = BinDir();
  auto sim = ChildProcess::Start(
      {.argv = {bin + "/kubesim", "--hub", "1", "--clusters", std::to_string(options.clusters), "--openshift", "5",
                "--operators", "5", "--nodes", std::to_string(options.nodes), "--pods-per-node",
                std::to_string(options.pods_per_node), "--churn", "2", "--dir", dir.path()},
       .env = {},
       .unset = {},
       .output = dir.File("kubesim.log")});
  if (!sim.ok() || !Eventually(std::chrono::seconds(180), [&] {
        return ReadFile(dir.File("kubesim.log")).find("\nready") != std::string::npos;
      })) {
    std::fprintf(stderr, "kubesim did not start: %s\n", ReadFile(dir.File("kubesim.log")).c_str());
    return 1;
  }
  const std::map<std::string, std::string> env{{"KUBECONFIG", dir.File("hub.kubeconfig")}, {"NAMESPACE", "default"}};
  const std::string hub_binary = bin + "/clusterpulse-hub";
  RunCommand({hub_binary, "crds", "apply"}, env);
  for (int i = 1; i <= options.clusters; ++i) {
    const std::string name = fmt::format("cluster-{}", i);
    const CommandResult result =
        RunCommand({hub_binary, "connect", name, "--from", dir.File(name + ".kubeconfig")}, env);
    if (result.exit_code != 0) {
      std::fprintf(stderr, "%s\n", result.out.c_str());
      return 1;
    }
  }
  auto hub = ChildProcess::Start(
      {.argv = {hub_binary, "--metrics-bind-address=0", "--health-probe-bind-address=0", "--ingester-enabled=false"},
       .env = env,
       .unset = {"REDIS_HOST"},
       .output = dir.File("hub.log")});
  if (!hub.ok()) return 1;
  // Counts rows that say Connected.
  const auto connected = [&] {
    std::istringstream table(RunCommand({hub_binary, "fleet"}, env).out);
    int count = 0;
    for (std::string line; std::getline(table, line);) count += line.find(" Connected ") != std::string::npos;
    return count;
  };
  if (!Eventually(std::chrono::seconds(120), [&] { return connected() == options.clusters; })) {
    std::fprintf(stderr, "only %d of %d clusters connected; hub log:\n%s\n", connected(), options.clusters,
                 ReadFile(dir.File("hub.log")).c_str());
    return 1;
  }
  // The first pass also reads operators; measure what every later one costs.
  std::this_thread::sleep_for(std::chrono::seconds(30));
  const double before = CpuSeconds(hub->pid());
  const auto start = std::chrono::steady_clock::now();
  std::this_thread::sleep_for(std::chrono::seconds(options.seconds));
  const double wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double share = 100 * (CpuSeconds(hub->pid()) - before) / wall;
  const double rss = StatusMiB(hub->pid(), "VmRSS"), peak = StatusMiB(hub->pid(), "VmHWM");
  const int still = connected();
  bench::PrintRow(
      fmt::format("pull of {} clusters x {} nodes / {} pods every 30 s, {:.0f} s measured", options.clusters,
                  options.nodes, options.nodes * options.pods_per_node, wall),
      fmt::format("hub CPU {:.1f} % of a core, RSS {:.0f} MiB, peak {:.0f} MiB, connected {}", share, rss, peak, still),
      "<= 25 %, <= 128 MiB", "10 %");
  if (hub->Stop() != 0 || still != options.clusters) return 1;
  return options.check && (share > 25 || peak > 128) ? 1 : 0;
}

}  // namespace
}  // namespace clusterpulse::testing

int main(int argc, char** argv) {
  clusterpulse::testing::Options options;
  CLI::App app("CPU and memory of the hub in pull mode.");
  app.add_option("--clusters", options.clusters)->capture_default_str();
  app.add_option("--nodes", options.nodes)->capture_default_str();
  app.add_option("--pods-per-node", options.pods_per_node)->capture_default_str();
  app.add_option("--seconds", options.seconds)->capture_default_str();
  app.add_flag("--check", options.check, "exit 1 when a limit is exceeded");
  CLI11_PARSE(app, argc, argv);
  return clusterpulse::testing::Run(options);
}
