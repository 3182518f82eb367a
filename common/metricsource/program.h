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
// registers) and write to a register; what the last one gives is the result. Jumps go forwards only, so a program ends
// after at most its size.
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
  kRoundTo,  // to `b`th parts, a constant power of ten up to 10^22
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

// Where a value stands: the place in the lowest two bits, the index there from the fifth on (a Value has 16 bytes, so
// that what is left of an operand without its place is an offset).
using Operand = std::uint32_t;
enum class Place : std::uint32_t { kRow = 0, kConstant = 1, kRegister = 2 };
constexpr Operand MakeOperand(Place place, std::size_t index) {
  return static_cast<Operand>(index) << 4 | static_cast<Operand>(place);
}
constexpr std::uint32_t PlaceIndex(Operand operand) { return operand & 3; }
constexpr Place PlaceOf(Operand operand) { return static_cast<Place>(PlaceIndex(operand)); }
constexpr std::size_t IndexOf(Operand operand) { return operand >> 4; }

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
  std::int64_t steps = 0;  // the size of the code: no run takes more
  Operand result = 0;      // of a program without instructions

  Program() = default;
  Program(const Program&) = delete;  // constants point into texts
  Program& operator=(const Program&) = delete;

  Value Run(const Value* row, EvaluationContext& context) const;
};

// Fills an empty program. What is constant is evaluated here, except for what depends on the time or has no value.
// REQUIRES: a tree without errors.
void Generate(const Tree& tree, const std::vector<Checked>& checked, Program& program);

}  // namespace clusterpulse::metricsource
