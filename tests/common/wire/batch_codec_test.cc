#include "common/wire/batch_codec.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <initializer_list>
#include <limits>
#include <random>
#include <string>
#include <type_traits>

#include <catch2/catch.hpp>

#include "tests/common/wire/sample_batch.h"

using namespace clusterpulse;
using namespace clusterpulse::wire;

namespace {

v1::MetricsBatch Encoded(const model::Batch& batch) {
  v1::MetricsBatch message;
  Encode(batch, message);
  return message;
}

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

}  // namespace

TEST_CASE("a batch comes back as it went") {
  struct Case {
    const char* name;
    std::function<void(model::Batch&)> change;
  };
  const std::vector<Case> cases{
      {"everything", [](model::Batch&) {}},
      {"a part", [](model::Batch& b) { b.part = 1, b.parts = 3; }},
      {"history", [](model::Batch& b) { b.history_only = true; }},
      {"deployments not known", [](model::Batch& b) { b.snapshot.counts->deployments.reset(); }},
      {"no deployments", [](model::Batch& b) { b.snapshot.counts->deployments = 0; }},
      {"scopes that became empty",
       [](model::Batch& b) {
         b.snapshot.nodes->clear();
         b.snapshot.namespaces->clear();
         b.snapshot.operators->clear();
         b.snapshot.cluster_operators->clear();
       }},
      {"scopes that were not read",
       [](model::Batch& b) {
         b.snapshot = {};
         b.sources.clear();
       }},
      {"nodes alone",
       [](model::Batch& b) {
         auto nodes = b.snapshot.nodes;
         b.snapshot = {};
         b.snapshot.nodes = nodes;
       }},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      model::Batch batch = FullBatch();
      c.change(batch);
      const auto decoded = Decode(Encoded(batch));
      CAPTURE(decoded.status().ToString());
      REQUIRE(decoded.ok());
      CHECK(*decoded == batch);
    }
  }
}

// Values at and beyond the edges of what the hub takes.
class Extremes {
 public:
  explicit Extremes(std::uint32_t seed) : random_(seed) {}

  template <typename T>
  void Set(T& to) {
    if constexpr (std::is_floating_point_v<T>) {
      to = Pick<T>({0, -0.0, 1.5, -1.5, kNaN, -kNaN, kInf, -kInf, 1e308, -1e308, 5e-324});
    } else {
      to = Pick<T>({0, 1, -1, std::numeric_limits<T>::max(), std::numeric_limits<T>::min()});
    }
  }
  void Set(base::SystemTime& to) {
    const auto second = std::chrono::seconds(1);
    to = Pick<base::SystemTime>({base::SystemTime(), base::SystemTime() - std::chrono::nanoseconds(1),
                                 base::SystemTime(second), base::SystemTime::min(), base::SystemTime::max(),
                                 base::SystemTime::max() - second, base::SystemTime::max() - 3 * second});
  }
  template <typename Rep, typename Period>
  void Set(std::chrono::duration<Rep, Period>& to) {
    Rep count{};
    Set(count);
    to = std::chrono::duration<Rep, Period>(count);
  }
  template <typename T>
  void Set(std::optional<T>& to) {
    to.reset();
    if (random_() % 4 != 0) Set(to.emplace());
  }
  void Set(std::vector<model::Condition>& to) {
    to.resize(random_() % 4);
    for (model::Condition& condition : to) Set(condition.last_transition);
  }
  template <typename... T>
  void SetAll(T&... fields) {
    (Set(fields), ...);
  }

 private:
  template <typename T>
  T Pick(std::initializer_list<T> values) {
    return *(values.begin() + random_() % values.size());
  }

  std::mt19937 random_;
};

