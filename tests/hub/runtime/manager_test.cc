#include "hub/runtime/manager.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>

#include "common/kube/testing/fake_kube_api.h"
#include "hub/runtime/worker_group.h"

namespace clusterpulse::runtime {
namespace {

using namespace std::chrono_literals;
using kube::FakeKubeApi;
using kube::Verb;

// What happened, in order, from all threads.
class Journal {
 public:
  void Note(std::string what) {
    base::MutexLock lock(mu_);
    notes_.push_back(std::move(what));
    changed_.NotifyAll();
  }
  std::vector<std::string> notes() const {
    base::MutexLock lock(mu_);
    return notes_;
  }
  bool WaitFor(std::string_view what) {
    base::MutexLock lock(mu_);
    for (int i = 0; i < 1000; ++i) {
      if (std::find(notes_.begin(), notes_.end(), what) != notes_.end()) return true;
      changed_.WaitFor(mu_, 10ms);
    }
    return false;
  }

 private:
  mutable base::Mutex mu_;
  base::CondVar changed_;
  std::vector<std::string> notes_ ABSL_GUARDED_BY(mu_);
};

class Part final : public Runnable {
 public:
  Part(Journal& journal, std::string name, bool needs_lead = false)
      : journal_(journal), name_(std::move(name)), needs_lead_(needs_lead) {}

  std::string_view name() const override { return name_; }
  bool needs_lead() const override { return needs_lead_; }
  absl::Status Start() override {
    journal_.Note("start " + name_);
    return start_status;
  }
  absl::Status WaitReady(std::chrono::milliseconds limit, std::stop_token stop) override {
    journal_.Note("ready? " + name_);
    if (!never_ready) return absl::OkStatus();
    return base::StopSignal(std::move(stop)).WaitFor(limit) ? absl::CancelledError("stopped")
                                                            : absl::DeadlineExceededError("not synced");
  }
  bool Stop(std::chrono::milliseconds limit) override {
    if (limit == 0ms && needs_lead_) {
      journal_.Note("ask " + name_);
      return false;
    }
    journal_.Note("stop " + name_);
    return stops;
  }

  absl::Status start_status;
  bool never_ready = false;
  bool stops = true;

 private:
  Journal& journal_;
  const std::string name_;
  const bool needs_lead_;
};

struct Fixture {
  explicit Fixture(bool election) {
    if (election) elector.emplace(ElectorOptions("a"), api, base::SystemClock(), random, log::Logger());
  }
  static LeaderElector::Options ElectorOptions(std::string identity) {
    return {.ns = "default",
            .name = "hub",
            .identity = std::move(identity),
            .lease_duration = 2000ms,
            .renew_deadline = 1000ms,
            .retry_period = 10ms};
  }
  std::string Holder() {
    const auto object = api.store().Get(kube::kLeases, {"default", "hub"});
    if (!object.ok()) return "none";
    return std::string((*json::Value::Parse((*object)->json))["spec"]["holderIdentity"].StringOr());
  }
  // Runs a manager of these parts on a thread, until Stop or by itself.
  void Run(std::vector<Part*> parts) {
    manager.emplace(options, elector ? &*elector : nullptr, log::Logger());
    for (Part* part : parts) manager->Add(*part);
    runner = std::jthread([this] { status = manager->Run(stop.get_token()); });
  }
  absl::Status Stop() {
    stop.request_stop();
    return Wait();
  }
  absl::Status Wait() {
    runner.join();
    return status;
  }

