#include "hub/app/yaml.h"

#include <catch2/catch.hpp>

namespace clusterpulse::app {
namespace {

TEST_CASE("YAML becomes the JSON an API server would make of it") {
  struct Case {
    std::string yaml, json;
  };
  const std::vector<Case> cases = {
      {"a: 1\nb: -2.5\nc: true\nd: False\ne: null\nf: ~\ng:",
       R"({"a":1,"b":-2.5,"c":true,"d":false,"e":null,"f":null,"g":null})"},
      {"a: \"1\"\nb: 'true'\nc: \"\"", R"({"a":"1","b":"true","c":""})"},
      {"a: yes\nb: v1.20\nc: 10Gi\nd: .status.phase", R"({"a":"yes","b":"v1.20","c":"10Gi","d":".status.phase"})"},
      {"a: {}\nb: []\nc: [x, 2]\nd: {type: string}", R"({"a":{},"b":[],"c":["x",2],"d":{"type":"string"}})"},
      {"a: >-\n  two\n  lines\nb: |\n  kept\n", R"({"a":"two lines","b":"kept\n"})"},
      {"1: x\ntrue: y", R"({"1":"x","true":"y"})"},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.yaml) {
      const auto documents = YamlToJson(c.yaml);
      REQUIRE(documents.ok());
      REQUIRE(documents->size() == 1);
      CHECK((*documents)[0].Dump() == c.json);
    }
  }
}

TEST_CASE("each document of a YAML text is one value, empty ones are left out") {
  const auto documents = YamlToJson("---\na: 1\n---\n# nothing\n---\nb: 2\n");
  REQUIRE(documents.ok());
  REQUIRE(documents->size() == 2);
  CHECK((*documents)[1].Dump() == R"({"b":2})");
}

TEST_CASE("broken YAML is refused with its place") {
  const auto documents = YamlToJson("a: 1\nb: [1, 2\n");
  REQUIRE(documents.status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(std::string(documents.status().message()).find("line ") != std::string::npos);
}

TEST_CASE("what no manifest has is refused") {
  std::string deep, aliases = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 0; i < 102; ++i) deep += "[";
  for (int i = 1; i < 8; ++i) {
    aliases += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int k = 0; k < 10; ++k) aliases += (k == 0 ? "*a" : ", *a") + std::to_string(i - 1);
    aliases += "]\n";
  }
  struct Case {
    const char* name;
    std::string yaml, message;
  };
  const std::vector<Case> cases = {
      {"a member twice", "a: 1\nb: 2\na: 3\n", "reading YAML: line 3, column 1: \"a\" is there twice"},
      {"a list that holds itself", "a: &a [*a]\n", "nested deeper than 100"},
      {"a member that holds its object", "&a\nb: *a\n", "nested deeper than 100"},
      {"very deep", deep + "1" + std::string(102, ']'), "nested deeper than 100"},
      {"a short text that means much", aliases, "more than 2000000 values"},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      const auto documents = YamlToJson(c.yaml);
      REQUIRE(documents.status().code() == absl::StatusCode::kInvalidArgument);
      CAPTURE(documents.status());
      CHECK(std::string(documents.status().message()).find(c.message) != std::string::npos);
    }
  }
  const auto aliased = YamlToJson("a: &a {x: 1}\nb: *a\n");
  REQUIRE(aliased.ok());
  CHECK((*aliased)[0].Dump() == R"({"a":{"x":1},"b":{"x":1}})");
}

TEST_CASE("the line of a value, or of the nearest above it") {
  const std::string text =
      "# a comment\n"          // 1
      "---\n"                  // 2
      "a: 1\n"                 // 3
      "---\n"                  // 4
      "# an empty document\n"  // 5
      "---\n"                  // 6
      "metadata:\n"            // 7
      "  name: x\n"            // 8
      "spec:\n"                // 9
      "  fields:\n"            // 10
      "    - name: a\n"        // 11
      "      path: .b\n"       // 12
      "    - name: b\n"        // 13
      "      path: >-\n"       // 14
      "        .c\n"           // 15
      "    - [x, {y: 1}]\n";   // 16
  struct Case {
    std::size_t document;
    const char* path;
    int line;
  };
  const std::vector<Case> cases = {
      {0, "a", 3},
      {0, "", 3},
      {0, "b.c", 3},
      {1, "metadata.name", 8},
      {1, "metadata.namespace", 8},  // of the object
      {1, "spec.fields[0]", 11},
      {1, "spec.fields[0].name", 11},
      {1, "spec.fields[0].path", 12},
      {1, "spec.fields[0].type", 11},
      {1, "spec.fields[1].path", 14},
      {1, "spec.fields[2][0]", 16},
      {1, "spec.fields[2][1].y", 16},
      {1, "spec.fields[7].path", 11},
      {1, "spec.fields[", 11},
      {1, "spec.fields[0].name.more[3]", 11},
      {1, "rbac.resourceTypeName", 7},
      {2, "a", 0},
  };
  for (const Case& c : cases) {
    CAPTURE(c.document, c.path);
    CHECK(YamlLine(text, c.document, c.path) == c.line);
  }
  CHECK(YamlLine("a: [1,", 0, "a") == 0);
}

}  // namespace
}  // namespace clusterpulse::app
