#include <catch2/catch.hpp>

#include "common/base/testing/manual_clock.h"
#include "hub/app/monitor.h"
#include "hub/app/pass_watch.h"
#include "hub/store/embedded_store.h"

namespace clusterpulse::app {
namespace {

using namespace std::chrono_literals;

TEST_CASE("a pass that never ends is found, and forgotten when it ends or throws") {
  struct Inner final : runtime::Reconciler {
    std::function<void()> body;
    absl::StatusOr<runtime::Result> Reconcile(const kube::ObjectKey&, std::stop_token) override {
      body();
      return runtime::Result{};
    }
  } inner;
  base::ManualClock clock;
  PassWatch watch(inner, clock);
  inner.body = [&] {
    CHECK(watch.Check(30min).ok());
    clock.AdvanceBy(31min);
    const absl::Status late = watch.Check(30min);
    CHECK(late.code() == absl::StatusCode::kDeadlineExceeded);
    CHECK(std::string(late.message()) == "the pass over fleet/a has been running for 1860 s");
  };
  REQUIRE(watch.Reconcile({"fleet", "a"}, {}).ok());
  CHECK(watch.Check(30min).ok());

  inner.body = [] { throw std::runtime_error("bug"); };
  CHECK_THROWS(watch.Reconcile({"fleet", "a"}, {}));
  clock.AdvanceBy(31min);
  CHECK(watch.Check(30min).ok());
}

struct MonitorFixture {
  base::ManualClock clock;
  std::unique_ptr<store::EmbeddedStore> store = *store::EmbeddedStore::Open({.clock = &clock});
  store::ClusterState state{*store, {}, clock};
  absl::Status connections;
  std::vector<absl::Status> fatal;
  std::vector<std::string> lines;
  Monitor monitor{{.connections_error = [this] { return connections; },
                   .on_fatal = [this](const absl::Status& why) { fatal.push_back(why); }},
                  *store,
                  state,
                  clock,
                  log::Logger({.sink = [this](std::string_view line) { lines.emplace_back(line); }})};
};

TEST_CASE("the store counts as missing until it was looked at") {
  MonitorFixture f;
  CHECK(f.monitor.StoreStatus().code() == absl::StatusCode::kUnavailable);
  f.monitor.LookOnce();
  CHECK(f.monitor.StoreStatus().ok());
  CHECK(f.fatal.empty());
}

TEST_CASE("a monitor is ready after its first look and stops at once") {
  MonitorFixture f;
  REQUIRE(f.monitor.Start().ok());
  CHECK(f.monitor.WaitReady(10s, {}).ok());
  CHECK(f.monitor.Stop(10s));
  CHECK(f.monitor.Stop(10s));
}

TEST_CASE("waiting for the first look ends with the stop and with the limit") {
  MonitorFixture f;
  CHECK(f.monitor.WaitReady(1ms, {}).code() == absl::StatusCode::kDeadlineExceeded);
  std::stop_source stop;
  stop.request_stop();
  CHECK(f.monitor.WaitReady(10s, stop.get_token()).code() == absl::StatusCode::kCancelled);
}

TEST_CASE("a missing definition is told at once and then every minute, with the remedy") {
  MonitorFixture f;
  f.connections = absl::NotFoundError("the server could not find the requested resource");
  for (int i = 0; i < 61; ++i) {
    f.monitor.LookOnce();
    f.clock.AdvanceBy(1s);
  }
  REQUIRE(f.lines.size() == 2);
  CHECK(f.lines[0].find("clusterpulse-hub crds apply") != std::string::npos);
  f.connections = absl::OkStatus();
  f.clock.AdvanceBy(10min);
  f.monitor.LookOnce();
  CHECK(f.lines.size() == 2);
}

}  // namespace
}  // namespace clusterpulse::app
