#include "hub/runtime/finalizers.h"

#include <catch2/catch.hpp>

#include "common/kube/testing/fake_kube_api.h"

namespace clusterpulse::runtime {
namespace {

using kube::FakeKubeApi;
using kube::Verb;

constexpr std::string_view kOurs = "clusterpulse.io/cleanup";
const kube::ObjectKey kKey{"default", "d"};

struct Fixture {
  Fixture() {
    REQUIRE(api.store()
                .Put(kube::kDeployments,
                     *json::Value::Parse(R"({"metadata":{"name":"d","namespace":"default","finalizers":["other"]}})"))
                .ok());
  }
  kube::ObjectMeta Meta() {
    kube::ObjectMeta meta;
    const auto object = api.store().Get(kube::kDeployments, kKey);
    REQUIRE(object.ok());
    REQUIRE(json::Parser()
                .Parse((*object)->json,
                       [&](json::Cursor root) {
                         return root.ForEachMember([&](std::string_view key, json::Cursor value) {
                           return key == "metadata" ? kube::ReadMeta(value, kube::MetaParts::kAll, meta)
                                                    : absl::OkStatus();
                         });
                       })
                .ok());
    return meta;
  }
  absl::StatusOr<bool> Add(const kube::ObjectMeta& meta) {
    return AddFinalizer(api, kube::kDeployments, meta, kOurs, {});
  }
  absl::StatusOr<bool> Remove(const kube::ObjectMeta& meta) {
    return RemoveFinalizer(api, kube::kDeployments, meta, kOurs, {});
  }
  FakeKubeApi api;
};

using Finalizers = std::vector<std::string>;

TEST_CASE("a finalizer is added and removed once, and others stay") {
  Fixture f;
  CHECK(*f.Add(f.Meta()) == true);
  CHECK(f.Meta().finalizers == Finalizers{"other", std::string(kOurs)});
  CHECK(HasFinalizer(f.Meta(), kOurs));
  f.api.ClearCalls();
  CHECK(*f.Add(f.Meta()) == false);
  CHECK(f.api.calls().empty());
  CHECK(*f.Remove(f.Meta()) == true);
  CHECK(f.Meta().finalizers == Finalizers{"other"});
  f.api.ClearCalls();
  CHECK(*f.Remove(f.Meta()) == false);
  CHECK(f.api.calls().empty());
}

TEST_CASE("a stale view of the object loses nobody's finalizer") {
  Fixture f;
  const kube::ObjectMeta stale = f.Meta();
  REQUIRE(f.api.store()
              .Edit(kube::kDeployments, kKey,
                    [](json::Value& o) { o.Mutable("metadata").Mutable("finalizers").MutableArray().push_back("new"); })
              .ok());
  CHECK(*f.Add(stale) == true);
  CHECK(f.Meta().finalizers == Finalizers{"other", "new", std::string(kOurs)});
  // The view before the addition still says so; nothing is added twice.
  CHECK(*f.Add(stale) == false);
  CHECK(f.Meta().finalizers.size() == 3);
}

TEST_CASE("nothing is added to an object that is being deleted") {
  Fixture f;
  const kube::ObjectMeta before = f.Meta();
  REQUIRE(f.api.store().Delete(kube::kDeployments, kKey).ok());  // "other" keeps it
  f.api.ClearCalls();
  CHECK(*f.Add(f.Meta()) == false);
  CHECK(f.api.calls().empty());
  // Also when the deletion is not yet known here.
  CHECK(*f.Add(before) == false);
  CHECK(f.Meta().finalizers == Finalizers{"other"});
}

TEST_CASE("removing the last finalizer lets the object go, and removing again is fine") {
  Fixture f;
  REQUIRE(f.Add(f.Meta()).ok());
  REQUIRE(f.api.store()
              .Edit(kube::kDeployments, kKey,
                    [](json::Value& o) { o.Mutable("metadata").Mutable("finalizers") = json::Value::Array{kOurs}; })
              .ok());
  REQUIRE(f.api.store().Delete(kube::kDeployments, kKey).ok());
  const kube::ObjectMeta meta = f.Meta();
  CHECK(*f.Remove(meta) == true);
  CHECK_FALSE(f.api.store().Get(kube::kDeployments, kKey).ok());
  CHECK(*f.Remove(meta) == false);
}

TEST_CASE("an object of the same name that was made again is left alone") {
  Fixture f;
  kube::ObjectMeta meta = f.Meta();
  meta.uid = "another";
  meta.resource_version = "1";
  CHECK(f.Add(meta).status().code() == absl::StatusCode::kNotFound);
  meta.finalizers.emplace_back(kOurs);
  CHECK(*f.Remove(meta) == false);
  CHECK(f.Meta().finalizers == Finalizers{"other"});
}

TEST_CASE("endless conflicts end, and other errors are passed on") {
  Fixture f;
  f.api.FailNext(Verb::kPatch, "deployments", kube::ToStatus({.code = 409, .reason = "Conflict", .message = "changed"}),
                 FakeKubeApi::kForever);
  CHECK(f.Add(f.Meta()).status().code() == absl::StatusCode::kAborted);
  CHECK(f.api.Count(Verb::kPatch, "deployments") == 5);
  f.api.ClearFaults();
  f.api.FailNext(Verb::kPatch, "deployments", absl::UnavailableError("down"));
  CHECK(f.Add(f.Meta()).status().code() == absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace clusterpulse::runtime
