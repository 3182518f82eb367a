#include "hub/reconcile/metricsource/source_runner.h"

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "common/base/testing/manual_clock.h"
#include "common/kube/testing/fake_kube_api.h"
#include "hub/history/testing/fake_history.h"
#include "hub/store/embedded_store.h"
#include "tests/hub/reconcile/metricsource/source_rig.h"

namespace clusterpulse::reconcile {
namespace {

using namespace std::chrono_literals;
using kube::Verb;

struct Fixture {
  base::ManualClock clock;
  base::SeededRandom random{1};
  std::unique_ptr<store::EmbeddedStore> store = *store::EmbeddedStore::Open({.data_dir = "", .clock = &clock});
  store::ClusterState clusters{*store, {.hub_namespace = "hub"}, clock};
  store::SourceState sources{*store, 600s};
  history::FakeHistoryWriter history{clock};
  SourceCatalog catalog;
  ReachedClusters reached{clock};
  std::shared_ptr<kube::FakeKubeApi> api = std::make_shared<kube::FakeKubeApi>();
  std::vector<std::string> told;
  bool is_known = true;
  SourceRunner runner{
      {.catalog = catalog,
       .clusters = reached,
       .labels = [this](const std::string&) { return is_known ? std::optional(model::Labels{}) : std::nullopt; },
       .state = clusters,
       .sources = sources,
       .history = &history,
       .clock = clock,
       .random = random},
      [this](const std::string& source, bool is_news) { told.push_back(source + (is_news ? "!" : "")); }};
  const kube::ObjectKey key{"hub/pods", "core"};

