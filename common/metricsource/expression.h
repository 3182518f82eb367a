#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/clock.h"
#include "common/metricsource/diagnostics.h"
#include "common/metricsource/types.h"
#include "common/metricsource/value.h"

namespace clusterpulse::metricsource {

struct Program;

// What expressions share while the rows of one run are evaluated: the arena for text, the time, the budget of a row,
// and what went wrong. Grows to what the rows need, then allocates no more. Confined to one thread.
class EvaluationContext {
 public:
  // What one row may cost over all its expressions: a step is an instruction, or a KiB of text that is read or written
  // (metricsource-decisions.md 20; the bound of the text itself is the arena's).
  static constexpr std::int64_t kMaxSteps = 10'000;

  // `arena` is borrowed; who owns it resets it between rows. `now` is the time for every row of the run.
  EvaluationContext(TextArena& arena, base::SystemTime now);

  // Before the first expression of each row.
  void BeginRow() { steps_left_ = kMaxSteps; }

  TextArena& arena() { return arena_; }
  base::SystemTime now() const { return now_; }
  std::string_view now_text() const { return {now_text_.data(), now_text_.size()}; }

  // Operations that had no value because of the kind or the text of an operand (a text that is no number), and
  // expressions that were given up because the row's budget was spent. Either gave null. Since construction.
  std::uint64_t type_errors() const { return type_errors_; }
  std::uint64_t budget_errors() const { return budget_errors_; }

  // For the engine: count what is said above and give null.
  Value TypeError() {
    ++type_errors_;
    return Value::Null();
  }
  Value BudgetError() {
    ++budget_errors_;
    return Value::Null();
  }
  // For the engine: false when the row's steps are spent.
  bool Charge(std::int64_t steps) { return (steps_left_ -= steps) >= 0; }
  Value* Registers(std::size_t count) {
    if (registers_.size() < count) registers_.resize(count);
    return registers_.data();
  }

 private:
  TextArena& arena_;
  const base::SystemTime now_;
  std::array<char, 20> now_text_;
  std::int64_t steps_left_ = kMaxSteps;
  std::uint64_t type_errors_ = 0, budget_errors_ = 0;
  std::vector<Value> registers_;
};

// One compiled expression of the language of MetricSources (spec/metricsource.md 5, metricsource-decisions.md 3-10,
// 20):
//
//   null       passes through arithmetic, ordering and functions. == and != compare it and are never null; ?? and
//              coalesce replace it, concat leaves it out; for && || ! it is unknown (null && false is false)
//   numbers    + - * % are exact on 64-bit integers and stop at their limits; / gives a double; / 0 and % 0 give null;
//              true and false are 1 and 0; integers equal doubles, and are ordered with them, by exact value
//   text       is never a number without toNumber; + concatenates where a side is text; < orders by code points
//   conditions numbers are true unless 0, texts by "true", "false", "1", "0"
//   no value   null, and counted in the context; a compile error where none is possible
//
// Immutable; cheap to copy; may be evaluated by several threads, each with its context.
class Expression {
 public:
  // `columns`: what names can be used, in the order of the row. Every problem goes to `diagnostics` under `path`, with
  // its column; nullopt: one of them was an error. `columns` is not kept.
  static std::optional<Expression> Compile(std::string_view text, std::span<const Column> columns,
                                           std::string_view path, Diagnostics& diagnostics);
  // The names that an expression uses, each once, as they come; empty when it does not parse.
  static std::vector<std::string> References(std::string_view text);

  // What the value can be when it is not null and the row holds what its columns say.
  KindSet kinds() const { return kinds_; }
  // What an evaluation takes of the row's budget, without what long texts add.
  std::int64_t steps() const;

  // Text in the result lives in the arena, the row or the expression. Never infinite or NaN. No allocation once the
  // context has seen such a row. REQUIRES: a value for each of the columns.
  Value Evaluate(std::span<const Value> row, EvaluationContext& context) const;

 private:
  Expression() = default;

  std::shared_ptr<const Program> program_;
  KindSet kinds_;
};

}  // namespace clusterpulse::metricsource
