#include "common/metricsource/source.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "common/base/time_format.h"
#include "common/json/value.h"

namespace clusterpulse::metricsource {
namespace {

constexpr std::string_view kQueues = R"({
  "source": {"apiVersion": "mq.example.org/v1beta2", "kind": "MessageQueue",
             "namespaces": {"include": ["pay-*"]},
             "labelSelector": {"matchLabels": {"app": "mq"},
                               "matchExpressions": [{"key": "tier", "operator": "In", "values": ["gold", "silver"]}]}},
  "fields": [{"name": "depth", "path": ".status.depth", "type": "integer", "default": "0"},
             {"name": "state", "path": ".status.state"},
             {"name": "since", "path": ".status.since", "type": "timestamp"}],
  "computed": [{"name": "busy", "expression": "depth > 100", "type": "boolean"},
               {"name": "ratio", "expression": "depth / 10"}],
  "aggregations": [{"name": "p95_depth", "field": "depth", "function": "percentile", "percentile": 95},
                   {"name": "by_state", "function": "count", "groupBy": "state"}],
  "collection": {"intervalSeconds": 90},
  "rbac": {"resourceTypeName": "queue", "filterableFields": ["state"]}
})";

json::Value Parsed(std::string_view text) {
  auto value = json::Value::Parse(text);
  REQUIRE(value.ok());
  return *std::move(value);
}

std::shared_ptr<const Source> CompileSpec(const json::Value& spec, Diagnostics& diagnostics) {
  return Compile("hub", "queues", ReadSpec(spec, diagnostics), diagnostics);
}

std::vector<std::string> Texts(const Diagnostics& diagnostics) {
  std::vector<std::string> texts;
  for (const Diagnostic& item : diagnostics.items()) {
    texts.push_back((item.severity == Diagnostic::Severity::kWarning ? "warning: " : "") + item.ToString());
  }
  return texts;
}

// Of a change of kQueues.
std::vector<std::string> ProblemsWith(const std::function<void(json::Value&)>& change) {
  json::Value spec = Parsed(kQueues);
  change(spec);
  Diagnostics diagnostics;
  const auto source = CompileSpec(spec, diagnostics);
  CHECK((source == nullptr) == diagnostics.has_errors());
  return Texts(diagnostics);
}

std::string Repeated(std::string_view text, int times) {
  std::string out;
  while (times-- > 0) out += text;
  return out;
}

json::Value& Item(json::Value& spec, const char* list, std::size_t index) {
  return spec.Mutable(list).MutableArray().at(index);
}

}  // namespace

TEST_CASE("a good source compiles to its definition") {
  Diagnostics diagnostics;
  const auto source = CompileSpec(Parsed(kQueues), diagnostics);
  REQUIRE(source != nullptr);
  CHECK(Texts(diagnostics).empty());
  CHECK(source->id == "hub/queues");
  CHECK(source->hash.size() == 16);
  const std::string definition = Definition(*source, *base::ParseRfc3339("2031-02-03T04:05:06Z"));
  // clang-format off
  CHECK(definition ==
        R"_({"name":"queues","namespace":"hub",)_"
        R"_("source":{"apiVersion":"mq.example.org/v1beta2","kind":"MessageQueue","scope":"Namespaced",)_"
        R"_("group":"mq.example.org","version":"v1beta2","resource":"messagequeues",)_"
        R"_("labelSelector":"app=mq,tier in (gold,silver)","namespaces":{"include":["pay-*"]}},)_"
        R"_("fields":[{"name":"depth","path":".status.depth","pathSegments":["status","depth"],"type":"integer",)_"
        R"_("default":"0","index":0},{"name":"state","path":".status.state","pathSegments":["status","state"],)_"
        R"_("type":"string","index":1},{"name":"since","path":".status.since","pathSegments":["status","since"],)_"
        R"_("type":"timestamp","index":2}],)_"
        R"_("computed":[{"name":"busy","expression":"depth \u003e 100","type":"boolean"},)_"
        R"_({"name":"ratio","expression":"depth / 10","type":"float"}],)_"
        R"_("aggregations":[{"name":"p95_depth","field":"depth","function":"percentile","percentile":95},)_"
        R"_({"name":"by_state","function":"count","groupBy":"state"}],)_"
        R"_("collection":{"intervalSeconds":90,"timeoutSeconds":30,"maxResources":5000,"batchSize":500,)_"
        R"_("retryAttempts":3,"parallelism":3},)_"
        R"_("rbac":{"resourceTypeName":"queue","filterableFields":["state"],"filterAggregations":true},)_"
        R"_("compiledAt":"2031-02-03T04:05:06Z","hash":")_" + source->hash + "\"}");
  // clang-format on

  SECTION("and from it to itself") {
    const auto again = CompileDefinition(definition, diagnostics);
    CAPTURE(diagnostics.Summary());
    REQUIRE(again != nullptr);
    CHECK(again->hash == source->hash);
    CHECK(Definition(*again, *base::ParseRfc3339("2031-02-03T04:05:06Z")) == definition);
  }
}

