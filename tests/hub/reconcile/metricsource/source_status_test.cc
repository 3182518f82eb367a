#include "hub/reconcile/metricsource/source_status.h"

#include <functional>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "common/base/time_format.h"
#include "tests/hub/reconcile/metricsource/source_rig.h"

namespace clusterpulse::reconcile {
namespace {

using namespace std::chrono_literals;

const base::SystemTime kNow = *base::ParseRfc3339("2031-02-03T04:05:06Z");

SourceCatalog::Entry EntryOf(const MetricSource& object) {
  SourceCatalog catalog;
  catalog.Update(object.key(), &object);
  return catalog.Find(object.key().ToString());
}

SourceCluster Ran(std::string name, const SourceCatalog::Entry& entry,
                  const std::function<void(store::SourceRun&)>& change = {}) {
  store::SourceRun run{.collected_at = kNow - 10s, .duration = 1500ms, .resources = 7, .ran_at = kNow - 10s};
  run.definition_hash = entry->source->hash;
  run.fields = {{"phase", 7, 0, 0}, {"restarts", 7, 0, 0}};
  if (change) change(run);
  return {std::move(name), true, run};
}

const runtime::Condition& ReadyOf(const SourceReport& report) {
  const runtime::Condition* ready = runtime::FindCondition(report.conditions, "Ready");
  REQUIRE(ready != nullptr);
  return *ready;
}

}  // namespace

TEST_CASE("the status says how the last runs went") {
  const auto entry = EntryOf(PodSource("pods"));
  struct Case {
    const char* name;
    std::vector<SourceCluster> clusters;
    std::string message, status, reason, detail, counts;
  };
  const std::vector<Case> cases{
      {"no cluster",
       {},
       "no cluster is selected",
       "True",
       "NoClusters",
       "no cluster is selected",
       R"({"current":0,"failed":0,"lagging":0,"selected":0})"},
      {"nothing ran yet",
       {{"a", true, std::nullopt}, {"b", false, std::nullopt}},
       "waiting for the first run",
       "Unknown",
       "Pending",
       "Collected 0 resources from 0 clusters of 2: 0 failed, 2 lag",
       R"({"current":0,"failed":0,"lagging":2,"problems":[{"message":"not run there yet","name":"a","state":"pending"},)"
       R"({"message":"the cluster is not reached","name":"b","state":"pending"}],"selected":2})"},
      {"left out",
       {{"a", true, std::nullopt, true}, Ran("b", entry)},
       "Collected with 1 errors",
       "True",
       "CollectionSuccessful",
       "Collected 7 resources from 1 clusters of 2: 1 failed, 0 lag",
       R"({"current":1,"failed":1,"lagging":0,"problems":[{"message":"the sources for this cluster take more than )"
       R"(the 3 MiB a collector can be given","name":"a","state":"LeftOut"}],"selected":2})"},
      {"all well",
       {Ran("a", entry), Ran("b", entry)},
       "Collection successful",
       "True",
       "CollectionSuccessful",
       "Collected 14 resources from 2 clusters",
       R"({"current":2,"failed":0,"lagging":0,"selected":2})"},
      {"one failed",
       {Ran("a", entry), Ran("b", entry,
                             [](auto& r) {
                               r.failure = "Forbidden";
                               r.message = "pods is forbidden";
                             })},
       "Collected with 1 errors",
       "True",
       "CollectionSuccessful",
       "Collected 14 resources from 1 clusters of 2: 1 failed, 0 lag",
       R"({"current":1,"failed":1,"lagging":0,"problems":[{"message":"pods is forbidden","name":"b",)"
       R"("state":"Forbidden"}],"selected":2})"},
      {"all failed",
       {Ran("a", entry, [](auto& r) { r.failure = "TimedOut"; })},
       "Collected with 1 errors",
       "False",
       "CollectionFailed",
       "Collected 7 resources from 0 clusters of 1: 1 failed, 0 lag",
       R"({"current":0,"failed":1,"lagging":0,"problems":[{"name":"a","state":"TimedOut"}],"selected":1})"},
      {"a namespace failed",
       {Ran("a", entry,
            [](auto& r) {
              r.errors = 2;
              r.message = "namespace x: no";
            })},
       "Collected with 2 errors",
       "True",
       "CollectionSuccessful",
       "Collected 7 resources from 1 clusters",
       R"({"current":1,"failed":0,"lagging":0,"problems":[{"message":"namespace x: no","name":"a",)"
       R"("state":"partial"}],"selected":1})"},
      {"an older version",
       {Ran("a", entry, [](auto& r) { r.definition_hash = "old"; })},
       "waiting for the first run",
       "Unknown",
       "Pending",
       "Collected 7 resources from 0 clusters of 1: 0 failed, 1 lag",
       R"({"current":0,"failed":0,"lagging":1,"problems":[{"message":"an older version of the source runs there",)"
       R"("name":"a","state":"pending"}],"selected":1})"},
      {"silent for long",
       {Ran("a", entry, [](auto& r) { r.ran_at = kNow - 241s; })},
       "waiting for the first run",
       "Unknown",
       "Pending",
       "Collected 7 resources from 0 clusters of 1: 0 failed, 1 lag",
       R"({"current":0,"failed":0,"lagging":1,"problems":[{"message":"last run 2031-02-03T04:01:05Z","name":"a",)"
       R"("state":"stale"}],"selected":1})"},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      const SourceReport report = ReportOn(*entry, c.clusters, {}, kNow);
      CHECK(report.status["phase"].StringOr() == "Active");
      CHECK(report.status["message"].StringOr() == c.message);
      CHECK(ReadyOf(report).status == c.status);
      CHECK(ReadyOf(report).reason == c.reason);
      CHECK(ReadyOf(report).message == c.detail);
      CHECK(report.status["clusters"].Dump() == c.counts);
    }
  }
}

