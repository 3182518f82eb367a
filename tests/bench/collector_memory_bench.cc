// collector_memory_bench [--nodes N] [--pods-per-node N] [--churn PER_SECOND] [--interval S] [--settle S] [--seconds S]
// [--check]: memory and CPU of the real collector that watches a simulated cluster over TLS and reports to a hub over
// TLS, measured from /proc after the first sync. Limits: RSS <= 40 MiB (aim 25), peak over that <= 16 MiB (aim 8), <= 1
// % of a core (aim 0.5 %), no list of nodes, pods, namespaces or deployments after the first.
#include <chrono>
#include <cstdio>
#include <sstream>
#include <thread>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "common/http/client.h"
#include "common/json/value.h"
#include "tests/bench/bench_row.h"
#include "tests/bench/process_stats.h"
#include "tests/collector/link/test_hub.h"
#include "tests/common/http/testing/test_certs.h"
#include "tests/support/process.h"

namespace clusterpulse::testing {
namespace {

struct Options {
  int nodes = 200, pods_per_node = 50, interval = 30, settle = 30, seconds = 90;
  double churn = 20;
  bool check = false;
};

std::string Fetch(const std::string& base_url, const std::string& target) {
  const auto client = http::Client::Create({.base_url = base_url});
  json::Buffer body;
  if (!client.ok() || !(*client)->Fetch({.target = target}, body, {.timeout = std::chrono::seconds(5)}).ok()) return "";
  return std::string(body.view());
}

// The sum over all series of a metric.
double Sum(const std::string& metrics, const std::string& name) {
  std::istringstream lines(metrics);
  double sum = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(name)) sum += std::atof(line.c_str() + line.rfind(' '));
  }
  return sum;
}

// List requests (each page is one) for what the collector watches, as the simulated server counts them; -1: it does not
// answer.
std::int64_t Lists(const std::string& control_url) {
  const auto answer = json::Value::Parse(Fetch(control_url, "/servers"));
  if (!answer.ok() || (*answer)["servers"].items().size() != 1) return -1;
  const json::Value& requests = (*answer)["servers"].items()[0]["requests"];
  std::int64_t lists = 0;
  for (const char* type : {"nodes", "pods", "namespaces", "deployments"}) {
    lists += requests[std::string("list ") + type].IntOr(0);
  }
  return lists;
}

int Fail(const std::string& what, const std::string& log) {
  std::fprintf(stderr, "collector_memory_bench: %s; log:\n%s\n", what.c_str(), log.c_str());
  return 1;
}