TEST_CASE("everything that is wrong with a source is said at once, with its place") {
  struct Case {
    const char* name;
    std::function<void(json::Value&)> change;
    std::vector<std::string> problems;
  };
  const std::vector<Case> cases{
      {"nothing",
       [](auto& s) { s = json::Value(json::Value::Object()); },
       {"spec.source.apiVersion: is required", "spec.source.kind: is required",
        "spec.fields: at least one field is required",
        "warning: spec.rbac.resourceTypeName: is absent: no policy can give access to what is collected"}},
      {"no group",
       [](auto& s) { s.Mutable("source").Mutable("apiVersion") = "/v1"; },
       {"spec.source.apiVersion: \"/v1\" is not of the form version or group/version"}},
      {"scope",
       [](auto& s) { s.Mutable("source").Mutable("scope") = "namespaced"; },
       {"spec.source.scope: unknown scope \"namespaced\", did you mean \"Namespaced\"?"}},
      {"cluster scope with namespaces",
       [](auto& s) { s.Mutable("source").Mutable("scope") = "Cluster"; },
       {"warning: spec.source.namespaces: has no effect with the scope Cluster"}},
      {"a selector",
       [](auto& s) {
         Item(s.Mutable("source").Mutable("labelSelector"), "matchExpressions", 0).Mutable("operator") = "in";
       },
       {"spec.source.labelSelector.matchExpressions[0].operator: \"in\" is none of In, NotIn, Exists, DoesNotExist"}},
      {"a field's name twice",
       [](auto& s) { Item(s, "fields", 1).Mutable("name") = "depth"; },
       {"spec.fields[1].name: another field is named \"depth\"",
        "spec.aggregations[1].groupBy: unknown field \"state\"",
        "warning: spec.rbac.filterableFields[0]: unknown field \"state\""}},
      {"a word of the language",
       [](auto& s) { Item(s, "fields", 2).Mutable("name") = "NULL"; },
       {"spec.fields[2].name: \"NULL\" is a word of the expression language"}},
      {"the object's own",
       [](auto& s) { Item(s, "fields", 2).Mutable("name") = "_namespace"; },
       {"spec.fields[2].name: \"_namespace\" is the object's own"}},
      {"no path",
       [](auto& s) { Item(s, "fields", 2).Erase("path"); },
       {"spec.fields[2].path: is required (field \"since\")"}},
      {"a type",
       [](auto& s) { Item(s, "fields", 0).Mutable("type") = "int"; },
       {"spec.fields[0].type: unknown type \"int\""}},
      {"a default", [](auto& s) { Item(s, "fields", 0).Mutable("default") = "many"; }, {"spec.fields[0].default: "}},
      {"a default that is no text",
       [](auto& s) { Item(s, "fields", 0).Mutable("default") = 0; },
       {"spec.fields[0].default: 0 is no text", "spec.fields[0].default: "}},
      {"a computed value named like a field",
       [](auto& s) { Item(s, "computed", 0).Mutable("name") = "depth"; },
       {"spec.computed[0].name: \"depth\" is the name of a field", "spec.computed[0].expression: "}},
      {"a function",
       [](auto& s) { Item(s, "computed", 1).Mutable("expression") = "depth + rouns(depth)"; },
       {"spec.computed[1].expression:9: unknown function \"rouns\", did you mean \"round\"?"}},
      {"a member",
       [](auto& s) { s.Mutable("computd") = json::Value(json::Value::Array()); },
       {"warning: spec: unknown member \"computd\" is ignored, did you mean \"computed\"?"}},
      {"an aggregation's function",
       [](auto& s) { Item(s, "aggregations", 0).Mutable("function") = "p95"; },
       {"spec.aggregations[0].function: unknown function \"p95\""}},
      {"a percentile",
       [](auto& s) { Item(s, "aggregations", 0).Mutable("percentile") = 101; },
       {"spec.aggregations[0].percentile: 101 is not within 0..100"}},
      {"numbers of text",
       [](auto& s) { Item(s, "aggregations", 0).Mutable("field") = "state"; },
       {"spec.aggregations[0].field: percentile needs numbers, and \"state\" has none"}},
      {"words that are long are cut between characters",
       [](auto& s) {
         Item(s, "fields", 1).Mutable("type") = "x" + Repeated("ü", 30);
         Item(s, "computed", 1).Mutable("type") = json::Value::Array{"x" + Repeated("ü", 30)};
         s.Mutable("source").Mutable("labelSelector").Mutable("matchLabels").Mutable(Repeated("ü", 200)) = "a";
       },
       {"spec.source.labelSelector.matchLabels: \"" + Repeated("ü", 99) + "...",
        "spec.computed[1].type: [\"x" + Repeated("ü", 18) + "... is no text",
        "spec.fields[1].type: unknown type \"x" + Repeated("ü", 19) + "...\""}},
      {"an unknown field",
       [](auto& s) { Item(s, "aggregations", 1).Mutable("groupBy") = "stat"; },
       {"spec.aggregations[1].groupBy: unknown field \"stat\", did you mean \"state\"?"}},
      {"an interval",
       [](auto& s) { s.Mutable("collection").Mutable("intervalSeconds") = 5; },
       {"warning: spec.collection.intervalSeconds: 5 is not within 30..604800; 30 is used"}},
      {"too much of everything",
       [](auto& s) {
         s.Mutable("collection") =
             Parsed(R"({"parallelism":5000,"timeoutSeconds":2000000000,"maxResources":1000000,"batchSize":20000})");
       },
       {"warning: spec.collection.timeoutSeconds: 2000000000 is not within 5..600; 600 is used",
        "warning: spec.collection.maxResources: 1000000 is not within 1..100000; 100000 is used",
        "warning: spec.collection.batchSize: 20000 is not within 10..10000; 10000 is used",
        "warning: spec.collection.parallelism: 5000 is not within 1..16; 16 is used"}},
      {"a built-in type",
       [](auto& s) { s.Mutable("rbac").Mutable("resourceTypeName") = "pods"; },
       {"warning: spec.rbac.resourceTypeName: \"pods\" is what policies call the fleet's own data"}},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      const std::vector<std::string> problems = ProblemsWith(c.change);
      CAPTURE(problems);
      REQUIRE(problems.size() == c.problems.size());
      for (std::size_t i = 0; i < problems.size(); ++i) {
        // What ends with a blank is only how it begins: the rest is another part's.
        if (c.problems[i].ends_with(" ")) {
          CHECK(problems[i].starts_with(c.problems[i]));
        } else {
          CHECK(problems[i] == c.problems[i]);
        }
      }
    }
  }
}

