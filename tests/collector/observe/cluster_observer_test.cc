#include "collector/observe/cluster_observer.h"

#include <atomic>
#include <thread>

#include <catch2/catch.hpp>

#include "common/base/testing/manual_clock.h"
#include "common/kube/testing/fake_kube_api.h"
#include "tests/collector/observe/churn.h"
#include "tests/kubesim/fleet.h"

namespace clusterpulse::observe {
namespace {

using namespace std::chrono_literals;
using kube::FakeKubeApi;
using kube::Verb;

// Waits for what other threads do. The pause lets them have the locks that looking takes.
bool Eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

struct Fixture {
  FakeKubeApi api;
  base::ManualClock clock;
  telemetry::Registry registry;
  std::atomic<int> news = 0;
  std::optional<ClusterObserver> observer;

  Fixture() {
    PutNode(api.store(), "w1");
    PutNode(api.store(), "w2");
    PutPod(api.store(), "a", "w1");
    PutDeployment(api.store(), "d");
  }
  kube::ObjectStore& store() { return api.store(); }
  void Start() {
    observer.emplace(api, ClusterObserver::Options{.page_size = 3,
                                                   .backoff = {.initial = 1ms, .max = 2ms},
                                                   .on_news = [this] { ++news; },
                                                   .registry = &registry,
                                                   .clock = &clock});
    observer->Start();
  }
  // All caches watch and the inventory was read.
  void StartAndSync() {
    Start();
    REQUIRE(Eventually([this] { return observer->HasSynced(); }));
    REQUIRE(api.WaitForWatches("", 4));
    REQUIRE(Eventually([this] { return news == 3; }));
    news = 0;
  }
  bool Current() { return Cached(*observer) == Survey(api); }
  double Metric(const std::string& name, std::string_view resource) {
    registry.Render();
    return registry.Counters(name, "", {"resource"}).With({resource}).Value();
  }
};

TEST_CASE("an observation is what reading the whole cluster would give") {
  Fixture f;
  f.StartAndSync();
  const Observation first = f.observer->Observe(true);
  REQUIRE(first.snapshot.nodes);
  CHECK(first.snapshot.nodes->size() == 2);
  CHECK(first.snapshot.nodes->at(0).pods.running == 1);
  CHECK(first.snapshot.nodes->at(0).pods.cpu_requested == 0.5);
  CHECK(first.snapshot.counts->deployments == 1);
  CHECK(first.snapshot.namespaces == std::vector<std::string>{"default", "kube-system", "shop"});
  CHECK(f.observer->Degraded().empty());
  CHECK(f.observer->Status().ok());
  CHECK(first.is_complete);
  CHECK(f.Current());
}

TEST_CASE("under random churn the caches equal the cluster at every quiet point, and list nothing again") {
  Fixture f;
  f.StartAndSync();
  std::mt19937 random(20310406);
  for (int round = 0; round < 60; ++round) {
    CAPTURE(round);
    for (int change = 0; change < 40; ++change) RandomChange(f.store(), random);
    f.api.ClearCalls();
    const model::ClusterSnapshot truth = Survey(f.api);
    f.api.ClearCalls();
    // Asked once: it may be so before the last two changes, which undo each other, and not between them.
    REQUIRE(Eventually([&] { return Cached(*f.observer) == truth; }));
    CHECK(f.api.Count(Verb::kList, "nodes") + f.api.Count(Verb::kList, "pods") == 0);
  }
  for (const char* resource : {"nodes", "pods", "namespaces", "deployments"}) {
    CHECK(f.Metric("clusterpulse_collector_watch_lists_total", resource) == 1);
  }
  CHECK(f.registry.Counters("clusterpulse_collector_unreadable_quantities_total", "").With({}).Value() > 0);
}

TEST_CASE("pods as real servers show them add up the same way") {
  FakeKubeApi api;
  kubesim::Fleet fleet(api.store(), {.nodes = 6, .pods_per_node = 30, .openshift = true, .operators = 2});
  REQUIRE(fleet.Seed().ok());
  ClusterObserver observer(api, {.page_size = 50});
  observer.Start();
  REQUIRE(Eventually([&] { return observer.HasSynced(); }));
  for (int round = 0; round < 10; ++round) {
    for (int i = 0; i < 50; ++i) REQUIRE(fleet.Step().ok());
    const model::ClusterSnapshot truth = Survey(api);
    REQUIRE(Eventually([&] { return Cached(observer) == truth; }));
  }
  model::ClusterSnapshot full;
  Eventually([&] {
    full = observer.Observe(true).snapshot;
    return full.operators && full.cluster_operators && full.info;
  });
  CHECK(full.operators == survey::ReadOperators(api, {}).value());
  CHECK(full.cluster_operators == survey::ReadClusterOperators(api, {}).value());
  CHECK(full.info == survey::ReadClusterInfo(api, "", {}).value());
}

TEST_CASE("what was never listed is absent and named, and the rest is there") {
  struct Case {
    std::string resource;
    bool nodes, namespaces, deployments;
  };
  const std::vector<Case> cases = {
      {"nodes", false, true, true},
      {"pods", false, true, true},  // a node without its pods would look empty
      {"namespaces", true, false, true},
      {"deployments", true, true, false},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.resource) {
      Fixture f;
      f.api.FailNext(Verb::kList, c.resource, absl::PermissionDeniedError("no access\n\x01"), FakeKubeApi::kForever);
      f.Start();
      REQUIRE(f.api.WaitForWatches("", 3));
      REQUIRE(Eventually([&] { return f.news == 3; }));
      REQUIRE(f.api.WaitForCalls(Verb::kList, c.resource, 1));
      const std::string expected = c.resource + ": PERMISSION_DENIED: no access??";
      CHECK(Eventually([&] { return f.observer->Degraded() == expected; }));
      const Observation seen = f.observer->Observe(true);
      CHECK(seen.snapshot.nodes.has_value() == c.nodes);
      CHECK(seen.snapshot.counts.has_value() == c.nodes);
      if (c.nodes) CHECK(seen.snapshot.counts->deployments.has_value() == c.deployments);
      // Without counts an upstream hub would take namespaces for a cluster of no nodes.
      CHECK(seen.snapshot.namespaces.has_value() == (c.namespaces && c.nodes));
      CHECK(seen.is_complete);  // of what was ever known
      CHECK_FALSE(f.observer->HasSynced());
      const absl::Status status = f.observer->Status();
      CHECK(status.code() == absl::StatusCode::kPermissionDenied);
      CHECK(std::string(status.message()).find(c.resource + ": ") == 0);
    }
  }
}

TEST_CASE("a list that hangs delays nothing else") {
  Fixture f;
  f.api.Hold(Verb::kList, "pods");
  f.Start();
  REQUIRE(f.api.WaitForWatches("", 3));
  const Observation seen = f.observer->Observe(true);
  CHECK_FALSE(seen.snapshot.nodes);
  CHECK(f.observer->Degraded().find("pods: UNAVAILABLE: not listed yet") == 0);
  CHECK(f.observer->Status() == absl::UnavailableError("pods: not listed yet"));
  f.observer->Stop();  // ends the held call
}

TEST_CASE("a watch that fails for longer than a minute no longer vouches for what it knows") {
  Fixture f;
  f.StartAndSync();
  REQUIRE(f.observer->Observe(true).snapshot.nodes);
  f.api.FailNext(Verb::kWatch, "pods", absl::UnavailableError("connection refused"), FakeKubeApi::kForever);
  f.api.EndWatches(absl::UnavailableError("connection refused"));
  REQUIRE(f.api.WaitForCalls(Verb::kWatch, "pods", 2));
  REQUIRE(Eventually([&] { return f.Metric("clusterpulse_collector_watch_failures_total", "pods") >= 3; }));

  f.clock.AdvanceBy(60s);
  Observation seen = f.observer->Observe(true);
  CHECK(seen.snapshot.nodes);
  CHECK(f.observer->Degraded().empty());
  CHECK(f.observer->Status().ok());
  CHECK(seen.is_complete);

  f.clock.AdvanceBy(1s);
  seen = f.observer->Observe(true);
  CHECK_FALSE(seen.snapshot.nodes);
  CHECK_FALSE(seen.snapshot.counts);
  CHECK_FALSE(seen.snapshot.namespaces);
  CHECK(f.observer->Degraded() == "pods: UNAVAILABLE: connection refused (for 61 s)");
  CHECK(f.observer->Status() == absl::UnavailableError("pods: connection refused (for 61 s)"));
  CHECK_FALSE(seen.is_complete);

  PutPod(f.store(), "b", "w2");
  f.api.ClearFaults();
  CHECK(Eventually([&] { return f.observer->Degraded().empty(); }));
  CHECK(f.observer->Status().ok());
  CHECK(Eventually([&] { return f.Current(); }));
  CHECK(f.Metric("clusterpulse_collector_watch_lists_total", "pods") == 1);  // resumed, not listed again
}

TEST_CASE("a watch that no longer gets its bookmarks does not vouch for what it knows; one that never got any does") {
  Fixture f;
  f.StartAndSync();
  CHECK(f.observer->Status().ok());
  f.clock.AdvanceBy(1h);
  CHECK(f.observer->Status().ok());
  CHECK(f.observer->Observe(true).snapshot.nodes);

  const auto silent = [&] {
    const std::string degraded = f.observer->Degraded();
    std::size_t count = 0;
    for (std::size_t at = 0; (at = degraded.find("UNAVAILABLE: the watch is silent", at)) != std::string::npos; ++at) {
      ++count;
    }
    return count;
  };
  f.api.SendBookmark();
  CHECK(Eventually([&] {
    f.clock.AdvanceBy(181s);
    return silent() == 4;
  }));
  CHECK(f.observer->Status().code() == absl::StatusCode::kUnavailable);
  Observation seen = f.observer->Observe(true);
  CHECK_FALSE(seen.snapshot.nodes);
  CHECK_FALSE(seen.snapshot.namespaces);
  CHECK_FALSE(seen.is_complete);

  f.api.SendBookmark();
  REQUIRE(Eventually([&] { return silent() == 0; }));
  CHECK(f.observer->Observe(true).is_complete);
  f.clock.AdvanceBy(180s);
  CHECK(silent() == 0);
  f.clock.AdvanceBy(1s);
  CHECK(silent() == 4);

  // A server that was just started sends no bookmarks for what does not change.
  const auto watches = f.api.Count(Verb::kWatch, "");
  f.api.EndWatches();
  REQUIRE(Eventually([&] { return f.api.Count(Verb::kWatch, "") >= watches + 4; }));
  f.clock.AdvanceBy(1h);
  CHECK(f.observer->Degraded().empty());
}

TEST_CASE("a version that is gone is listed anew, with what vanished meanwhile") {
  Fixture f;
  f.StartAndSync();
  f.api.Hold(Verb::kWatch, "nodes");
  f.api.EndWatches();
  REQUIRE(f.api.WaitForCalls(Verb::kWatch, "nodes", 2));
  REQUIRE(f.store().Delete(kube::kNodes, {"", "w2"}).ok());
  PutNode(f.store(), "w3", "False");
  f.store().Compact();
  f.api.Release();
  CHECK(Eventually([&] { return f.Current(); }));
  CHECK(f.Metric("clusterpulse_collector_watch_lists_total", "nodes") == 2);
  CHECK(f.news >= 2);
}

TEST_CASE("a change of a node's status is news; a heartbeat, a label or a pod is not") {
  struct Case {
    std::string name;
    std::function<void(kube::ObjectStore&)> change;
    int news;
  };
  const std::vector<Case> cases = {
      {"not ready", [](kube::ObjectStore& s) { PutNode(s, "w1", "False"); }, 1},
      {"unknown", [](kube::ObjectStore& s) { PutNode(s, "w1", "Unknown"); }, 1},
      {"cordoned", [](kube::ObjectStore& s) { PutNode(s, "w1", "True", true); }, 1},
      {"added", [](kube::ObjectStore& s) { PutNode(s, "w9"); }, 1},
      {"removed",
       [](kube::ObjectStore& s) {
         (void)s.Delete(kube::kNodes, {"", "w1"});
       },
       1},
      {"false, then unknown",
       [](kube::ObjectStore& s) {
         PutNode(s, "w1", "False");
         PutNode(s, "w1", "Unknown");
       },
       2},
      {"heartbeat", [](kube::ObjectStore& s) { PutNode(s, "w1", "True", false, "2031-04-05T06:00:05Z"); }, 0},
      {"label",
       [](kube::ObjectStore& s) {
         (void)s.Edit(kube::kNodes, {"", "w1"},
                      [](json::Value& node) { node.Mutable("metadata").Mutable("labels").Mutable("zone") = "b"; });
       },
       0},
      {"pod", [](kube::ObjectStore& s) { PutPod(s, "b", "w1"); }, 0},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      Fixture f;
      f.StartAndSync();
      c.change(f.store());
      // A last change that shows that those before were seen.
      PutNode(f.store(), "last");
      REQUIRE(Eventually([&] { return f.Current(); }));
      CHECK(f.news == c.news + 1);
    }
  }
}

TEST_CASE("the inventory is told once, and whole when asked for") {
  Fixture f;
  f.StartAndSync();
  const model::ClusterSnapshot first = f.observer->Observe(false).snapshot;
  CHECK(first.info);
  CHECK(first.operators);
  CHECK(first.cluster_operators);
  CHECK(first.info->api_url.empty());  // the address is the hub's to tell
  const model::ClusterSnapshot second = f.observer->Observe(false).snapshot;
  CHECK_FALSE(second.info);
  CHECK_FALSE(second.operators);
  CHECK_FALSE(second.cluster_operators);
  const model::ClusterSnapshot full = f.observer->Observe(true).snapshot;
  CHECK(full == first);
}

TEST_CASE("an observer that was never started, and one that is stopped twice, end at once") {
  FakeKubeApi api;
  { const ClusterObserver observer(api, {}); }
  ClusterObserver observer(api, {});
  observer.Start();
  observer.Stop();
  observer.Stop();
}

}  // namespace
}  // namespace clusterpulse::observe
