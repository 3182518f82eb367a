#include "common/survey/pod.h"

#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "common/survey/pod_tally.h"
#include "tests/common/survey/project.h"

namespace clusterpulse::survey {
namespace {

struct Read {
  PodRecord pod;
  Unreadable odd;
};

Read ReadFrom(const std::string& json) {
  Read read;
  REQUIRE(Project(json, [&](json::Cursor object) { return ReadPod(object, read.pod, read.odd); }).ok());
  return read;
}

kube::Quantity Amount(const char* text) { return kube::Quantity::Parse(text).value(); }

TEST_CASE("requests of a pod are what the scheduler reserves") {
  struct Case {
    const char* name;
    std::string spec;
    const char* cpu;
    const char* memory;
  };
  const std::vector<Case> cases = {
      {"no containers", R"({})", "0", "0"},
      {"no requests",
       R"({"containers":[{"name":"a"},{"name":"b","resources":{}},{"resources":{"limits":{"cpu":"4"}}}]})", "0", "0"},
      {"containers add up",
       R"({"containers":[{"resources":{"limits":{"cpu":"9"},"requests":{"cpu":"250m","memory":"64Mi"}}},
                         {"resources":{"requests":{"cpu":"1","memory":"1G"}}},
                         {"resources":{"requests":{"memory":"1k"}}}]})",
       "1250m", "1067109864"},
      {"exact sums of tiny amounts",
       R"({"containers":[{"resources":{"requests":{"cpu":"100n","memory":"100m"}}},
                         {"resources":{"requests":{"cpu":"1n","memory":"900m"}}}]})",
       "101n", "1"},
      {"quantities as numbers", R"({"containers":[{"resources":{"requests":{"cpu":0.5,"memory":1048576}}}]})", "500m",
       "1Mi"},
      {"a larger init container wins, each resource by itself",
       R"({"initContainers":[{"resources":{"requests":{"cpu":"2","memory":"16Mi"}}},
                             {"resources":{"requests":{"cpu":"500m"}}}],
           "containers":[{"resources":{"requests":{"cpu":"300m","memory":"512Mi"}}}]})",
       "2", "512Mi"},
      {"init containers do not add up",
       R"({"initContainers":[{"resources":{"requests":{"cpu":"400m"}}},{"resources":{"requests":{"cpu":"400m"}}}],
           "containers":[{"resources":{"requests":{"cpu":"500m"}}}]})",
       "500m", "0"},
      {"a sidecar counts with the containers",
       R"({"initContainers":[{"restartPolicy":"Always","resources":{"requests":{"cpu":"100m","memory":"32Mi"}}}],
           "containers":[{"resources":{"requests":{"cpu":"500m","memory":"64Mi"}}}]})",
       "600m", "96Mi"},
      {"an init container runs with the sidecars before it, not with those behind",
       R"({"initContainers":[{"restartPolicy":"Always","resources":{"requests":{"cpu":"100m"}}},
                             {"resources":{"requests":{"cpu":"2"}}},
                             {"resources":{"requests":{"cpu":"50m"}},"restartPolicy":"Always"}],
           "containers":[{"resources":{"requests":{"cpu":"500m"}}}]})",
       "2100m", "0"},
      {"the member order does not matter",
       R"({"overhead":{"cpu":"10m"},"containers":[{"resources":{"requests":{"cpu":"500m"}}}],
           "initContainers":[{"restartPolicy":"Always","resources":{"requests":{"cpu":"100m"}}}]})",
       "610m", "0"},
      {"other restart policies are ordinary",
       R"({"initContainers":[{"restartPolicy":"OnFailure","resources":{"requests":{"cpu":"100m"}}},
                             {"restartPolicy":true,"resources":{"requests":{"cpu":"200m"}}}],
           "containers":[{"resources":{"requests":{"cpu":"50m"}}}]})",
       "200m", "0"},
      {"overhead comes on top",
       R"({"containers":[{"resources":{"requests":{"cpu":"1","memory":"128Mi"}}}],
           "overhead":{"cpu":"250m","memory":"120Mi"}})",
       "1250m", "248Mi"},
      {"pod-level requests win for what they name, before overhead",
       R"({"resources":{"requests":{"cpu":"3"}},"overhead":{"cpu":"250m"},
           "initContainers":[{"resources":{"requests":{"cpu":"8","memory":"1Gi"}}}],
           "containers":[{"resources":{"requests":{"cpu":"1","memory":"128Mi"}}}]})",
       "3250m", "1Gi"},
      {"pod-level requests below the containers'",
       R"({"resources":{"requests":{"memory":"64Mi"}},
           "containers":[{"resources":{"requests":{"cpu":"1","memory":"128Mi"}}}]})",
       "1", "64Mi"},
      {"ephemeral containers do not count",
       R"({"ephemeralContainers":[{"resources":{"requests":{"cpu":"1"}}}],"containers":[]})", "0", "0"},
  };
  for (const auto& c : cases) {
    DYNAMIC_SECTION(c.name) {
      const auto [pod, odd] = ReadFrom(R"({"metadata":{"name":"p"},"spec":)" + c.spec + "}");
      CHECK(pod.requests.cpu == Amount(c.cpu));
      CHECK(pod.requests.memory == Amount(c.memory));
      CHECK(odd == Unreadable{});
    }
  }
}

