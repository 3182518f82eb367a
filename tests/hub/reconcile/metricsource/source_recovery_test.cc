#include "hub/reconcile/metricsource/source_recovery.h"

#include <memory>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "common/base/testing/manual_clock.h"
#include "hub/store/embedded_store.h"
#include "tests/hub/reconcile/metricsource/source_rig.h"

namespace clusterpulse::reconcile {
namespace {

using namespace std::chrono_literals;
using Ids = std::vector<std::string>;

constexpr std::string_view kBroken =
    R"({"computed":[{"name":"x","expression":"nope + 1"}],"clusters":{"names":["b"]}})";

struct Fixture {
  base::ManualClock clock;
  std::unique_ptr<store::EmbeddedStore> store = *store::EmbeddedStore::Open({.data_dir = "", .clock = &clock});
  store::SourceState sources{*store, 600s};
  SourceCatalog catalog;

  void Put(const MetricSource& object) { catalog.Update(object.key(), &object); }
  // What an earlier hub left of a valid version.
  void Store(const MetricSource& object, const std::string& uid, const std::string& clusters) {
    SourceCatalog earlier;
    earlier.Update(object.key(), &object);
    const auto entry = earlier.Find(object.key().ToString());
    REQUIRE(entry->source != nullptr);
    REQUIRE(sources
                .PutDefinition({.ns = object.meta.ns,
                                .name = object.meta.name,
                                .json = entry->definition,
                                .hash = entry->source->hash,
                                .uid = uid,
                                .clusters_json = clusters})
                .ok());
  }
  Ids Recover() {
    const auto recovered = RecoverVersions(catalog, sources);
    REQUIRE(recovered.ok());
    CHECK(catalog.WithoutVersion().empty());  // each is looked for once
    return *recovered;
  }
  Ids For(std::string_view cluster) {
    Ids ids;
    for (const auto& entry : catalog.For(cluster, {})) ids.push_back(entry->id);
    return ids;
  }
};

}  // namespace

TEST_CASE("the last valid version of a source survives the process that saw it") {
  struct Case {
    const char* name;
    std::string uid, clusters;
    bool is_found;
    Ids for_a, for_b;
  };
  const Case c = GENERATE(values<Case>({
      {"of the same object", "uid-pods", "null", true, {"hub/pods"}, {"hub/pods"}},
      {"with the clusters it was for", "uid-pods", R"({"names":["a"]})", true, {"hub/pods"}, {}},
      {"of an upstream hub", "", "", true, {}, {"hub/pods"}},  // for which the present clusters are taken
      {"of another object", "uid-other", "null", false, {}, {}},
  }));
  CAPTURE(c.name);
  Fixture f;
  f.Store(PodSource("pods", R"({"collection":{"intervalSeconds":90}})"), c.uid, c.clusters);
  f.Put(PodSource("pods", kBroken, 2));
  CHECK(f.For("a").empty());
  REQUIRE(f.catalog.WithoutVersion().size() == 1);
  CHECK(f.Recover() == (c.is_found ? Ids{"hub/pods"} : Ids{}));
  CHECK(f.For("a") == c.for_a);
  CHECK(f.For("b") == c.for_b);
  const auto entry = f.catalog.Find("hub/pods");
  CHECK_FALSE(entry->is_current);
  CHECK(entry->problems.has_errors());
  REQUIRE((entry->source != nullptr) == c.is_found);
  if (!c.is_found) return;
  CHECK(entry->source->collection.interval == 90s);
  const auto stored = f.sources.ReadDefinition("hub", "pods");
  CHECK(entry->definition == (*stored)->json);

  // Another version that is wrong changes nothing, one that is right takes its place.
  f.Put(PodSource("pods", kBroken, 3));
  CHECK(f.For("b") == c.for_b);
  f.Put(PodSource("pods", "{}", 4));
  CHECK(f.catalog.Find("hub/pods")->is_current);
  CHECK(f.For("a") == Ids{"hub/pods"});
}

TEST_CASE("only sources that need it are looked for, and what cannot be used is not") {
  Fixture f;
  f.Put(PodSource("valid"));
  f.Put(PodSource("off", R"({"enabled":false,"fields":[]})"));
  CHECK(f.catalog.WithoutVersion().empty());
  f.Put(PodSource("pods", kBroken));
  REQUIRE(f.sources.PutDefinition({.ns = "hub", .name = "pods", .json = "{", .uid = "uid-pods"}).ok());
  CHECK(f.Recover().empty());
  CHECK(f.catalog.Find("hub/pods")->source == nullptr);
  // Again when it is enabled.
  f.Put(PodSource("off", R"({"fields":[]})", 2));
  CHECK(f.catalog.WithoutVersion().size() == 1);
}

TEST_CASE("what was found is dropped when the object changed meanwhile") {
  Fixture f;
  f.Store(PodSource("pods"), "uid-pods", "null");
  f.Put(PodSource("pods", kBroken, 2));
  const auto entry = f.catalog.WithoutVersion().front();
  const auto stored = f.sources.ReadDefinition("hub", "pods");
  f.Put(PodSource("pods", R"({"collection":{"intervalSeconds":90}})", 3));
  CHECK_FALSE(f.catalog.Recover(entry, *stored));
  CHECK(f.catalog.Find("hub/pods")->source->collection.interval == 90s);
}

}  // namespace clusterpulse::reconcile
