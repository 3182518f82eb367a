#include "common/kube/testing/object_store.h"

#include <catch2/catch.hpp>

#include "common/base/testing/manual_clock.h"
#include "common/base/thread.h"
#include "common/kube/api_error.h"

namespace clusterpulse::kube {
namespace {

using json::Value;
using std::chrono::milliseconds;

const ResourceType kWidgets{"example.io", "v1", "widgets", "Widget", true};

Value Json(std::string_view text) {
  auto value = Value::Parse(text);
  REQUIRE(value.ok());
  return *value;
}

Value Json(const ObjectPtr& object) { return Json(object->json); }

template <typename T>
T Ok(absl::StatusOr<T> result) {
  INFO(result.status().ToString());
  REQUIRE(result.ok());
  return *std::move(result);
}

template <typename T>
ApiError Refusal(const absl::StatusOr<T>& result) {
  REQUIRE_FALSE(result.ok());
  const auto error = GetApiError(result.status());
  INFO(result.status().ToString());
  REQUIRE(error.has_value());
  return *error;
}

Value Named(std::string_view name, std::string_view ns = "") {
  Value object;
  object.Mutable("metadata").Mutable("name") = name;
  if (!ns.empty()) object.Mutable("metadata").Mutable("namespace") = ns;
  return object;
}

Value WidgetDefinition() {
  return Json(R"({"metadata":{"name":"widgets.example.io"},"spec":{"group":"example.io","scope":"Namespaced",
    "names":{"plural":"widgets","kind":"Widget","shortNames":["wd"]},
    "versions":[{"name":"v1","served":true,"storage":true,"subresources":{"status":{}},
      "additionalPrinterColumns":[{"name":"Size","type":"integer","jsonPath":".spec.size"}],
      "schema":{"openAPIV3Schema":{"type":"object","properties":{
        "spec":{"type":"object","required":["size"],"properties":{
          "size":{"type":"integer"},
          "color":{"type":"string","enum":["red","blue"],"default":"red"},
          "tags":{"type":"object","additionalProperties":{"type":"string"}}}},
        "status":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}}}]}})");
}

struct Fixture {
  base::ManualClock clock;
  ObjectStore store{{.clock = &clock, .history = 16}};

