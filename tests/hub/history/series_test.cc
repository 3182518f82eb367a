#include "hub/history/series.h"

#include <cmath>
#include <map>

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "tests/common/wire/sample_batch.h"

namespace clusterpulse::history {
namespace {

// Samples as "name{key=value,...}" in the order they come, and their values.
class Recorder final : public SampleSink {
 public:
  void Labels(std::string_view cluster, std::string_view key, std::string_view value) override {
    labels_ = "cluster=" + std::string(cluster);
    if (!key.empty()) labels_ += fmt::format(",{}={}", key, value);
  }
  void Earlier(std::chrono::milliseconds age) override { age_ = age; }
  void Sample(const MetricName& name, Number value) override {
    CHECK(name.is_valid());
    const std::string series = fmt::format("{}{{{}}}", name.text(), labels_);
    CHECK(values.emplace(series, value.real()).second);
    order.push_back(series);
    if (age_.count() != 0) ages.emplace(series, age_);
    if (value.is_integer()) ++integers;
  }
  void Ambiguous(std::string_view name) override { ambiguous.emplace_back(name); }

  std::map<std::string, double> values;
  std::vector<std::string> order, ambiguous;
  std::map<std::string, std::chrono::milliseconds> ages;  // of those that are older than the batch
  int integers = 0;

