#include "collector/app/app.h"

#include <algorithm>
#include <thread>

#include <catch2/catch.hpp>

#include "collector/spool/testing/fake_file_system.h"
#include "common/base/testing/manual_clock.h"
#include "common/http/server.h"
#include "common/kube/testing/fake_kube_api.h"
#include "common/survey/survey.h"
#include "tests/collector/app/loop_hub.h"
#include "tests/collector/sources/definitions.h"
#include "tests/kubesim/fleet.h"
#include "tests/support/process.h"

namespace clusterpulse::collector {
namespace {

using namespace std::chrono_literals;
using kube::FakeKubeApi;
using kube::Verb;

// The whole collector over a fake cluster and a hub in this process.
struct Fixture {
  kube::ObjectStore store;
  FakeKubeApi* api = nullptr;
  LoopHub hub;
  Config config;
  const base::Clock* clock = &base::SystemClock();
  spool::FileSystem* files = &spool::PosixFileSystem();
  std::unique_ptr<App> app;
  std::stop_source stop;
  absl::Status result = absl::UnknownError("still running");
  std::jthread thread;

  Fixture() {
    kubesim::Fleet fleet(store, {.nodes = 3, .pods_per_node = 4, .openshift = true, .operators = 2});
    REQUIRE(fleet.Seed().ok());
    config.cluster = "edge-1";
    config.token = "hunter2";
    config.metrics_address = config.probe_address = "0";
    Make();
  }
  ~Fixture() { stop.request_stop(); }

