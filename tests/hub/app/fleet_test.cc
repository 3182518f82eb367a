#include "hub/app/fleet.h"

#include <sstream>

#include <catch2/catch.hpp>

#include "common/base/testing/manual_clock.h"
#include "common/json/value.h"
#include "common/kube/testing/fake_kube_api.h"
#include "hub/app/crds.h"

namespace clusterpulse::app {
namespace {

const base::SystemTime kNow{std::chrono::seconds(1933135628)};  // 2031-04-05T06:07:08Z

ConnectionRow Healthy(std::string name) {
  return {.key = {"fleet", std::move(name)},
          .phase = "Connected",
          .health = "healthy",
          .version = "v1.31.4",
          .nodes = 3,
          .nodes_ready = 2,
          .pods = 41,
          .last_sync = kNow - std::chrono::seconds(12)};
}

TEST_CASE("the fleet table is aligned and shows what is not known as a dash") {
  const std::string table = FleetTable({Healthy("harbour-7"), {.key = {"fleet", "new"}}}, false, kNow);
  CHECK(table ==
        "CLUSTER     MODE   PHASE       HEALTH    READY   NODES   PODS   VERSION   DATA-AGE\n"
        "harbour-7   pull   Connected   healthy   2       3       41     v1.31.4   12s\n"
        "new         pull   -           -         -       -       -      -         -\n");
  CHECK(FleetTable({}, false, kNow) == "no ClusterConnections\n");
  CHECK(FleetTable({Healthy("a")}, true, kNow).find("NAMESPACE   CLUSTER") == 0);
}

TEST_CASE("ages read as kubectl's, and clocks that differ give no negative one") {
  struct Case {
    int seconds;
    std::string text;
  };
  const std::vector<Case> cases = {{-30, " 0s\n"},       {119, " 119s\n"},      {120, " 2m\n"},
                                   {7199, " 119m\n"},    {7200, " 2h\n"},       {86400 * 2 - 1, " 47h\n"},
                                   {86400 * 2, " 2d\n"}, {86400 * 30, " 30d\n"}};
  for (const Case& c : cases) {
    CAPTURE(c.seconds);
    ConnectionRow row = Healthy("a");
    row.last_sync = kNow - std::chrono::seconds(c.seconds);
    CHECK(FleetTable({row}, false, kNow).ends_with(c.text));
  }
}

TEST_CASE("control characters and long words of a cluster do not reach the terminal") {
  ConnectionRow row = Healthy("a");
  row.version = "\x1b[31mred\nline" + std::string(500, 'x');
  const std::string table = FleetTable({row}, false, kNow);
  CHECK(table.find('\x1b') == std::string::npos);
  CHECK(std::count(table.begin(), table.end(), '\n') == 2);
  CHECK(table.size() < 400);
}

TEST_CASE("the JSON form leaves out what is not known") {
  CHECK(FleetJson({Healthy("a"), {.key = {"fleet", "new"}, .mode = "push"}}, kNow) ==
        R"([{"namespace":"fleet","cluster":"a","mode":"pull","phase":"Connected","health":"healthy","nodesReady":2,)"
        R"("nodes":3,"pods":41,"version":"v1.31.4","lastSyncTime":"2031-04-05T06:06:56Z","dataAgeSeconds":12},)"
        R"({"namespace":"fleet","cluster":"new","mode":"push"}])"
        "\n");
}

struct Fixture {
  kube::FakeKubeApi kube;
  base::ManualClock clock{kNow};
  std::ostringstream out;

  Fixture() {
    std::ostringstream ignored;
    REQUIRE(ApplyCrds(kube, std::chrono::seconds(5), ignored, {}).ok());
  }
  void Put(const std::string& ns, const std::string& name, const std::string& status) {
    auto object = json::Value::Parse(R"({"metadata":{"namespace":")" + ns + R"(","name":")" + name +
                                     R"("},"spec":{"endpoint":"https://x","credentialsRef":{"name":"s"}},"status":)" +
                                     status + "}");
    REQUIRE(object.ok());
    REQUIRE(kube.store().Put(kube::kClusterConnections, *object).ok());
  }
};

TEST_CASE("the fleet is read from the ClusterConnections of one namespace or all") {
  Fixture f;
  f.Put("fleet", "b", R"({"phase":"Connected","health":"degraded","nodes":4,"nodesReady":3,"pods":10})");
  f.Put("fleet", "a", R"({"phase":7,"nodes":"many","lastSyncTime":"yesterday"})");
  f.Put("other", "c", "{}");
  SECTION("one") {
    REQUIRE(ShowFleet(f.kube, {.ns = "fleet"}, f.clock, f.out, {}).ok());
    CHECK(f.out.str() ==
          "CLUSTER   MODE   PHASE       HEALTH     READY   NODES   PODS   VERSION   DATA-AGE\n"
          "a         pull   -           -          -       -       -      -         -\n"
          "b         pull   Connected   degraded   3       4       10     -         -\n");
  }
  SECTION("all") {
    REQUIRE(ShowFleet(f.kube, {.json = true}, f.clock, f.out, {}).ok());
    CHECK(f.out.str().find(R"("namespace":"other","cluster":"c")") != std::string::npos);
  }
}

TEST_CASE("watching goes on over failures and ends with the stop") {
  Fixture f;
  f.Put("fleet", "a", "{}");
  SECTION("the first read failing is an error") {
    f.kube.FailNext(kube::Verb::kList, "clusterconnections", absl::UnavailableError("connection refused"));
    CHECK(ShowFleet(f.kube, {.ns = "fleet", .watch = true}, f.clock, f.out, {}).code() ==
          absl::StatusCode::kUnavailable);
  }
  SECTION("later ones are shown") {
    std::stop_source stop;
    // The stop comes with the third print.
    struct StopAtThird : std::stringbuf {
      std::stop_source* stop = nullptr;
      int syncs = 0;
      int sync() override {
        if (++syncs == 3) stop->request_stop();
        return 0;
      }
    } buffer;
    buffer.stop = &stop;
    std::ostream out(&buffer);
    class SecondFails final : public base::Clock {
     public:
      explicit SecondFails(kube::FakeKubeApi& kube) : kube_(kube) {}
      base::SystemTime Now() const override {
        if (std::exchange(armed_, false)) {
          kube_.FailNext(kube::Verb::kList, "clusterconnections", absl::UnavailableError("connection refused"));
        }
        return kNow;
      }
      base::SteadyTime Steady() const override { return {}; }

     private:
      kube::FakeKubeApi& kube_;
      mutable bool armed_ = true;
    } clock(f.kube);
    REQUIRE(ShowFleet(f.kube, {.ns = "fleet", .watch = true, .interval = std::chrono::seconds(0)}, clock, out,
                      stop.get_token())
                .ok());
    CHECK(buffer.str().find("error: listing ClusterConnections: connection refused") != std::string::npos);
    CHECK(buffer.syncs == 3);
  }
}

}  // namespace
}  // namespace clusterpulse::app
