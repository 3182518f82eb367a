#include "tests/kubesim/kubesim.h"

#include <catch2/catch.hpp>
#include <openssl/ssl.h>

#include "common/kube/http_kube_api.h"
#include "common/telemetry/registry.h"
#include "tests/common/http/testing/tls_server.h"
#include "tests/kubesim/json_path.h"
#include "tests/kubesim/table.h"

namespace clusterpulse::kubesim {
namespace {

using json::Value;
using kube::HttpKubeApi;
using std::chrono::seconds;

std::unique_ptr<HttpKubeApi> Client(const std::string& kubeconfig) {
  const auto config = kube::ParseKubeConfig(kubeconfig, "test", ".", "", false);
  INFO(config.status().ToString());
  REQUIRE(config.ok());
  static telemetry::Registry registry;
  static const kube::ApiMetrics metrics = kube::ApiMetrics::Make(registry, "clusterpulse_test");
  auto kube = HttpKubeApi::Create(*config, {.qps = 1000, .burst = 1000, .metrics = metrics});
  INFO(kube.status().ToString());
  REQUIRE(kube.ok());
  return *std::move(kube);
}

Value Json(std::string_view text) {
  auto value = Value::Parse(text);
  REQUIRE(value.ok());
  return *value;
}

std::size_t Count(const kube::ObjectStore& store, const kube::ResourceType& type, const kube::StoreQuery& query = {}) {
  const auto list = store.List(type, query);
  REQUIRE(list.ok());
  return list->objects.size();
}

// One cluster, a client of it and a few verbs.
struct Fixture {
  std::unique_ptr<SimCluster> cluster;
  std::unique_ptr<HttpKubeApi> kube;

  Fixture() {
    auto made = SimCluster::Create({.fleet = FleetOptions{.nodes = 4, .pods_per_node = 25}});
    INFO(made.status().ToString());
    REQUIRE(made.ok());
    cluster = *std::move(made);
    kube = Client(cluster->Kubeconfig());
  }

