#include "common/kube/lister.h"

#include <catch2/catch.hpp>

#include "tests/common/kube/scripted_kube_api.h"

namespace clusterpulse::kube {
namespace {

struct Fixture {
  ScriptedKubeApi api;
  ListQuery query{.resource = kPods, .limit = 2};

  explicit Fixture(int objects = 5) {
    for (int i = 0; i < objects; ++i) api.Set({"ns", "p" + std::to_string(i)}, i);
  }
  absl::StatusOr<Listed<std::string>> Names() {
    return ListInto<std::string>(api, query,
                                 [](json::Cursor object, std::string& out) {
                                   return object.ForEachMember([&](std::string_view key, json::Cursor value) {
                                     if (key != "metadata") return absl::OkStatus();
                                     return value.ForEachMember([&](std::string_view k, json::Cursor v) {
                                       if (k == "name") v.Get(out);
                                     });
                                   });
                                 },
                                 {});
  }
};

const std::vector<std::string> kAll{"p0", "p1", "p2", "p3", "p4"};

TEST_CASE("every page is listed and the version is the list's") {
  Fixture f;
  f.api.on_page = [&](int page) {
    if (page == 1) f.api.Set({"ns", "late"}, 9);
  };
  const auto listed = f.Names();
  REQUIRE(listed.ok());
  CHECK(listed->items == kAll);
  CHECK(listed->resource_version == "1005");
  CHECK(f.api.lists().size() == 3);
}

TEST_CASE("an empty list has a version") {
  Fixture f(0);
  const auto listed = f.Names();
  REQUIRE(listed.ok());
  CHECK(listed->items.empty());
  CHECK(listed->resource_version == "1000");
}

TEST_CASE("the version asked for goes with the first page only") {
  Fixture f;
  f.query.resource_version = "7";
  f.api.on_page = [&](int page) {
    if (page == 1) f.api.Compact();
  };
  REQUIRE(f.Names().ok());
  std::vector<std::string> asked;
  for (const ListQuery& q : f.api.lists())
    asked.push_back(q.resource_version + "/" + (q.continue_token.empty() ? "" : "c"));
  CHECK(asked == std::vector<std::string>{"7/", "/c", "7/", "/c", "/c"});
}

TEST_CASE("an expired token starts the list again and drops what came") {
  Fixture f;
  f.api.on_page = [&](int page) {
    if (page == 2) {
      f.api.Remove({"ns", "p0"});
      f.api.Compact();
    }
  };
  const auto listed = f.Names();
  REQUIRE(listed.ok());
  CHECK(listed->items == std::vector<std::string>{"p1", "p2", "p3", "p4"});
  CHECK(listed->resource_version == "1006");
}

TEST_CASE("restarts are bounded") {
  Fixture f;
  f.api.on_page = [&](int page) {
    if (page % 2 == 1) f.api.Compact();
  };
  CHECK(f.Names().status().code() == absl::StatusCode::kOutOfRange);
  CHECK(f.api.lists().size() == 8);
}

TEST_CASE("an expired version on the first page is the caller's to handle") {
  Fixture f;
  f.api.list_results = {absl::OutOfRangeError("gone")};
  CHECK(f.Names().status().code() == absl::StatusCode::kOutOfRange);
  CHECK(f.api.lists().size() == 1);
}

TEST_CASE("any other error ends the list with it") {
  Fixture f;
  f.api.list_results = {absl::OkStatus(), absl::PermissionDeniedError("no")};
  CHECK(f.Names().status().code() == absl::StatusCode::kPermissionDenied);
  CHECK(f.api.lists().size() == 2);
}

TEST_CASE("an error of the visitor ends the list with it") {
  Fixture f;
  int seen = 0;
  const auto version = ListAll(
      f.api, f.query, [&](json::Cursor) { return ++seen == 3 ? absl::AbortedError("enough") : absl::OkStatus(); },
      [] {}, {});
  CHECK(version.status().code() == absl::StatusCode::kAborted);
  CHECK(seen == 3);
}

TEST_CASE("a list that never ends is data loss, one of the allowed length is not") {
  Fixture f(0);
  const int pages = GENERATE(as<int>(), kMaxListPages, kMaxListPages + 1, 10 * kMaxListPages);
  // Always another token, in a circle: no page leads to itself.
  f.api.on_page = [&](int page) {
    f.api.answer = ListPage{"5", page + 1 == pages ? "" : fmt::format("5:{}", page % 3)};
  };
  const auto listed = f.Names();
  if (pages == kMaxListPages) {
    CHECK(listed.ok());
  } else {
    CHECK(listed.status().code() == absl::StatusCode::kDataLoss);
    CHECK_THAT(std::string(listed.status().message()), Catch::Contains("list of pods does not end"));
  }
  CHECK(f.api.lists().size() == kMaxListPages);
}

TEST_CASE("a list that leads to itself or has no version is data loss") {
  Fixture f;
  SECTION("same token again") { f.api.answer = ListPage{"5", "5:1"}; }
  SECTION("no version") { f.api.answer = ListPage{"", ""}; }
  CHECK(f.Names().status().code() == absl::StatusCode::kDataLoss);
  CHECK(f.api.lists().size() <= 2);
}

}  // namespace
}  // namespace clusterpulse::kube
