#include "collector/sources/source_runner.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <thread>

#include <catch2/catch.hpp>

#include "collector/sources/definition_file.h"
#include "collector/spool/testing/fake_file_system.h"
#include "common/base/testing/manual_clock.h"
#include "common/kube/testing/fake_kube_api.h"
#include "common/wire/messages.h"
#include "tests/collector/sources/definitions.h"
#include "tests/support/process.h"

namespace clusterpulse::sources {
namespace {

using namespace std::chrono_literals;
using kube::FakeKubeApi;
using kube::Verb;
using Strings = std::vector<std::string>;

const std::string kPath = "/data/metric-sources";

struct Fixture {
  FakeKubeApi api;
  base::SeededRandom random{1};
  spool::FakeFileSystem files{random};
  telemetry::Registry registry;
  base::Mutex mu;
  Strings lines ABSL_GUARDED_BY(mu);
  std::atomic<int> results = 0, news = 0;
  std::string path;
  const base::Clock* clock = &base::SystemClock();
  std::optional<SourceRunner> runner;

  Fixture() {
    PutMap(api.store(), "a", "one", 4);
    PutMap(api.store(), "a", "two", 1, "b");
    PutMap(api.store(), "c", "three", 2);
  }
  void Start() {
    runner.emplace(api, SourceRunner::Options{.path = path,
                                              .files = &files,
                                              .on_result =
                                                  [this](bool is_news, std::chrono::seconds) {
                                                    news += is_news ? 1 : 0;
                                                    ++results;
                                                  },
                                              .log = log::Logger({.format = log::Format::kText,
                                                                  .sink =
                                                                      [this](std::string_view line) {
                                                                        base::MutexLock lock(mu);
                                                                        lines.emplace_back(line);
                                                                      }}),
                                              .registry = &registry,
                                              .clock = clock,
                                              .random = &random});
    runner->Start();
  }
  bool Eventually(const std::function<bool()>& condition) { return testing::Eventually(15s, condition); }
  bool WaitForResults(int count) {
    return Eventually([&] { return results >= count; });
  }
  std::vector<model::SourceResult> Take() { return runner->Take(true, true, base::SystemClock().Now()).results; }
  double Counter(const std::string& source, const std::string& result) {
    return registry.Counters("clusterpulse_collector_source_runs_total", "", {"source", "result"})
        .With({source, result})
        .Value();
  }
  double Gauge(const std::string& name) { return registry.Gauges(name, "").With({}).Value(); }
  int Logged(const std::string& text) {
    base::MutexLock lock(mu);
    return static_cast<int>(
        std::count_if(lines.begin(), lines.end(), [&](const auto& line) { return line.find(text) != line.npos; }));
  }
};

// Threads of this process with that name.
int CountThreads(const std::string& name) {
  int count = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    count += testing::ReadFile(task.path() / "comm").find(name) == 0 ? 1 : 0;
  }
  return count;
}

TEST_CASE("a source gives rows, computed values and aggregations at once; without sources there are no threads") {
  Fixture f;
  f.Start();
  CHECK(CountThreads("source-") == 0);
  CHECK(f.runner->Apply({}).empty());
  CHECK(CountThreads("source-") == 0);
  CHECK(f.runner->Apply({Definition().Text()}).empty());
  REQUIRE(f.WaitForResults(1));
  CHECK(f.news == 1);
  // The thread of a watch has the name of the one that made it for a moment.
  CHECK(f.Eventually([] { return CountThreads("source-") == SourceRunner::kThreads; }));
  const auto told = f.Take();
  REQUIRE(told.size() == 1);
  CHECK(told[0].source == "hub/maps");
  CHECK(told[0].failure.empty());
  CHECK(told[0].definition_hash == "1111");
  REQUIRE(told[0].rows.size() == 3);
  CHECK(told[0].rows[0].id == "a/one");
  CHECK(told[0].rows[0].values_json == R"({"size":4096,"team":"a","kib":4})");
  CHECK(told[0].rows[2].id == "c/three");
  CHECK(told[0].aggregations == std::map<std::string, double>{{"total", 7}});
  CHECK(told[0].aggregations_json == R"({"total":7,"by_team":{"a":2,"b":1}})");
  CHECK(f.Counter("hub/maps", "ok") == 1);
  CHECK(f.Gauge("clusterpulse_collector_sources_in_force") == 1);
  CHECK(f.registry.Gauges("clusterpulse_collector_source_rows", "", {"source"}).With({"hub/maps"}).Value() == 3);
  f.runner->Stop();
  // The kernel shows a thread for a moment after it was joined.
  CHECK(f.Eventually([] { return CountThreads("source-") == 0; }));
}

TEST_CASE("push gives what pull gives, byte for byte") {
  Fixture f;
  for (int i = 0; i < 40; ++i) PutMap(f.api.store(), i % 3 == 0 ? "a" : "z", fmt::format("map-{}", i), i, "t");
  for (const std::string include : {"", "a", "z*"}) {
    const std::string text = Definition{.include = include}.Text();
    metricsource::Diagnostics diagnostics;
    const auto source = metricsource::CompileDefinition(text, diagnostics);
    REQUIRE(source != nullptr);
    kube::Discovery discovery(f.api, base::SystemClock(), {});
    model::SourceResult pull = metricsource::ToResult(
        *source, metricsource::Collect(*source, f.api, discovery, base::SystemClock(), f.random, {}));
    REQUIRE(pull.failure.empty());
    REQUIRE(!pull.rows.empty());

    f.results = 0;
    f.Start();
    f.runner->Apply({text});
    REQUIRE(f.WaitForResults(1));
    auto told = f.Take();
    REQUIRE(told.size() == 1);
    // And over the wire.
    model::Batch batch{.cluster = "edge-1", .id = "1", .collected_at = base::SystemClock().Now()};
    batch.sources = std::move(told);
    const auto message = wire::DecodeFromCollector(wire::BatchMessage(wire::EncodeBody(batch), {.seq = 1}));
    REQUIRE(message.ok());
    model::SourceResult push = std::get<model::Batch>(*message).sources.at(0);
    push.age = {};
    push.duration = pull.duration;
    pull.definition_hash = "1111";
    CHECK(push == pull);
  }
}

TEST_CASE("a slow source delays no other") {
  Fixture f;
  f.api.Hold(Verb::kList, "configmaps");
  f.Start();
  f.runner->Apply(
      {Definition{.name = "slow"}.Text(), Definition{.name = "quick", .path = ".spec.x", .kind = "Namespace"}.Text()});
  REQUIRE(f.WaitForResults(1));
  auto told = f.Take();
  REQUIRE(told.size() == 1);
  CHECK(told[0].source == "hub/quick");
  f.api.Release();
  REQUIRE(f.WaitForResults(2));
  CHECK(f.Take().size() == 2);
}

TEST_CASE("a source that is removed or replaced while it runs is stopped, and so is everything at the end") {
  Fixture f;
  f.api.Hold(Verb::kList, "configmaps");
  f.Start();
  f.runner->Apply({Definition{.name = "a"}.Text(), Definition{.name = "b"}.Text()});
  REQUIRE(f.api.WaitForCalls(Verb::kList, "configmaps", 2));
  f.runner->Apply({Definition{.name = "b", .hash = "2222", .path = ".data.x"}.Text()});
  REQUIRE(f.api.WaitForCalls(Verb::kList, "configmaps", 3));
  CHECK(f.Take().empty());
  f.runner->Stop();
  CHECK(f.results == 0);
  f.runner->Stop();
}

TEST_CASE("each way to fail has its word, in the result and as a metric") {
  struct Case {
    std::string failure, label;
    std::function<void(Fixture&)> arrange;
    Definition definition;
  };
  const auto list_fails = [](absl::Status status) {
    return [status](Fixture& f) { f.api.FailNext(Verb::kList, "configmaps", status); };
  };
  const std::vector<Case> cases = {
      {"NotInstalled", "not_installed", [](Fixture&) {}, {.kind = "Widget", .api_version = "shop.io/v1"}},
      {"Forbidden", "forbidden", list_fails(absl::PermissionDeniedError("no")), {}},
      {"Unauthorized", "unauthorized", list_fails(absl::UnauthenticatedError("no")), {}},
      {"Throttled", "throttled", list_fails(absl::ResourceExhaustedError("429")), {}},
      {"Unreachable", "unreachable", list_fails(absl::UnavailableError("refused")), {}},
      {"TimedOut", "timed_out", list_fails(absl::DeadlineExceededError("slow")), {}},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.failure) {
      Fixture f;
      c.arrange(f);
      f.Start();
      f.runner->Apply({c.definition.Text()});
      REQUIRE(f.WaitForResults(1));
      const auto told = f.Take();
      REQUIRE(told.size() == 1);
      CHECK(told[0].failure == c.failure);
      CHECK_FALSE(told[0].message.empty());
      CHECK(told[0].rows.empty());
      CHECK(f.Counter("hub/maps", c.label) == 1);
      CHECK(f.news == 1);
    }
  }
}

