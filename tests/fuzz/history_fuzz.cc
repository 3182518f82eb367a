// The first byte says what the rest is. What the encoder writes of any text and number reads back as what it was, by a
// parser of its own here, or is refused; a value in a query is what it was, whatever it holds; any answer of a store is
// read within its bounds or refused.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <string_view>

#include <re2/re2.h>

#include "common/base/utf8.h"
#include "hub/history/durability_watch.h"
#include "hub/history/line_encoder.h"
#include "hub/history/range_query.h"
#include "hub/history/retention.h"
#include "hub/history/sample_search.h"
#include "hub/history/victoria_metrics_reader.h"
#include "tests/fuzz/input.h"

using namespace clusterpulse;
using fuzz::Require;

namespace {

constexpr std::int64_t kNow = 1'700'000'000'000;

struct Line {
  std::string name;
  std::map<std::string, std::string> labels;
  double value = 0;
  std::int64_t stamp = 0;
};

// One line of Prometheus' text format, strictly.
Line Parse(std::string_view text) {
  Line line;
  const std::size_t brace = text.find('{');
  Require(brace != std::string_view::npos && history::IsMetricName(text.substr(0, brace)));
  line.name = text.substr(0, brace);
  text.remove_prefix(brace + 1);
  while (!text.starts_with('}')) {
    const std::size_t equals = text.find("=\"");
    Require(equals != std::string_view::npos && history::IsMetricName(text.substr(0, equals)));
    std::string& value = line.labels[std::string(text.substr(0, equals))];
    text.remove_prefix(equals + 2);
    for (;; text.remove_prefix(1)) {
      Require(!text.empty() && text.front() != '\n');
      if (text.front() == '"') break;
      char c = text.front();
      if (c == '\\') {
        text.remove_prefix(1);
        Require(!text.empty() && (text.front() == '\\' || text.front() == '"' || text.front() == 'n'));
        c = text.front() == 'n' ? '\n' : text.front();
      }
      value.push_back(c);
    }
    text.remove_prefix(1);
    if (text.starts_with(',')) text.remove_prefix(1);
  }
  Require(text.starts_with("} "));
  const std::string rest(text.substr(2));
  char* end = nullptr;
  line.value = std::strtod(rest.c_str(), &end);
  Require(end != rest.c_str() && *end == ' ');
  line.stamp = std::strtoll(end + 1, &end, 10);
  Require(*end == '\0');
  return line;
}

void Encode(fuzz::Input& input) {
  const std::string cluster(input.Bytes(input.Byte()));
  const std::string node(input.Bytes(input.Byte()));
  const std::string name(input.Bytes(input.Byte()));
  double value = 0;
  std::int64_t stamp = 0;
  const std::string_view number = input.Bytes(8), time = input.Bytes(8);
  std::memcpy(&value, number.data(), number.size());
  std::memcpy(&stamp, time.data(), time.size());
  if (input.Byte() % 2 == 0) stamp = kNow - (stamp & 0xffffffffff);

  history::LineBuffer buffer;
  history::LineEncoder encoder(buffer, stamp, kNow);
  encoder.Labels(cluster, "node", node);
  encoder.Sample("plain", value);
  encoder.Sample(history::MetricName(name), 7);
  const bool labels_ok = base::IsUtf8(cluster) && base::IsUtf8(node);
  const bool time_ok = stamp > 0 && stamp - kNow <= history::LineEncoder::kMaxAheadMs;
  const bool fit = labels_ok && time_ok;
  Require(encoder.written() + encoder.refused() == 2);
  Require(encoder.written() ==
          (fit && std::isfinite(value) ? 1u : 0u) + (fit && history::IsMetricName(name) ? 1u : 0u));

  std::string_view text = buffer.view();
  std::size_t lines = 0;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    Require(end != std::string_view::npos);
    const Line line = Parse(text.substr(0, end));
    text.remove_prefix(end + 1);
    ++lines;
    Require(line.stamp == stamp);
    const bool is_plain = lines == 1 && std::isfinite(value);
    Require(line.name == (is_plain ? "plain" : name));
    Require(line.value == (is_plain ? value : 7));
    std::map<std::string, std::string> labels;
    if (!cluster.empty()) labels["cluster"] = cluster;
    if (!node.empty()) labels["node"] = node;
    Require(line.labels == labels);
  }
  Require(lines == encoder.written());
}

