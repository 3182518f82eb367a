#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "common/metricsource/value.h"

namespace clusterpulse::metricsource {

enum class Function : std::uint8_t {
  kConcat,
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
  kCoalesce,
  kNow,
  kAge,
  kFormatBytes,
  kContains,
  kStartsWith,
  kEndsWith,
  kToString,
  kToNumber,
};

// What a function takes at a place. A boolean is a number, 0 or 1, as for operators.
enum class Takes : std::uint8_t {
  kAnything,
  kNumber,
  kText,  // text alone; where everything has a text, kAnything
};

struct FunctionInfo {
  std::string_view name;
  Function function;
  std::uint8_t least, most;  // arguments; kAnyNumber: no upper bound
  Takes first, others;       // of the first argument, of those behind it
};
inline constexpr std::uint8_t kAnyNumber = 255;

// All functions of the language (spec/metricsource.md 5.6), and their names for suggestions.
std::span<const FunctionInfo> Functions();
std::span<const std::string_view> FunctionNames();
// Null: there is none of that name. Case matters.
const FunctionInfo* FindFunction(std::string_view name);

}  // namespace clusterpulse::metricsource
