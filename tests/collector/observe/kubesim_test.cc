#include "tests/kubesim/kubesim.h"

#include <atomic>
#include <random>

#include <catch2/catch.hpp>

#include "collector/observe/cluster_observer.h"
#include "common/kube/http_kube_api.h"
#include "tests/collector/observe/churn.h"
#include "tests/support/process.h"

// The observer over HTTP and TLS against a simulated API server that cuts, delays, refuses and forgets.
namespace clusterpulse::observe {
namespace {

using namespace std::chrono_literals;
using testing::Eventually;

struct Fixture {
  std::unique_ptr<kubesim::SimCluster> sim;
  std::unique_ptr<kube::HttpKubeApi> api;
  std::atomic<int> news = 0;
  std::optional<ClusterObserver> observer;

  explicit Fixture(kubesim::SimCluster::Options options = {.fleet = kubesim::FleetOptions{.nodes = 8}}) {
    auto made = kubesim::SimCluster::Create(options);
    REQUIRE(made.ok());
    sim = *std::move(made);
    auto client = kube::HttpKubeApi::Create(
        {.server = sim->url(), .ca_pem = sim->ca_pem(), .token = sim->token(), .source = "test"}, {.qps = 1000});
    REQUIRE(client.ok());
    api = *std::move(client);
    observer.emplace(*api, ClusterObserver::Options{.page_size = 40, .on_news = [this] { ++news; }});
    observer->Start();
    REQUIRE(Eventually(20s, [this] { return observer->HasSynced(); }));
  }
  // Requests so far, as "list pods".
  std::int64_t Requests(const std::string& what) {
    const auto counts = sim->api().RequestCounts();
    const auto it = counts.find(what);
    return it == counts.end() ? 0 : it->second;
  }
  // Nothing changes any more: soon the observer knows what the server knows.
  void CheckCurrent(std::chrono::seconds limit = 40s) {
    const model::ClusterSnapshot truth = Survey(*api);
    CHECK(Eventually(limit, [&] { return Cached(*observer) == truth; }));
    CHECK(observer->Degraded().empty());
  }
  void Churn(std::mt19937& random, int changes) {
    for (int i = 0; i < changes; ++i) RandomChange(sim->store(), random);
  }
};

TEST_CASE("changes over HTTP show, without a list after the first") {
  Fixture f;
  std::mt19937 random(7);
  const std::int64_t lists = f.Requests("list pods") + f.Requests("list nodes");
  std::int64_t own = 0;
  for (int round = 0; round < 5; ++round) {
    f.Churn(random, 100);
    const std::int64_t before = f.Requests("list pods") + f.Requests("list nodes");
    const model::ClusterSnapshot truth = Survey(*f.api);
    own += f.Requests("list pods") + f.Requests("list nodes") - before;
    CHECK(Eventually(20s, [&] { return Cached(*f.observer) == truth; }));
  }
  CHECK(f.Requests("list pods") + f.Requests("list nodes") - own == lists);
}

TEST_CASE("a node that turns NotReady is known within a quarter of a second") {
  Fixture f;
  REQUIRE(Eventually(20s, [&] { return f.news == 3; }));  // the inventory
  REQUIRE(kubesim::SetNodeReady(f.sim->store(), "node-2", false).ok());
  CHECK(Eventually(5s, [&] { return f.news == 4; }));
  const auto nodes = Cached(*f.observer).nodes;
  REQUIRE(nodes);
  CHECK(nodes->at(1).name == "node-2");
  CHECK(nodes->at(1).status == model::NodeStatus::kNotReady);
}

TEST_CASE("watches that are cut, cleanly or not, go on from where they were") {
  for (const bool clean : {true, false}) {
    DYNAMIC_SECTION((clean ? "cleanly" : "without a word")) {
      Fixture f;
      std::mt19937 random(8);
      const std::int64_t lists = f.Requests("list pods");
      for (int round = 0; round < 3; ++round) {
        f.Churn(random, 30);
        f.sim->api().CutWatches(clean);
        f.Churn(random, 30);
      }
      const model::ClusterSnapshot truth = Survey(*f.api);
      CHECK(Eventually(40s, [&] { return Cached(*f.observer) == truth; }));
      CHECK(f.Requests("list pods") - lists <= 5);  // those of Survey: pages of one list
    }
  }
}

TEST_CASE("after 410 the caches are listed anew and miss nothing that went") {
  Fixture f;
  std::mt19937 random(9);
  f.Churn(random, 50);
  f.sim->api().faults().Add(*kubesim::Fault::Parse("verb=watch,action=expired,count=4"));
  f.sim->api().CutWatches(true);
  f.Churn(random, 50);
  f.sim->store().Compact();
  f.CheckCurrent();
}

TEST_CASE("an API server that is away, slow or refusing for a while leaves no trace") {
  Fixture f;
  std::mt19937 random(10);
  f.sim->Stop();
  f.Churn(random, 50);
  REQUIRE(f.sim->Start().ok());
  f.sim->api().faults().Add(*kubesim::Fault::Parse("verb=watch,action=half,rate=0.3"));
  f.sim->api().faults().Add(*kubesim::Fault::Parse("verb=list,action=status,code=429,retry-after=1,count=2"));
  f.sim->api().faults().Add(*kubesim::Fault::Parse("verb=watch,action=reset,rate=0.2"));
  f.Churn(random, 200);
  f.sim->ResetConnections();
  f.Churn(random, 50);
  f.sim->api().faults().Clear();
  f.CheckCurrent();
}

TEST_CASE("stopping during the first list of a frozen server takes no time") {
  auto made = kubesim::SimCluster::Create({.fleet = kubesim::FleetOptions{.nodes = 2}});
  REQUIRE(made.ok());
  (*made)->Freeze();
  auto api = kube::HttpKubeApi::Create(
      {.server = (*made)->url(), .ca_pem = (*made)->ca_pem(), .token = (*made)->token(), .source = "test"}, {});
  REQUIRE(api.ok());
  ClusterObserver observer(**api, {});
  observer.Start();
  const Observation seen = observer.Observe(true);
  CHECK(seen.snapshot == model::ClusterSnapshot());
  CHECK(observer.Degraded() ==
        "nodes: UNAVAILABLE: not listed yet; pods: UNAVAILABLE: not listed yet; "
        "namespaces: UNAVAILABLE: not listed yet; deployments: UNAVAILABLE: not listed yet");
  const auto start = std::chrono::steady_clock::now();
  observer.Stop();
  CHECK(std::chrono::steady_clock::now() - start < 5s);
}

}  // namespace
}  // namespace clusterpulse::observe