TEST_CASE("a container that is resized in place counts with the larger of what it has and what it asks for") {
  // One container that asks for 1 CPU and 1Gi, one sidecar, one ordinary init container.
  const std::string spec =
      R"({"initContainers":[{"name":"proxy","restartPolicy":"Always","resources":{"requests":{"cpu":"100m"}}},
                            {"name":"setup","resources":{"requests":{"cpu":"1"}}}],
          "containers":[{"name":"app","resources":{"requests":{"cpu":"1","memory":"1Gi"}}}]})";
  struct Case {
    const char* name;
    std::string status;
    const char* cpu;
    const char* memory;
  };
  const std::vector<Case> cases = {
      {"as asked for", R"({"containerStatuses":[{"name":"app","resources":{"requests":{"cpu":"1","memory":"1Gi"}}}]})",
       "1100m", "1Gi"},
      {"growing: not granted yet",
       R"({"containerStatuses":[{"name":"app","resources":{"requests":{"cpu":"500m","memory":"512Mi"}},
                                 "allocatedResources":{"cpu":"500m","memory":"512Mi"}}]})",
       "1100m", "1Gi"},
      {"shrinking: still in force", R"({"containerStatuses":[{"name":"app","resources":{"requests":{"cpu":"3"}}}]})",
       "3100m", "1Gi"},
      {"allocated, not yet in force",
       R"({"containerStatuses":[{"resources":{"requests":{"cpu":"1"}},
                                 "allocatedResources":{"cpu":"2","memory":"4Gi"},"name":"app"}]})",
       "2100m", "4Gi"},
      {"infeasible: what is asked for does not count",
       R"({"conditions":[{"type":"Ready","reason":"x"},{"type":"PodResizePending","reason":"Infeasible"}],
           "containerStatuses":[{"name":"app","resources":{"requests":{"cpu":"500m","memory":"512Mi"}},
                                 "allocatedResources":{"cpu":"600m"}}]})",
       "1100m", "512Mi"},
      {"infeasible, said by a server before 1.33",
       R"({"resize":"Infeasible","containerStatuses":[{"name":"app","resources":{"requests":{"memory":"2Gi"}}}]})",
       "1100m", "2Gi"},
      {"deferred: it counts",
       R"({"conditions":[{"type":"PodResizePending","reason":"Deferred"}],
           "containerStatuses":[{"name":"app","resources":{"requests":{"cpu":"500m"}}}]})",
       "1100m", "1Gi"},
      {"no resources in the status: the node knows no resize",
       R"({"containerStatuses":[{"name":"app","allocatedResources":{"cpu":"9"}},
                                {"name":"app","resources":null,"allocatedResources":{"cpu":"9"}}]})",
       "1100m", "1Gi"},
      {"a sidecar is resized, an ordinary init container never",
       R"({"initContainerStatuses":[{"name":"setup","resources":{"requests":{"cpu":"8"}}},
                                    {"name":"proxy","resources":{"requests":{"cpu":"400m"}}}]})",
       "1400m", "1Gi"},
      {"statuses in another order, and of containers that are not there",
       R"({"containerStatuses":[{"name":"zz","resources":{"requests":{"cpu":"9"}}},
                                {"name":"app","resources":{"requests":{"cpu":"3"}}},
                                {"name":"aa","resources":{"requests":{"cpu":"9"}}}]})",
       "3100m", "1Gi"},
  };
  const bool status_first = GENERATE(false, true);
  for (const auto& c : cases) {
    DYNAMIC_SECTION(c.name << (status_first ? ", status first" : "")) {
      const auto [pod, odd] = ReadFrom(status_first ? R"({"status":)" + c.status + R"(,"spec":)" + spec + "}"
                                                    : R"({"spec":)" + spec + R"(,"status":)" + c.status + "}");
      CHECK(pod.requests.cpu == Amount(c.cpu));
      CHECK(pod.requests.memory == Amount(c.memory));
      CHECK(odd == Unreadable{});
    }
  }
}

