#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/metricsource/diagnostics.h"
#include "common/metricsource/filter.h"
#include "common/metricsource/table.h"
#include "common/metricsource/types.h"
#include "common/metricsource/value.h"

namespace clusterpulse::metricsource {

struct AggregationSpec;

// One aggregation of a source, compiled: columns are known by their number. (spec 6, metricsource-decisions.md 14-16)
struct Aggregation {
  struct Condition {
    std::uint32_t column = 0;
    Filter filter;
  };

  // Checks everything against the columns there are and reports each problem under `path`; nullopt when there was an
  // error. (In aggregation.cc.)
  static std::optional<Aggregation> Compile(const AggregationSpec& spec, std::span<const Column> columns,
                                            std::string_view path, Diagnostics& diagnostics);

  std::string name;
  AggregationFunction function = AggregationFunction::kCount;
  std::optional<std::uint32_t> column;  // of all functions but count
  std::optional<Condition> condition;
  std::optional<std::uint32_t> group_by;
  int percentile = 0;  // 0..100
};

// What an aggregation gives: a number or null, or one of them for each group that has a row.
//
//   count       rows                                     0 of nothing
//   sum         of the numbers                           0
//   avg         mean of the numbers                      null
//   min, max    of the numbers                           null
//   percentile  linear between the closest ranks         null
//   distinct    different values that are not null       0
//
// Other than `distinct`, what is no number is skipped. Integers stay integers in sum, min, max and where a percentile
// is one of the values, exact in 64 bits (a larger sum is a double); doubles are added with a running correction, so
// that neither the order of rows nor splitting them changes more than the last digit. 1 and 1.0 are one value and one
// group.
struct AggregationResult {
  Value value;  // never text
  bool is_grouped = false;
  // By the text form of the value, sorted; "_unknown_" has those where it is null.
  std::vector<std::pair<std::string, Value>> groups;
};

inline constexpr std::string_view kUnknownGroup = "_unknown_";

// All aggregations over the rows of the table, or over those of `rows` (numbers of rows of the table, each once).
// Result i is that of aggregation i. Costs a pass over a column for each, and selection, not sorting, for percentiles.
// REQUIRES: columns are those of the table.
std::vector<AggregationResult> Aggregate(const Table& table, std::span<const Aggregation> aggregations,
                                         std::optional<std::span<const std::uint32_t>> rows = std::nullopt);

// {"total":3,"by_state":{"down":1,"up":2}}: what they gave, by name. REQUIRES: as many results as aggregations.
void AppendResults(std::span<const Aggregation> aggregations, std::span<const AggregationResult> results,
                   std::string& out);

}  // namespace clusterpulse::metricsource
