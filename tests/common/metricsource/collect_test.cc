#include "common/metricsource/collect.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "common/base/mutex.h"
#include "common/kube/testing/fake_kube_api.h"
#include "common/kube/testing/forwarding_kube_api.h"

namespace clusterpulse::metricsource {
namespace {

using kube::Verb;

// In front of a cluster: what was asked for in lists, and pages of a known size, 100 bytes for each object in them.
class SeenLists final : public kube::ForwardingKubeApi {
 public:
  static constexpr std::size_t kObjectBytes = 100;
  using ForwardingKubeApi::ForwardingKubeApi;

  absl::StatusOr<kube::ListPage> List(const kube::ListQuery& query, kube::ItemVisitor visit,
                                      const kube::CallOptions& options) override {
    {
      base::MutexLock lock(mu_);
      queries_.push_back(query);
      repeats_refused = options.repeats_refused;
    }
    if (++lists_ == fail_from) return absl::PermissionDeniedError("no");
    if (refuses_fields && !query.field_selector.empty()) return absl::InvalidArgumentError("field label not supported");
    std::size_t objects = 0;
    const auto counted = [&](json::Cursor object) {
      ++objects;
      return visit(object);
    };
    auto page = ForwardingKubeApi::List(query, counted, options);
    if (page.ok()) page->bytes = kObjectBytes * objects;
    return page;
  }

  // Page sizes, in the order of the calls.
  std::vector<int> Limits() const {
    base::MutexLock lock(mu_);
    std::vector<int> limits;
    for (const kube::ListQuery& query : queries_) limits.push_back(query.limit);
    return limits;
  }
  std::vector<kube::ListQuery> queries() const {
    base::MutexLock lock(mu_);
    return queries_;
  }
  void Clear() {
    base::MutexLock lock(mu_);
    queries_.clear();
  }

  bool refuses_fields = false;
  bool repeats_refused = true;  // as the last list was told
  int fail_from = 0;            // which call fails; 0: none

 private:
  std::atomic<int> lists_ = 0;
  mutable base::Mutex mu_;
  std::vector<kube::ListQuery> queries_;
};

// A cluster with some pods, and one source on them.
struct Fixture {
  kube::FakeKubeApi api;
  SeenLists lists{api};
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
  Collection Run() { return Collect(*source, lists, discovery, base::SystemClock(), random, options); }
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
}

TEST_CASE("what a run cost is what it cost, also when it was cut") {
  Fixture f(R"({"collection":{"batchSize":10,"maxResources":12}})");
  f.options.ns = "a";
  for (int i = 0; i < 18; ++i) f.Put("a", fmt::format("p{:02}", i), i);
  f.Put("b", "x", 1);
  std::vector<CollectOptions::Progress> seen;
  f.options.on_call = [&](const CollectOptions::Progress& work) { seen.push_back(work); };
  const Collection cut = f.Run();
  CHECK(cut.truncated);
  CHECK(cut.rows.size() == 12);
  // What discovery asked, and two pages.
  REQUIRE(seen.size() == 3);
  CHECK(seen[0].calls == 1);
  CHECK(seen[1].calls == 2);
  CHECK(seen[1].objects == 10);
  CHECK(seen[1].bytes == 10 * SeenLists::kObjectBytes);
  CHECK(cut.work.calls == 3);
  CHECK(cut.work.objects == 18);
  CHECK(cut.work.bytes == 18 * SeenLists::kObjectBytes);

  // Discovery knows it now; failed calls are calls.
  f.options.limit = 3;
  CHECK(f.Run().work.calls == 1);
  f.api.FailNext(Verb::kList, "pods", absl::UnavailableError("reset"));
  const Collection again = f.Run();
  CHECK(again.work.calls == 2);
  CHECK(again.work.objects == 4);
  CHECK(again.work.bytes == 4 * SeenLists::kObjectBytes);
}

TEST_CASE("a page is no larger than what may become rows, and one") {
  struct Case {
    const char* name;
    std::string more;
    std::vector<int> limits;
    std::size_t rows;
    bool truncated;
  };
  // 30 pods in a, 2 in b and 3 in c.
  const Case c = GENERATE(values<Case>({
      {"few of many", R"({"collection":{"maxResources":3}})", {4}, 3, true},
      {"as many as there are", R"({"collection":{"batchSize":50,"maxResources":35}})", {36}, 35, false},
      {"more than there are", R"({"collection":{"batchSize":40,"maxResources":36}})", {37}, 35, false},
      {"a whole page", R"({"collection":{"batchSize":10,"maxResources":10}})", {10, 10}, 10, true},
      {"all but one of a page", R"({"collection":{"batchSize":10,"maxResources":9}})", {10}, 9, true},
      {"more than a page", R"({"collection":{"batchSize":10,"maxResources":12}})", {10, 10}, 12, true},
      {"filtered by the server",
       R"({"source":{"labelSelector":{"matchLabels":{"app":"x"}}},"collection":{"maxResources":3}})",
       {4},
       3,
       true},
      {"names that the server leaves out",
       R"({"source":{"namespaces":{"exclude":["a","none"]}},"collection":{"maxResources":4}})",
       {5},
       4,
       true},
      // Nothing says how far apart the rows are: whole pages.
      {"a pattern that is left out",
       R"({"source":{"namespaces":{"exclude":["a*"]}},"collection":{"batchSize":10,"maxResources":4}})",
       {10, 10, 10, 10},
       4,
       true},
      {"a pattern that is taken",
       R"({"source":{"namespaces":{"include":["b*"]}},"collection":{"batchSize":20,"maxResources":1}})",
       {20, 20},
       1,
       true},
      {"namespaces one by one",
       R"({"source":{"namespaces":{"include":["a","b"]}},"collection":{"maxResources":31,"batchSize":100,
           "parallelism":1}})",
       {32, 2},
       31,
       true},
      {"namespaces behind the bound",
       R"({"source":{"namespaces":{"include":["a","b"]}},"collection":{"maxResources":30,"batchSize":100,
           "parallelism":1}})",
       {31, 1},
       30,
       true},
  }));
  DYNAMIC_SECTION(c.name) {
    Fixture f(c.more);
    for (int i = 0; i < 30; ++i) f.Put("a", fmt::format("p{:02}", i), i);
    for (int i = 0; i < 2; ++i) f.Put("b", fmt::format("x{}", i), i);
    for (int i = 0; i < 3; ++i) f.Put("c", fmt::format("x{}", i), i);
    const Collection collection = f.Run();
    CHECK(collection.failure == "");
    CHECK(f.lists.Limits() == c.limits);
    CHECK(collection.rows.size() == c.rows);
    CHECK(collection.truncated == c.truncated);
  }
}

