#include "common/survey/node.h"

#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "common/base/time_format.h"
#include "tests/common/survey/project.h"

namespace clusterpulse::survey {
namespace {

struct Read {
  model::Node node;
  Unreadable odd;
};

Read ReadFrom(const std::string& json) {
  Read read;
  REQUIRE(Project(json, [&](json::Cursor object) { return ReadNode(object, read.node, read.odd); }).ok());
  return read;
}

TEST_CASE("every field of a node is read") {
  const auto [node, odd] = ReadFrom(R"({
    "metadata": {"name": "w1", "uid": "u", "labels": {"node-role.kubernetes.io/worker": "", "zone": "b",
      "node-role.kubernetes.io/infra": "true", "node-role.kubernetes.io/": "", "node-role.kubernetes.iox/no": ""},
      "annotations": {"cluster/machine": "openshift-machine-api/w1"}},
    "spec": {"podCIDR": "10.128.0.0/23", "taints": [{"key": "dedicated", "value": "ml", "effect": "NoSchedule"},
      {"key": "spot", "effect": "NoExecute", "timeAdded": "2031-04-05T06:07:08Z"}]},
    "status": {
      "capacity": {"cpu": "8", "memory": "32953316Ki", "ephemeral-storage": "125293548Ki", "pods": "250", "hugepages-2Mi": "0"},
      "allocatable": {"cpu": "7500m", "memory": "31802340Ki", "ephemeral-storage": "114396791822", "pods": "240"},
      "conditions": [
        {"type": "MemoryPressure", "status": "False", "reason": "KubeletHasSufficientMemory", "message": "enough",
         "lastHeartbeatTime": "2031-04-05T06:07:08Z", "lastTransitionTime": "2031-04-01T00:00:00Z"},
        {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "posting", "lastTransitionTime": "soon"}],
      "addresses": [{"type": "InternalIP", "address": "10.0.0.4"}, {"type": "Hostname", "address": "w1.example.com"},
        {"type": "InternalIP", "address": "10.0.0.5"}, {"address": "203.0.113.9", "type": "ExternalIP"}],
      "nodeInfo": {"machineID": "x", "kernelVersion": "5.14.0-1", "osImage": "CoreOS 9", "containerRuntimeVersion": "cri-o://1.29",
        "kubeletVersion": "v1.29.4", "kubeProxyVersion": "v1.29.4", "operatingSystem": "linux", "architecture": "arm64"},
      "images": [{"names": ["a"], "sizeBytes": 1}, {"names": ["b"]}, {}],
      "volumesInUse": ["a", "b"], "volumesAttached": [{"name": "a", "devicePath": ""}]}})");
  CHECK(odd == Unreadable{});
  CHECK(node.name == "w1");
  CHECK(node.status == model::NodeStatus::kReady);
  CHECK(node.roles == std::vector<std::string>{"", "infra", "worker"});
  CHECK(node.labels.size() == 5);
  CHECK(node.labels.Find("zone") == "b");
  CHECK(node.annotations == model::Labels{{"cluster/machine", "openshift-machine-api/w1"}});
  CHECK(node.taints == std::vector<model::Taint>{{"dedicated", "ml", "NoSchedule"}, {"spot", "", "NoExecute"}});
  CHECK(node.conditions == std::vector<model::Condition>{{"MemoryPressure", "False", "KubeletHasSufficientMemory",
                                                          "enough", base::ParseRfc3339("2031-04-01T00:00:00Z")},
                                                         {"Ready", "True", "KubeletReady", "posting", std::nullopt}});
  CHECK(node.cpu_capacity == 8);
  CHECK(node.cpu_allocatable == 7.5);
  CHECK(node.memory_capacity == 33744195584);
  CHECK(node.memory_allocatable == 32565596160);
  CHECK(node.storage_capacity == 128300593152);
  CHECK(node.storage_allocatable == 114396791822);
  CHECK(node.pods_capacity == 250);
  CHECK(node.pods_allocatable == 240);
  CHECK(node.kernel_version == "5.14.0-1");
  CHECK(node.os_image == "CoreOS 9");
  CHECK(node.container_runtime == "cri-o://1.29");
  CHECK(node.kubelet_version == "v1.29.4");
  CHECK(node.architecture == "arm64");
  CHECK(node.internal_ip == "10.0.0.5");  // the last one
  CHECK(node.external_ip == "203.0.113.9");
  CHECK(node.hostname == "w1.example.com");
  CHECK(node.images_count == 3);
  CHECK(node.volumes_attached == 1);
  CHECK(node.pods == model::PodTotals{});
}

TEST_CASE("a node's status word never hides that it is not ready") {
  using S = model::NodeStatus;
  struct Case {
    const char* conditions;
    const char* unschedulable;
    S expected;
  };
  const std::vector<Case> cases = {
      {R"([{"type":"Ready","status":"True"}])", "false", S::kReady},
      {R"([{"type":"Ready","status":"False"}])", "false", S::kNotReady},
      {R"([{"type":"Ready","status":"Unknown"}])", "false", S::kNotReady},
      {R"([{"type":"Ready"}])", "false", S::kNotReady},
      {R"([{"type":"DiskPressure","status":"True"}])", "false", S::kUnknown},
      {R"([])", "false", S::kUnknown},
      {R"(null)", "null", S::kUnknown},
      {R"([{"type":"Ready","status":"True"}])", "true", S::kSchedulingDisabled},
      {R"([{"type":"Ready","status":"False"}])", "true", S::kNotReady},
      {R"([{"type":"Ready","status":"Unknown"}])", "true", S::kNotReady},
      {R"([])", "true", S::kSchedulingDisabled},
      {R"([{"type":"Ready","status":"True"}])", "\"true\"", S::kReady},
  };
  for (const auto& c : cases) {
    for (const bool spec_first : {true, false}) {
      CAPTURE(c.conditions, c.unschedulable, spec_first);
      const std::string spec = std::string(R"("spec":{"unschedulable":)") + c.unschedulable + "}";
      const std::string status = std::string(R"("status":{"conditions":)") + c.conditions + "}";
      CHECK(ReadFrom("{" + (spec_first ? spec + "," + status : status + "," + spec) + "}").node.status == c.expected);
    }
  }
}

TEST_CASE("a node's amounts are read as Kubernetes means them") {
  struct Case {
    const char* text;
    double cpu;
    std::int64_t memory;
    std::int64_t unreadable;
  };
  const std::vector<Case> cases = {
      {R"("2")", 2, 2, 0},
      {R"("1.5")", 1.5, 2, 0},  // bytes round up
      {R"("500m")", 0.5, 1, 0},
      {R"("128974848000m")", 128974848, 128974848, 0},  // m is a thousandth of a byte, not a megabyte
      {R"("250.5m")", 0.2505, 1, 0},
      {R"("1000000u")", 1, 1, 0},
      {R"("1000000000n")", 1, 1, 0},
      {R"("12k")", 12000, 12000, 0},  // k is 1000
      {R"("3M")", 3e6, 3'000'000, 0},
      {R"("2G")", 2e9, 2'000'000'000, 0},
      {R"("16Gi")", 17179869184, 17179869184, 0},
      {R"("1.5Ti")", 1649267441664, 1649267441664, 0},
      {R"("1Pi")", 1125899906842624, 1125899906842624, 0},
      {R"("1E")", 1e18, 1'000'000'000'000'000'000, 0},
      {R"("1Ei")", 1152921504606846976, 1152921504606846976, 0},
      {R"("129e6")", 129e6, 129'000'000, 0},
      {R"("1E3")", 1000, 1000, 0},
      {R"(4096)", 4096, 4096, 0},
      {R"("-4")", 0, 0, 0},  // no node has less than none
      {R"("")", 0, 0, 2},
      {R"("500x")", 0, 0, 2},
      {R"("2g")", 0, 0, 2},
      {R"(null)", 0, 0, 2},
      {R"(["1"])", 0, 0, 2},
  };
  for (const auto& c : cases) {
    CAPTURE(c.text);
    const std::string amounts = std::string(R"({"cpu":)") + c.text + R"(,"memory":)" + c.text + "}";
    const auto [node, odd] = ReadFrom(R"({"status":{"allocatable":)" + amounts + "}}");
    CHECK(node.cpu_allocatable == c.cpu);
    CHECK(node.memory_allocatable == c.memory);
    CHECK(odd.quantities == c.unreadable);
    CHECK(node.cpu_capacity == 0);
  }
}

TEST_CASE("a count of pods is within its bounds") {
  CHECK(ReadFrom(R"({"status":{"capacity":{"pods":"99999999999"}}})").node.pods_capacity == 2147483647);
  CHECK(ReadFrom(R"({"status":{"capacity":{"pods":"-3"}}})").node.pods_capacity == 0);
}

TEST_CASE("a condition's time is absent where no clock of ours holds it") {
  struct Case {
    const char* text;
    const char* read;  // null: absent
  };
  const std::vector<Case> cases = {
      {"2031-04-05T06:07:08Z", "2031-04-05T06:07:08Z"},
      {"1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"},
      {"2262-04-11T23:47:15Z", "2262-04-11T23:47:15Z"},
      {"1969-12-31T23:59:59Z", nullptr},
      {"0001-01-01T00:00:00Z", nullptr},
      {"9999-12-31T23:59:59Z", nullptr},
      {"yesterday", nullptr},
  };
  for (const Case& c : cases) {
    CAPTURE(c.text);
    const auto node =
        ReadFrom(fmt::format(R"({{"status":{{"conditions":[{{"type":"Ready","lastTransitionTime":"{}"}}]}}}})", c.text))
            .node;
    REQUIRE(node.conditions.size() == 1);
    const auto& time = node.conditions[0].last_transition;
    REQUIRE(time.has_value() == (c.read != nullptr));
    if (time) CHECK(base::FormatSeconds(*time) == c.read);
  }
}

TEST_CASE("odd fields of a node count as absent") {
  for (
      const char* json : {
          R"([null])",
          R"(["node"])",
          R"({"metadata":"w1","spec":[],"status":5})",
          R"({"metadata":{"name":7,"labels":["a"],"annotations":"x"},"spec":{"unschedulable":"yes","taints":{"key":"a"}}})",
          R"({"status":{"capacity":[],"allocatable":"8","conditions":{"type":"Ready"},"addresses":[1,null,{"type":3}]}})",
          R"({"spec":{"taints":[null,"a",3]},"status":{"conditions":["Ready",null,[]],"nodeInfo":[],"images":{}}})",
      }) {
    CAPTURE(json);
    const auto [node, odd] = ReadFrom(json);
    CHECK(node == model::Node{});
    CHECK(odd == Unreadable{});
  }
  const auto node = ReadFrom(R"({"metadata":{"name":"w1","labels":{"a":"b","n":3,"o":null}}})").node;
  CHECK(node.labels == model::Labels{{"a", "b"}});
}

TEST_CASE("usage is the share of the allocatable that is requested") {
  model::Node node;
  node.cpu_allocatable = 8;
  node.memory_allocatable = 33744855723;
  SetPods({.running = 3, .total = 3, .cpu_requested = 2.35, .memory_requested = 8589934592}, node);
  CHECK(node.pods.running == 3);
  CHECK(node.cpu_usage_percent == 29.375);
  CHECK(node.memory_usage_percent == Approx(25.4555).epsilon(1e-4));

  for (const int allocatable : {0, -1}) {
    node.cpu_allocatable = allocatable;
    node.memory_allocatable = allocatable;
    SetPods({.cpu_requested = 2.35, .memory_requested = 1}, node);
    CHECK(node.cpu_usage_percent == 0);
    CHECK(node.memory_usage_percent == 0);
  }
}

}  // namespace
}  // namespace clusterpulse::survey