TEST_CASE("whatever a collector comes to hold, what it encodes the hub takes") {
  for (std::uint32_t seed = 0; seed < 3000; ++seed) {
    Extremes extremes(seed);
    model::Batch batch = FullBatch();
    extremes.SetAll(batch.collected_at, batch.age, batch.interval);
    model::ClusterSnapshot& snapshot = batch.snapshot;
    for (model::Node& node : *snapshot.nodes) {
      extremes.SetAll(node.conditions, node.cpu_capacity, node.cpu_allocatable, node.memory_capacity,
                      node.memory_allocatable, node.storage_capacity, node.storage_allocatable, node.pods_capacity,
                      node.pods_allocatable, node.cpu_usage_percent, node.memory_usage_percent, node.images_count,
                      node.volumes_attached);
      model::PodTotals& pods = node.pods;
      extremes.SetAll(pods.running, pods.pending, pods.failed, pods.succeeded, pods.total, pods.cpu_requested,
                      pods.memory_requested);
    }
    model::ClusterCounts& counts = *snapshot.counts;
    extremes.SetAll(counts.nodes, counts.nodes_ready, counts.pods, counts.pods_running, counts.cpu_capacity,
                    counts.memory_capacity, counts.deployments);
    extremes.SetAll(snapshot.info->conditions, snapshot.cluster_operators->at(0).conditions,
                    snapshot.cluster_operators->at(0).last_transition);
    model::SourceResult& source = batch.sources.at(0);
    extremes.SetAll(source.resource_count, source.duration, source.aggregations["a"], source.aggregations["b"]);

    const auto decoded = Decode(Encoded(batch));
    CAPTURE(seed, decoded.status().ToString());
    REQUIRE(decoded.ok());
    const auto again = Decode(Encoded(*decoded));
    REQUIRE(again.ok());
    REQUIRE(*again == *decoded);
    // What the hub takes as it is comes through as it is.
    for (std::size_t i = 0; i < snapshot.nodes->size(); ++i) {
      const model::Node &from = snapshot.nodes->at(i), &to = decoded->snapshot.nodes->at(i);
      REQUIRE(to.memory_capacity == std::max<std::int64_t>(from.memory_capacity, 0));
      if (std::isfinite(from.cpu_capacity)) REQUIRE(to.cpu_capacity == std::max(from.cpu_capacity, 0.0));
      REQUIRE(to.conditions.size() == from.conditions.size());
    }
  }
}

TEST_CASE("a condition's time that no clock of ours holds goes as none") {
  struct Case {
    base::SystemTime time;
    bool is_told;
  };
  const base::SystemTime epoch;
  const std::vector<Case> cases{
      {epoch, true},
      {epoch + std::chrono::hours(24 * 365 * 292), true},
      {epoch - std::chrono::nanoseconds(1), false},
      {base::SystemTime::min(), false},
      {base::SystemTime::max(), false},
  };
  for (const Case& c : cases) {
    CAPTURE(c.time.time_since_epoch().count());
    model::Batch batch = FullBatch();
    batch.snapshot.nodes->at(0).conditions.at(0).last_transition = c.time;
    batch.snapshot.cluster_operators->at(0).last_transition = c.time;
    const auto decoded = Decode(Encoded(batch));
    REQUIRE(decoded.ok());
    const auto want = c.is_told ? std::optional(c.time) : std::nullopt;
    CHECK(decoded->snapshot.nodes->at(0).conditions.at(0).last_transition == want);
    CHECK(decoded->snapshot.cluster_operators->at(0).last_transition == want);
  }
}

TEST_CASE("namespaces without cluster metrics do not make counts") {
  model::Batch batch = FullBatch();
  batch.snapshot.counts.reset();
  const auto decoded = Decode(Encoded(batch));
  REQUIRE(decoded.ok());
  CHECK_FALSE(decoded->snapshot.counts.has_value());
  CHECK(decoded->snapshot.namespaces == batch.snapshot.namespaces);
}

TEST_CASE("aggregations that no series can have are left out alone") {
  v1::MetricsBatch message = Encoded(FullBatch());
  const auto before = Decode(message);
  REQUIRE(before.ok());
  auto& values = *message.mutable_custom_resources(0)->mutable_aggregation_values();
  values[""] = 1;
  values["a\tb"] = 1;
  values["x"] = kNaN;
  values["y"] = kInf;
  const auto batch = Decode(message);
  REQUIRE(batch.ok());
  CHECK(batch->sources[0].aggregations == before->sources[0].aggregations);
  CHECK(batch->sources[0].errors == before->sources[0].errors + 4);
  CHECK_THAT(batch->sources[0].message, Catch::Contains("4 aggregations are left out"));
  CHECK(batch->snapshot == before->snapshot);
}

