// One contract for every KubeApi: the fake, the HTTP client against a simulated server, and the HTTP client against a
// real kube-apiserver. CLUSTERPULSE_CONTRACT=simulated or =real leaves the others out: ctest runs them apart, so that a
// missing real server is skipped by name.
#include "common/kube/kube_api.h"

#include <atomic>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <memory>
#include <vector>

#include <catch2/catch.hpp>
#include <unistd.h>

#include "common/base/stop_signal.h"
#include "common/base/thread.h"
#include "common/json/value.h"
#include "common/kube/http_kube_api.h"
#include "common/kube/testing/fake_kube_api.h"
#include "common/telemetry/registry.h"
#include "tests/kubesim/kubesim.h"
#include "tests/support/kube_api_server.h"

namespace clusterpulse::kube {
namespace {

using json::Value;
using std::chrono::milliseconds;
using std::chrono::seconds;

const ResourceType kGauges{"contract.clusterpulse.io", "v1", "gauges", "Gauge", true};

// One implementation under test.
struct Subject {
  std::string name;
  KubeApi* kube = nullptr;
  std::function<void()> compact;  // forgets old versions
  std::function<void()> hold;     // the server hangs
  std::function<void()> release;
  bool quick_bookmarks = true;  // real servers send them about once a minute, which is too long to wait for here
};

telemetry::Registry& Metrics() {
  static telemetry::Registry registry;
  return registry;
}

std::unique_ptr<HttpKubeApi> Connect(const std::string& kubeconfig, const std::string& name) {
  const auto config = ParseKubeConfig(kubeconfig, name, ".", "", true);
  if (!config.ok()) {
    std::cerr << name << ": " << config.status().ToString() << "\n";
    std::abort();
  }
  static const ApiMetrics metrics = ApiMetrics::Make(Metrics(), "clusterpulse_test");
  HttpKubeApi::Options options;
  options.qps = 1000;
  options.burst = 1000;
  options.metrics = metrics;
  auto kube = HttpKubeApi::Create(*config, options);
  if (!kube.ok()) {
    std::cerr << name << ": " << kube.status().ToString() << "\n";
    std::abort();
  }
  return *std::move(kube);
}

void AddSimulated(std::vector<Subject>& subjects) {
  static FakeKubeApi fake;
  subjects.push_back(
      {"fake", &fake, [] { fake.store().Compact(); }, [] { fake.Hold(Verb::kGet, ""); }, [] { fake.Release(); }});

  static const auto sim = *kubesim::Kubesim::Create(
      {.hub = true, .clusters = 0, .server = {.bookmark_interval = milliseconds(500)}, .prefix_port = 0});
  kubesim::SimCluster& cluster = *sim->Find("hub");
  static const auto over_http = Connect(cluster.Kubeconfig(), "kubesim");
  subjects.push_back({"kubesim over HTTP", over_http.get(), [&cluster] { cluster.store().Compact(); },
                      [&cluster] { cluster.Freeze(); }, [&cluster] { cluster.Resume(); }});
}

// Nothing when it is not to be had: that was printed, or the run aborted.
void AddReal(std::vector<Subject>& subjects) {
  static const auto env = testing::KubeTestEnv::Create();
  if (env == nullptr) return;
  static const auto server = env->StartServer("contract");
  if (server == nullptr) std::abort();  // it is there and does not work: no reason to skip
  static const auto over_http = Connect(testing::ReadFile(server->kubeconfig()), "kube-apiserver");
  const auto compact = [] {
    env->CompactEtcd();
    // Its watch cache still has what etcd forgot.
    server->Kill9();
    if (!server->Restart()) std::abort();
  };
  subjects.push_back(
      {"real kube-apiserver", over_http.get(), compact, [] { server->Freeze(); }, [] { server->Resume(); }, false});
}

std::vector<Subject> MakeSubjects() {
  const char* chosen = std::getenv("CLUSTERPULSE_CONTRACT");
  const std::string_view only = chosen != nullptr ? chosen : "";
  std::vector<Subject> subjects;
  if (only != "real") AddSimulated(subjects);
  if (only != "simulated") AddReal(subjects);
  return subjects;
}

const std::vector<Subject>& Subjects() {
  static const std::vector<Subject> subjects = MakeSubjects();
  return subjects;
}

template <typename T>
T Ok(absl::StatusOr<T> result) {
  INFO(result.status().ToString());
  REQUIRE(result.ok());
  return *std::move(result);
}

Value Json(std::string_view text) { return Ok(Value::Parse(text)); }
Value Json(absl::StatusOr<std::string> text) { return Json(std::string_view(Ok(std::move(text)))); }

// The value under a cursor, for small test objects.
Value Read(json::Cursor cursor) {
  const auto raw = cursor.Raw();
  if (!raw.ok()) return Value();
  auto value = Value::Parse(*raw);
  return value.ok() ? *std::move(value) : Value();
}

// The verbs of a test, in a namespace of its own.
struct Contract {
  const Subject& subject;
  KubeApi& kube;
  std::string ns;
  CallOptions options;

