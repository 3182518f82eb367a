#include "common/kube/label_selector.h"

#include <string>
#include <vector>

#include <catch2/catch.hpp>

namespace clusterpulse::kube {
namespace {

LabelSelector Read(std::string_view text, std::vector<LabelSelector::Problem>& problems) {
  const auto value = json::Value::Parse(text);
  REQUIRE(value.ok());
  return LabelSelector::Read(*value, problems);
}

TEST_CASE("a label selector is written as list calls take it and matches as servers do") {
  struct Case {
    std::string selector, text;
    std::vector<model::Labels> matching, others;
  };
  const Case c = GENERATE(values<Case>({
      {"{}", "", {{}, {{"a", "b"}}}, {}},
      {"null", "", {{}}, {}},
      {R"({"matchLabels":{"tier":"gold","app":"web"}})",
       "app=web,tier=gold",
       {{{"app", "web"}, {"tier", "gold"}, {"x", "y"}}},
       {{{"app", "web"}}, {{"app", "web"}, {"tier", "tin"}}, {}}},
      {R"({"matchExpressions":[{"key":"tier","operator":"In","values":["a","b"]}]})",
       "tier in (a,b)",
       {{{"tier", "a"}}, {{"tier", "b"}}},
       {{{"tier", "c"}}, {}}},
      {R"({"matchExpressions":[{"key":"tier","operator":"NotIn","values":["a"]}]})",
       "tier notin (a)",
       {{{"tier", "b"}}, {}},
       {{{"tier", "a"}}}},
      {R"({"matchExpressions":[{"key":"example.org/tier","operator":"Exists"}]})",
       "example.org/tier",
       {{{"example.org/tier", ""}}},
       {{{"tier", "a"}}}},
      {R"({"matchLabels":{"a":""},"matchExpressions":[{"key":"canary","operator":"DoesNotExist"}]})",
       "a=,!canary",
       {{{"a", ""}}},
       {{{"a", ""}, {"canary", "no"}}, {}}},
  }));
  CAPTURE(c.selector);
  std::vector<LabelSelector::Problem> problems;
  const LabelSelector selector = Read(c.selector, problems);
  CHECK(problems.empty());
  CHECK(selector.Text() == c.text);
  for (const model::Labels& labels : c.matching) CHECK(selector.Matches(labels));
  for (const model::Labels& labels : c.others) CHECK_FALSE(selector.Matches(labels));
}

TEST_CASE("what is wrong with a label selector is told with its place and left out") {
  struct Case {
    std::string selector, path, message;
  };
  const Case c = GENERATE(values<Case>({
      {R"({"matchLabels":{"a b":"x"}})", "matchLabels", R"("a b" is no label key)"},
      {R"({"matchLabels":{"/a":"x"}})", "matchLabels", R"("/a" is no label key)"},
      {R"({"matchLabels":{"a":"x,y=z"}})", "matchLabels[a]", R"("x,y=z" is no label value)"},
      {R"({"matchLabels":{"a":1}})", "matchLabels[a]", "1 is no label value"},
      {R"({"matchExpressions":[{"key":"a","operator":"Is","values":["x"]}]})", "matchExpressions[0].operator",
       R"("Is" is none of In, NotIn, Exists, DoesNotExist)"},
      {R"({"matchExpressions":[{"key":"a","operator":"In"}]})", "matchExpressions[0].values", "In needs values"},
      {R"({"matchExpressions":[{"key":"a","operator":"Exists","values":["x"]}]})", "matchExpressions[0].values",
       "Exists takes none"},
      {R"({"matchExpressions":[{"operator":"Exists"}]})", "matchExpressions[0].key", R"("" is no label key)"},
      {R"({"matchExpressions":[{"key":"a","operator":"In","values":["-x"]}]})", "matchExpressions[0].values",
       R"("-x" is no label value)"},
  }));
  CAPTURE(c.selector);
  std::vector<LabelSelector::Problem> problems;
  const LabelSelector selector = Read(c.selector, problems);
  CHECK(selector.requirements.empty());
  REQUIRE(problems.size() == 1);
  CHECK(problems[0].path == c.path);
  CHECK(problems[0].message == c.message);
}

}  // namespace
}  // namespace clusterpulse::kube