  void Make() {
    Dependencies deps;
    deps.registry = std::make_unique<telemetry::Registry>();
    deps.clock = clock;
    deps.files = files;
    auto fake = std::make_unique<FakeKubeApi>(store);
    api = fake.get();
    deps.api = std::move(fake);
    deps.transport = hub.MakeTransport();
    app = std::make_unique<App>(config, std::move(deps));
  }
  void Start() {
    thread = std::jthread([this] { result = app->Run(stop.get_token()); });
  }
  absl::Status Stop() {
    stop.request_stop();
    thread.join();
    return result;
  }
  bool WaitFor(const std::function<bool(const LoopHub::Seen&)>& condition) {
    return testing::Eventually(15s, [&] { return condition(hub.seen()); });
  }
  double Gauge(const std::string& name) {
    app->registry().Render();
    return app->registry().Gauges(name, "").With({}).Value();
  }
  bool Told(const std::string& line) { return app->Ready().body.find(line) != std::string::npos; }
};

// The newest value of each scope, as a hub keeps it.
model::ClusterSnapshot Merge(const std::vector<model::Batch>& batches) {
  model::ClusterSnapshot all;
  const auto take = [](auto& to, const auto& from) {
    if (from) to = from;
  };
  for (const model::Batch& batch : batches) {
    take(all.nodes, batch.snapshot.nodes);
    take(all.counts, batch.snapshot.counts);
    take(all.namespaces, batch.snapshot.namespaces);
    take(all.info, batch.snapshot.info);
    take(all.operators, batch.snapshot.operators);
    take(all.cluster_operators, batch.snapshot.cluster_operators);
  }
  return all;
}

TEST_CASE("what the hub gets is the cluster, and an acknowledged batch is let go") {
  Fixture f;
  f.Start();
  REQUIRE(f.WaitFor([](const LoopHub::Seen& seen) {
    const model::ClusterSnapshot all = Merge(seen.batches);
    return all.nodes && all.counts && all.namespaces && all.info && all.operators && all.cluster_operators;
  }));
  const LoopHub::Seen seen = f.hub.seen();
  CHECK(seen.tokens.at(0) == "hunter2");
  const model::Registration& registration = seen.registrations.at(0);
  CHECK(registration.cluster == "edge-1");
  CHECK(registration.instance.size() == 36);
  CHECK_FALSE(registration.version.empty());
  for (const model::Batch& batch : seen.batches) {
    CHECK(batch.cluster == "edge-1");
    CHECK(batch.interval == 60s);
  }
  const model::ClusterSnapshot all = Merge(seen.batches);
  const auto truth = survey::ReadNodes(*f.api, {});
  REQUIRE(truth.ok());
  REQUIRE(all.nodes->size() == 3);
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(all.nodes->at(i).name == truth->nodes[i].name);
    CHECK(all.nodes->at(i).pods == truth->nodes[i].pods);
  }
  CHECK(all.counts->pods == truth->counts.pods);
  CHECK(all.counts->deployments == 10);
  CHECK(all.operators->size() == 2);
  CHECK(all.cluster_operators->size() == 26);
  CHECK(testing::Eventually(15s, [&] { return f.Gauge("clusterpulse_collector_buffered_batches") == 0; }));
  CHECK(f.Gauge("clusterpulse_collector_connected") == 1);
  CHECK(f.app->Ready().ok);
  CHECK(f.app->Alive().body == "[+] batches: ok\n[+] inventory: ok\n[+] sources: ok\n[+] link: ok\nok\n");
  CHECK(f.Told("[+] cluster: ok\n[i] hub: streaming since "));
  CHECK(f.Told(" with hub-0\n[i] spool: none: batches are kept in memory only\n[i] degraded: nothing\n"));
  CHECK(f.Stop().ok());
  CHECK(f.hub.seen().closed == 1);
}

TEST_CASE("a node that turns NotReady is told at once") {
  Fixture f;
  f.Start();
  REQUIRE(f.WaitFor([](const LoopHub::Seen& seen) { return Merge(seen.batches).cluster_operators.has_value(); }));
  REQUIRE(kubesim::SetNodeReady(f.store, "node-2", false).ok());
  CHECK(f.WaitFor([](const LoopHub::Seen& seen) {
    const auto nodes = Merge(seen.batches).nodes;
    return nodes && nodes->at(1).status == model::NodeStatus::kNotReady;
  }));
}

TEST_CASE("the hub's wishes are in force at once, and what cannot be is reported") {
  Fixture f;
  f.hub.SetConfig({.metric_sources = {"{}"}, .interval = 2s, .operator_interval = 600s, .hash = "abc"});
  f.Start();
  REQUIRE(f.WaitFor([](const LoopHub::Seen& seen) { return !seen.reports.empty(); }));
  CHECK(f.hub.seen().reports[0] ==
        model::ConfigReport{.hash = "abc",
                            .problems = {"interval of 2 s runs as 5 s",
                                         "metric source 1: rejected: no namespace and name of a MetricSource"}});
  CHECK(
      f.WaitFor([](const LoopHub::Seen& seen) { return !seen.batches.empty() && seen.batches.back().interval == 5s; }));
  // Not asked any more: the own interval again.
  f.hub.SetConfig({.hash = "def"});
  const std::size_t before = f.hub.seen().batches.size();
  f.hub.Drop(absl::UnavailableError("hub is stopping"));
  // What was on its way when the stream ended comes again behind it, as history.
  CHECK(f.WaitFor([&](const LoopHub::Seen& seen) {
    return std::any_of(seen.batches.begin() + static_cast<std::ptrdiff_t>(before), seen.batches.end(),
                       [](const model::Batch& batch) { return batch.interval == 60s; });
  }));
}

// What the batches from `first` on tell of a source, in their order, with the times of the runs.
struct ToldResult {
  model::SourceResult result;
  base::SystemTime began{};
};
std::vector<ToldResult> ToldOf(const std::string& source, const LoopHub::Seen& seen, std::size_t first = 0) {
  std::vector<ToldResult> told;
  for (std::size_t i = first; i < seen.batches.size(); ++i) {
    const auto at = std::chrono::floor<std::chrono::milliseconds>(seen.batches[i].collected_at.time_since_epoch());
    for (const model::SourceResult& result : seen.batches[i].sources) {
      if (result.source == source) told.push_back({result, base::SystemTime(at - result.age)});
    }
  }
  return told;
}

TEST_CASE("a metric source is collected and told at once, another version too, and one that is removed no more") {
  Fixture f;
  f.config.interval = 3600s;
  f.Make();
  sources::PutMap(f.store, "a", "one", 4);
  f.Start();
  REQUIRE(f.WaitFor([](const LoopHub::Seen& seen) { return Merge(seen.batches).cluster_operators.has_value(); }));
  f.hub.Push({.metric_sources = {sources::Definition().Text()}, .hash = "h1"});
  REQUIRE(f.WaitFor([](const LoopHub::Seen& seen) { return !ToldOf("hub/maps", seen).empty(); }));
  LoopHub::Seen seen = f.hub.seen();
  CHECK(seen.reports.back() == model::ConfigReport{.hash = "h1", .problems = {}});
  const model::SourceResult first = ToldOf("hub/maps", seen)[0].result;
  CHECK(first.definition_hash == "1111");
  REQUIRE(first.rows.size() == 1);
  CHECK(first.rows[0].values_json == R"({"size":4096,"team":"a","kib":4})");
  CHECK(first.aggregations.at("total") == 4);

  f.hub.Push({.metric_sources = {sources::Definition{.hash = "2222", .path = ".data.none"}.Text()}, .hash = "h2"});
  REQUIRE(f.WaitFor([](const LoopHub::Seen& seen) {
    const auto told = ToldOf("hub/maps", seen);
    return told.back().result.definition_hash == "2222";
  }));
  f.hub.Push({.hash = "h3"});
  REQUIRE(f.WaitFor([](const LoopHub::Seen& seen) { return seen.reports.back().hash == "h3"; }));
  const std::size_t before = f.hub.seen().batches.size();
  f.hub.Drop(absl::UnavailableError("again"));
  REQUIRE(f.WaitFor([&](const LoopHub::Seen& seen) {
    return std::any_of(seen.batches.begin() + static_cast<std::ptrdiff_t>(before), seen.batches.end(),
                       [](const model::Batch& batch) { return batch.snapshot.info.has_value(); });
  }));
  CHECK(ToldOf("hub/maps", f.hub.seen(), before).empty());
}

TEST_CASE("what a source lacks is told at once, and when it is there") {
  Fixture f;
  f.config.interval = 3600s;
  f.Make();
  f.hub.SetConfig({.metric_sources = {sources::Definition{.path = ".data['x"}.Text(),
                                      sources::Definition{.name = "widgets", .kind = "Widget"}.Text()},
                   .hash = "h1"});
  f.Start();
  REQUIRE(f.WaitFor([](const LoopHub::Seen& seen) {
    return !ToldOf("hub/maps", seen).empty() && !ToldOf("hub/widgets", seen).empty();
  }));
  const LoopHub::Seen seen = f.hub.seen();
  REQUIRE(seen.reports.back().problems.size() == 1);
  CHECK(seen.reports.back().problems[0].find("metric source hub/maps: rejected: spec.fields[0].path") == 0);
  CHECK(ToldOf("hub/maps", seen)[0].result.failure == "Rejected");
  CHECK(ToldOf("hub/widgets", seen)[0].result.failure == "NotInstalled");
  CHECK(f.Gauge("clusterpulse_collector_sources_in_force") == 1);
  CHECK(f.Gauge("clusterpulse_collector_sources_rejected") == 1);
}

TEST_CASE("every connect brings the newest of every source, with the time it had") {
  Fixture f;
  f.hub.SetConfig({.metric_sources = {sources::Definition().Text()}, .hash = "h1"});
  f.Start();
  REQUIRE(f.WaitFor([](const LoopHub::Seen& seen) { return !ToldOf("hub/maps", seen).empty(); }));
  const auto before = ToldOf("hub/maps", f.hub.seen());
  for (std::size_t connects = 1; connects <= 3; ++connects) {
    f.hub.Drop(absl::UnavailableError("hub is stopping"));
    REQUIRE(f.WaitFor([&](const LoopHub::Seen& seen) {
      return ToldOf("hub/maps", seen).size() > before.size() + connects - 1 && seen.registrations.size() > connects;
    }));
  }
  for (const ToldResult& told : ToldOf("hub/maps", f.hub.seen())) {
    CHECK(told.began == before[0].began);
    CHECK(told.result.aggregations == before[0].result.aggregations);
  }
}

TEST_CASE("a collector that starts while the hub is away goes on with its sources") {
  base::SeededRandom random(1);
  spool::FakeFileSystem files(random);
  Fixture f;
  f.files = &files;
  f.config.data_dir = "/data";
  f.Make();
  f.hub.SetConfig({.metric_sources = {sources::Definition().Text()}, .hash = "h1"});
  f.Start();
  REQUIRE(f.WaitFor([](const LoopHub::Seen& seen) { return !ToldOf("hub/maps", seen).empty(); }));
  CHECK(f.Stop().ok());

  f.hub.Refuse(absl::UnavailableError("connection refused"));
  f.hub.SetConfig({});
  f.stop = std::stop_source();
  f.Make();
  f.Start();
  const auto runs = [&] {
    return f.app->registry()
        .Counters("clusterpulse_collector_source_runs_total", "", {"source", "result"})
        .With({"hub/maps", "ok"})
        .Value();
  };
  CHECK(testing::Eventually(15s, [&] { return runs() == 1; }));
  const std::size_t before = f.hub.seen().batches.size();
  f.hub.Refuse(absl::OkStatus());
  CHECK(f.WaitFor([&](const LoopHub::Seen& seen) { return !ToldOf("hub/maps", seen, before).empty(); }));
}

TEST_CASE("every connect brings everything that is known") {
  Fixture f;
  f.Start();
  REQUIRE(f.WaitFor([](const LoopHub::Seen& seen) { return Merge(seen.batches).cluster_operators.has_value(); }));
  REQUIRE(testing::Eventually(15s, [&] { return f.Gauge("clusterpulse_collector_buffered_batches") == 0; }));
  const std::size_t before = f.hub.seen().batches.size();
  f.hub.Drop(absl::UnavailableError("hub is stopping"));
  CHECK(f.WaitFor([&](const LoopHub::Seen& seen) {
    const model::ClusterSnapshot all =
        Merge({seen.batches.begin() + static_cast<std::ptrdiff_t>(before), seen.batches.end()});
    return all.nodes && all.counts && all.namespaces && all.info && all.operators && all.cluster_operators;
  }));
}

TEST_CASE("a hub that is away makes nothing unready, is told by the probe, and misses nothing") {
  Fixture f;
  f.hub.Refuse(absl::UnavailableError("connection refused"));
  f.Start();
  CHECK(testing::Eventually(15s, [&] {
    return f.app->Ready().ok && f.Told("UNAVAILABLE: connection refused") &&
           f.Gauge("clusterpulse_collector_buffered_batches") > 0;
  }));
  CHECK(f.app->Alive().ok);
  CHECK(f.Told("[i] hub: "));
  f.hub.Refuse(absl::OkStatus());
  CHECK(f.WaitFor([](const LoopHub::Seen& seen) { return !seen.batches.empty() && seen.batches.front().seq >= 1; }));
  CHECK(testing::Eventually(15s, [&] { return f.Gauge("clusterpulse_collector_buffered_batches") == 0; }));
}

TEST_CASE("a cluster that cannot be read makes it unready, not dead") {
  Fixture f;
  f.api->FailNext(Verb::kList, "pods", absl::PermissionDeniedError("no access"), FakeKubeApi::kForever);
  f.Start();
  CHECK(testing::Eventually(15s, [&] { return f.Told("[-] cluster: PERMISSION_DENIED: pods: no access"); }));
  CHECK_FALSE(f.app->Ready().ok);
  CHECK(f.app->Alive().ok);
  CHECK(f.Stop().ok());  // while it waits for the first sync
}

TEST_CASE("what can no longer be read is told at once and as long as it lasts, whatever the interval is") {
  base::ManualClock clock;
  Fixture f;
  f.clock = &clock;
  f.config.interval = 3600s;
  f.Make();
  f.Start();
  // Parts of the inventory that come one by one go in early batches, which are 2 s apart by this clock.
  const auto began = std::chrono::steady_clock::now();
  int steps = 0;
  REQUIRE(testing::Eventually(13s, [&] {
    if (std::chrono::steady_clock::now() - began > (steps + 1) * 1s) {
      ++steps;
      clock.AdvanceBy(2s);
    }
    return Merge(f.hub.seen().batches).cluster_operators.has_value();
  }));
  CHECK(f.app->Ready().ok);
  f.api->FailNext(Verb::kWatch, "deployments", absl::UnavailableError("connection refused"), FakeKubeApi::kForever);
  f.api->EndWatches(absl::UnavailableError("connection refused"));
  REQUIRE(f.api->WaitForCalls(Verb::kWatch, "deployments", 3));
  clock.AdvanceBy(61s);
  const std::string told = "deployments: UNAVAILABLE: connection refused (for 61 s)";
  CHECK(testing::Eventually(15s, [&] { return f.Told("[i] degraded: " + told); }));
  CHECK_FALSE(f.app->Ready().ok);
  CHECK(f.Told("[-] cluster: UNAVAILABLE: deployments: connection refused"));
  REQUIRE(kubesim::SetNodeReady(f.store, "node-2", false).ok());  // wakes the link, for which a heartbeat is due
  CHECK(f.WaitFor([&](const LoopHub::Seen& seen) { return !seen.heartbeats.empty(); }));
  CHECK(f.hub.seen().heartbeats.back().degraded == told);
  f.api->ClearFaults();
  CHECK(testing::Eventually(15s, [&] {
    f.api->SendBookmark();
    return f.app->Ready().ok && f.Told("[i] degraded: nothing");
  }));
}

TEST_CASE("what waits is on disk, and a disk that fails is told to everybody") {
  base::ManualClock clock;
  base::SeededRandom random(1);
  spool::FakeFileSystem files(random);
  Fixture f;
  f.clock = &clock;
  f.files = &files;
  f.config.spool_dir = "/spool";
  f.hub.Refuse(absl::UnavailableError("connection refused"));
  f.Make();
  f.Start();
  REQUIRE(testing::Eventually(15s, [&] { return f.Told("[i] spool: 1 batches wait in /spool\n"); }));
  CHECK(f.Gauge("clusterpulse_collector_spooled_batches") == 1);
  CHECK(f.Gauge("clusterpulse_collector_spool_bytes") > 0);
  CHECK(f.Gauge("clusterpulse_collector_memory_only") == 0);
  files.SetFault([](spool::FakeFileSystem::Call, const std::string&) { return absl::UnavailableError("EIO"); });
  f.hub.Refuse(absl::OkStatus());
  // The full batch that a connect brings does not get to the disk.
  REQUIRE(testing::Eventually(15s, [&] {
    clock.AdvanceBy(10s);
    f.hub.Drop(absl::UnavailableError("again"));
    return f.Gauge("clusterpulse_collector_memory_only") == 1;
  }));
  const std::string trouble = "batches are kept in memory only";
  CHECK(f.Told("[i] spool: " + trouble + "; UNAVAILABLE: "));
  CHECK(f.Told("[i] degraded: spool: " + trouble + ": UNAVAILABLE: "));
  CHECK(f.app->Ready().ok);
  // Whoever wakes the link makes it send a heartbeat that is due.
  bool is_node_ready = true;
  CHECK(testing::Eventually(15s, [&] {
    clock.AdvanceBy(31s);
    is_node_ready = !is_node_ready;
    REQUIRE(kubesim::SetNodeReady(f.store, "node-2", is_node_ready).ok());
    const LoopHub::Seen seen = f.hub.seen();
    return !seen.heartbeats.empty() && seen.heartbeats.back().degraded.find("spool: " + trouble) == 0;
  }));
  files.SetFault(nullptr);
  CHECK(testing::Eventually(15s, [&] {
    clock.AdvanceBy(40s);
    f.hub.Drop(absl::UnavailableError("again"));
    return f.Told("[i] degraded: nothing\n");
  }));
  CHECK(f.Stop().ok());
}

TEST_CASE("a token from a file is read anew at each connect") {
  testing::TempDir dir;
  Fixture f;
  f.config.token.clear();
  f.config.token_file = dir.File("token");
  testing::WriteFile(f.config.token_file, "first\n");
  f.Make();
  f.Start();
  REQUIRE(f.WaitFor([](const LoopHub::Seen& seen) { return !seen.batches.empty(); }));
  testing::WriteFile(f.config.token_file, "second\n");
  f.hub.Drop(absl::UnavailableError("x"));
  REQUIRE(f.WaitFor([](const LoopHub::Seen& seen) { return seen.tokens.size() == 2; }));
  CHECK(f.hub.seen().tokens == std::vector<std::string>{"first", "second"});
}

TEST_CASE("an address that is taken ends the start") {
  const auto other = http::Server::Start({.address = "127.0.0.1:0"}, {});
  REQUIRE(other.ok());
  Fixture f;
  f.config.metrics_address = fmt::format("127.0.0.1:{}", (*other)->port());
  f.Make();
  const absl::Status status = f.app->Run({});
  CHECK(status.code() == absl::StatusCode::kUnavailable);
  CHECK(base::Message(status).find("serving metrics on 127.0.0.1:") == 0);
}

TEST_CASE("a stop during everything is a clean one") {
  for (const auto delay : {0ms, 1ms, 5ms, 20ms}) {
    Fixture f;
    f.Start();
    testing::Eventually(delay, [] { return false; });
    CHECK(f.Stop().ok());
  }
}

}  // namespace
}  // namespace clusterpulse::collector