TEST_CASE("an upstream batch says what it carries") {
  v1::MetricsBatch message;
  message.set_cluster_name("edge-1");
  message.set_batch_id("b-1");
  message.mutable_collected_at()->set_seconds(1'700'000'000);

  SECTION("nothing could be read") {
    message.mutable_cluster_info();
    const auto batch = Decode(message);
    REQUIRE(batch.ok());
    CHECK(batch->snapshot == model::ClusterSnapshot());
    CHECK(batch->seq == 0);
  }
  SECTION("the list of namespaces failed: it is empty and says nothing") {
    message.mutable_cluster_metrics()->set_nodes(3);
    const auto batch = Decode(message);
    REQUIRE(batch.ok());
    CHECK(batch->snapshot.counts->nodes == 3);
    CHECK_FALSE(batch->snapshot.namespaces.has_value());
  }
  SECTION("all") {
    message.mutable_cluster_metrics()->add_namespace_list("default");
    message.mutable_cluster_metrics()->set_deployments(5);
    message.add_node_metrics()->set_name("n1");
    message.add_operators()->set_name("etcd");
    message.add_cluster_operators()->set_name("dns");
    message.mutable_cluster_info()->set_version("4.14");
    message.mutable_cluster_info()->set_platform("OpenShift");
    const auto batch = Decode(message);
    REQUIRE(batch.ok());
    CHECK(batch->snapshot.namespaces == std::vector<std::string>{"default"});
    CHECK(batch->snapshot.counts->deployments == 5);
    CHECK(batch->snapshot.nodes->at(0).status == model::NodeStatus::kUnknown);
    CHECK(batch->snapshot.operators->size() == 1);
    CHECK(batch->snapshot.cluster_operators->size() == 1);
    CHECK(batch->snapshot.info->is_openshift);
  }
  SECTION("a collector without a clock") {
    message.clear_collected_at();
    CHECK(Decode(message).ok());
  }
}

TEST_CASE("what breaks a rule is refused by name") {
  struct Case {
    const char* said;
    std::function<void(v1::MetricsBatch&)> spoil;
  };
  const std::vector<Case> cases{
      {"node_metrics[1].cpu_capacity is not a finite number",
       [](auto& m) { m.mutable_node_metrics(1)->set_cpu_capacity(kNaN); }},
      {"node_metrics[0].cpu_requested is not a finite number",
       [](auto& m) { m.mutable_node_metrics(0)->set_cpu_requested(kInf); }},
      {"node_metrics[0].cpu_usage_percent is negative",
       [](auto& m) { m.mutable_node_metrics(0)->set_cpu_usage_percent(-1); }},
      {"node_metrics[0].memory_capacity is negative",
       [](auto& m) { m.mutable_node_metrics(0)->set_memory_capacity(-1); }},
      {"node_metrics[0].pods_total is negative", [](auto& m) { m.mutable_node_metrics(0)->set_pods_total(-1); }},
      {"node_metrics[0].name is not the name of a node", [](auto& m) { m.mutable_node_metrics(0)->set_name("a:b"); }},
      {"node_metrics[0].name is not the name of a node", [](auto& m) { m.mutable_node_metrics(0)->clear_name(); }},
      {"node_metrics has worker-2 twice", [](auto& m) { m.mutable_node_metrics(0)->set_name("worker-2"); }},
      {"node_metrics[0].conditions[0]: last_transition is not a time between 1970 and 9999",
       [](auto& m) { m.mutable_node_metrics(0)->mutable_conditions(0)->mutable_last_transition()->set_nanos(-1); }},
      {"cluster_metrics: cpu_capacity is not a finite number",
       [](auto& m) { m.mutable_cluster_metrics()->set_cpu_capacity(-kInf); }},
      {"cluster_metrics: deployments is negative", [](auto& m) { m.mutable_cluster_metrics()->set_deployments(-1); }},
      {"cluster_metrics: namespaces is negative", [](auto& m) { m.mutable_cluster_metrics()->set_namespaces(-1); }},
      {"cluster_metrics.namespace_list has a name that is none",
       [](auto& m) { m.mutable_cluster_metrics()->add_namespace_list("a.b"); }},
      {"operators[0].name is not the name of an operator",
       [](auto& m) { m.mutable_operators(0)->set_name(std::string(254, 'a')); }},
      {"custom_resources[0].resources has a namespace that is none",
       [](auto& m) { m.mutable_custom_resources(0)->mutable_resources(0)->set_namespace_("a/b"); }},
      {"custom_resources[0].resources has a name that is none",
       [](auto& m) { m.mutable_custom_resources(0)->mutable_resources(0)->set_name("a\nb"); }},
      {"operators[0].name is empty", [](auto& m) { m.mutable_operators(0)->clear_name(); }},
      {"cluster_operators[0].name is not the name of a ClusterOperator",
       [](auto& m) { m.mutable_cluster_operators(0)->set_name("a/b"); }},
      {"cluster_operators has ingress twice", [](auto& m) { m.add_cluster_operators()->set_name("ingress"); }},
      {"cluster_operators[0].last_transition is too far in the future",
       [](auto& m) { m.mutable_cluster_operators(0)->mutable_last_transition()->set_seconds(253402300799); }},
      {"custom_resources[0].source_id is not <namespace>/<name>",
       [](auto& m) { m.mutable_custom_resources(0)->set_source_id("certificates"); }},
      {"custom_resources[0].resource_count is negative",
       [](auto& m) { m.mutable_custom_resources(0)->set_resource_count(-1); }},
      {"custom_resources has team-a/certificates twice",
       [](auto& m) { m.add_custom_resources()->set_source_id("team-a/certificates"); }},
      {"collected_at is absent", [](auto& m) { m.clear_collected_at(); }},
      {"collected_at is not a time between 1970 and 9999", [](auto& m) { m.mutable_collected_at()->set_seconds(-1); }},
      {"age_ms is more than 400 days", [](auto& m) { m.set_age_ms(~0ULL); }},
      {"interval_seconds is -1, allowed: 0..86400", [](auto& m) { m.set_interval_seconds(-1); }},
      {"parts is 4097, more than 4096", [](auto& m) { m.set_parts(4097); }},
      {"part 3 of 3 parts", [](auto& m) { m.set_parts(3), m.set_part(3); }},
      {"a part without a seq", [](auto& m) { m.set_parts(3), m.set_seq(0); }},
      {"scopes lists cluster metrics, but cluster_metrics is absent", [](auto& m) { m.clear_cluster_metrics(); }},
      {"scopes lists cluster info, but cluster_info is absent", [](auto& m) { m.clear_cluster_info(); }},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.said) {
      v1::MetricsBatch message = Encoded(FullBatch());
      c.spoil(message);
      const auto decoded = Decode(message);
      CHECK(decoded.status().code() == absl::StatusCode::kInvalidArgument);
      CHECK(std::string(decoded.status().message()) == c.said);
    }
  }
}

TEST_CASE("how many namespaces there are is known where they are not listed") {
  model::Batch batch = FullBatch();
  batch.snapshot.namespaces.reset();
  batch.snapshot.counts->namespaces = 17;
  const auto decoded = Decode(Encoded(batch));
  REQUIRE(decoded.ok());
  CHECK(*decoded == batch);
  CHECK_FALSE(Decode(Encoded(FullBatch()))->snapshot.counts->namespaces.has_value());
}

TEST_CASE("what a later version adds is no fault") {
  v1::MetricsBatch message = Encoded(FullBatch());
  message.add_scopes(static_cast<v1::Scope>(99));
  message.mutable_node_metrics(0)->set_status("Hibernating");
  const auto decoded = Decode(message);
  REQUIRE(decoded.ok());
  CHECK(decoded->snapshot.nodes->at(0).status == model::NodeStatus::kUnknown);
}