  explicit Contract(const Subject& s) : subject(s), kube(*s.kube) {
    static std::atomic<int> made{0};
    ns = "contract-" + std::to_string(::getpid()) + "-" + std::to_string(++made);
    Ok(kube.Create(kNamespaces, "", R"({"apiVersion":"v1","kind":"Namespace","metadata":{"name":")" + ns + "\"}}",
                   options));
  }
  ~Contract() { (void)kube.Delete(kNamespaces, {"", ns}, {}, options); }

  ObjectKey Key(const std::string& name) const { return {ns, name}; }
  static std::string Secret(const std::string& name, const std::string& metadata = "") {
    return R"({"apiVersion":"v1","kind":"Secret","metadata":{"name":")" + name + "\"" + metadata +
           R"(},"data":{"k":"aGlkZGVu"}})";
  }
  static std::string Gauge(const std::string& name, const std::string& spec = R"({"size":1})") {
    return R"({"apiVersion":"contract.clusterpulse.io/v1","kind":"Gauge","metadata":{"name":")" + name +
           R"("},"spec":)" + spec + "}";
  }
  Value AddSecret(const std::string& name, const std::string& metadata = "") {
    return Json(kube.Create(kSecrets, ns, Secret(name, metadata), options));
  }
  Value AddGauge(const std::string& name) { return Json(kube.Create(kGauges, ns, Gauge(name), options)); }

  struct Listing {
    std::vector<Value> items;
    ListPage page;
    std::string Names() const {
      std::string names;
      for (const Value& item : items)
        names += (names.empty() ? "" : " ") + std::string(item["metadata"]["name"].StringOr());
      return names;
    }
  };
  // kube-apiserver puts a token Secret of its own into namespaces when controllers run: only ours are looked at.
  absl::StatusOr<Listing> List(ListQuery query) {
    if (query.ns.empty()) query.ns = ns;
    Listing listing;
    auto page = kube.List(
        query,
        [&listing](json::Cursor cursor) {
          listing.items.push_back(Read(cursor));
          return absl::OkStatus();
        },
        options);
    if (!page.ok()) return page.status();
    listing.page = *page;
    return listing;
  }
  std::string Version() { return Ok(List({.resource = kSecrets})).page.resource_version; }

  struct Event {
    WatchEventType type;
    Value object;
  };
  struct Watched {
    absl::Status status;
    std::vector<Event> events;  // without bookmarks
    std::vector<std::string> bookmarks;
    std::string Text() const {
      std::string text;
      for (const Event& event : events) {
        text += event.type == WatchEventType::kAdded ? '+' : event.type == WatchEventType::kModified ? '~' : '-';
        text += event.object["metadata"]["name"].StringOr();
      }
      return text;
    }
  };
  // Watches the secrets until there were `count` events or the server ended it.
  Watched Watch(const std::string& from, int count, WatchQuery query = {}) {
    query.resource = kSecrets;
    query.ns = ns;
    query.resource_version = from;
    Watched watched;
    const auto enough = absl::AbortedError("enough");
    watched.status = kube.Watch(
        query,
        [&](WatchEventType type, json::Cursor cursor) {
          Value object = Read(cursor);
          if (type == WatchEventType::kBookmark) {
            watched.bookmarks.emplace_back(object["metadata"]["resourceVersion"].StringOr());
            return absl::OkStatus();
          }
          watched.events.push_back({type, std::move(object)});
          return count > 0 && static_cast<int>(watched.events.size()) == count ? enough : absl::OkStatus();
        },
        options);
    return watched;
  }

  // The custom type of these tests, made when missing; a real server needs a moment to serve it.
  void ServeGauges() {
    const auto made = kube.Create(kCustomResourceDefinitions, "", R"({
        "apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition",
        "metadata":{"name":"gauges.contract.clusterpulse.io"},
        "spec":{"group":"contract.clusterpulse.io","scope":"Namespaced","names":{"plural":"gauges","kind":"Gauge"},
          "versions":[{"name":"v1","served":true,"storage":true,"subresources":{"status":{}},
            "schema":{"openAPIV3Schema":{"type":"object","properties":{
              "spec":{"type":"object","required":["size"],"properties":{
                "size":{"type":"integer"},"unit":{"type":"string","default":"meters"}}},
              "status":{"type":"object","properties":{"phase":{"type":"string"},"value":{"type":"integer"}}}}}}}]}})",
                                  options);
    INFO(made.status().ToString());
    REQUIRE((made.ok() || IsAlreadyExists(made.status())));
    base::StopSignal never;
    for (int i = 0; i < 200 && !List({.resource = kGauges}).ok(); ++i) never.WaitFor(milliseconds(50));
    REQUIRE(List({.resource = kGauges}).ok());
  }
};

