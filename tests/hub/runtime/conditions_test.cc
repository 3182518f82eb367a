#include "hub/runtime/conditions.h"

#include <catch2/catch.hpp>

#include "common/base/testing/manual_clock.h"

namespace clusterpulse::runtime {
namespace {

using namespace std::chrono_literals;

TEST_CASE("the transition time of a condition changes only with its status") {
  base::ManualClock clock;
  std::vector<Condition> conditions;
  SetCondition(conditions, {.type = "Ready", .status = "False", .observed_generation = 1, .reason = "Starting"},
               clock.Now());
  CHECK(conditions[0].last_transition_time == "2031-04-05T06:07:08Z");

  clock.AdvanceBy(1min);
  SetCondition(conditions,
               {.type = "Ready", .status = "False", .observed_generation = 2, .reason = "TLS", .message = "bad"},
               clock.Now());
  REQUIRE(conditions.size() == 1);
  CHECK(conditions[0] == Condition{"Ready", "False", 2, "2031-04-05T06:07:08Z", "TLS", "bad"});

  SetCondition(conditions, {.type = "Ready", .status = "True", .reason = "Ok"}, clock.Now());
  CHECK(conditions[0].last_transition_time == "2031-04-05T06:08:08Z");

  SetCondition(conditions,
               {.type = "Ready", .status = "False", .last_transition_time = "2030-01-01T00:00:00Z", .reason = "X"},
               clock.Now());
  CHECK(conditions[0].last_transition_time == "2030-01-01T00:00:00Z");
}

TEST_CASE("conditions are found, asked and removed by type") {
  std::vector<Condition> conditions;
  SetCondition(conditions, {.type = "Ready", .status = "True"}, {});
  SetCondition(conditions, {.type = "DataFresh", .status = "Unknown"}, {});
  REQUIRE(FindCondition(conditions, "DataFresh") != nullptr);
  CHECK(FindCondition(conditions, "DataFresh")->status == "Unknown");
  CHECK(FindCondition(conditions, "Other") == nullptr);
  CHECK(IsConditionTrue(conditions, "Ready"));
  CHECK_FALSE(IsConditionTrue(conditions, "DataFresh"));
  CHECK_FALSE(IsConditionTrue(conditions, "Other"));
  CHECK(RemoveCondition(conditions, "Ready"));
  CHECK_FALSE(RemoveCondition(conditions, "Ready"));
  CHECK(conditions.size() == 1);
}

TEST_CASE("a message over the bound is cut between characters") {
  std::vector<Condition> conditions;
  std::string message(32767, 'x');
  message.append("\xC3\xA9");  // e with an accent, which straddles the bound
  SetCondition(conditions, {.type = "Ready", .status = "True", .message = message}, {});
  CHECK(conditions[0].message == std::string(32767, 'x'));
}

TEST_CASE("conditions are read as they were written") {
  const std::vector<Condition> conditions{
      {"Ready", "True", 3, "2031-04-05T06:07:08Z", "Ok", "all \"good\""},
      {"DataFresh", "Unknown", 0, "2031-04-05T06:07:09Z", "NoData", ""},
  };
  std::string text;
  json::Writer writer(text);
  WriteConditions(writer, conditions);
  CHECK(text ==
        R"([{"type":"Ready","status":"True","observedGeneration":3,"lastTransitionTime":"2031-04-05T06:07:08Z",)"
        R"("reason":"Ok","message":"all \"good\""},{"type":"DataFresh","status":"Unknown",)"
        R"("lastTransitionTime":"2031-04-05T06:07:09Z","reason":"NoData","message":""}])");
  std::vector<Condition> read{{.type = "Old"}};
  REQUIRE(json::Parser().Parse(text, [&](json::Cursor array) { return ReadConditions(array, read); }).ok());
  CHECK(read == conditions);
}

TEST_CASE("odd conditions do not spoil the others") {
  std::vector<Condition> read;
  const std::string_view text =
      R"([7,{"status":"True"},{"type":"A","status":7,"reason":null},{"type":"B","status":"True"}])";
  REQUIRE(json::Parser().Parse(text, [&](json::Cursor array) { return ReadConditions(array, read); }).ok());
  REQUIRE(read.size() == 2);
  CHECK(read[0] == Condition{.type = "A"});
  CHECK(read[1] == Condition{.type = "B", .status = "True"});
}

}  // namespace
}  // namespace clusterpulse::runtime