TEST_CASE("a field that is wrong hides nothing of the others") {
  const std::vector<std::string> problems = ProblemsWith([](json::Value& spec) {
    spec = Parsed(R"({"source":{"apiVersion":"v1","kind":"Pod"},"rbac":{"resourceTypeName":"x"},"fields":[
      {"name":"a","path":".a[x]"},
      {"name":"b","path":".b","type":"integer","default":"abc"},
      {"name":"c","path":".l[*]","type":"integer"},
      {"name":"d","path":".d","type":"nothing","default":"abc"},
      {"name":"e","path":""},
      {"name":"f","path":".metadata.annotations['kubectl.kubernetes.io/last-applied-configuration']"}]})");
  });
  CAPTURE(problems);
  REQUIRE(problems.size() == 6);
  const char* const places[] = {"spec.fields[0].path:",    "spec.fields[3].type:", "spec.fields[4].path:",
                                "spec.fields[1].default:", "spec.fields[2].",      "spec.fields[5].path:"};
  for (const char* place : places) {
    CAPTURE(place);
    CHECK(std::any_of(problems.begin(), problems.end(), [&](const auto& text) { return text.starts_with(place); }));
  }
}

TEST_CASE("names that could be no series' label, and defaults without end, are refused") {
  const std::string long_name(254, 'n');
  const std::vector<std::string> problems = ProblemsWith([&](json::Value& spec) {
    spec = Parsed(R"({"source":{"apiVersion":"v1","kind":"Pod"},"rbac":{"resourceTypeName":"x"},
      "fields":[{"name":"a\tb","path":".a"},{"name":"c","path":".c"},{"name":"ok ü","path":".d"}],
      "aggregations":[{"name":"all\u007f","function":"count"},{"name":"x","function":"count"}]})");
    Item(spec, "fields", 1).Mutable("default") = std::string(4097, 'd');
    Item(spec, "aggregations", 1).Mutable("name") = long_name;
  });
  CHECK(problems == std::vector<std::string>{"spec.fields[0].name: has a control character",
                                             "spec.aggregations[0].name: has a control character",
                                             "spec.aggregations[1].name: is longer than 253 bytes",
                                             "spec.fields[1].default: is longer than 4096 bytes"});
}

