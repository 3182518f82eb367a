#include "hub/runtime/aggregating_event_recorder.h"

#include <catch2/catch.hpp>

#include "common/base/testing/manual_clock.h"
#include "common/kube/testing/fake_kube_api.h"

namespace clusterpulse::runtime {
namespace {

using namespace std::chrono_literals;
using kube::FakeKubeApi;
using kube::Verb;

const ObjectRef kAbout{"clusterpulse.io/v1alpha1", "ClusterConnection", {"default", "east"}, "uid-1"};

struct Fixture {
  explicit Fixture(AggregatingEventRecorder::Options options = {})
      : recorder(Registered(std::move(options), registry), api, clock, random, {}) {}
  static AggregatingEventRecorder::Options Registered(AggregatingEventRecorder::Options options,
                                                      telemetry::Registry& registry) {
    options.registry = &registry;
    return options;
  }
  void Warn(std::string_view message) { recorder.Record(kAbout, EventType::kWarning, "Unreachable", message); }
  // Steps until nothing is left or a wait is due; that wait.
  std::chrono::nanoseconds Run() {
    while (const auto wait = recorder.Step()) {
      if (*wait > 0ns) return *wait;
    }
    return 0ns;
  }
  std::vector<json::Value> Events() {
    std::vector<json::Value> events;
    const auto list = api.store().List(kube::kEvents, {});
    REQUIRE(list.ok());
    for (const auto& object : list->objects) events.push_back(*json::Value::Parse(object->json));
    return events;
  }
  double Count(std::string_view result) {
    return registry
        .Counters("clusterpulse_hub_events_total",
                  "Kubernetes Events by what became of them: created, updated, muted (too many about one object), "
                  "dropped (queue full), refused (by the API server), failed (API server out of reach).",
                  {"result"})
        .With({result})
        .Value();
  }
  base::ManualClock clock;
  base::SeededRandom random{1};
  telemetry::Registry registry;
  FakeKubeApi api;
  AggregatingEventRecorder recorder;
};

TEST_CASE("an event is written as core/v1 with its object, source and times") {
  Fixture f({.instance = "hub-0"});
  f.Warn("connection refused");
  f.Run();
  const auto events = f.Events();
  REQUIRE(events.size() == 1);
  json::Value event = events[0];
  CHECK(event["metadata"]["name"].StringOr() == "east.1ad3e09c89977800");
  CHECK(event["metadata"]["namespace"].StringOr() == "default");
  event.Erase("metadata");
  CHECK(event == *json::Value::Parse(R"({
    "apiVersion":"v1","kind":"Event",
    "involvedObject":{"apiVersion":"clusterpulse.io/v1alpha1","kind":"ClusterConnection","namespace":"default",
                      "name":"east","uid":"uid-1"},
    "type":"Warning","reason":"Unreachable","message":"connection refused",
    "source":{"component":"clusterpulse-hub"},
    "reportingComponent":"clusterpulse-hub","reportingInstance":"hub-0",
    "firstTimestamp":"2031-04-05T06:07:08Z","lastTimestamp":"2031-04-05T06:07:08Z","count":1})"));
}

TEST_CASE("a repeat raises the count and the last time of its event") {
  Fixture f;
  f.Warn("down");
  f.Run();
  f.clock.AdvanceBy(90s);
  f.Warn("down");
  f.Run();
  const auto events = f.Events();
  REQUIRE(events.size() == 1);
  CHECK(events[0]["count"].IntOr() == 2);
  CHECK(events[0]["firstTimestamp"].StringOr() == "2031-04-05T06:07:08Z");
  CHECK(events[0]["lastTimestamp"].StringOr() == "2031-04-05T06:08:38Z");
  CHECK(f.Count("created") == 1);
  CHECK(f.Count("updated") == 1);
}

TEST_CASE("a repeat of an event the server has forgotten makes it again") {
  Fixture f;
  f.Warn("down");
  f.Run();
  REQUIRE(f.api.store().Delete(kube::kEvents, {"default", "east.1ad3e09c89977800"}).ok());
  f.Warn("down");
  f.Run();
  const auto events = f.Events();
  REQUIRE(events.size() == 1);
  CHECK(events[0]["count"].IntOr() == 2);
}

TEST_CASE("floods cost few writes") {
  Fixture f;
  for (int i = 0; i < 200; ++i) f.Warn("message " + std::to_string(i));
  f.Run();
  CHECK(f.Events().size() == 11);
  CHECK(f.api.calls().size() == 25);
  CHECK(f.Count("muted") == 175);
}

TEST_CASE("what finds the queue full is dropped and counted") {
  Fixture f({.queue = 3});
  for (int i = 0; i < 5; ++i) f.Warn("message " + std::to_string(i));
  CHECK(f.Count("dropped") == 2);
  f.Run();
  CHECK(f.Events().size() == 3);
}

TEST_CASE("a server out of reach is tried 12 times, 10 s apart after a random first wait") {
  Fixture f;
  f.api.FailNext(Verb::kCreate, "events", absl::UnavailableError("down"), FakeKubeApi::kForever);
  f.Warn("down");
  const auto first = f.Run();
  CHECK(first > 0s);
  CHECK(first < 10s);
  for (int tries = 2; tries < 12; ++tries) CHECK(f.Run() == 10s);
  CHECK(f.Run() == 0s);
  CHECK(f.api.Count(Verb::kCreate, "events") == 12);
  CHECK(f.Count("failed") == 1);
  // The next one is told, though the server never saw the first.
  f.api.ClearFaults();
  f.Warn("down");
  f.Run();
  REQUIRE(f.Events().size() == 1);
  CHECK(f.Events()[0]["count"].IntOr() == 2);
}

TEST_CASE("what the server refuses is not tried again") {
  Fixture f;
  f.api.FailNext(Verb::kCreate, "events", kube::ToStatus({.code = 403, .reason = "Forbidden", .message = "no"}));
  f.Warn("down");
  f.Warn("up");
  CHECK(f.Run() == 0s);
  CHECK(f.api.Count(Verb::kCreate, "events") == 2);
  CHECK(f.Count("refused") == 1);
  REQUIRE(f.Events().size() == 1);
  CHECK(f.Events()[0]["message"].StringOr() == "up");
}

TEST_CASE("a try whose answer was lost is not counted as a failure") {
  Fixture f;
  f.api.FailNext(Verb::kCreate, "events",
                 kube::ToStatus({.code = 409, .reason = "AlreadyExists", .message = "exists"}));
  f.Warn("down");
  CHECK(f.Run() == 0s);
  CHECK(f.Count("created") == 1);
  CHECK(f.api.Count(Verb::kCreate, "events") == 1);
}

TEST_CASE("long messages are cut") {
  Fixture f;
  f.Warn(std::string(5000, 'x'));
  f.Run();
  CHECK(f.Events()[0]["message"].StringOr() == std::string(1024, 'x'));
}

TEST_CASE("its thread writes what is recorded, and stop sends what is left") {
  Fixture f;
  REQUIRE(f.recorder.Start().ok());
  f.Warn("first");
  REQUIRE(f.api.WaitForCalls(Verb::kCreate, "events", 1));
  f.api.Hold(Verb::kCreate, "events");
  f.Warn("second");
  f.Warn("third");
  REQUIRE(f.api.WaitForCalls(Verb::kCreate, "events", 2));
  CHECK_FALSE(f.recorder.Stop(0ms));
  f.api.Release();
  CHECK(f.recorder.Stop(10s));
  CHECK(f.Events().size() == 3);
  f.Warn("too late");
  CHECK(f.Count("dropped") == 1);
}

TEST_CASE("stop does not wait for a server that is out of reach") {
  Fixture f;
  f.api.FailNext(Verb::kCreate, "events", absl::UnavailableError("down"), FakeKubeApi::kForever);
  REQUIRE(f.recorder.Start().ok());
  f.Warn("first");
  f.Warn("second");
  REQUIRE(f.api.WaitForCalls(Verb::kCreate, "events", 1));
  CHECK(f.recorder.Stop(10s));
  CHECK(f.Count("failed") == 2);
}

}  // namespace
}  // namespace clusterpulse::runtime
