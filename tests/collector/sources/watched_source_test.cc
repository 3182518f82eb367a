#include "collector/sources/watched_source.h"

#include <atomic>
#include <functional>

#include <catch2/catch.hpp>

#include "common/base/testing/manual_clock.h"
#include "common/kube/testing/fake_kube_api.h"
#include "common/kube/testing/forwarding_kube_api.h"
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

  void Start(const Definition& definition = {}) { Start(definition.Text()); }
  void Start(const std::string& definition) {
    metricsource::Diagnostics diagnostics;
    source = metricsource::CompileDefinition(definition, diagnostics);
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
    return result;
  }
  static bool Eventually(const std::function<bool()>& condition) { return testing::Eventually(15s, condition); }
};

// One change: objects come, change in every way that rows show, and go.
void Change(kube::ObjectStore& store, base::Random& random) {
  const auto pick = [&](std::initializer_list<const char*> words) {
    return std::string(*(words.begin() + random.Next() % words.size()));
  };
  const std::string ns = pick({"a", "a-b", "b", "team", "team-0"}),
                    name = fmt::format("map{}{}", pick({"-", ".", "0"}), random.Next() % 10);
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

TEST_CASE("rows that are more than a batch has room for are cut as a list cuts them") {
  Fixture f;
  for (int i = 0; i < 30; ++i) {
    json::Value map;
    map.Mutable("metadata").Mutable("name") = fmt::format("map-{}", i);
    map.Mutable("metadata").Mutable("namespace") = "a";
    map.Mutable("data").Mutable("size") = std::string(450000, 'x');
    REQUIRE(f.api.store().Put(kConfigMaps, std::move(map)).ok());
  }
  auto definition = json::Value::Parse(Definition{}.Text());
  REQUIRE(definition.ok());
  definition->Erase("aggregations");
  definition->Mutable("fields").MutableArray()[0].Mutable("type") = "string";
  json::Value& computed = definition->Mutable("computed").MutableArray()[0];
  computed.Mutable("expression") = "concat(size, size)";
  computed.Mutable("type") = "string";
  f.Start(definition->Dump());
  const model::SourceResult truth = f.List();
  CHECK(truth.truncated);
  CHECK(truth.rows.size() < 30);
  const bool is_same = f.Eventually([&] { return f.Watch() == truth; });
  CHECK(is_same);
}

// A list's second page is not to be had while `is_torn`.
class TornLists final : public kube::ForwardingKubeApi {
 public:
  using kube::ForwardingKubeApi::ForwardingKubeApi;
  absl::StatusOr<kube::ListPage> List(const kube::ListQuery& query, kube::ItemVisitor visit,
                                      const kube::CallOptions& options) override {
    if (!is_torn || query.continue_token.empty()) return kube::ForwardingKubeApi::List(query, visit, options);
    ++torn;
    return absl::UnavailableError("connection lost");
  }
  std::atomic<bool> is_torn = false;
  std::atomic<int> torn = 0;
};

// Does something else at the second look at it.
class InterruptingClock final : public base::Clock {
 public:
  base::SystemTime Now() const override { return clock_.Now(); }
  base::SteadyTime Steady() const override {
    if (left > 0 && std::this_thread::get_id() == thread_ && --left == 0) interruption();
    return clock_.Steady();
  }
  mutable int left = 0;  // looks of the thread that made this
  std::function<void()> interruption;

 private:
  const std::thread::id thread_ = std::this_thread::get_id();
  base::ManualClock clock_;
};

TEST_CASE("what is being listed anew is not told, also when that began after the last look at it") {
  FakeKubeApi api;
  TornLists lists(api);
  InterruptingClock clock;
  base::SeededRandom random(1);
  metricsource::Diagnostics diagnostics;
  const auto source = metricsource::CompileDefinition(Definition{}.Text(), diagnostics);
  REQUIRE(source != nullptr);
  for (int i = 10; i < 40; ++i) PutMap(api.store(), "a", fmt::format("map-{}", i), 1);
  WatchedSource watched(source, kConfigMaps, lists,
                        {.backoff = {.initial = 1ms, .max = 2ms}, .clock = &clock, .random = &random});
  watched.Start();
  REQUIRE(testing::Eventually(15s, [&] { return watched.Read().has_value(); }));
  REQUIRE(api.WaitForWatches("configmaps", 1));

  bool is_torn = false;
  clock.interruption = [&] {
    for (int i = 39; i >= 10; --i) PutMap(api.store(), "b", fmt::format("map-{}", i), 2);
    lists.is_torn = true;
    api.EndWatches(absl::OutOfRangeError("too old resource version"));
    is_torn = testing::Eventually(15s, [&] { return lists.torn > 0; });
  };
  clock.left = 2;
  const auto rows = watched.Read();
  CHECK(is_torn);
  CHECK_FALSE(rows.has_value());
  lists.is_torn = false;
  CHECK(testing::Eventually(15s, [&] {
    const auto all = watched.Read();
    return all && all->rows.size() == 60;
  }));
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

TEST_CASE("a server that is away for a while does not make a watch useless") {
  Fixture f;
  PutMap(f.api.store(), "a", "one", 1);
  f.Start();
  REQUIRE(f.Eventually([&] { return f.Watch().has_value(); }));
  REQUIRE(f.api.WaitForWatches("configmaps", 1));
  const absl::Status away = absl::UnavailableError("connection refused");
  f.api.FailNext(Verb::kWatch, "configmaps", away, FakeKubeApi::kForever);
  f.api.EndWatches(away);
  REQUIRE(f.api.WaitForCalls(Verb::kWatch, "configmaps", 7));
  CHECK_FALSE(f.Watch().has_value());
  CHECK_FALSE(f.watched->IsUseless());
  PutMap(f.api.store(), "a", "two", 1);
  f.api.ClearFaults();
  const model::SourceResult truth = f.List();
  CHECK(f.Eventually([&] { return f.Watch() == truth; }));
  CHECK(f.api.Count(Verb::kList, "configmaps") == 2);  // this one, and that which the watch began with
}

TEST_CASE("a watch that fails for ever is useless") {
  Fixture f;
  f.api.FailNext(Verb::kWatch, "configmaps", absl::UnavailableError("no stream"), FakeKubeApi::kForever);
  f.Start();
  CHECK(f.Eventually([&] { return f.watched->IsUseless(); }));
  CHECK_FALSE(f.Watch().has_value());
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

TEST_CASE("what lists leave out cannot be watched") {
  for (const char* path : {".kind", "apiVersion", ".", "..", "['kind']"}) {
    CAPTURE(path);
    metricsource::Diagnostics diagnostics;
    // "size" is a quantity, which no such field is; that does not matter here.
    const auto source = metricsource::CompileDefinition(Definition{.path = path}.Text(), diagnostics);
    REQUIRE(source != nullptr);
    CHECK_FALSE(WatchedSource::CanWatch(*source, kConfigMaps));
  }
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
