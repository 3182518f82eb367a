#include "common/kube/testing/fake_kube_api.h"

#include <catch2/catch.hpp>

#include "common/base/thread.h"

namespace clusterpulse::kube {
namespace {

using std::chrono::milliseconds;

struct Fixture {
  FakeKubeApi kube;

  absl::Status AddNode(std::string name) {
    return kube.Create(kNodes, "", R"({"metadata":{"name":")" + name + "\"}}", {}).status();
  }
  absl::Status List() {
    return kube.List({.resource = kNodes}, [](json::Cursor) { return absl::OkStatus(); }, {}).status();
  }
};

TEST_CASE_METHOD(Fixture, "a scripted fault hits the next calls of its verb and resource only") {
  kube.FailNext(Verb::kList, "nodes", absl::UnavailableError("connection refused"), 2);
  CHECK(AddNode("a").ok());
  CHECK(List().code() == absl::StatusCode::kUnavailable);
  CHECK(List().code() == absl::StatusCode::kUnavailable);
  CHECK(List().ok());
  CHECK(kube.Count(Verb::kList, "nodes") == 3);
  CHECK(kube.Count(Verb::kList, "pods") == 0);
  kube.FailNext(Verb::kList, "", absl::UnavailableError("down"), FakeKubeApi::kForever);
  for (int i = 0; i < 3; ++i) CHECK_FALSE(List().ok());
  kube.ClearFaults();
  CHECK(List().ok());
}

TEST_CASE_METHOD(Fixture, "calls are recorded with what they carried") {
  CHECK(AddNode("a").ok());
  CHECK(kube.Patch(kNodes, {"", "a"}, PatchType::kMerge, R"({"status":{}})", {.subresource = "status"}, {}).ok());
  const auto calls = kube.calls();
  REQUIRE(calls.size() == 2);
  CHECK(calls[1].verb == Verb::kPatch);
  CHECK(calls[1].subresource == "status");
  CHECK(calls[1].key == ObjectKey{"", "a"});
  CHECK(calls[1].body == R"({"status":{}})");
}

TEST_CASE_METHOD(Fixture, "a held call ends by release, deadline or stop") {
  kube.Hold(Verb::kGet, "nodes");
  CHECK(kube.Get(kNodes, {"", "a"}, {.timeout = milliseconds(1)}).status().code() ==
        absl::StatusCode::kDeadlineExceeded);
  std::stop_source stop;
  stop.request_stop();
  CHECK(kube.Get(kNodes, {"", "a"}, {.stop = stop.get_token()}).status().code() == absl::StatusCode::kCancelled);
  absl::Status held;
  {
    const auto caller = base::StartThread("caller", [&] { held = kube.Get(kNodes, {"", "a"}, {}).status(); });
    CHECK(kube.WaitForCalls(Verb::kGet, "nodes", 3));
    kube.Release();
  }
  CHECK(held.code() == absl::StatusCode::kNotFound);
}

TEST_CASE_METHOD(Fixture, "watches are cut after a number of events, ended on request and given bookmarks") {
  for (const char* name : {"a", "b", "c"}) CHECK(AddNode(name).ok());
  int events = 0, bookmarks = 0;
  const auto count = [&](WatchEventType type, json::Cursor) {
    ++(type == WatchEventType::kBookmark ? bookmarks : events);
    return absl::OkStatus();
  };
  kube.CutWatchesAfter(2);
  CHECK(kube.Watch({.resource = kNodes, .resource_version = "0"}, count, {}).code() == absl::StatusCode::kUnavailable);
  CHECK(events == 2);
  kube.ClearFaults();

  absl::Status ended;
  {
    const auto watcher = base::StartThread("watcher", [&] {
      ended = kube.Watch({.resource = kNodes, .resource_version = "0"},
                         [&](WatchEventType type, json::Cursor) {
                           if (type == WatchEventType::kBookmark) kube.EndWatches(absl::OutOfRangeError("too old"));
                           return absl::OkStatus();
                         },
                         {});
    });
    REQUIRE(kube.WaitForWatches("nodes", 1));
    kube.SendBookmark();
  }
  CHECK(ended.code() == absl::StatusCode::kOutOfRange);
}

TEST_CASE_METHOD(Fixture, "discovery and version come from the store") {
  for (const char* path : {"/version", "/api", "/apis", "/api/v1", "/apis/apps", "/apis/apps/v1"}) {
    CAPTURE(path);
    const auto body = kube.GetPath(path, {});
    REQUIRE(body.ok());
    CHECK(json::Value::Parse(*body).ok());
  }
  CHECK(kube.GetPath("/apis/nowhere.io/v1", {}).status().code() == absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace clusterpulse::kube
