// Every file of deploy/samples/metricsources, on objects as clusters have them: tests/hub/app/samples has, under the
// same name, the objects, the rows and the aggregations.
#include <algorithm>
#include <filesystem>
#include <set>

#include <catch2/catch.hpp>

#include "common/metricsource/convert.h"
#include "hub/app/source_file.h"
#include "hub/app/yaml.h"
#include "tests/hub/app/source_rig.h"

namespace clusterpulse::app {
namespace {

namespace fs = std::filesystem;

const fs::path kRoot = CLUSTERPULSE_SOURCE_DIR;
const fs::path kSamples = kRoot / "deploy/samples/metricsources", kExpected = kRoot / "tests/hub/app/samples";

std::vector<fs::path> Samples() {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(kSamples)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

CheckedSource Load(const fs::path& file) {
  auto checked = CheckSourceFile(file.string(), "clusterpulse");
  CAPTURE(checked.status());
  REQUIRE(checked.ok());
  REQUIRE(checked->size() == 1);
  return std::move(checked->front());
}

TEST_CASE("every sample compiles without a warning and gives what its objects say") {
  const std::vector<fs::path> samples = Samples();
  CHECK(samples.size() >= 10);
  for (const fs::path& file : samples) {
    DYNAMIC_SECTION(file.filename().string()) {
      const CheckedSource checked = Load(file);
      CHECK(checked.diagnostics.Summary() == "");
      CHECK(checked.diagnostics.items().empty());
      REQUIRE(checked.source != nullptr);
      const metricsource::Source& source = *checked.source;

      const auto documents = YamlToJson(ReadWhole(kExpected / file.filename()));
      CAPTURE(documents.status());
      REQUIRE(documents.ok());
      REQUIRE(documents->size() == 1);
      const json::Value& expected = documents->front();
      const auto now = metricsource::ParseTimestamp(expected["now"].StringOr("2031-02-03T04:05:06Z"));
      REQUIRE(now);
      kube::FakeKubeApi api;
      ServeObjects(api, source, expected["objects"]);
      const metricsource::Collection run = RunAt(api, source, *now);
      CHECK_FALSE(run.truncated);
      CHECK(run.evaluation.type_errors == 0);
      const json::Value rows = RowsById(run.rows);
      for (const auto& [id, values] : expected["rows"].members()) {
        CAPTURE(id);
        CHECK(rows[id].Dump() == values.Dump());
      }
      CHECK(rows.members().size() == expected["rows"].members().size());
      CHECK(AggregationsOf(source, run).Dump() == expected["aggregations"].Dump());
      // An example that shows nothing of a field proves nothing about its path.
      for (std::size_t i = 0; i < run.fields.size(); ++i) {
        CAPTURE(source.spec.fields[i].name);
        CHECK(run.fields[i].failed == 0);
        if (source.spec.fields[i].name != "availableUpdates") CHECK(run.fields[i].matched > 0);
      }
    }
  }
}

TEST_CASE("the operator's default sources are among the samples, with its names") {
  struct Default {
    const char *file, *name, *fields, *aggregations;
  };
  for (const Default& d : {
           Default{"deployment-health.yaml", "default-deployment-health",
                   "replicas readyReplicas availableReplicas unavailableReplicas updatedReplicas readyPct ",
                   "total_deployments total_desired_replicas total_ready_replicas fully_available degraded "
                   "avg_ready_pct "},
           Default{"pvc-capacity.yaml", "default-pvc-capacity",
                   "phase capacity requested storageClass accessMode volumeMode capacityGB ",
                   "total_pvcs total_capacity_bytes bound_count pending_count by_storage_class "},
       }) {
    CAPTURE(d.file);
    const CheckedSource checked = Load(kSamples / d.file);
    REQUIRE(checked.source != nullptr);
    CHECK(checked.name == d.name);
    std::string fields, aggregations;
    for (const metricsource::Column& column : checked.source->columns) fields += column.name + " ";
    for (const metricsource::Aggregation& a : checked.source->aggregations) aggregations += a.name + " ";
    CHECK(fields == d.fields);
    CHECK(aggregations == d.aggregations);
  }
}

TEST_CASE("the rights of the samples are in the ClusterRole beside them") {
  const auto documents = YamlToJson(ReadWhole(kRoot / "deploy/samples/metricsources-rbac.yaml"));
  REQUIRE(documents.ok());
  std::set<std::string> granted;
  for (const json::Value& document : *documents) {
    for (const json::Value& rule : document["rules"].items()) {
      CHECK(rule["verbs"].Dump() == R"(["list","watch"])");
      for (const json::Value& group : rule["apiGroups"].items()) {
        for (const json::Value& resource : rule["resources"].items()) {
          granted.insert(fmt::format("{}/{}", group.StringOr(), resource.StringOr()));
        }
      }
    }
  }
  std::set<std::string> needed;
  for (const fs::path& file : Samples()) {
    const CheckedSource checked = Load(file);
    REQUIRE(checked.source != nullptr);
    needed.insert(fmt::format("{}/{}", checked.source->group, checked.source->resource));
  }
  CHECK(granted == needed);
}

}  // namespace
}  // namespace clusterpulse::app