// What MetricsQL (Go's strconv.Unquote) makes of a quoted text.
std::string Unquote(std::string_view quoted) {
  Require(quoted.size() >= 2 && quoted.front() == '"' && quoted.back() == '"');
  quoted = quoted.substr(1, quoted.size() - 2);
  std::string out;
  while (!quoted.empty()) {
    char c = quoted.front();
    quoted.remove_prefix(1);
    Require(c != '"' && c != '\n');
    if (c == '\\') {
      Require(!quoted.empty());
      c = quoted.front();
      quoted.remove_prefix(1);
      if (c == 'n') {
        c = '\n';
      } else if (c == 'x') {
        Require(quoted.size() >= 2);
        c = static_cast<char>(std::stoi(std::string(quoted.substr(0, 2)), nullptr, 16));
        quoted.remove_prefix(2);
      } else {
        Require(c == '\\' || c == '"');
      }
    }
    out.push_back(c);
  }
  return out;
}

void Ask(fuzz::Input& input) {
  const std::string value(input.Bytes(input.Byte())), other(input.Bytes(input.Byte()));
  history::RangeQuery query;
  query.metric = "m";
  query.matches = {{"a", {value}}};
  const auto one = history::ToMetricsQl(query);
  query.matches = {{"a", {value, other}}};
  const auto both = history::ToMetricsQl(query);
  Require(one.ok() == base::IsUtf8(value));
  Require(both.ok() == (base::IsUtf8(value) && base::IsUtf8(other)));
  if (!both.ok()) return;

  constexpr std::string_view kBegin = "limitk(1001, last_over_time(m{a", kEnd = "}[60s]))";
  const auto quoted_of = [&](std::string_view text, std::string_view op) {
    Require(text.starts_with(kBegin) && text.ends_with(kEnd));
    text.remove_prefix(kBegin.size());
    text.remove_suffix(kEnd.size());
    Require(text.starts_with(op));
    return Unquote(text.substr(op.size()));
  };
  Require(quoted_of(*one, "=") == value);
  const RE2 regex(quoted_of(*both, "=~"), RE2::Quiet);
  Require(regex.ok());
  Require(RE2::FullMatch(value, regex) && RE2::FullMatch(other, regex));
  for (const std::string& changed : {value + "x", "x" + other, value + other, value + "|" + other}) {
    Require(RE2::FullMatch(changed, regex) == (changed == value || changed == other));
  }
}

void ReadAnswer(std::string_view bytes) {
  history::RangeQuery query;
  query.max_series = 3;
  query.max_points = 5;
  json::Buffer buffer;
  buffer.Assign(bytes);
  const auto answer = history::ParseRangeAnswer(buffer, query);
  if (!answer.ok()) {
    return Require(absl::IsDataLoss(answer.status()) || absl::IsResourceExhausted(answer.status()));
  }
  Require(answer->series.size() <= query.max_series);
  for (const history::Series& series : answer->series) {
    Require(series.points.size() <= query.max_points);
    Require(!series.labels.contains("__name__"));
    for (std::size_t i = 0; i < series.points.size(); ++i) {
      Require(std::isfinite(series.points[i].value));
      Require(i == 0 || series.points[i - 1].at < series.points[i].at);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1 || size > 65536) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  fuzz::Input input(bytes);
  switch (data[0] % 4) {
    case 0:
      Encode(input);
      break;
    case 1:
      Ask(input);
      break;
    case 2:
      ReadAnswer(bytes);
      break;
    default:
      if (const auto start = history::ParseStart(bytes)) Require(*start > 0);
      if (const auto retention = history::ParseRetention(bytes)) Require(retention->count() > 0);
      if (const auto times = history::CountTimes(bytes); !times.ok()) Require(absl::IsDataLoss(times.status()));
  }
  return 0;
}
