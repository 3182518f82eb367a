#include "hub/reconcile/cluster/cluster_connection.h"

#include <catch2/catch.hpp>

#include "common/base/status.h"

namespace clusterpulse::reconcile {
namespace {

ClusterConnection Read(std::string_view text) {
  ClusterConnection connection;
  kube::ObjectMeta meta;
  json::Parser parser;
  REQUIRE(parser.Parse(text, [&](json::Cursor c) { return ReadClusterConnection(c, meta, connection); }).ok());
  CHECK(meta.name == connection.meta.name);
  return connection;
}

ClusterConnectionSpec GoodSpec() {
  ClusterConnectionSpec spec;
  spec.endpoint = "https://10.0.0.1:6443";
  spec.credentials_name = "creds";
  return spec;
}

TEST_CASE("a connection is read with spec, metadata and its status as it is") {
  const auto c = Read(R"({"metadata":{"name":"a","namespace":"hub","uid":"u","generation":3,
      "annotations":{"clusterpulse.io/paused":"true","clusterpulse.io/sync-now":"7"}},
    "spec":{"displayName":"A","endpoint":"https://a","credentialsRef":{"name":"s","namespace":"n"},
      "labels":{"ring":"canary"},"monitoring":{"interval":45,"timeout":8},"collectionMode":"push",
      "ingesterAddress":"i:443","collectorVersion":"v2"},
    "status":{"phase":"Connected","nodes":3}})");
  CHECK(c.key() == kube::ObjectKey{"hub", "a"});
  CHECK(c.secret() == kube::ObjectKey{"n", "s"});
  CHECK(c.meta.generation == 3);
  CHECK(c.spec.display_name == "A");
  CHECK(c.spec.labels == model::Labels{{"ring", "canary"}});
  CHECK(c.spec.interval_seconds == 45);
  CHECK(c.spec.timeout_seconds == 8);
  CHECK(c.spec.collection_mode == "push");
  CHECK(c.spec.ingester_address == "i:443");
  CHECK(c.spec.collector_version == "v2");
  CHECK(c.status["nodes"].IntOr() == 3);
  CHECK(IsPaused(c));
  CHECK(Annotation(c, kSyncNowAnnotation) == "7");
}

TEST_CASE("an object without spec and status, or with members of odd types, is read as far as it goes") {
  const auto bare = Read(R"({"metadata":{"name":"a","namespace":"hub"}})");
  CHECK(bare.spec == ClusterConnectionSpec());
  CHECK(bare.status.IsNull());
  const auto odd = Read(R"({"metadata":{"name":"a","namespace":"hub"},
      "spec":{"endpoint":7,"credentialsRef":"x","monitoring":[],"labels":null},"status":null})");
  CHECK(odd.spec == ClusterConnectionSpec());
}

TEST_CASE("the Secret is in the object's namespace unless the spec names another") {
  CHECK(Read(R"({"metadata":{"name":"a","namespace":"hub"},"spec":{"credentialsRef":{"name":"s"}}})").secret() ==
        kube::ObjectKey{"hub", "s"});
}

TEST_CASE("only the word true pauses; any word but false skips the cleanup") {
  struct Case {
    const char* value;
    bool paused, skips;
  };
  for (const Case& c :
       {Case{"true", true, true}, Case{"false", false, false}, Case{"", false, true}, Case{"yes", false, true}}) {
    CAPTURE(c.value);
    ClusterConnection connection;
    CHECK_FALSE(IsPaused(connection));
    CHECK_FALSE(SkipsCleanup(connection));
    connection.meta.annotations = {{std::string(kPausedAnnotation), c.value},
                                   {std::string(kSkipCleanupAnnotation), c.value}};
    CHECK(IsPaused(connection) == c.paused);
    CHECK(SkipsCleanup(connection) == c.skips);
  }
}