TEST_CASE("of a namespace that the source does not take nothing small is asked") {
  Fixture f(R"({"source":{"namespaces":{"exclude":["a"]}},"collection":{"batchSize":10,"maxResources":1}})");
  for (int i = 0; i < 15; ++i) f.Put("a", fmt::format("p{:02}", i), i);
  f.options.ns = "a";
  CHECK(f.Run().rows.size() == 0);
  CHECK(f.lists.Limits() == std::vector<int>{10, 10});
}

TEST_CASE("a server that cannot leave out namespaces is asked for whole pages") {
  Fixture f(R"({"source":{"namespaces":{"exclude":["a"]}},"collection":{"batchSize":10,"maxResources":1}})");
  for (int i = 0; i < 15; ++i) f.Put("a", fmt::format("p{:02}", i), i);
  f.Put("b", "x", 1);
  f.lists.refuses_fields = true;
  const Collection collection = f.Run();
  CHECK(Ids(collection) == std::vector<std::string>{"b/x"});
  CHECK_FALSE(collection.truncated);
  CHECK(f.lists.Limits() == std::vector<int>{2, 10, 10});
}

TEST_CASE("a server is told 40 names to leave out, the others are left out here") {
  std::string names;
  for (int i = 0; i < 45; ++i) names += fmt::format("{}\"n{:02}\"", i == 0 ? "" : ",", i);
  Fixture f(fmt::format(R"({{"source":{{"namespaces":{{"exclude":[{}]}}}},
                             "collection":{{"batchSize":20,"maxResources":1}}}})",
                        names));
  for (int i = 0; i < 46; ++i) f.Put(fmt::format("n{:02}", i), "x", 1);
  CHECK(Ids(f.Run()) == std::vector<std::string>{"n45/x"});
  const std::string selector = f.lists.queries().at(0).field_selector;
  CHECK(std::count(selector.begin(), selector.end(), ',') == 39);
  CHECK(selector.find("n39") != std::string::npos);
  CHECK(selector.find("n40") == std::string::npos);
  CHECK(f.lists.Limits() == std::vector<int>{20});
}

