// How long a node's change in a simulated cluster takes to be seen in the hub's store: 50 real collectors, each
// watching a cluster of kubesim and pushing over TLS to the real hub with a real Redis. First the first change after
// two quiet seconds, then changes all the time. A change is timed from before kubesim is told to when the node's hash
// says so. Any argument: the short run that only shows that it works.
#include <algorithm>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "common/http/client.h"
#include "tests/bench/bench_row.h"
#include "tests/bench/push_rig.h"
#include "tests/bench/redis_replay.h"

namespace clusterpulse::bench {
namespace {

using SteadyTime = std::chrono::steady_clock::time_point;
using std::chrono::milliseconds;

constexpr int kNodes = 50;
constexpr milliseconds kQuiet{2000}, kBetween{500};  // of one cluster
constexpr milliseconds kLimit{10000};

struct Size {
  int clusters = 50, first_changes = 400;
  std::chrono::seconds constant{40};
};

double Millis(std::chrono::nanoseconds d) { return std::chrono::duration<double, std::milli>(d).count(); }

// One cluster, its collector, and the node that is to change next.
struct Cluster {
  std::string name, sim_name;
  std::optional<testing::ChildProcess> collector;
  int next_node = 0;
  std::vector<bool> is_ready = std::vector<bool>(kNodes, true);
  SteadyTime changed{};
};

struct Change {
  std::string key, status;  // of the node's hash, and what it is to say
  SteadyTime at;
};

class Bench {
 public:
  explicit Bench(const PushRig& rig, RedisPipe& redis) : rig_(rig), redis_(redis) {
    auto control = http::Client::Create({.base_url = rig.control_url()});
    if (!control.ok()) Fail(control.status().ToString());
    control_ = *std::move(control);
    int i = 0;
    for (const auto& [name, token] : rig.tokens()) {
      clusters_.push_back({.name = name, .sim_name = fmt::format("cluster-{}", ++i)});
      StartCollector(clusters_.back(), token);
    }
    const bool all = testing::Eventually(std::chrono::seconds(120), [&] {
      return std::all_of(clusters_.begin(), clusters_.end(), [&](const Cluster& cluster) {
        return Ask({"SCARD", "cluster:" + cluster.name + ":nodes"}).integer == kNodes;
      });
    });
    if (!all) Fail("not every cluster is stored", rig.File(clusters_.front().name + ".log"));
  }

  // Milliseconds of the first change of a cluster after so long without any, `count` times.
  std::vector<double> FirstChanges(int count) {
    std::vector<double> times;
    std::this_thread::sleep_for(kQuiet);
    for (int i = 0; i < count; ++i) {
      Cluster& cluster = clusters_[static_cast<std::size_t>(i) % clusters_.size()];
      std::this_thread::sleep_until(cluster.changed + kQuiet);
      std::vector<Change> pending{Make(cluster)};
      while (!pending.empty()) {
        TakeVisible(pending, times);
        std::this_thread::sleep_for(milliseconds(1));
      }
      cluster.changed = std::chrono::steady_clock::now();
    }
    return times;
  }

  // Milliseconds of all changes while every cluster changes twice a second.
  std::vector<double> ConstantChanges(std::chrono::seconds duration) {
    std::vector<double> times;
    std::vector<Change> pending;
    const SteadyTime start = std::chrono::steady_clock::now();
    for (std::size_t i = 0; i < clusters_.size(); ++i) {
      clusters_[i].changed = start + kBetween * i / clusters_.size() - kBetween;  // one after the other
    }
    for (SteadyTime now = start; now < start + duration || !pending.empty(); now = std::chrono::steady_clock::now()) {
      for (Cluster& cluster : clusters_) {
        if (cluster.changed + kBetween > now || now >= start + duration) continue;
        cluster.changed += kBetween;
        pending.push_back(Make(cluster));
      }
      TakeVisible(pending, times);
      std::this_thread::sleep_for(milliseconds(20));
    }
    return times;
  }

  void StopCollectors() {
    for (Cluster& cluster : clusters_) cluster.collector->Signal(SIGTERM);
    for (Cluster& cluster : clusters_) {
      if (cluster.collector->Wait(std::chrono::seconds(30)) != 0)
        Fail("a collector did not end cleanly", rig_.File(cluster.name + ".log"));
    }
  }

