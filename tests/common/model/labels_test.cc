#include "common/model/labels.h"

#include <map>
#include <random>
#include <string>

#include <absl/hash/hash.h>
#include <catch2/catch.hpp>

using clusterpulse::model::Labels;
using clusterpulse::model::LabelsBuilder;

namespace {

std::map<std::string, std::string> ToMap(const Labels& labels) {
  std::map<std::string, std::string> map;
  for (const auto& [key, value] : labels) map.emplace(key, value);
  return map;
}

}  // namespace

TEST_CASE("labels are what a map of the same entries is") {
  struct Case {
    const char* name;
    std::vector<Labels::value_type> add;
    std::map<std::string, std::string> want;
  };
  const std::string with_nul("a\0b", 3);
  const std::vector<Case> cases{
      {"nothing", {}, {}},
      {"one", {{"a", "1"}}, {{"a", "1"}}},
      {"in order", {{"a", "1"}, {"b", "2"}, {"c", "3"}}, {{"a", "1"}, {"b", "2"}, {"c", "3"}}},
      {"in no order", {{"c", "3"}, {"a", "1"}, {"b", "2"}}, {{"a", "1"}, {"b", "2"}, {"c", "3"}}},
      {"one key twice in a row", {{"a", "1"}, {"a", "2"}}, {{"a", "2"}}},
      {"one key twice, the shorter value last", {{"a", "long"}, {"b", ""}, {"a", ""}}, {{"a", ""}, {"b", ""}}},
      {"empty key and value", {{"", ""}}, {{"", ""}}},
      {"a key that begins another", {{"ab", "2"}, {"a", "1"}}, {{"a", "1"}, {"ab", "2"}}},
      {"bytes beyond ASCII come last", {{"\xc3\xa9", "2"}, {"z", "1"}}, {{"z", "1"}, {"\xc3\xa9", "2"}}},
      {"a key with a NUL", {{with_nul, "2"}, {"a", "1"}}, {{"a", "1"}, {with_nul, "2"}}},
  };
  for (const Case& c : cases) {
    INFO(c.name);
    const Labels labels(c.add.begin(), c.add.end());
    CHECK(ToMap(labels) == c.want);
    CHECK(labels.size() == c.want.size());
    CHECK(labels.empty() == c.want.empty());
    CHECK(std::is_sorted(labels.begin(), labels.end()));
    for (const auto& [key, value] : c.want) CHECK(labels.Find(key) == value);
    CHECK_FALSE(labels.Find("absent").has_value());
    const Labels ordered(c.want.begin(), c.want.end());
    CHECK(labels == ordered);
    CHECK(absl::Hash<Labels>()(labels) == absl::Hash<Labels>()(ordered));
  }
}

TEST_CASE("labels that differ are not equal") {
  const Labels labels{{"a", "1"}, {"b", "2"}};
  for (const Labels& other : {Labels(), Labels{{"a", "1"}}, Labels{{"a", "1"}, {"b", "3"}},
                              Labels{{"a", "1"}, {"c", "2"}}, Labels{{"a", "1b"}, {"", "2"}}}) {
    CHECK_FALSE(labels == other);
  }
}

TEST_CASE("copied, moved and assigned labels stay whole") {
  const Labels labels{{"b", "2"}, {"a", std::string(100, 'x')}};
  Labels copy = labels;
  Labels moved = std::move(copy);
  CHECK(moved == labels);
  copy = {{"c", "3"}};
  CHECK(copy.Find("c") == "3");
  CHECK(moved.Find("b") == "2");
}

TEST_CASE("a builder begins anew after it has built") {
  LabelsBuilder builder(8, 64);
  builder.Add("b", "2");
  builder.Add("a", "1");
  CHECK(builder.Build() == Labels{{"a", "1"}, {"b", "2"}});
  CHECK(builder.Build().empty());
  builder.Add("c", "3");
  CHECK(builder.Build() == Labels{{"c", "3"}});
}

TEST_CASE("any sequence of entries is what a map makes of it") {
  std::mt19937 random(7);
  const auto text = [&] {
    std::string made(random() % 4, 'a');
    for (char& c : made) c = static_cast<char>('a' + random() % 3);
    return made;
  };
  for (int round = 0; round < 500; ++round) {
    std::map<std::string, std::string> want;
    LabelsBuilder builder;
    for (std::uint32_t n = random() % 30; n > 0; --n) {
      const std::string key = text(), value = text();
      want[key] = value;
      builder.Add(key, value);
    }
    const Labels labels = builder.Build();
    REQUIRE(ToMap(labels) == want);
    for (const auto& [key, value] : want) REQUIRE(labels.Find(key) == value);
  }
}
