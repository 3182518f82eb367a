#pragma once

#include <chrono>
#include <optional>
#include <string_view>

// For how long VictoriaMetrics keeps samples: what is older when it comes it takes, and ignores without a word. Pure
// functions.
namespace clusterpulse::history {

// As its flag -retentionPeriod has it: months of 31 days ("1", "1.5"), or with a letter: "36h", "90d", "12w", "1y".
// Nullopt: it is none, or not positive.
std::optional<std::chrono::milliseconds> ParsePeriod(std::string_view text);

// What it serves on /metrics says of that flag; nullopt: nothing (insert nodes, proxies).
std::optional<std::chrono::milliseconds> ParseRetention(std::string_view metrics);

}  // namespace clusterpulse::history
