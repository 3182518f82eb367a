#include "hub/runtime/controller.h"

#include <atomic>
#include <functional>
#include <set>
#include <stdexcept>

#include <catch2/catch.hpp>

#include "common/base/testing/manual_clock.h"

namespace clusterpulse::runtime {
namespace {

using namespace std::chrono_literals;
using base::ManualClock;
using kube::ObjectKey;

const ObjectKey kA{"ns", "a"}, kB{"ns", "b"};

class FunctionReconciler final : public Reconciler {
 public:
  using Function = std::function<absl::StatusOr<Result>(const ObjectKey&, std::stop_token)>;
  explicit FunctionReconciler(Function function) : function_(std::move(function)) {}
  absl::StatusOr<Result> Reconcile(const ObjectKey& key, std::stop_token stop) override {
    return function_(key, std::move(stop));
  }

 private:
  Function function_;
};

// A controller driven by hand, whose passes answer what the test says.
struct Driven {
  ManualClock clock;
  telemetry::Registry registry;
  std::vector<std::string> lines;
  log::Logger log{{.level = log::Level::kDebug, .sink = [this](std::string_view line) { lines.emplace_back(line); }}};
  absl::StatusOr<Result> answer = Result{};
  std::vector<std::string> passes;
  std::function<void()> during;  // a pass
  FunctionReconciler reconciler{[this](const ObjectKey& key, std::stop_token) {
    passes.push_back(key.name);
    if (during) during();
    return answer;
  }};
  Controller controller{{.name = "test", .registry = &registry}, reconciler, clock, log};