#define CONTRACT(c)                                          \
  if (Subjects().empty()) return;                            \
  const Subject& subject = GENERATE(from_range(Subjects())); \
  CAPTURE(subject.name);                                     \
  Contract c(subject)

template <typename T>
std::string Reason(const absl::StatusOr<T>& result) {
  const auto error = GetApiError(result.status());
  return error ? error->reason : "";
}

TEST_CASE("a list comes in pages of one version") {
  CONTRACT(c);
  for (int i = 0; i < 7; ++i) c.AddSecret("s" + std::to_string(i), R"(,"labels":{"mine":"yes"})");
  ListQuery query{.resource = kSecrets, .label_selector = "mine=yes", .limit = 3};
  auto page = Ok(c.List(query));
  const std::string version = page.page.resource_version;
  CHECK(page.Names() == "s0 s1 s2");
  query.continue_token = page.page.continue_token;
  c.AddSecret("s31", R"(,"labels":{"mine":"yes"})");
  REQUIRE(c.kube.Delete(kSecrets, c.Key("s4"), {}, c.options).ok());
  page = Ok(c.List(query));
  CHECK(page.Names() == "s3 s4 s5");
  CHECK(page.page.resource_version == version);
  query.continue_token = page.page.continue_token;
  page = Ok(c.List(query));
  CHECK(page.Names() == "s6");
  CHECK(page.page.continue_token.empty());
}

TEST_CASE("a list chooses by label, field and namespace") {
  CONTRACT(c);
  c.AddSecret("a", R"(,"labels":{"app":"x"})");
  c.AddSecret("b", R"(,"labels":{"app":"y"})");
  CHECK(Ok(c.List({.resource = kSecrets, .label_selector = "app=x"})).Names() == "a");
  CHECK(Ok(c.List({.resource = kSecrets, .label_selector = "app in (x,y),app!=x"})).Names() == "b");
  CHECK(Ok(c.List({.resource = kSecrets, .field_selector = "metadata.name=b"})).Names() == "b");
  CHECK(Ok(c.List({.resource = kSecrets, .ns = "no-such-namespace"})).items.empty());
  CHECK(c.List({.resource = kSecrets, .field_selector = "data.k=v"}).status().code() ==
        absl::StatusCode::kInvalidArgument);
}

