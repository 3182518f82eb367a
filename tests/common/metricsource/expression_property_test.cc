// Random expressions over random rows: whatever they are, what is promised of their values holds.
#include <array>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "common/base/random.h"
#include "common/base/utf8.h"
#include "common/metricsource/expression.h"
#include "common/metricsource/functions.h"
#include "tests/common/metricsource/expression_rig.h"

namespace clusterpulse::metricsource {
namespace {

struct Literal {
  Value value;
  const char* text;  // how it is written; a column's value in its place
};

const std::array<Literal, 22> kLiterals = {{
    {Value::Null(), "null"},
    {Value::Bool(true), "true"},
    {Value::Bool(false), "false"},
    {Value::Int(0), "0"},
    {Value::Int(1), "1"},
    {Value::Int(7), "7"},
    {Value::Int(-3), "(-3)"},
    {Value::Int(9007199254740993), "9007199254740993"},
    {Value::Int(9223372036854775807), "9223372036854775807"},
    {Value::Int(-9223372036854775807), "(-9223372036854775807)"},
    {Value::Double(0), "0.0"},
    {Value::Double(0.5), "0.5"},
    {Value::Double(-2.25), "(-2.25)"},
    {Value::Double(9007199254740992.0), "9007199254740992.0"},
    {Value::Double(1e30), "1000000000000000000000000000000.0"},
    {Value::Text(""), "''"},
    {Value::Text("true"), "'true'"},
    {Value::Text("42"), "'42'"},
    {Value::Text("Pod-ü-😀"), "'Pod-ü-😀'"},
    {Value::Text("2031-02-03T04:05:06Z"), "'2031-02-03T04:05:06Z'"},
    {Value::Text("a\n\"b\""), R"("a\n\"b\"")"},
    {Value::Text("pod"), "'pod'"},
}};

const std::array<Column, 6> kColumns = {{{"any", kAnyKind, false},
                                         {"some", kAnyKind, false},
                                         {"count", Kind::kInt, false},
                                         {"share", Kind::kDouble, false},
                                         {"state", Kind::kText, false},
                                         {"is_up", Kind::kBool, false}}};

class Generator {
 public:
  explicit Generator(std::uint64_t seed) : random_(seed) {}

  std::size_t Below(std::size_t count) { return static_cast<std::size_t>(random_.Next() % count); }

  // A row, and how each of its values is written.
  void MakeRow(std::vector<Value>& row, std::vector<std::string>& written) {
    row.clear();
    written.clear();
    for (const Column& column : kColumns) {
      const Literal* literal = nullptr;
      do {
        literal = &kLiterals[Below(kLiterals.size())];
      } while (!literal->value.IsNull() && !column.kinds.Has(literal->value.kind()));
      row.push_back(literal->value);
      written.push_back(literal->text);
    }
  }

