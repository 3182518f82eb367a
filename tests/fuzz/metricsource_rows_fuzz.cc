// Lines of "TYPE PATH [DEFAULT]", a blank line, then any bytes: the fields either are refused, or project the bytes to
// values of their types or refuse them as broken JSON. What comes out makes a row that is written, read back and
// aggregated, and says the same both times.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "common/json/cursor.h"
#include "common/json/value.h"
#include "common/metricsource/aggregate.h"
#include "common/metricsource/path.h"
#include "common/metricsource/projection.h"
#include "common/metricsource/table.h"
#include "tests/fuzz/input.h"

using namespace clusterpulse;
using namespace clusterpulse::metricsource;
using clusterpulse::fuzz::Require;

namespace {

constexpr std::size_t kMaxFields = 12;

std::string_view TakeUntil(std::string_view& rest, char end) {
  const std::size_t at = rest.find(end);
  const std::string_view taken = rest.substr(0, at);
  rest.remove_prefix(at == std::string_view::npos ? rest.size() : at + 1);
  return taken;
}

std::vector<ProjectedField> ReadFields(std::string_view& rest) {
  std::vector<ProjectedField> fields;
  while (!rest.empty()) {
    std::string_view line = TakeUntil(rest, '\n');
    if (line.empty()) break;
    const std::string_view type = TakeUntil(line, ' ');
    const std::string_view path = TakeUntil(line, ' ');
    Diagnostics diagnostics;
    auto compiled = Path::Compile(path, "p", diagnostics);
    if (!compiled || fields.size() == kMaxFields) continue;
    ProjectedField field{fmt::format("f{}", fields.size()), *std::move(compiled),
                         ParseFieldType(type).value_or(FieldType::kString), std::nullopt};
    if (!line.empty()) field.default_text = line;
    fields.push_back(std::move(field));
  }
  return fields;
}

// Everything that the first columns can be asked for.
std::string Aggregated(const Table& table) {
  std::vector<Aggregation> aggregations;
  for (std::uint32_t column = 0; column < std::min<std::size_t>(table.columns().size(), 4); ++column) {
    for (const std::string_view name : AggregationFunctionNames()) {
      Aggregation one{.name = fmt::format("{}{}", name, column),
                      .function = *ParseAggregationFunction(name),
                      .column = column,
                      .percentile = 37};
      aggregations.push_back(one);
      one.name += "g";
      one.group_by = 0;
      aggregations.push_back(one);
    }
  }
  std::string out;
  AppendResults(aggregations, Aggregate(table, aggregations), out);
  return out;
}

// Their memory is what takes the time under the sanitizers.
json::Parser parser;
TextArena arena;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  auto fields = ReadFields(rest);
  const bool is_secret = size % 2 == 1;
  std::vector<Column> columns;
  for (const ProjectedField& field : fields) columns.push_back({field.name, KindsOf(field.type)});
  Diagnostics diagnostics;
  const auto projection = Projection::Compile(std::move(fields), is_secret, "spec.fields", diagnostics);
  Require(projection.has_value() != diagnostics.has_errors());
  if (!projection) return 0;

  Projector projector(*projection);
  std::vector<Value> values(columns.size());
  RowMeta meta;
  Table table(columns);
  // Twice, so that what is left of the first reading would show.
  for (int i = 0; i < 2; ++i) {
    arena.Reset();
    const absl::Status status = parser.Parse(rest, [&](json::Cursor object) -> absl::Status {
      const absl::Status read = projector.Read(object, arena, values, meta);
      if (!read.ok()) return read;
      for (std::size_t c = 0; c < columns.size(); ++c) {
        Require(values[c].IsNull() || KindSet(values[c].kind()).IsOnly(columns[c].kinds));
      }
      table.Append(meta, values);
      return absl::OkStatus();
    });
    Require(status.ok() ? table.size() == static_cast<std::size_t>(i) + 1
                        : absl::IsDataLoss(status) && table.size() == 0);
  }
  for (const FieldCounts& counts : projector.counts()) {
    Require(counts.matched + counts.missing + counts.null + counts.failed == table.size());
  }
  if (table.size() == 0) return 0;

  std::string record, again;
  table.AppendRecord(0, record);
  table.AppendRecord(1, again);
  Require(record == again);
  Require(json::Value::Parse(record).ok());
  Table copy(columns);
  for (std::size_t row = 0; row < 2; ++row) {
    std::string json;
    table.AppendValues(row, json);
    Require(copy.AppendJson(parser, table.meta(row), json).ok());
    again.clear();
    copy.AppendRecord(row, again);
    Require(again == record);
  }
  Require(Aggregated(table) == Aggregated(copy));
  return 0;
}
