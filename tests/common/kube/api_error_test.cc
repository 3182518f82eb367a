#include "common/kube/api_error.h"

#include <catch2/catch.hpp>

#include "common/base/status.h"

namespace clusterpulse::kube {
namespace {

using Code = absl::StatusCode;

TEST_CASE("the HTTP code and reason decide what the caller should do") {
  struct Case {
    int http;
    const char* reason;
    Code code;
  };
  const auto c = GENERATE(values<Case>({
      {400, "BadRequest", Code::kInvalidArgument},
      {401, "Unauthorized", Code::kUnauthenticated},
      {403, "Forbidden", Code::kPermissionDenied},
      {404, "NotFound", Code::kNotFound},
      {405, "MethodNotAllowed", Code::kInvalidArgument},
      {406, "NotAcceptable", Code::kInvalidArgument},
      {408, "", Code::kDeadlineExceeded},
      {409, "AlreadyExists", Code::kAlreadyExists},
      {409, "Conflict", Code::kAborted},
      {410, "Expired", Code::kOutOfRange},
      {410, "Gone", Code::kOutOfRange},
      {415, "UnsupportedMediaType", Code::kInvalidArgument},
      {422, "Invalid", Code::kInvalidArgument},
      {429, "TooManyRequests", Code::kResourceExhausted},
      {500, "InternalError", Code::kUnavailable},
      {503, "ServiceUnavailable", Code::kUnavailable},
      {504, "Timeout", Code::kDeadlineExceeded},
      {302, "", Code::kUnknown},
      {418, "", Code::kUnknown},
  }));
  CAPTURE(c.http, c.reason);
  CHECK(ToStatus({c.http, c.reason, "words", {}}).code() == c.code);
}

TEST_CASE("an API error survives the way through a status and its annotations") {
  const ApiError error{429, "TooManyRequests", "slow down", std::chrono::seconds(7)};
  const absl::Status status = base::Annotate(ToStatus(error), "list pods");
  CHECK(base::Message(status) == "list pods: slow down (HTTP 429 TooManyRequests)");
  const auto back = GetApiError(status);
  REQUIRE(back);
  CHECK(back->code == 429);
  CHECK(back->reason == "TooManyRequests");
  CHECK(back->message == "slow down");
  CHECK(back->retry_after == std::chrono::seconds(7));
  CHECK_FALSE(GetApiError(ToStatus({404, "", "", {}}))->retry_after);
  CHECK_FALSE(GetApiError(absl::UnavailableError("connection refused")));
}

TEST_CASE("a Status body is decoded") {
  const ApiError error = DecodeApiError(
      429, R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too many \"requests\"",)"
           R"("reason":"TooManyRequests","details":{"retryAfterSeconds":3},"code":429})");
  CHECK(error.code == 429);
  CHECK(error.reason == "TooManyRequests");
  CHECK(error.message == "too many \"requests\"");
  CHECK(error.retry_after == std::chrono::seconds(3));
  // Inside a watch the HTTP code is no error and the body's counts.
  CHECK(DecodeApiError(200, R"({"kind":"Status","code":410,"reason":"Expired"})").code == 410);
  CHECK(DecodeApiError(200, R"({"kind":"Status","code":7})").code == 500);
  CHECK(DecodeApiError(503, R"({"kind":"Status","code":410})").code == 503);
}

TEST_CASE("a body that is no Status gives its first bytes on one line") {
  const auto body = GENERATE(as<std::string>(), "", "<html>\n<b>Bad\tGateway</b>\n", "404 page not found\n",
                             "{\"kind\":\"Pod\"}", "{\"kind\":", "\xff\xfe");
  const ApiError error = DecodeApiError(502, body);
  CHECK(error.code == 502);
  CHECK(error.reason.empty());
  CHECK(error.message.find('\n') == std::string::npos);
  CHECK(error.message.size() <= 256);
}

TEST_CASE("long messages are cut between characters") {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "ä";
  const auto error = GetApiError(ToStatus({500, "X", "a" + text, {}}));
  REQUIRE(error);
  CHECK(error->message.size() == 1023);
  CHECK(error->message.substr(error->message.size() - 2) == "ä");
}

}  // namespace
}  // namespace clusterpulse::kube