TEST_CASE("a rejection is told at once and counted") {
  Fixture f;
  f.Start();
  const auto problems = f.runner->Apply({Definition{.path = ".data['x"}.Text()});
  REQUIRE(problems.size() == 1);
  CHECK(problems[0].find("metric source hub/maps: rejected: ") == 0);
  CHECK(f.news == 1);
  CHECK(f.Gauge("clusterpulse_collector_sources_rejected") == 1);
  CHECK(f.Take().at(0).failure == "Rejected");
  CHECK(f.runner->Apply({}).empty());
  CHECK(f.Gauge("clusterpulse_collector_sources_rejected") == 0);
  CHECK(f.Take().empty());
}

TEST_CASE("the next process goes on with the last good set, also when the hub is away") {
  Fixture f;
  f.path = kPath;
  f.Start();
  f.runner->Apply({Definition{.name = "a"}.Text(), Definition{.name = "b"}.Text()});
  f.runner->Apply({Definition{.name = "a", .hash = "2", .path = ".x['y"}.Text(), Definition{.name = "c"}.Text()});
  f.runner.reset();
  CHECK(*ReadDefinitions(f.files, kPath) == Strings{Definition{.name = "a"}.Text(), Definition{.name = "c"}.Text()});
  f.results = 0;
  f.Start();
  REQUIRE(f.WaitForResults(2));
  const auto told = f.Take();
  REQUIRE(told.size() == 2);
  CHECK(told[0].source == "hub/a");
  CHECK(told[1].source == "hub/c");
  // The same from the hub restarts nothing; the last one that goes is gone on disk too.
  f.runner->Apply({Definition{.name = "a"}.Text(), Definition{.name = "c"}.Text()});
  CHECK(f.Take().size() == 2);
  f.runner->Apply({});
  CHECK(f.Eventually([&] { return ReadDefinitions(f.files, kPath)->empty(); }));
  f.runner.reset();
  f.Start();
  CHECK(f.Take().empty());
  CHECK(f.Logged("warn") == 0);
}

