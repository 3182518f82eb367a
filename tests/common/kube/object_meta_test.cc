#include "common/kube/object_meta.h"

#include <catch2/catch.hpp>

namespace clusterpulse::kube {
namespace {

ObjectMeta Read(std::string_view json, MetaParts parts, ObjectMeta meta = {}) {
  json::Parser parser;
  const absl::Status status = parser.Parse(json, [&](json::Cursor c) { return ReadMeta(c, parts, meta); });
  REQUIRE(status.ok());
  return meta;
}

constexpr std::string_view kFull = R"({
  "name": "web-1", "namespace": "shop", "uid": "u-1", "resourceVersion": "42", "generation": 7,
  "creationTimestamp": "2031-04-05T06:07:08Z", "deletionTimestamp": "2031-04-05T06:08:08Z",
  "labels": {"app": "web", "odd": 3, "quoted\"key": "a\nb"}, "annotations": {"note": "x"},
  "finalizers": ["a/b", 5, "c/d"], "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:metadata": {}}}]})";

TEST_CASE("metadata is read whole") {
  const ObjectMeta meta = Read(kFull, MetaParts::kAll);
  CHECK(meta.key() == ObjectKey{"shop", "web-1"});
  CHECK(meta.uid == "u-1");
  CHECK(meta.resource_version == "42");
  CHECK(meta.generation == 7);
  CHECK(meta.creation_timestamp == "2031-04-05T06:07:08Z");
  CHECK(meta.deleting());
  CHECK(meta.labels == model::Labels{{"app", "web"}, {"quoted\"key", "a\nb"}});
  CHECK(meta.annotations == model::Labels{{"note", "x"}});
  CHECK(meta.finalizers == std::vector<std::string>{"a/b", "c/d"});
}

TEST_CASE("identity leaves the rest out") {
  const ObjectMeta meta = Read(kFull, MetaParts::kIdentity);
  CHECK(meta.key() == ObjectKey{"shop", "web-1"});
  CHECK(meta.resource_version == "42");
  CHECK(meta.uid.empty());
  CHECK(meta.labels.empty());
  CHECK(meta.finalizers.empty());
}

TEST_CASE("a reused target keeps nothing of the object before") {
  const ObjectMeta before = Read(kFull, MetaParts::kAll);
  const ObjectMeta meta = Read(R"({"name": "node-a"})", MetaParts::kAll, before);
  CHECK(meta.key() == ObjectKey{"", "node-a"});
  CHECK(meta.resource_version.empty());
  CHECK(meta.labels.empty());
  CHECK(meta.annotations.empty());
  CHECK(meta.finalizers.empty());
  CHECK_FALSE(meta.deleting());
  CHECK(meta.generation == 0);
  CHECK(Read(R"({"name": "node-a"})", MetaParts::kIdentity, before).key() == ObjectKey{"", "node-a"});
}

TEST_CASE("members of odd types and null are as if absent") {
  const ObjectMeta meta = Read(
      R"({"name": 5, "namespace": null, "labels": null, "annotations": [1], "finalizers": {"a": 1}, "generation": "x"})",
      MetaParts::kAll);
  CHECK(meta.name.empty());
  CHECK(meta.labels.empty());
  CHECK(meta.annotations.empty());
  CHECK(meta.finalizers.empty());
  CHECK(meta.generation == 0);
  CHECK(Read("[]", MetaParts::kAll).name.empty());
}

TEST_CASE("broken metadata is data loss") {
  json::Parser parser;
  ObjectMeta meta;
  for (const char* text :
       {R"({"name": "a", "labels": {"x": "y")", R"({"name" "a"})", R"({"name": "a",, "uid": "b"})"}) {
    CAPTURE(text);
    CHECK(parser.Parse(text, [&](json::Cursor c) { return ReadMeta(c, MetaParts::kAll, meta); }).code() ==
          absl::StatusCode::kDataLoss);
  }
}

}  // namespace
}  // namespace clusterpulse::kube