TEST_CASE("an old continue token is out of range") {
  CONTRACT(c);
  for (const char* name : {"a", "b", "d"}) c.AddSecret(name);
  const auto first = Ok(c.List({.resource = kSecrets, .limit = 1}));
  c.AddSecret("c");
  subject.compact();
  const auto next = c.List({.resource = kSecrets, .limit = 1, .continue_token = first.page.continue_token});
  CHECK(next.status().code() == absl::StatusCode::kOutOfRange);
  CHECK(Reason(next) == "Expired");
}

TEST_CASE("a watch tells each change after its version and resumes anywhere") {
  CONTRACT(c);
  c.AddSecret("before");
  const std::string from = c.Version();
  c.AddSecret("a");
  Ok(c.kube.Patch(kSecrets, c.Key("a"), PatchType::kMerge, R"({"data":{"k":null}})", {}, c.options));
  REQUIRE(c.kube.Delete(kSecrets, c.Key("a"), {}, c.options).ok());
  const auto all = c.Watch(from, 3);
  CHECK(all.Text() == "+a~a-a");
  CHECK(all.status.code() == absl::StatusCode::kAborted);  // the visitor's own
  CHECK(all.events.front().object["kind"].StringOr() == "Secret");
  const std::string second(all.events[1].object["metadata"]["resourceVersion"].StringOr());
  CHECK(c.Watch(second, 1).Text() == "-a");
}

TEST_CASE("a watch ends cleanly at its time-out and told how far it came") {
  CONTRACT(c);
  const std::string from = c.Version();
  const Value secret = c.AddSecret("a");
  const auto watched = c.Watch(from, 0, {.timeout = seconds(2)});
  CHECK(watched.status.ok());
  CHECK(watched.Text() == "+a");
  if (!subject.quick_bookmarks) return;
  REQUIRE_FALSE(watched.bookmarks.empty());
  CHECK(std::stoll(watched.bookmarks.back()) >=
        std::stoll(std::string(secret["metadata"]["resourceVersion"].StringOr())));
  CHECK(c.Watch(watched.bookmarks.back(), 0, {.timeout = seconds(1)}).Text().empty());
}

TEST_CASE("a watch from an old version is out of range") {
  CONTRACT(c);
  const std::string from = c.Version();
  c.AddSecret("a");
  subject.compact();
  CHECK(c.Watch(from, 1).status.code() == absl::StatusCode::kOutOfRange);
}

TEST_CASE("spec and status are patched apart and only the spec counts generations") {
  CONTRACT(c);
  c.ServeGauges();
  const Value made = c.AddGauge("g");
  CHECK(made["metadata"]["generation"].IntOr() == 1);
  CHECK(made["spec"]["unit"].StringOr() == "meters");
  const auto patch = [&](const std::string& body, const std::string& subresource) {
    return Json(c.kube.Patch(kGauges, c.Key("g"), PatchType::kMerge, body, {.subresource = subresource}, c.options));
  };
  const std::string both = R"({"spec":{"size":2,"extra":true},"status":{"phase":"Good"}})";
  Value gauge = patch(both, "");
  CHECK(gauge["spec"].Dump() == R"({"size":2,"unit":"meters"})");
  CHECK(gauge.Find("status") == nullptr);
  CHECK(gauge["metadata"]["generation"].IntOr() == 2);
  gauge = patch(R"({"spec":{"size":3},"status":{"phase":"Good"}})", "status");
  CHECK(gauge["spec"]["size"].IntOr() == 2);
  CHECK(gauge["status"]["phase"].StringOr() == "Good");
  CHECK(gauge["metadata"]["generation"].IntOr() == 2);
  gauge = patch(R"({"metadata":{"annotations":{"a":"b"}}})", "");
  CHECK(gauge["metadata"]["generation"].IntOr() == 2);
  CHECK(gauge["status"]["phase"].StringOr() == "Good");
  // Nothing changes: the version stays.
  const Value again = patch(R"({"status":{"phase":"Good"}})", "status");
  CHECK(again["metadata"]["resourceVersion"] == gauge["metadata"]["resourceVersion"]);
}

