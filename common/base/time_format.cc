#include "common/base/time_format.h"

#include <cstdint>

#include <fmt/format.h>

namespace clusterpulse::base {
namespace {

struct Civil {
  int year;
  unsigned month, day;
  std::int64_t hour, minute, second, nanos;
};

Civil ToCivil(SystemTime t) {
  // By integers: the start of the first day and second that the clock can count is itself out of its range.
  const std::int64_t since_epoch = std::chrono::duration_cast<std::chrono::nanoseconds>(t.time_since_epoch()).count();
  const std::int64_t nanos = (since_epoch % 1'000'000'000 + 1'000'000'000) % 1'000'000'000;
  const std::chrono::sys_seconds whole(
      std::chrono::seconds(since_epoch / 1'000'000'000 - (since_epoch % 1'000'000'000 < 0 ? 1 : 0)));
  const auto day = std::chrono::floor<std::chrono::days>(whole);
  const std::chrono::year_month_day ymd(day);
  const std::int64_t seconds = (whole - day).count();
  return {static_cast<int>(ymd.year()),
          static_cast<unsigned>(ymd.month()),
          static_cast<unsigned>(ymd.day()),
          seconds / 3600,
          seconds / 60 % 60,
          seconds % 60,
          nanos};
}

std::string Seconds(const Civil& c) {
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", c.year, c.month, c.day, c.hour, c.minute, c.second);
}

// Reads exactly `digits` digits at `pos` and advances; -1 when they are not there.
int Digits(std::string_view text, std::size_t& pos, int digits) {
  int value = 0;
  for (int i = 0; i < digits; ++i, ++pos) {
    if (pos >= text.size() || text[pos] < '0' || text[pos] > '9') return -1;
    value = value * 10 + (text[pos] - '0');
  }
  return value;
}

bool Accept(std::string_view text, std::size_t& pos, char wanted) {
  if (pos >= text.size() || text[pos] != wanted) return false;
  ++pos;
  return true;
}

}  // namespace

std::string FormatSeconds(SystemTime t) { return Seconds(ToCivil(t)) + "Z"; }

std::string FormatMicros(SystemTime t) {
  const Civil c = ToCivil(t);
  return fmt::format("{}.{:06}Z", Seconds(c), c.nanos / 1000);
}

std::string FormatNanos(SystemTime t) {
  const Civil c = ToCivil(t);
  if (c.nanos == 0) return Seconds(c) + "Z";
  std::string fraction = fmt::format("{:09}", c.nanos);
  fraction.erase(fraction.find_last_not_of('0') + 1);
  return fmt::format("{}.{}Z", Seconds(c), fraction);
}

std::optional<SystemTime> ParseRfc3339(std::string_view text) {
  std::size_t pos = 0;
  const int year = Digits(text, pos, 4);
  if (year < 1 || !Accept(text, pos, '-')) return std::nullopt;
  const int month = Digits(text, pos, 2);
  if (!Accept(text, pos, '-')) return std::nullopt;
  const int day = Digits(text, pos, 2);
  if (!Accept(text, pos, 'T') && !Accept(text, pos, 't')) return std::nullopt;
  const int hour = Digits(text, pos, 2);
  if (!Accept(text, pos, ':')) return std::nullopt;
  const int minute = Digits(text, pos, 2);
  if (!Accept(text, pos, ':')) return std::nullopt;
  const int second = Digits(text, pos, 2);
  if (month < 1 || day < 1 || hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59) {
    return std::nullopt;
  }
  std::int64_t nanos = 0;
  if (Accept(text, pos, '.')) {
    const std::size_t first = pos;
    std::int64_t scale = 100'000'000;
    for (; pos < text.size() && text[pos] >= '0' && text[pos] <= '9'; ++pos, scale /= 10)
      nanos += (text[pos] - '0') * scale;
    if (pos == first) return std::nullopt;
  }
  int offset_minutes = 0;
  if (!Accept(text, pos, 'Z') && !Accept(text, pos, 'z')) {
    const bool west = Accept(text, pos, '-');
    if (!west && !Accept(text, pos, '+')) return std::nullopt;
    const int hours = Digits(text, pos, 2);
    if (!Accept(text, pos, ':')) return std::nullopt;
    const int minutes = Digits(text, pos, 2);
    if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59) return std::nullopt;
    offset_minutes = (west ? -1 : 1) * (hours * 60 + minutes);
  }
  if (pos != text.size()) return std::nullopt;
  const std::chrono::year_month_day ymd{std::chrono::year(year), std::chrono::month(static_cast<unsigned>(month)),
                                        std::chrono::day(static_cast<unsigned>(day))};
  if (!ymd.ok()) return std::nullopt;
  const std::chrono::seconds since_epoch = std::chrono::sys_days(ymd).time_since_epoch() + std::chrono::hours(hour) +
                                           std::chrono::minutes(minute - offset_minutes) + std::chrono::seconds(second);
  // system_clock counts nanoseconds in 64 bits: 1678..2261. Times outside (Go's zero time) saturate.
  constexpr std::int64_t kMaxSeconds = 9'223'372'035;
  if (since_epoch.count() > kMaxSeconds) return SystemTime::max();
  if (since_epoch.count() < -kMaxSeconds) return SystemTime::min();
  return SystemTime(std::chrono::duration_cast<SystemTime::duration>(since_epoch + std::chrono::nanoseconds(nanos)));
}

}  // namespace clusterpulse::base