TEST_CASE("a resource type that others have too is a warning") {
  const auto entry = EntryOf(PodSource("pods"));
  const SourceReport report = ReportOn(*entry, {Ran("a", entry)}, {}, kNow, {"hub/other", "hub/third"});
  CHECK(
      report.status["message"].StringOr() ==
      "Collection successful; warning: spec.rbac.resourceTypeName: \"pod\" is also that of hub/other: readers get one "
      "of them");
  CHECK(ReadyOf(report).status == "True");
}

TEST_CASE("sums, times and the longest run are in the status") {
  const auto entry = EntryOf(PodSource("pods"));
  const SourceReport report = ReportOn(*entry,
                                       {Ran("a", entry), Ran("b", entry,
                                                             [](auto& r) {
                                                               r.collected_at = kNow - 5s;
                                                               r.duration = 61005ms;
                                                               r.resources = 3;
                                                               r.truncated = true;
                                                             })},
                                       {}, kNow);
  CHECK(report.status["resourcesCollected"].IntOr() == 10);
  CHECK(report.status["clustersCollected"].IntOr() == 2);
  CHECK(report.status["errorsLastRun"].IntOr(-1) == 0);
  CHECK(report.status["truncated"].BoolOr());
  CHECK(report.status["lastCollectionTime"].StringOr() == "2031-02-03T04:05:01Z");
  CHECK(report.status["lastCollectionDuration"].StringOr() == "1m1.005s");
  CHECK(report.status["observedGeneration"].IntOr() == 1);
}

TEST_CASE("each field has a verdict over all clusters") {
  struct Case {
    model::SourceField field;
    std::string status, message;
  };
  const Case c = GENERATE(values<Case>({
      {{"phase", 9, 1, 0}, "valid", "10 objects: 9 matched, 1 empty (10 %), 0 of a wrong type (0 %)"},
      {{"phase", 5, 5, 0}, "valid", "10 objects: 5 matched, 5 empty (50 %), 0 of a wrong type (0 %)"},
      {{"phase", 4, 6, 0}, "warning", "10 objects: 4 matched, 6 empty (60 %), 0 of a wrong type (0 %)"},
      {{"phase", 9, 0, 1}, "warning", "10 objects: 9 matched, 0 empty (0 %), 1 of a wrong type (10 %)"},
      {{"phase", 0, 10, 0}, "invalid", "10 objects: 0 matched, 10 empty (100 %), 0 of a wrong type (0 %)"},
      {{"phase", 0, 0, 10}, "invalid", "10 objects: 0 matched, 0 empty (0 %), 10 of a wrong type (100 %)"},
  }));
  const auto entry = EntryOf(PodSource("pods"));
  const SourceReport report = ReportOn(*entry, {Ran("a", entry, [&](auto& r) { r.fields = {c.field}; })}, {}, kNow);
  REQUIRE(report.status["fieldValidation"].items().size() == 1);
  const json::Value& verdict = report.status["fieldValidation"].items()[0];
  CHECK(verdict["field"].StringOr() == "phase");
  CHECK(verdict["status"].StringOr() == c.status);
  CHECK(verdict["message"].StringOr() == c.message);
}