TEST_CASE("apply creates, then merges") {
  CONTRACT(c);
  c.ServeGauges();
  const auto apply = [&](const std::string& body, const PatchOptions& how) {
    return c.kube.Patch(kGauges, c.Key("g"), PatchType::kServerApply, body, how, c.options);
  };
  CHECK(Json(apply(Contract::Gauge("g"), {.field_manager = "one"}))["spec"]["size"].IntOr() == 1);
  const Value merged = Json(apply(Contract::Gauge("g", R"({"size":2,"unit":"feet"})"), {.field_manager = "one"}));
  CHECK(merged["spec"]["unit"].StringOr() == "feet");
  CHECK(merged["metadata"]["generation"].IntOr() == 2);
  const std::string status =
      R"({"apiVersion":"contract.clusterpulse.io/v1","kind":"Gauge","metadata":{"name":"g"},"status":{"value":7}})";
  const Value reported = Json(apply(status, {.subresource = "status", .field_manager = "two"}));
  CHECK(reported["status"]["value"].IntOr() == 7);
  CHECK(reported["spec"]["size"].IntOr() == 2);
  CHECK(apply(Contract::Gauge("g"), {}).status().code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("a replace with an old version is aborted") {
  CONTRACT(c);
  Value first = c.AddSecret("s");
  Value second = first;
  second.Mutable("data").Mutable("k") = "bmV3";
  const Value stored = Json(c.kube.Replace(kSecrets, c.Key("s"), second.Dump(), c.options));
  CHECK(stored["data"]["k"].StringOr() == "bmV3");
  first.Mutable("data").Mutable("k") = "b2xk";
  const auto late = c.kube.Replace(kSecrets, c.Key("s"), first.Dump(), c.options);
  CHECK(late.status().code() == absl::StatusCode::kAborted);
  CHECK(Reason(late) == "Conflict");
}

TEST_CASE("refusals carry the code that says what to do, and the server's reason") {
  CONTRACT(c);
  c.ServeGauges();
  c.AddSecret("s");
  const auto twice = c.kube.Create(kSecrets, c.ns, Contract::Secret("s"), c.options);
  CHECK(twice.status().code() == absl::StatusCode::kAlreadyExists);
  CHECK(Reason(twice) == "AlreadyExists");
  const auto missing = c.kube.Get(kSecrets, c.Key("missing"), c.options);
  CHECK(missing.status().code() == absl::StatusCode::kNotFound);
  CHECK(Reason(missing) == "NotFound");
  CHECK(c.kube.Delete(kSecrets, c.Key("missing"), {}, c.options).code() == absl::StatusCode::kNotFound);
  const auto invalid = c.kube.Create(kGauges, c.ns, Contract::Gauge("g", R"({"size":"big"})"), c.options);
  CHECK(invalid.status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(Reason(invalid) == "Invalid");
  const auto incomplete = c.kube.Create(kGauges, c.ns, Contract::Gauge("g", "{}"), c.options);
  CHECK(Reason(incomplete) == "Invalid");
  const ResourceType unknown{"contract.clusterpulse.io", "v1", "unknowns", "Unknown", true};
  CHECK(c.List({.resource = unknown}).status().code() == absl::StatusCode::kNotFound);
  CHECK(c.kube.Create(kSecrets, "no-such-namespace", Contract::Secret("s"), c.options).status().code() ==
        absl::StatusCode::kNotFound);
}

TEST_CASE("a finalizer keeps a deleted object until it is removed") {
  CONTRACT(c);
  const Value made = c.AddSecret("s", R"(,"finalizers":["contract.clusterpulse.io/f"])");
  CHECK(c.kube.Delete(kSecrets, c.Key("s"), {.uid = "another"}, c.options).code() == absl::StatusCode::kAborted);
  const std::string uid(made["metadata"]["uid"].StringOr());
  REQUIRE(c.kube.Delete(kSecrets, c.Key("s"), {.uid = uid, .propagation_policy = "Background"}, c.options).ok());
  const Value deleting = Json(c.kube.Get(kSecrets, c.Key("s"), c.options));
  CHECK_FALSE(deleting["metadata"]["deletionTimestamp"].StringOr().empty());
  Ok(c.kube.Patch(kSecrets, c.Key("s"), PatchType::kMerge, R"({"metadata":{"finalizers":null}})", {}, c.options));
  CHECK(c.kube.Get(kSecrets, c.Key("s"), c.options).status().code() == absl::StatusCode::kNotFound);
}

TEST_CASE("metadata only brings no content") {
  CONTRACT(c);
  const std::string from = c.Version();
  c.AddSecret("s", R"(,"labels":{"mine":"yes"})");
  const auto listing = Ok(c.List({.resource = kSecrets, .label_selector = "mine", .metadata_only = true}));
  REQUIRE(listing.items.size() == 1);
  CHECK(listing.Names() == "s");
  CHECK(listing.items[0]["metadata"]["labels"]["mine"].StringOr() == "yes");
  CHECK(listing.items[0].Find("data") == nullptr);
  const auto watched = c.Watch(from, 1, {.metadata_only = true});
  REQUIRE(watched.Text() == "+s");
  CHECK(watched.events[0].object.Find("data") == nullptr);
}

TEST_CASE("a visitor's error ends the call with that error") {
  CONTRACT(c);
  c.AddSecret("a");
  c.AddSecret("b");
  int seen = 0;
  const auto page = c.kube.List(
      {.resource = kSecrets, .ns = c.ns},
      [&seen](json::Cursor) {
        ++seen;
        return absl::DataLossError("mine");
      },
      c.options);
  CHECK(page.status().code() == absl::StatusCode::kDataLoss);
  CHECK(seen == 1);
}

TEST_CASE("a stop cancels a running watch at once and any later call") {
  CONTRACT(c);
  const std::string from = c.Version();
  std::stop_source stop;
  const CallOptions stoppable{.stop = stop.get_token()};
  std::atomic<bool> started{false};
  absl::Status status;
  {
    const auto watcher = base::StartThread("watcher", [&] {
      status = c.kube.Watch(
          {.resource = kSecrets, .ns = c.ns, .resource_version = from},
          [&started](WatchEventType, json::Cursor) {
            started = true;
            return absl::OkStatus();
          },
          stoppable);
    });
    c.AddSecret("a");
    base::StopSignal never;
    for (int i = 0; i < 1000 && !started; ++i) never.WaitFor(milliseconds(10));
    CHECK(started);
    stop.request_stop();
  }
  CHECK(status.code() == absl::StatusCode::kCancelled);
  CHECK(c.kube.Get(kSecrets, c.Key("a"), stoppable).status().code() == absl::StatusCode::kCancelled);
}

TEST_CASE("a server that hangs costs the deadline and no more") {
  CONTRACT(c);
  c.AddSecret("a");
  subject.hold();
  const auto began = std::chrono::steady_clock::now();
  const auto late = c.kube.Get(kSecrets, c.Key("a"), {.timeout = milliseconds(200)});
  const auto took = std::chrono::steady_clock::now() - began;
  subject.release();
  CHECK(late.status().code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(took < seconds(5));
  Ok(c.kube.Get(kSecrets, c.Key("a"), c.options));
}

TEST_CASE("paths that are no objects are read as they are") {
  CONTRACT(c);
  CHECK_FALSE(Json(c.kube.GetPath("/version", c.options))["gitVersion"].StringOr().empty());
  CHECK(Json(c.kube.GetPath("/apis/apps/v1", c.options))["kind"].StringOr() == "APIResourceList");
  CHECK(c.kube.GetPath("/apis/no.such.group/v1", c.options).status().code() == absl::StatusCode::kNotFound);
}

TEST_CASE("names that would break out of the path are refused") {
  CONTRACT(c);
  CHECK(c.kube.Get(kSecrets, {c.ns, "../x"}, c.options).status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(c.kube.Get(kSecrets, {"a/b", "x"}, c.options).status().code() == absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace clusterpulse::kube