TEST_CASE("settings that are absent or make no sense have their defaults") {
  struct Case {
    std::string collection;
    CollectionSettings settings;
  };
  using std::chrono::seconds;
  const Case c = GENERATE(values<Case>({
      {"null", {}},
      {"{}", {}},
      {R"({"intervalSeconds":90,"retryAttempts":4})", {.interval = seconds(90), .retry_attempts = 4}},
      {R"({"retryAttempts":0})", {.retry_attempts = 0}},
      {R"({"intervalSeconds":0,"maxResources":-1,"retryAttempts":-1})", {}},
      {R"({"intervalSeconds":10,"timeoutSeconds":1,"batchSize":2})",
       {.interval = seconds(30), .timeout = seconds(5), .batch_size = 10}},
      {R"({"parallelism":1,"maxResources":1})", {.max_resources = 1, .parallelism = 1}},
  }));
  CAPTURE(c.collection);
  json::Value spec = Parsed(kQueues);
  spec.Mutable("collection") = Parsed(c.collection);
  Diagnostics diagnostics;
  const auto source = CompileSpec(spec, diagnostics);
  REQUIRE(source != nullptr);
  CHECK(source->collection == c.settings);
}

TEST_CASE("the hash names what is collected, and nothing else") {
  const auto hash_of = [](const std::function<void(json::Value&)>& change) {
    json::Value spec = Parsed(kQueues);
    change(spec);
    Diagnostics diagnostics;
    const auto source = CompileSpec(spec, diagnostics);
    REQUIRE(source != nullptr);
    return source->hash;
  };
  const std::string plain = hash_of([](json::Value&) {});
  CHECK(hash_of([](json::Value& s) { s.Mutable("clusters") = Parsed(R"({"names":["a"]})"); }) == plain);
  CHECK(hash_of([](json::Value& s) { s.Mutable("source").Mutable("scope") = "Namespaced"; }) == plain);
  CHECK(hash_of([](json::Value& s) { Item(s, "fields", 1).Mutable("default") = ""; }) != plain);
  CHECK(hash_of([](json::Value& s) { Item(s, "fields", 1).Mutable("path") = ".status.phase"; }) != plain);
  CHECK(hash_of([](json::Value& s) { s.Mutable("collection").Mutable("maxResources") = 7; }) != plain);
}