  Journal journal;
  FakeKubeApi api;
  base::SeededRandom random{1};
  std::optional<LeaderElector> elector;
  Manager::Options options;
  std::optional<Manager> manager;
  std::stop_source stop;
  absl::Status status;
  std::jthread runner;
};

using Notes = std::vector<std::string>;

TEST_CASE("parts start in order, caches before controllers, and stop in reverse") {
  const bool election = GENERATE(false, true);
  CAPTURE(election);
  Fixture f(election);
  Part controller(f.journal, "controller", true), second(f.journal, "second", true);
  Part cache(f.journal, "cache"), server(f.journal, "server");
  f.Run({&controller, &cache, &second, &server});
  REQUIRE(f.journal.WaitFor("start second"));
  CHECK(f.Holder() == (election ? "a" : "none"));
  CHECK(f.Stop().ok());
  CHECK(f.journal.notes() == Notes{"start cache", "start server", "ready? cache", "ready? server", "start controller",
                                   "start second", "ask second", "ask controller", "stop second", "stop controller",
                                   "stop server", "stop cache"});
  CHECK(f.Holder() == (election ? "" : "none"));
}

TEST_CASE("a cache that does not sync in time stops the manager with an error") {
  Fixture f(false);
  f.options.ready_limit = 20ms;
  Part cache(f.journal, "cache"), controller(f.journal, "controller", true);
  cache.never_ready = true;
  f.Run({&cache, &controller});
  const absl::Status status = f.Wait();
  CHECK(status.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(std::string(status.message()).find("cache") != std::string::npos);
  CHECK(f.journal.notes() == Notes{"start cache", "ready? cache", "stop cache"});
}

TEST_CASE("a part that does not start stops the manager with its error") {
  Fixture f(false);
  Part cache(f.journal, "cache"), server(f.journal, "server"), third(f.journal, "third");
  server.start_status = absl::UnavailableError("address in use");
  f.Run({&cache, &server, &third});
  CHECK(f.Wait() == absl::UnavailableError("starting server: address in use"));
  CHECK(f.journal.notes() == Notes{"start cache", "start server", "stop server", "stop cache"});
}

TEST_CASE("a stop while caches sync is a clean stop") {
  Fixture f(false);
  Part cache(f.journal, "cache");
  cache.never_ready = true;
  f.Run({&cache});
  REQUIRE(f.journal.WaitFor("ready? cache"));
  CHECK(f.Stop().ok());
}

TEST_CASE("a process that does not lead runs everything but what needs the lead, and stops cleanly") {
  Fixture f(true);
  LeaderElector other(Fixture::ElectorOptions("other"), f.api, base::SystemClock(), f.random, {});
  other.Step({});
  Part server(f.journal, "server"), controller(f.journal, "controller", true);
  f.Run({&server, &controller});
  const int seen = f.api.Count(Verb::kGet, "leases");
  REQUIRE(f.api.WaitForCalls(Verb::kGet, "leases", seen + 3));
  CHECK(f.Stop().ok());
  CHECK(f.journal.notes() == Notes{"start server", "ready? server", "stop server"});
  CHECK(f.Holder() == "other");
}

TEST_CASE("losing the lead stops everything and ends Run with an error") {
  Fixture f(true);
  Part controller(f.journal, "controller", true), server(f.journal, "server");
  f.Run({&server, &controller});
  REQUIRE(f.journal.WaitFor("start controller"));
  REQUIRE(f.api.store()
              .Edit(kube::kLeases, {"default", "hub"},
                    [](json::Value& lease) { lease.Mutable("spec").Mutable("holderIdentity") = "other"; })
              .ok());
  CHECK(f.Wait().code() == absl::StatusCode::kAborted);
  CHECK(f.journal.notes() ==
        Notes{"start server", "ready? server", "start controller", "ask controller", "stop controller", "stop server"});
  CHECK(f.Holder() == "other");
}

TEST_CASE("a part that does not stop in time is named, the rest stops, and the lease is kept") {
  Fixture f(true);
  Part server(f.journal, "server"), controller(f.journal, "controller", true);
  controller.stops = false;
  f.Run({&server, &controller});
  REQUIRE(f.journal.WaitFor("start controller"));
  const absl::Status status = f.Stop();
  CHECK(status.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(std::string(status.message()).find("controller") != std::string::npos);
  CHECK(f.journal.notes().back() == "stop server");
  CHECK(f.Holder() == "a");
}

TEST_CASE("the lease is renewed while parts stop") {
  // A controller whose stop takes until three more renewals were written.
  class Slow final : public Runnable {
   public:
    explicit Slow(FakeKubeApi& api) : api_(api) {}
    std::string_view name() const override { return "slow"; }
    bool needs_lead() const override { return true; }
    absl::Status Start() override {
      started.RequestStop();
      return absl::OkStatus();
    }
    bool Stop(std::chrono::milliseconds limit) override {
      return api_.WaitForCalls(Verb::kReplace, "leases", api_.Count(Verb::kReplace, "leases") + 3, limit);
    }
    base::StopSignal started;

   private:
    FakeKubeApi& api_;
  };
  FakeKubeApi api;
  base::SeededRandom random(1);
  LeaderElector elector(Fixture::ElectorOptions("a"), api, base::SystemClock(), random, {});
  Slow slow(api);
  Manager manager({.stop_limit = 10s}, &elector, {});
  manager.Add(slow);
  std::stop_source stop;
  std::jthread stopper([&] {
    slow.started.WaitFor(10s);
    stop.request_stop();
  });
  CHECK(manager.Run(stop.get_token()).ok());
}

TEST_CASE("a group of workers is waited for with a limit") {
  WorkerGroup group;
  CHECK(group.Join(0ms));
  base::StopSignal go;
  std::atomic<int> ended{0};
  group.Start(3, "test", [&] {
    go.Wait();
    ++ended;
  });
  CHECK_FALSE(group.Join(1ms));
  go.RequestStop();
  CHECK(group.Join(10s));
  CHECK(ended == 3);
  CHECK(group.Join(0ms));
}

}  // namespace
}  // namespace clusterpulse::runtime
