#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "common/metricsource/checker.h"
#include "common/metricsource/expression.h"
#include "common/metricsource/parser.h"
#include "common/metricsource/value.h"

namespace clusterpulse::metricsource {

// An expression as it is evaluated: instructions that read their operands where they are (the row, the constants, the
// registers) and write to a register. Jumps go forwards only, so a program ends after at most its size.
enum class Op : std::uint8_t {
  kMove,
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kRemainder,
  kNegate,
  kLess,
  kLessEqual,
  kEqual,
  kNotEqual,
  kAnd,
  kOr,
  kNot,
  kElse,
  // Go on at `c` with the result known; otherwise with the left side in `to`.
  kSkipIfFalse,
  kSkipIfTrue,
  kSkipUnlessNull,
  // Of a list of operands: from lists[a], b of them.
  kJoin,    // null when one is null
  kConcat,  // without those that are null
  kLower,
  kUpper,
  kLen,
  kSubstr,
  kRound,
  kFloor,
  kCeil,
  kAbs,
  kMin,
  kMax,
  kNow,
  kAge,
  kFormatBytes,
  kContains,
  kStartsWith,
  kEndsWith,
  kToString,
  kToNumber,
};

// Where a value stands: the place in the upper two bits, the index there below.
using Operand = std::uint32_t;
enum class Place : std::uint32_t { kRow = 0, kConstant = 1, kRegister = 2 };
inline constexpr int kPlaceShift = 30;
inline constexpr Operand kIndexMask = (Operand{1} << kPlaceShift) - 1;
constexpr Operand MakeOperand(Place place, std::size_t index) {
  return static_cast<Operand>(place) << kPlaceShift | static_cast<Operand>(index);
}
constexpr Place PlaceOf(Operand operand) { return static_cast<Place>(operand >> kPlaceShift); }
constexpr std::size_t IndexOf(Operand operand) { return operand & kIndexMask; }

struct Instruction {
  Op op = Op::kMove;
  std::uint32_t to = 0;  // a register
  Operand a = 0, b = 0, c = 0;
};

struct Program {
  std::vector<Instruction> code;
  std::vector<Operand> lists;
  std::vector<Value> constants;
  std::deque<std::string> texts;  // of the constants
  std::size_t registers = 0;
  Operand result = 0;

  Program() = default;
  Program(const Program&) = delete;  // constants point into texts
  Program& operator=(const Program&) = delete;

  Value Run(const Value* row, EvaluationContext& context) const;
};

// Fills an empty program. What is constant is evaluated here, except for what depends on the time or has no value.
// REQUIRES: a tree without errors.
void Generate(const Tree& tree, const std::vector<Checked>& checked, Program& program);

}  // namespace clusterpulse::metricsource
