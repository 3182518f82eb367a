#include "hub/store/source_state.h"

#include <memory>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "common/base/testing/manual_clock.h"
#include "common/base/time_format.h"
#include "hub/store/embedded_store.h"

namespace clusterpulse::store {
namespace {

using namespace std::chrono_literals;

base::SystemTime At(std::string_view text) { return *base::ParseRfc3339(text); }

struct Fixture {
  base::ManualClock clock;
  std::unique_ptr<EmbeddedStore> store = *EmbeddedStore::Open({.data_dir = "", .clock = &clock});
  SourceState state{*store, 600s};

  std::string Text(const std::string& key) {
    const auto value = store->Get(key);
    REQUIRE(value.ok());
    return value->value_or("-");
  }
  std::vector<std::string> Members(const std::string& key) {
    const auto members = store->SetMembers(key);
    REQUIRE(members.ok());
    return *members;
  }
  void Put(const model::SourceResult& result, base::SystemTime at, std::chrono::seconds interval = 60s) {
    const auto write = state.WriteOf("c1", result, at, interval);
    REQUIRE(write.ok());
    REQUIRE(store->Commit(write->writes).ok());
  }
  std::optional<SourceRun> Run() {
    const auto runs = state.ReadRuns("ns/q", {"c1"});
    REQUIRE(runs.ok());
    return runs->front();
  }
};

SourceDefinition Definition(std::string type) {
  return {.ns = "ns",
          .name = "q",
          .json = "{}",
          .compiled_at = At("2031-02-03T04:05:06Z"),
          .hash = "0f1e",
          .kind = "Queue",
          .api_version = "mq/v1",
          .resource_type = std::move(type),
          .uid = "u-1",
          .clusters_json = R"({"names":["a*"]})"};
}

model::SourceResult Result() {
  model::SourceResult result{.source = "ns/q", .resource_count = 2, .duration = 12ms, .definition_hash = "0f1e"};
  result.rows = {{"a/x", "a", "x", {{"k", "v"}}, R"({"depth":1})"}, {"y", "", "y", {}, ""}};
  result.aggregations_json = R"({"total":2,"none":null,"by":{"up":2}})";
  result.fields = {{"depth", 1, 1, 0}};
  return result;
}

}  // namespace

TEST_CASE("a definition is found by its name, in the sets and by its type") {
  Fixture f;
  REQUIRE(f.state.PutDefinition(Definition("queue")).ok());
  CHECK(f.Text("metricsource:ns:q") == "{}");
  const auto meta = f.store->HashGetAll("metricsource:ns:q:meta");
  REQUIRE(meta.ok());
  CHECK(*meta == std::map<std::string, std::string>{{"compiledAt", "2031-02-03T04:05:06Z"},
                                                    {"hash", "0f1e"},
                                                    {"kind", "Queue"},
                                                    {"apiVersion", "mq/v1"},
                                                    {"resourceTypeName", "queue"},
                                                    {"uid", "u-1"},
                                                    {"clusters", R"({"names":["a*"]})"}});
  const auto read = f.state.ReadDefinition("ns", "q");
  REQUIRE(read.ok());
  CHECK(*read == Definition("queue"));
  CHECK(*f.state.ReadDefinition("ns", "other") == std::nullopt);
  CHECK(f.Members("metricsources:all") == std::vector<std::string>{"ns/q"});
  CHECK(f.Members("metricsources:enabled") == std::vector<std::string>{"ns/q"});
  CHECK(f.Members("metricsources:by:resourcetype:queue") == std::vector<std::string>{"ns/q"});

  // A renamed type leaves nothing behind.
  REQUIRE(f.state.PutDefinition(Definition("mailbox")).ok());
  CHECK(f.Members("metricsources:by:resourcetype:queue").empty());
  CHECK(f.Members("metricsources:by:resourcetype:mailbox") == std::vector<std::string>{"ns/q"});
  REQUIRE(f.state.PutDefinition(Definition("")).ok());
  CHECK(f.Members("metricsources:by:resourcetype:mailbox").empty());
}

TEST_CASE("a source that goes takes everything with it, and nothing else") {
  Fixture f;
  REQUIRE(f.state.PutDefinition(Definition("queue")).ok());
  f.Put(Result(), At("2031-02-03T04:05:06Z"));
  model::SourceResult other = Result();
  other.source = "ns/other";
  f.Put(other, At("2031-02-03T04:05:06Z"));
  for (int i = 0; i < 2; ++i) {  // repeatable
    REQUIRE(f.state.Remove("ns", "q", {"c1", "c2"}).ok());
    const auto keys = f.store->Keys("");
    REQUIRE(keys.ok());
    CHECK(*keys == std::vector<std::string>{"cluster:c1:custom:ns/other:aggregations",
                                            "cluster:c1:custom:ns/other:meta", "cluster:c1:custom:ns/other:resources"});
  }
}

TEST_CASE("a result becomes the documents of the contract") {
  Fixture f;
  f.Put(Result(), At("2031-02-03T04:05:06.25Z"));
  CHECK(f.Text("cluster:c1:custom:ns/q:resources") ==
        R"({"collectedAt":"2031-02-03T04:05:06.25Z","sourceId":"ns/q","clusterName":"c1","resourceCount":2,)"
        R"("truncated":false,"durationMs":12,"resources":[{"_id":"a/x","_namespace":"a","_name":"x",)"
        R"("_labels":{"k":"v"},"values":{"depth":1}},{"_id":"y","_name":"y","values":{}}]})");
  CHECK(f.Text("cluster:c1:custom:ns/q:aggregations") ==
        R"({"computedAt":"2031-02-03T04:05:06.25Z","sourceId":"ns/q","durationMs":12,)"
        R"("values":{"total":2,"none":null,"by":{"up":2}}})");
  CHECK(f.Text("cluster:c1:custom:ns/q:meta") ==
        R"({"sourceId":"ns/q","clusterName":"c1","lastCollectionTime":"2031-02-03T04:05:06.25Z","durationMs":12,)"
        R"("resourceCount":2,"truncated":false,"errorCount":0,"lastRunTime":"2031-02-03T04:05:06.25Z",)"
        R"("definitionHash":"0f1e","fields":[{"name":"depth","matched":1,"empty":1,"failed":0}]})");
  const auto run = f.Run();
  REQUIRE(run.has_value());
  CHECK(run->collected_at == At("2031-02-03T04:05:06.25Z"));
  CHECK(run->resources == 2);
  CHECK(run->definition_hash == "0f1e");
  CHECK(run->fields == std::vector<model::SourceField>{{"depth", 1, 1, 0}});

  SECTION("one that never gave rows says so") {
    REQUIRE(f.state.Drop("c1", "ns/q").ok());
    model::SourceResult failed{.source = "ns/q", .definition_hash = "0f1e", .failure = "Forbidden", .message = "no"};
    f.Put(failed, At("2031-02-03T04:06:06Z"));
    CHECK(f.Text("cluster:c1:custom:ns/q:meta").find(R"("lastCollectionTime":"0001-01-01T00:00:00Z")") !=
          std::string::npos);
    CHECK(f.Run()->collected_at == base::SystemTime{});
  }
  SECTION("a source without rows has an empty list, one without aggregations no document") {
    model::SourceResult empty{.source = "ns/q", .aggregations_json = "{}"};
    f.Put(empty, At("2031-02-03T04:06:06Z"));
    CHECK(f.Text("cluster:c1:custom:ns/q:resources").find(R"("resources":[]})") != std::string::npos);
    CHECK(f.Text("cluster:c1:custom:ns/q:aggregations") == "-");
  }
  SECTION("a run that failed leaves the rows, and says so") {
    const std::string rows = f.Text("cluster:c1:custom:ns/q:resources");
    model::SourceResult failed{.source = "ns/q", .definition_hash = "0f1e", .failure = "Forbidden", .message = "no"};
    failed.errors = 1;
    f.Put(failed, At("2031-02-03T04:06:06Z"));
    CHECK(f.Text("cluster:c1:custom:ns/q:resources") == rows);
    const auto after = f.Run();
    REQUIRE(after.has_value());
    CHECK(after->failure == "Forbidden");
    CHECK(after->message == "no");
    CHECK(after->ran_at == At("2031-02-03T04:06:06Z"));
    CHECK(after->collected_at == run->collected_at);
    CHECK(after->resources == 2);
    CHECK(after->errors == 1);
  }
  SECTION("but not those of another version") {
    model::SourceResult failed{.source = "ns/q", .definition_hash = "2222", .failure = "Forbidden", .message = "no"};
    f.Put(failed, At("2031-02-03T04:06:06Z"));
    CHECK(f.Text("cluster:c1:custom:ns/q:resources") == "-");
    CHECK(f.Text("cluster:c1:custom:ns/q:aggregations") == "-");
    CHECK(f.Run()->resources == 0);
  }
}

TEST_CASE("documents outlive three intervals, and CACHE_TTL at least") {
  struct Case {
    std::chrono::seconds interval, life;
  };
  const Case c = GENERATE(values<Case>({{60s, 600s}, {180s, 600s}, {3600s, 3 * 3600s + 60s}}));
  Fixture f;
  f.Put(Result(), f.clock.Now(), c.interval);
  for (const char* document : {"resources", "aggregations", "meta"}) {
    const auto life = f.store->TimeToLive(std::string("cluster:c1:custom:ns/q:") + document);
    REQUIRE(life.ok());
    CHECK(**life == c.life);
  }
}

TEST_CASE("what an upstream hub left, or nobody can read, is no surprise") {
  Fixture f;
  CHECK_FALSE(f.Run().has_value());
  REQUIRE(f.store
              ->Commit({SetString{"cluster:c1:custom:ns/q:meta",
                                  R"({"sourceId":"ns/q","clusterName":"c1","lastCollectionTime":)"
                                  R"("2031-02-03T04:05:06.25+02:00","durationMs":3,"resourceCount":4,)"
                                  R"("truncated":true,"errorCount":0})",
                                  {}}})
              .ok());
  const auto run = f.Run();
  REQUIRE(run.has_value());
  CHECK(run->resources == 4);
  CHECK(run->truncated);
  CHECK(run->ran_at == run->collected_at);
  for (const char* text : {"", "x", "[]", R"({"fields":7})"}) {
    REQUIRE(f.store->Commit({SetString{"cluster:c1:custom:ns/q:meta", text, {}}}).ok());
    const auto odd = f.Run();
    CHECK(odd.value_or(SourceRun()).resources == 0);
  }
}

}  // namespace clusterpulse::store
