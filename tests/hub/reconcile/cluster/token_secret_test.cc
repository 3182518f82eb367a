#include "hub/reconcile/cluster/token_secret.h"

#include <set>

#include <absl/strings/escaping.h>
#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "common/base/status.h"
#include "common/kube/testing/fake_kube_api.h"

namespace clusterpulse::reconcile {
namespace {

const kube::ObjectKey kKey{"hub", "a-collector-token"};

struct Fixture {
  kube::FakeKubeApi hub;
  ClusterConnection connection;

  Fixture() {
    REQUIRE(hub.store().Put(kube::kNamespaces, *json::Value::Parse(R"({"metadata":{"name":"hub"}})")).ok());
    connection.meta.ns = "hub";
    connection.meta.name = "a";
    connection.meta.uid = "uid-1";
  }
  absl::Status Ensure(bool was_used = false) { return EnsureTokenSecret(hub, connection, Secret(), was_used, {}); }
  json::Value Object() {
    const auto object = hub.store().Get(kube::kSecrets, kKey);
    REQUIRE(object.ok());
    return *json::Value::Parse((*object)->json);
  }
  // As the watch has it.
  std::optional<TokenSecret> Secret() {
    const auto object = hub.store().Get(kube::kSecrets, kKey);
    if (!object.ok()) return std::nullopt;
    TokenSecret secret;
    kube::ObjectMeta meta;
    REQUIRE(
        json::Parser().Parse((*object)->json, [&](json::Cursor c) { return ReadTokenSecret(c, meta, secret); }).ok());
    return secret;
  }
  std::string Token() {
    std::string token;
    const json::Value object = Object();
    const std::string_view encoded = object["data"]["token"].StringOr();
    REQUIRE(absl::Base64Unescape(absl::string_view(encoded.data(), encoded.size()), &token));
    return token;
  }
  void Patch(const std::string& text) {
    REQUIRE(hub.store().Patch(kube::kSecrets, kKey, kube::StorePatch::kMerge, *json::Value::Parse(text)).ok());
  }
};

TEST_CASE("tokens are 256 random bits, and compared by their digests") {
  std::set<std::string> seen;
  for (int i = 0; i < 100; ++i) {
    const std::string token = NewToken();
    CHECK(token.size() == 43);
    CHECK(token.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") ==
          std::string::npos);
    seen.insert(token);
  }
  CHECK(seen.size() == 100);
  CHECK(Hex(DigestOf("abc"), 32) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(Equal(DigestOf("a"), DigestOf("a")));
  CHECK_FALSE(Equal(DigestOf("a"), DigestOf("b")));
}

TEST_CASE("a missing Secret is made, with an owner, and then left alone") {
  Fixture f;
  REQUIRE(f.Ensure().ok());
  const json::Value object = f.Object();
  CHECK(object["type"].StringOr() == "Opaque");
  CHECK(object["metadata"]["labels"][kTokenLabel].StringOr() == "true");
  CHECK(object["metadata"]["annotations"][kTokenClusterAnnotation].StringOr() == "a");
  REQUIRE(object["metadata"]["ownerReferences"].items().size() == 1);
  const json::Value& owner = object["metadata"]["ownerReferences"].items()[0];
  CHECK(owner["kind"].StringOr() == "ClusterConnection");
  CHECK(owner["apiVersion"].StringOr() == "clusterpulse.io/v1alpha1");
  CHECK(owner["name"].StringOr() == "a");
  CHECK(owner["uid"].StringOr() == "uid-1");
  const std::string token = f.Token();
  CHECK(token.size() == 43);
  const auto secret = f.Secret();
  CHECK(secret->digest == DigestOf(token));
  CHECK_FALSE(secret->used);
  CHECK(secret->IsFor("uid-1"));

  f.hub.ClearCalls();
  REQUIRE(f.Ensure().ok());
  CHECK(f.hub.calls().empty());
  // The cache has not heard of it yet.
  REQUIRE(EnsureTokenSecret(f.hub, f.connection, std::nullopt, false, {}).ok());
  CHECK(f.Token() == token);
}

TEST_CASE("a Secret that lost its token, or is of an object that is gone, gets a new token") {
  struct Case {
    const char* name;
    const char* patch;
    bool keeps_used;
  };
  const Case cases[] = {
      {"emptied", R"({"data":{"token":""}})", true},
      {"blank", R"({"data":{"token":"IAo="}})", true},
      {"without data", R"({"data":null})", true},
      {"no base64", R"({"data":{"token":"%"}})", true},
      {"of another object", R"({"metadata":{"annotations":{"clusterpulse.io/cluster-uid":"uid-0"}}})", false},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      Fixture f;
      REQUIRE(f.Ensure().ok());
      const std::string before = f.Token();
      f.Patch(R"({"metadata":{"annotations":{"clusterpulse.io/collector-token-used":"true"}}})");
      f.Patch(c.patch);
      CHECK_FALSE(f.Secret()->IsFor("uid-1"));
      REQUIRE(f.Ensure().ok());
      CHECK(f.Secret()->IsFor("uid-1"));
      CHECK(f.Secret()->used == c.keeps_used);
      CHECK(f.Token() != before);
      CHECK(f.Object()["metadata"]["ownerReferences"].items()[0]["uid"].StringOr() == "uid-1");
    }
  }
}

TEST_CASE("an operator's own token is taken as it is") {
  Fixture f;
  REQUIRE(f.hub.store()
              .Put(kube::kSecrets, *json::Value::Parse(
                                       R"({"metadata":{"namespace":"hub","name":"a-collector-token",
      "labels":{"clusterpulse.io/collector-token":"true"}},"data":{"token":"c2VjcmV0Cg=="}})"))
              .ok());
  REQUIRE(f.Ensure().ok());
  CHECK(f.Token() == "secret\n");
  CHECK(f.Secret()->digest == DigestOf("secret"));  // the newline files bring is none of it
  CHECK(f.Secret()->IsFor("any"));
}

TEST_CASE("a known use of the own token outlives the Secret") {
  Fixture f;
  REQUIRE(f.Ensure(true).ok());
  CHECK(f.Secret()->used);
}

TEST_CASE("what stands in the way is said with what to do") {
  Fixture f;
  SECTION("no permission") {
    f.hub.FailNext(kube::Verb::kCreate, "secrets", kube::ToStatus({403, "Forbidden", "secrets is forbidden", {}}));
    const absl::Status status = f.Ensure();
    CHECK(status.code() == absl::StatusCode::kPermissionDenied);
    CHECK_THAT(base::Message(status), Catch::Contains("grant it get, create and patch on secrets in namespace hub"));
  }
  SECTION("a foreign Secret of that name") {
    REQUIRE(f.hub.store()
                .Put(kube::kSecrets,
                     *json::Value::Parse(
                         R"({"metadata":{"namespace":"hub","name":"a-collector-token"},"data":{"token":"eA=="}})"))
                .ok());
    const absl::Status status = f.Ensure();
    CHECK(status.code() == absl::StatusCode::kFailedPrecondition);
    CHECK_THAT(base::Message(status), Catch::Contains("is not one of ours"));
    CHECK(f.Token() == "x");
    CHECK_FALSE(f.Secret()->IsFor("uid-1"));
  }
  SECTION("a name without room") {
    f.connection.meta.name = std::string(250, 'a');
    CHECK(f.Ensure().code() == absl::StatusCode::kInvalidArgument);
  }
  SECTION("somebody else was faster") {
    REQUIRE(f.Ensure().ok());
    f.Patch(R"({"data":{"token":""}})");
    f.hub.FailNext(kube::Verb::kPatch, "secrets", kube::ToStatus({409, "Conflict", "modified", {}}));
    CHECK_FALSE(f.Ensure().ok());
  }
}

TEST_CASE("the cluster of a Secret by its name") {
  CHECK(TokenSecretKey({"hub", "a"}) == kKey);
  CHECK(ClusterOfTokenSecret(kKey) == kube::ObjectKey{"hub", "a"});
  CHECK_FALSE(ClusterOfTokenSecret({"hub", "-collector-token"}).has_value());
  CHECK_FALSE(ClusterOfTokenSecret({"hub", "a-creds"}).has_value());
}

}  // namespace
}  // namespace clusterpulse::reconcile
