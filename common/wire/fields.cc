#include "common/wire/fields.h"

#include <algorithm>

namespace clusterpulse::wire {
namespace {

constexpr std::int64_t kLastSecond = 253402300799;  // 9999-12-31T23:59:59Z
constexpr std::int64_t kNanosPerSecond = 1'000'000'000;
constexpr std::chrono::milliseconds kLongestSpan = std::chrono::hours(24 * 400);
// system_clock counts nanoseconds here: 2262 is its end.
constexpr std::int64_t kClockEnd =
    std::chrono::duration_cast<std::chrono::seconds>(base::SystemTime::max().time_since_epoch()).count() - 1;
constexpr base::SystemTime kLastTime{std::chrono::seconds(kClockEnd) + std::chrono::nanoseconds(kNanosPerSecond - 1)};

}  // namespace

absl::StatusOr<base::SystemTime> DecodeTime(std::string_view field, const google::protobuf::Timestamp& from) {
  if (from.seconds() < 0 || from.seconds() > kLastSecond || from.nanos() < 0 || from.nanos() >= kNanosPerSecond) {
    return base::InvalidArgument("{} is not a time between 1970 and 9999", field);
  }
  if (from.seconds() > kClockEnd) return base::InvalidArgument("{} is too far in the future", field);
  return base::SystemTime(std::chrono::duration_cast<base::SystemTime::duration>(
      std::chrono::seconds(from.seconds()) + std::chrono::nanoseconds(from.nanos())));
}

bool IsWireTime(base::SystemTime time) { return time >= base::SystemTime() && time <= kLastTime; }

void EncodeTime(base::SystemTime from, google::protobuf::Timestamp& to) {
  const std::int64_t nanos = std::chrono::duration_cast<std::chrono::nanoseconds>(
                                 std::clamp(from, base::SystemTime(), kLastTime).time_since_epoch())
                                 .count();
  to.set_seconds(nanos / kNanosPerSecond);
  to.set_nanos(static_cast<std::int32_t>(nanos % kNanosPerSecond));
}

absl::StatusOr<std::chrono::milliseconds> DecodeMillis(std::string_view field, std::uint64_t ms) {
  if (ms > static_cast<std::uint64_t>(kLongestSpan.count())) {
    return base::InvalidArgument("{} is more than 400 days", field);
  }
  return std::chrono::milliseconds(static_cast<std::int64_t>(ms));
}

std::uint64_t EncodeMillis(std::chrono::milliseconds from) {
  return static_cast<std::uint64_t>(std::clamp(from, std::chrono::milliseconds(0), kLongestSpan).count());
}

absl::StatusOr<std::chrono::seconds> DecodeSeconds(std::string_view field, std::int64_t seconds,
                                                   std::chrono::seconds most) {
  if (seconds < 0 || seconds > most.count()) {
    return base::InvalidArgument("{} is {}, allowed: 0..{}", field, seconds, most.count());
  }
  return std::chrono::seconds(seconds);
}

std::int64_t EncodeSeconds(std::chrono::seconds from, std::chrono::seconds most) {
  return std::clamp(from, std::chrono::seconds(0), most).count();
}

}  // namespace clusterpulse::wire
