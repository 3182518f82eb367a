#include "common/metricsource/computed.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "common/metricsource/convert.h"
#include "common/metricsource/lexer.h"

namespace clusterpulse::metricsource {
namespace {

// Which computed values each uses, by index.
class Order {
 public:
  explicit Order(std::span<const ComputedField> computed) : uses_(computed.size()), state_(computed.size()) {
    std::map<std::string_view, std::size_t> by_name;
    for (std::size_t i = 0; i < computed.size(); ++i) by_name.emplace(computed[i].name, i);
    for (std::size_t i = 0; i < computed.size(); ++i) {
      for (const std::string& name : Expression::References(computed[i].expression)) {
        const auto used = by_name.find(name);
        if (used != by_name.end()) uses_[i].push_back(used->second);
      }
    }
  }

  // All, each behind what it uses; of a cycle one use is not looked at.
  std::vector<std::size_t> Sorted() {
    for (std::size_t i = 0; i < uses_.size(); ++i) Visit(i);
    return std::move(sorted_);
  }
  // Each cycle that was met, from a member back to it.
  const std::vector<std::vector<std::size_t>>& cycles() const { return cycles_; }

 private:
  enum class State : std::uint8_t { kNew, kOpen, kDone };

  // Depth first without recursion: a source may chain as many as it has.
  void Visit(std::size_t start) {
    if (state_[start] != State::kNew) return;
    struct Step {
      std::size_t at, next = 0;
    };
    std::vector<Step> path = {{start}};
    state_[start] = State::kOpen;
    while (!path.empty()) {
      Step& step = path.back();
      if (step.next == uses_[step.at].size()) {
        state_[step.at] = State::kDone;
        sorted_.push_back(step.at);
        path.pop_back();
        continue;
      }
      const std::size_t used = uses_[step.at][step.next++];
      if (state_[used] == State::kOpen) {
        if (cycles_.size() == kMostCycles) continue;
        auto from = std::find_if(path.begin(), path.end(), [&](const Step& s) { return s.at == used; });
        std::vector<std::size_t>& cycle = cycles_.emplace_back();
        for (; from != path.end() && cycle.size() < kLongestCycle; ++from) cycle.push_back(from->at);
        cycle.push_back(used);
      } else if (state_[used] == State::kNew) {
        state_[used] = State::kOpen;
        path.push_back({used});
      }
    }
  }

  // What is told of them: a spec of nothing else has more than anybody reads.
  static constexpr std::size_t kMostCycles = 20, kLongestCycle = 20;

  std::vector<std::vector<std::size_t>> uses_;
  std::vector<State> state_;
  std::vector<std::size_t> sorted_;
  std::vector<std::vector<std::size_t>> cycles_;
};

bool CanHold(ResultType type, KindSet kinds) {
  if (kinds.IsEmpty()) return true;  // always null; the expression has a warning
  switch (type) {
    case ResultType::kInteger:
    case ResultType::kFloat:
      return kinds.HasAny(kNumbers | KindSet(Kind::kBool));
    case ResultType::kString:
    case ResultType::kBoolean:
      return true;
  }
  return true;
}

Value AsText(Value value, EvaluationContext& context) {
  if (value.IsText()) return value;
  if (value.kind() == Kind::kBool) return Value::Text(value.AsBool() ? "true" : "false");
  char* const text = context.arena().Allocate(kMaxNumberText);
  if (text == nullptr) return context.BudgetError();
  const std::size_t size = WriteNumber(text, value);
  context.arena().GiveBack(kMaxNumberText - size);
  return Value::Text({text, size});
}

Value AsBool(Value value, EvaluationContext& context) {
  if (value.kind() == Kind::kBool) return value;
  if (value.IsNumber()) return Value::Bool(value.Number() != 0);
  bool is = false;
  return ParseBoolean(value.AsText(), is) ? Value::Bool(is) : context.TypeError();
}

}  // namespace

Value ConvertResult(Value value, ResultType type, EvaluationContext& context) {
  if (value.IsNull()) return value;
  switch (type) {
    case ResultType::kString:
      return AsText(value, context);
    case ResultType::kBoolean:
      return AsBool(value, context);
    case ResultType::kInteger:
      if (value.IsText()) return context.TypeError();
      return Value::Int(value.kind() == Kind::kBool ? std::int64_t{value.AsBool()} : TruncateToInt(value));
    case ResultType::kFloat:
      if (value.IsText()) return context.TypeError();
      return Value::Double(value.kind() == Kind::kBool ? (value.AsBool() ? 1 : 0) : value.Number());
  }
  return Value::Null();
}

ComputedFields ComputedFields::Compile(std::span<const ComputedField> computed, std::span<const Column> fields,
                                       Diagnostics& diagnostics) {
  ComputedFields out;
  out.size_ = computed.size();
  out.fields_ = fields.size();
  std::vector<Column> columns(fields.begin(), fields.end());
  for (const ComputedField& field : computed) columns.push_back({field.name, KindsOf(field.type), false});

  Order order(computed);
  const std::vector<std::size_t> sorted = order.Sorted();
  // Diagnostics come in declared order, whatever the order of evaluation.
  std::vector<std::optional<Expression>> expressions;
  std::int64_t steps = 0;
  for (const ComputedField& field : computed) {
    const std::string path = field.path + ".expression";
    expressions.push_back(Expression::Compile(field.expression, columns, path, diagnostics));
    const std::optional<Expression>& expression = expressions.back();
    if (expression && !CanHold(field.type, expression->kinds())) {
      diagnostics.Error(
          field.path + ".type",
          fmt::format("type \"{}\" cannot hold what the expression gives, which is text", Name(field.type)),
          std::string(Name(ResultType::kString)));
    }
    const std::int64_t before = steps;
    steps += expression ? expression->steps() : 0;
    if (before <= EvaluationContext::kMaxSteps && steps > EvaluationContext::kMaxSteps) {
      diagnostics.Error(path, fmt::format("from here on the computed values take more than the {} steps a row may take",
                                          EvaluationContext::kMaxSteps));
    }
  }
  for (const std::vector<std::size_t>& cycle : order.cycles()) {
    constexpr std::size_t kMostNames = 10;
    std::string text;
    for (std::size_t i = 0; i < cycle.size(); ++i) {
      // Of a long one the beginning, and the way back.
      if (cycle.size() > kMostNames && i == kMostNames - 1 && i + 1 < cycle.size()) {
        text += " -> ...";
        i = cycle.size() - 1;
      }
      text += fmt::format("{}{}", i > 0 ? " -> " : "", Shortened(computed[cycle[i]].name));
    }
    diagnostics.Error(computed[cycle[0]].path + ".expression",
                      fmt::format("computed values use each other in a circle: {}", text));
  }
  for (const std::size_t i : sorted) {
    if (expressions[i]) out.entries_.push_back({*std::move(expressions[i]), computed[i].type, fields.size() + i});
  }
  return out;
}

void ComputedFields::Evaluate(std::span<Value> row, EvaluationContext& context) const {
  context.BeginRow();
  std::fill(row.begin() + static_cast<std::ptrdiff_t>(fields_), row.end(), Value::Null());
  for (const Entry& entry : entries_) {
    row[entry.column] = ConvertResult(entry.expression.Evaluate(row, context), entry.type, context);
  }
}

}  // namespace clusterpulse::metricsource
