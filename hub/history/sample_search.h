#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <absl/status/statusor.h>

#include "hub/history/history_writer.h"

// What VictoriaMetrics is asked to find samples (HistoryWriter::Find), and what it answers: pure functions. Its export
// of raw samples, for queries look away from the newest and round times.
namespace clusterpulse::history {

// Behind the endpoint: "/api/v1/export?match[]=...&start=...&end=...". One series of the cluster stands for all.
std::string SearchTarget(const Sought& sought);

// At how many times the answer has samples. kDataLoss: it is no such answer.
absl::StatusOr<std::uint64_t> CountTimes(std::string_view lines);

}  // namespace clusterpulse::history
