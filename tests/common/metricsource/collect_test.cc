#include "common/metricsource/collect.h"

#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "common/kube/testing/fake_kube_api.h"

namespace clusterpulse::metricsource {
namespace {

using kube::Verb;

// A cluster with some pods, and one source on them.
struct Fixture {
  kube::FakeKubeApi api;
  kube::Discovery discovery{api, base::SystemClock(), {.min_refresh = std::chrono::milliseconds(0)}};
  base::SeededRandom random{1};
  std::shared_ptr<const Source> source;
  CollectOptions options{.first_retry = std::chrono::milliseconds(1)};

  explicit Fixture(std::string_view more = "{}") { Use(more); }

  // `more`: members that the spec has beside its fields; those of "source" are merged.
  void Use(std::string_view more) {
    auto spec = json::Value::Parse(R"({
      "source": {"apiVersion": "v1", "kind": "Pod"},
      "fields": [{"name": "phase", "path": ".status.phase"},
                 {"name": "restarts", "path": ".status.restarts", "type": "integer"}],
      "computed": [{"name": "twice", "expression": "restarts * 2", "type": "integer"}],
      "aggregations": [{"name": "total", "function": "count"}, {"name": "sum", "function": "sum", "field": "restarts"},
                       {"name": "by_phase", "function": "count", "groupBy": "phase"},
                       {"name": "least", "function": "min", "field": "restarts"}],
      "collection": {"batchSize": 10, "retryAttempts": 2}})");
    const auto patch = json::Value::Parse(more);
    REQUIRE(spec.ok());
    REQUIRE(patch.ok());
    json::MergePatch(*spec, *patch);
    Diagnostics diagnostics;
    source = Compile("hub", "pods", ReadSpec(*spec, diagnostics), diagnostics);
    CAPTURE(diagnostics.Summary());
    REQUIRE(source != nullptr);
  }
  void Put(const std::string& ns, const std::string& name, int restarts, const std::string& phase = "Running") {
    const auto pod = json::Value::Parse(fmt::format(
        R"({{"metadata":{{"namespace":"{}","name":"{}","labels":{{"app":"{}"}}}},"status":{{"phase":"{}","restarts":{}}}}})",
        ns, name, name.substr(0, 1), phase, restarts));
    REQUIRE(pod.ok());
    REQUIRE(api.store().Put(kube::kPods, *pod).ok());
  }
  Collection Run() { return Collect(*source, api, discovery, base::SystemClock(), random, options); }
};

std::vector<std::string> Ids(const Collection& collection) {
  std::vector<std::string> ids;
  for (std::size_t i = 0; i < collection.rows.size(); ++i) {
    const RowMeta meta = collection.rows.meta(i);
    ids.push_back(fmt::format("{}/{}", meta.ns, meta.name));
  }
  return ids;
}

}  // namespace

TEST_CASE("a run gives rows, computed values and aggregations") {
  Fixture f;
  f.Put("a", "x", 1);
  f.Put("b", "y", 4, "Failed");
  const Collection collection = f.Run();
  CHECK(collection.failure.empty());
  const model::SourceResult result = ToResult(*f.source, collection);
  CHECK(result.source == "hub/pods");
  CHECK(result.definition_hash == f.source->hash);
  CHECK(result.resource_count == 2);
  CHECK_FALSE(result.truncated);
  REQUIRE(result.rows.size() == 2);
  CHECK(result.rows[0] ==
        model::SourceRow{"a/x", "a", "x", {{"app", "x"}}, R"({"phase":"Running","restarts":1,"twice":2})"});
  CHECK(result.rows[1].values_json == R"({"phase":"Failed","restarts":4,"twice":8})");
  CHECK(result.aggregations == std::map<std::string, double>{{"total", 2}, {"sum", 5}, {"least", 1}});
  CHECK(result.aggregations_json == R"({"total":2,"sum":5,"by_phase":{"Failed":1,"Running":1},"least":1})");
  CHECK(result.fields == std::vector<model::SourceField>{{"phase", 2, 0, 0}, {"restarts", 2, 0, 0}});
  CHECK(collection.work.objects == 2);
  CHECK(collection.work.calls == 1);
}

TEST_CASE("nothing to list is a result") {
  Fixture f;
  const model::SourceResult result = ToResult(*f.source, f.Run());
  CHECK(result.failure.empty());
  CHECK(result.rows.empty());
  CHECK(result.aggregations_json == R"({"total":0,"sum":0,"by_phase":{},"least":null})");
  CHECK(result.aggregations == std::map<std::string, double>{{"total", 0}, {"sum", 0}});
}