  // An expression with "@n" for the n-th column.
  std::string Expression(int depth) {
    if (depth == 0 || Below(8) == 0) {
      if (Below(3) > 0) return "@" + std::to_string(Below(kColumns.size()));
      return kLiterals[Below(kLiterals.size())].text;
    }
    switch (Below(10)) {
      case 0:
        return (Below(2) == 0 ? "!" : "-") + Operand(depth - 1);
      case 1:
      case 2:
      case 3:
        return Call(depth);
      default: {
        static constexpr std::array<const char*, 14> kOperators = {
            "+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "??"};
        // Precedence decides now and then.
        const bool is_flat = Below(4) == 0;
        const std::string op = std::string(" ") + kOperators[Below(kOperators.size())] + " ";
        return is_flat ? Expression(depth - 1) + op + Expression(depth - 1)
                       : Operand(depth - 1) + op + Operand(depth - 1);
      }
    }
  }

 private:
  std::string Operand(int depth) { return "(" + Expression(depth) + ")"; }
  std::string Call(int depth) {
    const FunctionInfo& function = Functions()[Below(Functions().size())];
    const std::size_t most = function.most == kAnyNumber ? 10 : function.most;
    const std::size_t count = function.least + Below(most - function.least + 1);
    std::string out = std::string(function.name) + "(";
    for (std::size_t i = 0; i < count; ++i) out += (i > 0 ? ", " : "") + Expression(depth - 1);
    return out + ")";
  }

  base::SeededRandom random_;
};

std::string Fill(const std::string& pattern, const std::vector<std::string>& names) {
  std::string out;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '@') {
      out += pattern[i];
    } else {
      out += names[static_cast<std::size_t>(pattern[++i] - '0')];
    }
  }
  return out;
}

std::vector<std::string> Names() {
  std::vector<std::string> names;
  for (const Column& column : kColumns) names.push_back(column.name);
  return names;
}

TEST_CASE("values of random expressions are what was said, finite, UTF-8 and always the same") {
  Generator generator(4711);
  TextArena arena;
  EvaluationContext context(arena, base::SystemTime(std::chrono::seconds(1927944306)));
  std::vector<Value> row;
  std::vector<std::string> written;
  const std::vector<std::string> names = Names();
  int compiled = 0, with_value = 0, constant = 0;
  for (int i = 0; i < 20'000; ++i) {
    const std::string pattern = generator.Expression(static_cast<int>(1 + generator.Below(5)));
    const std::string text = Fill(pattern, names);
    CAPTURE(text);
    Diagnostics diagnostics;
    const auto expression = Expression::Compile(text, kColumns, "", diagnostics);
    REQUIRE(expression.has_value() != diagnostics.has_errors());
    if (!expression) continue;
    ++compiled;
    for (int k = 0; k < 4; ++k) {
      generator.MakeRow(row, written);
      arena.Reset();
      context.BeginRow();
      const std::uint64_t spent = context.budget_errors();
      const Value value = expression->Evaluate(row, context);
      const std::string shown = Show(value);
      CAPTURE(written, shown);
      if (!value.IsNull()) {
        ++with_value;
        REQUIRE(expression->kinds().Has(value.kind()));
      }
      if (value.kind() == Kind::kDouble) REQUIRE(std::isfinite(value.AsDouble()));
      if (value.IsText()) REQUIRE(base::IsUtf8(value.AsText()));
      context.BeginRow();
      REQUIRE(Show(expression->Evaluate(row, context)) == shown);
      if (context.budget_errors() != spent) continue;

      // The same with the row's values written in the place of its names: what is then known at compile time is what
      // was evaluated before.
      const auto known = Expression::Compile(Fill(pattern, written), kColumns, "", diagnostics);
      if (!known) continue;
      ++constant;
      context.BeginRow();
      REQUIRE(Show(known->Evaluate(row, context)) == shown);
    }
  }
  // The generator is worth something only while most of its expressions are.
  CHECK(compiled > 5'000);
  CHECK(with_value > 10'000);
  CHECK(constant > 10'000);
}

TEST_CASE("coalesce is the first of its arguments that has a value") {
  Generator generator(815);
  TextArena arena;
  EvaluationContext context(arena, base::SystemTime(std::chrono::seconds(1927944306)));
  std::vector<Value> row;
  std::vector<std::string> written;
  const std::vector<std::string> names = Names();
  int compiled = 0;
  for (int i = 0; i < 5'000; ++i) {
    const std::size_t count = 2 + generator.Below(5);
    std::string call, chain;
    for (std::size_t k = 0; k < count; ++k) {
      const std::string argument = Fill(generator.Expression(static_cast<int>(generator.Below(3))), names);
      call += (k == 0 ? "" : ", ") + argument;
      chain += (k == 0 ? "(" : " ?? (") + argument + ")";
    }
    CAPTURE(call);
    Diagnostics diagnostics;
    const auto one = Expression::Compile("coalesce(" + call + ")", kColumns, "", diagnostics);
    const auto other = Expression::Compile(chain, kColumns, "", diagnostics);
    if (!one || !other) continue;
    ++compiled;
    for (int k = 0; k < 4; ++k) {
      generator.MakeRow(row, written);
      arena.Reset();
      context.BeginRow();
      const std::string shown = Show(one->Evaluate(row, context));
      context.BeginRow();
      REQUIRE(shown == Show(other->Evaluate(row, context)));
    }
  }
  CHECK(compiled > 1'000);
}

TEST_CASE("random bytes and tokens compile or are refused with a reason") {
  static constexpr std::array<const char*, 34> kTokens = {
      "(", ")",  ",", "+",  "-", "*", "/",   "%",     "==",  "=", "!=", "!",  "<",   "<=",    ">",     ">=",   "&&",
      "&", "||", "|", "??", "?", "1", "2.5", "1.2.3", "'x'", "'", "\"", "\\", "any", "count", "round", "null", "ü"};
  Generator generator(99);
  for (int i = 0; i < 50'000; ++i) {
    std::string text;
    const std::size_t count = generator.Below(12);
    for (std::size_t k = 0; k < count; ++k) {
      if (generator.Below(20) == 0) {
        text += static_cast<char>(generator.Below(256));
      } else {
        text += kTokens[generator.Below(kTokens.size())];
      }
      if (generator.Below(2) == 0) text += ' ';
    }
    CAPTURE(text);
    Diagnostics diagnostics;
    const auto expression = Expression::Compile(text, kColumns, "at", diagnostics);
    REQUIRE(expression.has_value() != diagnostics.has_errors());
    for (const Diagnostic& item : diagnostics.items()) REQUIRE(item.column >= 1);
    for (const Diagnostic& item : diagnostics.items()) REQUIRE(base::IsUtf8(item.ToString()));
  }
}

}  // namespace
}  // namespace clusterpulse::metricsource