TEST_CASE("what was left out is judged nowhere") {
  Fixture f(R"({"computed":[{"name":"length","expression":"toNumber(phase) "}],"collection":{"maxResources":1}})");
  f.Put("a", "x", 1, "12");
  f.Put("a", "y", 1, "no number");
  const Collection cut = f.Run();
  CHECK(cut.truncated);
  CHECK(cut.fields.at(0).matched == 1);
  CHECK(cut.evaluation.type_errors == 0);
  f.options.limit = 5;
  f.Use(R"({"computed":[{"name":"length","expression":"toNumber(phase) "}]})");
  CHECK(f.Run().evaluation.type_errors == 1);
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

TEST_CASE("rows that are too large together are left out, as those beyond the bound") {
  const std::string namespaces = GENERATE(as<std::string>(), "{}", R"({"include":["a","b"]})");
  Fixture f;
  // Long texts in each row, and once in memory.
  std::string fields = R"({"source":{"namespaces":)" + namespaces +
                       R"(},"collection":{"maxResources":1000,"batchSize":50,"parallelism":1},"fields":[)";
  for (int i = 0; i < 40; ++i) {
    fields +=
        fmt::format(R"({}{{"name":"d{}","path":".no","default":"{}"}})", i == 0 ? "" : ",", i, std::string(4000, 'x'));
  }
  f.Use(fields + R"(],"computed":[],"aggregations":[{"name":"total","function":"count"}]})");
  for (const char* ns : {"a", "b"}) {
    for (int i = 0; i < 150; ++i) f.Put(ns, fmt::format("p{:03}", i), i);
  }
  const Collection collection = f.Run();
  CHECK(collection.truncated);
  const std::size_t each = 40 * 4000;
  CHECK(collection.rows.size() >= Table::kMostWritten / each * 98 / 100);
  CHECK(collection.rows.size() <= Table::kMostWritten / each + 1);
  CHECK(Ids(collection).front() == "a/p000");
}

TEST_CASE("aggregations with too many groups are left out, and said") {
  Fixture f(
      R"({"computed":[],"fields":[{"name":"long","path":".status.phase"},{"name":"short","path":".metadata.name"}],
    "aggregations":[{"name":"by_name","function":"count","groupBy":"short"},{"name":"total","function":"count"},
                    {"name":"by_long","function":"count","groupBy":"long"}],"collection":{"batchSize":1000}})");
  for (int i = 0; i < 600; ++i)
    f.Put("a", fmt::format("p{:03}", i), i, fmt::format("{}{:03}", std::string(3800, 'x'), i));
  const model::SourceResult result = ToResult(*f.source, f.Run());
  CHECK(result.aggregations_json.size() < kMostAggregationBytes);
  CHECK(result.aggregations_json.find(R"("by_name":{"p000":1,)") != std::string::npos);
  CHECK(result.aggregations_json.find(R"("total":600,"by_long":null})") != std::string::npos);
  CHECK(result.aggregations == std::map<std::string, double>{{"total", 600}});
  CHECK(result.errors == 1);
  CHECK(result.message == "by_long is left out: its 600 groups are more than the 2 MiB of aggregations have room for");
  CHECK(result.failure.empty());
  CHECK(result.rows.size() == 600);
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

TEST_CASE("a server that refuses is asked as often as the source says, and when the server says") {
  Fixture f(R"({"collection":{"retryAttempts":1,"timeoutSeconds":5}})");
  f.Put("a", "x", 1);
  SECTION("each attempt is one request") {
    f.Run();  // discovery has its answer
    f.lists.Clear();
    f.api.FailNext(Verb::kList, "pods", absl::ResourceExhaustedError("slow down"), 5);
    CHECK(f.Run().failure == "Throttled");
    CHECK(f.lists.queries().size() == 2);
    CHECK_FALSE(f.lists.repeats_refused);
  }
  SECTION("a wait that is longer than the run has time is not begun") {
    f.api.FailNext(Verb::kList, "pods", kube::ToStatus({429, "TooManyRequests", "later", std::chrono::seconds(60)}), 1);
    CHECK(f.Run().failure == "Throttled");
    CHECK(f.lists.queries().size() == 1);
  }
}

TEST_CASE("a token that grew too old begins the list again") {
  Fixture f;
  for (int i = 0; i < 25; ++i) f.Put("a", fmt::format("p{:02}", i), i);
  f.options.on_call = [&](const CollectOptions::Progress& work) {
    if (work.objects == 20) f.api.store().Compact();
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

TEST_CASE("rows of a namespace that failed in the middle do not count for the bound") {
  Fixture f(R"({"source":{"namespaces":{"include":["a","b"]}},
    "collection":{"retryAttempts":0,"parallelism":1,"batchSize":10,"maxResources":15}})");
  for (int i = 0; i < 20; ++i) f.Put("a", fmt::format("p{:02}", i), i);
  for (int i = 0; i < 10; ++i) f.Put("b", fmt::format("p{:02}", i), i);
  f.lists.fail_from = 2;  // the second page of a
  const Collection collection = f.Run();
  CHECK(collection.rows.size() == 10);
  CHECK(Ids(collection).front() == "b/p00");
  CHECK_FALSE(collection.truncated);
  CHECK(collection.errors.size() == 1);
}

TEST_CASE("an object in a list is of the kind that was listed") {
  Fixture f(R"({"fields":[{"name":"kind","path":".kind"},{"name":"api","path":".apiVersion","default":"no"},
    {"name":"other","path":".status.kind"}],"computed":[],"aggregations":[]})");
  f.Put("a", "x", 1);
  const Collection collection = f.Run();
  REQUIRE(collection.rows.size() == 1);
  CHECK(collection.fields.at(0).matched == 1);
  std::string values;
  collection.rows.AppendValues(0, values);
  CHECK(values == R"({"kind":"Pod","api":"v1","other":null})");
}

