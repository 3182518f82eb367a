#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "common/metricsource/value.h"

namespace clusterpulse::metricsource {

// The words of a MetricSource that name one of a few things. Parsing is exact (case matters); the lists of all names
// are for suggestions and schemas.

enum class FieldType : std::uint8_t { kString, kInteger, kFloat, kBoolean, kQuantity, kTimestamp, kArrayLength };
enum class ResultType : std::uint8_t { kString, kInteger, kFloat, kBoolean };
enum class AggregationFunction : std::uint8_t { kCount, kSum, kAvg, kMin, kMax, kPercentile, kDistinct };
enum class FilterOperator : std::uint8_t {
  kEquals,
  kNotEquals,
  kContains,
  kStartsWith,
  kEndsWith,
  kGreaterThan,
  kLessThan,
  kIn,
  kNotIn,
  kMatches
};

std::optional<FieldType> ParseFieldType(std::string_view word);
std::optional<ResultType> ParseResultType(std::string_view word);
std::optional<AggregationFunction> ParseAggregationFunction(std::string_view word);
std::optional<FilterOperator> ParseFilterOperator(std::string_view word);

std::string_view Name(FieldType type);
std::string_view Name(ResultType type);
std::string_view Name(AggregationFunction function);
std::string_view Name(FilterOperator op);

std::span<const std::string_view> FieldTypeNames();
std::span<const std::string_view> ResultTypeNames();
std::span<const std::string_view> AggregationFunctionNames();
std::span<const std::string_view> FilterOperatorNames();

// What a field or a computed value of that type can be. A quantity is an integer where it is integral.
KindSet KindsOf(FieldType type);
KindSet KindsOf(ResultType type);

// One column of a source's rows: a field or a computed value.
struct Column {
  std::string name;
  KindSet kinds;
  bool is_timestamp = false;  // text that is an RFC 3339 time, or empty
};

}  // namespace clusterpulse::metricsource