TEST_CASE("definitions that are none are refused with a reason") {
  for (const char* text : {"", "[]", "{", R"({"name":"a"})", R"({"name":"a/b","namespace":"c"})"}) {
    CAPTURE(text);
    Diagnostics diagnostics;
    CHECK(CompileDefinition(text, diagnostics) == nullptr);
    CHECK(diagnostics.errors() == 1);
  }
}

TEST_CASE("a definition of an upstream hub compiles, and one of a newer hub too") {
  Diagnostics diagnostics;
  const auto source = CompileDefinition(
      R"({"name":"q","namespace":"n","source":{"apiVersion":"v1","kind":"Pod","scope":"Namespaced","group":"",
          "version":"v1","resource":"pods","labelSelector":"a=b"},
          "fields":[{"name":"phase","path":".status.phase","pathSegments":["status","phase"],"type":"string","index":0},
                    {"name":"n","path":".spec.n","pathSegments":["spec","n"],"type":"integer","index":1}],
          "aggregations":[{"name":"least","function":"percentile","field":"n"}],
          "collection":{"intervalSeconds":60,"timeoutSeconds":30,"maxResources":5000,"batchSize":500,"retryAttempts":0,
          "parallelism":3},"rbac":{"resourceTypeName":"","filterAggregations":false},"compiledAt":"x","hash":"y",
          "later":{"than":"us"}})",
      diagnostics);
  CAPTURE(diagnostics.Summary());
  REQUIRE(source != nullptr);
  CHECK(source->spec.target.label_selector == "a=b");
  CHECK(source->aggregations.at(0).percentile == 0);  // 0 is left out there
  CHECK(source->collection.retry_attempts == 0);
}

TEST_CASE("plurals are guessed as Kubernetes spells them") {
  struct Case {
    const char *kind, *resource;
  };
  for (const Case& c : std::vector<Case>{{"Pod", "pods"},
                                         {"Endpoints", "endpoints"},
                                         {"Ingress", "ingresses"},
                                         {"NetworkPolicy", "networkpolicies"},
                                         {"StorageClass", "storageclasses"},
                                         {"Mesh", "meshes"},
                                         {"Branch", "branches"},
                                         {"Box", "boxes"},
                                         {"Gateway", "gateways"},
                                         {"HTTPRoute", "httproutes"},
                                         {"SecurityContextConstraints", "securitycontextconstraints"},
                                         {"PodMetrics", "pods"}}) {
    CAPTURE(c.kind);
    CHECK(GuessResource(c.kind) == c.resource);
  }
}

TEST_CASE("namespaces are taken by wildcard, exclusion first") {
  struct Case {
    std::string namespaces;
    std::vector<std::string> taken, left;
  };
  const Case c = GENERATE(values<Case>({
      {"null", {"a", "kube-system"}, {}},
      {"{}", {"a", "kube-system"}, {}},
      {R"({"exclude":["kube-*"]})", {"web"}, {"kube-a", "kube-"}},
      {R"({"include":["web-*"],"exclude":["*-test"]})", {"web-1"}, {"web-test", "db"}},
      {R"({"include":["zz"]})", {"zz"}, {"a", "zzz"}},
  }));
  CAPTURE(c.namespaces);
  json::Value spec = Parsed(kQueues);
  spec.Mutable("source").Mutable("namespaces") = Parsed(c.namespaces);
  Diagnostics diagnostics;
  const auto source = CompileSpec(spec, diagnostics);
  REQUIRE(source != nullptr);
  for (const std::string& ns : c.taken) CHECK(TakesNamespace(*source, ns));
  for (const std::string& ns : c.left) CHECK_FALSE(TakesNamespace(*source, ns));
  CHECK(TakesNamespace(*source, ""));  // of a kind that has none
}

