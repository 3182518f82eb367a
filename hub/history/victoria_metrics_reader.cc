#include "hub/history/victoria_metrics_reader.h"

#include <charconv>
#include <cmath>
#include <utility>

#include "common/base/printable.h"
#include "common/base/status.h"
#include "common/http/url.h"
#include "common/json/cursor.h"
#include "hub/history/range_query.h"

namespace clusterpulse::history {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kReasonBytes = 300;
// What the server gets less than we wait: its own word is better than none.
constexpr milliseconds kMargin{250};
// Of times in answers; beyond it they do not fit into a time point.
constexpr double kLastSecond = 9e9;

std::string Seconds(base::SystemTime at) {
  const auto ms = std::chrono::floor<milliseconds>(at.time_since_epoch()).count();
  return fmt::format("{}.{:03}", ms / 1000, ms % 1000);
}

absl::StatusCode CodeOf(int http) {
  switch (http) {
    case 401:
      return absl::StatusCode::kUnauthenticated;
    case 403:
      return absl::StatusCode::kPermissionDenied;
    case 408:
      return absl::StatusCode::kDeadlineExceeded;
    case 413:
    case 422:  // "the query needs more than ..."
      return absl::StatusCode::kResourceExhausted;
    case 429:
      return absl::StatusCode::kUnavailable;
    default:
      return http >= 500 ? absl::StatusCode::kUnavailable : absl::StatusCode::kFailedPrecondition;
  }
}

// [1700000000.123, "4.5"]. Nothing when the value is no finite number.
absl::Status ReadPoint(json::Cursor pair, std::vector<Series::Point>& points) {
  double seconds = -1;
  std::string_view text;
  int index = 0;
  RETURN_IF_ERROR(pair.ForEachElement([&](json::Cursor element) {
    if (index == 0) element.Get(seconds);
    if (index == 1) element.Get(text);
    ++index;
  }));
  if (index != 2 || !(seconds >= 0 && seconds < kLastSecond) || text.empty()) return absl::DataLossError("no point");
  double value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool is_number = error == std::errc() && rest == text.data() + text.size() && std::isfinite(value);
  if (!is_number) return absl::OkStatus();
  const base::SystemTime at{milliseconds(std::llround(seconds * 1000))};
  if (!points.empty() && points.back().at >= at) return absl::DataLossError("points that do not ascend");
  points.push_back({.at = at, .value = value});
  return absl::OkStatus();
}

absl::Status ReadSeries(json::Cursor from, const RangeQuery& query, Series& to) {
  return from.ForEachMember([&](std::string_view key, json::Cursor member) -> absl::Status {
    if (key == "metric") {
      return member.ForEachMember([&](std::string_view label, json::Cursor value) {
        if (label != "__name__") value.Get(to.labels[std::string(label)]);
      });
    }
    if (key != "values") return absl::OkStatus();
    return member.ForEachElement([&](json::Cursor pair) -> absl::Status {
      if (to.points.size() >= query.max_points) {
        return base::MakeStatus(absl::StatusCode::kResourceExhausted, "a series has more than {} points",
                                query.max_points);
      }
      return ReadPoint(pair, to.points);
    });
  });
}

}  // namespace

absl::StatusOr<RangeAnswer> ParseRangeAnswer(const json::Buffer& text, const RangeQuery& query) {
  RangeAnswer answer;
  bool has_result = false;
  json::Parser parser;
  const auto read_result = [&](json::Cursor result) -> absl::Status {
    has_result = result.IsArray();
    return result.ForEachElement([&](json::Cursor series) -> absl::Status {
      if (answer.series.size() >= query.max_series) {
        return base::MakeStatus(absl::StatusCode::kResourceExhausted, "more than {} series match: choose fewer",
                                query.max_series);
      }
      return ReadSeries(series, query, answer.series.emplace_back());
    });
  };
  RETURN_IF_ERROR(base::Annotate(
      parser.Parse(text,
                   [&](json::Cursor document) {
                     return document.ForEachMember([&](std::string_view key, json::Cursor member) -> absl::Status {
                       if (key == "isPartial") member.Get(answer.is_partial);
                       if (key != "data") return absl::OkStatus();
                       return member.ForEachMember([&](std::string_view name, json::Cursor value) {
                         return name == "result" ? read_result(value) : absl::OkStatus();
                       });
                     });
                   }),
      "the answer of the history store"));
  if (!has_result) return absl::DataLossError("the answer of the history store has no result");
  return answer;
}

absl::StatusOr<std::unique_ptr<VictoriaMetricsReader>> VictoriaMetricsReader::Create(VmOptions server,
                                                                                     log::Logger log) {
  ASSIGN_OR_RETURN(std::unique_ptr<VmClient> client, VmClient::Create(std::move(server), std::move(log)));
  return std::unique_ptr<VictoriaMetricsReader>(new VictoriaMetricsReader(std::move(client)));
}

absl::StatusOr<RangeAnswer> VictoriaMetricsReader::Query(const RangeQuery& query, std::stop_token stop) {
  ASSIGN_OR_RETURN(const std::string text, ToMetricsQl(query));
  for (const LabelMatch& match : query.matches) {
    if (match.values.empty()) return RangeAnswer();
  }
  std::string form;
  const auto add = [&form](std::string_view name, std::string_view value) {
    fmt::format_to(std::back_inserter(form), "{}{}={}", form.empty() ? "" : "&", name, http::EscapeQuery(value));
  };
  add("query", text);
  add("start", Seconds(query.from));
  add("end", Seconds(query.to));
  add("step", fmt::format("{}s", query.step.count()));
  add("nocache", "1");  // with its cache the server moves the range to whole steps
  add("timeout", fmt::format("{}ms", std::max(query.timeout - kMargin, milliseconds(1)).count()));
  http::Limits limits;
  limits.timeout = query.timeout;
  limits.stop = std::move(stop);
  json::Buffer body;
  ASSIGN_OR_RETURN(const http::Response response,
                   client_->Fetch({.method = "POST",
                                   .target = "/api/v1/query_range",
                                   .headers = {{"Content-Type", "application/x-www-form-urlencoded"}},
                                   .body = form},
                                  body, limits),
                   "asking the history store");
  if (response.code == 200) return ParseRangeAnswer(body, query);
  const std::string reason = base::Printable(std::string(body.view()), kReasonBytes);
  return base::MakeStatus(CodeOf(response.code), "the history store answers HTTP {}: {}", response.code, reason);
}

}  // namespace clusterpulse::history
