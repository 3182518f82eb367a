#include "hub/history/retention.h"

#include <algorithm>
#include <charconv>

namespace clusterpulse::history {
namespace {

using std::chrono::milliseconds;

constexpr double kHour = 3600e3, kDay = 24 * kHour;
constexpr double kLongest = 1000 * 365 * kDay;

// Of a month, without a letter.
double UnitOf(std::string_view letter) {
  if (letter.empty()) return 31 * kDay;
  if (letter == "h") return kHour;
  if (letter == "d") return kDay;
  if (letter == "w") return 7 * kDay;
  if (letter == "y") return 365 * kDay;
  return 0;
}

}  // namespace

std::optional<milliseconds> ParsePeriod(std::string_view text) {
  double count = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), count, std::chars_format::fixed);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(rest - text.data()));
  const double ms = count * UnitOf(text);
  // Not so for what is no number either.
  if (!(ms >= 1 && ms <= kLongest)) return std::nullopt;
  return milliseconds(static_cast<milliseconds::rep>(ms));
}

std::optional<milliseconds> ParseRetention(std::string_view metrics) {
  constexpr std::string_view kFlag = "flag{name=\"retentionPeriod\"", kValue = "value=\"";
  while (!metrics.empty()) {
    const std::size_t end = std::min(metrics.find('\n'), metrics.size());
    std::string_view line = metrics.substr(0, end);
    metrics.remove_prefix(std::min(end + 1, metrics.size()));
    if (!line.starts_with(kFlag)) continue;
    const std::size_t at = line.find(kValue, kFlag.size());
    if (at == std::string_view::npos) return std::nullopt;
    line.remove_prefix(at + kValue.size());
    return ParsePeriod(line.substr(0, line.find('"')));
  }
  return std::nullopt;
}

}  // namespace clusterpulse::history