TEST_CASE("clusters are chosen by name and by label") {
  struct Case {
    std::string clusters;
    bool edge1, edge2, core;
  };
  const Case c = GENERATE(values<Case>({
      {"null", true, true, true},
      {R"({"names":["edge-*"]})", true, true, false},
      {R"({"names":["core","edge-2"]})", false, true, true},
      {R"({"labelSelector":{"matchLabels":{"ring":"canary"}}})", true, false, true},
      {R"({"names":["edge-?"],"labelSelector":{"matchLabels":{"ring":"canary"}}})", true, false, false},
  }));
  CAPTURE(c.clusters);
  Diagnostics diagnostics;
  const ClusterSelector selector = ReadClusterSelector(Parsed(c.clusters), diagnostics);
  CHECK(Texts(diagnostics).empty());
  CHECK(selector.Matches("edge-1", {{"ring", "canary"}}) == c.edge1);
  CHECK(selector.Matches("edge-2", {{"ring", "stable"}}) == c.edge2);
  CHECK(selector.Matches("core", {{"ring", "canary"}}) == c.core);
}

TEST_CASE("more than a source may have is refused before it is looked at") {
  json::Value spec = Parsed(kQueues);
  json::Value::Array computed;
  for (int i = 0; i < 100'000; ++i) computed.push_back(Parsed(R"({"name":"x","expression":"nope + 1"})"));
  spec.Mutable("computed") = std::move(computed);
  Diagnostics diagnostics;
  CHECK(CompileSpec(spec, diagnostics) == nullptr);
  CHECK(Texts(diagnostics) == std::vector<std::string>{"spec.computed: 100000 entries; at most 500 are allowed"});
  spec = Parsed(kQueues);
  Item(spec, "fields", 1).Mutable("default") = std::string(std::size_t{300} << 10, 'x');
  Diagnostics large;
  CHECK(CompileSpec(spec, large) == nullptr);
}

TEST_CASE("Secrets keep their values, however they are spelled") {
  struct Case {
    const char *target, *path;
    bool is_allowed;
  };
  for (const Case& c : std::vector<Case>{
           {R"({"apiVersion":"v1","kind":"Secret"})", ".data.password", false},
           {R"({"apiVersion":"v1","kind":"secret"})", ".data.password", false},
           {R"({"apiVersion":"v1","kind":"Foo","resource":"secrets"})", ".data.password", false},
           {R"({"apiVersion":"v1","kind":"Secrets"})", ".stringData", true},  // no such kind: refused by the server
           {R"({"apiVersion":"v1","kind":"Secret"})", ".type", true},
           {R"({"apiVersion":"example.org/v1","kind":"Secret"})", ".data.password", true}}) {
    CAPTURE(c.target, c.path);
    json::Value spec = Parsed(kQueues);
    spec.Mutable("source") = Parsed(c.target);
    Item(spec, "fields", 1).Mutable("path") = c.path;
    Item(spec, "fields", 0).Mutable("path") = ".metadata.generation";
    Item(spec, "fields", 2).Mutable("path") = ".metadata.creationTimestamp";
    Diagnostics diagnostics;
    CHECK((CompileSpec(spec, diagnostics) != nullptr) == c.is_allowed);
  }
}

TEST_CASE("an upstream collector is led to nothing that our projection would leave out") {
  for (const char* path : {".", ".metadata", "metadata", ".metadata.annotations"}) {
    CAPTURE(path);
    json::Value spec = Parsed(kQueues);
    Item(spec, "fields", 1).Mutable("path") = path;
    Diagnostics diagnostics;
    const auto source = CompileSpec(spec, diagnostics);
    REQUIRE(source != nullptr);
    const json::Value definition = Parsed(Definition(*source, {}));
    CHECK(definition["fields"].items().at(1)["pathSegments"].Dump() == R"(["clusterpulse.io/withheld"])");
    CHECK(definition["fields"].items().at(1)["path"].StringOr() == path);
  }
}

TEST_CASE("only metadata is asked for when no field needs more") {
  json::Value spec = Parsed(kQueues);
  spec.Mutable("fields") = Parsed(R"([{"name":"state","path":".metadata.name"},{"name":"depth","path":"metadata.n",
    "type":"integer"},{"name":"since","path":".metadata.creationTimestamp","type":"timestamp"}])");
  Diagnostics diagnostics;
  CHECK(CompileSpec(spec, diagnostics)->metadata_only);
  Item(spec, "fields", 1).Mutable("path") = ".spec.n";
  CHECK_FALSE(CompileSpec(spec, diagnostics)->metadata_only);
}

}  // namespace clusterpulse::metricsource
