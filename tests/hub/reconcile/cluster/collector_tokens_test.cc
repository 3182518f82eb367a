#include "hub/reconcile/cluster/collector_tokens.h"

#include <set>

#include <absl/strings/escaping.h>
#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "common/base/testing/manual_clock.h"
#include "common/kube/testing/fake_kube_api.h"

namespace clusterpulse::reconcile {
namespace {

using namespace std::chrono_literals;

// A push cluster "a" whose own token is "own" and whose bootstrap token, in Secret hub/a-creds, is "boot".
struct Fixture {
  base::ManualClock clock;
  kube::FakeKubeApi hub;
  std::optional<ClusterConnection> connection;
  std::set<std::string> others;  // clusters like "a", with its bootstrap token
  bool synced = true;
  CollectorTokens::Options options{.hub_namespace = "hub"};
  std::unique_ptr<CollectorTokens> tokens;
  std::unique_ptr<TokenUseMarker> marker;
  std::vector<kube::ObjectKey> used;  // what the marker was told

  Fixture() {
    connection.emplace();
    connection->meta.ns = "hub";
    connection->meta.name = "a";
    connection->meta.uid = "uid-1";
    connection->spec.credentials_name = "a-creds";
    Put("a-creds", "boot");
    Put("a-collector-token", "own",
        R"("labels":{"clusterpulse.io/collector-token":"true"},)"
        R"("annotations":{"clusterpulse.io/cluster-uid":"uid-1"})");
    Restart();
  }
  void Put(const std::string& name, const std::string& token, const std::string& meta = R"("labels":{})",
           const std::string& ns = "hub") {
    REQUIRE(
        hub.store()
            .Put(kube::kSecrets, *json::Value::Parse(fmt::format(
                                     R"({{"metadata":{{"namespace":"{}","name":"{}",{}}},"data":{{"token":"{}"}}}})",
                                     ns, name, meta, absl::Base64Escape(token))))
            .ok());
  }
  void Remove(const std::string& name) { REQUIRE(hub.store().Delete(kube::kSecrets, {"hub", name}).ok()); }
  void Restart() {
    CollectorTokens::Sources sources;
    sources.connection = [this](const std::string& cluster) {
      if (cluster == "a") return connection;
      if (!others.contains(cluster)) return std::optional<ClusterConnection>();
      ClusterConnection other = *connection;
      other.meta.name = cluster;
      return std::optional<ClusterConnection>(other);
    };
    sources.token_secret = [this](const kube::ObjectKey& key) -> std::optional<TokenSecret> {
      const auto object = hub.store().Get(kube::kSecrets, key);
      if (!object.ok()) return std::nullopt;
      TokenSecret secret;
      kube::ObjectMeta meta;
      REQUIRE(
          json::Parser().Parse((*object)->json, [&](json::Cursor c) { return ReadTokenSecret(c, meta, secret); }).ok());
      return secret;
    };
    sources.secret_version = [this](const kube::ObjectKey& key) -> std::optional<std::string> {
      if (key.ns != "hub") return std::nullopt;
      const auto object = hub.store().Get(kube::kSecrets, key);
      if (!object.ok()) return std::nullopt;
      return std::to_string((*object)->version);
    };
    sources.synced = [this] { return synced; };
    tokens = std::make_unique<CollectorTokens>(
        hub, sources, [this](const kube::ObjectKey& secret) { used.push_back(secret); }, options, clock);
    marker = std::make_unique<TokenUseMarker>(hub, sources.token_secret);
  }
  // "own", "bootstrap", or the error's code.
  std::string Try(std::string_view token, const std::string& cluster = "a") {
    const auto credential = tokens->Authenticate(cluster, token);
    if (!credential.ok()) return absl::StatusCodeToString(credential.status().code());
    last = *credential;
    return credential->bootstrap ? "bootstrap" : "own";
  }
  // What a stream that was let in goes by.
  std::string State(const ingest::Credential& credential) {
    switch (tokens->Check("a", credential)) {
      case ingest::Validity::kValid:
        return "valid";
      case ingest::Validity::kRevoked:
        return "revoked";
      case ingest::Validity::kUnknown:
        return "unknown";
    }
    return "";
  }
  // As its controller would, of the Secret of "a".
  absl::Status Mark() {
    const auto result = marker->Reconcile(used.empty() ? TokenSecretKey({"hub", "a"}) : used.back(), {});
    if (result.ok()) used.clear();
    return result.status();
  }
  bool Valid() { return tokens->Verify("a", last).ok(); }
  int Reads() { return hub.Count(kube::Verb::kGet, "secrets"); }

