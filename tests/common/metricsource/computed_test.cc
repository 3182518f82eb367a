#include "common/metricsource/computed.h"

#include <chrono>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "tests/common/metricsource/expression_rig.h"

namespace clusterpulse::metricsource {
namespace {

const std::vector<Column> kFields = {
    {"ready", Kind::kInt, false}, {"desired", Kind::kInt, false}, {"state", Kind::kText, false}};

std::vector<ComputedField> Computed(const std::vector<std::tuple<const char*, const char*, ResultType>>& fields) {
  std::vector<ComputedField> out;
  for (const auto& [name, expression, type] : fields) {
    out.push_back({name, expression, type, "spec.computed[" + std::to_string(out.size()) + "]"});
  }
  return out;
}

std::vector<std::string> Evaluate(const ComputedFields& computed, std::vector<Value> row) {
  TextArena arena;
  EvaluationContext context(arena, base::SystemTime(std::chrono::seconds(1927944306)));
  const std::size_t fields = row.size();
  row.resize(fields + computed.size(), Value::Text("of the row before"));
  computed.Evaluate(row, context);
  std::vector<std::string> out;
  for (std::size_t i = fields; i < row.size(); ++i) out.push_back(Show(row[i]));
  return out;
}

TEST_CASE("computed values use each other in any order") {
  Diagnostics diagnostics;
  const auto computed = ComputedFields::Compile(Computed({{"label", "state + ' ' + percent + '%'", ResultType::kString},
                                                          {"percent", "round(share * 100)", ResultType::kInteger},
                                                          {"share", "ready / max(desired, 1)", ResultType::kFloat},
                                                          {"is_whole", "share == 1", ResultType::kBoolean}}),
                                                kFields, diagnostics);
  CHECK(diagnostics.items().empty());
  CHECK(computed.size() == 4);
  CHECK(Evaluate(computed, {Value::Int(2), Value::Int(3), Value::Text("Up")}) ==
        std::vector<std::string>{"'Up 67%'", "67", "0.6666666666666666", "false"});
  CHECK(Evaluate(computed, {Value::Int(3), Value::Int(3), Value::Null()}) ==
        std::vector<std::string>{"null", "100", "1.0", "true"});
  CHECK(Evaluate(computed, {Value::Null(), Value::Int(3), Value::Text("Down")}) ==
        std::vector<std::string>{"null", "null", "null", "false"});
}

TEST_CASE("a circle is refused with its path") {
  Diagnostics diagnostics;
  ComputedFields::Compile(Computed({{"start", "b + 1", ResultType::kFloat},
                                    {"a", "c * 2", ResultType::kFloat},
                                    {"b", "a", ResultType::kFloat},
                                    {"c", "b ?? ready", ResultType::kFloat},
                                    {"self", "self + 1", ResultType::kFloat},
                                    {"wrong", "redy", ResultType::kFloat}}),
                          kFields, diagnostics);
  CHECK(diagnostics.Summary() ==
        "spec.computed[5].expression:1: unknown name \"redy\": no field or computed value has it, did you mean "
        "\"ready\"?\n"
        "spec.computed[2].expression: computed values use each other in a circle: b -> a -> c -> b\n"
        "spec.computed[4].expression: computed values use each other in a circle: self -> self");
}

TEST_CASE("a long circle is told by its beginning, and a long chain is none") {
  std::vector<ComputedField> chain;
  for (int i = 0; i < 1000; ++i) {
    chain.push_back({"c" + std::to_string(i), "c" + std::to_string((i + 1) % 1000), ResultType::kFloat, "at"});
  }
  Diagnostics diagnostics;
  ComputedFields::Compile(chain, kFields, diagnostics);
  CHECK(diagnostics.Summary() ==
        "at.expression: computed values use each other in a circle: c0 -> c1 -> c2 -> c3 -> c4 -> c5 -> c6 -> c7 -> c8 "
        "-> ... -> c0");

  chain.back().expression = "ready";
  diagnostics = {};
  const auto computed = ComputedFields::Compile(chain, kFields, diagnostics);
  CHECK_FALSE(diagnostics.has_errors());
  CHECK(Evaluate(computed, {Value::Int(2), Value::Null(), Value::Null()}).front() == "2.0");
}

TEST_CASE("results are converted to the declared type") {
  struct Case {
    const char* expression;
    ResultType type;
    const char* value;
  };
  const Case kCases[] = {
      {"ready", ResultType::kFloat, "7.0"},
      {"true", ResultType::kFloat, "1.0"},
      {"0.5", ResultType::kFloat, "0.5"},
      {"toNumber(state)", ResultType::kFloat, "null"},
      {"1.9", ResultType::kInteger, "1"},
      {"-1.9", ResultType::kInteger, "-1"},
      {"true", ResultType::kInteger, "1"},
      {"9223372036854775807 * 4.0", ResultType::kInteger, "9223372036854775807"},
      {"-9223372036854775807 * 4.0", ResultType::kInteger, "-9223372036854775808"},
      {"ready", ResultType::kString, "'7'"},
      {"1234567.25", ResultType::kString, "'1234567.25'"},
      {"ready > 3", ResultType::kString, "'true'"},
      {"state", ResultType::kString, "'Failed'"},
      {"ready", ResultType::kBoolean, "true"},
      {"0.0", ResultType::kBoolean, "false"},
      {"'FALSE'", ResultType::kBoolean, "false"},  // upstream: true
      {"state", ResultType::kBoolean, "null"},
      {"desired", ResultType::kString, "null"},
      {"desired", ResultType::kBoolean, "null"},
  };
  for (const Case& c : kCases) {
    CAPTURE(c.expression, std::string(Name(c.type)));
    Diagnostics diagnostics;
    const auto computed = ComputedFields::Compile(Computed({{"x", c.expression, c.type}}), kFields, diagnostics);
    CHECK_FALSE(diagnostics.has_errors());
    CHECK(Evaluate(computed, {Value::Int(7), Value::Null(), Value::Text("Failed")}) ==
          std::vector<std::string>{c.value});
  }
}

TEST_CASE("a text that is declared a number is refused, one that may be a number is not") {
  Diagnostics diagnostics;
  ComputedFields::Compile(Computed({{"size", "formatBytes(ready)", ResultType::kFloat},
                                    {"count", "state", ResultType::kInteger},
                                    {"may", "ready ?? state", ResultType::kFloat}}),
                          kFields, diagnostics);
  CHECK(diagnostics.Summary() ==
        "spec.computed[0].type: type \"float\" cannot hold what the expression gives, which is text, did you mean "
        "\"string\"?\n"
        "spec.computed[1].type: type \"integer\" cannot hold what the expression gives, which is text, did you mean "
        "\"string\"?");
}

TEST_CASE("what has no value is null and counted") {
  Diagnostics diagnostics;
  const auto computed = ComputedFields::Compile(Computed({{"a", "toNumber(state)", ResultType::kFloat},
                                                          {"b", "ready ?? state", ResultType::kFloat},
                                                          {"c", "state", ResultType::kBoolean}}),
                                                kFields, diagnostics);
  TextArena arena;
  EvaluationContext context(arena, base::SystemTime());
  std::vector<Value> row(6);
  row[2] = Value::Text("Failed");
  computed.Evaluate(row, context);
  CHECK(row[3].IsNull());
  CHECK(row[4].IsNull());
  CHECK(row[5].IsNull());
  CHECK(context.type_errors() == 3);
}

TEST_CASE("more steps than a row may take are refused when it is compiled") {
  std::vector<ComputedField> fields;
  std::string sum = "ready";
  for (int i = 0; i < 200; ++i) sum += "+ready";
  for (int i = 0; i < 50; ++i) {
    fields.push_back({"c" + std::to_string(i), sum, ResultType::kInteger, "at" + std::to_string(i)});
  }
  Diagnostics diagnostics;
  const auto computed = ComputedFields::Compile(fields, kFields, diagnostics);
  CHECK_FALSE(diagnostics.has_errors());
  CHECK(Evaluate(computed, {Value::Int(1), Value::Null(), Value::Null()}).back() == "201");

  fields.push_back({"more", "ready + 1", ResultType::kInteger, "at50"});
  fields.push_back({"still_more", "ready + 1", ResultType::kInteger, "at51"});
  ComputedFields::Compile(fields, kFields, diagnostics);
  CHECK(diagnostics.Summary() ==
        "at50.expression: from here on the computed values take more than the 10000 steps a row may take");
}

TEST_CASE("the budget of text is that of the whole row, and the next has its own") {
  Diagnostics diagnostics;
  const auto computed = ComputedFields::Compile(Computed({{"a", "len(state + state)", ResultType::kInteger},
                                                          {"b", "len(state + 'x')", ResultType::kInteger},
                                                          {"c", "len('x' + state)", ResultType::kInteger}}),
                                                kFields, diagnostics);
  TextArena arena;
  EvaluationContext context(arena, base::SystemTime());
  const std::string text(300'000, 'x');
  std::vector<Value> row(6);
  row[2] = Value::Text(text);
  for (int i = 0; i < 2; ++i) {
    arena.Reset();
    computed.Evaluate(row, context);
    CHECK(row[3].AsInt() == 600'000);
    CHECK(row[4].AsInt() == 300'001);
    CHECK(row[5].IsNull());
  }
  CHECK(context.budget_errors() == 2);
}

}  // namespace
}  // namespace clusterpulse::metricsource
