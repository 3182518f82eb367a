#include "hub/app/metricsource_command.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <streambuf>
#include <thread>

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "hub/app/source_trial.h"
#include "tests/hub/app/command_fixture.h"
#include "tests/hub/app/source_rig.h"

namespace clusterpulse::app {
namespace {

using kube::Verb;

const std::string kPods = R"(apiVersion: clusterpulse.io/v1alpha1
kind: MetricSource
metadata: {name: pods}
spec:
  source: {apiVersion: v1, kind: Pod}
  fields:
    - {name: phase, path: .status.phase}
    - {name: restarts, path: .status.restarts, type: integer}
  computed:
    - {name: twice, expression: restarts * 2, type: integer}
  aggregations:
    - {name: total, function: count}
    - {name: by_phase, function: count, groupBy: phase}
    - {name: most, function: max, field: restarts}
  collection: {retryAttempts: 0}
  rbac: {resourceTypeName: pod}
)";
const std::string kBroken = R"(apiVersion: clusterpulse.io/v1alpha1
kind: MetricSource
metadata:
  name: broken
  namespace: hub
spec:
  source:
    apiVersion: v1
    kind: Pod
  fields:
    - name: restarts
      path: .status.restarts
      type: integr
  computed:
    - name: twice
      expression: rond(restarts) * 2
  rbac: {resourceTypeName: pod}
)";

void PutPod(CommandFixture& f, const std::string& ns, const std::string& name, const std::string& status) {
  const auto pod = json::Value::Parse(
      fmt::format(R"({{"metadata":{{"namespace":"{}","name":"{}"}},"status":{}}})", ns, name, status));
  REQUIRE(pod.ok());
  REQUIRE(f.kube.store().Put(kube::kPods, *pod).ok());
}

TEST_CASE("check says what is valid, on one line each") {
  CommandFixture f;
  const Folder folder;
  const std::string one = folder.Write("one.yaml", kPods);
  const std::string more = folder.Write("more.yaml", "kind: ConfigMap\n---\n" + kPods + "---\n" + kPods);
  CHECK(f.Execute({"metricsource", "check", one, more, "--namespace=hub"}) == 0);
  const std::string said = folder.Local(f.out.str());
  CHECK(said.find("one.yaml: hub/pods: ok, 2 fields, 1 computed, 3 aggregations, hash ") == 0);
  CHECK(std::count(said.begin(), said.end(), '\n') == 3);
  CHECK(f.err.str().empty());
  // Nothing of a cluster.
  CHECK(f.kube.calls().empty());

  f.variables["NAMESPACE"] = "fleet";
  CHECK(f.Execute({"metricsource", "check", one}) == 0);
  CHECK(f.out.str().find(": fleet/pods: ok") != std::string::npos);
}

TEST_CASE("check names every problem with its line, and fails") {
  CommandFixture f;
  const Folder folder;
  const std::string file = folder.Write("some.yaml", kPods + "---\n" + kBroken);
  CHECK(f.Execute({"metricsource", "check", file}) == 1);
  CHECK(folder.Local(f.err.str()) ==
        "some.yaml:30: spec.fields[0].type: unknown type \"integr\", did you mean \"integer\"?\n"
        "some.yaml:33: spec.computed[0].expression:1: unknown function \"rond\", did you mean \"round\"?\n");
  const std::string said = folder.Local(f.out.str());
  CHECK(said.find("some.yaml: clusterpulse/pods: ok, ") == 0);
  CHECK(said.find("\nsome.yaml: hub/broken: 2 errors\n") != std::string::npos);
}

TEST_CASE("check shows warnings and does not fail for them") {
  CommandFixture f;
  const Folder folder;
  const std::string file = folder.Write("some.yaml", kPods.substr(0, kPods.find("  rbac:")));
  CHECK(f.Execute({"metricsource", "check", file}) == 0);
  CHECK(folder.Local(f.err.str()) ==
        "some.yaml:5: warning: spec.rbac.resourceTypeName: is absent: no policy can give access to what is "
        "collected\n");
  CHECK(f.out.str().find(": ok, ") != std::string::npos);
}

TEST_CASE("check as JSON has everything on stdout") {
  CommandFixture f;
  const Folder folder;
  const std::string file = folder.Write("some.yaml", kPods + "---\n" + kBroken);
  CHECK(f.Execute({"metricsource", "check", file, "-o", "json"}) == 1);
  CHECK(f.err.str().empty());
  const auto answer = json::Value::Parse(f.out.str());
  REQUIRE(answer.ok());
  REQUIRE((*answer)["sources"].items().size() == 2);
  const json::Value &pods = (*answer)["sources"].items()[0], &broken = (*answer)["sources"].items()[1];
  CHECK(pods["valid"].BoolOr());
  CHECK(pods["namespace"].StringOr() == "clusterpulse");
  CHECK(pods["hash"].StringOr().size() == 16);
  CHECK(pods["diagnostics"].items().empty());
  CHECK(broken["file"].StringOr() == file);
  CHECK(broken["document"].IntOr() == 1);
  CHECK(broken["namespace"].StringOr() == "hub");
  CHECK_FALSE(broken["valid"].BoolOr(true));
  CHECK(broken["hash"].IsNull());
  CHECK(broken["diagnostics"].Dump() ==
        R"([{"column":0,"line":30,"message":"unknown type \"integr\"","path":"spec.fields[0].type",)"
        R"("severity":"error","suggestion":"integer"},)"
        R"({"column":1,"line":33,"message":"unknown function \"rond\"","path":"spec.computed[0].expression",)"
        R"("severity":"error","suggestion":"round"}])");
}