 private:
  void StartCollector(Cluster& cluster, const std::string& token) {
    auto collector =
        testing::ChildProcess::Start({.argv = {testing::BinDir() + "/clusterpulse-collector",
                                               "--kubeconfig=" + rig_.File(cluster.sim_name + ".kubeconfig"),
                                               "--metrics-bind-address=0", "--health-probe-bind-address=0"},
                                      .env = {{"CLUSTER_NAME", cluster.name},
                                              {"COLLECTOR_TOKEN", token},
                                              {"INGESTER_ADDRESS", rig_.FleetOptions().hub},
                                              {"INGESTER_TLS_ENABLED", "true"},
                                              {"INGESTER_TLS_CA", rig_.File("ca.pem")}},
                                      .unset = {},
                                      .output = rig_.File(cluster.name + ".log")});
    if (!collector.ok()) Fail(collector.status().ToString());
    cluster.collector = *std::move(collector);
  }

  store::Reply Ask(std::initializer_list<std::string_view> arguments) {
    std::string bytes;
    store::Command command(bytes, arguments.size());
    for (const std::string_view argument : arguments) command.Arg(argument);
    return redis_.Execute(bytes, 1).front();
  }

  // Tells kubesim; nodes take turns, so that none changes again before it was seen.
  Change Make(Cluster& cluster) {
    const int node = cluster.next_node;
    cluster.next_node = (node + 1) % kNodes;
    const bool ready = !cluster.is_ready[static_cast<std::size_t>(node)];
    cluster.is_ready[static_cast<std::size_t>(node)] = ready;
    const std::string name = fmt::format("node-{}", node + 1);
    Change change{fmt::format("cluster:{}:node:{}", cluster.name, name), ready ? "Ready" : "NotReady",
                  std::chrono::steady_clock::now()};
    json::Buffer body;
    const auto answer = control_->Fetch(
        {.method = "POST", .target = fmt::format("/node?server={}&name={}&ready={}", cluster.sim_name, name, ready)},
        body, {.timeout = kLimit});
    if (!answer.ok() || answer->code != 200) Fail("kubesim does not take the change: " + std::string(body.view()));
    return change;
  }

  // Moves what is visible now from `pending` to `times`.
  void TakeVisible(std::vector<Change>& pending, std::vector<double>& times) {
    std::string commands;
    for (const Change& change : pending) store::Command(commands, 3).Arg("HGET").Arg(change.key).Arg("status");
    const std::vector<store::Reply> replies = redis_.Execute(commands, pending.size());
    const SteadyTime now = std::chrono::steady_clock::now();
    std::vector<Change> left;
    for (std::size_t i = 0; i < pending.size(); ++i) {
      if (replies[i].text == pending[i].status) {
        times.push_back(Millis(now - pending[i].at));
      } else if (now - pending[i].at > kLimit) {
        Fail(pending[i].key + " never said " + pending[i].status, rig_.File("hub.log"));
      } else {
        left.push_back(std::move(pending[i]));
      }
    }
    pending = std::move(left);
  }

  const PushRig& rig_;
  RedisPipe& redis_;
  std::unique_ptr<http::Client> control_;
  std::vector<Cluster> clusters_;
};

std::string Describe(const std::vector<double>& times) {
  return fmt::format("p99 {:.0f} ms (median {:.0f}, worst {:.0f}, {} changes)", Percentile(times, 0.99), Median(times),
                     *std::max_element(times.begin(), times.end()), times.size());
}

int Run(const Size& size) {
  const auto rig = PushRig::Start({.clusters = size.clusters,
                                   .kubesim = {"--clusters", std::to_string(size.clusters), "--nodes",
                                               std::to_string(kNodes), "--pods-per-node", "10", "--churn", "1"},
                                   .redis_config = {"appendonly yes", "appendfsync everysec"}});
  if (rig == nullptr) return 77;
  RedisPipe redis(rig->redis());
  Bench bench(*rig, redis);
  const std::vector<double> first = bench.FirstChanges(size.first_changes);
  const std::vector<double> constant = bench.ConstantChanges(size.constant);
  bench.StopCollectors();
  PrintRow(fmt::format("node change to the hub's store, {} clusters, first after 2 quiet seconds", size.clusters),
           Describe(first), "p99 <= 250 ms", "100 ms");
  PrintRow(fmt::format("node change to the hub's store, {} clusters, two changes a second in each", size.clusters),
           Describe(constant), "<= 2500 ms", "-");
  rig->StopHub();
  return 0;
}

}  // namespace
}  // namespace clusterpulse::bench

int main(int argc, char** /*argv*/) {
  using namespace clusterpulse::bench;
  using std::chrono::seconds;
  const Size size = argc > 1 ? Size{.clusters = 2, .first_changes = 2, .constant = seconds(1)} : Size();
  return RunBenchmark([&size] { return Run(size); });
}