TEST_CASE("a spec that is wrong is an error, one that is disabled is not") {
  const MetricSource broken =
      PodSource("pods", R"({"aggregations":[{"name":"x","function":"sum","field":"nope"}]})", 2);
  SourceCatalog catalog;
  SECTION("never valid") {
    catalog.Update(broken.key(), &broken);
    const SourceReport report = ReportOn(*catalog.Find("hub/pods"), {}, {}, kNow);
    CHECK(report.status["phase"].StringOr() == "Error");
    CHECK(report.status["message"].StringOr() == "spec.aggregations[0].field: unknown field \"nope\"");
    CHECK(ReadyOf(report).reason == "InvalidSpec");
    CHECK(ReadyOf(report).status == "False");
  }
  SECTION("valid before") {
    const MetricSource good = PodSource("pods");
    catalog.Update(good.key(), &good);
    catalog.Update(broken.key(), &broken);
    const auto entry = catalog.Find("hub/pods");
    const SourceReport report = ReportOn(*entry, {Ran("a", entry)}, {}, kNow);
    CHECK(report.status["phase"].StringOr() == "Error");
    CHECK(std::string(report.status["message"].StringOr()).ends_with("the last valid version stays in force"));
    CHECK(report.status["resourcesCollected"].IntOr() == 7);
  }
  SECTION("disabled") {
    const SourceReport report = ReportOn(*EntryOf(PodSource("pods", R"({"enabled":false})")), {}, {}, kNow);
    CHECK(report.status["phase"].StringOr() == "Disabled");
    CHECK(ReadyOf(report).reason == "Disabled");
  }
}

TEST_CASE("the time of a condition is that of its change") {
  const auto entry = EntryOf(PodSource("pods"));
  const SourceReport first = ReportOn(*entry, {Ran("a", entry)}, {}, kNow - 100s);
  const SourceReport second = ReportOn(*entry, {Ran("a", entry)}, first.conditions, kNow);
  CHECK(ReadyOf(second).last_transition_time == ReadyOf(first).last_transition_time);
  const SourceReport third =
      ReportOn(*entry, {Ran("a", entry, [](auto& r) { r.failure = "TimedOut"; })}, second.conditions, kNow);
  CHECK(ReadyOf(third).last_transition_time == base::FormatSeconds(kNow));
}

TEST_CASE("problems are bounded and sorted as the clusters are") {
  const auto entry = EntryOf(PodSource("pods"));
  std::vector<SourceCluster> clusters;
  for (int i = 0; i < 50; ++i) clusters.push_back({"c" + std::to_string(100 + i), true, std::nullopt});
  const SourceReport report = ReportOn(*entry, clusters, {}, kNow);
  CHECK(report.status["clusters"]["lagging"].IntOr() == 50);
  REQUIRE(report.status["clusters"]["problems"].items().size() == 20);
  CHECK(report.status["clusters"]["problems"].items()[19]["name"].StringOr() == "c119");
}

TEST_CASE("durations are written as upstream does") {
  struct Case {
    std::chrono::milliseconds duration;
    const char* text;
  };
  for (const Case& c : std::vector<Case>{{0ms, "0s"},
                                         {250ms, "250ms"},
                                         {1235ms, "1.235s"},
                                         {1500ms, "1.5s"},
                                         {60000ms, "1m0s"},
                                         {90005ms, "1m30.005s"},
                                         {3602000ms, "1h0m2s"}}) {
    CHECK(DurationText(c.duration) == c.text);
  }
}

}  // namespace clusterpulse::reconcile
