#include "hub/history/range_query.h"

#include <algorithm>

#include "common/base/printable.h"
#include "common/base/status.h"
#include "common/base/utf8.h"
#include "hub/history/series.h"

namespace clusterpulse::history {
namespace {

constexpr std::size_t kMostNameBytes = 100;
constexpr std::size_t kMostValues = 10'000;
constexpr std::size_t kMostValueBytes = 1 << 20;  // together

bool IsLabelName(std::string_view name) { return IsMetricName(name) && name.find(':') == std::string_view::npos; }

std::string Shown(const std::string& text) { return base::Printable(text, kMostNameBytes); }

std::string_view FunctionOf(OverTime over_time) {
  switch (over_time) {
    case OverTime::kLast:
      return "last_over_time";
    case OverTime::kAvg:
      return "avg_over_time";
    case OverTime::kMin:
      return "min_over_time";
    case OverTime::kMax:
      return "max_over_time";
  }
  return "";
}

std::string_view FunctionOf(Across across) {
  switch (across) {
    case Across::kNone:
      return "";
    case Across::kSum:
      return "sum";
    case Across::kAvg:
      return "avg";
    case Across::kMin:
      return "min";
    case Across::kMax:
      return "max";
  }
  return "";
}

absl::Status Check(const RangeQuery& query) {
  if (!IsMetricName(query.metric)) return base::InvalidArgument("no name of a metric: {}", Shown(query.metric));
  std::size_t values = 0, bytes = 0;
  for (const LabelMatch& match : query.matches) {
    if (!IsLabelName(match.label)) return base::InvalidArgument("no name of a label: {}", Shown(match.label));
    values += match.values.size();
    for (const std::string& value : match.values) {
      bytes += value.size();
      if (!base::IsUtf8(value)) return base::InvalidArgument("a value of {} is not UTF-8", match.label);
    }
  }
  if (values > kMostValues || bytes > kMostValueBytes) {
    return base::InvalidArgument("{} values with {} bytes are too many", values, bytes);
  }
  for (const std::string& label : query.by) {
    if (!IsLabelName(label)) return base::InvalidArgument("no name of a label: {}", Shown(label));
  }
  if (!query.by.empty() && query.across == Across::kNone) {
    return base::InvalidArgument("labels to stay apart are given, but nothing is put together");
  }
  if (query.step < std::chrono::seconds(1)) return base::InvalidArgument("the step is shorter than a second");
  if (query.to < query.from) return base::InvalidArgument("the range ends before it begins");
  const auto steps = static_cast<std::uint64_t>((query.to - query.from) / query.step);
  if (steps >= query.max_points) {
    return base::InvalidArgument("{} points are more than the {} allowed: choose a longer step", steps + 1,
                                 query.max_points);
  }
  return absl::OkStatus();
}

std::string Matcher(const LabelMatch& match) {
  if (match.values.size() == 1) return fmt::format("{}={}", match.label, Quoted(match.values.front()));
  std::string expression;
  for (const std::string& value : match.values) {
    if (!expression.empty() || &value != &match.values.front()) expression.push_back('|');
    expression.append(Literally(value));
  }
  return fmt::format("{}=~{}", match.label, Quoted(expression));
}

}  // namespace

std::string Quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out.append({'\\', c});
    } else if (c == '\n') {
      out.append("\\n");
    } else if (byte < 0x20 || byte == 0x7f) {
      out.append(fmt::format("\\x{:02x}", byte));
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
  return out;
}

std::string Literally(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool is_plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || byte >= 0x80;
    if (c == '\0') {
      out.append("\\x00");  // RE2 has no escaped NUL
      continue;
    }
    if (!is_plain) out.push_back('\\');
    out.push_back(c);
  }
  return out;
}

absl::StatusOr<std::string> ToMetricsQl(const RangeQuery& query) {
  RETURN_IF_ERROR(Check(query));
  std::string selector = query.metric + "{";
  for (const LabelMatch& match : query.matches) {
    if (&match != &query.matches.front()) selector.push_back(',');
    selector.append(Matcher(match));
  }
  selector.push_back('}');
  std::string text = fmt::format("{}({}[{}s])", FunctionOf(query.over_time), selector, query.step.count());
  if (query.across != Across::kNone) {
    const std::string by = query.by.empty() ? "" : fmt::format(" by ({})", fmt::join(query.by, ","));
    text = fmt::format("{}{} ({})", FunctionOf(query.across), by, text);
  }
  // One more than allowed, to see that there are more.
  return fmt::format("limitk({}, {})", query.max_series + 1, text);
}

}  // namespace clusterpulse::history
