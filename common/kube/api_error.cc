#include "common/kube/api_error.h"

#include <algorithm>
#include <charconv>
#include <cstdint>

#include "common/base/status.h"
#include "common/json/cursor.h"

namespace clusterpulse::kube {
namespace {

constexpr char kPayload[] = "clusterpulse.io/api-error";
constexpr std::size_t kMaxMessageBytes = 1024;
constexpr std::size_t kMaxReasonBytes = 128;
constexpr std::int64_t kMaxRetryAfter = 3600;

// One line of at most `limit` bytes, cut between characters.
std::string OneLine(std::string_view text, std::size_t limit) {
  if (text.size() > limit) {
    text = text.substr(0, limit);
    while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xc0) == 0x80) text.remove_suffix(1);
    if (!text.empty() && static_cast<unsigned char>(text.back()) >= 0xc0) text.remove_suffix(1);
  }
  std::string out(text);
  std::replace_if(
      out.begin(), out.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; }, ' ');
  return out;
}

absl::StatusCode CodeOf(const ApiError& error) {
  switch (error.code) {
    case 400:
    case 405:
    case 406:
    case 415:
    case 422:
      return absl::StatusCode::kInvalidArgument;
    case 401:
      return absl::StatusCode::kUnauthenticated;
    case 403:
      return absl::StatusCode::kPermissionDenied;
    case 404:
      return absl::StatusCode::kNotFound;
    case 408:
    case 504:
      return absl::StatusCode::kDeadlineExceeded;
    case 409:
      return error.reason == "AlreadyExists" ? absl::StatusCode::kAlreadyExists : absl::StatusCode::kAborted;
    case 410:
      return absl::StatusCode::kOutOfRange;
    case 429:
      return absl::StatusCode::kResourceExhausted;
    default:
      return error.code >= 500 && error.code <= 599 ? absl::StatusCode::kUnavailable : absl::StatusCode::kUnknown;
  }
}

}  // namespace

absl::Status ToStatus(ApiError error) {
  error.reason = OneLine(error.reason, kMaxReasonBytes);
  error.message = OneLine(error.message, kMaxMessageBytes);
  const std::string code = fmt::format("HTTP {}{}{}", error.code, error.reason.empty() ? "" : " ", error.reason);
  absl::Status status(CodeOf(error), error.message.empty() ? code : fmt::format("{} ({})", error.message, code));
  // Four lines; neither the reason nor the message has a line end in it.
  status.SetPayload(kPayload, absl::Cord(fmt::format("{}\n{}\n{}\n{}", error.code,
                                                     error.retry_after ? error.retry_after->count() : std::int64_t{-1},
                                                     error.reason, error.message)));
  return status;
}

std::optional<ApiError> GetApiError(const absl::Status& status) {
  const auto payload = status.GetPayload(kPayload);
  if (!payload) return std::nullopt;
  const std::string text(*payload);
  std::string_view rest = text;
  const auto next = [&rest] {
    const auto end = rest.find('\n');
    const std::string_view line = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    return line;
  };
  const auto number = [](std::string_view line) {
    std::int64_t value = -1;
    std::from_chars(line.data(), line.data() + line.size(), value);
    return value;
  };
  ApiError error;
  error.code = static_cast<int>(number(next()));
  if (const auto seconds = number(next()); seconds >= 0) error.retry_after = std::chrono::seconds(seconds);
  error.reason = next();
  error.message = rest;
  return error;
}

ApiError DecodeApiError(int http_code, std::string_view body) {
  ApiError error;
  error.code = http_code;
  std::string kind, reason, message;
  std::int64_t code = 0, retry_after = -1;
  json::Parser parser;
  const absl::Status parsed = parser.Parse(body, [&](json::Cursor root) {
    return root.ForEachMember([&](std::string_view key, json::Cursor value) -> absl::Status {
      if (key == "kind") {
        value.Get(kind);
      } else if (key == "reason") {
        value.Get(reason);
      } else if (key == "message") {
        value.Get(message);
      } else if (key == "code") {
        value.Get(code);
      } else if (key == "details") {
        return value.ForEachMember([&](std::string_view detail, json::Cursor v) {
          if (detail == "retryAfterSeconds") v.Get(retry_after);
        });
      }
      return absl::OkStatus();
    });
  });
  if (!parsed.ok() || kind != "Status") {
    error.message = OneLine(body.substr(0, std::min(body.find_last_not_of(" \r\n") + 1, body.size())), 256);
    return error;
  }
  // In a watch the HTTP code is 200 and the error is in the stream.
  if (http_code < 400) error.code = code >= 400 && code <= 599 ? static_cast<int>(code) : 500;
  error.reason = OneLine(reason, kMaxReasonBytes);
  error.message = OneLine(message, kMaxMessageBytes);
  if (retry_after >= 0) error.retry_after = std::chrono::seconds(std::min(retry_after, kMaxRetryAfter));
  return error;
}

}  // namespace clusterpulse::kube