TEST_CASE("a kind without namespaces is not filtered by them") {
  Fixture f(R"({"source":{"kind":"Node","namespaces":{"include":["a"],"exclude":["*"]}},
    "fields":[{"name":"phase","path":".status.phase"}],"computed":[],"aggregations":[]})");
  const auto node = json::Value::Parse(R"({"metadata":{"name":"n1"}})");
  REQUIRE(node.ok());
  REQUIRE(f.api.store().Put(kube::kNodes, *node).ok());
  CHECK(Ids(f.Run()) == std::vector<std::string>{"/n1"});
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

TEST_CASE("a run that is stopped before it tries again is stopped") {
  Fixture f;
  std::stop_source stop;
  f.options.stop = stop.get_token();
  f.options.first_retry = std::chrono::seconds(10);
  f.api.FailNext(Verb::kList, "pods", absl::UnavailableError("reset"));
  std::jthread stopper([&] {
    CHECK(f.api.WaitForCalls(Verb::kList, "pods", 1));
    stop.request_stop();
  });
  const Collection collection = f.Run();
  CHECK(collection.failure == "Stopped");
  CHECK(collection.message == "stopped, after: reset");
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
  model::SourceResult completed{.rows = theirs};
  REQUIRE(CompleteResult(*f.source, base::SystemTime{}, completed).ok());
  CHECK(completed.resource_count == 2);
  CHECK(completed.definition_hash == f.source->hash);
  CHECK(completed.rows == ours.rows);
  CHECK(completed.aggregations_json == ours.aggregations_json);
  CHECK(completed.aggregations == ours.aggregations);

  model::SourceResult broken{.rows = {{"a/x", "a", "x", {}, "[]"}}};
  const model::SourceResult before = broken;
  CHECK(CompleteResult(*f.source, base::SystemTime{}, broken).code() == absl::StatusCode::kDataLoss);
  CHECK(broken == before);
}

TEST_CASE("defaults that an upstream collector gives otherwise are ours") {
  Fixture f(R"({"fields":[{"name":"hosts","path":".status.hosts","type":"arrayLength","default":"0"},
    {"name":"cpu","path":".status.cpu","type":"quantity","default":"250m"},
    {"name":"phase","path":".status.phase","default":"none"},{"name":"note","path":".status.note"}],
    "computed":[{"name":"sum","expression":"hosts + cpu"}],"aggregations":[]})");
  // A text in the place of a number, null where the object says null, and nothing at all.
  model::SourceResult theirs;
  for (const char* values : {R"({"hosts":"0","cpu":1,"phase":"Up","note":"n"})",
                             R"({"hosts":null,"cpu":null,"phase":null,"note":null})", ""}) {
    theirs.rows.push_back(
        {fmt::format("a/p{}", theirs.rows.size()), "a", fmt::format("p{}", theirs.rows.size()), {}, values});
  }
  REQUIRE(CompleteResult(*f.source, base::SystemTime{}, theirs).ok());
  CHECK(theirs.rows[0].values_json == R"({"hosts":0,"cpu":1,"phase":"Up","note":"n","sum":1})");
  for (const std::size_t i : {1, 2}) {
    CHECK(theirs.rows[i].values_json == R"({"hosts":0,"cpu":0.25,"phase":"none","note":null,"sum":0.25})");
  }
}

}  // namespace clusterpulse::metricsource
