#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include <absl/status/status.h>

namespace clusterpulse::kube {

// What an API server said when it refused (metav1.Status). Travels as a payload of absl::Status, so that annotating a
// status keeps it.
struct ApiError {
  int code = 0;         // HTTP status
  std::string reason;   // "NotFound", "Conflict", "Expired", "Forbidden", ...; empty when the body was no Status
  std::string message;  // the server's words, at most 1,024 bytes
  std::optional<std::chrono::seconds> retry_after;
};

// A status with the code that tells the caller what to do:
//   400, 405, 406, 415, 422 -> kInvalidArgument    401 -> kUnauthenticated     403 -> kPermissionDenied
//   404 -> kNotFound                               409 AlreadyExists -> kAlreadyExists, other 409 -> kAborted
//   410 -> kOutOfRange (relist)                    429 -> kResourceExhausted    408, 504 -> kDeadlineExceeded
//   other 5xx -> kUnavailable                      anything else -> kUnknown
absl::Status ToStatus(ApiError error);

// The error inside `status`, when an API server (and not the way to it) refused.
std::optional<ApiError> GetApiError(const absl::Status& status);

// Decodes a metav1.Status body; a body that is none gives the HTTP code and the first bytes of the text.
ApiError DecodeApiError(int http_code, std::string_view body);

using absl::IsAlreadyExists;
using absl::IsNotFound;
inline bool IsConflict(const absl::Status& s) { return s.code() == absl::StatusCode::kAborted; }
// The resource version or continue token is too old: list again from the start.
inline bool IsExpired(const absl::Status& s) { return s.code() == absl::StatusCode::kOutOfRange; }

}  // namespace clusterpulse::kube