TEST_CASE("all pages are read, and what is left out is said") {
  const int objects = 25;
  struct Case {
    std::int64_t most;
    std::size_t rows;
    bool truncated;
  };
  const Case c =
      GENERATE(values<Case>({{24, 24, true}, {25, 25, false}, {26, 25, false}, {1, 1, true}, {10, 10, true}}));
  CAPTURE(c.most);
  Fixture f(fmt::format(R"({{"collection":{{"maxResources":{}}}}})", c.most));
  for (int i = 0; i < objects; ++i) f.Put("a", fmt::format("p{:02}", i), i);
  const Collection collection = f.Run();
  CHECK(collection.rows.size() == c.rows);
  CHECK(collection.truncated == c.truncated);
}

TEST_CASE("namespaces are chosen on the server where it can, and here") {
  struct Case {
    const char* name;
    std::string namespaces;
    std::vector<std::string> ids;
    int lists;
  };
  const Case c = GENERATE(values<Case>({
      {"all", "{}", {"a/x", "b/x", "c/x", "c/y"}, 1},
      {"exact names, one by one and in order", R"({"include":["c","a","none"]})", {"a/x", "c/x", "c/y"}, 3},
      {"patterns", R"({"include":["?"],"exclude":["b*"]})", {"a/x", "c/x", "c/y"}, 1},
      {"excluded names", R"({"exclude":["c","kube-*"]})", {"a/x", "b/x"}, 1},
      {"excluded of the included", R"({"include":["a","b"],"exclude":["b"]})", {"a/x"}, 1},
  }));
  DYNAMIC_SECTION(c.name) {
    Fixture f(fmt::format(R"({{"source":{{"namespaces":{}}}}})", c.namespaces));
    f.Put("c", "y", 1);
    f.Put("c", "x", 1);
    f.Put("a", "x", 1);
    f.Put("b", "x", 1);
    const Collection collection = f.Run();
    CHECK(Ids(collection) == c.ids);
    CHECK(f.api.Count(Verb::kList, "pods") == c.lists);
    // What was left out is not judged either.
    CHECK(collection.fields.at(0).matched == c.ids.size());
  }
}

TEST_CASE("the bound counts what is left after the namespaces are chosen") {
  Fixture f(R"({"source":{"namespaces":{"exclude":["a*"]}},"collection":{"maxResources":2}})");
  for (int i = 0; i < 5; ++i) f.Put("a", fmt::format("p{}", i), i);
  f.Put("b", "x", 1);
  f.Put("c", "x", 1);
  CHECK(Ids(f.Run()) == std::vector<std::string>{"b/x", "c/x"});
  CHECK_FALSE(f.Run().truncated);
  f.Use(R"({"source":{"namespaces":{"include":["b","c"]}},"collection":{"maxResources":1}})");
  CHECK(Ids(f.Run()) == std::vector<std::string>{"b/x"});
  CHECK(f.Run().truncated);
  // Whichever list ends first.
  f.Use(R"({"source":{"namespaces":{"include":["a","b","c"],"exclude":[]}},"collection":{"maxResources":6,
           "parallelism":1}})");
  CHECK(Ids(f.Run()) == std::vector<std::string>{"a/p0", "a/p1", "a/p2", "a/p3", "a/p4", "b/x"});
  CHECK(f.Run().truncated);
  CHECK(f.Run().fields.at(0).matched == 6);
}

TEST_CASE("a failure that may pass is tried again, others have a name") {
  struct Case {
    const char* name;
    absl::Status status;
    int times;
    std::string failure;
  };
  const Case c = GENERATE(values<Case>({
      {"a lost connection", absl::UnavailableError("reset"), 2, ""},
      {"lost again and again", absl::UnavailableError("reset"), 3, "Unreachable"},
      {"throttled", absl::ResourceExhaustedError("slow down"), 3, "Throttled"},
      {"forbidden", absl::PermissionDeniedError("no"), 1, "Forbidden"},
      {"a token is wrong", absl::UnauthenticatedError("no"), 1, "Unauthorized"},
      {"gone meanwhile", absl::NotFoundError("no"), 1, "NotFound"},
      {"refused", absl::InvalidArgumentError("bad"), 1, "Refused"},
      {"rubbish", absl::DataLossError("no JSON"), 3, "InvalidAnswer"},
      {"too slow", absl::DeadlineExceededError("slow"), 3, "TimedOut"},
      {"too old", absl::OutOfRangeError("410"), 2, ""},
      {"too old again and again", absl::OutOfRangeError("410"), 3, "Expired"},
  }));
  DYNAMIC_SECTION(c.name) {
    Fixture f;
    f.Put("a", "x", 1);
    f.api.FailNext(Verb::kList, "pods", c.status, c.times);
    const Collection collection = f.Run();
    CHECK(collection.failure == c.failure);
    CHECK(collection.rows.size() == (c.failure.empty() ? 1u : 0u));
    if (c.failure.empty()) return;
    const model::SourceResult result = ToResult(*f.source, collection);
    CHECK(result.failure == c.failure);
    CHECK(result.errors == 1);
    CHECK_FALSE(result.message.empty());
  }
}