TEST_CASE("files that cannot be used are named, the others are checked all the same") {
  struct Case {
    std::string text, message;
  };
  const std::vector<Case> cases = {
      {"a: [1, 2\n", "some.yaml: reading YAML: line "},
      {"", "some.yaml: there is nothing in it\n"},
      {"# a comment\n---\n", "some.yaml: there is nothing in it\n"},
      {"kind: ConfigMap\n", "some.yaml: there is no MetricSource in it; what comes first is a ConfigMap\n"},
      {kPods + "---\nmetadata: {name: x}\n", "some.yaml:18: an object without a kind\n"},
      {"- a\n- b\n", "some.yaml:1: an object without a kind\n"},
      {"just words\n", "some.yaml:1: an object without a kind\n"},
      {"apiVersion: clusterpulse.io/v1alpha1\nkind: metricsources\n",
       "some.yaml:2: unknown kind \"metricsources\", did you mean \"MetricSource\"?\n"},
      {"a: b\nc: \x01\n", "some.yaml:2: is no text: byte 0x01\n"},
      {std::string("\0\0", 2), "some.yaml:1: is no text: byte 0x00\n"},
      {"a: b\n# \xE4\n", "some.yaml:2: is no text: byte 0xE4\n"},
      {"a:\n  b: 1\n\tc: 1\n", "some.yaml: reading YAML: line 3, column 1: illegal tab when looking for indentation\n"},
      {"a:\n  b: {x: 1}\n\tc: 1\n",
       "some.yaml: reading YAML: line 3, column 2: end of map not found (line 3 is indented by a tab; YAML takes "
       "blanks only)\n"},
      {"{\n\t\"a\": [1\n", "some.yaml: reading YAML: line 3, column 1: end of sequence flow not found\n"},
      {"a: &a [*a]\n", "some.yaml: reading YAML: line 1, column 4: nested deeper than 100\n"},
      {"a: 1\na: 2\n", "some.yaml: reading YAML: line 2, column 1: \"a\" is there twice\n"},
      {"kind: MetricSource\n---\n" + kPods, "some.yaml:1: apiVersion of a MetricSource is clusterpulse.io/v1alpha1"},
      {kPods + "---\nkind: MetricSource\napiVersion: clusterpulse.io/v1\n",
       "some.yaml:19: apiVersion of a MetricSource is clusterpulse.io/v1alpha1"},
      {std::string((4 << 20) + 1, '#'), "some.yaml: larger than 4194304 bytes"},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.message) {
      CommandFixture f;
      const Folder folder;
      const std::string bad = folder.Write("some.yaml", c.text), good = folder.Write("good.yaml", kPods);
      CHECK(f.Execute({"metricsource", "check", bad, good}) == 1);
      const std::string said = folder.Local(f.err.str());
      CAPTURE(said);
      CHECK(said.find("clusterpulse-hub: " + c.message) == 0);
      CHECK(std::count(said.begin(), said.end(), '\n') == 1);
      CHECK(folder.Local(f.out.str()).find("good.yaml: clusterpulse/pods: ok") == 0);
    }
  }
  CommandFixture f;
  CHECK(f.Execute({"metricsource", "check", "/none/such.yaml"}) == 1);
  CHECK(f.err.str() == "clusterpulse-hub: /none/such.yaml: cannot be read: No such file or directory\n");
  // A folder opens, and cannot be read.
  CHECK(f.Execute({"metricsource", "check", "/tmp"}) == 1);
  CHECK(f.err.str() == "clusterpulse-hub: /tmp: cannot be read: Is a directory\n");
}

TEST_CASE("text of another system is text") {
  for (const bool is_utf16 : {false, true}) {
    CAPTURE(is_utf16);
    CommandFixture f;
    const Folder folder;
    std::string text = is_utf16 ? "\xFF\xFE" : "\xEF\xBB\xBF";
    const auto add = [&](char c) {
      text += c;
      if (is_utf16) text += '\0';
    };
    for (const char c : kPods) {
      if (c == '\n') add('\r');
      add(c);
    }
    CHECK(f.Execute({"metricsource", "check", folder.Write("some.yaml", text)}) == 0);
    CHECK(folder.Local(f.out.str()).find("some.yaml: clusterpulse/pods: ok, ") == 0);
    CHECK(f.err.str().empty());
  }
}

