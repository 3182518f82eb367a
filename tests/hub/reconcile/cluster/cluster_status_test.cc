#include "hub/reconcile/cluster/cluster_status.h"

#include <catch2/catch.hpp>

#include "common/base/testing/manual_clock.h"

namespace clusterpulse::reconcile {
namespace {

using namespace std::chrono_literals;
using runtime::EventType;

runtime::Condition Make(std::string_view type, std::string status, std::string reason) {
  runtime::Condition c;
  c.type = type;
  c.status = std::move(status);
  c.reason = std::move(reason);
  c.message = c.reason + "!";
  return c;
}

TEST_CASE("an Event is made of what broke and what recovered, once") {
  using Conditions = std::vector<runtime::Condition>;
  struct Case {
    const char* name;
    Conditions before, after;
    std::vector<std::pair<EventType, std::string>> expected;
  };
  const Case cases[] = {
      {"first contact",
       {},
       {Make(kReady, "True", "Connected"), Make(kHealthy, "True", "NodesReady")},
       {{EventType::kNormal, "Connected"}}},
      {"nothing new", {Make(kReady, "True", "Connected")}, {Make(kReady, "True", "Connected")}, {}},
      {"first failure",
       {},
       {Make(kReady, "False", "ConnectionFailed"), Make(kHealthy, "False", "Unreachable")},
       {{EventType::kWarning, "ConnectionFailed"}}},
      {"still failing", {Make(kReady, "False", "ConnectionFailed")}, {Make(kReady, "False", "ConnectionFailed")}, {}},
      {"fails otherwise",
       {Make(kReady, "False", "ConnectionFailed")},
       {Make(kReady, "False", "TLSFailed")},
       {{EventType::kWarning, "TLSFailed"}}},
      {"back",
       {Make(kReady, "False", "TLSFailed"), Make(kHealthy, "False", "Unreachable")},
       {Make(kReady, "True", "Connected"), Make(kHealthy, "True", "NodesReady")},
       {{EventType::kNormal, "Connected"}}},
      {"partial",
       {Make(kReady, "True", "Connected")},
       {Make(kReady, "True", "PartialData")},
       {{EventType::kWarning, "PartialData"}}},
      {"whole again",
       {Make(kReady, "True", "PartialData")},
       {Make(kReady, "True", "Connected")},
       {{EventType::kNormal, "Connected"}}},
      {"nodes fail",
       {Make(kHealthy, "True", "NodesReady")},
       {Make(kHealthy, "False", "NodesNotReady")},
       {{EventType::kWarning, "NodesNotReady"}}},
      {"nodes recover",
       {Make(kHealthy, "False", "NodesNotReady")},
       {Make(kHealthy, "True", "NodesReady")},
       {{EventType::kNormal, "NodesReady"}}},
      {"store lost",
       {Make(kStoreAvailable, "True", "Stored")},
       {Make(kStoreAvailable, "False", "StoreUnavailable")},
       {{EventType::kWarning, "StoreUnavailable"}}},
      {"store back",
       {Make(kStoreAvailable, "False", "StoreUnavailable")},
       {Make(kStoreAvailable, "True", "Stored")},
       {{EventType::kNormal, "Stored"}}},
      {"store there from the start", {}, {Make(kStoreAvailable, "True", "Stored")}, {}},
      {"paused", {Make(kReady, "True", "Connected")}, {Make(kReady, "Unknown", "Paused")}, {}},
      {"resumed",
       {Make(kReady, "Unknown", "Paused")},
       {Make(kReady, "True", "Connected")},
       {{EventType::kNormal, "Connected"}}},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      const auto events = Announcements(c.before, c.after);
      REQUIRE(events.size() == c.expected.size());
      for (std::size_t i = 0; i < events.size(); ++i) {
        CHECK(events[i].type == c.expected[i].first);
        CHECK(events[i].reason == c.expected[i].second);
        CHECK(events[i].message == c.expected[i].second + "!");
      }
    }
  }
}

TEST_CASE("conditions survive JSON, and what is not a condition is left out") {
  std::vector<runtime::Condition> conditions = {Make(kReady, "True", "Connected"), Make("Custom", "False", "Other")};
  for (auto& c : conditions) c.last_transition_time = "2031-04-05T06:07:08Z";
  CHECK(ConditionsFromJson(ConditionsToJson(conditions)) == conditions);
  CHECK(ConditionsFromJson(json::Value()).empty());
  CHECK(ConditionsFromJson(json::Value("text")).empty());
}

TEST_CASE("conditions of other owners stay, ours that no longer apply go") {
  base::ManualClock clock;
  std::vector<runtime::Condition> before = {Make("Custom", "True", "Other"),
                                            Make(kPaused, "True", "PausedByAnnotation"),
                                            Make(kPushActive, "False", "PushNotAvailable")};
  Findings findings;
  findings.verdict.phase_reason = "Connecting";
  findings.verdict.health_reason = "NoData";
  const auto after = NextConditions(before, findings, clock.Now());
  CHECK(runtime::FindCondition(after, "Custom") != nullptr);
  CHECK(runtime::FindCondition(after, kPaused) == nullptr);
  CHECK(runtime::FindCondition(after, kPushActive) == nullptr);
  REQUIRE(runtime::FindCondition(after, kDataFresh) != nullptr);
  CHECK(runtime::FindCondition(after, kDataFresh)->reason == "NoData");
}

TEST_CASE("data counts as fresh for three intervals") {
  base::ManualClock clock;
  for (const auto& [age, status] : {std::pair{90s, "True"}, std::pair{91s, "False"}}) {
    CAPTURE(age.count());
    Findings findings;
    findings.verdict.phase_reason = findings.verdict.health_reason = "X";
    findings.last_sync = clock.Now() - age;
    const auto conditions = NextConditions({}, findings, clock.Now());
    CHECK(runtime::FindCondition(conditions, kDataFresh)->status == status);
  }
}

TEST_CASE("what a pass does not know is not named in the status") {
  Findings findings;
  json::Value status = BuildStatus(findings, {});
  // Named and null: the time of another cluster's data goes.
  REQUIRE(status.Find("lastSyncTime") != nullptr);
  CHECK(status["lastSyncTime"].IsNull());
  for (const char* member : {"lastAttemptTime", "nodes", "namespaces", "deployments", "version"}) {
    CAPTURE(member);
    CHECK(status.Find(member) == nullptr);
  }
  model::ClusterSnapshot snapshot;
  snapshot.counts = model::ClusterCounts{.nodes = 3, .nodes_ready = 2, .pods = 7, .pods_running = 6};
  findings.snapshot = &snapshot;
  status = BuildStatus(findings, {});
  CHECK(status["nodes"].IntOr() == 3);
  CHECK(status["nodesReady"].IntOr() == 2);
  CHECK(status["pods"].IntOr() == 7);
  CHECK(status["podsRunning"].IntOr() == 6);
  CHECK(status.Find("deployments") == nullptr);
  CHECK(status.Find("namespaces") == nullptr);

  // What was read at another endpoint is removed, what this pass knows replaces it.
  findings.forget_old = true;
  findings.endpoint = "https://b:6443";
  snapshot.info = model::ClusterInfo{.version = "v1.29.3"};  // the server told no platform
  status = BuildStatus(findings, {});
  CHECK(status["endpoint"].StringOr() == "https://b:6443");
  CHECK(status["nodes"].IntOr() == 3);
  CHECK(status["version"].StringOr() == "v1.29.3");
  for (const char* member : {"deployments", "namespaces", "platform"}) {
    CAPTURE(member);
    REQUIRE(status.Find(member) != nullptr);
    CHECK(status[member].IsNull());
  }
}

}  // namespace
}  // namespace clusterpulse::reconcile
