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

}  // namespace
}  // namespace clusterpulse::app
