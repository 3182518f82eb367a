// Two rows of docs/benchmarks.md. Ours and its peer run in turns in one process, both are checked against each other,
// and the medians of the rounds count (CPU time).
//
// aggregations: the p95, the sum, the count, the distinct texts and two group-bys of 100,000 rows. Ours works on the
// rows
//   as it gets them, in the Table that a collection fills; the peer on a vector of rows of std::string and double, with
//   std::sort and std::unordered_map. What the Table costs to fill is printed beside it.
// page: 500 pods as they come from an API server to rows of six fields (two of them quantities) and a computed value,
//   divided by the time RapidJSON needs to parse the same bytes into its DOM and do nothing with it.
#if defined(__SSE2__)
#define RAPIDJSON_SSE2  // the peer at its best with the product's compiler flags
#elif defined(__ARM_NEON)
#define RAPIDJSON_NEON
#endif

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include <fmt/format.h>
#include <rapidjson/document.h>

#include "common/json/cursor.h"
#include "common/kube/quantity.h"
#include "common/kube/response_decoder.h"
#include "common/metricsource/aggregate.h"
#include "common/metricsource/computed.h"
#include "common/metricsource/projection.h"
#include "common/metricsource/table.h"
#include "tests/bench/bench_row.h"
#include "tests/bench/pod_pages.h"