TEST_CASE("nothing that is shown steers a terminal") {
  CommandFixture f;
  const Folder folder;
  const auto is_harmless = [](const std::string& text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return c == '\n' || (c >= ' ' && c != '\x7F'); });
  };
  std::string text = kPods;
  text.replace(text.find("name: pods}"), 11, R"(name: "\e[31mpods\x9b0m", namespace: "a\nb"})");
  text.replace(text.find("kind: Pod}"), 10, R"(kind: "\e[2JPod\n"})");
  const std::string file = folder.Write("some.yaml", text);
  for (const char* command : {"check", "try"}) {
    CHECK(f.Execute({"metricsource", command, file}) == 1);
    CHECK(is_harmless(f.err.str()));
    CHECK(is_harmless(f.out.str()));
    CHECK(folder.Local(f.err.str())
              .find("some.yaml:3: metadata.namespace: \"a?b\" is no name of a namespace\n"
                    "some.yaml:3: metadata.name: \"?[31mpods?0m\" is no name of an object") == 0);
    CHECK(folder.Local(f.out.str()).find("some.yaml: a?b/?[31mpods?0m: ") == 0);
  }
  PutPod(f, "a", "x", "{}");
  f.kube.FailNext(Verb::kList, "pods", absl::PermissionDeniedError("no\x1b[0m\nand no"));
  CHECK(f.Execute({"metricsource", "try", folder.Write("pods.yaml", kPods)}) == 1);
  CHECK(f.err.str() == "clusterpulse-hub: clusterpulse/pods: Forbidden: no?[0m?and no\n");
  CHECK(f.Execute({"metricsource", "try", "--\x1b[0m"}) == 2);
  CHECK(is_harmless(f.err.str()));
}

TEST_CASE("check looks into lists, as kubectl writes them") {
  CommandFixture f;
  const Folder folder;
  std::string items = "apiVersion: v1\nkind: List\nitems:\n- kind: ConfigMap\n";
  std::string item = "- ";
  for (const char c : kBroken) item += c == '\n' ? std::string("\n  ") : std::string(1, c);
  const std::string file = folder.Write("list.yaml", items + item + "\n");
  CHECK(f.Execute({"metricsource", "check", file}) == 1);
  CHECK(folder.Local(f.err.str()) ==
        "list.yaml:17: spec.fields[0].type: unknown type \"integr\", did you mean \"integer\"?\n"
        "list.yaml:20: spec.computed[0].expression:1: unknown function \"rond\", did you mean \"round\"?\n");
  CHECK(folder.Local(f.out.str()) == "list.yaml: hub/broken: 2 errors\n");
}

TEST_CASE("what the API server would refuse is refused") {
  struct Case {
    std::string from, to, message;
  };
  const std::vector<Case> cases = {
      {"name: pods}", "name: My_pods}", "some.yaml:3: metadata.name: \"My_pods\" is no name of an object"},
      {"name: pods}", "name: -pods}", "some.yaml:3: metadata.name: \"-pods\" is no name of an object"},
      {"name: pods}", "name: 12}", "some.yaml:3: metadata.name: is no text"},
      {"name: pods}", "name: pods, namespace: My_space}",
       "some.yaml:3: metadata.namespace: \"My_space\" is no name of a namespace"},
      {"name: pods}", "name: pods, namespace: 12}", "some.yaml:3: metadata.namespace: is no text"},
      {"name: pods}", "name: a..b}", "some.yaml:3: metadata.name: \"a..b\" is no name of an object"},
      {"name: pods}", "name: a.-b}", "some.yaml:3: metadata.name: \"a.-b\" is no name of an object"},
      {"name: pods}", "name: pods, namespace: a.b}",
       "some.yaml:3: metadata.namespace: \"a.b\" is no name of a namespace"},
      {"name: pods}", "name: pods, namespace: " + std::string(64, 'a') + "}",
       "some.yaml:3: metadata.namespace: \"" + std::string(64, 'a') + "\" is no name of a namespace"},
      {"name: pods}", "name: n}", "some.yaml:3: metadata.name: is no text: quote it (\"n\")\n"},
      {"name: pods}", "name: pods, labels: {app: yes}}",
       "some.yaml:3: metadata.labels[app]: true is no label value: quote it (\"yes\")\n"},
      {"name: pods}", "name: pods, labels: {app: a b}}",
       "some.yaml:3: metadata.labels[app]: \"a b\" is no label value\n"},
      {"name: pods}", "name: pods, annotations: {example.org/v: 1.20}}",
       "some.yaml:3: metadata.annotations[example.org/v]: 1.2 is no text: quote it (\"1.20\")\n"},
      {"name: pods}", "name: pods, annotations: [a]}", "some.yaml:3: metadata.annotations: is no object\n"},
      {"name: twice,", "name: y,", "some.yaml:10: spec.computed[0].name: true is no text: quote it (\"y\")\n"},
      {"type: integer}", "type: integer, default: 0}",
       "some.yaml:8: spec.fields[1].default: 0 is no text: quote it (\"0\")\n"},
      {"kind: Pod}", "kind: Pod, labelSelector: {matchLabels: {app: on}}}",
       "some.yaml:5: spec.source.labelSelector.matchLabels[app]: true is no label value: quote it (\"on\")\n"},
      {"retryAttempts: 0", "intervalSeconds: 10",
       "some.yaml:15: spec.collection.intervalSeconds: 10 is less than 30, the least that is allowed\n"},
      {"retryAttempts: 0", "batchSize: 3000000000",
       "some.yaml:15: spec.collection.batchSize: 3000000000 is no number of 32 bits\n"},
      {"function: count}", "function: count, filter: {field: phase, operator: equals}}",
       "some.yaml:12: spec.aggregations[0].filter.value: is required\n"},
      {"{resourceTypeName: pod}", "{}", "some.yaml:16: spec.rbac.resourceTypeName: is required\n"},
      {"  fields:", "  enabled: 'no'\n  fields:", "some.yaml:6: spec.enabled: is neither true nor false"},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.to) {
      CommandFixture f;
      const Folder folder;
      std::string text = kPods;
      text.replace(text.find(c.from), c.from.size(), c.to);
      const std::string file = folder.Write("some.yaml", text);
      CHECK(f.Execute({"metricsource", "check", file}) == 1);
      const std::string said = folder.Local(f.err.str());
      CAPTURE(said);
      CHECK(said.find(c.message) == 0);
      CHECK(std::count(said.begin(), said.end(), '\n') == 1);
      CHECK(folder.Local(f.out.str()).ends_with(": 1 error\n"));
      CHECK(f.Execute({"metricsource", "try", file}) == 1);
      CHECK(folder.Local(f.err.str()) == said);
      CHECK(f.kube.calls().empty());
    }
  }
}

