// Aggregation::Compile: an aggregation as it is written, checked against the columns of its source.
#include <fmt/format.h>

#include "common/metricsource/aggregate.h"
#include "common/metricsource/lexer.h"
#include "common/metricsource/spec.h"

namespace clusterpulse::metricsource {
namespace {

// The column of that name, or an error with what was perhaps meant.
std::optional<std::uint32_t> FindColumn(std::span<const Column> columns, std::string_view name, const std::string& path,
                                        Diagnostics& diagnostics) {
  if (name.empty()) {
    diagnostics.Error(path, "is required");
    return std::nullopt;
  }
  std::vector<std::string_view> names;
  for (std::uint32_t i = 0; i < columns.size(); ++i) {
    if (columns[i].name == name) return i;
    names.push_back(columns[i].name);
  }
  // Looking through all names costs: not for what is only counted.
  const bool is_kept = diagnostics.items().size() < Diagnostics::kMax;
  diagnostics.Error(path, fmt::format("unknown field {}", Quoted(name)), is_kept ? Nearest(name, names) : "");
  return std::nullopt;
}

bool NeedsNumbers(AggregationFunction function) {
  switch (function) {
    case AggregationFunction::kSum:
    case AggregationFunction::kAvg:
    case AggregationFunction::kMin:
    case AggregationFunction::kMax:
    case AggregationFunction::kPercentile:
      return true;
    case AggregationFunction::kCount:
    case AggregationFunction::kDistinct:
      return false;
  }
  return false;
}

std::optional<Aggregation::Condition> CompileCondition(const FilterSpec& spec, std::span<const Column> columns,
                                                       const std::string& path, Diagnostics& diagnostics) {
  const auto column = FindColumn(columns, spec.field, path + ".field", diagnostics);
  const auto op = ParseFilterOperator(spec.op);
  if (!op && spec.op.empty()) {
    diagnostics.Error(path + ".operator", "is required");
  } else if (!op) {
    diagnostics.Error(path + ".operator", fmt::format("unknown operator {}", Quoted(spec.op)),
                      Nearest(spec.op, FilterOperatorNames()));
  }
  if (!column || !op) return std::nullopt;
  auto filter = Filter::Compile(columns[*column], *op, spec.value, path, diagnostics);
  if (!filter) return std::nullopt;
  return Aggregation::Condition{*column, *std::move(filter)};
}

}  // namespace

std::optional<Aggregation> Aggregation::Compile(const AggregationSpec& spec, std::span<const Column> columns,
                                                std::string_view path, Diagnostics& diagnostics) {
  const std::size_t before = diagnostics.errors();
  const std::string at(path);
  Aggregation made;
  made.name = spec.name;
  const auto function = ParseAggregationFunction(spec.function);
  if (!function && spec.function.empty()) {
    diagnostics.Error(at + ".function", "is required");
  } else if (!function) {
    diagnostics.Error(at + ".function", fmt::format("unknown function {}", Quoted(spec.function)),
                      Nearest(spec.function, AggregationFunctionNames()));
  }
  made.function = function.value_or(AggregationFunction::kCount);
  if (function == AggregationFunction::kCount) {
    if (!spec.field.empty()) {
      diagnostics.Warning(at + ".field", "has no effect: count counts rows; use a filter to leave some out");
    }
  } else if (function || !spec.field.empty()) {
    made.column = FindColumn(columns, spec.field, at + ".field", diagnostics);
    if (function && made.column && NeedsNumbers(*function) && !columns[*made.column].kinds.HasAny(kNumbers)) {
      diagnostics.Error(at + ".field",
                        fmt::format("{} needs numbers, and {} has none", Name(*function), Quoted(spec.field)));
    }
  }
  if (function == AggregationFunction::kPercentile) {
    if (!spec.percentile) {
      diagnostics.Error(at + ".percentile", "is required for the function percentile");
    } else if (*spec.percentile < 0 || *spec.percentile > 100) {
      diagnostics.Error(at + ".percentile", fmt::format("{} is not within 0..100", *spec.percentile));
    } else {
      made.percentile = static_cast<int>(*spec.percentile);
    }
  } else if (function && spec.percentile.value_or(0) != 0) {
    diagnostics.Warning(at + ".percentile", fmt::format("has no effect on the function {}", Name(*function)));
  }
  if (!spec.group_by.empty()) made.group_by = FindColumn(columns, spec.group_by, at + ".groupBy", diagnostics);
  if (spec.filter) made.condition = CompileCondition(*spec.filter, columns, at + ".filter", diagnostics);
  if (diagnostics.errors() > before) return std::nullopt;
  return made;
}

}  // namespace clusterpulse::metricsource