TEST_CASE("a pod's node and phase are read") {
  struct Case {
    const char* json;
    const char* node;
    PodPhase phase;
  };
  const std::vector<Case> cases = {
      {R"({"spec":{"nodeName":"w1"},"status":{"phase":"Running"}})", "w1", PodPhase::kRunning},
      {R"({"status":{"phase":"Pending"},"spec":{}})", "", PodPhase::kPending},
      {R"({"spec":{"nodeName":"w1"},"status":{"conditions":[{"phase":"x"}],"phase":"Succeeded"}})", "w1",
       PodPhase::kSucceeded},
      {R"({"spec":{"nodeName":"w\u0031"},"status":{"phase":"Failed"}})", "w1", PodPhase::kFailed},
      {R"({"spec":{"nodeName":"w1"},"status":{"phase":"Unknown"}})", "w1", PodPhase::kUnknown},
      {R"({"spec":{"nodeName":"w1"},"status":{"phase":"running"}})", "w1", PodPhase::kUnknown},
      {R"({"spec":{"nodeName":"w1"}})", "w1", PodPhase::kUnknown},
      {R"({})", "", PodPhase::kUnknown},
  };
  for (const auto& c : cases) {
    CAPTURE(c.json);
    const auto pod = ReadFrom(c.json).pod;
    CHECK(pod.node == c.node);
    CHECK(pod.phase == c.phase);
  }
}

TEST_CASE("odd fields of a pod count as absent and bad quantities as zero, counted") {
  struct Case {
    const char* json;
    std::int64_t unreadable;
  };
  const std::vector<Case> cases = {
      {R"([null])", 0},
      {R"([1,2])", 0},
      {R"({"spec":7,"status":"Running","metadata":[]})", 0},
      {R"({"spec":{"nodeName":{"a":1},"containers":{"cpu":"1"},"initContainers":"none","overhead":[3]},"status":{"phase":5}})",
       0},
      {R"({"spec":{"containers":[null,1,"x",[],{"resources":3},{"resources":{"requests":["cpu"]}}]}})", 0},
      {R"({"spec":{"containers":[{"resources":{"requests":{"cpu":"lots","memory":""}}}]}})", 2},
      {R"({"spec":{"containers":[{"resources":{"requests":{"cpu":null,"memory":{"Gi":1}}}}]}})", 2},
      {R"({"spec":{"overhead":{"cpu":true},"resources":{"requests":{"cpu":"1x"}}}})", 2},
      {R"({"spec":{"containers":[{"name":7}]},"status":{"conditions":["x",{"type":1}],"resize":{},
           "containerStatuses":[null,3,{"name":[],"resources":"x"},{"resources":{"requests":[1]}}]}})",
       0},
      {R"({"status":{"containerStatuses":[{"resources":{"requests":{"cpu":"lots"}},"allocatedResources":{"cpu":"1x"}}]}})",
       2},
  };
  for (const auto& c : cases) {
    CAPTURE(c.json);
    const auto [pod, odd] = ReadFrom(c.json);
    CHECK(pod == PodRecord{});
    CHECK(odd == Unreadable{.quantities = c.unreadable});
  }
}

