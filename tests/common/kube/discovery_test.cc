#include "common/kube/discovery.h"

#include <map>

#include <catch2/catch.hpp>

#include "common/base/testing/manual_clock.h"

namespace clusterpulse::kube {
namespace {

using Code = absl::StatusCode;
using std::chrono::seconds;

// Answers GetPath from a table; everything else is out of this test's reach.
class PathApi final : public KubeApi {
 public:
  std::map<std::string, std::string, std::less<>> paths;
  absl::Status failure;
  int calls = 0;

  absl::StatusOr<std::string> GetPath(std::string_view path, const CallOptions&) override {
    ++calls;
    if (!failure.ok()) return failure;
    const auto found = paths.find(path);
    if (found == paths.end()) return ToStatus({404, "NotFound", "no such path", {}});
    return found->second;
  }
  absl::StatusOr<ListPage> List(const ListQuery&, ItemVisitor, const CallOptions&) override { return No(); }
  absl::Status Watch(const WatchQuery&, WatchVisitor, const CallOptions&) override { return No(); }
  absl::StatusOr<std::string> Get(const ResourceType&, const ObjectKey&, const CallOptions&) override { return No(); }
  absl::StatusOr<std::string> Create(const ResourceType&, std::string_view, std::string_view,
                                     const CallOptions&) override {
    return No();
  }
  absl::StatusOr<std::string> Replace(const ResourceType&, const ObjectKey&, std::string_view,
                                      const CallOptions&) override {
    return No();
  }
  absl::StatusOr<std::string> Patch(const ResourceType&, const ObjectKey&, PatchType, std::string_view,
                                    const PatchOptions&, const CallOptions&) override {
    return No();
  }
  absl::Status Delete(const ResourceType&, const ObjectKey&, const DeleteOptions&, const CallOptions&) override {
    return No();
  }

 private:
  static absl::Status No() { return absl::UnimplementedError("not in this test"); }
};

struct Fixture {
  PathApi api;
  base::ManualClock clock;
  Discovery discovery{api, clock, {}};

  Fixture() {
    api.paths["/api/v1"] =
        R"({"kind":"APIResourceList","groupVersion":"v1","resources":[)"
        R"({"name":"pods/status","kind":"Pod","namespaced":true},{"name":"pods","kind":"Pod","namespaced":true},)"
        R"({"name":"nodes","kind":"Node","namespaced":false},{"name":"../evil","kind":"Evil","namespaced":true}]})";
    api.paths["/apis/apps/v1"] = R"({"resources":[{"name":"deployments","kind":"Deployment","namespaced":true},)"
                                 R"({"name":"deployments/scale","kind":"Scale","namespaced":true}]})";
  }
  absl::StatusOr<ResourceType> Find(std::string_view api_version, std::string_view kind) {
    return discovery.Find(api_version, kind, {});
  }
};

TEST_CASE("a kind is mapped to its resource and scope") {
  Fixture f;
  CHECK(*f.Find("v1", "Pod") == ResourceType{"", "v1", "pods", "Pod", true});
  CHECK(*f.Find("v1", "Node") == ResourceType{"", "v1", "nodes", "Node", false});
  CHECK(f.api.calls == 1);
  CHECK(*f.Find("apps/v1", "Deployment") == ResourceType{"apps", "v1", "deployments", "Deployment", true});
}

TEST_CASE("what is not served is not found") {
  Fixture f;
  CHECK(f.Find("v1", "Nope").status().code() == Code::kNotFound);
  CHECK(f.Find("v1", "Evil").status().code() == Code::kNotFound);
  CHECK(f.Find("apps/v1", "Scale").status().code() == Code::kNotFound);
  CHECK(f.Find("gone.io/v1", "Thing").status().code() == Code::kNotFound);
  for (const char* bad : {"", "/", "a/", "/v1", "a/b/c", "a/../v1"}) {
    CAPTURE(bad);
    CHECK(f.Find(bad, "Pod").status().code() == Code::kInvalidArgument);
  }
}

TEST_CASE("a miss asks again, but not at every call") {
  Fixture f;
  CHECK(f.Find("new.io/v1", "Thing").status().code() == Code::kNotFound);
  f.api.paths["/apis/new.io/v1"] = R"({"resources":[{"name":"things","kind":"Thing","namespaced":false}]})";
  CHECK(f.Find("new.io/v1", "Thing").status().code() == Code::kNotFound);
  CHECK(f.api.calls == 1);
  f.clock.AdvanceBy(seconds(10));
  CHECK(f.Find("new.io/v1", "Thing").ok());
  CHECK(f.api.calls == 2);
}

TEST_CASE("an old answer is asked again, and used while the server cannot be asked") {
  Fixture f;
  CHECK(f.Find("v1", "Pod").ok());
  f.clock.AdvanceBy(seconds(601));
  f.api.failure = absl::UnavailableError("down");
  CHECK(f.Find("v1", "Pod").ok());
  CHECK(f.api.calls == 2);
  CHECK(f.Find("v1", "Nope").status().code() == Code::kUnavailable);
  f.api.failure = absl::OkStatus();
  f.api.paths["/api/v1"] = R"({"resources":[]})";
  CHECK(f.Find("v1", "Pod").status().code() == Code::kNotFound);
}

TEST_CASE("each time that the server is asked is counted") {
  Fixture f;
  std::int64_t calls = 0;
  CHECK(f.discovery.Find("v1", "Pod", {}, &calls).ok());
  CHECK(calls == 1);
  // From the cache, and not at all.
  CHECK(f.discovery.Find("v1", "Node", {}, &calls).ok());
  CHECK_FALSE(f.discovery.Find("v1", "Nope", {}, &calls).ok());
  CHECK_FALSE(f.discovery.Find("a/b/c", "Pod", {}, &calls).ok());
  CHECK(calls == 1);
  f.api.failure = absl::UnavailableError("down");
  CHECK_FALSE(f.discovery.Find("apps/v1", "Deployment", {}, &calls).ok());
  CHECK(calls == 2);
  CHECK(f.api.calls == 2);
}

TEST_CASE("the cache is bounded") {
  Fixture f;
  Discovery small(f.api, f.clock, {std::chrono::minutes(10), seconds(10), 1});
  CHECK(small.Find("v1", "Pod", {}).ok());
  f.clock.AdvanceBy(seconds(1));
  CHECK(small.Find("apps/v1", "Deployment", {}).ok());
  CHECK(small.Find("v1", "Pod", {}).ok());
  CHECK(f.api.calls == 3);
}

TEST_CASE("the server's version is read") {
  Fixture f;
  f.api.paths["/version"] = R"({"major":"1","minor":"20+","gitVersion":"v1.20.5-gke.1","platform":"linux/arm64"})";
  const auto version = f.discovery.Version({});
  REQUIRE(version.ok());
  CHECK(version->major == 1);
  CHECK(version->minor == 20);
  CHECK(version->git_version == "v1.20.5-gke.1");
  CHECK(version->platform == "linux/arm64");
  f.api.paths["/version"] = "<html>";
  CHECK(f.discovery.Version({}).status().code() == Code::kDataLoss);
}

}  // namespace
}  // namespace clusterpulse::kube
