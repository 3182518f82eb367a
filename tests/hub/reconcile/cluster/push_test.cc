#include "hub/reconcile/cluster/push.h"

#include <functional>

#include <catch2/catch.hpp>

namespace clusterpulse::reconcile {
namespace {

using namespace std::chrono_literals;
using State = CollectorVerdict::State;

const base::SystemTime kNow{1'933'135'628s};

store::Presence Alive(std::chrono::seconds since_message) {
  store::Presence p;
  p.hub = "hub-0";
  p.instance = "4f2a";
  p.peer = "10.0.0.1:443";
  p.version = "v1.2";
  p.epoch = 7;
  p.last_message = kNow - since_message;
  return p;
}
store::Presence Ended(std::chrono::seconds since_end) {
  store::Presence p = Alive(since_end + 20s);
  p.ended_at = kNow - since_end;
  p.end_reason = "connection reset";
  return p;
}

TEST_CASE("a collector is connected, lost or awaited by what its replica last wrote") {
  struct Case {
    const char* name;
    std::optional<store::Presence> presence;
    bool was_connected;
    std::function<void(CollectorEvidence&)> change;
    State state;
    std::optional<std::chrono::seconds> changes_in;
  };
  const auto nothing = [](CollectorEvidence&) {};
  const Case cases[] = {
      {"nobody ever", std::nullopt, false, nothing, State::kNever, {}},
      {"just heard", Alive(0s), false, nothing, State::kConnected, 90s},
      {"heard 89 s ago", Alive(89s), true, nothing, State::kConnected, 1s},
      {"heard 90 s ago", Alive(90s), true, nothing, State::kLost, {}},
      {"ended just now", Ended(0s), true, nothing, State::kConnected, 15s},
      {"ended 14 s ago", Ended(14s), true, nothing, State::kConnected, 1s},
      {"ended 15 s ago", Ended(15s), true, nothing, State::kLost, {}},
      {"ended just now, was lost before", Ended(0s), false, nothing, State::kLost, 15s},
      // Clocks of replicas differ; what we see with our own eyes bounds it.
      {"written by a clock an hour ahead", Alive(-3600s), true, [](auto& e) { e.unchanged_for = 10s; },
       State::kConnected, 80s},
      {"the same, and silent since", Alive(-3600s), true, [](auto& e) { e.unchanged_for = 90s; }, State::kLost, {}},
      {"written by a clock an hour behind", Alive(3600s), true, [](auto& e) { e.unchanged_for = 30s; },
       State::kConnected, 60s},
      {"ended, by a clock an hour ahead",
       Ended(-3600s),
       true,
       [](auto& e) { e.unchanged_for = 15s; },
       State::kLost,
       {}},
      {"ended, by a clock an hour behind", Ended(3600s), true, [](auto& e) { e.unchanged_for = 5s; }, State::kConnected,
       10s},
      // A store that was away kept streams from telling that they live.
      {"silent, the store just came back", Alive(300s), true, [](auto& e) { e.store_up_for = 1s; }, State::kConnected,
       89s},
      {"ended, the store just came back", Ended(300s), true, [](auto& e) { e.store_up_for = 1s; }, State::kConnected,
       89s},
      {"silent, and the store is back long enough",
       Alive(300s),
       true,
       [](auto& e) { e.store_up_for = 90s; },
       State::kLost,
       {}},
      {"lost before the store went away", Alive(9000s), false, [](auto& e) { e.store_up_for = 1s; }, State::kLost, 89s},
      {"the store lost it", std::nullopt, true,
       [](auto& e) {
         e.was_known = true;
         e.unchanged_for = 10s;
       },
       State::kConnected, 80s},
      {"the store lost it, and nobody told it again",
       std::nullopt,
       true,
       [](auto& e) { e.was_known = true; },
       State::kLost,
       {}},
      // A process that looks for the first time does not know when that was written.
      {"first look, said lost: left behind when its replica died", Alive(3600s), false,
       [](auto& e) { e.unchanged_for = 0s; }, State::kLost, 15s},
      {"first look, said lost: by a clock an hour ahead", Alive(-3600s), false, [](auto& e) { e.unchanged_for = 0s; },
       State::kLost, 15s},
      {"the same, shortly before it is certain", Alive(3600s), false, [](auto& e) { e.unchanged_for = 85s; },
       State::kLost, 5s},
      {"the same, and it beats", Alive(3600s), false,
       [](auto& e) {
         e.unchanged_for = 0s;
         e.seen_to_change = true;
       },
       State::kConnected, 90s},
      {"first look, said lost: it came back meanwhile", Alive(20s), false, [](auto& e) { e.unchanged_for = 0s; },
       State::kConnected, 90s},
      {"first look, said connected: its replica died long ago", Alive(3600s), true,
       [](auto& e) { e.unchanged_for = 0s; }, State::kConnected, 90s},
      // Who saw it end with the store at hand would have seen a successor.
      {"seen to end by a hub that started a second before",
       Ended(15s),
       true,
       [](auto& e) {
         e.unchanged_for = 15s;
         e.store_up_for = 16s;
         e.seen_to_change = true;
       },
       State::kLost,
       {}},
      {"ended before the hub started", Ended(16s), true,
       [](auto& e) {
         e.unchanged_for = 15s;
         e.store_up_for = 16s;
       },
       State::kConnected, 74s},
      {"seen to end, and the store was away since", Ended(15s), true,
       [](auto& e) {
         e.unchanged_for = 15s;
         e.store_up_for = 10s;
         e.seen_to_change = true;
       },
       State::kConnected, 80s},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      CollectorEvidence evidence{c.presence, kNow, 24h, 24h, c.was_connected, c.presence.has_value()};
      c.change(evidence);
      const CollectorVerdict verdict = JudgeCollector(evidence);
      CHECK(verdict.state == c.state);
      CHECK(verdict.changes_in == c.changes_in);
      if (c.state == State::kLost) CHECK(verdict.lost_at <= kNow);
    }
  }
}

TEST_CASE("since when a collector is lost is told by our clock where the other one cannot be right") {
  CollectorEvidence evidence{Alive(-3600s), kNow, 100s, 24h, true, true};
  CHECK(JudgeCollector(evidence).lost_at == kNow - 100s);
  evidence.presence = Alive(200s);
  CHECK(JudgeCollector(evidence).lost_at == kNow - 200s);
}

struct Conditions {
  std::vector<runtime::Condition> all;

