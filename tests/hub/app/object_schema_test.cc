#include "hub/app/object_schema.h"

#include <catch2/catch.hpp>

#include "hub/app/yaml.h"

namespace clusterpulse::app {
namespace {

json::Value Yaml(const std::string& text) {
  const auto documents = YamlToJson(text);
  CAPTURE(text, documents.status());
  REQUIRE(documents.ok());
  return documents->empty() ? json::Value() : documents->front();
}

// What is wrong, a line each.
std::string Judge(const json::Value& schema, const json::Value& value) {
  metricsource::Diagnostics diagnostics;
  ValidateBySchema(schema, value, "spec", diagnostics);
  return diagnostics.Summary();
}

TEST_CASE("each keyword judges what a server judges by it") {
  struct Case {
    const char *schema, *value, *errors;
  };
  const std::vector<Case> cases = {
      {"{type: string}", "a", ""},
      {"{type: string}", "12", "spec: 12 is no text"},
      {"{type: string}", "[a]", "spec: [\"a\"] is no text"},
      {"{type: integer}", "12", ""},
      {"{type: integer}", "12.0", ""},
      {"{type: integer}", "12.5", "spec: 12.5 is no integer"},
      {"{type: integer}", "\"12\"", "spec: \"12\" is no integer"},
      {"{type: number}", "12.5", ""},
      {"{type: number}", "a", "spec: \"a\" is no number"},
      {"{type: boolean}", "true", ""},
      {"{type: boolean}", "\"true\"", "spec: \"true\" is neither true nor false"},
      {"{type: array}", "{}", "spec: is no list"},
      {"{type: object}", "[]", "spec: is no object"},
      {"{x-kubernetes-int-or-string: true}", "12", ""},
      {"{x-kubernetes-int-or-string: true}", "a", ""},
      {"{x-kubernetes-int-or-string: true}", "true", "spec: true is neither an integer nor a text"},
      {"{type: string, enum: [ab, cd]}", "cd", ""},
      {"{type: string, enum: [Active, Paused]}", "active",
       "spec: \"active\" is none of Active, Paused, did you mean \"Active\"?"},
      {"{type: integer, minimum: 30}", "30", ""},
      {"{type: integer, minimum: 30}", "29", "spec: 29 is less than 30, the least that is allowed"},
      {"{type: number, maximum: 1.5}", "1.5", ""},
      {"{type: number, maximum: 1.5}", "1.6", "spec: 1.6 is more than 1.5, the most that is allowed"},
      {"{type: integer, format: int32}", "2147483647", ""},
      {"{type: integer, format: int32}", "2147483648", "spec: 2147483648 is no number of 32 bits"},
      {"{type: integer, format: int64}", "2147483648", ""},
      {"{type: string, minLength: 2}", "äö", ""},
      {"{type: string, minLength: 2}", "ä", "spec: has 1 character, fewer than 2"},
      {"{type: string, maxLength: 2}", "äö", ""},
      {"{type: string, maxLength: 2}", "abc", "spec: has 3 characters, more than 2"},
      {"{type: array, minItems: 1}", "[]", "spec: has 0 items, fewer than 1"},
      {"{type: array, maxItems: 1}", "[1, 2]", "spec: has 2 items, more than 1"},
      {"{type: string, pattern: '^[a-z]+$'}", "abc", ""},
      {"{type: string, pattern: '[a-z]'}", "1a2", ""},
      {"{type: string, pattern: '^[a-z]+$'}", "a1", "spec: \"a1\" does not match ^[a-z]+$"},
      {"{type: array, items: {type: string}}", "[a, 1, ~]", "spec[1]: 1 is no text\nspec[2]: null is no text"},
      {"{type: object, additionalProperties: {type: string}}", "{a: b, c: 1}", "spec[c]: 1 is no text"},
      {"{type: object, additionalProperties: true}", "{a: b, c: 1}", ""},
      {"{type: object, required: [a, b], properties: {a: {type: string}, b: {type: string}}}", "{b: x}",
       "spec.a: is required"},
      {"{type: object, required: [a], properties: {a: {type: string}}}", "{a: ~}", "spec.a: is required"},
      {"{type: object, required: [a], properties: {a: {type: string, default: x}}}", "{}", ""},
      {"{type: object, required: [a], properties: {a: {type: string, nullable: true}}}", "{a: ~}", ""},
      {"{type: object, properties: {a: {type: string}}}", "{a: ~, more: 1}", ""},
      {"{type: object, properties: {a: {type: object, properties: {b: {type: integer}}}}}", "{a: {b: x}}",
       "spec.a.b: \"x\" is no integer"},
      {"{type: object, x-kubernetes-preserve-unknown-fields: true}", "{a: 1}", ""},
  };
  for (const Case& c : cases) {
    CAPTURE(c.schema, c.value);
    CHECK(Judge(Yaml(c.schema), Yaml(c.value)) == c.errors);
    CHECK(UnknownKeywords(Yaml(c.schema), "spec") == std::vector<std::string>());
  }
}

TEST_CASE("all that the definition of MetricSource asks for is judged") {
  const auto schema = EmbeddedSpecSchema("MetricSource");
  CAPTURE(schema.status());
  REQUIRE(schema.ok());
  CHECK(UnknownKeywords(*schema, "spec") == std::vector<std::string>());
  CHECK(Judge(*schema, Yaml("{}")) == "spec.source: is required\nspec.fields: is required");
  CHECK(EmbeddedSpecSchema("Pod").status().code() == absl::StatusCode::kInternal);
}

TEST_CASE("a keyword that is not judged is found, wherever it stands") {
  const json::Value schema = Yaml(
      "type: object\n"
      "maxProperties: 3\n"
      "properties:\n"
      "  a: {type: integer, multipleOf: 5}\n"
      "  b: {type: array, uniqueItems: true, items: {type: string, format: date-time}}\n"
      "  c: {type: object, additionalProperties: {type: object, x-kubernetes-validations: []}}\n"
      "  d: {type: array, x-kubernetes-list-type: set, items: {type: string}}\n"
      "  e: {type: array, x-kubernetes-list-type: atomic, items: {type: string, pattern: '(?!a)'}}\n"
      "  description: {type: string, description: a member with the name of a keyword}\n");
  CHECK(UnknownKeywords(schema, "spec") ==
        std::vector<std::string>{"spec: maxProperties", "spec.a: multipleOf", "spec.b: uniqueItems", "spec.b[]: format",
                                 "spec.c[]: x-kubernetes-validations", "spec.d: x-kubernetes-list-type",
                                 "spec.e[]: pattern"});
}

TEST_CASE("what stands in a message has an end") {
  metricsource::Diagnostics diagnostics;
  std::string word;
  for (int i = 0; i < 100'000; ++i) word += "ä";
  ValidateBySchema(Yaml("{type: integer}"), json::Value(word), "spec", diagnostics);
  json::Value object;
  object.Mutable(word) = 1;
  ValidateBySchema(Yaml("{type: object, additionalProperties: {type: string}}"), object, "spec", diagnostics);
  CHECK(diagnostics.Summary().size() < 300);
}

}  // namespace
}  // namespace clusterpulse::app
