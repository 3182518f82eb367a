#include "common/metricsource/functions.h"

#include <algorithm>
#include <array>

namespace clusterpulse::metricsource {
namespace {

using enum Takes;

constexpr std::array<FunctionInfo, 20> kFunctions = {{
    {"concat", Function::kConcat, 1, kAnyNumber, kAnything, kAnything},
    {"lower", Function::kLower, 1, 1, kAnything, kAnything},
    {"upper", Function::kUpper, 1, 1, kAnything, kAnything},
    {"len", Function::kLen, 1, 1, kAnything, kAnything},
    {"substr", Function::kSubstr, 2, 3, kAnything, kNumber},
    {"round", Function::kRound, 1, 2, kNumber, kNumber},
    {"floor", Function::kFloor, 1, 1, kNumber, kNumber},
    {"ceil", Function::kCeil, 1, 1, kNumber, kNumber},
    {"abs", Function::kAbs, 1, 1, kNumber, kNumber},
    {"min", Function::kMin, 2, 2, kNumber, kNumber},
    {"max", Function::kMax, 2, 2, kNumber, kNumber},
    {"coalesce", Function::kCoalesce, 1, kAnyNumber, kAnything, kAnything},
    {"now", Function::kNow, 0, 0, kAnything, kAnything},
    {"age", Function::kAge, 1, 1, kText, kText},
    {"formatBytes", Function::kFormatBytes, 1, 1, kNumber, kNumber},
    {"contains", Function::kContains, 2, 2, kAnything, kAnything},
    {"startsWith", Function::kStartsWith, 2, 2, kAnything, kAnything},
    {"endsWith", Function::kEndsWith, 2, 2, kAnything, kAnything},
    {"toString", Function::kToString, 1, 1, kAnything, kAnything},
    {"toNumber", Function::kToNumber, 1, 1, kAnything, kAnything},
}};

constexpr std::array<std::string_view, kFunctions.size()> MakeNames() {
  std::array<std::string_view, kFunctions.size()> names;
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = kFunctions[i].name;
  return names;
}
constexpr std::array<std::string_view, kFunctions.size()> kNames = MakeNames();

}  // namespace

std::span<const FunctionInfo> Functions() { return kFunctions; }

std::span<const std::string_view> FunctionNames() { return kNames; }

const FunctionInfo* FindFunction(std::string_view name) {
  const auto* const found =
      std::find_if(kFunctions.begin(), kFunctions.end(), [&](const FunctionInfo& f) { return f.name == name; });
  return found == kFunctions.end() ? nullptr : found;
}

}  // namespace clusterpulse::metricsource
