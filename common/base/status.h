#pragma once

#include <string>
#include <string_view>
#include <utility>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <fmt/format.h>

// The one error currency of the project is absl::Status. These are the few helpers Abseil's Debian release lacks.
// Codes are instructions to the caller:
//   kUnavailable, kDeadlineExceeded, kResourceExhausted   retry with backoff
//   kInvalidArgument, kDataLoss                           bad input: count it, drop it, do not retry
//   kUnauthenticated, kPermissionDenied                   configuration: report, retry slowly
//   kFailedPrecondition, kOutOfRange                      resynchronise first (for example relist)
//   kCancelled                                            the caller's own stop signal
//   kInternal                                             our bug
namespace clusterpulse::base {

// The same code and payloads with `context + ": "` put before the message. Each layer adds only what it alone knows;
// messages are lower-case and carry no secrets. An ok status stays ok.
inline absl::Status Annotate(const absl::Status& status, std::string_view context) {
  if (status.ok()) return status;
  absl::Status annotated(status.code(), fmt::format("{}: {}", context, std::string(status.message())));
  status.ForEachPayload(
      [&annotated](absl::string_view url, const absl::Cord& payload) { annotated.SetPayload(url, payload); });
  return annotated;
}

// The message as a std::string: Abseil's own string_view does not convert to std::string_view here.
inline std::string Message(const absl::Status& status) { return std::string(status.message()); }

// Shorthands that take std and fmt types.
template <typename... Args>
absl::Status MakeStatus(absl::StatusCode code, fmt::format_string<Args...> format, Args&&... args) {
  return absl::Status(code, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
absl::Status InvalidArgument(fmt::format_string<Args...> format, Args&&... args) {
  return MakeStatus(absl::StatusCode::kInvalidArgument, format, std::forward<Args>(args)...);
}
template <typename... Args>
absl::Status Unavailable(fmt::format_string<Args...> format, Args&&... args) {
  return MakeStatus(absl::StatusCode::kUnavailable, format, std::forward<Args>(args)...);
}
template <typename... Args>
absl::Status Internal(fmt::format_string<Args...> format, Args&&... args) {
  return MakeStatus(absl::StatusCode::kInternal, format, std::forward<Args>(args)...);
}

namespace internal {
inline absl::Status ToStatus(const absl::Status& status) { return status; }
template <typename T>
absl::Status ToStatus(const absl::StatusOr<T>& result) {
  return result.status();
}
}  // namespace internal

}  // namespace clusterpulse::base

#define CP_CONCAT_INNER(a, b) a##b
#define CP_CONCAT(a, b) CP_CONCAT_INNER(a, b)

// RETURN_IF_ERROR(Open(path)); takes a Status or a StatusOr whose value is not needed.
#define RETURN_IF_ERROR(expr)                                                                                 \
  do {                                                                                                        \
    if (auto cp_result = (expr); !cp_result.ok()) return ::clusterpulse::base::internal::ToStatus(cp_result); \
  } while (false)

// ASSIGN_OR_RETURN(const auto config, Load(path)); a trailing third argument annotates the error.
#define CP_ASSIGN_OR_RETURN_2(lhs, expr) CP_ASSIGN_OR_RETURN_IMPL(CP_CONCAT(cp_or_, __LINE__), lhs, expr)
#define CP_ASSIGN_OR_RETURN_3(lhs, expr, context) \
  CP_ASSIGN_OR_RETURN_CTX(CP_CONCAT(cp_or_, __LINE__), lhs, expr, context)
#define CP_ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr) \
  auto tmp = (expr);                             \
  if (!tmp.ok()) return tmp.status();            \
  lhs = *std::move(tmp)
#define CP_ASSIGN_OR_RETURN_CTX(tmp, lhs, expr, context)                         \
  auto tmp = (expr);                                                             \
  if (!tmp.ok()) return ::clusterpulse::base::Annotate(tmp.status(), (context)); \
  lhs = *std::move(tmp)
#define CP_PICK_3(_1, _2, _3, name, ...) name
#define ASSIGN_OR_RETURN(...) CP_PICK_3(__VA_ARGS__, CP_ASSIGN_OR_RETURN_3, CP_ASSIGN_OR_RETURN_2)(__VA_ARGS__)
