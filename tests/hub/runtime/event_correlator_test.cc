#include "hub/runtime/event_correlator.h"

#include <catch2/catch.hpp>

#include "common/base/testing/manual_clock.h"

namespace clusterpulse::runtime {
namespace {

using namespace std::chrono_literals;

struct Fixture {
  explicit Fixture(EventCorrelator::Options options = {}) : correlator(options) {}
  std::optional<EventWrite> Tell(std::string message, std::string reason = "Failed", std::string object = "a") {
    return correlator.Correlate({{"v1", "Pod", {"ns", std::move(object)}, "uid"},
                                 EventType::kWarning,
                                 std::move(reason),
                                 std::move(message),
                                 clock.Now()},
                                clock.Steady());
  }
  base::ManualClock clock;
  EventCorrelator correlator;
};

TEST_CASE("a repeat updates the event made before") {
  Fixture f;
  const auto first = f.Tell("down");
  REQUIRE(first);
  CHECK_FALSE(first->update);
  CHECK(first->count == 1);
  CHECK(first->ns == "ns");
  CHECK(first->name == "a.1ad3e09c89977800");
  f.clock.AdvanceBy(1h);
  const auto second = f.Tell("down");
  REQUIRE(second);
  CHECK(second->update);
  CHECK(second->count == 2);
  CHECK(second->name == first->name);
  CHECK(second->first == first->first);
  CHECK(second->occurrence.time == first->first + 1h);
}

TEST_CASE("another message, reason, type or object is another event") {
  Fixture f;
  const auto first = f.Tell("down");
  for (const auto& other : {f.Tell("up"), f.Tell("down", "Other"), f.Tell("down", "Failed", "b")}) {
    REQUIRE(other);
    CHECK_FALSE(other->update);
    CHECK(other->name != first->name);
  }
}

TEST_CASE("more than ten different messages of one reason are combined") {
  Fixture f({.spam_burst = 1000});
  for (int i = 0; i < 10; ++i) {
    const auto write = f.Tell("message " + std::to_string(i));
    REQUIRE(write);
    CHECK_FALSE(write->update);
    CHECK(write->occurrence.message == "message " + std::to_string(i));
  }
  const auto combined = f.Tell("message 10");
  CHECK_FALSE(combined->update);
  CHECK(combined->occurrence.message == "(combined from similar events): message 10");
  f.clock.AdvanceBy(9min);
  const auto next = f.Tell("message 11");
  CHECK(next->update);
  CHECK(next->count == 2);
  CHECK(next->name == combined->name);
  CHECK(next->occurrence.message == "(combined from similar events): message 11");
  // A known message keeps its own event; other reasons are not touched.
  CHECK(f.Tell("message 3")->occurrence.message == "message 3");
  CHECK(f.Tell("message 12", "Other")->occurrence.message == "message 12");
  // After a pause they are told one by one again.
  f.clock.AdvanceBy(10min + 1s);
  CHECK(f.Tell("message 13")->occurrence.message == "message 13");
}

TEST_CASE("an object that produces a flood is muted, others are not") {
  Fixture f;
  for (int i = 0; i < 25; ++i) CHECK(f.Tell("down"));
  CHECK_FALSE(f.Tell("down"));
  CHECK_FALSE(f.Tell("up", "Other"));
  CHECK(f.Tell("down", "Failed", "b"));
  f.clock.AdvanceBy(299s);
  CHECK_FALSE(f.Tell("down"));
  f.clock.AdvanceBy(1s);
  const auto write = f.Tell("down");
  REQUIRE(write);
  CHECK(write->count == 28);  // the muted ones are counted
  CHECK_FALSE(f.Tell("down"));
}

TEST_CASE("an event that was muted when new is created when it passes") {
  Fixture f;
  for (int i = 0; i < 25; ++i) f.Tell("down");
  CHECK_FALSE(f.Tell("late"));
  f.clock.AdvanceBy(300s);
  const auto write = f.Tell("late");
  REQUIRE(write);
  CHECK_FALSE(write->update);
  CHECK(write->count == 2);
}

TEST_CASE("objects unused for longest are forgotten") {
  Fixture f({.capacity = 2});
  f.Tell("down", "Failed", "a");
  f.Tell("down", "Failed", "b");
  CHECK(f.Tell("down", "Failed", "a")->update);
  f.Tell("down", "Failed", "c");
  CHECK(f.Tell("down", "Failed", "a")->update);
  CHECK_FALSE(f.Tell("down", "Failed", "b")->update);
}

TEST_CASE("names fit the API's bound and the namespace of cluster-scoped objects is default") {
  EventCorrelator correlator({});
  const auto write = correlator.Correlate(
      {{"v1", "Node", {"", std::string(236, 'n') + "-" + std::string(16, 'n')}, ""}, EventType::kNormal, "R", "m", {}},
      {});
  REQUIRE(write);
  CHECK(write->ns == "default");
  CHECK(write->name.size() <= 253);
  const auto other = correlator.Correlate({{"v1", "Node", {"", "n"}, ""}, EventType::kNormal, "R", "m", {}}, {});
  CHECK(other->name == "n.2");
}

}  // namespace
}  // namespace clusterpulse::runtime
