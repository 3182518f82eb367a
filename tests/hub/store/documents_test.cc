// Golden documents: the bytes a reader written for upstream expects, authored from spec/wire-and-store.md D.
#include "hub/store/documents.h"

#include <catch2/catch.hpp>

#include "common/base/time_format.h"

namespace clusterpulse::store {
namespace {

constexpr std::string_view kNow = "2031-04-05T06:07:08Z";

base::SystemTime At(std::string_view text) { return *base::ParseRfc3339(text); }

model::Node Worker() {
  model::Node node;
  node.name = "w1";
  node.status = model::NodeStatus::kReady;
  node.roles = {"worker"};
  node.conditions = {{"Ready", "True", "KubeletReady", "posting <status> & more", At("2031-04-01T00:00:01Z")},
                     {"DiskPressure", "False", "", "", std::nullopt}};
  node.taints = {{"dedicated", "db", "NoSchedule"}};
  node.labels = {{"zone", "a"}, {"arch", "amd64"}};
  node.annotations = {{"note", "x"}};
  node.cpu_capacity = 8;
  node.cpu_allocatable = 7.5;
  node.memory_capacity = 33744855723;
  node.memory_allocatable = 32000000000;
  node.storage_capacity = 100000000000;
  node.storage_allocatable = 90000000000;
  node.pods_capacity = 110;
  node.pods_allocatable = 100;
  node.pods = {47, 0, 1, 0, 48, 2.35, 4294967296};
  node.cpu_usage_percent = 29.375;
  node.memory_usage_percent = 13.2;
  node.kernel_version = "6.1.0";
  node.os_image = "Debian";
  node.container_runtime = "containerd://1.7";
  node.kubelet_version = "v1.29.3";
  node.architecture = "amd64";
  node.internal_ip = "10.0.0.5";
  node.external_ip = "203.0.113.9";
  node.hostname = "w1.local";
  node.images_count = 12;
  node.volumes_attached = 3;
  return node;
}

TEST_CASE("spec and labels documents") {
  ClusterSpec spec{.display_name = "Harbour 7",
                   .endpoint = "https://10.42.0.11:6443",
                   .credentials_name = "harbour-7-bootstrap",
                   .credentials_namespace = "",
                   .labels = {{"ring", "canary"}},
                   .interval_seconds = 45,
                   .timeout_seconds = 8};
  CHECK(
      documents::Spec(spec) ==
      R"({"credentialsRef":{"name":"harbour-7-bootstrap","namespace":""},"displayName":"Harbour 7","endpoint":"https://10.42.0.11:6443","labels":{"ring":"canary"},"monitoring":{"interval":45,"timeout":8}})");
  CHECK(documents::LabelsOf(spec.labels) == R"({"ring":"canary"})");
  CHECK(
      documents::Spec({}) ==
      R"({"credentialsRef":{"name":"","namespace":""},"displayName":"","endpoint":"","labels":null,"monitoring":{"interval":0,"timeout":0}})");
}

TEST_CASE("status document") {
  CHECK(documents::Status({model::Health::kHealthy, "Collector push active"}, kNow) ==
        R"({"health":"healthy","last_check":"2031-04-05T06:07:08Z","message":"Collector push active"})");
  CHECK(documents::Status({model::Health::kUnhealthy, "dial \"x\"\n"}, kNow) ==
        R"({"health":"unhealthy","last_check":"2031-04-05T06:07:08Z","message":"dial \"x\"\n"})");
}

TEST_CASE("info document holds what is known") {
  CHECK(documents::Info({.api_url = "https://a:6443", .version = "v1.29.3", .platform = "linux/amd64"}) ==
        R"({"api_url":"https://a:6443","platform":"linux/amd64","version":"v1.29.3"})");
  CHECK(documents::Info({.api_url = "https://a:6443", .console_url = "https://a:6443"}) ==
        R"({"api_url":"https://a:6443","console_url":"https://a:6443"})");
  const model::ClusterInfo openshift{.api_url = "https://a:6443",
                                     .version = "4.16.3",
                                     .platform = "OpenShift",
                                     .console_url = "https://console.apps.a",
                                     .channel = "stable-4.16",
                                     .cluster_id = "6a1f",
                                     .image = "quay.io/x@sha256:1",
                                     .is_openshift = true,
                                     .update_available = true,
                                     .available_update_version = "4.16.4",
                                     .version_state = "Completed",
                                     .version_started_time = "2031-01-01T00:00:00Z",
                                     .version_completion_time = "2031-01-01T01:00:00Z",
                                     .conditions = {{"Available", "True", "AsExpected", "done", std::nullopt}},
                                     .is_progressing = false,
                                     .is_degraded = false,
                                     .is_available = true};
  CHECK(
      documents::Info(openshift) ==
      R"({"api_url":"https://a:6443","available_update_version":"4.16.4","channel":"stable-4.16","cluster_id":"6a1f","conditions":[{"message":"done","reason":"AsExpected","status":"True","type":"Available"}],"console_url":"https://console.apps.a","image":"quay.io/x@sha256:1","is_available":true,"platform":"OpenShift","update_available":true,"version":"4.16.3","version_completion_time":"2031-01-01T01:00:00Z","version_started_time":"2031-01-01T00:00:00Z","version_state":"Completed"})");
}

TEST_CASE("metrics and namespaces documents") {
  const model::ClusterCounts counts{3, 3, 142, 139, 24, 101234567168, 61};
  CHECK(
      documents::Metrics(counts, {7, 2}, kNow) ==
      R"({"cpu_capacity":24,"deployments":61,"memory_capacity":101234567168,"namespaces":2,"nodes":3,"nodes_ready":3,"pods":142,"pods_running":139,"timestamp":"2031-04-05T06:07:08Z"})");
  CHECK(documents::Namespaces({"default", "etl-a"}, kNow) ==
        R"({"count":2,"namespaces":["default","etl-a"],"timestamp":"2031-04-05T06:07:08Z"})");
  CHECK(documents::Namespaces({}, kNow) == R"({"count":0,"namespaces":[],"timestamp":"2031-04-05T06:07:08Z"})");
  const auto carried = documents::ReadCarriedCounts(documents::Metrics(counts, {7, 2}, kNow));
  CHECK(carried.deployments == 61);
  CHECK(carried.namespaces == 2);
  // What nobody knows is not stated.
  const model::ClusterCounts unknown{3, 3, 142, 139, 24, 101234567168, std::nullopt};
  const std::string partial = documents::Metrics(unknown, {}, kNow);
  CHECK(
      partial ==
      R"({"cpu_capacity":24,"memory_capacity":101234567168,"nodes":3,"nodes_ready":3,"pods":142,"pods_running":139,"timestamp":"2031-04-05T06:07:08Z"})");
  for (const std::string& text : {partial, std::string("{broken"), std::string(R"({"deployments":"x"})")}) {
    CHECK_FALSE(documents::ReadCarriedCounts(text).deployments.has_value());
    CHECK_FALSE(documents::ReadCarriedCounts(text).namespaces.has_value());
  }
}

TEST_CASE("node hash, sample and summary") {
  const auto hash = documents::NodeHash(Worker(), kNow);
  REQUIRE(hash.size() == 6);
  CHECK(
      hash[0].second ==
      R"({"name":"w1","status":"Ready","timestamp":"2031-04-05T06:07:08Z","roles":["worker"],"conditions":[{"type":"Ready","status":"True","reason":"KubeletReady","message":"posting \u003cstatus\u003e \u0026 more","last_transition_time":"2031-04-01T00:00:01Z"},{"type":"DiskPressure","status":"False","reason":"","message":"","last_transition_time":"0001-01-01T00:00:00Z"}],"cpu_capacity":8,"cpu_allocatable":7.5,"cpu_requested":2.35,"cpu_usage_percent":29.375,"memory_usage_percent":13.2,"memory_capacity":33744855723,"storage_capacity":100000000000,"memory_allocatable":32000000000,"storage_allocatable":90000000000,"memory_requested":4294967296,"pods_capacity":110,"pods_allocatable":100,"pods_running":47,"pods_pending":0,"pods_failed":1,"pods_succeeded":0,"pods_total":48,"kernel_version":"6.1.0","os_image":"Debian","container_runtime":"containerd://1.7","kubelet_version":"v1.29.3","architecture":"amd64","labels":{"arch":"amd64","zone":"a"},"annotations":{"note":"x"},"taints":[{"key":"dedicated","value":"db","effect":"NoSchedule"}],"internal_ip":"10.0.0.5","hostname":"w1.local","external_ip":"203.0.113.9","images_count":12,"volumes_attached":3})");
  CHECK(hash[0].first == "current");
  CHECK(hash[1] == std::pair<std::string, std::string>("last_update", kNow));
  CHECK(hash[2] == std::pair<std::string, std::string>("status", "Ready"));
  CHECK(hash[3] == std::pair<std::string, std::string>("cpu_usage", "29.38"));
  CHECK(hash[4] == std::pair<std::string, std::string>("memory_usage", "13.20"));
  CHECK(hash[5] == std::pair<std::string, std::string>("pods_total", "48"));
  CHECK(
      documents::NodeSample(Worker(), kNow) ==
      R"({"cpu_requested":2.35,"cpu_usage":29.375,"memory_requested":4294967296,"memory_usage":13.2,"pods_pending":0,"pods_running":47,"pods_total":48,"timestamp":"2031-04-05T06:07:08Z"})");
  CHECK(
      documents::NodesSummary({Worker()}, kNow) ==
      R"({"avg_cpu_usage":29.375,"avg_memory_usage":13.2,"by_role":{"worker":1},"not_ready":0,"ready":1,"scheduling_disabled":0,"timestamp":"2031-04-05T06:07:08Z","total":1,"total_cpu_capacity":8,"total_memory_capacity":33744855723})");
  CHECK(
      documents::NodesSummary({}, kNow) ==
      R"({"avg_cpu_usage":0,"avg_memory_usage":0,"by_role":{},"not_ready":0,"ready":0,"scheduling_disabled":0,"timestamp":"2031-04-05T06:07:08Z","total":0,"total_cpu_capacity":0,"total_memory_capacity":0})");
}

TEST_CASE("an empty node has lists and objects, never null") {
  const std::string current = documents::NodeCurrent({}, kNow);
  CHECK_THAT(current, Catch::Contains(R"("roles":[],"conditions":[],)") &&
                          Catch::Contains(R"("labels":{},"annotations":{},"taints":[],)") && !Catch::Contains("null"));
}

TEST_CASE("operators documents") {
  model::OlmOperator scoped{.name = "pg.v1",
                            .display_name = "Postgres",
                            .version = "1.0.0",
                            .status = "Succeeded",
                            .installed_namespace = "etl-a",
                            .install_mode = "SingleNamespace",
                            .provider = "ACME",
                            .install_modes = {"OwnNamespace", "SingleNamespace"},
                            .is_cluster_wide = false,
                            .available_in_namespaces = {"etl-a", "etl-b"},
                            .created_at = "2030-01-01T00:00:00Z",
                            .updated_at = ""};
  model::OlmOperator wide{.name = "cert.v2",
                          .status = "Succeeded",
                          .installed_namespace = "operators",
                          .install_mode = "AllNamespaces",
                          .is_cluster_wide = true,
                          .available_in_namespaces = {"*"}};
  CHECK(
      documents::Operators({scoped}, kNow) ==
      R"([{"available_count":2,"available_in_namespaces":["etl-a","etl-b"],"available_namespaces_detail":"etl-a, etl-b","created_at":"2030-01-01T00:00:00Z","display_name":"Postgres","install_mode":"SingleNamespace","install_modes":["OwnNamespace","SingleNamespace"],"installed_namespace":"etl-a","is_cluster_wide":false,"name":"pg.v1","namespace":"etl-a","provider":"ACME","status":"Succeeded","updated_at":"2031-04-05T06:07:08Z","version":"1.0.0"}])");
  CHECK_THAT(documents::Operators({wide}, kNow), Catch::Contains(R"("available_namespaces_detail":"All namespaces")"));
  CHECK(
      documents::OperatorsSummary({scoped, wide}) ==
      R"({"by_install_mode":{"cluster_wide":1,"namespace_scoped":1},"by_namespace":{"etl-a":1},"by_status":{"Succeeded":2},"total":2})");
  scoped.status = "";
  CHECK_THAT(documents::OperatorsSummary({scoped}), Catch::Contains(R"("by_status":{"Unknown":1})"));
}

TEST_CASE("all namespaces of an operator are kept when more than twenty") {
  model::OlmOperator op{.name = "x"};
  std::string all, shown;
  for (int i = 10; i < 31; ++i) {
    op.available_in_namespaces.push_back("n" + std::to_string(i));
    const std::string item = (all.empty() ? "\"n" : ",\"n") + std::to_string(i) + "\"";
    all += item;
    if (i < 30) shown += item;
  }
  const std::string text = documents::Operators({op}, kNow);
  CHECK_THAT(text, Catch::StartsWith(R"([{"all_available_namespaces":[)" + all +
                                     R"(],"available_count":21,"available_in_namespaces":[)" + shown +
                                     R"x(],"available_namespaces_detail":"21 namespaces (showing first 20)")x"));
  op.available_in_namespaces.pop_back();
  CHECK_THAT(documents::Operators({op}, kNow), !Catch::Contains("all_available_namespaces"));
}

TEST_CASE("cluster operator documents") {
  const model::ClusterOperator good{.name = "dns",
                                    .version = "4.16.3",
                                    .available = true,
                                    .upgradeable = true,
                                    .last_transition = At("2031-04-01T00:00:00Z"),
                                    .conditions = {{"Available", "True", "AsExpected", "fine", std::nullopt}},
                                    .versions = {{"operator", "4.16.3"}},
                                    .related_objects = {{"", "namespaces", "", "openshift-dns"}}};
  const model::ClusterOperator bad{
      .name = "auth", .message = "no route", .reason = "RouteGone", .progressing = true, .degraded = true};
  const model::ClusterOperator away{.name = "console", .message = "gone"};
  CHECK(
      documents::ClusterOperators({good, bad}) ==
      R"([{"name":"dns","version":"4.16.3","message":"","reason":"","available":true,"progressing":false,"degraded":false,"upgradeable":true,"last_transition_time":"2031-04-01T00:00:00Z","conditions":[{"type":"Available","status":"True","last_transition_time":"0001-01-01T00:00:00Z","reason":"AsExpected","message":"fine"}],"versions":[{"name":"operator","version":"4.16.3"}],"related_objects":[{"group":"","resource":"namespaces","namespace":"","name":"openshift-dns"}]},{"name":"auth","version":"","message":"no route","reason":"RouteGone","available":false,"progressing":true,"degraded":true,"upgradeable":false,"last_transition_time":"0001-01-01T00:00:00Z","conditions":[],"versions":[],"related_objects":[]}])");
  CHECK(
      documents::ClusterOperatorsSummary({good, bad, away}, kNow) ==
      R"({"all_healthy":false,"available":1,"degraded":1,"has_issues":true,"issues":["auth: degraded - no route","console: not available - gone"],"progressing":1,"timestamp":"2031-04-05T06:07:08Z","total":3,"upgradeable":1})");
  CHECK(
      documents::ClusterOperatorsSummary({good}, kNow) ==
      R"({"all_healthy":true,"available":1,"degraded":0,"has_issues":false,"progressing":0,"timestamp":"2031-04-05T06:07:08Z","total":1,"upgradeable":1})");
  CHECK(
      documents::ClusterOperator(bad, kNow) ==
      R"({"available":false,"degraded":true,"message":"no route","progressing":true,"timestamp":"2031-04-05T06:07:08Z","version":""})");
}

TEST_CASE("event") {
  CHECK(
      documents::Event("cluster.reconciled", "harbour-7", R"({"health":"healthy","source":"collector-push"})", kNow) ==
      R"({"cluster":"harbour-7","data":{"health":"healthy","source":"collector-push"},"timestamp":"2031-04-05T06:07:08Z","type":"cluster.reconciled"})");
  CHECK(documents::Event("cluster.deleted", "a", "null", kNow) ==
        R"({"cluster":"a","data":null,"timestamp":"2031-04-05T06:07:08Z","type":"cluster.deleted"})");
}

}  // namespace
}  // namespace clusterpulse::store
