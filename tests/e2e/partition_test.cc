// Lines that are cut, between the real programs on machines of their own (network namespaces): between collectors and
// hub both ways, one way, again and again; between the hub and one of its stores. During it everybody says what is
// wrong, and what does not need the line goes on; after it nothing that was durable is lost, nothing is stored twice,
// and what had no room is known to be missing.
#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "tests/kubesim/fleet.h"
#include "tests/soak/delivery_evidence.h"
#include "tests/soak/delivery_rig.h"

namespace clusterpulse::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Steady = std::chrono::steady_clock;

// One cluster for each kind of line.
constexpr const char *kCut = "cluster-1", *kUpCut = "cluster-2", *kDownCut = "cluster-3", *kFlapping = "cluster-4",
                     *kSteady = "cluster-5", *kSmall = "cluster-6";

constexpr seconds kDrainLimit{90};

class Network {
 public:
  explicit Network(NetNamespaces& net) : net_(net) {}

  // These lines are cut from now on, and no others; but that of kFlapping comes and goes meanwhile.
  void Cut(std::vector<NetNamespaces::Line> lines) {
    lines_ = std::move(lines);
    Apply();
  }
  // Polls, and lets the line flap. It is up in the end: nobody would bring it back while something else takes its time.
  bool Eventually(milliseconds limit, const std::function<bool()>& condition) {
    const bool came = testing::Eventually(limit, [&] {
      Flap();
      return condition();
    });
    is_down_ = false;
    Apply();
    return came;
  }
  void Pass(milliseconds time) {
    Eventually(time, [] { return false; });
  }

 private:
  void Flap() {
    const auto now = Steady::now();
    if (now < next_) return;
    is_down_ = !is_down_;
    next_ = now + (is_down_ ? milliseconds(1500) : milliseconds(2500));
    Apply();
  }
  void Apply() {
    std::vector<NetNamespaces::Line> lines = lines_;
    if (is_down_) lines.insert(lines.end(), {{"hub-1", "collector-4"}, {"collector-4", "hub-1"}});
    net_.Cut(lines);
  }

  NetNamespaces& net_;
  std::vector<NetNamespaces::Line> lines_;
  bool is_down_ = false;
  Steady::time_point next_ = Steady::now();
};

bool IsConnected(DeliveryRig& rig, const std::string& cluster) {
  return rig.Condition(cluster, "CollectorConnected", "status") == "True";
}

void CheckStateShown(DeliveryRig& rig, Network& network, const std::string& cluster, seconds limit) {
  std::string difference;
  const bool same = network.Eventually(limit, [&] { return (difference = rig.StateDifference(cluster)).empty(); });
  CAPTURE(cluster, difference);
  CHECK(same);
}

void CheckDurable(DeliveryRig& rig, const std::vector<std::string>& clusters) {
  const std::string waiting = WaitUntilDurable(rig, clusters, kDrainLimit);
  INFO("see " << (waiting.empty() ? "" : rig.SaveEvidence("partition_e2e")));
  CHECK(waiting == "");
}

// All that was produced is durable or known to be missing; returns how many numbers are.
std::uint64_t CheckDelivered(DeliveryRig& rig, const std::string& cluster) {
  CAPTURE(cluster);
  const DeliveryVerdict verdict = ProveDelivery(rig, cluster);
  INFO(verdict.ToString());
  CHECK(verdict.violations.empty());
  CHECK(verdict.samples > 0);
  std::uint64_t missing = 0;
  for (const auto& [instance, count] : verdict.counts) missing += count.in_gaps;
  return missing;
}