  ingest::Credential last;
};

TEST_CASE("a token lets in exactly the cluster it is of") {
  Fixture f;
  CHECK(f.Try("boot") == "bootstrap");
  CHECK(f.Try("own") == "own");
  for (const char* wrong : {"", "ow", "owner", "OWN", "own "}) {
    CAPTURE(wrong);
    CHECK(f.Try(wrong) == "UNAUTHENTICATED");
  }
  CHECK(f.Try("own", "b") == "UNAUTHENTICATED");
  f.synced = false;
  CHECK(f.Try("own") == "UNAVAILABLE");
}

TEST_CASE("once a cluster used its own token its bootstrap token is refused, for good") {
  Fixture f;
  REQUIRE(f.Try("boot") == "bootstrap");
  const ingest::Credential bootstrap = f.last;
  CHECK(f.State(bootstrap) == "valid");
  REQUIRE(f.Try("own") == "own");
  CHECK(f.State(bootstrap) == "revoked");
  CHECK(f.Try("boot") == "UNAUTHENTICATED");
  CHECK(f.hub.Count(kube::Verb::kPatch, "secrets") == 0);  // nobody is let in later for it
  REQUIRE(f.Mark().ok());
  f.Restart();
  CHECK(f.Try("boot") == "UNAUTHENTICATED");
  CHECK(f.Try("own") == "own");
  CHECK(f.used.empty());
  // Another object of that name knows nothing of it.
  f.connection->meta.uid = "uid-2";
  CHECK(f.Try("own") == "UNAUTHENTICATED");
  CHECK(f.Try("boot") == "bootstrap");
}

TEST_CASE("a use that could not be written down counts here, and is written later") {
  Fixture f;
  f.hub.FailNext(kube::Verb::kPatch, "secrets", kube::ToStatus({403, "Forbidden", "no", {}}));
  CHECK(f.Try("own") == "own");
  CHECK(f.Try("boot") == "UNAUTHENTICATED");
  CHECK(absl::IsPermissionDenied(f.Mark()));
  CHECK(f.Mark().ok());
  CHECK(f.Mark().ok());
  CHECK(f.hub.Count(kube::Verb::kPatch, "secrets") == 2);  // none once it says so
  f.Restart();
  CHECK(f.Try("boot") == "UNAUTHENTICATED");
}

TEST_CASE("nothing is marked of a Secret that is gone") {
  Fixture f;
  REQUIRE(f.Try("own") == "own");
  f.Remove("a-collector-token");
  CHECK(f.Mark().ok());
  CHECK(f.hub.Count(kube::Verb::kPatch, "secrets") == 0);
}

TEST_CASE("bootstrap tokens can be switched off") {
  Fixture f;
  f.options.accept_bootstrap = false;
  f.Restart();
  CHECK(f.Try("boot") == "UNAUTHENTICATED");
  CHECK(f.Try("own") == "own");
  CHECK(f.Reads() == 0);
}

TEST_CASE("a replaced or revoked token ends what it let in") {
  Fixture f;
  SECTION("own, replaced") {
    REQUIRE(f.Try("own") == "own");
    CHECK(f.Valid());
    f.Put("a-collector-token", "new", R"("labels":{"clusterpulse.io/collector-token":"true"})");
    CHECK_FALSE(f.Valid());
    CHECK(f.Try("own") == "UNAUTHENTICATED");
    CHECK(f.Try("new") == "own");
  }
  SECTION("own, deleted") {
    REQUIRE(f.Try("own") == "own");
    f.Remove("a-collector-token");
    CHECK_FALSE(f.Valid());
  }
  SECTION("own, without its label") {
    REQUIRE(f.Try("own") == "own");
    f.Put("a-collector-token", "own");
    CHECK_FALSE(f.Valid());
  }
  SECTION("bootstrap, replaced") {
    REQUIRE(f.Try("boot") == "bootstrap");
    f.Put("a-creds", "new");
    CHECK_FALSE(f.Valid());
    CHECK(f.Try("boot") == "UNAUTHENTICATED");
    CHECK(f.Try("new") == "bootstrap");
    CHECK(f.Valid());
  }
  SECTION("bootstrap, deleted") {
    REQUIRE(f.Try("boot") == "bootstrap");
    f.Remove("a-creds");
    CHECK_FALSE(f.Valid());
    CHECK(f.Try("boot") == "UNAUTHENTICATED");
  }
  SECTION("bootstrap, of another Secret") {
    REQUIRE(f.Try("boot") == "bootstrap");
    f.connection->spec.credentials_name = "other";
    CHECK_FALSE(f.Valid());
  }
  SECTION("the object is gone") {
    REQUIRE(f.Try("boot") == "bootstrap");
    f.connection.reset();
    CHECK_FALSE(f.Valid());
  }
}

TEST_CASE("wrong tokens cost no calls: the Secret is read when it changes") {
  Fixture f;
  for (int i = 0; i < 100; ++i) CHECK(f.Try("wrong") == "UNAUTHENTICATED");
  CHECK(f.Reads() == 1);
  f.clock.AdvanceBy(1h);
  CHECK(f.Try("boot") == "bootstrap");
  CHECK(f.Valid());
  CHECK(f.Reads() == 1);
}

TEST_CASE("a bootstrap token of another namespace is read anew from time to time") {
  Fixture f;
  f.connection->spec.credentials_namespace = "vault";
  f.Put("a-creds", "far", R"("labels":{})", "vault");
  CHECK(f.Try("boot") == "UNAUTHENTICATED");
  CHECK(f.Try("far") == "bootstrap");
  CHECK(f.Reads() == 1);
  CHECK(f.State(f.last) == "valid");
  f.clock.AdvanceBy(30s);
  CHECK(f.State(f.last) == "unknown");  // nobody would notice that it was revoked
  CHECK(f.Reads() == 1);
  CHECK(f.Valid());
  CHECK(f.Reads() == 2);
  CHECK(f.State(f.last) == "valid");
  f.Put("a-creds", "new", R"("labels":{})", "vault");
  f.clock.AdvanceBy(29s);
  CHECK(f.Valid());
  f.clock.AdvanceBy(1s);
  CHECK_FALSE(f.Valid());
  CHECK(f.State(f.last) == "revoked");
}

TEST_CASE("a Secret that changed, but not its token, ends no stream") {
  Fixture f;
  REQUIRE(f.Try("boot") == "bootstrap");
  f.Put("a-creds", "boot", R"("labels":{"team":"x"})");
  CHECK(f.State(f.last) == "unknown");
  CHECK(f.Valid());
  CHECK(f.State(f.last) == "valid");
  CHECK(f.Reads() == 2);
}

TEST_CASE("a Secret that the hub may not read makes wrong tokens wrong, and costs a call each 30 s") {
  Fixture f;
  const bool watched = GENERATE(true, false);
  if (!watched) f.connection->spec.credentials_namespace = "vault";
  f.hub.FailNext(kube::Verb::kGet, "secrets", kube::ToStatus({403, "Forbidden", "no", {}}));
  for (int i = 0; i < 100; ++i) CHECK(f.Try("wrong") == "UNAUTHENTICATED");
  CHECK(f.Try("boot") == "UNAUTHENTICATED");
  CHECK(f.Reads() == 1);
  f.Put("a-creds", "boot", R"("labels":{})", watched ? "hub" : "vault");
  f.clock.AdvanceBy(29s);
  CHECK(f.Try("boot") == "UNAUTHENTICATED");
  f.clock.AdvanceBy(1s);
  CHECK(f.Try("boot") == "bootstrap");
  CHECK(f.Reads() == 2);
}

TEST_CASE("what is kept of clusters that are gone does not grow for ever") {
  Fixture f;
  f.others = {"x"};
  REQUIRE(f.Try("boot", "x") == "bootstrap");
  const ingest::Credential credential = f.last;
  CHECK(f.tokens->Check("x", credential) == ingest::Validity::kValid);
  f.others.clear();
  for (int i = 0; i < 80; ++i) {
    f.others.insert("c" + std::to_string(i));
    REQUIRE(f.Try("boot", "c" + std::to_string(i)) == "bootstrap");
  }
  CHECK(f.tokens->Check("c0", credential) == ingest::Validity::kValid);
  f.others.insert("x");
  CHECK(f.tokens->Check("x", credential) == ingest::Validity::kUnknown);
}

TEST_CASE("when the hub's API server is away nobody is turned away for good") {
  Fixture f;
  f.hub.FailNext(kube::Verb::kGet, "secrets", absl::UnavailableError("connection refused"));
  for (int i = 0; i < 100; ++i) CHECK(f.Try(i % 2 == 0 ? "boot" : "wrong") == "UNAVAILABLE");
  CHECK(f.Reads() == 1);
  f.clock.AdvanceBy(5s);
  CHECK(f.Try("boot") == "bootstrap");
  f.hub.FailNext(kube::Verb::kGet, "secrets", absl::UnavailableError("connection refused"),
                 kube::FakeKubeApi::kForever);
  CHECK(f.Try("boot") == "bootstrap");
  CHECK(f.Valid());
  // Nor is a stream ended: it cannot be told.
  f.Put("a-creds", "boot", R"("labels":{"team":"x"})");
  CHECK(f.State(f.last) == "unknown");
  CHECK(f.tokens->Verify("a", f.last).code() == absl::StatusCode::kUnavailable);
  CHECK(f.State(f.last) == "unknown");
}

}  // namespace
}  // namespace clusterpulse::reconcile