  void Set(const CollectorFindings* findings) { SetCollectorConditions(all, findings, 3, kNow); }
  std::string Text(std::string_view type) {
    const runtime::Condition* c = runtime::FindCondition(all, type);
    return c == nullptr ? "" : c->status + "/" + c->reason;
  }
  std::string Message(std::string_view type) { return runtime::FindCondition(all, type)->message; }
};

TEST_CASE("conditions name what an operator has to know, and go when it is over") {
  CollectorFindings findings;
  findings.verdict.state = State::kConnected;
  findings.presence = Alive(3s);
  findings.token_secret = "a-collector-token";
  Conditions conditions;
  conditions.Set(&findings);
  CHECK(conditions.Text(kCollectorConnected) == "True/Connected");
  CHECK(conditions.Message(kCollectorConnected) == "a collector of version v1.2 is connected");
  CHECK(conditions.all.size() == 1);
  // Another connection, to whichever replica, is nothing new: a fleet that returns must not queue for status writes.
  const auto before = conditions.all;
  findings.presence->instance = "77aa";
  findings.presence->peer = "10.0.0.3:999";
  findings.presence->hub = "hub-1";
  conditions.Set(&findings);
  CHECK(conditions.all == before);
  findings.presence = Alive(3s);

  findings.presence->refused = store::Presence::Rival{"0b11", "10.0.0.2:7", kNow - 299s};
  findings.presence->limited = "20000 nodes, at most 10000 are taken";
  findings.token = absl::PermissionDeniedError("the hub may not make Secret hub/a-collector-token");
  findings.fallback = Fallback{true, "CollectorLost", "the hub reads the cluster itself"};
  conditions.Set(&findings);
  CHECK(conditions.Text(kCollectorConflict) == "True/TwoCollectors");
  CHECK_THAT(conditions.Message(kCollectorConflict),
             Catch::Contains("collector 4f2a from 10.0.0.1 has") && Catch::Contains("0b11 from 10.0.0.2 was kept out"));
  CHECK(conditions.Text(kIngestLimited) == "True/LimitReached");
  CHECK_THAT(conditions.Message(kIngestLimited), Catch::Contains("20000 nodes"));
  CHECK(conditions.Text(kCollectorToken) == "False/Forbidden");
  CHECK_THAT(conditions.Message(kCollectorToken), Catch::Contains("may not make Secret"));
  CHECK(conditions.Text(kPullFallback) == "True/CollectorLost");

  findings.presence->refused->at = kNow - 300s;
  findings.presence->limited.clear();
  findings.token = absl::OkStatus();
  findings.fallback.reset();
  conditions.Set(&findings);
  CHECK(conditions.all.size() == 1);

  conditions.Set(nullptr);
  CHECK(conditions.all.empty());
}

TEST_CASE("a collector that was kept out and has the cluster now is no conflict any more") {
  struct Case {
    const char* name;
    bool upstream;
    const char *instance, *refused, *refused_peer;
    bool conflict;
  };
  const Case cases[] = {
      {"another one", false, "4f2a", "0b11", "10.0.0.1:7", true},
      {"the same", false, "4f2a", "4f2a", "10.0.0.2:7", false},
      {"upstream, another host", true, "upstream/10.0.0.1:443/7", "upstream", "10.0.0.2:443", true},
      {"upstream, the same host", true, "upstream/10.0.0.1:443/7", "upstream", "10.0.0.1:9", false},
      {"upstream has it, ours was kept out", true, "upstream/10.0.0.1:443/7", "0b11", "10.0.0.1:9", true},
      {"ours has it, upstream was kept out", false, "4f2a", "upstream", "10.0.0.1:9", true},
  };
  for (const Case& c : cases) {
    CAPTURE(c.name);
    CollectorFindings findings;
    findings.verdict.state = State::kConnected;
    findings.presence = Alive(3s);
    findings.presence->upstream = c.upstream;
    findings.presence->instance = c.instance;
    findings.presence->refused = store::Presence::Rival{c.refused, c.refused_peer, kNow};
    Conditions conditions;
    conditions.Set(&findings);
    CHECK(conditions.Text(kCollectorConflict) == (c.conflict ? "True/TwoCollectors" : ""));
  }
}

TEST_CASE("why there is no data, in words to act on") {
  CollectorFindings findings;
  findings.how_to_connect = "run one";
  CHECK(FailureOf(findings)->reason == "WaitingForCollector");
  CHECK(FailureOf(findings)->message == "no collector has connected yet: run one");
  findings.verdict = {State::kLost, kNow - 60s, {}};
  findings.presence = Ended(60s);
  const auto lost = FailureOf(findings);
  CHECK(lost->reason == "CollectorLost");
  CHECK(lost->is_silence);
  CHECK_THAT(lost->message, Catch::Contains("lost since 2031-04-05T06:06:08Z (connection reset): check"));
  findings.presence->end_reason = store::kCollectorEnded;
  const auto ended = FailureOf(findings);
  CHECK(ended->reason == "CollectorEnded");
  CHECK(ended->is_silence);
  CHECK(ended->message ==
        "the collector was stopped at 2031-04-05T06:06:08Z: check that it is meant to run in the cluster");
  findings.verdict.state = State::kConnected;
  CHECK_FALSE(FailureOf(findings).has_value());
}

TEST_CASE("collectorStatus tells who is there and which Secret to use") {
  CHECK(CollectorStatus(nullptr).IsNull());
  CollectorFindings findings;
  findings.token_secret = "a-collector-token";
  CHECK(CollectorStatus(&findings).Dump() == R"({"connected":false,"tokenSecret":"a-collector-token"})");
  findings.verdict.state = State::kConnected;
  findings.presence = Alive(3s);
  CHECK(CollectorStatus(&findings).Dump() ==
        R"({"backlog":{"batches":0,"bytes":0},"connected":true,"hub":"hub-0","instance":"4f2a",)"
        R"("lastHeartbeat":"2031-04-05T06:07:05Z","tokenSecret":"a-collector-token","version":"v1.2"})");
  findings.newest_durable = kNow - 90s;
  findings.gaps = {3, 1, kNow - 600s};
  CHECK(CollectorStatus(&findings)["lastDurable"].StringOr() == "2031-04-05T06:05:38Z");
  CHECK(CollectorStatus(&findings)["gaps"].Dump() == R"({"count":3,"oldest":"2031-04-05T05:57:08Z","open":1})");
  findings.presence->upstream = true;
  CHECK(CollectorStatus(&findings)["backlog"].IsNull());
}

}  // namespace
}  // namespace clusterpulse::reconcile
