#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/clock.h"
#include "common/metricsource/diagnostics.h"
#include "common/metricsource/types.h"
#include "common/metricsource/value.h"

namespace re2 {
class RE2;
}

namespace clusterpulse::metricsource {

// One condition on a value (spec 6.1, metricsource-decisions.md 13), compiled for the column it looks at. A null passes
// no filter, not even a negated one. Immutable, cheap to copy, safe for any number of threads.
//
//   equals, notEquals, in, notIn    by value: numbers exactly across integer and double, texts by their bytes
//   contains, startsWith, endsWith  on the one text form
//   matches                         RE2, anywhere in the text form
//   greaterThan, lessThan           numbers by value; texts as numbers when both sides are, as times when both are and
//                                   the column holds timestamps, else by their bytes
class Filter {
 public:
  static constexpr std::size_t kMaxValueBytes = 4096;

  // `value` is parsed as the column's kinds: a number (also as a quantity, "1Gi"), a boolean (metricsource-decisions.md
  // 7), a text; for `in` and `notIn` a list, "[a, b]" or "a,b" or a JSON list of texts. Errors go to `path`.value or
  // `path`.operator; nullopt when there was one.
  static std::optional<Filter> Compile(const Column& column, FilterOperator op, std::string_view value,
                                       std::string_view path, Diagnostics& diagnostics);

  FilterOperator op() const { return op_; }
  // `scratch` is for the text form of what is no text.
  bool Matches(Value value, std::string& scratch) const;

 private:
  // What the filter compares with, as far as it is such a thing.
  struct Operand {
    std::string text;
    Value number;  // or null
    std::optional<bool> boolean;
  };

  Filter() = default;
  static Operand ReadOperand(std::string text, KindSet kinds);
  bool Equals(Value value, const Operand& operand) const;
  bool IsIn(Value value) const;
  bool Compare(Value value, bool greater) const;

  FilterOperator op_ = FilterOperator::kEquals;
  Operand operand_;
  std::optional<base::SystemTime> time_;
  std::vector<Operand> list_;  // sorted by text
  std::shared_ptr<const re2::RE2> pattern_;
};

}  // namespace clusterpulse::metricsource