namespace clusterpulse::metricsource {
namespace {

[[noreturn]] void Fail(std::string_view what) {
  fmt::print(stderr, "metricsource_rows_bench: {}\n", what);
  std::exit(1);
}

// Milliseconds of CPU that the work takes.
template <typename Work>
double Measure(Work work) {
  timespec from{}, to{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
  work();
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
  return static_cast<double>(to.tv_sec - from.tv_sec) * 1e3 + static_cast<double>(to.tv_nsec - from.tv_nsec) / 1e6;
}

// --- aggregations

constexpr int kRows = 100'000, kTenants = 200, kStates = 8, kImages = 5'000;

struct PlainRow {
  std::string tenant, state, image;
  double latency;
};

// The same numbers every time, without order.
std::vector<PlainRow> MakeRows() {
  std::vector<PlainRow> rows;
  std::uint64_t random = 20310506;
  const auto below = [&](std::uint64_t n) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    return (random >> 33) % n;
  };
  for (int i = 0; i < kRows; ++i) {
    rows.push_back({fmt::format("tenant-{:03}", below(kTenants)), fmt::format("state-{}", below(kStates)),
                    fmt::format("registry.example.com/shop/app-{:04}:1.{}", below(kImages), 0),
                    static_cast<double>(below(1'000'000)) / 128});
  }
  return rows;
}

Table MakeTable(const std::vector<PlainRow>& rows) {
  Table table({{"tenant", Kind::kText}, {"state", Kind::kText}, {"image", Kind::kText}, {"latency", Kind::kDouble}});
  for (const PlainRow& row : rows) {
    const Value values[] = {Value::Text(row.tenant), Value::Text(row.state), Value::Text(row.image),
                            Value::Double(row.latency)};
    table.Append({.ns = "shop", .name = "one"}, values);
  }
  return table;
}

struct Answers {
  double p95 = 0, sum = 0;
  std::size_t count = 0, distinct = 0;
  std::unordered_map<std::string, double> latency_by_tenant;
  std::unordered_map<std::string, std::size_t> count_by_state;
};

Answers Peer(const std::vector<PlainRow>& rows) {
  Answers answers;
  std::vector<double> latencies;
  std::unordered_map<std::string, std::size_t> images;
  latencies.reserve(rows.size());
  for (const PlainRow& row : rows) {
    latencies.push_back(row.latency);
    answers.sum += row.latency;
    ++answers.count;
    ++images[row.image];
    answers.latency_by_tenant[row.tenant] += row.latency;
    ++answers.count_by_state[row.state];
  }
  answers.distinct = images.size();
  std::sort(latencies.begin(), latencies.end());
  const double rank = 0.95 * static_cast<double>(latencies.size() - 1);
  const auto low = static_cast<std::size_t>(rank);
  answers.p95 = latencies[low] + (rank - std::floor(rank)) * (latencies[low + 1] - latencies[low]);
  return answers;
}

bool Near(double a, double b) { return std::fabs(a - b) <= 1e-9 * std::fabs(b); }

void CheckAnswers(const std::vector<AggregationResult>& ours, const Answers& peer) {
  bool is_same = Near(ours[0].value.Number(), peer.p95) && Near(ours[1].value.Number(), peer.sum) &&
                 ours[2].value.Number() == static_cast<double>(peer.count) &&
                 ours[3].value.Number() == static_cast<double>(peer.distinct) && peer.distinct == kImages &&
                 ours[4].groups.size() == kTenants && ours[5].groups.size() == kStates;
  for (const auto& [key, value] : ours[4].groups)
    is_same = is_same && Near(value.Number(), peer.latency_by_tenant.at(key));
  for (const auto& [key, value] : ours[5].groups) {
    is_same = is_same && value.Number() == static_cast<double>(peer.count_by_state.at(key));
  }
  if (!is_same) Fail("the aggregations differ from what plain C++ gives");
}

bool RunAggregations(bool smoke) {
  constexpr double kMust = 2, kAim = 4;
  const std::vector<PlainRow> rows = MakeRows();
  const Table table = MakeTable(rows);
  const std::vector<Aggregation> aggregations = {
      {.name = "p95", .function = AggregationFunction::kPercentile, .column = 3, .percentile = 95},
      {.name = "sum", .function = AggregationFunction::kSum, .column = 3},
      {.name = "count", .function = AggregationFunction::kCount},
      {.name = "images", .function = AggregationFunction::kDistinct, .column = 2},
      {.name = "by_tenant", .function = AggregationFunction::kSum, .column = 3, .group_by = 0},
      {.name = "by_state", .function = AggregationFunction::kCount, .group_by = 1}};
  CheckAnswers(Aggregate(table, aggregations), Peer(rows));
  std::vector<double> ours, peer, fill;
  for (int round = 0; round < (smoke ? 3 : 31); ++round) {
    ours.push_back(Measure([&] {
      if (Aggregate(table, aggregations).size() != aggregations.size()) Fail("wrong result");
    }));
    peer.push_back(Measure([&] {
      if (Peer(rows).distinct != kImages) Fail("wrong result");
    }));
    fill.push_back(Measure([&] {
      if (MakeTable(rows).size() != rows.size()) Fail("wrong result");
    }));
  }
  const double ratio = bench::Median(peer) / bench::Median(ours);
  bench::PrintRow(
      "metricsource_aggregations",
      fmt::format("{} rows: std::sort + std::unordered_map {:.2f} ms / {:.2f} ms = ratio {:.1f}; filling the "
                  "table {:.2f} ms",
                  kRows, bench::Median(peer), bench::Median(ours), ratio, bench::Median(fill)),
      fmt::format(">= {:.0f}", kMust), fmt::format("{:.0f}", kAim));
  return ratio >= kMust;
}

// --- page

constexpr int kPods = 500;

struct PodSource {
  std::optional<Projection> projection;
  ComputedFields computed;
  std::vector<Column> columns;
};

PodSource CompilePods() {
  struct Field {
    const char *name, *path;
    FieldType type;
  };
  constexpr Field kFields[] = {
      {"phase", ".status.phase", FieldType::kString},
      {"node", ".spec.nodeName", FieldType::kString},
      {"cpu", ".spec.containers[0].resources.requests.cpu", FieldType::kQuantity},
      {"memory", ".spec.containers[0].resources.requests.memory", FieldType::kQuantity},
      {"started", ".status.startTime", FieldType::kTimestamp},
      {"conditions", ".status.conditions", FieldType::kArrayLength},
  };
  Diagnostics diagnostics;
  PodSource source;
  std::vector<ProjectedField> fields;
  for (const Field& field : kFields) {
    fields.push_back({field.name, Path::Compile(field.path, "path", diagnostics).value(), field.type, std::nullopt});
    source.columns.push_back({field.name, KindsOf(field.type), field.type == FieldType::kTimestamp});
  }
  source.projection = Projection::Compile(std::move(fields), false, "spec.fields", diagnostics);
  const ComputedField computed[] = {{.name = "memory_mib",
                                     .expression = "round(memory / 1048576, 1)",
                                     .type = ResultType::kFloat,
                                     .path = "computed"}};
  source.computed = ComputedFields::Compile(computed, source.columns, diagnostics);
  source.columns.push_back({"memory_mib", Kind::kDouble});
  if (diagnostics.has_errors() || !source.projection) Fail(diagnostics.Summary());
  return source;
}

// Everything that stays from page to page.
struct PodReader {
  explicit PodReader(const PodSource& from)
      : source(from), projector(*from.projection), context(arena, base::SystemTime()), row(from.columns.size()) {}

