#include "hub/app/source_trial.h"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "common/base/thread.h"
#include "common/base/time_format.h"
#include "common/base/utf8.h"
#include "common/metricsource/aggregate.h"
#include "hub/app/source_file.h"

namespace clusterpulse::app {
namespace {

using metricsource::Collection;
using metricsource::FieldCounts;
using metricsource::Source;
using metricsource::Value;

constexpr std::size_t kWidestCell = 40;

// One cell of a table, and how many places it takes.
struct Cell {
  std::string text;
  std::size_t width = 0;
};

// What is too long is cut.
Cell Fit(std::string_view text) {
  Cell out;
  // More than fits, however many bytes its characters have.
  const std::string shown = Printable(text.substr(0, 4 * (kWidestCell + 1)));
  std::size_t cut_bytes = 0;  // of the text up to where it would be cut
  for (std::size_t i = 0; i < shown.size(); ++out.width) {
    if (out.width == kWidestCell - 3) cut_bytes = i;
    if (out.width == kWidestCell) {
      out.text = shown.substr(0, cut_bytes) + "...";
      return out;
    }
    i += std::max<std::size_t>(base::Utf8SequenceLength(shown, i), 1);
  }
  out.text = shown;
  return out;
}

Cell Fit(Value value) {
  if (value.IsNull()) return Fit("-");
  if (value.IsText()) return Fit(value.AsText());
  std::string text;
  metricsource::AppendText(text, value);
  return Fit(text);
}

using Lines = std::vector<std::vector<Cell>>;

// The lines under each other, three blanks between columns and none at an end.
void AppendAligned(const Lines& lines, std::string& out) {
  std::vector<std::size_t> widths;
  for (const auto& line : lines) {
    widths.resize(std::max(widths.size(), line.size()));
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].width);
  }
  for (const auto& line : lines) {
    std::size_t blanks = 0;
    for (std::size_t i = 0; i < line.size(); ++i) {
      if (line[i].width > 0) {
        out.append(blanks, ' ');
        out += line[i].text;
        blanks = 0;
      }
      blanks += widths[i] - line[i].width + 3;
    }
    out += '\n';
  }
}

void AppendRows(const Collection& run, std::size_t most, std::string& out) {
  const metricsource::Table& rows = run.rows;
  const std::size_t shown = std::min(most, rows.size());
  bool has_namespaces = false;
  for (std::size_t i = 0; i < shown; ++i) has_namespaces |= !rows.meta(i).ns.empty();
  Lines lines(1);
  lines[0].push_back(Fit("NAME"));
  if (has_namespaces) lines[0].push_back(Fit("NAMESPACE"));
  for (const metricsource::Column& column : rows.columns()) lines[0].push_back(Fit(column.name));
  for (std::size_t i = 0; i < shown; ++i) {
    auto& line = lines.emplace_back();
    line.push_back(Fit(rows.meta(i).name));
    if (has_namespaces) line.push_back(Fit(rows.meta(i).ns));
    for (std::size_t c = 0; c < rows.columns().size(); ++c) line.push_back(Fit(rows.At(i, c)));
  }
  if (shown > 0) {
    out += '\n';
    AppendAligned(lines, out);
  }
  if (shown < rows.size()) {
    out += fmt::format("... and {} more; --limit N shows N of them, -o json all\n", rows.size() - shown);
  }
}

void AppendAggregations(const Source& source, const Collection& run, std::string& out) {
  if (source.aggregations.empty()) return;
  Lines lines{{Fit("AGGREGATION"), Fit("VALUE")}};
  const auto results = metricsource::Aggregate(run.rows, source.aggregations);
  for (std::size_t i = 0; i < results.size(); ++i) {
    lines.push_back({Fit(source.aggregations[i].name)});
    if (!results[i].is_grouped) lines.back().push_back(Fit(results[i].value));
    if (results[i].is_grouped && results[i].groups.empty()) lines.back().push_back(Fit("no groups"));
    for (const auto& [key, value] : results[i].groups) {
      Cell group = Fit(key);
      group.text = "  " + group.text;
      group.width += 2;
      lines.push_back({std::move(group), Fit(value)});
    }
  }
  out += '\n';
  AppendAligned(lines, out);
}

// "3 (12 %)"; few are not none, and nearly all are not all.
std::string Share(std::uint64_t part, std::uint64_t all) {
  const double percent = 100.0 * static_cast<double>(part) / static_cast<double>(all);
  if (part > 0 && percent < 1) return fmt::format("{} (<1 %)", part);
  if (part < all && percent > 99) return fmt::format("{} (>99 %)", part);
  return fmt::format("{} ({:.0f} %)", part, percent);
}