TEST_CASE("what a server refuses is said with the rest, nothing twice") {
  CommandFixture f;
  const Folder folder;
  const std::string file = folder.Write("some.yaml", R"(apiVersion: clusterpulse.io/v1alpha1
kind: MetricSource
metadata: {name: pods}
spec:
  source: {apiVersion: v1, kind: Pod, scope: Namespace, namespaces: {include: [a, 1]}}
  fields:
    - {name: phase, path: .status.phase, type: text}
  aggregations:
    - {name: one, filter: {}}
    - {name: two, function: mean, field: phase}
  collection: {timeoutSeconds: 1, batchSize: many, parallelism: 100}
  rbac: {filterableFields: no}
)");
  CHECK(f.Execute({"metricsource", "check", file}) == 1);
  CHECK(folder.Local(f.err.str()) ==
        "some.yaml:5: spec.source.namespaces.include[1]: 1 is no text: quote it (\"1\")\n"
        "some.yaml:11: spec.collection.batchSize: \"many\" is no integer\n"
        "some.yaml:12: spec.rbac.filterableFields: is no list\n"
        "some.yaml:5: spec.source.scope: unknown scope \"Namespace\", did you mean \"Namespaced\"?\n"
        "some.yaml:7: spec.fields[0].type: unknown type \"text\"\n"
        "some.yaml:9: spec.aggregations[0].function: is required\n"
        "some.yaml:9: spec.aggregations[0].filter.field: is required\n"
        "some.yaml:9: spec.aggregations[0].filter.operator: is required\n"
        "some.yaml:10: spec.aggregations[1].function: unknown function \"mean\"\n"
        "some.yaml:11: warning: spec.collection.parallelism: 100 is not within 1..16; 16 is used\n"
        "some.yaml:9: spec.aggregations[0].filter.value: is required\n"
        "some.yaml:11: spec.collection.timeoutSeconds: 1 is less than 5, the least that is allowed\n"
        "some.yaml:12: spec.rbac.resourceTypeName: is required\n");
}

TEST_CASE("a source without all that it needs has an error for each") {
  CommandFixture f;
  const Folder folder;
  const std::string file = folder.Write(
      "some.yaml", "apiVersion: clusterpulse.io/v1alpha1\nkind: MetricSource\nmetadata: {name: x}\nspec: {}\n");
  CHECK(f.Execute({"metricsource", "check", file}) == 1);
  CHECK(
      folder.Local(f.err.str()) ==
      "some.yaml:4: spec.source.apiVersion: is required\n"
      "some.yaml:4: spec.source.kind: is required\n"
      "some.yaml:4: spec.fields: at least one field is required\n"
      "some.yaml:4: warning: spec.rbac.resourceTypeName: is absent: no policy can give access to what is collected\n");
}

TEST_CASE("members that are no objects are told as such") {
  CommandFixture f;
  const Folder folder;
  const std::string file =
      folder.Write("some.yaml", "apiVersion: clusterpulse.io/v1alpha1\nkind: MetricSource\nmetadata: x\nspec: [a]\n");
  CHECK(f.Execute({"metricsource", "check", file}) == 1);
  const std::string said = folder.Local(f.err.str());
  CHECK(said.find("some.yaml:3: metadata.name: is required\n") == 0);
  CHECK(said.find("some.yaml:4: spec: is no object\n") != std::string::npos);
  CHECK(said.find("some.yaml:3: metadata: is no object\n") != std::string::npos);
}

TEST_CASE("a long file is read once, however many problems it has") {
  CommandFixture f;
  const Folder folder;
  std::string text = kPods;
  std::string fields;
  for (int i = 0; i < 250; ++i) fields += fmt::format("    - {{name: f{}, path: .a, type: none}}\n", i);
  text.insert(text.find("  computed:"), fields);
  std::string comments;
  for (int i = 0; i < 20'000; ++i) comments += "    - {name: more, values: [a, b, c]}\n";
  text += "---\nkind: ConfigMap\ndata:\n" + comments;
  const std::string file = folder.Write("some.yaml", text);
  const auto begin = std::chrono::steady_clock::now();
  CHECK(f.Execute({"metricsource", "check", file}) == 1);
  // Once takes a fraction of a second; once for each problem, a minute.
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(8));
  const std::string said = folder.Local(f.err.str());
  CHECK(std::count(said.begin(), said.end(), '\n') == 201);
  CHECK(said.find("some.yaml:9: spec.fields[2].type: unknown type \"none\"\n") == 0);
}

