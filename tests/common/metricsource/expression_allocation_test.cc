// Evaluation allocates nothing once a row like it has been seen. A program of its own: it counts what operator new
// gives.
#include <chrono>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "common/metricsource/computed.h"
#include "common/metricsource/expression.h"
#include "tests/support/counted_allocations.h"

namespace clusterpulse::metricsource {
namespace {

TEST_CASE("what is allocated is counted") {
  const std::size_t before = testing::Allocations();
  void* const memory = ::operator new(8);  // which no compiler leaves out
  const std::size_t after = testing::Allocations();
  ::operator delete(memory);
  CHECK(after == before + 1);
}

TEST_CASE("every operator and function evaluates without allocation") {
  const std::vector<Column> columns = {{"i", Kind::kInt, false},
                                       {"f", Kind::kDouble, false},
                                       {"s", Kind::kText, false},
                                       {"n", kAnyKind, false},
                                       {"created", Kind::kText, false}};
  const std::string long_text(3000, 'x');
  const std::vector<std::vector<Value>> rows = {
      {Value::Int(7), Value::Double(0.1), Value::Text("Über-pod"), Value::Null(), Value::Text("2031-02-03T04:05:06Z")},
      {Value::Int(-7), Value::Double(1e300), Value::Text("12.5"), Value::Int(3), Value::Text("")},
      {Value::Null(), Value::Null(), Value::Text(long_text), Value::Text("x"), Value::Text("yesterday")},
  };
  const std::vector<const char*> expressions = {
      "i + f * 2 - i / 3 % 5",
      "-i < f && !(s == 'x') || i >= 3 ?? n",
      "n ?? i + 1",
      "s + '/' + i + f + lower(s) + upper(s)",
      "concat(s, i, f, n, true, s, i, f, n, 'x')",
      "substr(s, 1, 5)",
      "len(s) + len(f)",
      "round(f, 2) + floor(f) + ceil(f) + abs(i) + min(i, f) + max(i, 3)",
      "coalesce(n, i, f)",
      "now() + age(created)",
      "formatBytes(f)",
      "contains(s, 'x') && startsWith(s, i) && endsWith(f, s)",
      "toString(f) + toString(i)",
      "toNumber(s) + 1",
  };
  TextArena arena;
  EvaluationContext context(arena, base::SystemTime(std::chrono::seconds(1927944306)));
  for (const char* text : expressions) {
    CAPTURE(text);
    Diagnostics diagnostics;
    const auto expression = Expression::Compile(text, columns, "", diagnostics);
    REQUIRE(expression);
    std::size_t allocations = 0;
    for (int round = 0; round < 3; ++round) {
      allocations = testing::Allocations();
      for (const std::vector<Value>& row : rows) {
        arena.Reset();
        context.BeginRow();
        (void)expression->Evaluate(row, context);
      }
      allocations = testing::Allocations() - allocations;
    }
    CHECK(allocations == 0);
  }
}

TEST_CASE("a row of computed values costs no allocation") {
  const std::vector<Column> columns = {{"ready", Kind::kInt, false}, {"desired", Kind::kInt, false}};
  std::vector<ComputedField> fields;
  fields.push_back({"text", "'at ' + percent + '%'", ResultType::kString, ""});
  fields.push_back({"percent", "ready / max(desired, 1) * 100", ResultType::kFloat, ""});
  fields.push_back({"percent_text", "percent", ResultType::kString, ""});
  Diagnostics diagnostics;
  const auto computed = ComputedFields::Compile(fields, columns, diagnostics);
  REQUIRE_FALSE(diagnostics.has_errors());
  TextArena arena;
  EvaluationContext context(arena, base::SystemTime());
  std::vector<Value> row = {Value::Int(2), Value::Int(3), {}, {}, {}};
  std::size_t allocations = 0;
  for (int round = 0; round < 100; ++round) {
    if (round == 1) allocations = testing::Allocations();
    arena.Reset();
    computed.Evaluate(row, context);
  }
  CHECK(testing::Allocations() == allocations);
  CHECK(row[4].AsText() == "66.66666666666666");
}

}  // namespace
}  // namespace clusterpulse::metricsource