 private:
  std::chrono::milliseconds age_{0};
  std::string labels_;
};

Recorder Record(const model::Batch& batch) {
  Recorder recorder;
  ForEachSample(batch, recorder);
  return recorder;
}

TEST_CASE("every series of the contract comes from a full batch") {
  const Recorder recorder = Record(wire::FullBatch());
  // Name, labels and value as wire-and-store.md E has them.
  const std::map<std::string, double> expected = {
      {"clusterpulse_cluster_nodes_total{cluster=edge-1}", 2},
      {"clusterpulse_cluster_nodes_ready{cluster=edge-1}", 1},
      {"clusterpulse_cluster_pods_total{cluster=edge-1}", 17},
      {"clusterpulse_cluster_pods_running{cluster=edge-1}", 10},
      {"clusterpulse_cluster_cpu_capacity{cluster=edge-1}", 8},
      {"clusterpulse_cluster_memory_capacity_bytes{cluster=edge-1}", 68719476736},
      {"clusterpulse_cluster_namespaces_total{cluster=edge-1}", 2},
      {"clusterpulse_cluster_deployments_total{cluster=edge-1}", 4},
      {"clusterpulse_node_cpu_usage_percent{cluster=edge-1,node=worker-1}", 43.33},
      {"clusterpulse_node_memory_usage_percent{cluster=edge-1,node=worker-1}", 8.33},
      {"clusterpulse_node_pods_total{cluster=edge-1,node=worker-1}", 16},
      {"clusterpulse_node_pods_running{cluster=edge-1,node=worker-1}", 10},
      {"clusterpulse_node_cpu_capacity{cluster=edge-1,node=worker-1}", 8},
      {"clusterpulse_node_memory_capacity_bytes{cluster=edge-1,node=worker-1}", 68719476736},
      {"clusterpulse_node_storage_capacity_bytes{cluster=edge-1,node=worker-1}", 107374182400},
      {"clusterpulse_node_pods_capacity{cluster=edge-1,node=worker-1}", 250},
      {"clusterpulse_node_cpu_allocatable{cluster=edge-1,node=worker-1}", 7.5},
      {"clusterpulse_node_memory_allocatable_bytes{cluster=edge-1,node=worker-1}", 64424509440},
      {"clusterpulse_node_storage_allocatable_bytes{cluster=edge-1,node=worker-1}", 96636764160},
      {"clusterpulse_node_pods_allocatable{cluster=edge-1,node=worker-1}", 240},
      {"clusterpulse_node_cpu_requested{cluster=edge-1,node=worker-1}", 3.25},
      {"clusterpulse_node_memory_requested_bytes{cluster=edge-1,node=worker-1}", 5368709120},
      {"clusterpulse_node_pods_pending{cluster=edge-1,node=worker-1}", 1},
      {"clusterpulse_node_pods_failed{cluster=edge-1,node=worker-1}", 2},
      {"clusterpulse_node_pods_succeeded{cluster=edge-1,node=worker-1}", 3},
      {"clusterpulse_operator_installed{cluster=edge-1,operator=etcd.v1}", 1},
      {"clusterpulse_cluster_operator_available{cluster=edge-1,operator=ingress}", 1},
      {"clusterpulse_cluster_operator_progressing{cluster=edge-1,operator=ingress}", 1},
      {"clusterpulse_cluster_operator_degraded{cluster=edge-1,operator=ingress}", 1},
      {"clusterpulse_cluster_operator_upgradeable{cluster=edge-1,operator=ingress}", 1},
      {"clusterpulse_cluster_operators_total{cluster=edge-1}", 1},
      {"clusterpulse_cluster_operators_count{cluster=edge-1}", 1},
      {"clusterpulse_custom_resource_ready{cluster=edge-1,source=team-a/certificates}", 7.5},
  };
  for (const auto& [series, value] : expected) {
    CAPTURE(series);
    REQUIRE(recorder.values.contains(series));
    CHECK(recorder.values.at(series) == value);
  }
  // The second node has the 17 series too, and there is nothing else.
  CHECK(recorder.values.size() == expected.size() + 17);
  CHECK(recorder.values.at("clusterpulse_node_cpu_capacity{cluster=edge-1,node=worker-2}") == 0);
  CHECK(recorder.order.front() == "clusterpulse_cluster_nodes_total{cluster=edge-1}");
  CHECK(recorder.integers == 7 + 2 * 12 + 1 + 4 + 2);
  CHECK(StampOf(wire::FullBatch()) == 1'700'000'000'123);
}

TEST_CASE("what a batch does not carry has no sample") {
  model::Batch batch;
  batch.cluster = "c";
  CHECK(Record(batch).values.empty());

  batch.snapshot.counts.emplace();  // without deployments
  batch.snapshot.nodes.emplace();
  batch.snapshot.operators.emplace();  // read, and there is none
  batch.snapshot.cluster_operators.emplace();
  batch.sources.push_back({.source = "ns/empty"});
  const Recorder recorder = Record(batch);
  CHECK(recorder.values.size() == 6);
  for (const std::string& series : recorder.order) {
    CAPTURE(series);
    CHECK(series.starts_with("clusterpulse_cluster_"));
    CHECK(series.find("operator") == std::string::npos);
    CHECK(series.find("deployments") == std::string::npos);
  }
}

TEST_CASE("one kind of operators is enough for the counts of both, unless the other may come in another batch") {
  model::Batch batch;
  batch.cluster = "c";
  batch.snapshot.cluster_operators.emplace(2);
  (*batch.snapshot.cluster_operators)[0].name = "dns";
  (*batch.snapshot.cluster_operators)[1].name = "etcd";
  Recorder recorder = Record(batch);
  CHECK(recorder.values.at("clusterpulse_cluster_operators_total{cluster=c}") == 0);
  CHECK(recorder.values.at("clusterpulse_cluster_operators_count{cluster=c}") == 2);
  CHECK(recorder.values.at("clusterpulse_cluster_operator_available{cluster=c,operator=dns}") == 0);
  batch.seq = 7;  // a piece of what was collected
  recorder = Record(batch);
  CHECK_FALSE(recorder.values.contains("clusterpulse_cluster_operators_total{cluster=c}"));
  CHECK(recorder.values.at("clusterpulse_cluster_operators_count{cluster=c}") == 2);
  batch.snapshot.operators.emplace();
  CHECK(Record(batch).values.at("clusterpulse_cluster_operators_total{cluster=c}") == 0);
}

TEST_CASE("namespaces are counted where they are not listed") {
  model::Batch batch;
  batch.cluster = "c";
  batch.snapshot.counts.emplace().namespaces = 5;
  CHECK(Record(batch).values.at("clusterpulse_cluster_namespaces_total{cluster=c}") == 5);
  batch.snapshot.namespaces = {"a", "b"};
  CHECK(Record(batch).values.at("clusterpulse_cluster_namespaces_total{cluster=c}") == 2);
}

TEST_CASE("what a source found is as old as its run, all else as the batch") {
  model::Batch batch{.cluster = "c"};
  batch.snapshot.counts.emplace();
  batch.sources.push_back({.source = "ns/m", .aggregations = {{"a", 1}}, .age = std::chrono::seconds(40)});
  batch.sources.push_back({.source = "ns/n", .aggregations = {{"b", 1}}});
  const auto name = [](std::string_view name, std::string_view source) {
    return fmt::format("clusterpulse_custom_resource_{}{{cluster=c,source=ns/{}}}", name, source);
  };
  const Recorder recorder = Record(batch);
  CHECK(recorder.values.contains(name("b", "n")));
  CHECK(recorder.ages == std::map<std::string, std::chrono::milliseconds>{{name("a", "m"), std::chrono::seconds(40)}});
}

TEST_CASE("names of aggregations become names of series") {
  model::Batch batch;
  batch.cluster = "c";
  batch.sources.push_back(
      {.source = "ns/m",
       .aggregations = {
           {"ready", 1}, {"total cpu", 2}, {"total-cpu", 3}, {"a.b", 4}, {"a_b", 5}, {"9lives", 6}, {"sum_µ", 7}}});
  batch.sources.push_back({.source = "ns/n", .aggregations = {{"total-cpu", 8}}});
  const Recorder recorder = Record(batch);
  const auto name = [](std::string_view name, std::string_view source) {
    return fmt::format("clusterpulse_custom_resource_{}{{cluster=c,source=ns/{}}}", name, source);
  };
  const std::map<std::string, double> expected = {
      {name("ready", "m"), 1},  {name("total_cpu", "m"), 2}, {name("a_b", "m"), 5},
      {name("9lives", "m"), 6}, {name("sum___", "m"), 7},    {name("total_cpu", "n"), 8},
  };
  CHECK(recorder.values == expected);
  CHECK(recorder.ambiguous == std::vector<std::string>{"a.b", "total-cpu"});
}

TEST_CASE("names of series") {
  struct Case {
    std::string name;
    bool is_valid;
  };
  const std::vector<Case> cases = {{"", false},    {"a", true},    {"_a:9", true}, {"9a", false},
                                   {"a b", false}, {"a-b", false}, {"é", false},   {"a{", false}};
  for (const Case& c : cases) {
    CAPTURE(c.name);
    CHECK(IsMetricName(c.name) == c.is_valid);
    CHECK(MetricName(c.name).is_valid() == c.is_valid);
  }
}

}  // namespace
}  // namespace clusterpulse::history
