#include "hub/reconcile/metricsource/source_reconciler.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "common/base/mutex.h"
#include "common/base/testing/manual_clock.h"
#include "common/kube/testing/fake_kube_api.h"
#include "hub/reconcile/metricsource/source_recovery.h"
#include "hub/runtime/testing/fake_event_recorder.h"
#include "hub/store/embedded_store.h"
#include "tests/hub/reconcile/metricsource/source_rig.h"

namespace clusterpulse::reconcile {
namespace {

using namespace std::chrono_literals;
using Words = std::vector<std::string>;

struct Fixture {
  base::ManualClock clock;
  kube::FakeKubeApi hub;
  std::unique_ptr<store::EmbeddedStore> store = *store::EmbeddedStore::Open({.data_dir = "", .clock = &clock});
  store::SourceState sources{*store, 600s};
  runtime::StatusWriter status{hub, clock, {}};
  runtime::FakeEventRecorder events;
  SourceCatalog catalog;
  std::map<kube::ObjectKey, MetricSource> cache;
  std::vector<SourceReconciler::FleetCluster> fleet{
      {.name = "core", .is_pulled = true, .is_reached = true},
      {.name = "edge-1", .labels = {{"ring", "canary"}}, .is_pulled = false, .is_reached = true}};
  Words runs;
  base::Mutex mu;
  base::CondVar changed;
  Words published ABSL_GUARDED_BY(mu);
  std::unique_ptr<store::Subscription> subscription;
  SourceReconciler reconciler{
      {.hub = hub,
       .catalog = catalog,
       .object = [this](const kube::ObjectKey& key) -> std::optional<MetricSource> {
         const auto found = cache.find(key);
         return found == cache.end() ? std::nullopt : std::optional(found->second);
       },
       .clusters = [this] { return fleet; },
       .stored_clusters = []() -> absl::StatusOr<Words> {
         return Words{"core", "gone"};
       },
       .run = [this](const std::string& source, const std::string& cluster) { runs.push_back(source + "@" + cluster); },
       .sources = sources,
       .status = status,
       .events = events,
       .clock = clock}};
  const kube::ObjectKey key{"hub", "pods"};

  Fixture() {
    const auto crd = ParsedJson(R"({"metadata":{"name":"metricsources.clusterpulse.io"},"spec":{
      "group":"clusterpulse.io","scope":"Namespaced","names":{"kind":"MetricSource","plural":"metricsources",
      "singular":"metricsource","listKind":"MetricSourceList"},"versions":[{"name":"v1alpha1","served":true,
      "storage":true,"subresources":{"status":{}},"schema":{"openAPIV3Schema":{"type":"object",
      "x-kubernetes-preserve-unknown-fields":true}}}]}})");
    REQUIRE(hub.store().Create(kube::kCustomResourceDefinitions, "", crd).ok());
    auto subscribed = store->Subscribe("metricsource-events", [this](std::string_view message) {
      const auto event = json::Value::Parse(message);
      base::MutexLock lock(mu);
      published.push_back(event.ok() ? std::string((*event)["type"].StringOr()) : "");
      changed.NotifyAll();
    });
    REQUIRE(subscribed.ok());
    subscription = *std::move(subscribed);
  }
  void Put(MetricSource object) {
    json::Value text;
    text.Mutable("metadata") = ParsedJson(R"({"namespace":"hub","name":"pods"})");
    text.Mutable("spec") = object.spec;
    if (!hub.store().Get(kMetricSources, key).ok()) REQUIRE(hub.store().Put(kMetricSources, text).ok());
    catalog.Update(key, &object);
    cache[key] = std::move(object);
  }
  void Remove() {
    REQUIRE(hub.store().Delete(kMetricSources, key).ok());
    catalog.Update(key, nullptr);
    cache.erase(key);
  }
  runtime::Result Pass() {
    const auto result = reconciler.Reconcile(key, {});
    CAPTURE(result.status().ToString());
    REQUIRE(result.ok());
    return *result;
  }
  json::Value Status() {
    const auto object = hub.store().Get(kMetricSources, key);
    REQUIRE(object.ok());
    return ParsedJson((*object)->json)["status"];
  }
  // A run of the source as it is now has ended on the cluster.
  void Ran(const std::string& cluster, std::int32_t resources, std::string hash = "") {
    model::SourceResult result{.source = "hub/pods", .resource_count = resources};
    result.definition_hash = hash.empty() ? catalog.Find("hub/pods")->source->hash : std::move(hash);
    REQUIRE(store->Commit(sources.WriteOf(cluster, result, clock.Now(), 60s)->writes).ok());
  }
  // Once there are so many, or after a while.
  Words Published(std::size_t count) {
    base::MutexLock lock(mu);
    while (published.size() < count && changed.WaitFor(mu, 10s)) {
    }
    return published;
  }
  Words Keys() {
    const auto keys = store->Keys("");
    REQUIRE(keys.ok());
    return *keys;
  }
};

}  // namespace

