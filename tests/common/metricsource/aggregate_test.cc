#include "common/metricsource/aggregate.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "common/metricsource/spec.h"

namespace clusterpulse::metricsource {
namespace {

using Row = std::vector<Value>;

Table MakeTable(std::vector<Column> columns, const std::vector<Row>& rows) {
  Table table(std::move(columns));
  for (std::size_t i = 0; i < rows.size(); ++i) table.Append({.ns = "s", .name = fmt::format("n{}", i)}, rows[i]);
  return table;
}

// One column that may hold anything.
Table OneColumn(const std::vector<Value>& values) {
  std::vector<Row> rows;
  for (const Value value : values) rows.push_back({value});
  return MakeTable({{"x", kAnyKind}}, rows);
}

Aggregation Make(const Table& table, AggregationSpec spec) {
  Diagnostics diagnostics;
  spec.name = "r";
  auto made = Aggregation::Compile(spec, table.columns(), "spec.aggregations[0]", diagnostics);
  CAPTURE(diagnostics.Summary());
  REQUIRE(made.has_value());
  return *std::move(made);
}

// The result as it is written.
std::string Json(const Table& table, const AggregationSpec& spec,
                 std::optional<std::span<const std::uint32_t>> rows = std::nullopt) {
  const std::vector<Aggregation> aggregations = {Make(table, spec)};
  const auto results = Aggregate(table, aggregations, rows);
  std::string out;
  AppendResults(aggregations, results, out);
  REQUIRE(out.starts_with("{\"r\":"));
  return out.substr(5, out.size() - 6);
}

std::string OfX(const Table& table, std::string function, std::optional<std::int64_t> percentile = std::nullopt) {
  return Json(table, {.field = function == "count" ? "" : "x", .function = function, .percentile = percentile});
}

TEST_CASE("percentiles lie linearly between the closest ranks") {
  struct Case {
    int percentile;
    std::string result;
  };
  const auto c =
      GENERATE(values<Case>({{0, "20"}, {25, "35"}, {50, "50"}, {75, "65"}, {90, "74"}, {95, "77"}, {100, "80"}}));
  const Table ints = OneColumn({Value::Int(60), Value::Int(20), Value::Int(80), Value::Int(40)});
  CHECK(OfX(ints, "percentile", c.percentile) == c.result);
  const Table doubles = OneColumn({Value::Double(60), Value::Double(20), Value::Double(80), Value::Double(40)});
  CHECK(OfX(doubles, "percentile", c.percentile) == c.result);
  const Table mixed = OneColumn({Value::Double(60), Value::Int(20), Value::Null(), Value::Int(80), Value::Double(40)});
  CHECK(OfX(mixed, "percentile", c.percentile) == c.result);
}

TEST_CASE("a mixed column") {
  const Table table = OneColumn({Value::Int(1), Value::Double(2), Value::Double(4), Value::Text("x"), Value::Null(),
                                 Value::Bool(true), Value::Double(1), Value::Int(1), Value::Text("1")});
  CHECK(OfX(table, "count") == "9");
  CHECK(OfX(table, "sum") == "9");
  CHECK(OfX(table, "avg") == "1.8");
  CHECK(OfX(table, "min") == "1");
  CHECK(OfX(table, "max") == "4");
  CHECK(OfX(table, "percentile", 90) == "3.2");
  // 1 and 1.0 are one value; the text "1" is another, true a third.
  CHECK(OfX(table, "distinct") == "6");
}

TEST_CASE("nothing") {
  for (const Table& table : {OneColumn({}), OneColumn({Value::Null(), Value::Null()})}) {
    CHECK(OfX(table, "count") == std::to_string(table.size()));
    CHECK(OfX(table, "sum") == "0");
    CHECK(OfX(table, "avg") == "null");
    CHECK(OfX(table, "min") == "null");
    CHECK(OfX(table, "max") == "null");
    CHECK(OfX(table, "percentile", 50) == "null");
    CHECK(OfX(table, "distinct") == "0");
  }
  CHECK(Json(OneColumn({}), {.function = "count", .group_by = "x"}) == "{}");
}

TEST_CASE("integers stay exact") {
  constexpr std::int64_t kBig = 9007199254740993;
  const Table table = OneColumn({Value::Int(kBig), Value::Int(kBig - 1), Value::Int(kBig)});
  CHECK(OfX(table, "max") == "9007199254740993");
  CHECK(OfX(table, "min") == "9007199254740992");
  CHECK(OfX(table, "sum") == "27021597764222978");
  CHECK(OfX(table, "percentile", 50) == "9007199254740993");
  CHECK(OfX(table, "distinct") == "2");
  CHECK(Json(table, {.function = "count", .group_by = "x"}) == R"({"9007199254740992":1,"9007199254740993":2})");
  // Against the nearest double, which is one less.
  const Table mixed = OneColumn({Value::Int(kBig), Value::Double(9007199254740992.0)});
  CHECK(OfX(mixed, "distinct") == "2");
  CHECK(OfX(mixed, "max") == "9007199254740993");
  CHECK(OfX(mixed, "min") == "9007199254740992");
  // A sum beyond 64 bits is a double.
  CHECK(OfX(OneColumn({Value::Int(INT64_MAX), Value::Int(INT64_MAX)}), "sum") == "18446744073709552000");
  CHECK(OfX(OneColumn({Value::Int(INT64_MAX), Value::Int(INT64_MIN), Value::Int(5)}), "sum") == "4");
}

TEST_CASE("doubles") {
  CHECK(OfX(OneColumn({Value::Double(1e308), Value::Double(1e308)}), "sum") == "null");
  CHECK(OfX(OneColumn({Value::Double(1e308), Value::Double(-1e308)}), "percentile", 50) == "0");
  CHECK(OfX(OneColumn({Value::Double(0.1), Value::Double(0.2), Value::Double(0.3)}), "sum") == "0.6");
  CHECK(OfX(OneColumn({Value::Double(1e16), Value::Double(1), Value::Double(-1e16)}), "sum") == "1");
  CHECK(OfX(OneColumn({Value::Double(-0.0), Value::Double(0.0), Value::Int(0)}), "distinct") == "1");
  CHECK(Json(OneColumn({Value::Double(-0.0), Value::Double(0.0), Value::Int(0)}),
             {.function = "count", .group_by = "x"}) == R"({"0":3})");
}

TEST_CASE("groups are named by the text of their value") {
  const Table table = MakeTable({{"g", kAnyKind}, {"x", kNumbers}}, {{Value::Text("b"), Value::Int(1)},
                                                                     {Value::Null(), Value::Int(2)},
                                                                     {Value::Text("a"), Value::Double(3.5)},
                                                                     {Value::Bool(true), Value::Int(4)},
                                                                     {Value::Int(3), Value::Int(5)},
                                                                     {Value::Double(3), Value::Null()},
                                                                     {Value::Text("3"), Value::Int(7)},
                                                                     {Value::Text(""), Value::Int(8)},
                                                                     {Value::Double(2.5), Value::Null()},
                                                                     {Value::Text("_unknown_"), Value::Int(10)}});
  CHECK(Json(table, {.function = "count", .group_by = "g"}) ==
        R"({"":1,"2.5":1,"3":3,"_unknown_":2,"a":1,"b":1,"true":1})");
  CHECK(Json(table, {.field = "x", .function = "sum", .group_by = "g"}) ==
        R"({"":8,"2.5":0,"3":12,"_unknown_":12,"a":3.5,"b":1,"true":4})");
  CHECK(Json(table, {.field = "x", .function = "avg", .group_by = "g"}) ==
        R"({"":8,"2.5":null,"3":6,"_unknown_":6,"a":3.5,"b":1,"true":4})");
  CHECK(Json(table, {.field = "x", .function = "max", .group_by = "g"}) ==
        R"({"":8,"2.5":null,"3":7,"_unknown_":10,"a":3.5,"b":1,"true":4})");
  CHECK(Json(table, {.field = "x", .function = "percentile", .group_by = "g", .percentile = 25}) ==
        R"({"":8,"2.5":null,"3":5.5,"_unknown_":4,"a":3.5,"b":1,"true":4})");
  CHECK(Json(table, {.field = "x", .function = "distinct", .group_by = "g"}) ==
        R"({"":1,"2.5":0,"3":2,"_unknown_":2,"a":1,"b":1,"true":1})");
  CHECK(Json(table, {.field = "g", .function = "distinct", .group_by = "x"}) ==
        R"({"1":1,"10":1,"2":0,"3.5":1,"4":1,"5":1,"7":1,"8":1,"_unknown_":2})");
}

TEST_CASE("filters choose rows, and groups are those of the rows that are left") {
  const Table table = MakeTable({{"state", Kind::kText}, {"x", Kind::kInt}}, {{Value::Text("up"), Value::Int(1)},
                                                                              {Value::Text("down"), Value::Int(2)},
                                                                              {Value::Null(), Value::Int(3)},
                                                                              {Value::Text("up"), Value::Null()},
                                                                              {Value::Text("up"), Value::Int(5)}});
  CHECK(Json(table, {.function = "count", .filter = FilterSpec{"state", "equals", "up"}}) == "3");
  CHECK(Json(table, {.field = "x", .function = "sum", .filter = FilterSpec{"state", "notEquals", "up"}}) == "2");
  CHECK(Json(table, {.field = "x", .function = "avg", .filter = FilterSpec{"x", "greaterThan", "1"}}) ==
        "3.3333333333333335");
  CHECK(Json(table, {.function = "count", .group_by = "state", .filter = FilterSpec{"x", "lessThan", "3"}}) ==
        R"({"down":1,"up":1})");
  CHECK(Json(table, {.function = "count", .group_by = "state", .filter = FilterSpec{"state", "matches", "zz"}}) ==
        "{}");
  CHECK(Json(table, {.function = "count", .filter = FilterSpec{"state", "notIn", "[down]"}}) == "3");
}

TEST_CASE("a choice of rows is aggregated alone") {
  const Table table = OneColumn({Value::Int(1), Value::Int(2), Value::Int(3), Value::Int(4)});
  const std::vector<std::uint32_t> rows = {3, 0};
  CHECK(Json(table, {.function = "count"}, rows) == "2");
  CHECK(Json(table, {.field = "x", .function = "sum"}, rows) == "5");
  CHECK(Json(table, {.field = "x", .function = "distinct"}, rows) == "2");
  CHECK(Json(table, {.function = "count", .group_by = "x"}, rows) == R"({"1":1,"4":1})");
  CHECK(Json(table, {.function = "count", .filter = FilterSpec{"x", "lessThan", "3"}}, rows) == "1");
  CHECK(Json(table, {.field = "x", .function = "percentile", .percentile = 50}, rows) == "2.5");
  CHECK(Json(table, {.function = "count"}, std::span<const std::uint32_t>()) == "0");
}

TEST_CASE("what is wrong with an aggregation is told at once") {
  struct Case {
    AggregationSpec spec;
    std::vector<std::string> says;  // "path: ..." beginnings
  };
  const std::vector<Column> columns = {{"state", Kind::kText}, {"depth", Kind::kInt}};
  const auto c = GENERATE(values<Case>({
      {{.function = "median", .filter = FilterSpec{"stat", "like", ""}},
       {"a.function: unknown function \"median\"", "a.filter.field: unknown field \"stat\", did you mean \"state\"?",
        "a.filter.operator: unknown operator \"like\""}},
      {{.function = ""}, {"a.function: is required"}},
      {{.function = "sum"}, {"a.field: is required"}},
      {{.field = "dept", .function = "sum", .group_by = "sate"},
       {"a.field: unknown field \"dept\", did you mean \"depth\"?",
        "a.groupBy: unknown field \"sate\", did you mean \"state\"?"}},
      {{.field = "state", .function = "avg"}, {"a.field: avg needs numbers, and \"state\" has none"}},
      {{.field = "depth", .function = "percentile"}, {"a.percentile: is required"}},
      {{.field = "depth", .function = "percentile", .percentile = 101}, {"a.percentile: 101 is not within 0..100"}},
      {{.field = "depth", .function = "percentile", .percentile = -1}, {"a.percentile: -1 is not within 0..100"}},
      {{.function = "count", .filter = FilterSpec{"depth", "equals", "deep"}},
       {"a.filter.value: \"deep\" is no number"}},
      {{.function = "count", .filter = FilterSpec{}},
       {"a.filter.field: is required", "a.filter.operator: is required"}},
  }));
  Diagnostics diagnostics;
  CHECK_FALSE(Aggregation::Compile(c.spec, columns, "a", diagnostics).has_value());
  REQUIRE(diagnostics.items().size() == c.says.size());
  for (std::size_t i = 0; i < c.says.size(); ++i) {
    CAPTURE(diagnostics.items()[i].ToString(), c.says[i]);
    CHECK(diagnostics.items()[i].ToString().starts_with(c.says[i]));
  }
}

TEST_CASE("what has no effect is warned of") {
  const std::vector<Column> columns = {{"state", Kind::kText}, {"depth", Kind::kInt}};
  Diagnostics diagnostics;
  CHECK(Aggregation::Compile({.field = "depth", .function = "count", .percentile = 5}, columns, "a", diagnostics));
  REQUIRE(diagnostics.items().size() == 2);
  CHECK(diagnostics.items()[0].path == "a.field");
  CHECK(diagnostics.items()[1].path == "a.percentile");
  CHECK_FALSE(diagnostics.has_errors());
}

// --- properties: against the obvious way, and of parts against the whole

std::vector<Row> RandomRows(std::mt19937& random, int count) {
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  static const std::vector<std::string> kWords = {"", "a", "b", "_unknown_", "1", "true", "2.5"};
  const auto any = [&]() -> Value {
    switch (below(6)) {
      case 0:
        return Value::Null();
      case 1:
        return Value::Bool(below(2) == 0);
      case 2:
        return Value::Int(below(4));
      case 3:
        return Value::Double(below(8) / 2.0);
      default:
        return Value::Text(kWords[static_cast<std::size_t>(below(7))]);
    }
  };
  std::vector<Row> rows;
  for (int i = 0; i < count; ++i) {
    rows.push_back({any(), below(5) == 0 ? Value::Null() : Value::Int(below(1000) - 500),
                    Value::Double(below(64) / 8.0), Value::Text(kWords[static_cast<std::size_t>(below(7))])});
  }
  return rows;
}

std::vector<Column> RandomColumns() {
  return {{"any", kAnyKind}, {"int", Kind::kInt}, {"double", Kind::kDouble}, {"text", Kind::kText}};
}

Value Naive(const std::vector<Value>& values, const std::string& function, int percentile) {
  std::vector<double> numbers;
  std::set<std::string> distinct;
  for (const Value value : values) {
    if (value.IsNumber()) numbers.push_back(value.Number());
    if (value.IsNull()) continue;
    std::string key(1, value.IsNumber() ? 'n' : value.IsText() ? 't' : 'b');
    AppendText(key, value);
    distinct.insert(key);
  }
  std::ranges::sort(numbers);
  const double sum = std::accumulate(numbers.begin(), numbers.end(), 0.0);
  if (function == "count") return Value::Int(static_cast<std::int64_t>(values.size()));
  if (function == "distinct") return Value::Int(static_cast<std::int64_t>(distinct.size()));
  if (function == "sum") return Value::Double(sum);
  if (numbers.empty()) return Value::Null();
  if (function == "avg") return Value::Double(sum / static_cast<double>(numbers.size()));
  if (function == "min") return Value::Double(numbers.front());
  if (function == "max") return Value::Double(numbers.back());
  const double rank = percentile * static_cast<double>(numbers.size() - 1) / 100;
  const double low = numbers[static_cast<std::size_t>(std::floor(rank))];
  const double high = numbers[static_cast<std::size_t>(std::ceil(rank))];
  return Value::Double(low + (rank - std::floor(rank)) * (high - low));
}

bool Near(Value a, Value b) {
  if (!a.IsNumber() || !b.IsNumber()) return a.IsNull() && b.IsNull();
  return std::fabs(a.Number() - b.Number()) <= 1e-9 * std::max(1.0, std::fabs(b.Number()));
}

const std::vector<std::string> kFunctions = {"count", "sum", "avg", "min", "max", "percentile", "distinct"};

AggregationSpec RandomSpec(std::mt19937& random, const std::string& function) {
  static const std::vector<std::string> kNames = {"any", "int", "double", "text"};
  const bool numbers = function != "distinct";
  AggregationSpec spec{.field = function == "count" ? "" : kNames[random() % (numbers ? 3 : 4)], .function = function};
  if (function == "percentile") spec.percentile = static_cast<std::int64_t>(random() % 101);
  if (random() % 2 == 0) spec.group_by = kNames[random() % 4];
  switch (random() % 4) {
    case 0:
      spec.filter = FilterSpec{"int", "greaterThan", "-100"};
      break;
    case 1:
      spec.filter = FilterSpec{"text", "notEquals", "a"};
      break;
    case 2:
      spec.filter = FilterSpec{"any", "matches", "^[0-9b]"};
      break;
    default:
      break;
  }
  return spec;
}

TEST_CASE("aggregation is what the obvious way gives") {
  std::mt19937 random(20310506);
  for (int round = 0; round < 700; ++round) {
    const auto rows = RandomRows(random, static_cast<int>(random() % 40));
    const Table table = MakeTable(RandomColumns(), rows);
    std::vector<std::uint32_t> chosen;
    for (std::uint32_t i = 0; i < rows.size(); ++i) {
      if (random() % 4 != 0) chosen.push_back(i);
    }
    std::ranges::shuffle(chosen, random);
    for (const std::string& function : kFunctions) {
      const AggregationSpec spec = RandomSpec(random, function);
      const std::vector<Aggregation> aggregations = {Make(table, spec)};
      const auto result = Aggregate(table, aggregations, chosen)[0];
      std::string scratch;
      std::map<std::string, std::vector<Value>> groups;
      for (const std::uint32_t row : chosen) {
        const auto& condition = aggregations[0].condition;
        if (condition && !condition->filter.Matches(rows[row][condition->column], scratch)) continue;
        std::string key;
        if (aggregations[0].group_by) {
          const Value group = rows[row][*aggregations[0].group_by];
          if (group.IsNull()) key = kUnknownGroup;
          AppendText(key, group);
        }
        groups[key].push_back(aggregations[0].column ? rows[row][*aggregations[0].column] : Value::Null());
      }
      CAPTURE(round, spec.function, spec.field, spec.group_by, spec.filter ? spec.filter->field : "");
      if (!aggregations[0].group_by) {
        REQUIRE(Near(result.value, Naive(groups[""], function, aggregations[0].percentile)));
        continue;
      }
      REQUIRE(result.groups.size() == groups.size());
      REQUIRE(std::ranges::is_sorted(result.groups, {}, &std::pair<std::string, Value>::first));
      for (const auto& [key, value] : result.groups) {
        REQUIRE(groups.contains(key));
        REQUIRE(Near(value, Naive(groups[key], function, aggregations[0].percentile)));
      }
    }
  }
}

TEST_CASE("parts together are the whole") {
  std::mt19937 random(77);
  for (int round = 0; round < 300; ++round) {
    const Table table = MakeTable(RandomColumns(), RandomRows(random, 1 + static_cast<int>(random() % 60)));
    std::vector<std::uint32_t> left, right;
    for (std::uint32_t i = 0; i < table.size(); ++i) (random() % 2 == 0 ? left : right).push_back(i);
    for (const std::string function : {"count", "sum", "min", "max"}) {
      const AggregationSpec spec = RandomSpec(random, function);
      const std::vector<Aggregation> aggregation = {Make(table, spec)};
      const auto as_map = [&](const AggregationResult& result) {
        std::map<std::string, Value> map(result.groups.begin(), result.groups.end());
        if (!result.is_grouped) map[""] = result.value;
        return map;
      };
      auto parts = as_map(Aggregate(table, aggregation, left)[0]);
      for (const auto& [key, value] : as_map(Aggregate(table, aggregation, right)[0])) {
        const auto [found, is_new] = parts.emplace(key, value);
        if (is_new || value.IsNull()) continue;
        Value& other = found->second;
        if (other.IsNull()) {
          other = value;
        } else if (function == "min" || function == "max") {
          if ((CompareNumbers(value, other) < 0) == (function == "min")) other = value;
        } else {
          other = Value::Double(other.Number() + value.Number());
        }
      }
      const auto whole = as_map(Aggregate(table, aggregation)[0]);
      CAPTURE(round, spec.function, spec.field, spec.group_by);
      REQUIRE(whole.size() == parts.size());
      for (const auto& [key, value] : whole) REQUIRE(Near(parts[key], value));
    }
  }
}

}  // namespace
}  // namespace clusterpulse::metricsource
