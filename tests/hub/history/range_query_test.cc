#include "hub/history/range_query.h"

#include <catch2/catch.hpp>

#include "common/base/status.h"

namespace clusterpulse::history {
namespace {

using namespace std::chrono_literals;

RangeQuery Query(std::vector<LabelMatch> matches = {}) {
  RangeQuery query;
  query.metric = "m";
  query.matches = std::move(matches);
  query.from = base::SystemTime(1'700'000'000s);
  query.to = query.from + 1h;
  return query;
}

TEST_CASE("queries in MetricsQL") {
  RangeQuery by_cluster = Query({{"cluster", {"a"}}});
  by_cluster.across = Across::kSum;
  by_cluster.over_time = OverTime::kAvg;
  by_cluster.by = {"cluster", "node"};
  by_cluster.step = 5min;
  RangeQuery all = Query();
  all.across = Across::kMax;
  all.over_time = OverTime::kMin;
  all.max_series = 1;
  struct Case {
    RangeQuery query;
    std::string text;
  };
  const std::vector<Case> cases = {
      {Query(), "limitk(1001, last_over_time(m{}[60s]))"},
      {Query({{"node", {"n.1"}}}), R"(limitk(1001, last_over_time(m{node="n.1"}[60s])))"},
      {Query({{"node", {""}}}), R"(limitk(1001, last_over_time(m{node=""}[60s])))"},
      {Query({{"node", {"n.1", "b|c", ""}}, {"cluster", {"x"}}}),
       R"(limitk(1001, last_over_time(m{node=~"n\\.1|b\\|c|",cluster="x"}[60s])))"},
      {Query({{"node", {"", "a"}}}), R"(limitk(1001, last_over_time(m{node=~"|a"}[60s])))"},
      {by_cluster, R"(limitk(1001, sum by (cluster,node) (avg_over_time(m{cluster="a"}[300s]))))"},
      {all, "limitk(2, max (min_over_time(m{}[60s])))"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.text);
    const auto text = ToMetricsQl(c.query);
    REQUIRE(text.ok());
    CHECK(*text == c.text);
  }
}

TEST_CASE("text in values stays in values") {
  struct Case {
    std::string value, quoted, literally;
  };
  const std::vector<Case> cases = {
      {"plain_9", R"("plain_9")", "plain_9"},
      {R"(x"} or up{y=")", R"("x\"} or up{y=\"")", R"(x\"\}\ or\ up\{y\=\")"},
      {R"(a\)", R"("a\\")", R"(a\\)"},
      {"two\nlines", R"("two\nlines")", "two\\\nlines"},
      {std::string("a\0b\x7f", 4), R"("a\x00b\x7f")", "a\\x00b\\\x7f"},
      {".*", R"(".*")", R"(\.\*)"},
      {"käse", "\"käse\"", "käse"},
      {"", R"("")", ""},
  };
  for (const Case& c : cases) {
    CAPTURE(c.value);
    CHECK(Quoted(c.value) == c.quoted);
    CHECK(Literally(c.value) == c.literally);
  }
}

TEST_CASE("queries that make no sense are refused") {
  struct Case {
    std::string name;
    std::function<void(RangeQuery&)> change;
    std::string message;
  };
  const std::vector<Case> cases = {
      {"no metric", [](RangeQuery& q) { q.metric = ""; }, "no name of a metric: "},
      {"a selector as metric", [](RangeQuery& q) { q.metric = "m{a=\"b\"}"; }, "no name of a metric: m{a=\"b\"}"},
      {"no label",
       [](RangeQuery& q) {
         q.matches = {{"a b", {"x"}}};
       },
       "no name of a label: a b"},
      {"a colon",
       [](RangeQuery& q) {
         q.matches = {{"a:b", {"x"}}};
       },
       "no name of a label: a:b"},
      {"no text",
       [](RangeQuery& q) {
         q.matches = {{"a", {"\xff"}}};
       },
       "a value of a is not UTF-8"},
      {"many values",
       [](RangeQuery& q) {
         q.matches = {{"a", std::vector<std::string>(10'001, "x")}};
       },
       "10001 values with 10001 bytes are too many"},
      {"a large value",
       [](RangeQuery& q) {
         q.matches = {{"a", {std::string(2 << 20, 'x')}}};
       },
       "1 values with 2097152"},
      {"a bad label to keep",
       [](RangeQuery& q) {
         q.across = Across::kSum;
         q.by = {"a)"};
       },
       "no name of a label: a)"},
      {"labels to keep of nothing", [](RangeQuery& q) { q.by = {"a"}; }, "labels to stay apart"},
      {"no step", [](RangeQuery& q) { q.step = 0s; }, "the step is shorter"},
      {"backwards", [](RangeQuery& q) { q.to = q.from - 1s; }, "the range ends before"},
      {"too many points", [](RangeQuery& q) { q.max_points = 60; }, "61 points are more than the 60 allowed"},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      RangeQuery query = Query();
      c.change(query);
      const auto text = ToMetricsQl(query);
      REQUIRE(text.status().code() == absl::StatusCode::kInvalidArgument);
      CHECK(base::Message(text.status()).starts_with(c.message));
    }
  }
}

}  // namespace
}  // namespace clusterpulse::history
