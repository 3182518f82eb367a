#pragma once

#include <chrono>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>
#include <google/protobuf/map.h>
#include <google/protobuf/repeated_field.h>
#include <google/protobuf/timestamp.pb.h>

#include "common/base/clock.h"
#include "common/base/status.h"
#include "common/model/labels.h"

// Fields of the wire that several messages have. Private to common/wire. Errors are kInvalidArgument and name the
// field.
namespace clusterpulse::wire {

// 1970 .. the end of our clock in 2262, whole nanoseconds within a second.
absl::StatusOr<base::SystemTime> DecodeTime(std::string_view field, const google::protobuf::Timestamp& from);
// True for what DecodeTime takes.
bool IsWireTime(base::SystemTime time);
// The nearest time that DecodeTime takes.
void EncodeTime(base::SystemTime from, google::protobuf::Timestamp& to);

// Up to 400 days: what a batch or a heartbeat can sensibly tell.
absl::StatusOr<std::chrono::milliseconds> DecodeMillis(std::string_view field, std::uint64_t ms);
// The nearest span that DecodeMillis takes.
std::uint64_t EncodeMillis(std::chrono::milliseconds from);
// 0..most
absl::StatusOr<std::chrono::seconds> DecodeSeconds(std::string_view field, std::int64_t seconds,
                                                   std::chrono::seconds most);
// The nearest span that DecodeSeconds takes.
std::int64_t EncodeSeconds(std::chrono::seconds from, std::chrono::seconds most);

// Checks of one object's fields; the first fault is kept, with the path of its field.
class Checker {
 public:
  explicit Checker(absl::Status& fault) : fault_(fault) {}

  template <std::integral T>
  T Count(std::string_view field, T value) {
    if (value < 0) Fail(field, "is negative");
    return value;
  }
  double Amount(std::string_view field, double value) {
    if (!std::isfinite(value)) {
      Fail(field, "is not a finite number");
    } else if (value < 0) {
      Fail(field, "is negative");
    }
    return value;
  }
  void Fail(std::string_view field, std::string_view what) {
    if (fault_.ok()) fault_ = base::InvalidArgument("{} {}", field, what);
  }

 private:
  absl::Status& fault_;
};

inline std::vector<std::string> Strings(const google::protobuf::RepeatedPtrField<std::string>& from) {
  return {from.begin(), from.end()};
}
inline void SetStrings(const std::vector<std::string>& from, google::protobuf::RepeatedPtrField<std::string>& to) {
  to.Assign(from.begin(), from.end());
}
inline void SetMap(const model::Labels& from, google::protobuf::Map<std::string, std::string>& to) {
  for (const auto& [key, value] : from) to[std::string(key)] = value;
}
template <typename To, typename From>
To Map(const From& from) {
  return To(from.begin(), from.end());
}

}  // namespace clusterpulse::wire
