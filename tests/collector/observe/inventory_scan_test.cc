#include "collector/observe/inventory_scan.h"

#include <atomic>

#include <catch2/catch.hpp>

#include "common/base/testing/manual_clock.h"
#include "common/kube/testing/fake_kube_api.h"
#include "common/survey/survey.h"
#include "tests/kubesim/fleet.h"

namespace clusterpulse::observe {
namespace {

using namespace std::chrono_literals;
using kube::FakeKubeApi;
using kube::Verb;

struct Fixture {
  FakeKubeApi api;
  base::ManualClock clock;
  int firsts = 0;
  std::vector<std::string> lines;
  InventoryScan scan{api,
                     {.interval = 300s,
                      .retry = 30s,
                      .on_first = [this] { ++firsts; },
                      .log = log::Logger({.sink = [this](std::string_view line) { lines.emplace_back(line); }}),
                      .clock = &clock}};

  Fixture() {
    kubesim::Fleet fleet(api.store(), {.nodes = 0, .pods_per_node = 0, .openshift = true, .operators = 3});
    REQUIRE(fleet.Seed().ok());
  }
  model::ClusterSnapshot Take(bool all = false) {
    model::ClusterSnapshot out;
    scan.Take(all, out);
    return out;
  }
  int Lists() const { return api.Count(Verb::kList, "subscriptions"); }
};

TEST_CASE("all three parts are read at once, then every interval") {
  Fixture f;
  CHECK(f.scan.Step() == 300s);
  CHECK(f.firsts == 3);
  model::ClusterSnapshot taken = f.Take();
  CHECK(taken.info == survey::ReadClusterInfo(f.api, "", {}).value());
  CHECK(taken.operators == survey::ReadOperators(f.api, {}).value());
  CHECK(taken.cluster_operators == survey::ReadClusterOperators(f.api, {}).value());
  CHECK(taken.operators->size() == 3);
  CHECK(taken.cluster_operators->size() == 26);
  CHECK(f.Take() == model::ClusterSnapshot());  // once
  CHECK(f.Take(true) == taken);

  f.api.ClearCalls();
  f.clock.AdvanceBy(299s);
  CHECK(f.scan.Step() == 1s);
  CHECK(f.api.calls().empty());
  f.clock.AdvanceBy(1s);
  CHECK(f.scan.Step() == 300s);
  CHECK(f.Lists() == 1);
  CHECK(f.Take() == taken);
  CHECK(f.firsts == 3);
}

TEST_CASE("a part that fails keeps its last value, is named, and is read again sooner, alone") {
  Fixture f;
  f.scan.Step();
  const model::ClusterSnapshot known = f.Take(true);
  f.clock.AdvanceBy(300s);
  f.api.FailNext(Verb::kList, "subscriptions", absl::UnavailableError("connection refused"), 2);
  CHECK(f.scan.Step() == 30s);
  CHECK(f.scan.Failures() ==
        std::vector<std::string>{"operators: UNAVAILABLE: listing subscriptions: connection refused"});
  const model::ClusterSnapshot fresh = f.Take();
  CHECK_FALSE(fresh.operators);
  CHECK(fresh.info);
  CHECK(f.Take(true) == known);

  f.api.ClearCalls();
  f.clock.AdvanceBy(30s);
  f.scan.Step();  // fails again: no second line
  f.clock.AdvanceBy(30s);
  f.scan.Step();
  CHECK(f.scan.Failures().empty());
  CHECK(f.Take().operators == known.operators);
  CHECK(f.Lists() == 2);
  CHECK(f.api.Count(Verb::kList, "clusteroperators") == 0);
  REQUIRE(f.lines.size() == 2);
  CHECK(f.lines[0].find("part of the inventory cannot be read") != std::string::npos);
  CHECK(f.lines[1].find("can be read again") != std::string::npos);
}

TEST_CASE("what was never read is absent, not empty") {
  Fixture f;
  f.api.FailNext(Verb::kList, "clusteroperators", absl::UnavailableError("x"));
  f.scan.Step();
  CHECK(f.firsts == 2);
  CHECK_FALSE(f.Take(true).cluster_operators);
  f.clock.AdvanceBy(30s);
  f.scan.Step();
  CHECK(f.firsts == 3);
  CHECK(f.Take(true).cluster_operators->size() == 26);
}

TEST_CASE("another interval counts from the last read") {
  Fixture f;
  f.scan.Step();
  f.clock.AdvanceBy(100s);
  f.scan.SetInterval(120s);
  CHECK(f.scan.Step() == 20s);
  f.scan.SetInterval(60s);
  f.api.ClearCalls();
  CHECK(f.scan.Step() == 60s);
  CHECK(f.Lists() == 1);
}

TEST_CASE("with an interval below the retry, failures wait no longer than the interval") {
  Fixture f;
  f.scan.SetInterval(10s);
  f.api.FailNext(Verb::kList, "subscriptions", absl::UnavailableError("x"));
  CHECK(f.scan.Step() == 10s);
}

TEST_CASE("stopping ends a read that hangs, and it counts as nothing") {
  FakeKubeApi api;
  api.store().Serve(kube::OperatorLifecycleTypes());
  api.Hold(Verb::kList, "subscriptions");
  InventoryScan scan(api, {});
  scan.Start();
  scan.Start();
  REQUIRE(api.WaitForCalls(Verb::kList, "subscriptions", 1));
  scan.Stop();
  scan.Stop();
  model::ClusterSnapshot taken;
  scan.Take(true, taken);
  CHECK(taken.info);
  CHECK_FALSE(taken.operators);
  CHECK(scan.Failures().empty());
}

}  // namespace
}  // namespace clusterpulse::observe