TEST_CASE("a record is fully replaced by the next pod") {
  PodRecord pod;
  Unreadable odd;
  const auto read = [&](json::Cursor object) { return ReadPod(object, pod, odd); };
  REQUIRE(Project(R"({"spec":{"nodeName":"w1","containers":[{"resources":{"requests":{"cpu":"1"}}}]},
                      "status":{"phase":"Running"}})",
                  read)
              .ok());
  REQUIRE(Project(R"({"metadata":{}})", read).ok());
  CHECK(pod == PodRecord{});
}

TEST_CASE("broken JSON is refused as data loss") {
  PodRecord pod;
  Unreadable odd;
  for (const char* json : {R"({"spec":{"containers":[{"resources":{"requests":{"cpu")", R"({"spec" 1})", ""}) {
    CAPTURE(json);
    const auto status = Project(json, [&](json::Cursor object) { return ReadPod(object, pod, odd); });
    CHECK(status.code() == absl::StatusCode::kDataLoss);
  }
}

PodRecord Pod(const char* node, PodPhase phase, const char* cpu = "0", const char* memory = "0") {
  return {.node = node, .requests = {Amount(cpu), Amount(memory)}, .phase = phase};
}

TEST_CASE("pods are tallied by node and phase, requests only of those that hold them") {
  PodTally tally;
  tally.Add(Pod("w1", PodPhase::kRunning, "2", "4Gi"));
  tally.Add(Pod("w1", PodPhase::kPending, "350m", "100m"));
  tally.Add(Pod("w1", PodPhase::kSucceeded, "7", "7Gi"));
  tally.Add(Pod("w1", PodPhase::kFailed, "7", "7Gi"));
  tally.Add(Pod("w1", PodPhase::kUnknown, "7", "7Gi"));
  tally.Add(Pod("w2", PodPhase::kRunning));
  tally.Add(Pod("", PodPhase::kPending, "5", "1Gi"));

  CHECK(tally.On("w1") == model::PodTotals{.running = 1,
                                           .pending = 1,
                                           .failed = 1,
                                           .succeeded = 1,
                                           .total = 5,
                                           .cpu_requested = 2.35,
                                           .memory_requested = 4294967297});
  CHECK(tally.On("w2") == model::PodTotals{.running = 1, .total = 1});
  CHECK(tally.On("w3") == model::PodTotals{});
  CHECK(tally.On("") == model::PodTotals{});
  CHECK(tally.All().total == 7);
  CHECK(tally.All().pending == 2);
  CHECK(tally.All().cpu_requested == 7.35);

  tally.Clear();
  CHECK(tally.On("w1") == model::PodTotals{});
  CHECK(tally.All() == model::PodTotals{});
}

TEST_CASE("requests that a status made negative never show as less than none") {
  const PodRecord pod = ReadFrom(R"({"spec":{"nodeName":"w1","containers":[
      {"name":"app","resources":{"requests":{"cpu":"1","memory":"1Gi"}}}]},
    "status":{"phase":"Running","resize":"Infeasible","containerStatuses":[
      {"name":"app","resources":{"requests":{"cpu":"-4","memory":"-8Gi"}},
       "allocatedResources":{"cpu":"-2","memory":"-2Gi"}}]}})")
                            .pod;
  PodTally tally;
  tally.Add(pod);
  CHECK(tally.On("w1") == model::PodTotals{.running = 1, .total = 1});
}

TEST_CASE("sums of enormous requests stay at the bound") {
  PodTally tally;
  for (int i = 0; i < 3; ++i) tally.Add(Pod("w1", PodPhase::kRunning, "9E", "9E"));
  CHECK(tally.On("w1").memory_requested == std::numeric_limits<std::int64_t>::max());
  CHECK(tally.On("w1").cpu_requested == Approx(9.223372036854775807e18));
}

}  // namespace
}  // namespace clusterpulse::survey
