#include "common/metricsource/filter.h"

#include <optional>
#include <string>
#include <string_view>

#include <catch2/catch.hpp>

namespace clusterpulse::metricsource {
namespace {

Column ColumnOf(std::string_view type) {
  if (type == "any") return {"f", kAnyKind};
  const FieldType field = ParseFieldType(type).value();
  return {"f", KindsOf(field), field == FieldType::kTimestamp};
}

std::optional<Filter> Compile(std::string_view type, std::string_view op, std::string_view value,
                              Diagnostics& diagnostics) {
  return Filter::Compile(ColumnOf(type), ParseFilterOperator(op).value(), value, "spec.aggregations[0].filter",
                         diagnostics);
}

TEST_CASE("values pass or do not") {
  struct Case {
    std::string type;
    Value value;
    std::string op, text;
    bool passes;
  };
  const auto c = GENERATE(values<Case>({
      {"integer", Value::Int(4), "equals", "4", true},
      {"integer", Value::Int(4), "equals", "4.0", true},
      {"integer", Value::Int(4), "equals", "4e0", true},
      {"integer", Value::Int(4), "notEquals", "4.0", false},
      {"integer", Value::Int(4), "notEquals", "5", true},
      {"integer", Value::Int(9007199254740993), "equals", "9007199254740992", false},
      {"integer", Value::Int(9007199254740993), "equals", "9007199254740993", true},
      {"float", Value::Double(4), "equals", "4", true},
      {"float", Value::Double(4.5), "equals", "4.50", true},
      {"quantity", Value::Int(1073741824), "equals", "1Gi", true},
      {"quantity", Value::Double(0.25), "equals", "250m", true},
      {"quantity", Value::Double(0.5), "greaterThan", "250m", true},
      {"boolean", Value::Bool(true), "equals", "TRUE", true},
      {"boolean", Value::Bool(true), "equals", "1", true},
      {"boolean", Value::Bool(true), "notEquals", "false", true},
      {"string", Value::Text("up"), "equals", "up", true},
      {"string", Value::Text("up"), "equals", "Up", false},
      {"string", Value::Text("4"), "equals", "4.0", false},
      {"string", Value::Text(""), "equals", "", true},

      {"string", Value::Text("orders-dead"), "contains", "s-d", true},
      {"string", Value::Text("orders-dead"), "startsWith", "orders", true},
      {"string", Value::Text("orders-dead"), "endsWith", "orders", false},
      {"string", Value::Text("x"), "contains", "", true},
      {"integer", Value::Int(1234), "contains", "23", true},
      {"float", Value::Double(2.5), "endsWith", ".5", true},
      {"float", Value::Double(2), "equals", "2", true},
      {"boolean", Value::Bool(false), "startsWith", "fa", true},

      {"string", Value::Text("10"), "greaterThan", "9", true},
      {"string", Value::Text("10"), "lessThan", "9.5", false},
      {"string", Value::Text("x"), "greaterThan", "-1", true},  // 'x' > '-'
      {"string", Value::Text("apple"), "lessThan", "banana", true},
      {"string", Value::Text("10"), "greaterThan", "b", false},
      {"string", Value::Text("1Ki"), "greaterThan", "9", false},
      {"float", Value::Double(2), "lessThan", "2.5", true},
      {"integer", Value::Int(3), "greaterThan", "3", false},
      {"integer", Value::Int(9007199254740993), "greaterThan", "9007199254740992.0", true},
      {"timestamp", Value::Text("2031-05-06T10:00:00+02:00"), "lessThan", "2031-05-06T09:00:00Z", true},
      {"timestamp", Value::Text("2031-05-06T10:00:00Z"), "greaterThan", "2031-05", true},
      {"timestamp", Value::Text(""), "greaterThan", "2031-05-06T09:00:00Z", false},

      {"integer", Value::Int(6), "in", "[5, 6]", true},
      {"integer", Value::Int(6), "in", "5,6.0", true},
      {"integer", Value::Int(6), "notIn", "[5, 6]", false},
      {"integer", Value::Int(7), "notIn", "5,6", true},
      {"string", Value::Text("b"), "in", "[a, b ,c]", true},
      {"string", Value::Text("b"), "in", "b", true},
      {"string", Value::Text("a, b"), "in", R"(["a, b","c"])", true},
      {"string", Value::Text("c"), "in", R"( ["a, b","c"])", true},
      {"string", Value::Text(""), "in", "a,,b", true},
      {"string", Value::Text(""), "in", R"([""])", true},
      {"string", Value::Text("d"), "notIn", "[a,b]", true},
      {"boolean", Value::Bool(true), "in", "[true]", true},

      {"integer", Value::Int(6), "matches", "^6$", true},
      {"string", Value::Text("abc"), "matches", "b", true},
      {"string", Value::Text("abc"), "matches", "^b", false},
      {"string", Value::Text("grün"), "matches", "^gr.n$", true},
      {"boolean", Value::Bool(true), "matches", "t.*e", true},

      {"string", Value::Null(), "equals", "", false},
      {"string", Value::Null(), "notEquals", "x", false},
      {"string", Value::Null(), "notIn", "x", false},
      {"string", Value::Null(), "contains", "", false},
      {"string", Value::Null(), "matches", "", false},
      {"integer", Value::Null(), "lessThan", "1", false},

      {"any", Value::Text("4"), "equals", "4", true},
      {"any", Value::Int(4), "equals", "4", true},
      {"any", Value::Bool(true), "equals", "4", false},
      {"any", Value::Bool(true), "greaterThan", "0", false},
      {"any", Value::Int(10), "greaterThan", "9", true},
      {"any", Value::Text("10"), "greaterThan", "9", true},
  }));
  std::string shown;
  AppendText(shown, c.value);
  CAPTURE(c.type, shown, c.op, c.text);
  Diagnostics diagnostics;
  const auto filter = Compile(c.type, c.op, c.text, diagnostics);
  REQUIRE(filter.has_value());
  CHECK(diagnostics.items().empty());
  std::string scratch = "from before";
  CHECK(filter->Matches(c.value, scratch) == c.passes);
  const Filter copy = *filter;
  CHECK(copy.Matches(c.value, scratch) == c.passes);
}

TEST_CASE("filters that could never pass are refused") {
  struct Case {
    std::string type, op, text, part, says;
  };
  const auto c = GENERATE(values<Case>({
      {"integer", "equals", "four", "value", "\"four\" is no number"},
      {"float", "greaterThan", "abc", "value", "\"abc\" is no number"},
      {"float", "equals", "NaN", "value", "is no number"},
      {"quantity", "lessThan", "1gi", "value", "is no number"},
      {"integer", "in", "[1, x]", "value", "\"x\" is no number"},
      {"boolean", "equals", "yes", "value", "is no boolean"},
      {"boolean", "greaterThan", "0", "operator", "boolean"},
      {"string", "in", "", "value", "at least one"},
      {"string", "notIn", "[]", "value", "at least one"},
      {"string", "in", "[ ]", "value", "at least one"},
      {"string", "matches", "a(b", "value", "missing"},
      {"string", "matches", "(?=x)", "value", "regular expression"},
      {"string", "matches", "((a{100}){100}){100}", "value", "regular expression"},
      {"string", "equals", std::string(5000, 'x'), "value", "longer"},
  }));
  CAPTURE(c.type, c.op, c.text);
  Diagnostics diagnostics;
  CHECK_FALSE(Compile(c.type, c.op, c.text, diagnostics).has_value());
  REQUIRE(diagnostics.items().size() == 1);
  CHECK(diagnostics.items()[0].path == "spec.aggregations[0].filter." + c.part);
  CHECK(diagnostics.items()[0].message.find(c.says) != std::string::npos);
}

}  // namespace
}  // namespace clusterpulse::metricsource