  void ServeWidgets() { Ok(store.Create(kCustomResourceDefinitions, "", WidgetDefinition())); }
  ObjectPtr AddWidget(std::string_view name, std::string_view spec = R"({"size":1})") {
    Value widget = Named(name);
    widget.Mutable("spec") = Json(spec);
    return Ok(store.Create(kWidgets, "default", std::move(widget)));
  }
  std::vector<std::string> Names(const StoreList& list) {
    std::vector<std::string> names;
    for (const auto& object : list.objects) names.push_back(object->key.ToString());
    return names;
  }
};

TEST_CASE_METHOD(Fixture, "create stamps an object and refuses a second one of the name") {
  const Value pod =
      Json(Ok(store.Create(kPods, "default", Json(R"({"metadata":{"name":"a"},"status":{"phase":"Running"}})"))));
  CHECK(pod["kind"].StringOr() == "Pod");
  CHECK(pod["apiVersion"].StringOr() == "v1");
  CHECK(pod["metadata"]["namespace"].StringOr() == "default");
  CHECK(pod["metadata"]["creationTimestamp"].StringOr() == "2031-04-05T06:07:08Z");
  CHECK(pod["metadata"]["uid"].StringOr().size() == 36);
  CHECK(pod["status"]["phase"].StringOr() == "Pending");
  CHECK(Refusal(store.Create(kPods, "default", Named("a"))).reason == "AlreadyExists");
  CHECK(Refusal(store.Create(kPods, "nowhere", Named("a"))).reason == "NotFound");
  CHECK(Refusal(store.Create(kPods, "default", Value(Value::Object()))).code == 422);
  CHECK(Refusal(store.Get(kPods, {"default", "b"})).message == "pods \"b\" not found");
}

TEST_CASE_METHOD(Fixture, "an update with an old resource version is a conflict") {
  const Value first = Json(Ok(store.Create(kSecrets, "default", Named("s"))));
  Value second = first;
  second.Mutable("data").Mutable("k") = "dg==";
  Ok(store.Replace(kSecrets, {"default", "s"}, second));
  CHECK(Refusal(store.Replace(kSecrets, {"default", "s"}, second)).reason == "Conflict");
  CHECK(Refusal(store.Patch(kSecrets, {"default", "s"}, StorePatch::kMerge, first)).reason == "Conflict");
}

TEST_CASE_METHOD(Fixture, "a write that changes nothing keeps the version and tells no watcher") {
  const ObjectPtr first =
      Ok(store.Create(kSecrets, "default", Json(R"({"metadata":{"name":"s"},"stringData":{"k":"v"}})")));
  CHECK(Json(first)["data"]["k"].StringOr() == "dg==");
  const ObjectPtr again =
      Ok(store.Patch(kSecrets, {"default", "s"}, StorePatch::kMerge, Json(R"({"data":{"k":"dg=="}})")));
  CHECK(again->version == first->version);
  CHECK(store.version() == first->version);
}

TEST_CASE_METHOD(Fixture, "spec and status are written apart and only the spec counts generations") {
  ServeWidgets();
  AddWidget("w");
  const ObjectKey key{"default", "w"};
  Value widget =
      Json(Ok(store.Patch(kWidgets, key, StorePatch::kMerge, Json(R"({"spec":{"size":2},"status":{"phase":"x"}})"))));
  CHECK(widget["metadata"]["generation"].IntOr() == 2);
  CHECK(widget.Find("status") == nullptr);
  widget = Json(Ok(
      store.Patch(kWidgets, key, StorePatch::kMerge, Json(R"({"spec":{"size":9},"status":{"phase":"x"}})"), "status")));
  CHECK(widget["metadata"]["generation"].IntOr() == 2);
  CHECK(widget["spec"]["size"].IntOr() == 2);
  CHECK(widget["status"]["phase"].StringOr() == "x");
  widget = Json(Ok(store.Patch(kWidgets, key, StorePatch::kMerge, Json(R"({"metadata":{"labels":{"a":"b"}}})"))));
  CHECK(widget["metadata"]["generation"].IntOr() == 2);
  CHECK(Refusal(store.Patch(kSecrets, {"default", "w"}, StorePatch::kMerge, Json("{}"), "status")).code == 404);
}

TEST_CASE_METHOD(Fixture, "custom resources are defaulted, pruned and validated") {
  ServeWidgets();
  const Value widget = Json(AddWidget("w", R"({"size":1,"surprise":2,"tags":{"any":"thing"}})"));
  CHECK(widget["spec"]["color"].StringOr() == "red");
  CHECK(widget["spec"].Find("surprise") == nullptr);
  CHECK(widget["spec"]["tags"]["any"].StringOr() == "thing");

  struct Case {
    const char* name;
    const char* spec;
    const char* complaint;
  };
  for (const Case& c : {Case{"missing", R"({})", "spec.size: Required value"},
                        Case{"type", R"({"size":"big"})", "must be of type integer"},
                        Case{"enum", R"({"size":1,"color":"green"})", "Unsupported value: \"green\""}}) {
    DYNAMIC_SECTION(c.name) {
      Value bad = Named("bad");
      bad.Mutable("spec") = Json(c.spec);
      const ApiError error = Refusal(store.Create(kWidgets, "default", bad));
      CHECK(error.reason == "Invalid");
      CHECK(error.message.find(c.complaint) != std::string::npos);
    }
  }
}

TEST_CASE_METHOD(Fixture, "a definition is established at once and takes its objects along when it goes") {
  CHECK(Refusal(store.List(kWidgets, {})).code == 404);
  ServeWidgets();
  const Value definition = Json(Ok(store.Get(kCustomResourceDefinitions, {"", "widgets.example.io"})));
  CHECK(definition["status"]["conditions"].items().back()["type"].StringOr() == "Established");
  CHECK(definition["status"]["acceptedNames"]["listKind"].StringOr() == "WidgetList");
  const auto type = store.FindType("example.io", "v1", "widgets");
  REQUIRE(type != nullptr);
  CHECK(type->columns.size() == 1);
  CHECK(type->short_names == std::vector<std::string>{"wd"});

  Value kept = Named("kept");
  kept.Mutable("metadata").Mutable("finalizers") = Value::Array{"example.io/f"};
  kept.Mutable("spec").Mutable("size") = 1;
  Ok(store.Create(kWidgets, "default", kept));
  AddWidget("plain");
  Ok(store.Delete(kCustomResourceDefinitions, {"", "widgets.example.io"}));
  CHECK(Names(Ok(store.List(kWidgets, {}))) == std::vector<std::string>{"default/kept"});
  Ok(store.Patch(kWidgets, {"default", "kept"}, StorePatch::kMerge, Json(R"({"metadata":{"finalizers":null}})")));
  CHECK(Refusal(store.List(kWidgets, {})).code == 404);
  CHECK(Refusal(store.Get(kCustomResourceDefinitions, {"", "widgets.example.io"})).reason == "NotFound");
}

TEST_CASE_METHOD(Fixture, "finalizers keep a deleted object until they are gone") {
  Value secret = Named("s");
  secret.Mutable("metadata").Mutable("finalizers") = Value::Array{"example.io/f"};
  Ok(store.Create(kSecrets, "default", secret));
  const ObjectKey key{"default", "s"};
  const ObjectPtr deleting = Ok(store.Delete(kSecrets, key));
  CHECK(deleting->deleting);
  CHECK(Ok(store.Delete(kSecrets, key))->version == deleting->version);
  CHECK(Refusal(store.Patch(kSecrets, key, StorePatch::kMerge,
                            Json(R"({"metadata":{"finalizers":["example.io/f","example.io/new"]}})")))
            .code == 422);
  Ok(store.Patch(kSecrets, key, StorePatch::kMerge, Json(R"({"metadata":{"deletionTimestamp":null}})")));
  CHECK(Ok(store.Get(kSecrets, key))->deleting);
  Ok(store.Patch(kSecrets, key, StorePatch::kMerge, Json(R"({"metadata":{"finalizers":[]}})")));
  CHECK(Refusal(store.Get(kSecrets, key)).reason == "NotFound");
}

TEST_CASE_METHOD(Fixture, "a deleted namespace takes its objects along and waits for finalizers") {
  Ok(store.Create(kNamespaces, "", Named("team")));
  Ok(store.Create(kSecrets, "team", Named("plain")));
  Value kept = Named("kept");
  kept.Mutable("metadata").Mutable("finalizers") = Value::Array{"example.io/f"};
  Ok(store.Create(kSecrets, "team", kept));
  Ok(store.Delete(kNamespaces, {"", "team"}));
  CHECK(Json(Ok(store.Get(kNamespaces, {"", "team"})))["status"]["phase"].StringOr() == "Terminating");
  CHECK(Names(Ok(store.List(kSecrets, {.ns = "team"}))) == std::vector<std::string>{"team/kept"});
  CHECK(Refusal(store.Create(kSecrets, "team", Named("late"))).reason == "Forbidden");
  Ok(store.Patch(kSecrets, {"team", "kept"}, StorePatch::kMerge, Json(R"({"metadata":{"finalizers":null}})")));
  CHECK(Refusal(store.Get(kNamespaces, {"", "team"})).reason == "NotFound");
}

TEST_CASE_METHOD(Fixture, "delete obeys its preconditions") {
  const ObjectPtr secret = Ok(store.Create(kSecrets, "default", Named("s")));
  CHECK(Refusal(store.Delete(kSecrets, {"default", "s"}, {.uid = "other"})).reason == "Conflict");
  CHECK(Refusal(store.Delete(kSecrets, {"default", "s"}, {.resource_version = "1"})).reason == "Conflict");
  Ok(store.Delete(kSecrets, {"default", "s"}, {.uid = secret->uid}));
}

TEST_CASE_METHOD(Fixture, "selectors choose by label and field") {
  Ok(store.Put(
      kPods,
      Json(
          R"({"metadata":{"name":"a","labels":{"app":"x","tier":"front"}},"spec":{"nodeName":"n1"},"status":{"phase":"Running"}})")));
  Ok(store.Put(
      kPods,
      Json(R"({"metadata":{"name":"b","labels":{"app":"y"}},"spec":{"nodeName":"n2"},"status":{"phase":"Failed"}})")));
  Ok(store.Put(kPods, Json(R"({"metadata":{"name":"c","namespace":"kube-system"},"status":{"phase":"Running"}})")));
  struct Case {
    const char *ns, *labels, *fields;
    std::vector<std::string> names;
  };
  const std::vector<Case> cases{
      {"", "", "", {"default/a", "default/b", "kube-system/c"}},
      {"default", "", "", {"default/a", "default/b"}},
      {"", "app=x", "", {"default/a"}},
      {"", "app==x,tier", "", {"default/a"}},
      {"", "app!=x", "", {"default/b", "kube-system/c"}},
      {"", "app in (x, y)", "", {"default/a", "default/b"}},
      {"", "app notin (x)", "", {"default/b", "kube-system/c"}},
      {"", "!app", "", {"kube-system/c"}},
      {"", "", "spec.nodeName=n2", {"default/b"}},
      {"", "", "spec.nodeName=", {"kube-system/c"}},
      {"", "", "status.phase!=Failed,metadata.namespace=default", {"default/a"}},
      {"", "", "metadata.name=c", {"kube-system/c"}},
  };
  for (const Case& c : cases) {
    CAPTURE(c.ns, c.labels, c.fields);
    CHECK(Names(Ok(store.List(kPods, {c.ns, c.labels, c.fields}))) == c.names);
  }
  CHECK(Refusal(store.List(kPods, {"", "", "spec.color=red"})).code == 400);
  CHECK(Refusal(store.List(kPods, {"", "app in x", ""})).code == 400);
}

TEST_CASE_METHOD(Fixture, "the pages of a list show one version however the objects change meanwhile") {
  for (const char* name : {"a", "b", "c", "d", "e"}) Ok(store.Create(kSecrets, "default", Named(name)));
  const StoreList first = Ok(store.List(kSecrets, {}, 2));
  CHECK(Names(first) == std::vector<std::string>{"default/a", "default/b"});
  REQUIRE_FALSE(first.continue_token.empty());

  Ok(store.Delete(kSecrets, {"default", "c"}));
  Ok(store.Create(kSecrets, "default", Named("cc")));
  Ok(store.Patch(kSecrets, {"default", "d"}, StorePatch::kMerge, Json(R"({"type":"changed"})")));
  const StoreList second = Ok(store.List(kSecrets, {}, 2, first.continue_token));
  CHECK(Names(second) == std::vector<std::string>{"default/c", "default/d"});
  CHECK(second.version == first.version);
  CHECK(Json(second.objects[1])["type"].IsNull());
  const StoreList third = Ok(store.List(kSecrets, {}, 2, second.continue_token));
  CHECK(Names(third) == std::vector<std::string>{"default/e"});
  CHECK(third.continue_token.empty());

  store.Compact();
  CHECK(Refusal(store.List(kSecrets, {}, 2, first.continue_token)).reason == "Expired");
  CHECK(Refusal(store.List(kSecrets, {}, 2, "nonsense")).code == 400);
}

TEST_CASE_METHOD(Fixture, "lists are in the order of etcd's keys, whole, in pages and of one namespace") {
  const std::vector<std::string> keys = {"w-b/a", "w-b/z", "w/a", "w/a-b", "w/a.b",
                                         "w/a0",  "w/ab",  "w/b", "w0/a",  "wa/a"};
  for (auto key = keys.rbegin(); key != keys.rend(); ++key) {
    const auto slash = key->find('/');
    Ok(store.Put(kSecrets, Named(key->substr(slash + 1), key->substr(0, slash))));
  }
  CHECK(Names(Ok(store.List(kSecrets, {}))) == keys);
  CHECK(Names(Ok(store.List(kSecrets, {.ns = "w"}))) == std::vector(keys.begin() + 2, keys.begin() + 8));
  CHECK(Names(Ok(store.List(kSecrets, {.ns = "w-b"}))) == std::vector(keys.begin(), keys.begin() + 2));

  StoreList page = Ok(store.List(kSecrets, {}, 1));
  std::vector<std::string> names = Names(page);
  for (const char* ns : {"w", "w-b", "w0"}) Ok(store.Delete(kSecrets, {ns, "a"}));
  Ok(store.Put(kSecrets, Named("new", "wb")));
  while (!page.continue_token.empty()) {
    page = Ok(store.List(kSecrets, {}, 1, page.continue_token));
    for (std::string& name : Names(page)) names.push_back(std::move(name));
  }
  CHECK(names == keys);
}

std::string Show(const std::vector<StoreEvent>& events) {
  std::string text;
  for (const auto& [type, object] : events) {
    text += type == WatchEventType::kAdded ? '+' : type == WatchEventType::kModified ? '~' : '-';
    text += object->key.name;
  }
  return text;
}

TEST_CASE_METHOD(Fixture, "a watch tells every change after its version, as its selector sees it") {
  const auto Labelled = [](std::string_view app) {
    return Json(R"({"metadata":{"labels":{"app":")" + std::string(app) + "\"}}}");
  };
  Ok(store.Create(kSecrets, "default", Named("before")));
  const std::string from = std::to_string(store.version());
  const auto all = Ok(store.Watch(kSecrets, {}, from));
  const auto only_x = Ok(store.Watch(kSecrets, {"", "app=x", ""}, from));
  Ok(store.Create(kSecrets, "default", Named("a")));
  Ok(store.Patch(kSecrets, {"default", "a"}, StorePatch::kMerge, Labelled("x")));
  Ok(store.Patch(kSecrets, {"default", "a"}, StorePatch::kMerge, Labelled("y")));
  const ObjectPtr gone = Ok(store.Delete(kSecrets, {"default", "a"}));
  const auto events = Ok(all->Next(milliseconds(0), {}));
  CHECK(Show(events) == "+a~a~a-a");
  CHECK(events.back().object->version == gone->version);
  CHECK(all->position() == store.version());
  CHECK(Show(Ok(only_x->Next(milliseconds(0), {}))) == "+a-a");
  CHECK(Show(Ok(Ok(store.Watch(kSecrets, {}, "0"))->Next(milliseconds(0), {}))) == "+before");
}

