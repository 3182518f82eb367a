#include "hub/history/sample_search.h"

#include <algorithm>
#include <chrono>
#include <set>

#include <fmt/format.h>

#include "common/base/status.h"
#include "common/http/url.h"
#include "common/json/cursor.h"
#include "hub/history/range_query.h"

namespace clusterpulse::history {
namespace {

std::int64_t Millis(base::SystemTime at) {
  return std::chrono::floor<std::chrono::milliseconds>(at.time_since_epoch()).count();
}

std::string Seconds(std::int64_t ms) { return fmt::format("{}.{:03}", ms / 1000, ms % 1000); }

}  // namespace

std::string SearchTarget(const Sought& sought) {
  const std::int64_t until = Millis(sought.until), from = std::min(Millis(sought.after) + 1, until);
  const std::string selector = fmt::format("clusterpulse_cluster_nodes_total{{cluster={}}}", Quoted(sought.cluster));
  return fmt::format("/api/v1/export?match%5B%5D={}&start={}&end={}", http::EscapeQuery(selector), Seconds(from),
                     Seconds(until));
}

absl::StatusOr<std::uint64_t> CountTimes(std::string_view lines) {
  std::set<std::int64_t> times;
  json::Parser parser;
  while (!lines.empty()) {
    const std::size_t end = std::min(lines.find('\n'), lines.size());
    const std::string_view line = lines.substr(0, end);
    lines.remove_prefix(std::min(end + 1, lines.size()));
    if (line.empty()) continue;
    bool has_times = false;
    RETURN_IF_ERROR(parser.Parse(line, [&](json::Cursor series) {
      return series.ForEachMember([&](std::string_view key, json::Cursor member) -> absl::Status {
        if (key != "timestamps") return absl::OkStatus();
        has_times = member.IsArray();
        return member.ForEachElement([&](json::Cursor element) {
          std::int64_t ms = 0;
          if (element.Get(ms)) times.insert(ms);
        });
      });
    }));
    if (!has_times) return absl::DataLossError("the answer of the history store has no times");
  }
  return times.size();
}

}  // namespace clusterpulse::history
