#include "common/survey/cluster_operator.h"

#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "common/base/time_format.h"
#include "tests/common/survey/project.h"

namespace clusterpulse::survey {
namespace {

model::ClusterOperator ReadFrom(const std::string& json) {
  model::ClusterOperator read;
  REQUIRE(Project(json, [&](json::Cursor object) { return ReadClusterOperator(object, read); }).ok());
  return read;
}

TEST_CASE("every field of a cluster operator is read") {
  const auto read = ReadFrom(R"({
    "metadata": {"name": "dns"},
    "status": {
      "conditions": [
        {"type": "Available", "status": "True", "reason": "AsExpected", "message": "fine", "lastTransitionTime": "2031-04-01T00:00:00Z"},
        {"type": "Upgradeable", "status": "True", "lastTransitionTime": "2031-04-03T00:00:00Z"},
        {"type": "Progressing", "status": "False", "lastTransitionTime": "2031-04-02T00:00:00Z"}],
      "versions": [{"name": "coredns", "version": "1.11"}, {"name": "operator", "version": "4.16.3"}],
      "relatedObjects": [{"group": "", "resource": "namespaces", "name": "openshift-dns"},
                         {"group": "apps", "resource": "daemonsets", "namespace": "openshift-dns", "name": "dns-default"}]}})");
  CHECK(read.name == "dns");
  CHECK(read.available);
  CHECK(read.upgradeable);
  CHECK_FALSE(read.progressing);
  CHECK_FALSE(read.degraded);
  CHECK(read.message.empty());
  CHECK(read.reason.empty());
  CHECK(read.version == "4.16.3");
  CHECK(read.last_transition == base::ParseRfc3339("2031-04-03T00:00:00Z"));
  CHECK(read.conditions.size() == 3);
  CHECK(read.conditions[0] ==
        model::Condition{"Available", "True", "AsExpected", "fine", base::ParseRfc3339("2031-04-01T00:00:00Z")});
  CHECK(read.versions == std::vector<model::ClusterOperator::Version>{{"coredns", "1.11"}, {"operator", "4.16.3"}});
  CHECK(read.related_objects ==
        std::vector<model::ClusterOperator::RelatedObject>{{"", "namespaces", "", "openshift-dns"},
                                                           {"apps", "daemonsets", "openshift-dns", "dns-default"}});
}

TEST_CASE("message and reason of a cluster operator tell the worst") {
  struct Case {
    const char* name;
    const char* conditions;
    const char* message;
    const char* reason;
  };
  const std::vector<Case> cases = {
      {"available says nothing", R"([{"type":"Available","status":"True","message":"m","reason":"r"}])", "", ""},
      {"unavailable", R"([{"type":"Available","status":"False","message":"m","reason":"r"}])", "m", "r"},
      {"availability unknown", R"([{"type":"Available","status":"Unknown","message":"m","reason":"r"}])", "m", "r"},
      {"unavailable without text", R"([{"type":"Available","status":"False","reason":"r"}])", "", ""},
      {"progressing gives the message only", R"([{"type":"Progressing","status":"True","message":"p","reason":"pr"}])",
       "p", ""},
      {"progressing does not replace",
       R"([{"type":"Available","status":"False","message":"m","reason":"r"},
           {"type":"Progressing","status":"True","message":"p","reason":"pr"}])",
       "m", "r"},
      {"degraded replaces",
       R"([{"type":"Available","status":"False","message":"m","reason":"r"},
           {"type":"Degraded","status":"True","message":"d","reason":"dr"}])",
       "d", "dr"},
      {"degraded without text does not",
       R"([{"type":"Available","status":"False","message":"m","reason":"r"},
           {"type":"Degraded","status":"True","reason":"dr"}])",
       "m", "r"},
      {"not degraded does not",
       R"([{"type":"Progressing","status":"True","message":"p"},{"type":"Degraded","status":"False","message":"d"}])",
       "p", ""},
      {"list order decides",
       R"([{"type":"Degraded","status":"True","message":"d","reason":"dr"},
           {"type":"Available","status":"False","message":"m","reason":"r"}])",
       "m", "r"},
  };
  for (const auto& c : cases) {
    DYNAMIC_SECTION(c.name) {
      const auto read =
          ReadFrom(std::string(R"({"metadata":{"name":"o"},"status":{"conditions":)") + c.conditions + "}}");
      CHECK(read.message == c.message);
      CHECK(read.reason == c.reason);
    }
  }
}

TEST_CASE("a cluster operator's version is its own, else the first") {
  struct Case {
    const char* versions;
    const char* expected;
  };
  const std::vector<Case> cases = {
      {R"([])", ""},
      {R"(null)", ""},
      {R"([{"name":"a","version":"1"},{"name":"b","version":"2"}])", "1"},
      {R"([{"name":"a","version":"1"},{"name":"operator","version":"2"},{"name":"b","version":"3"}])", "2"},
      {R"([{"name":"a","version":"1"},{"name":"etcd","version":"2"}])", "2"},
      {R"([{"name":"operator","version":"1"},{"name":"etcd","version":"2"}])", "2"},
      {R"([{"name":"etcd","version":"2"},{"name":"operator","version":"1"}])", "1"},
      {R"([{"name":"operator","version":5}])", ""},
  };
  for (const auto& c : cases) {
    CAPTURE(c.versions);
    // Also when status comes before metadata.
    CHECK(
        ReadFrom(std::string(R"({"status":{"versions":)") + c.versions + R"(},"metadata":{"name":"etcd"}})").version ==
        c.expected);
  }
}

TEST_CASE("a cluster operator without status or with odd fields yields what is there") {
  model::ClusterOperator bare;
  bare.name = "dns";
  for (const char* json :
       {R"({"metadata":{"name":"dns"}})", R"({"metadata":{"name":"dns"},"status":null})",
        R"({"metadata":{"name":"dns"},"status":{"conditions":3,"versions":{},"relatedObjects":"x"}})",
        R"({"metadata":{"name":"dns"},"status":{"conditions":[1,null],"versions":["4"]}})"}) {
    CAPTURE(json);
    CHECK(ReadFrom(json) == bare);
  }
  CHECK(ReadFrom("[]") == model::ClusterOperator{});
}

}  // namespace
}  // namespace clusterpulse::survey