TEST_CASE_METHOD(Fixture, "a watch from a forgotten version is expired, a running one that saw everything goes on") {
  const std::string from = std::to_string(store.version());
  const auto running = Ok(store.Watch(kSecrets, {}, from));
  Ok(store.Create(kSecrets, "default", Named("a")));
  Ok(running->Next(milliseconds(0), {}));
  store.Compact();
  CHECK(Refusal(store.Watch(kSecrets, {}, from)).reason == "Expired");
  Ok(store.Create(kSecrets, "default", Named("b")));
  CHECK(Show(Ok(running->Next(milliseconds(0), {}))) == "+b");
  for (int i = 0; i < 17; ++i) Ok(store.Create(kSecrets, "default", Named("n" + std::to_string(i))));
  CHECK(Refusal(running->Next(milliseconds(0), {})).reason == "Expired");
}

TEST_CASE_METHOD(Fixture, "a waiting watch wakes for a change and for its stop") {
  const auto watch = Ok(store.Watch(kSecrets, {}, std::to_string(store.version())));
  {
    const auto writer = base::StartThread("writer", [this] {
      (void)store.Create(kSecrets, "default", Value(Value::Object{{"metadata", Value::Object{{"name", "a"}}}}));
    });
    CHECK(Show(Ok(watch->Next(std::chrono::seconds(10), {}))) == "+a");
  }
  std::stop_source stop;
  const auto stopper = base::StartThread("stopper", [&stop] { stop.request_stop(); });
  CHECK(Ok(watch->Next(std::chrono::seconds(10), stop.get_token())).empty());
  CHECK(stop.stop_requested());
}