  void AddFault(std::string_view text) {
    const auto fault = Fault::Parse(text);
    REQUIRE(fault.ok());
    cluster->api().faults().Add(*fault);
  }
  int listed = 0;
  absl::Status List() {
    listed = 0;
    return kube
        ->List({.resource = kube::kNodes},
               [this](json::Cursor) {
                 ++listed;
                 return absl::OkStatus();
               },
               {.timeout = seconds(10)})
        .status();
  }
};

TEST_CASE_METHOD(Fixture, "refusals with Retry-After are over when their count is used up") {
  AddFault("verb=list,action=status,code=429,retry-after=1,count=1");
  CHECK(List().ok());
  CHECK(listed == 4);
  CHECK(cluster->api().RequestCounts()["list nodes"] == 2);
  AddFault("verb=list,action=status,code=500,count=1");
  CHECK(List().code() == absl::StatusCode::kUnavailable);
  CHECK(List().ok());
}

TEST_CASE("TLS 1.2 is the oldest that is served, whatever OpenSSL is configured to allow") {
  CHECK(http::RunWithOldTls("[old-tls]") == "");
}

TEST_CASE_METHOD(Fixture, "clients of one TLS version only", "[.][old-tls]") {
  struct Case {
    int version;
    bool is_served;
  };
  const auto c = GENERATE(
      values<Case>({{TLS1_VERSION, false}, {TLS1_1_VERSION, false}, {TLS1_2_VERSION, true}, {TLS1_3_VERSION, true}}));
  CAPTURE(c.version);
  CHECK(http::Handshakes(std::stoi(cluster->url().substr(cluster->url().rfind(':') + 1)), c.version) == c.is_served);
}

TEST_CASE("a seed gives the same fleet, and pods of a real size") {
  const FleetOptions options{.nodes = 5, .pods_per_node = 30, .openshift = true, .operators = 2, .seed = 7};
  kube::ObjectStore first, second;
  REQUIRE(Fleet(first, options).Seed().ok());
  REQUIRE(Fleet(second, options).Seed().ok());
  const auto pods = first.List(kube::kPods, {});
  const auto again = second.List(kube::kPods, {});
  REQUIRE(pods.ok());
  REQUIRE(pods->objects.size() == 153);  // and three that found no node
  CHECK(Count(first, kube::kPods, {"", "", "spec.nodeName="}) == 3);
  for (std::size_t i = 0; i < pods->objects.size(); ++i) {
    CHECK(pods->objects[i]->json.size() > 5000 - 2500 * (pods->objects[i]->fields[0].second.empty() ? 1 : 0));
    CHECK(pods->objects[i]->key == again->objects[i]->key);
    CHECK(Json(pods->objects[i]->json)["spec"] == Json(again->objects[i]->json)["spec"]);
  }
  const auto nodes = first.List(kube::kNodes, {});
  for (const auto& node : nodes->objects) CHECK(node->labels.size() == 20);
  CHECK(Count(first, kube::kClusterOperators) > 20);
  CHECK(first.Get(kube::kRoutes, {"openshift-console", "console"}).ok());
  CHECK(Count(first, kube::kClusterServiceVersions) == 2);
}

TEST_CASE("churn changes objects and keeps their number") {
  kube::ObjectStore store;
  Fleet fleet(store, {.nodes = 3, .pods_per_node = 10, .seed = 3});
  REQUIRE(fleet.Seed().ok());
  const auto before = store.version();
  for (int i = 0; i < 200; ++i) REQUIRE(fleet.Step().ok());
  CHECK(store.version() > before + 150);
  CHECK(Count(store, kube::kPods) == 30);
}

TEST_CASE("a fleet has the clusters asked for, and a path prefix leads to each") {
  auto sim =
      Kubesim::Create({.clusters = 2, .openshift = 1, .fleet = {.nodes = 2, .pods_per_node = 1}, .prefix_port = 0});
  REQUIRE(sim.ok());
  REQUIRE((*sim)->clusters().size() == 3);
  CHECK((*sim)->Find("cluster-2")->store().Get(kube::kClusterVersions, {"", "version"}).ok());
  CHECK_FALSE((*sim)->Find("cluster-1")->store().Get(kube::kClusterVersions, {"", "version"}).ok());
  CHECK((*sim)->Find("cluster-3") == nullptr);

  auto plain = Kubesim::Create({.clusters = 1, .openshift = 0, .server = {.tls = false}, .prefix_port = 0});
  REQUIRE(plain.ok());
  SimCluster& cluster = *(*plain)->Find("cluster-1");
  const auto kube = Client(cluster.Kubeconfig((*plain)->PrefixUrl("cluster-1"), ""));
  CHECK(kube->Get(kube::kNodes, {"", "node-1"}, {}).ok());
}

TEST_CASE("printer columns show what their path finds") {
  const Value object = Json(R"({"a":{"b":"x","c.d":"y"},"list":[{"type":"Ready","status":"True"},{"type":"Other"}]})");
  struct Case {
    const char *path, *found;
  };
  for (const Case& c :
       {Case{".a.b", "x"}, Case{".a['b']", "x"}, Case{".a.c\\.d", "y"}, Case{".list[1].type", "Other"},
        Case{".list[?(@.type==\"Ready\")].status", "True"}, Case{"{.a.b}", "x"}, Case{".list[*].type", "Ready"}}) {
    CAPTURE(c.path);
    const auto found = EvaluatePath(c.path, object);
    REQUIRE_FALSE(found.empty());
    CHECK(found.front()->StringOr() == c.found);
  }
  for (const char* path : {".a.z", ".list[7]", ".list[?(@.type==\"No\")]", ".list[", ".list[?(x)]"}) {
    CAPTURE(path);
    CHECK(EvaluatePath(path, object).empty());
  }
}

TEST_CASE("a table has a row for each object and the columns of its type") {
  kube::ObjectStore store;
  Fleet fleet(store, {.nodes = 2, .pods_per_node = 0});
  REQUIRE(fleet.Seed().ok());
  REQUIRE(SetCordoned(store, "node-1", true).ok());
  const auto nodes = store.List(kube::kNodes, {});
  const auto type = store.FindType("", "v1", "nodes");
  const Value table =
      Json(RenderTable(*type, nodes->objects, nodes->version, "", RowObject::kMetadata, base::SystemClock().Now()));
  CHECK(table["columnDefinitions"].items().size() == 5);
  REQUIRE(table["rows"].items().size() == 2);
  const auto& cells = table["rows"].items()[0]["cells"].items();
  CHECK(cells[0].StringOr() == "node-1");
  CHECK(cells[1].StringOr() == "Ready,SchedulingDisabled");
  CHECK(table["rows"].items()[0]["object"]["kind"].StringOr() == "PartialObjectMetadata");
}

TEST_CASE("fault rules are read back as they were written") {
  const auto fault = Fault::Parse("verb=list,resource=pods,action=status,code=429,retry-after=2,rate=0.5,count=3");
  REQUIRE(fault.ok());
  CHECK(Fault::Parse(fault->ToString())->ToString() == fault->ToString());
}

}  // namespace
}  // namespace clusterpulse::kubesim