TEST_CASE("lines that are cut: each says what is wrong, and all that had room arrives") {
  DeliveryRig::Options options{.hubs = 1, .clusters = 6, .churn = 1};
  const auto net = NetNamespaces::Create(DeliveryRig::Machines(options));
  if (net == nullptr) return;
  options.net = net.get();
  options.hub_env["LOG_LEVEL"] = options.collector_env["LOG_LEVEL"] = "debug";
  options.collectors[kSmall].env = {{"SPOOL_MAX_AGE", "60"}};
  const auto rig = DeliveryRig::Start(options);
  if (rig == nullptr) return;
  const auto started = Steady::now();
  Network network(*net);
  for (const std::string& cluster : rig->clusters()) {
    REQUIRE(network.Eventually(seconds(30), [&] { return IsConnected(*rig, cluster); }));
  }

  // The hub is cut off from VictoriaMetrics: state is as fresh as ever, and nothing becomes durable. One collector is
  // cut off for longer than its spool holds.
  const NetNamespaces::Line small_up{"collector-6", "hub-1"}, small_down{"hub-1", "collector-6"};
  network.Cut({{"hub-1", "victoriametrics"}, {"victoriametrics", "hub-1"}, small_up, small_down});
  const auto small_cut = Steady::now();
  for (const std::string& cluster : rig->clusters()) {
    REQUIRE(kubesim::SetNodeReady(rig->Cluster(cluster).store(), "node-1", false).ok());
  }
  for (const std::string& cluster : rig->clusters()) {
    if (cluster == kSmall) continue;
    CAPTURE(cluster);
    CHECK(network.Eventually(seconds(10), [&] {
      return rig->Redis({"HGET", "cluster:" + cluster + ":node:node-1", "status"}) == "NotReady";
    }));
  }
  // By then what was durable before is written; after that nothing more becomes durable.
  network.Pass(seconds(12));
  std::string instance;
  const model::DurablePosition before = StoredPosition(*rig, kSteady, instance);
  network.Pass(seconds(12));
  CHECK(StoredPosition(*rig, kSteady, instance) == before);
  CHECK(rig->Metric("collector-5", "buffered_batches") >= 3);
  CHECK(rig->Ledger(kSteady).gaps().empty());
  CHECK(rig->Probe("hub-1", "/readyz").code == 200);
  network.Cut({small_up, small_down});
  CheckDurable(*rig, {kSteady});
  CHECK(CheckDelivered(*rig, kSteady) == 0);

  // Collectors are cut off from the hub. (Nobody is called lost by a hub that has not seen its store for 90 s.)
  network.Eventually(seconds(60), [&] { return Steady::now() - started > seconds(55); });
  network.Cut({{"collector-1", "hub-1"},
               {"hub-1", "collector-1"},
               {"collector-2", "hub-1"},
               {"hub-1", "collector-3"},
               small_up,
               small_down});
  for (const char* cluster : {kCut, kUpCut, kDownCut, kSmall}) {
    CAPTURE(cluster);
    REQUIRE(network.Eventually(seconds(60), [&] { return !IsConnected(*rig, cluster); }));
    CHECK(rig->Condition(cluster, "CollectorConnected", "reason") == "CollectorLost");
    CHECK(network.Eventually(seconds(10), [&] { return rig->Ledger(cluster).open_link() != nullptr; }));
    CHECK(network.Eventually(
        seconds(20), [&] { return rig->Object(cluster)["status"]["collectorStatus"]["gaps"]["open"].IntOr() == 1; }));
    CHECK(network.Eventually(seconds(30), [&] { return rig->Metric(rig->CollectorOf(cluster), "connected") == 0; }));
    CHECK(network.Eventually(seconds(20), [&] { return rig->CountEvents(cluster, "GapOpened") >= 1; }));
  }
  for (const char* cluster : {kSteady, kFlapping}) {
    CAPTURE(cluster);
    CHECK(IsConnected(*rig, cluster));
    CHECK(rig->Ledger(cluster).gaps().empty());
  }
  CHECK(rig->Metric("collector-5", "connects_total") == 1);
  network.Eventually(seconds(120), [&] { return Steady::now() - small_cut > seconds(90); });
  network.Cut({});
  for (const char* cluster : {kCut, kUpCut, kDownCut, kSmall}) {
    CAPTURE(cluster);
    CHECK(network.Eventually(seconds(60), [&] { return IsConnected(*rig, cluster); }));
  }
  CheckDurable(*rig, {kCut, kUpCut, kDownCut, kSmall});
  for (const char* cluster : {kCut, kUpCut, kDownCut}) {
    CHECK(CheckDelivered(*rig, cluster) == 0);
    CAPTURE(cluster);
    CHECK(network.Eventually(seconds(30), [&] { return rig->Ledger(cluster).gaps().empty(); }));
    CHECK(network.Eventually(seconds(30), [&] { return rig->CountEvents(cluster, "GapClosed") >= 1; }));
  }
  // Its spool was too small for so long a time: the oldest is missing, which is known, and the rest has arrived.
  CHECK(CheckDelivered(*rig, kSmall) > 0);
  std::uint64_t overflows = 0;
  const store::GapLedger ledger = rig->Ledger(kSmall);
  for (const store::KnownGap& gap : ledger.gaps()) {
    overflows += gap.cause == model::GapCause::kSpoolOverflow && gap.seqs.first != 0 && !gap.fillable ? 1 : 0;
  }
  CHECK(overflows > 0);

  // The hub is cut off from Redis: it says so, and loses nobody. (A write that fails may say so in the status before
  // the next look at the store, which takes some seconds to fail, does in /readyz.)
  network.Cut({{"hub-1", "redis"}, {"redis", "hub-1"}});
  REQUIRE(kubesim::SetNodeReady(rig->Cluster(kSteady).store(), "node-1", true).ok());
  CHECK(
      network.Eventually(seconds(60), [&] { return rig->Condition(kSteady, "StoreAvailable", "status") == "False"; }));
  CHECK(network.Eventually(seconds(20), [&] { return rig->Probe("hub-1", "/readyz").code != 200; }));
  CHECK(rig->Probe("hub-1", "/healthz").code == 200);
  network.Cut({});
  CHECK(network.Eventually(seconds(30), [&] { return rig->Probe("hub-1", "/readyz").code == 200; }));
  for (const std::string& cluster : rig->clusters()) {
    CAPTURE(cluster);
    CHECK(IsConnected(*rig, cluster));
    rig->Cluster(cluster).SetChurn(0);
  }

  // In the end all of them show what there is, and none lacks anything that was durable.
  CheckDurable(*rig, rig->clusters());
  for (const std::string& cluster : rig->clusters()) {
    CheckStateShown(*rig, network, cluster, seconds(40));
    const std::uint64_t missing = CheckDelivered(*rig, cluster);
    CHECK((missing > 0) == (cluster == kSmall));
  }
  CHECK(rig->IsRunning("hub-1"));
  CHECK(rig->Metric("collector-5", "batches_lost_total") == 0);
}

}  // namespace
}  // namespace clusterpulse::testing