TEST_CASE_METHOD(Fixture, "apply creates what is missing and merges into what is there") {
  const ObjectKey key{"default", "s"};
  Ok(store.Patch(kSecrets, key, StorePatch::kApply, Json(R"({"kind":"Secret","metadata":{"name":"s"},"type":"one"})")));
  const Value merged = Json(Ok(store.Patch(kSecrets, key, StorePatch::kApply, Json(R"({"data":{"a":"dg=="}})"))));
  CHECK(merged["type"].StringOr() == "one");
  CHECK(merged["data"]["a"].StringOr() == "dg==");
  ServeWidgets();
  CHECK(Refusal(store.Patch(kWidgets, key, StorePatch::kApply, Json(R"({"status":{}})"), "status")).reason ==
        "NotFound");
}

TEST_CASE_METHOD(Fixture, "a strategic patch merges lists by key") {
  Ok(store.Create(kDeployments, "default", Json(R"({"metadata":{"name":"d"},"spec":{"template":{"spec":{"containers":[
      {"name":"a","image":"a:1","args":["x"]},{"name":"b","image":"b:1"}]}}}})")));
  const Value patched = Json(Ok(store.Patch(
      kDeployments, {"default", "d"}, StorePatch::kStrategic,
      Json(
          R"({"spec":{"template":{"spec":{"$setElementOrder/containers":[{"name":"a"},{"name":"c"}],"containers":[
      {"name":"a","image":"a:2"},{"name":"b","$patch":"delete"},{"name":"c","image":"c:1"}]}}}})"))));
  const Value& pod = patched["spec"]["template"]["spec"];
  CHECK(pod["containers"].Dump() == R"([{"args":["x"],"image":"a:2","name":"a"},{"image":"c:1","name":"c"}])");
  CHECK(pod.members().size() == 1);
  CHECK(patched["metadata"]["generation"].IntOr() == 2);
}

TEST_CASE_METHOD(Fixture, "put and edit write everything and make the namespace") {
  Ok(store.Put(kPods, Json(R"({"metadata":{"name":"p","namespace":"new"},"status":{"phase":"Running"}})")));
  CHECK(Ok(store.Get(kNamespaces, {"", "new"}))->key.name == "new");
  const Value pod =
      Json(Ok(store.Edit(kPods, {"new", "p"}, [](Value& p) { p.Mutable("status").Mutable("phase") = "Failed"; })));
  CHECK(pod["status"]["phase"].StringOr() == "Failed");
  CHECK(Refusal(store.Put(kWidgets, Named("x", "default"))).code == 404);
}

TEST_CASE_METHOD(Fixture, "metadata only leaves everything else out") {
  const ObjectPtr secret =
      Ok(store.Create(kSecrets, "default", Json(R"({"metadata":{"name":"s"},"stringData":{"k":"hidden"}})")));
  const Value partial = Json(secret->MetadataOnly());
  CHECK(partial["kind"].StringOr() == "PartialObjectMetadata");
  CHECK(partial["metadata"]["name"].StringOr() == "s");
  CHECK(partial.members().size() == 3);
}

}  // namespace
}  // namespace clusterpulse::kube