TEST_CASE("endpoints are made uniform, and what is wrong with one is said") {
  struct Case {
    const char* endpoint;
    const char* expected;  // starts with '!': part of the error
  };
  const Case cases[] = {
      {"https://10.0.0.1:6443", "https://10.0.0.1:6443"},
      {"https://api.example.com/", "https://api.example.com"},
      {"https://proxy.example.com/k8s/clusters/c-1//", "https://proxy.example.com/k8s/clusters/c-1"},
      {"HTTPS://Api.Example.com:6443", "https://Api.Example.com:6443"},
      {"http://127.0.0.1:8001", "http://127.0.0.1:8001"},
      {"10.0.0.1:6443", "https://10.0.0.1:6443"},
      {"api.example.com", "https://api.example.com"},
      {"https://[fd00::1]:6443", "https://[fd00::1]:6443"},
      {"https://[fd00::1]", "https://[fd00::1]"},
      {"https://a:1", "https://a:1"},
      {"https://a:65535", "https://a:65535"},
      {"", "!empty"},
      {"https://", "!no host"},
      {"https://:6443", "!no host"},
      {"ftp://a", "!scheme 'ftp'"},
      {"https://user:secret@a", "!user information"},
      {"https://a?x=1", "!query"},
      {"https://a/b#c", "!fragment"},
      {"https://a b", "!blanks"},
      {"https://a\n", "!blanks"},
      {"https://a:0", "!port '0'"},
      {"https://a:65536", "!port '65536'"},
      {"https://a:", "!port ''"},
      {"https://a:6443x", "!port '6443x'"},
      {"https://fd00::1", "!brackets"},
      {"https://[fd00::1", "!not closed"},
      {"https://[fd00::1]x", "!only a port"},
      {"https://[abc]", "!no IPv6 address"},
      {"https://a_b!c", "!no host name"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.endpoint);
    const auto result = NormalizeEndpoint(c.endpoint);
    if (c.expected[0] == '!') {
      REQUIRE_FALSE(result.ok());
      CHECK(result.status().code() == absl::StatusCode::kInvalidArgument);
      CHECK_THAT(base::Message(result.status()), Catch::Contains(c.expected + 1));
    } else {
      REQUIRE(result.ok());
      CHECK(*result == c.expected);
    }
  }
  CHECK_FALSE(NormalizeEndpoint("https://" + std::string(3000, 'a')).ok());
  CHECK_THAT(base::Message(NormalizeEndpoint("https://u:secret@a").status()), !Catch::Contains("secret"));
}

TEST_CASE("intervals and timeouts that make no sense fall back, short intervals and long timeouts run as 30 s") {
  struct Case {
    std::int64_t interval, timeout;
    int expected_interval, expected_timeout;
  };
  // Defaults: 60 s and 10 s.
  for (const Case& c : {Case{0, 0, 60, 10}, Case{-5, -1, 60, 10}, Case{1, 1, 30, 1}, Case{29, 5, 30, 5},
                        Case{30, 5, 30, 5}, Case{31, 5, 31, 5}, Case{120, 30, 120, 30}, Case{120, 31, 120, 30},
                        Case{120, 3600, 120, 30}, Case{std::int64_t{1} << 40, 1, 2147483647, 1}}) {
    CAPTURE(c.interval, c.timeout);
    auto spec = GoodSpec();
    spec.interval_seconds = c.interval;
    spec.timeout_seconds = c.timeout;
    const auto judgement = JudgeSpec(spec, {std::chrono::seconds(60), std::chrono::seconds(10)});
    CHECK(judgement.problems.empty());
    CHECK(judgement.timing.interval.count() == c.expected_interval);
    CHECK(judgement.timing.timeout.count() == c.expected_timeout);
  }
  CHECK(JudgeSpec(GoodSpec(), {std::chrono::seconds(5), std::chrono::seconds(10)}).timing.interval.count() == 30);
}

TEST_CASE("all problems of a spec are listed at once") {
  ClusterConnectionSpec spec;
  spec.endpoint = "ftp://x";
  spec.credentials_namespace = "a/b";
  spec.collection_mode = "carrier-pigeon";
  const auto judgement = JudgeSpec(spec, {});
  REQUIRE(judgement.problems.size() == 4);
  CHECK_THAT(judgement.problems[0], Catch::Contains("spec.endpoint"));
  CHECK_THAT(judgement.problems[1], Catch::Contains("spec.credentialsRef.name is missing"));
  CHECK_THAT(judgement.problems[2], Catch::Contains("spec.credentialsRef.namespace"));
  CHECK_THAT(judgement.problems[3], Catch::Contains("spec.collectionMode"));

  spec = GoodSpec();
  spec.credentials_name = "../other";
  CHECK(JudgeSpec(spec, {}).problems.size() == 1);
  spec = GoodSpec();
  spec.collection_mode = "push";
  CHECK(JudgeSpec(spec, {}).mode == model::CollectionMode::kPush);
  CHECK(JudgeSpec(spec, {}).problems.empty());
}

}  // namespace
}  // namespace clusterpulse::reconcile