TEST_CASE("a damaged file is one warning and no sources, and the hub's word mends it") {
  Fixture f;
  f.path = kPath;
  REQUIRE(WriteDefinitions(f.files, kPath, {Definition().Text()}).ok());
  f.files.SetContent(kPath, f.files.Content(kPath).substr(0, 200));
  f.Start();
  CHECK(f.Logged("cannot be read; the hub will tell them again") == 1);
  CHECK(f.Logged("WARN") + f.Logged("warn") == 1);
  CHECK(f.Take().empty());
  CHECK(f.Eventually([] { return CountThreads("source-") == 0; }));
  f.runner->Apply({});
  CHECK(f.Eventually([&] { return ReadDefinitions(f.files, kPath).ok(); }));
}

TEST_CASE("a disk that fails is told once; sources run all the same") {
  Fixture f;
  f.path = kPath;
  f.files.SetFault([](spool::FakeFileSystem::Call call, const std::string&) {
    return call == spool::FakeFileSystem::Call::kSync ? absl::UnavailableError("EIO") : absl::OkStatus();
  });
  f.Start();
  f.runner->Apply({Definition().Text()});
  REQUIRE(f.WaitForResults(1));
  CHECK(f.Eventually([&] { return f.Logged("cannot be kept on disk") == 1; }));
  f.runner->Apply({Definition{.interval = 90}.Text()});
  REQUIRE(f.WaitForResults(2));
  f.files.SetFault(nullptr);
  f.runner->Apply({Definition{.interval = 120}.Text()});
  CHECK(f.Eventually([&] { return f.Logged("are kept on disk again") == 1; }));
  CHECK(f.Logged("cannot be kept on disk") == 1);
  CHECK(*ReadDefinitions(f.files, kPath) == Strings{Definition{.interval = 120}.Text()});
}