  Table Read(const json::Buffer& page) {
    Table table(source.columns);
    RowMeta meta;
    const auto read = kube::DecodeList(parser, page, [&](json::Cursor object) -> absl::Status {
      arena.Reset();
      if (auto status = projector.Read(object, arena, row, meta); !status.ok()) return status;
      source.computed.Evaluate(row, context);
      table.Append(meta, row);
      return absl::OkStatus();
    });
    if (!read.ok() || table.size() != kPods) Fail("the page cannot be read");
    return table;
  }

  const PodSource& source;
  Projector projector;
  TextArena arena;
  EvaluationContext context;
  std::vector<Value> row;
  json::Parser parser;
};

std::string_view TextOf(const rapidjson::Value& object, const char* key) {
  if (!object.HasMember(key)) return {};
  return {object[key].GetString(), object[key].GetStringLength()};
}

void CheckRows(const Table& table, const std::string& page) {
  rapidjson::Document document;
  document.Parse(page.data(), page.size());
  if (document.HasParseError()) Fail("the peer cannot parse the page");
  for (std::size_t i = 0; i < kPods; ++i) {
    const auto& pod = document["items"][static_cast<rapidjson::SizeType>(i)];
    const auto& spec = pod["spec"];
    const auto& status = pod["status"];
    const auto amount = [&](const char* what) {
      const auto& resources = spec["containers"][0]["resources"];
      if (!resources.HasMember("requests") || !resources["requests"].HasMember(what)) return Value::Null();
      return Value::Double(kube::Quantity::Parse(resources["requests"][what].GetString())->AsDouble());
    };
    const auto text = [](std::string_view text) { return text.empty() ? Value::Null() : Value::Text(text); };
    const Value memory = amount("memory");
    const Value expected[] = {
        text(TextOf(status, "phase")),
        text(TextOf(spec, "nodeName")),
        amount("cpu"),
        memory,
        text(TextOf(status, "startTime")),
        status.HasMember("conditions") ? Value::Int(status["conditions"].Size()) : Value::Null(),
        memory.IsNull() ? Value::Null() : Value::Double(std::round(memory.AsDouble() / 1048576 * 10) / 10)};
    bool is_same = table.meta(i).name == TextOf(pod["metadata"], "name");
    for (std::size_t c = 0; c < std::size(expected); ++c) is_same = is_same && SameValue(table.At(i, c), expected[c]);
    if (!is_same) Fail("a row differs from what the DOM says");
  }
}

bool RunPage(bool smoke) {
  constexpr double kMust = 1.0, kAim = 0.35;
  const std::string text = bench::MakePodPage(0, kPods, 10000);
  json::Buffer page;
  page.Append(text);
  const PodSource source = CompilePods();
  PodReader reader(source);
  CheckRows(reader.Read(page), text);
  std::vector<double> ours, peer;
  for (int round = 0; round < (smoke ? 3 : 31); ++round) {
    ours.push_back(Measure([&] { reader.Read(page); }));
    peer.push_back(Measure([&] {
      rapidjson::Document document;
      document.Parse(text.data(), text.size());
      if (document.HasParseError()) Fail("the peer cannot parse the page");
    }));
  }
  const double ratio = bench::Median(ours) / bench::Median(peer);
  bench::PrintRow(
      "metricsource_page",
      fmt::format("{} pods, {:.1f} KB each, 6 fields and a computed one: {:.2f} ms / RapidJSON DOM {:.2f} ms "
                  "= ratio {:.3f}",
                  kPods, static_cast<double>(text.size()) / kPods / 1000, bench::Median(ours), bench::Median(peer),
                  ratio),
      fmt::format("<= {:.2f}", kMust), fmt::format("{:.2f}", kAim));
  return ratio <= kMust;
}

}  // namespace
}  // namespace clusterpulse::metricsource

int main(int argc, char** argv) {
  const bool smoke = argc > 1 && std::string_view(argv[1]) == "--smoke";
  const bool aggregations = clusterpulse::metricsource::RunAggregations(smoke);
  const bool page = clusterpulse::metricsource::RunPage(smoke);
  return smoke || (aggregations && page) ? 0 : 1;
}