TEST_CASE("words without end are not repeated") {
  CommandFixture f;
  const Folder folder;
  std::string text = kPods;
  text.replace(text.find("name: pods}"), 11,
               "name: " + std::string(100'000, 'A') + ", namespace: " + std::string(100'000, 'B') + "}");
  CHECK(f.Execute({"metricsource", "check", folder.Write("some.yaml", text)}) == 1);
  CHECK(f.err.str().size() + f.out.str().size() < 2000);
  CHECK(f.Execute({"metricsource", "check", folder.Write("some.yaml", "kind: " + std::string(100'000, 'A'))}) == 1);
  CHECK(f.err.str().size() < 300);
}

TEST_CASE("a source without a name is refused") {
  CommandFixture f;
  const Folder folder;
  const std::string file =
      folder.Write("some.yaml", "apiVersion: clusterpulse.io/v1alpha1\nkind: MetricSource\nspec: {}\n");
  CHECK(f.Execute({"metricsource", "check", file}) == 1);
  CHECK(folder.Local(f.err.str()).find("some.yaml:1: metadata.name: is required\n") == 0);
}

TEST_CASE("try shows rows, aggregations, how the fields fit, and what it cost") {
  CommandFixture f;
  const Folder folder;
  PutPod(f, "a", "x", R"({"phase":"Running","restarts":3})");
  PutPod(f, "a", "y", R"({"phase":"Failed","restarts":"many"})");
  PutPod(f, "b", "long", R"({"phase":"a phase with\nmore to say than fits into a cell of a table","restarts":1})");
  PutPod(f, "b", "ä", R"({"restarts":0})");
  const std::string file = folder.Write("pods.yaml", kPods);
  CHECK(f.Execute({"metricsource", "try", file, "--kubeconfig=/some/config", "--context", "staging"}) == 0);
  CHECK(f.kubeconfig == "/some/config");
  CHECK(f.context == "staging");
  CHECK(f.err.str().empty());
  CHECK(WithoutCosts(f.out.str()) ==
        "clusterpulse/pods: 4 rows of v1 Pod\n"
        "\n"
        "NAME   NAMESPACE   phase                                      restarts   twice\n"
        "x      a           Running                                    3          6\n"
        "y      a           Failed                                     -          -\n"
        "long   b           a phase with?more to say than fits in...   1          2\n"
        "ä      b           -                                          0          0\n"
        "\n"
        "AGGREGATION                                  VALUE\n"
        "total                                        4\n"
        "by_phase\n"
        "  Failed                                     1\n"
        "  Running                                    1\n"
        "  _unknown_                                  1\n"
        "  a phase with?more to say than fits in...   1\n"
        "most                                         3\n"
        "\n"
        "FIELD      MATCHED    EMPTY      WRONG TYPE\n"
        "phase      3 (75 %)   1 (25 %)   0 (0 %)\n"
        "restarts   3 (75 %)   0 (0 %)    1 (25 %)\n"
        "\n"
        "4 objects listed, N bytes, 2 API calls, N ms\n");
}

TEST_CASE("try as JSON has everything") {
  CommandFixture f;
  const Folder folder;
  PutPod(f, "a", "x", R"({"phase":"Running","restarts":3})");
  PutPod(f, "a", "y", R"({"phase":null,"restarts":"many"})");
  const std::string file = folder.Write("pods.yaml", kPods + "---\n" + kPods);
  CHECK(f.Execute({"metricsource", "try", "-o=json", file}) == 0);
  CHECK(f.err.str().empty());
  auto answer = json::Value::Parse(f.out.str());
  REQUIRE(answer.ok());
  REQUIRE((*answer)["sources"].items().size() == 2);
  json::Value source = (*answer)["sources"].items()[1];
  for (const char* differs : {"startedAt", "durationMs", "bytes", "hash", "file"}) {
    CHECK(source.Find(differs) != nullptr);
    source.Erase(differs);
  }
  const auto expected = json::Value::Parse(R"({
    "document":1,"namespace":"clusterpulse","name":"pods","valid":true,"diagnostics":[],
    "objects":2,"apiCalls":1,"errors":[],"resourceCount":2,"truncated":false,
    "fields":[{"field":"phase","matched":1,"missing":0,"null":1,"wrongType":0},
              {"field":"restarts","matched":1,"missing":0,"null":0,"wrongType":1}],
    "expressions":{"typeErrors":0,"budgetErrors":0},
    "aggregations":{"total":2,"by_phase":{"Running":1,"_unknown_":1},"most":3},
    "resources":[{"_id":"a/x","_namespace":"a","_name":"x","values":{"phase":"Running","restarts":3,"twice":6}},
                 {"_id":"a/y","_namespace":"a","_name":"y","values":{"phase":null,"restarts":null,"twice":null}}]})");
  REQUIRE(expected.ok());
  CHECK(source.Dump() == expected->Dump());
}

TEST_CASE("try looks at one namespace, and at so many objects") {
  CommandFixture f;
  const Folder folder;
  for (const char* ns : {"a", "b"}) {
    for (const char* name : {"x", "y", "z"}) PutPod(f, ns, name, R"({"restarts":1})");
  }
  const std::string file = folder.Write("pods.yaml", kPods);
  CHECK(f.Execute({"metricsource", "try", file, "-n", "b"}) == 0);
  CHECK(f.out.str().find("clusterpulse/pods: 3 rows of v1 Pod\n") == 0);
  CHECK(f.out.str().find("x      a ") == std::string::npos);
  CHECK(f.Execute({"metricsource", "try", file, "-n", "b", "--limit", "2"}) == 0);
  CHECK(f.out.str().find("clusterpulse/pods: 2 rows of v1 Pod; there are more, which are left out") == 0);
  CHECK(f.out.str().find("\ntotal         2\n") != std::string::npos);

  // A namespace that the source would not look at.
  std::string text = kPods + "  clusters: {names: [none]}\n  enabled: false\n";
  text.replace(text.find("kind: Pod}"), 10, "kind: Pod, namespaces: {exclude: [b]}}");
  const std::string other = folder.Write("other.yaml", text);
  CHECK(f.Execute({"metricsource", "try", other, "-n", "b"}) == 0);
  CHECK(f.out.str().find("clusterpulse/pods: 0 rows of v1 Pod\n") == 0);
  CHECK(f.err.str() == "warning: clusterpulse/pods does not take the namespace b: spec.source.namespaces\n");
  CHECK(f.Execute({"metricsource", "try", other}) == 0);
  CHECK(f.out.str().find("clusterpulse/pods: 3 rows of v1 Pod\n") == 0);
}

TEST_CASE("of many rows the table has the first, and with a limit all") {
  CommandFixture f;
  const Folder folder;
  for (int i = 0; i < 60; ++i) PutPod(f, "a", fmt::format("p{:02}", i), R"({"restarts":1})");
  const std::string file = folder.Write("pods.yaml", kPods);
  CHECK(f.Execute({"metricsource", "try", file}) == 0);
  CHECK(f.out.str().find("\np49 ") != std::string::npos);
  CHECK(f.out.str().find("\np50 ") == std::string::npos);
  CHECK(f.out.str().find("\n... and 10 more; --limit N shows N of them, -o json all\n") != std::string::npos);
  CHECK(f.Execute({"metricsource", "try", file, "--limit=55"}) == 0);
  CHECK(f.out.str().find("\np54 ") != std::string::npos);
  CHECK(f.out.str().find("... and") == std::string::npos);
}

TEST_CASE("a run that fails has its word on stderr, and exit code 1") {
  CommandFixture f;
  const Folder folder;
  PutPod(f, "a", "x", R"({"restarts":1})");
  const std::string file = folder.Write("pods.yaml", kPods);
  f.kube.FailNext(Verb::kList, "pods",
                  kube::ToStatus({.code = 403, .reason = "Forbidden", .message = "pods is forbidden"}));
  CHECK(f.Execute({"metricsource", "try", file}) == 1);
  CHECK(f.err.str().find("clusterpulse-hub: clusterpulse/pods: Forbidden: ") == 0);
  CHECK(f.err.str().find("pods is forbidden") != std::string::npos);
  CHECK(f.out.str().empty());

  // The next source is run all the same.
  const std::string both = folder.Write("both.yaml", kPods + "---\n" + kPods);
  f.kube.FailNext(Verb::kList, "pods", absl::PermissionDeniedError("no"));
  CHECK(f.Execute({"metricsource", "try", both, "-o", "json"}) == 1);
  const auto answer = json::Value::Parse(f.out.str());
  REQUIRE(answer.ok());
  const json::Value& sources = (*answer)["sources"];
  REQUIRE(sources.items().size() == 2);
  CHECK(sources.items()[0]["failure"].StringOr() == "Forbidden");
  CHECK(sources.items()[0]["message"].StringOr() == "no");
  CHECK(sources.items()[0]["resources"].IsNull());
  CHECK(sources.items()[1]["resourceCount"].IntOr() == 1);

  std::string text = kPods;
  text.replace(text.find("apiVersion: v1,"), 15, "apiVersion: example.org/v1,");
  const std::string unknown = folder.Write("unknown.yaml", text);
  CHECK(f.Execute({"metricsource", "try", unknown}) == 1);
  CHECK(f.err.str() ==
        "clusterpulse-hub: clusterpulse/pods: NotInstalled: the server does not serve Pod in example.org/v1\n");

  CHECK(f.Execute({"metricsource", "try", file, "--kubeconfig=/missing"}) == 1);
  CHECK(f.err.str() == "clusterpulse-hub: /missing: no such file\n");
}

TEST_CASE("a namespace that fails is said, and costs the exit code but no rows of others") {
  CommandFixture f;
  const Folder folder;
  PutPod(f, "a", "x", R"({"restarts":1})");
  PutPod(f, "b", "x", R"({"restarts":1})");
  std::string text = kPods;
  text.replace(text.find("kind: Pod}"), 10, "kind: Pod, namespaces: {include: [a, b]}}");
  text.replace(text.find("retryAttempts: 0"), 16, "retryAttempts: 0, parallelism: 1");
  const std::string file = folder.Write("pods.yaml", text);
  f.kube.FailNext(Verb::kList, "pods", absl::PermissionDeniedError("pods is forbidden"));
  CHECK(f.Execute({"metricsource", "try", file}) == 1);
  CHECK(f.err.str() == "clusterpulse-hub: clusterpulse/pods: namespace a: pods is forbidden\n");
  CHECK(f.out.str().find("clusterpulse/pods: 1 row of v1 Pod\n") == 0);
}

TEST_CASE("of many namespaces that fail the first are named, and the number of the others") {
  CommandFixture f;
  const Folder folder;
  std::string names;
  for (int i = 0; i < 14; ++i) names += fmt::format("{}n{:02}", i == 0 ? "" : ", ", i);
  PutPod(f, "n13", "x", "{}");
  std::string text = kPods;
  text.replace(text.find("kind: Pod}"), 10, fmt::format("kind: Pod, namespaces: {{include: [{}]}}}}", names));
  text.replace(text.find("retryAttempts: 0"), 16, "retryAttempts: 0, parallelism: 1");
  const std::string file = folder.Write("pods.yaml", text);
  f.kube.FailNext(Verb::kList, "pods", absl::PermissionDeniedError("no"), 13);
  CHECK(f.Execute({"metricsource", "try", file}) == 1);
  const std::string said = f.err.str();
  CHECK(std::count(said.begin(), said.end(), '\n') == 11);
  CHECK(said.find("clusterpulse-hub: clusterpulse/pods: namespace n09: no\n"
                  "clusterpulse-hub: clusterpulse/pods: 3 more namespaces failed; -o json has all\n") !=
        std::string::npos);
  CHECK(f.out.str().find("clusterpulse/pods: 1 row of v1 Pod\n") == 0);
}

TEST_CASE("nothing is run when a source has an error") {
  CommandFixture f;
  const Folder folder;
  const std::string file = folder.Write("some.yaml", kPods + "---\n" + kBroken);
  CHECK(f.Execute({"metricsource", "try", file}) == 1);
  CHECK(f.err.str().find("unknown function \"rond\", did you mean \"round\"?\n") != std::string::npos);
  CHECK(f.out.str().find(": hub/broken: 2 errors\n") != std::string::npos);
  CHECK(f.kube.calls().empty());
}

TEST_CASE("a signal ends a run") {
  CommandFixture f;
  const Folder folder;
  f.kube.Hold(Verb::kList, "pods");
  std::jthread stopper;
  int signals = 0;
  f.on_signals = [&](base::StopSignal& stop) {
    if (++signals == 1) return;  // while files are read
    stopper = std::jthread([&] {
      CHECK(f.kube.WaitForCalls(Verb::kList, "pods", 1));
      stop.RequestStop();
    });
  };
  CHECK(f.Execute({"metricsource", "try", folder.Write("pods.yaml", kPods)}) == 1);
  CHECK(f.err.str().find("clusterpulse-hub: clusterpulse/pods: Stopped: ") == 0);
}

TEST_CASE("a signal during the first of several runs is the last of them") {
  CommandFixture f;
  const Folder folder;
  f.kube.Hold(Verb::kList, "pods");
  std::jthread stopper;
  int signals = 0;
  f.on_signals = [&](base::StopSignal& stop) {
    if (++signals == 1) return;
    stopper = std::jthread([&] {
      CHECK(f.kube.WaitForCalls(Verb::kList, "pods", 1));
      stop.RequestStop();
    });
  };
  CHECK(f.Execute({"metricsource", "try", "-o=json", folder.Write("two.yaml", kPods + "---\n" + kPods)}) == 1);
  CHECK(f.kube.Count(Verb::kList, "pods") == 1);
  const auto answer = json::Value::Parse(f.out.str());
  REQUIRE(answer.ok());
  REQUIRE((*answer)["sources"].items().size() == 1);
  CHECK((*answer)["sources"].items()[0]["failure"].StringOr() == "Stopped");
}

// Takes nothing, as a full disk.
struct NoSpace final : std::streambuf {
  int overflow(int) override {
    errno = ENOSPC;
    return traits_type::eof();
  }
  std::streamsize xsputn(const char*, std::streamsize) override {
    errno = ENOSPC;
    return 0;
  }
};

TEST_CASE("an answer that cannot be written is an error, and nothing more is run for it") {
  CommandFixture f;
  const Folder folder;
  PutPod(f, "a", "x", "{}");
  const std::string file = folder.Write("two.yaml", kPods + "---\n" + kPods);
  NoSpace full;
  std::streambuf* const usual = f.out.std::ios::rdbuf(&full);
  for (const std::vector<std::string>& args : std::vector<std::vector<std::string>>{
           {"check", file}, {"check", "-o=json", file}, {"try", file}, {"try", "-o=json", file}, {"try", "--help"}}) {
    CAPTURE(args);
    std::vector<std::string> all = {"metricsource"};
    all.insert(all.end(), args.begin(), args.end());
    f.kube.ClearCalls();
    f.out.clear();
    CHECK(f.Execute(all) == 1);
    CHECK(f.err.str() == "clusterpulse-hub: standard output: cannot be written: No space left on device\n");
    CHECK(f.kube.Count(Verb::kList, "pods") == (args[0] == "check" || args[1] == "--help" ? 0
                                                : args[1] == file                         ? 1
                                                                                          : 2));
  }
  f.out.clear();
  f.out.std::ios::rdbuf(usual);
}

TEST_CASE("what is wrong with the command line is said in one line, exit code 2") {
  struct Case {
    std::vector<std::string> args;
    std::string message;
  };
  const std::vector<Case> cases = {
      {{}, "usage: clusterpulse-hub metricsource check|try FILE... [flags]"},
      {{"chekc", "x"}, "usage: clusterpulse-hub metricsource check|try FILE... [flags]"},
      {{"check"}, "usage: clusterpulse-hub metricsource check FILE... [flags]"},
      {{"try"}, "usage: clusterpulse-hub metricsource try FILE... [flags]"},
      {{"check", "x", "--namespace=a b"}, "--namespace=\"a b\": allowed is the name of a namespace"},
      {{"try", "x", "-n", "a/b"}, "--namespace=\"a/b\": allowed is the name of a namespace"},
      {{"try", "x", "-o", "foo"}, "--output=\"foo\": allowed is one of table, json"},
      {{"check", "x", "-o", "table"}, "--output=\"table\": allowed is one of text, json"},
      {{"try", "x", "--limit", "0"}, "--limit=\"0\": allowed is a whole number from 1 to 1000000000"},
      {{"try", "x", "--limit", "-1"}, "--limit=\"-1\": allowed is a whole number from 1 to 1000000000"},
      {{"try", "x", "--limit", "99999999999"},
       "--limit=\"99999999999\": allowed is a whole number from 1 to 1000000000"},
      {{"try", "x", "--limit"}, "--limit needs a value"},
      {{"try", "x", "--colour"}, "unknown flag --colour; --help lists all"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.message);
    CommandFixture f;
    std::vector<std::string> args = {"metricsource"};
    args.insert(args.end(), c.args.begin(), c.args.end());
    CHECK(f.Execute(args) == 2);
    CHECK(f.err.str() == "clusterpulse-hub: " + c.message + "\n");
    CHECK(f.out.str().empty());
  }
}

TEST_CASE("help names the exit codes, and the version is no reason to look at files") {
  CommandFixture f;
  for (const std::vector<std::string>& args : std::vector<std::vector<std::string>>{
           {"metricsource", "--help"}, {"metricsource", "check", "--help"}, {"metricsource", "try", "-h"}}) {
    CHECK(f.Execute(args) == 0);
    CHECK(f.out.str().find("xit code") != std::string::npos);
    CHECK(f.out.str().find("2") != std::string::npos);
    CHECK(f.err.str().empty());
  }
  for (const char* command : {"check", "try"}) {
    CHECK(f.Execute({"metricsource", command, "/none/such.yaml", "--version"}) == 0);
    CHECK(f.out.str().find("clusterpulse-hub ") == 0);
    CHECK(f.err.str().empty());
  }
}

TEST_CASE("a namespace of a kind that has none does not count, which is said") {
  CommandFixture f;
  const Folder folder;
  const auto node = json::Value::Parse(R"({"metadata":{"name":"n"}})");
  REQUIRE(node.ok());
  REQUIRE(f.kube.store().Put(kube::kNodes, *node).ok());
  std::string text = kPods;
  text.replace(text.find("kind: Pod}"), 10, "kind: Node}");
  CHECK(f.Execute({"metricsource", "try", folder.Write("nodes.yaml", text), "-n", "a"}) == 0);
  CHECK(f.out.str().find("clusterpulse/pods: 1 row of v1 Node\n") == 0);
  CHECK(f.err.str() == "warning: clusterpulse/pods: Node has no namespaces; --namespace does not count\n");
}

TEST_CASE("a run that gets no further says so now and then") {
  base::Mutex mu;
  base::CondVar changed;
  std::vector<std::string> lines;
  const auto begin = std::chrono::steady_clock::now();
  {
    TrialProgress progress("hub/pods", {.first = std::chrono::milliseconds(20),
                                        .every = std::chrono::milliseconds(20),
                                        .print = [&](const std::string& line) {
                                          base::MutexLock lock(mu);
                                          lines.push_back(line);
                                          changed.NotifyAll();
                                        }});
    base::MutexLock lock(mu);
    while (lines.size() < 3) changed.Wait(mu);
  }
  // The first, the eleventh, the twenty-first.
  CHECK(std::chrono::steady_clock::now() - begin >= std::chrono::milliseconds(21 * 20));
}

TEST_CASE("a run that takes long says how far it is") {
  base::Mutex mu;
  base::CondVar changed;
  std::vector<std::string> lines;
  {
    TrialProgress progress("hub/pods", {.first = std::chrono::milliseconds(1),
                                        .every = std::chrono::milliseconds(1),
                                        .print = [&](const std::string& line) {
                                          base::MutexLock lock(mu);
                                          lines.push_back(line);
                                          changed.NotifyAll();
                                        }});
    progress.Update({.objects = 500, .bytes = 123456, .calls = 1});
    base::MutexLock lock(mu);
    const auto is_told = [&] {
      return !lines.empty() && lines.back().find("hub/pods: 500 objects listed, 123456 bytes, 1 API call after ") == 0;
    };
    while (!is_told()) changed.Wait(mu);
  }
  // Its end ends the lines. None comes before `first`.
  const std::size_t count = lines.size();
  {
    TrialProgress quiet("hub/pods", {.first = std::chrono::hours(1), .print = [&](const std::string&) { FAIL(); }});
  }
  CHECK(lines.size() == count);
}

}  // namespace
}  // namespace clusterpulse::app