TEST_CASE("a token that grew too old begins the list again") {
  Fixture f;
  for (int i = 0; i < 25; ++i) f.Put("a", fmt::format("p{:02}", i), i);
  int pages = 0;
  f.options.on_page = [&](const CollectOptions::Progress&) {
    if (++pages == 2) f.api.store().Compact();
  };
  const Collection collection = f.Run();
  CHECK(collection.failure.empty());
  CHECK(collection.rows.size() == 25);
  CHECK(collection.fields.at(0).matched == 25);
}

TEST_CASE("a namespace that fails costs its own rows only") {
  Fixture f(R"({"source":{"namespaces":{"include":["a","b"]}},"collection":{"retryAttempts":0,"parallelism":1}})");
  f.Put("a", "x", 1);
  f.Put("b", "x", 1);
  f.api.FailNext(Verb::kList, "pods", absl::PermissionDeniedError("pods is forbidden"), 1);
  const Collection collection = f.Run();
  CHECK(collection.failure.empty());
  CHECK(Ids(collection) == std::vector<std::string>{"b/x"});
  CHECK(collection.errors == std::vector<std::string>{"namespace a: pods is forbidden"});
  const model::SourceResult result = ToResult(*f.source, collection);
  CHECK(result.errors == 1);
  CHECK(result.message == "namespace a: pods is forbidden");

  f.api.FailNext(Verb::kList, "pods", absl::PermissionDeniedError("pods is forbidden"), 2);
  CHECK(f.Run().failure == "Forbidden");
}

TEST_CASE("a kind that is not served has a name, and the server's plural is used") {
  Fixture f(R"({"source":{"apiVersion":"example.org/v1","kind":"Gateway"}})");
  CHECK(f.Run().failure == "NotInstalled");
  const auto crd = json::Value::Parse(R"({"metadata":{"name":"gatewaies.example.org"},"spec":{"group":"example.org",
    "scope":"Cluster","names":{"kind":"Gateway","plural":"gatewaies","singular":"gateway","listKind":"GatewayList"},
    "versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object",
    "x-kubernetes-preserve-unknown-fields":true}}}]}})");
  REQUIRE(crd.ok());
  REQUIRE(f.api.store().Create(kube::kCustomResourceDefinitions, "", *crd).ok());
  const auto gateway = json::Value::Parse(R"({"metadata":{"name":"g"},"status":{"phase":"Up"}})");
  REQUIRE(f.api.store().Put({"example.org", "v1", "gatewaies", "Gateway", false}, *gateway).ok());
  const model::SourceResult result = ToResult(*f.source, f.Run());
  CHECK(result.failure.empty());
  REQUIRE(result.rows.size() == 1);
  CHECK(result.rows[0].id == "g");
}

TEST_CASE("a run that is stopped ends") {
  Fixture f;
  std::stop_source stop;
  f.options.stop = stop.get_token();
  f.api.Hold(Verb::kList, "pods");
  std::jthread stopper([&] {
    CHECK(f.api.WaitForCalls(Verb::kList, "pods", 1));
    stop.request_stop();
  });
  CHECK(f.Run().failure == "Stopped");
}

TEST_CASE("what an upstream collector sent is completed as if we had listed it") {
  Fixture f(R"({"source":{"namespaces":{"exclude":["b"]}}})");
  f.Put("a", "x", 1);
  f.Put("a", "y", 7, "Failed");
  f.Put("b", "x", 3);
  const model::SourceResult ours = ToResult(*f.source, f.Run());

  // Without computed values, without a filter; numbers of all kinds.
  const std::vector<model::SourceRow> theirs{
      {"a/x", "a", "x", {{"app", "x"}}, R"({"restarts":1,"phase":"Running"})"},
      {"a/y", "a", "y", {{"app", "y"}}, R"({"restarts":7.0,"phase":"Failed","unknown":[1]})"},
      {"b/x", "b", "x", {{"app", "x"}}, R"({"restarts":3})"}};
  const auto table = TableOf(*f.source, theirs, base::SystemTime{});
  REQUIRE(table.ok());
  model::SourceResult completed;
  SetRows(*table, completed);
  Summarise(*f.source, *table, completed);
  CHECK(completed.rows == ours.rows);
  CHECK(completed.aggregations_json == ours.aggregations_json);
  CHECK(completed.aggregations == ours.aggregations);

  CHECK(TableOf(*f.source, {{"a/x", "a", "x", {}, "[]"}}, base::SystemTime{}).status().code() ==
        absl::StatusCode::kDataLoss);
}

}  // namespace clusterpulse::metricsource
