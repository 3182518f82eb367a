#include "hub/store/resp.h"

#include <catch2/catch.hpp>

namespace clusterpulse::store {
namespace {

TEST_CASE("commands are arrays of binary-safe texts") {
  std::string out;
  Command(out, 3).Arg("SET").Arg(std::string_view("a\0\r\n", 4)).Arg(std::int64_t{-42});
  CHECK(out == std::string("*3\r\n$3\r\nSET\r\n$4\r\na\0\r\n\r\n$3\r\n-42\r\n", 32));
}

TEST_CASE("replies are read however the bytes are cut") {
  const std::string bytes = "+OK\r\n-ERR no\r\n:7\r\n$-1\r\n*-1\r\n*3\r\n$3\r\na\r\n\r\n*1\r\n:1\r\n$0\r\n\r\n";
  const std::size_t step = GENERATE(as<std::size_t>(), 1, 2, 3, 7, 1000);
  RespReader reader;
  std::vector<Reply> replies;
  for (std::size_t at = 0; at < bytes.size(); at += step) {
    REQUIRE(reader.Feed(std::string_view(bytes).substr(at, step)).ok());
    for (;;) {
      auto reply = reader.Next();
      REQUIRE(reply.ok());
      if (!reply->has_value()) break;
      replies.push_back(*std::move(*reply));
    }
  }
  REQUIRE(replies.size() == 6);
  CHECK(replies[0].type == Reply::Type::kStatus);
  CHECK(replies[0].text == "OK");
  CHECK(replies[1].IsError());
  CHECK(replies[1].text == "ERR no");
  CHECK(replies[2].integer == 7);
  CHECK(replies[3].type == Reply::Type::kNil);
  CHECK(replies[4].type == Reply::Type::kNil);
  REQUIRE(replies[5].elements.size() == 3);
  CHECK(replies[5].elements[0].text == "a\r\n");
  CHECK(replies[5].elements[1].elements[0].integer == 1);
  CHECK(replies[5].elements[2].type == Reply::Type::kString);
}

TEST_CASE("what is not the protocol or too large is refused") {
  const std::string bytes = GENERATE(
      as<std::string>(), "hello\r\n", "*9999999999999\r\n", "*2000000\r\n", ":12x\r\n", "$99999999999999999999\r\n",
      "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", "*1000000\r\n*1000000\r\n*1000000\r\n");
  CAPTURE(bytes);
  RespReader reader;
  const absl::Status fed = reader.Feed(bytes);
  CHECK((fed.ok() ? reader.Next().status() : fed).code() == absl::StatusCode::kDataLoss);
}

TEST_CASE("error words have their meaning") {
  using Row = std::pair<std::string, absl::StatusCode>;
  const Row row = GENERATE(
      Row{"NOPERM this user has no permissions", absl::StatusCode::kPermissionDenied},
      Row{"ERR The user executing the script can't run this command", absl::StatusCode::kPermissionDenied},
      Row{"WRONGPASS invalid", absl::StatusCode::kUnauthenticated},
      Row{"OOM command", absl::StatusCode::kResourceExhausted},
      Row{"LOADING Redis is loading", absl::StatusCode::kUnavailable},
      Row{"READONLY You", absl::StatusCode::kUnavailable}, Row{"MISCONF Redis is", absl::StatusCode::kUnavailable},
      Row{"WRONGTYPE x", absl::StatusCode::kFailedPrecondition}, Row{"ERR syntax error", absl::StatusCode::kInternal});
  CHECK(ErrorReplyStatus(row.first).code() == row.second);
}

}  // namespace
}  // namespace clusterpulse::store
