#include "common/survey/olm.h"

#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "tests/common/survey/project.h"

namespace clusterpulse::survey {
namespace {

using Names = std::vector<std::string>;

Subscription ReadSub(const std::string& json) {
  Subscription read;
  REQUIRE(Project(json, [&](json::Cursor object) { return ReadSubscription(object, read); }).ok());
  return read;
}

ClusterServiceVersion ReadCsv(const std::string& json) {
  ClusterServiceVersion read;
  REQUIRE(Project(json, [&](json::Cursor object) { return ReadClusterServiceVersion(object, read); }).ok());
  return read;
}

TEST_CASE("an operator is made of its subscription and what that installed") {
  const auto subscription = ReadSub(R"({"metadata":{"name":"kafka","namespace":"etl-a"},
    "spec":{"channel":"stable","installPlanApproval":"Manual","name":"kafka"},
    "status":{"currentCSV":"kafka.v2","installedCSV":"kafka.v1","state":"UpgradePending"}})");
  CHECK(subscription.ns == "etl-a");
  CHECK(subscription.installed_csv == "kafka.v1");
  const auto csv =
      ReadCsv(R"({"metadata":{"name":"kafka.v1","namespace":"etl-a","creationTimestamp":"2031-04-01T00:00:00Z"},
    "spec":{"displayName":"Kafka","version":"1.2.3","provider":{"name":"Example","url":"x"},"icon":[{"base64data":"AAAA"}],
      "installModes":[{"type":"OwnNamespace","supported":true},{"type":"SingleNamespace","supported":true},
                      {"type":"MultiNamespace","supported":false},{"type":"AllNamespaces","supported":false}]},
    "status":{"phase":"Succeeded","lastUpdateTime":"2031-04-02T00:00:00Z","conditions":[{"phase":"Pending"}]}})");
  const model::OlmOperator made = MakeOperator(subscription, csv);
  CHECK(made.name == "kafka.v1");
  CHECK(made.display_name == "Kafka");
  CHECK(made.version == "1.2.3");
  CHECK(made.status == "Succeeded");
  CHECK(made.provider == "Example");
  CHECK(made.installed_namespace == "etl-a");
  CHECK(made.install_modes == Names{"OwnNamespace", "SingleNamespace"});
  CHECK_FALSE(made.is_cluster_wide);
  CHECK(made.install_mode == "SingleNamespace");
  CHECK(made.available_in_namespaces == Names{"etl-a"});
  CHECK(made.created_at == "2031-04-01T00:00:00Z");
  CHECK(made.updated_at == "2031-04-02T00:00:00Z");
  CHECK(made.subscription == model::Labels{{"installPlanApproval", "Manual"}});
}

TEST_CASE("what a CSV does not say has its words") {
  const auto made = MakeOperator({}, ReadCsv(R"({"metadata":{"name":"a.v1","namespace":"n"},"spec":{}})"));
  CHECK(made.display_name == "a.v1");
  CHECK(made.version == "unknown");
  CHECK(made.status == "Unknown");
  CHECK(made.install_mode.empty());
  CHECK(made.install_modes.empty());
  CHECK(made.subscription.empty());
  CHECK(made.available_in_namespaces == Names{"n"});
}