TEST_CASE("a source of few objects is watched after its first run, and listed no more") {
  base::ManualClock clock;
  Fixture f;
  f.clock = &clock;
  f.Start();
  const Strings definitions = {Definition().Text()};
  f.runner->Apply(definitions);
  REQUIRE(f.WaitForResults(1));
  REQUIRE(f.api.WaitForWatches("configmaps", 1));
  REQUIRE(f.Eventually([&] { return f.Gauge("clusterpulse_collector_sources_watched") == 1; }));
  const int lists = f.api.Count(Verb::kList, "configmaps");
  const auto from_watch = [&] {
    return f.registry.Counters("clusterpulse_collector_source_watched_runs_total", "", {"source"})
        .With({"hub/maps"})
        .Value();
  };
  const auto listed = f.Take();
  clock.AdvanceBy(74s);          // to the next tick; a watch is believed for 75 s
  f.runner->Apply(definitions);  // wakes the threads, which wait by a real clock
  REQUIRE(f.WaitForResults(2));
  CHECK(f.Counter("hub/maps", "ok") == 2);
  CHECK(from_watch() == 1);
  CHECK(f.api.Count(Verb::kList, "configmaps") == lists);
  const auto watched = f.Take();
  REQUIRE(listed.size() == 1);
  REQUIRE(watched.size() == 1);
  CHECK(watched[0].rows == listed[0].rows);
  CHECK(watched[0].aggregations_json == listed[0].aggregations_json);
  // Another version does not begin with what the old one's watch knows.
  f.runner->Apply({Definition{.hash = "2", .path = ".data.none"}.Text()});
  REQUIRE(f.WaitForResults(3));
  CHECK(from_watch() == 1);
  CHECK(f.api.Count(Verb::kList, "configmaps") > lists);
  f.runner->Apply({});
  CHECK(f.Eventually([&] { return f.Gauge("clusterpulse_collector_sources_watched") == 0; }));
}

TEST_CASE("stops, configurations and takes from many threads at once") {
  Fixture f;
  f.path = kPath;
  f.Start();
  std::vector<std::jthread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&f, t] {
      for (int i = 0; i < 30; ++i) {
        if (t == 0) f.runner->Apply({Definition{.name = "a", .interval = 60 + i % 2}.Text()});
        if (t == 1) f.runner->Apply({Definition{.name = "b"}.Text()});
        if (t == 2) f.Take();
      }
    });
  }
  threads.clear();
  f.runner->Stop();
  const base::SteadyTime turn = f.runner->last_turn();
  CHECK(turn <= base::SystemClock().Steady());
}

}  // namespace
}  // namespace clusterpulse::sources
