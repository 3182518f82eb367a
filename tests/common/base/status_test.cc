#include "common/base/status.h"

#include <memory>

#include <catch2/catch.hpp>

namespace clusterpulse::base {
namespace {

absl::StatusOr<int> Half(int n) {
  if (n % 2 != 0) return InvalidArgument("{} is odd", n);
  return n / 2;
}
absl::StatusOr<int> Quarter(int n) {
  ASSIGN_OR_RETURN(const int half, Half(n));
  ASSIGN_OR_RETURN(const int quarter, Half(half), "second half");
  return quarter;
}
absl::Status Check(int n) {
  RETURN_IF_ERROR(Quarter(n));
  RETURN_IF_ERROR(absl::OkStatus());
  return absl::OkStatus();
}
absl::StatusOr<std::unique_ptr<int>> Own() { return std::make_unique<int>(7); }

TEST_CASE("errors pass through with what each layer adds") {
  CHECK(*Quarter(8) == 2);
  CHECK(Message(Quarter(3).status()) == "3 is odd");
  CHECK(Message(Quarter(6).status()) == "second half: 3 is odd");
  CHECK(Check(8).ok());
  CHECK(Check(6).code() == absl::StatusCode::kInvalidArgument);
  const auto owned = []() -> absl::StatusOr<int> {
    ASSIGN_OR_RETURN(auto p, Own());
    return *p;
  }();
  CHECK(*owned == 7);
}

TEST_CASE("annotating keeps code and payloads, and leaves ok alone") {
  absl::Status status = Unavailable("connection to {} refused", "a");
  status.SetPayload("x", absl::Cord("y"));
  const absl::Status annotated = Annotate(status, "listing pods");
  CHECK(annotated.code() == absl::StatusCode::kUnavailable);
  CHECK(Message(annotated) == "listing pods: connection to a refused");
  REQUIRE(annotated.GetPayload("x").has_value());
  CHECK(*annotated.GetPayload("x") == "y");
  CHECK(Annotate(absl::OkStatus(), "listing pods").ok());
}

}  // namespace
}  // namespace clusterpulse::base