TEST_CASE("where an operator is available") {
  struct Case {
    const char* name;
    const char* modes;
    const char* env;          // of the Subscription's spec.config
    const char* annotations;  // of the CSV
    Names expected;
    bool cluster_wide = false;
  };
  const std::string all = R"([{"type":"AllNamespaces","supported":true}])";
  const std::string own = R"([{"type":"OwnNamespace","supported":true},{"type":"AllNamespaces","supported":false}])";
  const std::vector<Case> cases = {
      {"cluster-wide", all.c_str(), "[]", "{}", {"*"}, true},
      {"cluster-wide beats everything",
       all.c_str(),
       R"([{"name":"WATCH_NAMESPACE","value":"x"}])",
       R"({"olm.targetNamespaces":"y"})",
       {"*"},
       true},
      {"watched namespaces",
       own.c_str(),
       R"([{"name":"A","value":"b"},{"name":"WATCH_NAMESPACE","value":"x,y"}])",
       R"({"olm.targetNamespaces":"z"})",
       {"x", "y"}},
      {"blanks and empty parts", own.c_str(), R"([{"name":"WATCH_NAMESPACE","value":" x, ,y,"}])", "{}", {"x", "y"}},
      {"value before name", own.c_str(), R"([{"value":"x","name":"WATCH_NAMESPACE"}])", "{}", {"x"}},
      {"an empty variable says nothing",
       own.c_str(),
       R"([{"name":"WATCH_NAMESPACE","value":""}])",
       R"({"olm.targetNamespaces":"z"})",
       {"z"}},
      {"a variable from elsewhere says nothing",
       own.c_str(),
       R"([{"name":"WATCH_NAMESPACE","valueFrom":{"fieldRef":{"fieldPath":"metadata.namespace"}}}])",
       "{}",
       {"home"}},
      {"target namespaces", own.c_str(), "[]", R"({"olm.targetNamespaces":"a,b"})", {"a", "b"}},
      {"quoted target namespaces", own.c_str(), "[]", R"({"olm.targetNamespaces":"\"a,b\""})", {"a", "b"}},
      {"empty target namespaces", own.c_str(), "[]", R"({"olm.targetNamespaces":""})", {}},
      {"empty quoted target namespaces", own.c_str(), "[]", R"({"olm.targetNamespaces":"\"\""})", {}},
      {"nothing said", own.c_str(), "null", R"({"olm.operatorNamespace":"q"})", {"home"}},
      {"no modes", "null", "null", "null", {"home"}},
  };
  for (const auto& c : cases) {
    DYNAMIC_SECTION(c.name) {
      const auto subscription =
          ReadSub(std::string(R"({"metadata":{"namespace":"home"},"spec":{"config":{"env":)") + c.env + "}}}");
      const auto csv = ReadCsv(std::string(R"({"metadata":{"name":"o.v1","namespace":"home","annotations":)") +
                               c.annotations + R"(},"spec":{"installModes":)" + c.modes + "}}");
      const auto made = MakeOperator(subscription, csv);
      CHECK(made.available_in_namespaces == c.expected);
      CHECK(made.is_cluster_wide == c.cluster_wide);
    }
  }
}

TEST_CASE("long namespace lists are never cut") {
  std::string names;
  for (int i = 0; i < 300; ++i) names += (i ? ",team-" : "team-") + std::to_string(i);
  ClusterServiceVersion csv;
  csv.target_namespaces = names;
  CHECK(MakeOperator({}, csv).available_in_namespaces.size() == 300);
}

TEST_CASE("odd fields of OLM objects count as absent") {
  for (const char* json :
       {R"([null])", R"({"metadata":3,"spec":"x","status":[]})",
        R"({"metadata":{"namespace":[]},"spec":{"config":[],"installPlanApproval":7},"status":{"installedCSV":{}}})",
        R"({"spec":{"config":{"env":{"name":"WATCH_NAMESPACE","value":"x"}}}})",
        R"({"spec":{"config":{"env":[null,"WATCH_NAMESPACE",{"name":"WATCH_NAMESPACE","value":3}]}}})"}) {
    CAPTURE(json);
    const auto read = ReadSub(json);
    CHECK(read.ns.empty());
    CHECK(read.installed_csv.empty());
    CHECK(read.watch_namespace.empty());
    CHECK_FALSE(read.approval);
  }
  const auto csv = ReadCsv(
      R"({"metadata":{"name":"a"},"spec":{"displayName":1,"provider":"p","installModes":[null,{"type":1,"supported":true},
          {"type":"AllNamespaces","supported":"true"}]},"status":"x"})");
  CHECK(csv.has_spec);
  CHECK(csv.install_modes.empty());
  CHECK(csv.provider.empty());
  CHECK_FALSE(ReadCsv(R"({"metadata":{"name":"a"},"spec":[]})").has_spec);
}

}  // namespace
}  // namespace clusterpulse::survey
