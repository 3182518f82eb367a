#include "hub/reconcile/metricsource/source_results.h"

#include <functional>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "tests/hub/reconcile/metricsource/source_rig.h"

namespace clusterpulse::reconcile {
namespace {

struct Fixture {
  SourceCatalog catalog;
  CheckedResults results{catalog, [](const std::string& cluster) {
                           return cluster == "gone" ? std::nullopt : std::optional(model::Labels{{"ring", "canary"}});
                         }};

  Fixture() {
    Put(PodSource("pods"));
    Put(PodSource("edge", R"({"clusters":{"names":["edge-*"]}})"));
  }
  void Put(const MetricSource& object) { catalog.Update(object.key(), &object); }
};

model::SourceResult Ours(std::string source) {
  model::SourceResult result{.source = std::move(source), .resource_count = 1, .definition_hash = "1234"};
  result.rows = {{"a/x", "a", "x", {}, R"({"phase":"Running","restarts":3,"twice":6})"}};
  result.aggregations = {{"total", 1}};
  result.aggregations_json = R"({"total":1})";
  return result;
}

model::Batch BatchOf(std::vector<model::SourceResult> sources, std::string cluster = "core") {
  model::Batch batch{.cluster = std::move(cluster)};
  batch.sources = std::move(sources);
  return batch;
}

}  // namespace

TEST_CASE("only what is asked of the cluster stays") {
  Fixture f;
  model::Batch batch = BatchOf({Ours("hub/pods"), Ours("hub/edge"), Ours("hub/unknown")});
  CHECK(f.results.Complete(batch) == 2);
  REQUIRE(batch.sources.size() == 1);
  CHECK(batch.sources[0] == Ours("hub/pods"));

  batch = BatchOf({Ours("hub/pods"), Ours("hub/edge")}, "edge-1");
  CHECK(f.results.Complete(batch) == 0);
  batch = BatchOf({Ours("hub/pods")}, "gone");
  CHECK(f.results.Complete(batch) == 1);
  f.Put(PodSource("pods", R"({"enabled":false})", 2));
  batch = BatchOf({Ours("hub/pods")});
  CHECK(f.results.Complete(batch) == 1);
}

TEST_CASE("what an upstream collector leaves out is completed with our engine") {
  Fixture f;
  f.Put(PodSource("pods", R"({"source":{"namespaces":{"exclude":["kube-*"]}}})", 2));
  model::SourceResult theirs{.source = "hub/pods", .resource_count = 3, .truncated = true};
  theirs.rows = {{"a/x", "a", "x", {{"k", "v"}}, R"({"phase":"Running","restarts":3.0})"},
                 {"a/y", "a", "y", {}, ""},
                 {"kube-a/z", "kube-a", "z", {}, R"({"phase":"Running","restarts":9})"}};
  theirs.aggregations = {{"total", 3}, {"sum", 12}};
  model::Batch batch = BatchOf({theirs});
  CHECK(f.results.Complete(batch) == 0);
  const model::SourceResult& result = batch.sources.at(0);
  CHECK(result.failure.empty());
  REQUIRE(result.rows.size() == 2);
  CHECK(result.resource_count == 2);
  CHECK(result.truncated);
  CHECK(result.rows[0].values_json == R"({"phase":"Running","restarts":3,"twice":6})");
  CHECK(result.rows[0].labels == model::Labels{{"k", "v"}});
  CHECK(result.rows[1].values_json == R"({"phase":null,"restarts":null,"twice":null})");
  CHECK(result.aggregations_json == R"({"total":2,"sum":3,"by_phase":{"Running":1,"_unknown_":1}})");
  CHECK(result.aggregations == std::map<std::string, double>{{"total", 2}, {"sum", 3}});
  CHECK(result.definition_hash == f.catalog.Find("hub/pods")->source->hash);
}

TEST_CASE("what is no JSON never reaches a document") {
  Fixture f;
  struct Case {
    const char* name;
    std::function<void(model::SourceResult&)> spoil;
  };
  const std::vector<Case> cases{
      {"a row", [](auto& r) { r.rows[0].values_json = R"({"a":1)"; }},
      {"a row that is none", [](auto& r) { r.rows[0].values_json = "1"; }},
      {"a row of an upstream collector",
       [](auto& r) {
         r.definition_hash.clear();
         r.rows[0].values_json = R"({"a":)";
       }},
      {"a row that ends early", [](auto& r) { r.rows[0].values_json = R"({}],"x":[{})"; }},
      {"text that is not UTF-8", [](auto& r) { r.rows[0].values_json = "{\"a\":\"\xff\"}"; }},
      {"aggregations", [](auto& r) { r.aggregations_json = "{} {}"; }},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      model::SourceResult result = Ours("hub/pods");
      c.spoil(result);
      model::Batch batch = BatchOf({result});
      CHECK(f.results.Complete(batch) == 0);
      CHECK(batch.sources[0].failure == "InvalidAnswer");
      CHECK_FALSE(batch.sources[0].message.empty());
      CHECK_FALSE(batch.sources[0].definition_hash.empty());  // else it would take what is stored with it
      CHECK(batch.sources[0].rows.empty());
      CHECK(batch.sources[0].aggregations_json.empty());
    }
  }
}

TEST_CASE("history keeps its numbers as they are") {
  Fixture f;
  model::SourceResult numbers{.source = "hub/pods"};
  numbers.aggregations = {{"total", 4}};
  model::Batch batch = BatchOf({numbers});
  batch.history_only = true;
  CHECK(f.results.Complete(batch) == 0);
  CHECK(batch.sources[0] == numbers);
}

TEST_CASE("documents live by the interval of their source") {
  Fixture f;
  f.Put(PodSource("pods", R"({"collection":{"intervalSeconds":300}})", 2));
  CHECK(f.results.Interval("hub/pods") == std::chrono::seconds(300));
  CHECK(f.results.Interval("hub/unknown") == std::chrono::seconds(60));
}

}  // namespace clusterpulse::reconcile
