#include "collector/sources/watched_source.h"

#include <functional>

#include <catch2/catch.hpp>

#include "common/base/testing/manual_clock.h"
#include "common/kube/testing/fake_kube_api.h"
#include "tests/collector/sources/definitions.h"
#include "tests/support/process.h"

namespace clusterpulse::sources {
namespace {

using namespace std::chrono_literals;
using kube::FakeKubeApi;
using kube::Verb;

struct Fixture {
  FakeKubeApi api;
  base::ManualClock clock;
  base::SeededRandom random{1};
  kube::Discovery discovery{api, clock, {}};
  std::shared_ptr<const metricsource::Source> source;
  std::unique_ptr<WatchedSource> watched;

  void Start(const Definition& definition = {}) {
    metricsource::Diagnostics diagnostics;
    source = metricsource::CompileDefinition(definition.Text(), diagnostics);
    REQUIRE(source != nullptr);
    watched = std::make_unique<WatchedSource>(
        source, kConfigMaps, api,
        WatchedSource::Options{.backoff = {.initial = 1ms, .max = 2ms}, .clock = &clock, .random = &random});
    watched->Start();
  }
  model::SourceResult List() { return Result(metricsource::Collect(*source, api, discovery, clock, random, {})); }
  std::optional<model::SourceResult> Watch() {
    const auto rows = watched->Read();
    return rows ? std::optional(Result(*rows)) : std::nullopt;
  }
  model::SourceResult Result(const metricsource::Collection& collection) const {
    model::SourceResult result = metricsource::ToResult(*source, collection);
    result.duration = {};
    // Of a list that was cut, whether they tell of the object by which that shows is not the watch's business.
    if (result.truncated) result.fields.clear();
    return result;
  }
  static bool Eventually(const std::function<bool()>& condition) { return testing::Eventually(15s, condition); }
};

// One change: objects come, change in every way that rows show, and go.
void Change(kube::ObjectStore& store, base::Random& random) {
  const auto pick = [&](std::initializer_list<const char*> words) {
    return std::string(*(words.begin() + random.Next() % words.size()));
  };
  const std::string ns = pick({"a", "b", "team"}), name = fmt::format("map-{}", random.Next() % 15);
  if (random.Next() % 4 == 0) {
    (void)store.Delete(kConfigMaps, {ns, name});  // it may not be there
    return;
  }
  json::Value map;
  map.Mutable("metadata").Mutable("name") = name;
  map.Mutable("metadata").Mutable("namespace") = ns;
  if (random.Next() % 3 != 0) {
    map.Mutable("metadata").Mutable("labels").Mutable("team") = pick({"a", "b", "\xc3\xa4\"\n"});
  }
  const std::string size = pick({"4Ki", "1", "250m", "no quantity", "null", "none"});
  if (size == "null") {
    map.Mutable("data").Mutable("size") = nullptr;
  } else if (size != "none") {
    map.Mutable("data").Mutable("size") = size;
  }
  REQUIRE(store.Put(kConfigMaps, std::move(map)).ok());
}

TEST_CASE("what a watch knows is what listing gives, through any changes") {
  const std::vector<Definition> definitions = {Definition{}, Definition{.include = "?"}, Definition{.max = 7},
                                               Definition{.include = "te*", .max = 3}};
  for (const Definition& definition : definitions) {
    DYNAMIC_SECTION(definition.include << definition.max) {
      Fixture f;
      for (int i = 0; i < 30; ++i) Change(f.api.store(), f.random);
      f.Start(definition);
      REQUIRE(f.Eventually([&] { return f.Watch() == f.List(); }));
      REQUIRE(f.api.WaitForWatches("configmaps", 1));
      for (int round = 0; round < 30; ++round) {
        CAPTURE(round);
        for (int i = 0; i < 5; ++i) Change(f.api.store(), f.random);
        if (round % 10 == 4) f.api.EndWatches();
        if (round % 10 == 8) f.api.EndWatches(absl::UnavailableError("connection lost"));
        const model::SourceResult truth = f.List();
        // A watch that was cut and has nothing to tell is believed with the next bookmark.
        const bool is_same = f.Eventually([&] {
          f.api.SendBookmark();
          return f.Watch() == truth;
        });
        REQUIRE(is_same);
      }
      CHECK_FALSE(f.watched->IsUseless());
    }
  }
}

TEST_CASE("a watch that shows no life is not believed") {
  Fixture f;
  PutMap(f.api.store(), "a", "one", 1);
  f.Start();
  CHECK(f.Eventually([&] { return f.Watch().has_value(); }));
  REQUIRE(f.api.WaitForWatches("configmaps", 1));
  f.clock.AdvanceBy(76s);
  CHECK_FALSE(f.Watch().has_value());
  CHECK(f.Eventually([&] {
    f.api.SendBookmark();
    return f.Watch().has_value();
  }));
}

TEST_CASE("nothing is told before the first list, nor by a watch that is refused, which is useless") {
  Fixture f;
  f.api.Hold(Verb::kList, "configmaps");
  f.api.FailNext(Verb::kWatch, "configmaps", absl::PermissionDeniedError("no watch"), FakeKubeApi::kForever);
  f.Start();
  REQUIRE(f.api.WaitForCalls(Verb::kList, "configmaps", 1));
  CHECK_FALSE(f.Watch().has_value());
  CHECK_FALSE(f.watched->IsUseless());
  f.api.Release();
  CHECK(f.Eventually([&] { return f.watched->IsUseless(); }));
}

TEST_CASE("its size is that of all objects, also of those that are in no row") {
  Fixture f;
  PutMap(f.api.store(), "a", "one", 1);
  PutMap(f.api.store(), "other", "two", 1);
  f.Start(Definition{.include = "?"});
  REQUIRE(f.Eventually([&] { return f.Watch().has_value(); }));
  CHECK(f.watched->size().objects == 2);
  CHECK(f.watched->size().bytes > 200);
  CHECK(f.Watch()->rows.size() == 1);
}

TEST_CASE("only what is one list can be watched") {
  struct Case {
    std::string include;
    bool namespaced, expected;
  };
  const std::vector<Case> cases = {
      {"", true, true}, {"a*", true, true}, {"a", true, false}, {"a", false, true}, {"", false, true}};
  for (const Case& c : cases) {
    CAPTURE(c.include, c.namespaced);
    metricsource::Diagnostics diagnostics;
    const auto source = metricsource::CompileDefinition(Definition{.include = c.include}.Text(), diagnostics);
    REQUIRE(source != nullptr);
    kube::ResourceType resource = kConfigMaps;
    resource.namespaced = c.namespaced;
    CHECK(WatchedSource::CanWatch(*source, resource) == c.expected);
  }
}

}  // namespace
}  // namespace clusterpulse::sources