int Run(const Options& options) {
  const TempDir dir;
  const std::string bin = BinDir();
  auto sim = ChildProcess::Start(
      {.argv = {bin + "/kubesim", "--hub", "0", "--clusters", "1", "--openshift", "0", "--nodes",
                std::to_string(options.nodes), "--pods-per-node", std::to_string(options.pods_per_node), "--churn",
                std::to_string(options.churn), "--dir", dir.path(), "--control", "127.0.0.1:0"},
       .env = {},
       .unset = {},
       .output = dir.File("kubesim.log")});
  if (!sim.ok() || !Eventually(std::chrono::seconds(180), [&] {
        return ReadFile(dir.File("kubesim.log")).find("\nready") != std::string::npos;
      })) {
    return Fail("kubesim did not start", ReadFile(dir.File("kubesim.log")));
  }
  const std::string sim_log = ReadFile(dir.File("kubesim.log"));
  const auto control = sim_log.find("http://");
  const std::string control_url = sim_log.substr(control, sim_log.find('\n', control) - control);
  const http::KeyPair ca = http::MakeCa("bench-ca");
  WriteFile(dir.File("ca.pem"), ca.cert_pem);
  const link::TestHub hub({.tls = http::MakeCert(ca, {.names = {"IP:127.0.0.1"}})});
  const int metrics_port = FreePort();
  auto collector = ChildProcess::Start(
      {.argv = {bin + "/clusterpulse-collector", "--kubeconfig=" + dir.File("cluster-1.kubeconfig"),
                fmt::format("--metrics-bind-address=127.0.0.1:{}", metrics_port), "--health-probe-bind-address=0"},
       .env = {{"CLUSTER_NAME", "cluster-1"},
               {"COLLECTOR_TOKEN", "token"},
               {"COLLECT_INTERVAL", std::to_string(options.interval)},
               {"INGESTER_ADDRESS", hub.address()},
               {"INGESTER_TLS_ENABLED", "true"},
               {"INGESTER_TLS_CA", dir.File("ca.pem")}},
       .unset = {},
       .output = dir.File("collector.log")});
  if (!collector.ok()) return Fail("the collector did not start", "");
  if (!hub.WaitFor([](const link::TestHub::Seen& seen) {
        return !seen.batches.empty() && seen.batches.back().snapshot.nodes.has_value();
      })) {
    return Fail("no batch with nodes came", ReadFile(dir.File("collector.log")));
  }
  const int pid = collector->pid();
  std::this_thread::sleep_for(std::chrono::seconds(options.settle));
  const double peak = StatusMiB(pid, "VmHWM");
  const std::int64_t first_lists = Lists(control_url);
  const double before = CpuSeconds(pid);
  const auto start = std::chrono::steady_clock::now();
  std::this_thread::sleep_for(std::chrono::seconds(options.seconds));
  const double wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double share = 100 * (CpuSeconds(pid) - before) / wall;
  const double rss = StatusMiB(pid, "VmRSS");
  const std::string metrics = Fetch(fmt::format("http://127.0.0.1:{}", metrics_port), "/metrics");
  const std::int64_t lists = Lists(control_url) - first_lists;
  const std::string what = fmt::format("collector of {} nodes / {} pods, {} changes/s, every {} s", options.nodes,
                                       options.nodes * options.pods_per_node, options.churn, options.interval);
  bench::PrintRow(
      what + ", at rest",
      fmt::format("RSS {:.1f} MiB (of it code {:.1f}), CPU {:.2f} % of a core over {:.0f} s, {} lists after the first, "
                  "{:.0f} events",
                  rss, StatusMiB(pid, "RssFile"), share, wall, lists,
                  Sum(metrics, "clusterpulse_collector_watch_events_total{")),
      "RSS <= 40 MiB, <= 1 %, no list", "25 MiB, 0.5 %");
  bench::PrintRow(what + ", start: peak over that", fmt::format("{:.1f} MiB", peak - rss), "<= 16 MiB", "8 MiB");
  if (first_lists < 4 || lists != 0) {
    return Fail(fmt::format("{} lists at first, {} after them", first_lists, lists),
                ReadFile(dir.File("collector.log")));
  }
  if (collector->Stop() != 0) return Fail("the collector did not end cleanly", ReadFile(dir.File("collector.log")));
  return options.check && (rss > 40 || peak - rss > 16 || share > 1) ? 1 : 0;
}

}  // namespace
}  // namespace clusterpulse::testing

int main(int argc, char** argv) {
  clusterpulse::testing::Options options;
  CLI::App app("Memory and CPU of the collector.");
  app.add_option("--nodes", options.nodes)->capture_default_str();
  app.add_option("--pods-per-node", options.pods_per_node)->capture_default_str();
  app.add_option("--churn", options.churn, "object changes a second")->capture_default_str();
  app.add_option("--interval", options.interval, "seconds between two batches")->capture_default_str();
  app.add_option("--settle", options.settle, "seconds between the first batch and the measurement")
      ->capture_default_str();
  app.add_option("--seconds", options.seconds, "of the measurement")->capture_default_str();
  app.add_flag("--check", options.check, "exit 1 when a limit is exceeded");
  CLI11_PARSE(app, argc, argv);
  return clusterpulse::testing::Run(options);
}