TEST_CASE("a source is stored, run where the hub reads, and reported") {
  Fixture f;
  f.Put(PodSource("pods"));
  const runtime::Result result = f.Pass();
  CHECK(result.requeue_after == 30s);
  CHECK(f.Keys() == Words{"metricsource:hub:pods", "metricsource:hub:pods:meta", "metricsources:all",
                          "metricsources:by:resourcetype:pod", "metricsources:enabled"});
  CHECK(f.runs == Words{"hub/pods@core"});  // edge-1 has a collector
  f.runs.clear();
  CHECK(f.Status()["phase"].StringOr() == "Active");
  CHECK(f.Status()["clusters"]["lagging"].IntOr() == 2);
  CHECK(f.Published(0).empty());

  f.Ran("core", 5);
  f.Ran("edge-1", 2);
  f.Pass();
  CHECK(f.Status()["conditions"].items().at(0)["reason"].StringOr() == "CollectionSuccessful");
  CHECK(f.Status()["clusters"]["current"].IntOr() == 2);
  CHECK(f.events.Count("CollectionSuccessful") == 1);
  CHECK(f.runs.empty());  // the store has what it gave
  CHECK(f.Published(1) == Words{"reconciled"});
  f.Pass();
  CHECK(f.Published(1).size() == 1);  // nothing new ran
  f.clock.AdvanceBy(60s);
  f.Ran("core", 6);
  f.Pass();
  CHECK(f.Published(2).size() == 2);

  // A store that lost everything gets it again.
  REQUIRE(f.store->DeletePrefix("").ok());
  f.Pass();
  CHECK(f.Keys().size() == 5);
  CHECK(f.runs == Words{"hub/pods@core"});
}

TEST_CASE("a cluster that the source is not for any more loses what it gave") {
  Fixture f;
  f.Put(PodSource("pods"));
  f.Ran("core", 5);
  f.Ran("edge-1", 2);
  f.Put(PodSource("pods", R"({"clusters":{"labelSelector":{"matchLabels":{"ring":"canary"}}}})", 2));
  f.Pass();
  for (const std::string& key : f.Keys()) CHECK_FALSE(key.starts_with("cluster:core:"));
  CHECK(f.Status()["clusters"]["selected"].IntOr() == 1);
  CHECK(f.runs.empty());
}

TEST_CASE("a source that is disabled or gone leaves nothing") {
  Fixture f;
  f.Put(PodSource("pods"));
  f.Pass();
  f.Ran("core", 5);
  SECTION("disabled") {
    f.Put(PodSource("pods", R"({"enabled":false})", 2));
    f.Pass();
    CHECK(f.Keys().empty());
    CHECK(f.Status()["phase"].StringOr() == "Disabled");
    f.Put(PodSource("pods", "{}", 3));
    f.Pass();
    CHECK(f.Keys().size() == 5);
  }
  SECTION("gone") {
    f.Remove();
    CHECK(f.Pass().requeue_after == 30s);
    CHECK(f.Keys().empty());
    f.Ran("core", 5, "old");  // was on its way
    CHECK_FALSE(f.Pass().requeue_after.has_value());
    CHECK(f.Keys().empty());
    CHECK(f.Published(1) == Words{"deleted"});
  }
  SECTION("gone from our cache only") {
    f.cache.erase(f.key);
    f.catalog.Update(f.key, nullptr);
    CHECK(f.Pass().requeue_after.has_value());
    CHECK_FALSE(f.Keys().empty());
  }
}

TEST_CASE("a version that is wrong is told and changes nothing") {
  Fixture f;
  f.Put(PodSource("pods"));
  f.Pass();
  f.Ran("core", 5);
  const Words before = f.Keys();
  f.Put(PodSource("pods", R"({"fields":[]})", 2));
  f.Pass();
  CHECK(f.Keys() == before);
  CHECK(f.Status()["phase"].StringOr() == "Error");
  CHECK(f.events.Count("InvalidSpec") == 1);
}

TEST_CASE("a source that is wrong from the start clears away what another object of its name left") {
  Fixture f;
  f.Put(PodSource("pods"));
  f.Pass();
  f.Ran("core", 5);
  const Words before = f.Keys();
  f.catalog.Update(f.key, nullptr);
  MetricSource other = PodSource("pods", R"({"fields":[]})");
  other.meta.uid = "another";
  f.Put(other);
  f.Pass();
  CHECK(f.Keys() == before);  // it may be its own: nobody has looked yet
  REQUIRE(RecoverVersions(f.catalog, f.sources).ok());
  f.Pass();
  CHECK(f.Keys().empty());
  CHECK(f.Status()["phase"].StringOr() == "Error");
}

TEST_CASE("an object that the catalog does not have yet waits") {
  Fixture f;
  f.cache[f.key] = PodSource("pods");
  CHECK(f.Pass().requeue_after == 1s);
  CHECK(f.Keys().empty());
}

}  // namespace clusterpulse::reconcile
