#pragma once

#include <string>
#include <string_view>

#include <absl/status/statusor.h>

#include "hub/history/history_reader.h"

namespace clusterpulse::history {

// The query in MetricsQL: "limitk(1001, sum by (cluster) (avg_over_time(m{node=~\"a|b\"}[60s])))". The one place that
// writes that language. kInvalidArgument as HistoryReader::Query.
absl::StatusOr<std::string> ToMetricsQl(const RangeQuery& query);

// A text in quotes, as MetricsQL and PromQL read it back. REQUIRES: UTF-8.
std::string Quoted(std::string_view text);
// A regular expression (RE2) that matches `text` and nothing else. REQUIRES: UTF-8.
std::string Literally(std::string_view text);

}  // namespace clusterpulse::history
