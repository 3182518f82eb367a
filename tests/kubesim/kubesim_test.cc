#include "tests/kubesim/kubesim.h"

#include <functional>

#include <catch2/catch.hpp>

#include "common/base/stop_signal.h"
#include "common/base/thread.h"
#include "common/kube/http_kube_api.h"
#include "common/telemetry/registry.h"
#include "tests/kubesim/control.h"
#include "tests/kubesim/json_path.h"
#include "tests/kubesim/table.h"

namespace clusterpulse::kubesim {
namespace {

using json::Value;
using kube::CallOptions;
using kube::HttpKubeApi;
using kube::ObjectKey;
using std::chrono::milliseconds;
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

bool Eventually(const std::function<bool()>& condition) {
  base::StopSignal never;
  for (int i = 0; i < 1000; ++i) {
    if (condition()) return true;
    never.WaitFor(milliseconds(10));
  }
  return false;
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
  absl::Status List(milliseconds timeout = seconds(10)) {
    listed = 0;
    return kube
        ->List({.resource = kube::kNodes},
               [this](json::Cursor) {
                 ++listed;
                 return absl::OkStatus();
               },
               {.timeout = timeout})
        .status();
  }
  int events = 0;
  absl::Status Watch(const std::string& version, seconds timeout = seconds(30)) {
    events = 0;
    return kube->Watch({.resource = kube::kNodes, .resource_version = version, .timeout = timeout},
                       [this](kube::WatchEventType type, json::Cursor) {
                         events += type == kube::WatchEventType::kBookmark ? 0 : 1;
                         return absl::OkStatus();
                       },
                       {.timeout = seconds(10)});
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

TEST_CASE_METHOD(Fixture, "each way to break an answer breaks it") {
  struct Case {
    const char* fault;
    absl::StatusCode code;
  };
  for (const Case& c :
       {Case{"action=expired", absl::StatusCode::kOutOfRange}, Case{"action=reset", absl::StatusCode::kUnavailable},
        Case{"action=half", absl::StatusCode::kUnavailable},
        Case{"action=latency,ms=5000", absl::StatusCode::kDeadlineExceeded},
        Case{"action=status,code=403", absl::StatusCode::kPermissionDenied}}) {
    DYNAMIC_SECTION(c.fault) {
      AddFault(std::string("verb=list,resource=nodes,") + c.fault);
      CHECK(List(milliseconds(500)).code() == c.code);
      cluster->api().faults().Clear();
      CHECK(List().ok());
    }
  }
}

TEST_CASE_METHOD(Fixture, "each way to break a watch breaks it") {
  struct Case {
    const char* fault;
    absl::StatusCode code;
  };
  for (const Case& c :
       {Case{"action=expired", absl::StatusCode::kOutOfRange}, Case{"action=reset", absl::StatusCode::kUnavailable},
        Case{"action=half", absl::StatusCode::kUnavailable}, Case{"action=cut,ms=50", absl::StatusCode::kUnavailable},
        Case{"action=cut,ms=50,clean=true", absl::StatusCode::kOk}}) {
    DYNAMIC_SECTION(c.fault) {
      AddFault(std::string("verb=watch,") + c.fault);
      CHECK(Watch("0").code() == c.code);
    }
  }
}

TEST_CASE_METHOD(Fixture, "a stopped server refuses, a started one serves the same objects on the same port") {
  const std::string url = cluster->url();
  REQUIRE(List().ok());
  cluster->Stop();
  CHECK(List().code() == absl::StatusCode::kUnavailable);
  REQUIRE(cluster->Start().ok());
  CHECK(cluster->url() == url);
  CHECK(List().ok());
  CHECK(listed == 4);
}

TEST_CASE_METHOD(Fixture, "a frozen server answers nothing until it goes on") {
  cluster->Freeze();
  CHECK(List(milliseconds(300)).code() == absl::StatusCode::kDeadlineExceeded);
  cluster->Resume();
  CHECK(List().ok());
}

TEST_CASE_METHOD(Fixture, "certificates are trusted as long as authority, date and name are right") {
  struct Case {
    CertificateChange change;
    absl::StatusCode code;
  };
  for (const Case& c : {Case{CertificateChange::kRenew, absl::StatusCode::kOk},
                        Case{CertificateChange::kAuthority, absl::StatusCode::kUnauthenticated},
                        Case{CertificateChange::kExpired, absl::StatusCode::kUnauthenticated},
                        Case{CertificateChange::kWrongName, absl::StatusCode::kUnauthenticated}}) {
    DYNAMIC_SECTION(static_cast<int>(c.change)) {
      REQUIRE(List().ok());
      REQUIRE(cluster->ChangeCertificate(c.change).ok());
      CHECK(List().code() == c.code);
      if (c.change != CertificateChange::kAuthority) return;
      kube = Client(cluster->Kubeconfig());
      CHECK(List().ok());
    }
  }
}

TEST_CASE_METHOD(Fixture, "another token locks the old one out, but for health and version") {
  cluster->api().SetToken("next");
  CHECK(List().code() == absl::StatusCode::kUnauthenticated);
  CHECK(kube->GetPath("/version", {}).ok());
  kube = Client(cluster->Kubeconfig());
  CHECK(List().ok());
}

TEST_CASE_METHOD(Fixture, "a running watch ends when it is cut and tells what nodes go through") {
  const std::string from = std::to_string(cluster->store().version());
  REQUIRE(SetNodeReady(cluster->store(), "node-2", false).ok());
  REQUIRE(SetCordoned(cluster->store(), "node-2", true).ok());
  CHECK(SetCordoned(cluster->store(), "node-99", true).code() == absl::StatusCode::kNotFound);
  const auto cutter = base::StartThread("cutter", [this] {
    Eventually([this] { return cluster->api().RequestCounts()["watch nodes"] > 0; });
    base::StopSignal().WaitFor(milliseconds(100));
    cluster->api().CutWatches(false);
  });
  CHECK(Watch(from).code() == absl::StatusCode::kUnavailable);
  CHECK(events == 2);
  const Value node = Json(*kube->Get(kube::kNodes, {"", "node-2"}, {}));
  CHECK(node["spec"]["unschedulable"].BoolOr());
  CHECK(EvaluatePath(".status.conditions[?(@.type==\"Ready\")].status", node).front()->StringOr() == "False");
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

TEST_CASE("a path prefix leads to each cluster, and files and control commands work on all of them") {
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

  ControlServer control(**plain, "127.0.0.1", 0);
  REQUIRE(control.Start().ok());
  const auto command =
      Client("{clusters: [{name: c, cluster: {server: 'http://127.0.0.1:" + std::to_string(control.port()) +
             "'}}], users: [{name: u, user: {}}], contexts: [{name: x, context: {cluster: c, user: u}}], "
             "current-context: x}");
  const auto servers = command->GetPath("/servers", {});
  REQUIRE(servers.ok());
  const Value described = Json(*servers);
  CHECK(described["servers"].items()[1]["objects"]["nodes"].IntOr() == 5);
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

TEST_CASE("fault rules are read back as they were written, and nonsense is refused") {
  const auto fault = Fault::Parse("verb=list,resource=pods,action=status,code=429,retry-after=2,rate=0.5,count=3");
  REQUIRE(fault.ok());
  CHECK(Fault::Parse(fault->ToString())->ToString() == fault->ToString());
  for (const char* text : {"", "verb=list", "action=explode", "action=status,code=many", "action=cut,colour=red"}) {
    CAPTURE(text);
    CHECK(Fault::Parse(text).status().code() == absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace clusterpulse::kubesim