  int Run() {
    int count = 0;
    while (controller.RunOnce()) ++count;
    return count;
  }
  int RunAfter(std::chrono::nanoseconds by) {
    clock.AdvanceBy(by);
    return Run();
  }
  double Total(std::string_view result) {
    return registry.Counters("clusterpulse_hub_reconcile_total", "", {"controller", "result"})
        .With({"test", result})
        .Value();
  }
};

TEST_CASE("the outcome of a pass decides what comes next") {
  Driven d;
  SECTION("success: nothing, until the key is enqueued") {
    d.controller.Enqueue(kA);
    CHECK(d.Run() == 1);
    CHECK(d.RunAfter(24h) == 0);
    d.controller.Enqueue(kA);
    CHECK(d.Run() == 1);
    CHECK(d.Total("success") == 2);
  }
  SECTION("requeue after: again after that time, with the backoff forgotten") {
    d.answer = absl::UnavailableError("down");
    d.controller.Enqueue(kA);
    CHECK(d.Run() == 1);
    CHECK(d.RunAfter(5ms) == 1);
    d.answer = Result{30s};
    CHECK(d.RunAfter(10ms) == 1);
    CHECK(d.RunAfter(30s - 1ms) == 0);
    d.answer = absl::UnavailableError("down");
    CHECK(d.RunAfter(1ms) == 1);
    CHECK(d.RunAfter(5ms) == 1);
    CHECK(d.Total("requeue_after") == 1);
    CHECK(d.Total("error") == 4);
  }
  SECTION("an early pass does not double the passes that follow") {
    d.answer = Result{30s};
    d.controller.Enqueue(kA);
    d.Run();
    d.clock.AdvanceBy(10s);
    d.controller.Enqueue(kA);
    CHECK(d.Run() == 1);
    CHECK(d.RunAfter(30s - 1ms) == 0);
    CHECK(d.RunAfter(1ms) == 1);
  }
  SECTION("success: what an earlier pass asked for comes no more") {
    d.answer = Result{30s};
    d.controller.Enqueue(kA);
    d.Run();
    d.answer = Result{};
    d.controller.Enqueue(kA);
    CHECK(d.Run() == 1);
    CHECK(d.RunAfter(1h) == 0);
  }
  SECTION("what is asked for during a pass comes, whatever the pass asks for") {
    d.during = [&] { d.controller.EnqueueAfter(kA, 250ms); };
    d.answer = GENERATE(Result{30s}, Result{});
    d.controller.Enqueue(kA);
    CHECK(d.Run() == 1);
    d.during = nullptr;
    CHECK(d.RunAfter(249ms) == 0);
    CHECK(d.RunAfter(1ms) == 1);
  }
  SECTION("requeue after zero: again with backoff") {
    d.answer = Result{0ms};
    d.controller.Enqueue(kA);
    CHECK(d.Run() == 1);
    CHECK(d.RunAfter(5ms) == 1);
    CHECK(d.RunAfter(5ms) == 0);
    CHECK(d.RunAfter(5ms) == 1);
    CHECK(d.Total("requeue") == 3);
  }
  SECTION("error: again with growing delay") {
    d.answer = absl::InternalError("bug");
    d.controller.Enqueue(kA);
    CHECK(d.Run() == 1);
    CHECK(d.RunAfter(5ms) == 1);
    CHECK(d.RunAfter(9ms) == 0);
    CHECK(d.RunAfter(1ms) == 1);
    CHECK(d.Total("error") == 3);
  }
  SECTION("terminal error: not again until the key is enqueued") {
    d.answer = absl::InvalidArgumentError("bad spec");
    d.controller.Enqueue(kA);
    CHECK(d.Run() == 1);
    CHECK(d.RunAfter(24h) == 0);
    d.controller.Enqueue(kA);
    CHECK(d.Run() == 1);
    CHECK(d.registry.Counters("clusterpulse_hub_reconcile_terminal_errors_total", "", {"controller"})
              .With({"test"})
              .Value() == 2);
  }
}

TEST_CASE("an exception costs its own key a retry and nothing else") {
  ManualClock clock;
  std::vector<std::string> done;
  int throws = 0;
  FunctionReconciler reconciler([&](const ObjectKey& key, std::stop_token) -> absl::StatusOr<Result> {
    if (key == kA && ++throws == 1) throw std::runtime_error("boom");
    if (key == kA && throws == 2) throw 42;
    done.push_back(key.name);
    return Result{};
  });
  Controller controller({.name = "test"}, reconciler, clock, {});
  controller.Enqueue(kA);
  controller.Enqueue(kB);
  while (controller.RunOnce()) {
  }
  CHECK(done == std::vector<std::string>{"b"});
  for (int i = 0; i < 2; ++i) {
    clock.AdvanceBy(1s);
    CHECK(controller.RunOnce());
  }
  CHECK(done == std::vector<std::string>{"b", "a"});
}

TEST_CASE("failures rise from debug to warn once they last") {
  Driven d;
  d.answer = absl::UnavailableError("down");
  d.controller.Enqueue(kA);
  d.Run();
  REQUIRE(d.lines.size() == 1);
  CHECK(d.lines[0].find("\"level\":\"debug\"") != std::string::npos);
  for (int i = 0; i < 9; ++i) d.RunAfter(10s);
  CHECK(d.lines.back().find("\"level\":\"warn\"") != std::string::npos);
  CHECK(d.lines.back().find("\"name\":\"a\"") != std::string::npos);
}

TEST_CASE("each pass has an id of its own, in its log lines and for the reconciler") {
  ManualClock clock;
  std::vector<std::string> lines;
  log::Logger log({.level = log::Level::kDebug, .sink = [&](std::string_view line) { lines.emplace_back(line); }});
  std::set<std::string> ids;
  FunctionReconciler reconciler([&](const ObjectKey&, std::stop_token) -> absl::StatusOr<Result> {
    ids.emplace(CurrentReconcileId());
    return absl::UnavailableError("down");
  });
  Controller controller({.name = "test"}, reconciler, clock, log);
  controller.Enqueue(kA);
  controller.Enqueue(kB);
  while (controller.RunOnce()) {
  }
  CHECK(CurrentReconcileId().empty());
  REQUIRE(ids.size() == 2);
  REQUIRE(lines.size() == 2);
  for (const std::string& id : ids) {
    CHECK(id.size() == 16);
    CHECK((lines[0].find(id) != std::string::npos) != (lines[1].find(id) != std::string::npos));
  }
}

TEST_CASE("workers handle different keys at once and the same key never") {
  constexpr int kWorkers = 3;
  base::Mutex mu;
  base::CondVar changed;
  std::set<std::string> running;
  std::map<std::string, int> passes;
  bool overlap = false, all_busy = false;
  FunctionReconciler reconciler([&](const ObjectKey& key, std::stop_token) -> absl::StatusOr<Result> {
    base::MutexLock lock(mu);
    overlap = overlap || !running.insert(key.name).second;
    if (running.size() == kWorkers) all_busy = true;
    changed.NotifyAll();
    while (!all_busy) changed.Wait(mu);  // until all workers are here at the same time
    running.erase(key.name);
    ++passes[key.name];
    changed.NotifyAll();
    return Result{};
  });
  Controller controller({.name = "test", .workers = kWorkers}, reconciler, base::SystemClock(), {});
  for (const char* name : {"a", "b", "c"}) controller.Enqueue({"", name});  // before Start: they wait
  REQUIRE(controller.Start().ok());
  for (int i = 0; i < 100; ++i) controller.Enqueue({"", "a"});
  {
    base::MutexLock lock(mu);
    for (int i = 0; i < 1000 && passes.size() < kWorkers; ++i) changed.WaitFor(mu, 10ms);
    CHECK(all_busy);
    CHECK(passes.size() == kWorkers);
  }
  CHECK(controller.Stop(10s));
  CHECK_FALSE(overlap);
  CHECK(controller.Stop(0ms));
}

TEST_CASE("stop ends a pass by its token, drops what waits and keeps to its limit") {
  std::atomic<int> passes{0};
  base::StopSignal entered, left;
  FunctionReconciler reconciler([&](const ObjectKey&, std::stop_token stop) -> absl::StatusOr<Result> {
    ++passes;
    base::StopSignal stopped(stop);
    entered.RequestStop();
    stopped.Wait();
    left.Wait();  // a pass that takes its time
    return absl::CancelledError("stopped");
  });
  telemetry::Registry registry;
  Controller controller({.name = "test", .registry = &registry}, reconciler, base::SystemClock(), {});
  controller.Enqueue(kA);
  controller.Enqueue(kB);
  REQUIRE(controller.Start().ok());
  REQUIRE(entered.WaitFor(10s));
  CHECK_FALSE(controller.Stop(1ms));
  left.RequestStop();
  CHECK(controller.Stop(10s));
  CHECK(passes == 1);
  CHECK(registry.Counters("clusterpulse_hub_reconcile_errors_total", "", {"controller"}).With({"test"}).Value() == 0);
}

TEST_CASE("the metrics of controllers and queues have our names and help texts") {
  Driven d;
  d.controller.Enqueue(kA);
  const std::string text = d.registry.Render();
  CHECK(text.find("clusterpulse_hub_workqueue_depth{name=\"test\"} 1") != std::string::npos);
  CHECK(text.find("clusterpulse_hub_reconcile_max_concurrent{controller=\"test\"} 1") != std::string::npos);
  std::set<std::string> names;
  for (const auto& description : d.registry.Describe()) {
    names.insert(description.name);
    CHECK_FALSE(description.help.empty());
  }
  for (const char* name :
       {"reconcile_total", "reconcile_errors_total", "reconcile_terminal_errors_total", "reconcile_time_seconds",
        "reconcile_max_concurrent", "reconcile_active_workers", "workqueue_depth", "workqueue_adds_total",
        "workqueue_retries_total", "workqueue_unfinished_work_seconds", "workqueue_longest_running_processor_seconds",
        "workqueue_queue_duration_seconds", "workqueue_work_duration_seconds"}) {
    CAPTURE(name);
    CHECK(names.count(std::string("clusterpulse_hub_") + name) == 1);
  }
}

TEST_CASE("only changes of identity, generation, labels, annotations or deletion pass") {
  struct Case {
    const char* name;
    std::function<void(kube::ObjectMeta&)> change;
    bool passes;
  };
  const std::vector<Case> cases{
      {"nothing", [](kube::ObjectMeta&) {}, false},
      {"status only", [](kube::ObjectMeta& m) { m.resource_version = "2"; }, false},
      {"finalizer", [](kube::ObjectMeta& m) { m.finalizers = {"f"}; }, false},
      {"generation", [](kube::ObjectMeta& m) { m.generation = 2; }, true},
      {"label",
       [](kube::ObjectMeta& m) {
         m.labels = {{"l", "2"}};
       },
       true},
      {"label removed", [](kube::ObjectMeta& m) { m.labels = {}; }, true},
      {"annotation",
       [](kube::ObjectMeta& m) {
         m.annotations = {{"a", "2"}};
       },
       true},
      {"label moved to annotations", [](kube::ObjectMeta& m) { std::swap(m.labels, m.annotations); }, true},
      {"deletion", [](kube::ObjectMeta& m) { m.deletion_timestamp = "2031-04-05T06:07:08Z"; }, true},
      {"made again", [](kube::ObjectMeta& m) { m.uid = "v"; }, true},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      ChangeFilter filter;
      kube::ObjectMeta meta;
      meta.ns = "ns";
      meta.name = "a";
      meta.uid = "u";
      meta.resource_version = "1";
      meta.generation = 1;
      meta.labels = {{"l", "1"}};
      meta.annotations = {{"a", "1"}};
      CHECK(filter.Passes(kA, &meta));  // new
      c.change(meta);
      CHECK(filter.Passes(kA, &meta) == c.passes);
      CHECK_FALSE(filter.Passes(kA, &meta));
      CHECK(filter.Passes(kA, nullptr));  // gone
      CHECK(filter.Passes(kA, &meta));    // new again
    }
  }
}

TEST_CASE("a cache handler enqueues what passes the filter") {
  Driven d;
  std::optional<kube::ObjectMeta> object;
  const KeyHandler handler = EnqueueChanged(d.controller, [&](const ObjectKey&) { return object; });
  object.emplace();
  object->generation = 1;
  handler(kA);
  CHECK(d.Run() == 1);
  object->resource_version = "2";
  handler(kA);
  CHECK(d.Run() == 0);
  object->generation = 2;
  handler(kA);
  CHECK(d.Run() == 1);
  object.reset();
  handler(kA);
  CHECK(d.Run() == 1);
}

TEST_CASE("an object of another kind enqueues whom it concerns, and concerned before") {
  Driven d;
  std::map<ObjectKey, std::vector<ObjectKey>> users;
  const KeyHandler handler = EnqueueMapped(d.controller, [&](const ObjectKey& secret) { return users[secret]; });
  const ObjectKey secret{"ns", "secret"};
  const auto passes = [&] {
    d.passes.clear();
    d.Run();
    return d.passes;
  };
  using Names = std::vector<std::string>;
  handler(secret);
  CHECK(passes() == Names{});
  users[secret] = {kA, kB};
  handler(secret);
  CHECK(passes() == Names{"a", "b"});
  users[secret] = {kB};
  handler(secret);
  CHECK(passes() == Names{"b", "a"});
  users[secret] = {};  // gone
  handler(secret);
  CHECK(passes() == Names{"b"});
  handler(secret);
  CHECK(passes() == Names{});
}

}  // namespace
}  // namespace clusterpulse::runtime
