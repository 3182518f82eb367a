#include "hub/reconcile/cluster/cluster_status.h"

#include <catch2/catch.hpp>

#include "common/base/testing/manual_clock.h"
#include "tests/hub/reconcile/cluster/cluster_fixture.h"

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

TEST_CASE("a condition that the schema refuses is not carried on") {
  struct Case {
    const char* name;
    void (*spoil)(runtime::Condition&);
  };
  const Case cases[] = {
      {"no status", [](runtime::Condition& c) { c.status.clear(); }},
      {"no reason", [](runtime::Condition& c) { c.reason.clear(); }},
      {"no time", [](runtime::Condition& c) { c.last_transition_time.clear(); }},
      {"a time that is none", [](runtime::Condition& c) { c.last_transition_time = "yesterday"; }},
  };
  for (const Case& c : cases) {
    CAPTURE(c.name);
    runtime::Condition good = Make("Custom", "True", "Other");
    good.last_transition_time = "2031-04-05T06:07:08Z";
    runtime::Condition bad = Make(kReady, "True", "Connected");
    bad.last_transition_time = good.last_transition_time;
    c.spoil(bad);
    CHECK(ConditionsFromJson(ConditionsToJson({bad, good})) == std::vector{good});
  }
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

TEST_CASE("no text of the status is ever empty, however little is known") {
  const base::SystemTime now = base::ManualClock().Now();
  using State = CollectorVerdict::State;
  const std::optional<Failure> failures[] = {std::nullopt, Failure{false, "CollectorLost", "lost", true},
                                             Failure{true, "InvalidSpec", "spec.endpoint is required"}};
  store::Presence bare;  // as another version may have written it
  store::Presence full = bare;
  full.hub = "hub-0";
  full.instance = "i";
  full.peer = "10.0.0.1:443";
  full.version = "v1.2";
  full.end_reason = "connection reset";
  full.ended_at = now;
  full.limited = "nodes";
  full.refused = store::Presence::Rival{"", "", now};
  const std::optional<store::Presence> presences[] = {std::nullopt, bare, full};
  const store::PushRecord bare_record;
  store::PushRecord full_record;
  full_record.version = "v1.29";
  full_record.counts.emplace();
  model::ClusterSnapshot bare_snapshot, full_snapshot;
  full_snapshot.counts.emplace();
  full_snapshot.info.emplace();  // neither version nor platform told

  const store::PushRecord* records[] = {nullptr, &bare_record, &full_record};
  const model::ClusterSnapshot* snapshots[] = {nullptr, &bare_snapshot, &full_snapshot};

  const std::optional<Failure>& failure = failures[GENERATE(0, 1, 2)];
  CollectorFindings collector;
  collector.verdict.state = GENERATE(State::kNever, State::kConnected, State::kLost);
  collector.presence = presences[GENERATE(0, 1, 2)];
  collector.token = failure ? absl::UnavailableError("") : absl::OkStatus();
  if (failure) collector.fallback = Fallback{false, failure->reason, failure->message};
  Findings findings;
  findings.record = records[GENERATE(0, 1, 2)];
  findings.snapshot = snapshots[GENERATE(0, 1, 2)];
  if (GENERATE(false, true)) findings.collector = &collector;
  findings.push_unavailable = findings.collector == nullptr;
  findings.forget_old = findings.snapshot == nullptr;
  findings.store = collector.token;
  Evidence evidence;
  evidence.failure = failure;
  evidence.ever_reached = findings.snapshot != nullptr;
  findings.verdict = JudgeHealth(evidence);
  CHECK(Fleet::EmptyTexts(BuildStatus(findings, NextConditions({}, findings, now))) == "");
}

TEST_CASE("no text of a status without a pass is empty, and one that were would be found") {
  const base::SystemTime now = base::ManualClock().Now();
  for (const auto& conditions :
       {StoreConditions({}, absl::UnavailableError(""), 1, now), PausedConditions({}, true, 1, now),
        HeldConditions({}, {true, "FinalizerRefused", "refused"}, 1, now)}) {
    CHECK(Fleet::EmptyTexts(ConditionsToJson(conditions)) == "");
  }
  CHECK(Fleet::EmptyTexts(Fleet::Json(R"({"a":{"b":["x",""]}})")) == "status.a.b[] ");
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
