#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/clock.h"

namespace clusterpulse::base {

// RFC 3339 in UTC. Spec names: "T-utc" and "T-loc" are whole seconds (we run in UTC), "T-nano" has up to 9 fraction
// digits without trailing zeros.
std::string FormatSeconds(SystemTime t);  // 2031-04-05T06:07:08Z
std::string FormatMicros(SystemTime t);   // 2031-04-05T06:07:08.000000Z: Kubernetes MicroTime (Leases, Events)
std::string FormatNanos(SystemTime t);    // 2031-04-05T06:07:08.120934Z

// Any RFC 3339 time with offset and fraction (beyond nanoseconds truncated); nullopt for anything else, including years
// outside 0001..9999 and days that do not exist.
std::optional<SystemTime> ParseRfc3339(std::string_view text);

inline std::int64_t UnixMillis(SystemTime t) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(t.time_since_epoch()).count();
}
inline std::int64_t UnixSeconds(SystemTime t) {
  return std::chrono::floor<std::chrono::seconds>(t).time_since_epoch().count();
}

// What Go's zero time prints; stands for "never" in contract documents.
inline constexpr std::string_view kZeroTime = "0001-01-01T00:00:00Z";

}  // namespace clusterpulse::base
