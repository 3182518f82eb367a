// Any text either is refused with a reason, or gives over any row a value of the kinds that were said: finite, UTF-8 if
// the row is, the same every time. The first bytes choose the row, the rest is the expression.
#include <array>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/utf8.h"
#include "common/metricsource/expression.h"
#include "tests/fuzz/input.h"

using clusterpulse::fuzz::Input;
using clusterpulse::fuzz::Require;
namespace base = clusterpulse::base;
using namespace clusterpulse::metricsource;

namespace {

const std::array<Column, 6> kColumns = {{{"any", kAnyKind, false},
                                         {"i", Kind::kInt, false},
                                         {"f", Kind::kDouble, false},
                                         {"s", Kind::kText, false},
                                         {"b", Kind::kBool, false},
                                         {"t", Kind::kText, true}}};

const std::array<Value, 16> kValues = {
    Value::Null(),          Value::Bool(true),        Value::Bool(false),    Value::Int(0),
    Value::Int(-1),         Value::Int(INT64_MAX),    Value::Int(INT64_MIN), Value::Int(9007199254740993),
    Value::Double(0.5),     Value::Double(-1e300),    Value::Double(5e-324), Value::Double(9223372036854775808.0),
    Value::Text("Pod-ü-😀"), Value::Text("\xE2\x82z"), Value::Text("-12.5"),  Value::Text("2031-02-03T04:05:06Z"),
};

std::string Shown(Value value) {
  std::string out(1, static_cast<char>(value.kind()));
  AppendText(out, value);
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input({reinterpret_cast<const char*>(data), size});
  std::vector<Value> row;
  bool is_utf8 = true;
  for (const Column& column : kColumns) {
    const Value value = kValues[input.Byte() % kValues.size()];
    row.push_back(column.kinds.Has(value.kind()) ? value : Value::Null());
    if (row.back().IsText()) is_utf8 = is_utf8 && base::IsUtf8(row.back().AsText());
  }
  const std::string_view text = input.Bytes(size);

  Diagnostics diagnostics;
  const auto expression = Expression::Compile(text, kColumns, "at", diagnostics);
  Require(expression.has_value() != diagnostics.has_errors());
  for (const Diagnostic& item : diagnostics.items()) {
    Require(item.column >= 1 && item.column <= static_cast<int>(text.size()) + 1);
    Require(item.message.size() < 300 && base::IsUtf8(item.message) && base::IsUtf8(item.suggestion));
  }
  const std::vector<std::string> names = Expression::References(text);
  if (!expression) return 0;
  for (const std::string& name : names) Require(!name.empty());

  static TextArena arena;
  static EvaluationContext context(arena, base::SystemTime(std::chrono::seconds(1927944306)));
  arena.Reset();
  context.BeginRow();
  const Value value = expression->Evaluate(row, context);
  Require(value.IsNull() || expression->kinds().Has(value.kind()));
  if (value.kind() == Kind::kDouble) Require(std::isfinite(value.AsDouble()));
  if (value.IsText() && is_utf8) Require(base::IsUtf8(value.AsText()));
  const std::string shown = Shown(value);
  arena.Reset();
  context.BeginRow();
  Require(Shown(expression->Evaluate(row, context)) == shown);
  return 0;
}
