#include "common/metricsource/types.h"

#include <array>
#include <cstddef>

namespace clusterpulse::metricsource {
namespace {

// In the order of the enums.
constexpr std::array<std::string_view, 7> kFieldTypes = {"string",   "integer",   "float",      "boolean",
                                                         "quantity", "timestamp", "arrayLength"};
constexpr std::array<std::string_view, 4> kResultTypes = {"string", "integer", "float", "boolean"};
constexpr std::array<std::string_view, 7> kFunctions = {"count", "sum", "avg", "min", "max", "percentile", "distinct"};
constexpr std::array<std::string_view, 10> kOperators = {
    "equals", "notEquals", "contains", "startsWith", "endsWith", "greaterThan", "lessThan", "in", "notIn", "matches"};

template <typename Enum, std::size_t N>
std::optional<Enum> Find(const std::array<std::string_view, N>& names, std::string_view word) {
  for (std::size_t i = 0; i < N; ++i) {
    if (names[i] == word) return static_cast<Enum>(i);
  }
  return std::nullopt;
}

}  // namespace

std::optional<FieldType> ParseFieldType(std::string_view word) { return Find<FieldType>(kFieldTypes, word); }
std::optional<ResultType> ParseResultType(std::string_view word) { return Find<ResultType>(kResultTypes, word); }
std::optional<AggregationFunction> ParseAggregationFunction(std::string_view word) {
  return Find<AggregationFunction>(kFunctions, word);
}
std::optional<FilterOperator> ParseFilterOperator(std::string_view word) {
  return Find<FilterOperator>(kOperators, word);
}

std::string_view Name(FieldType type) { return kFieldTypes[static_cast<std::size_t>(type)]; }
std::string_view Name(ResultType type) { return kResultTypes[static_cast<std::size_t>(type)]; }
std::string_view Name(AggregationFunction function) { return kFunctions[static_cast<std::size_t>(function)]; }
std::string_view Name(FilterOperator op) { return kOperators[static_cast<std::size_t>(op)]; }

std::span<const std::string_view> FieldTypeNames() { return kFieldTypes; }
std::span<const std::string_view> ResultTypeNames() { return kResultTypes; }
std::span<const std::string_view> AggregationFunctionNames() { return kFunctions; }
std::span<const std::string_view> FilterOperatorNames() { return kOperators; }

KindSet KindsOf(FieldType type) {
  switch (type) {
    case FieldType::kString:
    case FieldType::kTimestamp:
      return Kind::kText;
    case FieldType::kInteger:
    case FieldType::kArrayLength:
      return Kind::kInt;
    case FieldType::kFloat:
      return Kind::kDouble;
    case FieldType::kBoolean:
      return Kind::kBool;
    case FieldType::kQuantity:
      return kNumbers;
  }
  return {};
}

KindSet KindsOf(ResultType type) {
  switch (type) {
    case ResultType::kString:
      return Kind::kText;
    case ResultType::kInteger:
      return Kind::kInt;
    case ResultType::kFloat:
      return Kind::kDouble;
    case ResultType::kBoolean:
      return Kind::kBool;
  }
  return {};
}

}  // namespace clusterpulse::metricsource