void AppendFields(const Source& source, const Collection& run, std::string& out) {
  Lines lines{{Fit("FIELD"), Fit("MATCHED"), Fit("EMPTY"), Fit("WRONG TYPE")}};
  for (std::size_t i = 0; i < run.fields.size(); ++i) {
    const FieldCounts& counts = run.fields[i];
    const std::uint64_t empty = counts.missing + counts.null, all = counts.matched + empty + counts.failed;
    if (all == 0) continue;
    lines.push_back({Fit(source.spec.fields[i].name), Fit(Share(counts.matched, all)), Fit(Share(empty, all)),
                     Fit(Share(counts.failed, all))});
  }
  if (lines.size() == 1) return;
  out += '\n';
  AppendAligned(lines, out);
}

std::string Work(const metricsource::CollectOptions::Progress& work) {
  return fmt::format("{} listed, {}, {}", Counted(work.objects, "object"), Counted(work.bytes, "byte"),
                     Counted(work.calls, "API call"));
}

}  // namespace

std::string TrialTable(const Source& source, const Collection& run, std::size_t most_rows) {
  std::string out =
      fmt::format("{}: {} of {} {}{}\n", source.id, Counted(static_cast<std::int64_t>(run.rows.size()), "row"),
                  source.spec.target.api_version, source.spec.target.kind,
                  run.truncated ? "; there are more, which are left out of everything below" : "");
  AppendRows(run, most_rows, out);
  AppendAggregations(source, run, out);
  AppendFields(source, run, out);
  if (run.evaluation.type_errors > 0) {
    out += fmt::format("\n{} in expressions gave null because of the kind or text of a value\n",
                       Counted(static_cast<std::int64_t>(run.evaluation.type_errors), "operation"));
  }
  if (run.evaluation.budget_errors > 0) {
    out += fmt::format("\n{} given up because their row cost too much\n",
                       Counted(static_cast<std::int64_t>(run.evaluation.budget_errors), "expression"));
  }
  out += fmt::format("\n{}, {} ms\n", Work(run.work), run.duration.count());
  return out;
}

void WriteTrial(const Source& source, const Collection& run, json::Writer& writer) {
  const auto integer = [](std::uint64_t value) { return static_cast<std::int64_t>(value); };
  writer.Member("startedAt", base::FormatSeconds(run.started));
  writer.Member("durationMs", static_cast<std::int64_t>(run.duration.count()));
  writer.Member("objects", run.work.objects).Member("bytes", run.work.bytes).Member("apiCalls", run.work.calls);
  if (!run.failure.empty()) {
    writer.Member("failure", run.failure).Member("message", run.message);
    return;
  }
  writer.Key("errors").BeginArray();
  for (const std::string& error : run.errors) writer.String(error);
  writer.EndArray();
  writer.Member("resourceCount", integer(run.rows.size())).Member("truncated", run.truncated);
  writer.Key("fields").BeginArray();
  for (std::size_t i = 0; i < run.fields.size(); ++i) {
    const FieldCounts& counts = run.fields[i];
    writer.BeginObject().Member("field", source.spec.fields[i].name).Member("matched", integer(counts.matched));
    writer.Member("missing", integer(counts.missing)).Member("null", integer(counts.null));
    writer.Member("wrongType", integer(counts.failed)).EndObject();
  }
  writer.EndArray();
  writer.Key("expressions").BeginObject().Member("typeErrors", integer(run.evaluation.type_errors));
  writer.Member("budgetErrors", integer(run.evaluation.budget_errors)).EndObject();
  std::string text;
  metricsource::AppendResults(source.aggregations, metricsource::Aggregate(run.rows, source.aggregations), text);
  writer.Key("aggregations").Raw(text);
  writer.Key("resources").BeginArray();
  for (std::size_t i = 0; i < run.rows.size(); ++i) {
    text.clear();
    run.rows.AppendRecord(i, text);
    writer.Raw(text);
  }
  writer.EndArray();
}

TrialProgress::TrialProgress(std::string what, Options options)
    : what_(std::move(what)), options_(std::move(options)), thread_(base::StartThread("progress", [this] { Run(); })) {}

TrialProgress::~TrialProgress() { stop_.RequestStop(); }

void TrialProgress::Update(const metricsource::CollectOptions::Progress& work) {
  base::MutexLock lock(mu_);
  work_ = work;
}

void TrialProgress::Run() {
  constexpr int kSilentLines = 9;
  const auto begin = std::chrono::steady_clock::now();
  std::int64_t told_objects = -1;
  int silent_lines = 0;
  for (auto wait = options_.first; !stop_.WaitFor(wait); wait = options_.every) {
    const auto seconds =
        std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - begin).count();
    metricsource::CollectOptions::Progress work;
    {
      base::MutexLock lock(mu_);
      work = work_;
    }
    if (work.objects == told_objects && silent_lines++ < kSilentLines) continue;
    told_objects = work.objects;
    silent_lines = 0;
    options_.print(fmt::format("{}: {} after {} s", what_, Work(work), seconds));
  }
}

}  // namespace clusterpulse::app
