#include "common/survey/cluster_info.h"

#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "tests/common/survey/project.h"

namespace clusterpulse::survey {
namespace {

using Reader = absl::Status (*)(json::Cursor, model::ClusterInfo&);

model::ClusterInfo ReadFrom(const std::string& json, Reader reader) {
  model::ClusterInfo info;
  REQUIRE(Project(json, [&](json::Cursor object) { return reader(object, info); }).ok());
  return info;
}

TEST_CASE("every field of a ClusterVersion is read") {
  const auto info = ReadFrom(R"({
    "metadata": {"name": "version"},
    "spec": {"channel": "stable-4.16", "clusterID": "1b0e3c4d"},
    "status": {
      "desired": {"version": "4.16.3", "image": "registry.example.com/release@sha256:1", "channels": ["a"]},
      "availableUpdates": [{"version": "4.16.9", "image": "i"}, {"version": "4.16.5"}],
      "history": [{"state": "Completed", "startedTime": "2031-04-01T00:00:00Z", "completionTime": "2031-04-01T01:00:00Z",
                   "version": "4.16.3"}, {"state": "Partial", "startedTime": "2030-01-01T00:00:00Z"}],
      "conditions": [{"type": "Available", "status": "True", "message": "done", "reason": "R", "lastTransitionTime": "x"},
                     {"type": "Progressing", "status": "False"}, {"type": "Degraded", "status": "True"}]}})",
                             ReadClusterVersion);
  CHECK(info.is_openshift);
  CHECK(info.platform == "OpenShift");
  CHECK(info.version == "4.16.3");
  CHECK(info.image == "registry.example.com/release@sha256:1");
  CHECK(info.channel == "stable-4.16");
  CHECK(info.cluster_id == "1b0e3c4d");
  CHECK(info.update_available);
  CHECK(info.available_update_version == "4.16.9");
  CHECK(info.version_state == "Completed");
  CHECK(info.version_started_time == "2031-04-01T00:00:00Z");
  CHECK(info.version_completion_time == "2031-04-01T01:00:00Z");
  CHECK(info.conditions.size() == 3);
  CHECK(info.conditions[0] == model::Condition{"Available", "True", "R", "done", std::nullopt});
  CHECK(info.is_available);
  CHECK(info.is_degraded);
  CHECK_FALSE(info.is_progressing);
}

TEST_CASE("a ClusterVersion that says little or odd things is still OpenShift") {
  model::ClusterInfo bare;
  bare.is_openshift = true;
  bare.platform = "OpenShift";
  for (const char* json :
       {R"({})", R"({"spec":null,"status":null})", R"({"spec":[],"status":{"desired":"4","availableUpdates":null}})",
        R"({"status":{"availableUpdates":[],"history":[],"conditions":[null,3]}})",
        R"({"spec":{"channel":4},"status":{"history":"Completed","desired":{"version":4.16}}})"}) {
    CAPTURE(json);
    CHECK(ReadFrom(json, ReadClusterVersion) == bare);
  }
}

TEST_CASE("the server's version names version and platform") {
  auto info = ReadFrom(R"({"major":"1","gitVersion":"v1.29.4","platform":"linux/arm64"})", ReadServerVersion);
  CHECK(info.version == "v1.29.4");
  CHECK(info.platform == "linux/arm64");
  CHECK_FALSE(info.is_openshift);
  info = ReadFrom(R"({"gitVersion":5})", ReadServerVersion);
  CHECK(info.version == "unknown");
  CHECK(info.platform.empty());
}

TEST_CASE("the console's route tells its address") {
  struct Case {
    const char* json;
    const char* expected;
  };
  const std::vector<Case> cases = {
      {R"({"spec":{"host":"console.example.com","tls":{"termination":"reencrypt"}}})", "https://console.example.com"},
      {R"({"spec":{"tls":{},"host":"console.example.com"}})", "https://console.example.com"},
      {R"({"spec":{"host":"console.example.com"}})", "http://console.example.com"},
      {R"({"spec":{"host":"console.example.com","tls":null}})", "http://console.example.com"},
      {R"({"spec":{"host":"console.example.com","tls":"yes"}})", "http://console.example.com"},
      {R"({"spec":{"host":""}})", ""},
      {R"({"spec":{"host":5}})", ""},
      {R"({"status":{"host":"x"}})", ""},
  };
  for (const auto& c : cases) {
    CAPTURE(c.json);
    CHECK(ReadFrom(c.json, ReadConsoleRoute).console_url == c.expected);
  }
}

TEST_CASE("without a route the console's address follows from the endpoint") {
  struct Case {
    const char* endpoint;
    const char* expected;
  };
  const std::vector<Case> cases = {
      {"https://api.cluster.example.com:6443", "https://console-openshift-console.apps.cluster.example.com"},
      {"https://k8s.example.com:6443", "https://k8s.example.com:6443"},
      {"http://api.a.b", "https://console-openshift-console.apps.a.b"},
      {"api.a.b:443", "https://console-openshift-console.apps.a.b"},
      {"https://api.a.b/prefix", "https://console-openshift-console.apps.a.b"},
      {"https://10.42.0.11:6443", "https://10.42.0.11:6443"},
      {"https://apiserver.a.b", "https://apiserver.a.b"},
      {"", ""},
  };
  for (const auto& c : cases) {
    CAPTURE(c.endpoint);
    CHECK(DeriveConsoleUrl(c.endpoint) == c.expected);
  }
}

}  // namespace
}  // namespace clusterpulse::survey
