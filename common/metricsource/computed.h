#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/metricsource/diagnostics.h"
#include "common/metricsource/expression.h"
#include "common/metricsource/types.h"
#include "common/metricsource/value.h"

namespace clusterpulse::metricsource {

// One computed value of a source.
struct ComputedField {
  std::string name, expression;
  ResultType type = ResultType::kFloat;
  std::string path;  // for diagnostics: "spec.computed[2]"
};

// The computed values of a source, in an order in which each finds those that it uses. Immutable; may be used by
// several threads, each with its context.
class ComputedFields {
 public:
  ComputedFields() = default;  // none

  // `fields` are the columns before the computed ones. The expressions may use each other in any order; a cycle is an
  // error that names it (a -> b -> a). Also an error: a type that cannot hold what the expression gives; together more
  // steps than a row may take. What did not compile is left out, so that the rest is checked too.
  static ComputedFields Compile(std::span<const ComputedField> computed, std::span<const Column> fields,
                                Diagnostics& diagnostics);

  // Fills the row behind the fields, in declared order, each as its type; null where there is no value. Begins the row
  // in `context`. REQUIRES: row.size() is that of fields and computed values together.
  void Evaluate(std::span<Value> row, EvaluationContext& context) const;

  std::size_t size() const { return size_; }

 private:
  struct Entry {
    Expression expression;
    ResultType type;
    std::size_t column;
  };
  std::vector<Entry> entries_;  // in the order of evaluation
  std::size_t size_ = 0, fields_ = 0;
};

// A value as the declared type of its computed field: text in the one text form; integers truncated, at their limits
// where they are beyond; booleans of numbers unless 0, of texts "true", "false", "1", "0"; null stays null. What the
// type cannot hold (a text as a number) gives null and counts as a type error.
Value ConvertResult(Value value, ResultType type, EvaluationContext& context);

}  // namespace clusterpulse::metricsource
