#include "hub/history/sample_search.h"

#include <catch2/catch.hpp>

namespace clusterpulse::history {
namespace {

using namespace std::chrono_literals;

constexpr base::SystemTime kMoment(1'700'000'000'123ms);

TEST_CASE("what is asked") {
  CHECK(SearchTarget({"harbour-7", kMoment, kMoment + 30s + 400us, 2}) ==
        "/api/v1/export?match%5B%5D=clusterpulse_cluster_nodes_total%7Bcluster%3D%22harbour-7%22%7D"
        "&start=1700000000.124&end=1700000030.123");
  // What is held since itself.
  CHECK(SearchTarget({"a\"b", kMoment, kMoment, 1})
            .ends_with("%22a%5C%22b%22%7D&start=1700000000.123&end=1700000000.123"));
}

TEST_CASE("what is answered") {
  struct Case {
    std::string text;
    std::uint64_t times;
  };
  const Case cases[] = {
      {"", 0},
      {"\n", 0},
      {R"({"metric":{"__name__":"m"},"values":[1,2],"timestamps":[100,200]})", 2},
      {R"({"timestamps":[100,200]})"
       "\n"
       R"({"timestamps":[200,300]})"
       "\n",
       3},
      {R"({"timestamps":[]})", 0},
      {R"({"timestamps":[100,100,100]})", 1},
  };
  for (const Case& c : cases) {
    CAPTURE(c.text);
    const auto times = CountTimes(c.text);
    REQUIRE(times.ok());
    CHECK(*times == c.times);
  }
  for (const char* text : {"<html>", "{}", "[1]", R"({"timestamps":7})", R"({"timestamps":[1,)", "7"}) {
    CAPTURE(text);
    CHECK(CountTimes(text).status().code() == absl::StatusCode::kDataLoss);
  }
}

}  // namespace
}  // namespace clusterpulse::history
