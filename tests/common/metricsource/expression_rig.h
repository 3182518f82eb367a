#pragma once

#include <chrono>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/metricsource/expression.h"

namespace clusterpulse::metricsource {

// A value so that tests can compare it with what is written there: 3 is an integer, 3.0 a double, 'x' a text.
inline std::string Show(Value value) {
  if (value.IsNull()) return "null";
  std::string text;
  AppendText(text, value);
  if (value.IsText()) return "'" + text + "'";
  const bool looks_whole = text.find_first_of(".e") == std::string::npos;
  if (value.kind() == Kind::kDouble && looks_whole) text += ".0";
  return text;
}

// One row to try expressions on.
class ExpressionRig {
 public:
  ExpressionRig& Set(std::string name, KindSet kinds, Value value) {
    columns_.push_back({std::move(name), kinds, false});
    row_.push_back(value);
    return *this;
  }
  void Change(std::size_t column, Value value) { row_[column] = value; }

  // The value; or, where it does not compile, its first error without the path: "5: unknown ...".
  std::string Try(std::string_view text) {
    diagnostics_ = {};
    const auto expression = Expression::Compile(text, columns_, "", diagnostics_);
    if (!expression) {
      for (const Diagnostic& item : diagnostics_.items()) {
        if (item.severity == Diagnostic::Severity::kError) return item.ToString().substr(1);  // ":5: ..."
      }
      return "refused without an error";
    }
    kinds_ = expression->kinds();
    arena_.Reset();
    context_.BeginRow();
    const Value value = expression->Evaluate(row_, context_);
    if (!value.IsNull() && !kinds_.Has(value.kind())) return "a kind that was not said: " + Show(value);
    return Show(value);
  }
  // Everything that was said about the last one.
  std::vector<std::string> said() const {
    std::vector<std::string> out;
    for (const Diagnostic& item : diagnostics_.items()) {
      out.push_back((item.severity == Diagnostic::Severity::kWarning ? "warning " : "") + item.ToString().substr(1));
    }
    return out;
  }
  KindSet kinds() const { return kinds_; }
  const std::vector<Column>& columns() const { return columns_; }
  std::vector<Value>& row() { return row_; }
  EvaluationContext& context() { return context_; }
  TextArena& arena() { return arena_; }

 private:
  std::vector<Column> columns_;
  std::vector<Value> row_;
  TextArena arena_;
  // 2031-02-03T04:05:06.5Z
  EvaluationContext context_{arena_, base::SystemTime(std::chrono::milliseconds(1927857906500))};
  Diagnostics diagnostics_;
  KindSet kinds_;
};

}  // namespace clusterpulse::metricsource