  Fixture() {
    Put(PodSource("pods", R"({"collection":{"retryAttempts":0}})"));
    const auto pod = ParsedJson(R"({"metadata":{"namespace":"a","name":"x"},"status":{"phase":"Up","restarts":3}})");
    REQUIRE(api->store().Put(kube::kPods, pod).ok());
    Reach();
  }
  void Put(const MetricSource& object) { catalog.Update(object.key(), &object); }
  void Reach() {
    const auto epoch = clusters.AcquireEpoch("core");
    REQUIRE(epoch.ok());
    reached.Reached("core", api, *epoch);
  }
  runtime::Result Run() {
    const auto result = runner.Reconcile(key, {});
    REQUIRE(result.ok());
    return *result;
  }
  std::optional<store::SourceRun> Stored() {
    const auto runs = sources.ReadRuns("hub/pods", {"core"});
    REQUIRE(runs.ok());
    return runs->front();
  }
  int lists() const { return api->Count(Verb::kList, "pods"); }
};

}  // namespace

TEST_CASE("a run is stored, told, written to the history, and comes again after its interval") {
  Fixture f;
  const runtime::Result result = f.Run();
  REQUIRE(result.requeue_after.has_value());
  CHECK(*result.requeue_after >= 60s);
  CHECK(*result.requeue_after <= 63s);
  const auto run = f.Stored();
  REQUIRE(run.has_value());
  CHECK(run->resources == 1);
  CHECK(run->definition_hash == f.catalog.Find("hub/pods")->source->hash);
  CHECK(f.told == std::vector<std::string>{"hub/pods!"});
  REQUIRE(f.history.written().size() == 1);
  const model::Batch samples = f.history.written()[0];
  CHECK(samples.cluster == "core");
  CHECK(samples.collected_at == run->collected_at);
  CHECK(samples.sources.at(0).aggregations == std::map<std::string, double>{{"total", 1}, {"sum", 3}});
  // The pass of the cluster is told, so that none is lost unseen.
  const auto beside = f.reached.TakeSamples("core");
  REQUIRE(beside.size() == 1);
  CHECK(beside[0].at == run->collected_at);
  CHECK(beside[0].ticket->Get().state == history::Ticket::State::kAccepted);
  CHECK(f.reached.TakeSamples("core").empty());

  SECTION("whoever enqueues it before") {
    f.clock.AdvanceBy(20s);
    const runtime::Result early = f.Run();
    CHECK(f.lists() == 1);
    CHECK(*early.requeue_after <= 43s);
    CHECK(*early.requeue_after >= 40s);
    f.clock.AdvanceBy(43s);
    f.Run();
    CHECK(f.lists() == 2);
    CHECK(f.told == std::vector<std::string>{"hub/pods!", "hub/pods"});
  }
  SECTION("but at once when the store has nothing of it") {
    f.runner.Forget(f.key);
    f.Run();
    CHECK(f.lists() == 2);
  }
  SECTION("but at once when it is another cluster") {
    f.api = std::make_shared<kube::FakeKubeApi>();
    f.Reach();
    f.Run();
    CHECK(f.Stored()->resources == 0);
  }
  SECTION("also for the next process, which knows it from the store") {
    SourceRunner next({.catalog = f.catalog,
                       .clusters = f.reached,
                       .labels = [](const std::string&) { return std::optional(model::Labels{}); },
                       .state = f.clusters,
                       .sources = f.sources,
                       .clock = f.clock,
                       .random = f.random},
                      [](const std::string&, bool) {});
    f.clock.AdvanceBy(20s);
    const auto result = next.Reconcile(f.key, {});
    REQUIRE(result.ok());
    CHECK(result->requeue_after == 40s);
    CHECK(f.lists() == 1);
    f.clock.AdvanceBy(40s);
    REQUIRE(next.Reconcile(f.key, {}).ok());
    CHECK(f.lists() == 2);
  }
  SECTION("but at once when the source has changed") {
    f.Put(PodSource("pods", R"({"collection":{"maxResources":7}})", 2));
    f.Run();
    CHECK(f.lists() == 2);
  }
}

TEST_CASE("a run that fails is said, leaves the rows, and comes again sooner") {
  Fixture f;
  f.Run();
  f.clock.AdvanceBy(70s);
  f.api->FailNext(Verb::kList, "pods", absl::PermissionDeniedError("pods is forbidden"));
  const runtime::Result result = f.Run();
  CHECK(*result.requeue_after >= 30s);
  CHECK(*result.requeue_after <= 32s);
  const auto run = f.Stored();
  REQUIRE(run.has_value());
  CHECK(run->failure == "Forbidden");
  CHECK(run->message == "pods is forbidden");
  CHECK(run->resources == 1);
  CHECK(f.history.written().size() == 1);
  CHECK(f.told.size() == 2);
}

TEST_CASE("a pair that is not to be run ends") {
  Fixture f;
  SECTION("the source is gone") { f.catalog.Update({"hub", "pods"}, nullptr); }
  SECTION("the source is disabled") { f.Put(PodSource("pods", R"({"enabled":false})", 2)); }
  SECTION("the source is for others") { f.Put(PodSource("pods", R"({"clusters":{"names":["edge-*"]}})", 2)); }
  SECTION("the cluster is gone") { f.is_known = false; }
  SECTION("the cluster is out of reach, or has a collector") { f.reached.Lost("core"); }
  CHECK_FALSE(f.Run().requeue_after.has_value());
  CHECK(f.lists() == 0);
  CHECK_FALSE(f.Stored().has_value());
}

TEST_CASE("a run does not write a cluster that somebody else writes by now") {
  Fixture f;
  REQUIRE(f.clusters.AcquireEpoch("core").ok());  // a stream came
  CHECK(f.Run().requeue_after == 5s);
  CHECK_FALSE(f.Stored().has_value());
  CHECK(f.history.written().empty());
  CHECK(f.told.empty());
  f.Reach();  // and went
  f.Run();
  CHECK(f.Stored().has_value());
}

TEST_CASE("what a run found is not stored when it is not wanted any more") {
  Fixture f;
  f.api->Hold(Verb::kList, "pods");
  std::jthread changer([&] {
    if (!f.api->WaitForCalls(Verb::kList, "pods", 1)) return;
    f.catalog.Update({"hub", "pods"}, nullptr);
    f.api->Release();
  });
  CHECK(f.Run().requeue_after == 1s);
  CHECK_FALSE(f.Stored().has_value());
  CHECK_FALSE(f.Run().requeue_after.has_value());
}

TEST_CASE("a run that is stopped stores nothing") {
  Fixture f;
  f.api->Hold(Verb::kList, "pods");
  std::stop_source stop;
  stop.request_stop();
  CHECK(f.runner.Reconcile(f.key, stop.get_token()).status().code() == absl::StatusCode::kCancelled);
  CHECK_FALSE(f.Stored().has_value());
}

}  // namespace clusterpulse::reconcile
