#pragma once

#include <algorithm>
#include <cctype>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/clock.h"
#include "common/base/utf8.h"
#include "common/json/cursor.h"
#include "common/json/value.h"
#include "common/metricsource/aggregate.h"
#include "common/metricsource/diagnostics.h"
#include "common/metricsource/reader.h"
#include "common/metricsource/source.h"
#include "common/metricsource/table.h"
#include "tests/fuzz/input.h"

// What holds of every MetricSource, whatever it was compiled from.
namespace clusterpulse::fuzz {

inline constexpr base::SystemTime kNow{std::chrono::seconds(1927944306)};

// Each problem is a text of a bounded size that can be shown.
inline void CheckDiagnostics(const metricsource::Diagnostics& diagnostics) {
  const auto is_text = [](std::string_view text) { return text.size() <= 512 && base::IsUtf8(text); };
  Require(diagnostics.items().size() <= metricsource::Diagnostics::kMax);
  std::size_t errors = 0;
  for (const metricsource::Diagnostic& item : diagnostics.items()) {
    Require(!item.path.empty() && item.column >= 0 && !item.message.empty());
    Require(is_text(item.path) && is_text(item.message) && base::IsUtf8(item.suggestion));
    errors += item.severity == metricsource::Diagnostic::Severity::kError ? 1 : 0;
  }
  Require(errors <= diagnostics.errors() && diagnostics.errors() <= errors + diagnostics.left_out());
  Require(diagnostics.Summary().empty() == !diagnostics.has_errors());
}

// The rows that two objects give, and their aggregations.
inline std::string Collected(const metricsource::Source& source) {
  constexpr std::string_view kObjects[] = {
      R"({"kind":"Queue","metadata":{"name":"q-1","namespace":"pay-eu","labels":{"app":"mq","tier":"gold"},
          "creationTimestamp":"2031-02-01T00:00:00Z","annotations":{"a.b/c":"d"}},
          "spec":{"replicas":3,"size":"1.5Gi","cpu":"250m","paused":false,"hosts":["a","b"],"weight":0.25,
          "rules":[{"host":"x","port":80},{"host":"y","port":null}]},
          "status":{"depth":120,"state":"up","since":"2031-02-03T04:05:06Z","ready":"2","message":"über",
          "conditions":[{"type":"Ready","status":"True"}]}})",
      R"({"metadata":{"name":"q-2"},"spec":{"replicas":0,"hosts":[],"paused":true,"size":9223372036854775807},
          "status":{"depth":-1,"state":null,"since":"soon","ready":{}},"type":"Opaque"})"};
  static json::Parser parser;
  metricsource::RowReader reader(source, kNow);
  metricsource::Table table(source.columns);
  for (const std::string_view object : kObjects) {
    const absl::Status read = parser.Parse(object, [&](json::Cursor cursor) -> absl::Status {
      const auto taken = reader.Read(cursor);
      Require(taken.ok());
      for (std::size_t i = 0; i < source.columns.size() && *taken; ++i) {
        const metricsource::Value value = reader.values()[i];
        Require(value.IsNull() || source.columns[i].kinds.Has(value.kind()));
      }
      if (*taken) table.Append(reader.meta(), reader.values());
      return absl::OkStatus();
    });
    Require(read.ok());
  }
  std::string out;
  for (std::size_t row = 0; row < table.size(); ++row) table.AppendRecord(row, out);
  AppendResults(source.aggregations, Aggregate(table, source.aggregations), out);
  Require(base::IsUtf8(out));
  return out;
}

// The source is whole, and out of its definition comes the same one again.
inline void CheckSource(const metricsource::Source& source) {
  const metricsource::Spec& spec = source.spec;
  Require(source.projection.has_value() && source.projection->size() == spec.fields.size());
  Require(source.columns.size() == spec.fields.size() + spec.computed.size());
  Require(source.aggregations.size() == spec.aggregations.size());
  Require(source.hash.size() == 16 && std::all_of(source.hash.begin(), source.hash.end(), ::isxdigit));
  const metricsource::CollectionSettings& collection = source.collection;
  Require(collection.interval.count() >= 30 && collection.timeout.count() >= 5 && collection.max_resources >= 1 &&
          collection.batch_size >= 10 && collection.retry_attempts >= 0 && collection.parallelism >= 1);

  const std::string definition = Definition(source, kNow);
  Require(base::IsUtf8(definition));
  metricsource::Diagnostics diagnostics;
  const auto again = metricsource::CompileDefinition(definition, diagnostics);
  CheckDiagnostics(diagnostics);
  Require(again != nullptr && again->hash == source.hash && again->id == source.id);
  Require(Definition(*again, kNow) == definition);
  Require(again->columns.size() == source.columns.size() && again->collection == collection);
  for (std::size_t i = 0; i < source.columns.size(); ++i) {
    const metricsource::Column &a = again->columns[i], &b = source.columns[i];
    Require(a.name == b.name && a.kinds == b.kinds && a.is_timestamp == b.is_timestamp);
  }
  Require(again->resource == source.resource && again->is_cluster_scoped == source.is_cluster_scoped &&
          again->metadata_only == source.metadata_only && again->is_secret == source.is_secret &&
          again->filter_aggregations == source.filter_aggregations);
  for (const std::string_view ns : {"pay-eu", "kube-system", ""}) {
    Require(TakesNamespace(*again, ns) == TakesNamespace(source, ns));
  }
  // Rows cost more than all the rest: those of every eighth source.
  if (source.hash.front() < '2') Require(Collected(*again) == Collected(source));
}

}  // namespace clusterpulse::fuzz
