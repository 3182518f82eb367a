#include "hub/app/yaml.h"

#include <catch2/catch.hpp>

#include "common/base/status.h"
#include "common/base/utf8.h"

namespace clusterpulse::app {
namespace {

TEST_CASE("YAML becomes the JSON that kubectl makes of it") {
  struct Case {
    std::string yaml, json;
  };
  const std::vector<Case> cases = {
      {"a: 1\nb: -2.5\nc: true\nd: False\ne: null\nf: ~\ng:",
       R"({"a":1,"b":-2.5,"c":true,"d":false,"e":null,"f":null,"g":null})"},
      {"a: \"1\"\nb: 'true'\nc: \"\"", R"({"a":"1","b":"true","c":""})"},
      {"a: yes\nb: v1.20\nc: 10Gi\nd: .status.phase", R"({"a":true,"b":"v1.20","c":"10Gi","d":".status.phase"})"},
      {"a: {}\nb: []\nc: [x, 2]\nd: {type: string}", R"({"a":{},"b":[],"c":["x",2],"d":{"type":"string"}})"},
      {"a: >-\n  two\n  lines\nb: |\n  kept\n", R"({"a":"two lines","b":"kept\n"})"},
      {"a :\nb: # c\n? c\n\"d\":\ne:\t\nf: {x, z: }\n!!str g:\n",
       R"({"a":null,"b":null,"c":null,"d":null,"e":null,"f":{"x":null,"z":null},"g":null})"},
      {R"("\N": "a\_b")",
       "{\"\xC2\x85\":\"a\xC2\xA0"
       "b\"}"},
      {"a: |\n  no end\n  of line", R"({"a":"no end\nof line"})"},
      {"a: |+\n  kept\n\n", R"({"a":"kept\n\n"})"},
      {"1: x\ntrue: z", R"({"1":"x","true":"z"})"},
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

// What `kubectl annotate --local -o json` of version 1.32 makes of `v: VALUE`.
TEST_CASE("plain scalars are what they are for kubectl") {
  struct Case {
    std::string value, json;
  };
  const std::vector<Case> cases = {
      {"y", "true"},
      {"Y", "true"},
      {"yes", "true"},
      {"Yes", "true"},
      {"YES", "true"},
      {"yES", R"("yES")"},
      {"on", "true"},
      {"On", "true"},
      {"ON", "true"},
      {"oN", R"("oN")"},
      {"true", "true"},
      {"TRUE", "true"},
      {"tRUE", R"("tRUE")"},
      {"n", "false"},
      {"N", "false"},
      {"no", "false"},
      {"No", "false"},
      {"NO", "false"},
      {"off", "false"},
      {"Off", "false"},
      {"OFF", "false"},
      {"False", "false"},
      {"~", "null"},
      {"null", "null"},
      {"Null", "null"},
      {"NULL", "null"},
      {"nULL", R"("nULL")"},
      {"\"\"", R"("")"},
      {"0", "0"},
      {"-0", "0"},
      {"+12", "12"},
      {"017", "15"},
      {"-017", "-15"},
      {"08", "8"},
      {"019", "19"},
      {"0o17", "15"},
      {"0O17", "15"},
      {"-0o17", "-15"},
      {"0o8", R"("0o8")"},
      {"0o", R"("0o")"},
      {"0x1F", "31"},
      {"0X1f", "31"},
      {"-0x1f", "-31"},
      {"0x", R"("0x")"},
      {"0x-1", R"("0x-1")"},
      {"00x1", R"("00x1")"},
      {"0x_1", "1"},
      {"0b11", "3"},
      {"-0b11", "-3"},
      {"0b2", R"("0b2")"},
      {"1_000", "1000"},
      {"1__0", "10"},
      {"1_", "1"},
      {"_1", R"("_1")"},
      {"+-1", R"("+-1")"},
      {"9223372036854775807", "9223372036854775807"},
      {"-9223372036854775808", "-9223372036854775808"},
      {"0xFFFFFFFFFFFFFFFFF", R"("0xFFFFFFFFFFFFFFFFF")"},
      {"1.", "1"},
      {"1.0", "1"},
      {"-0.0", "0"},
      {".5", "0.5"},
      {"-.5", "-0.5"},
      {"+.5", "0.5"},
      {".5_0", "0.5"},
      {"1_0.5", "10.5"},
      {"1e3", "1000"},
      {"1E3", "1000"},
      {"1e+3", "1000"},
      {"1e-3", "0.001"},
      {"1e18", "1000000000000000000"},
      {"1e400", R"("1e400")"},
      {"1e-400", "0"},
      {"1e", R"("1e")"},
      {"0x1p3", R"("0x1p3")"},
      {"nan", R"("nan")"},
      {"inf", R"("inf")"},
      {"+inf", R"("+inf")"},
      {".", R"(".")"},
      {"-.", R"("-.")"},
      {"+", R"("+")"},
      {".e3", R"(".e3")"},
      {"1.2.3", R"("1.2.3")"},
      {"1:30", R"("1:30")"},
      {"2020-01-01", R"("2020-01-01")"},
      {"2020-01-01T00:00:00Z", R"("2020-01-01T00:00:00Z")"},
      {"<<", R"("\u003c\u003c")"},
      {"!!str yes", R"("yes")"},
      {"!!str", R"("")"},
      {"!!int 017", "15"},
      {"!!int \"12\"", "12"},
      {"!!float 12", "12"},
      {"!!float \"1.5\"", "1.5"},
      {"!!bool yes", "true"},
      {"!!timestamp 2020-01-01", R"("2020-01-01")"},
      {"!foo 12", R"("12")"},
      {"! yes", R"("yes")"},
      {"!<tag:yaml.org,2002:int> 12", "12"},
      {"!!set {a, b}", R"({"a":null,"b":null})"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.value);
    const auto documents = YamlToJson("v: " + c.value + "\n");
    CAPTURE(documents.status());
    REQUIRE(documents.ok());
    REQUIRE(documents->size() == 1);
    CHECK((*documents)[0]["v"].Dump() == c.json);
  }
  // Numbers that no integer holds.
  for (const auto& [text, number] :
       std::vector<std::pair<std::string, double>>{{"12345678901234567890", 1.2345678901234567e19},
                                                   {"0xFFFFFFFFFFFFFFFF", 18446744073709551615.0},
                                                   {"-9223372036854775809", -9223372036854775809.0},
                                                   {"1e21", 1e21}}) {
    CAPTURE(text);
    const auto documents = YamlToJson("v: " + text);
    REQUIRE(documents.ok());
    CHECK((*documents)[0]["v"] == json::Value(number));
  }
}

TEST_CASE("keys become texts as kubectl makes them") {
  const auto documents = YamlToJson(
      "{1.5: a, 1e6: b, 1e3: c, 0x1F: d, .inf: e, 2020-01-01: f, 1.1: g, 0.1: h, 1234567.5: i, 1e-5: j, 017: k, -0: l, "
      "1.0: m, n: o, \"y\": p, !!str no: q}");
  REQUIRE(documents.ok());
  CHECK((*documents)[0].Dump() ==
        R"({".inf":"e","0":"l","0.1":"h","1":"m","1.1":"g","1.2345675e+06":"i","1.5":"a","1000":"c","15":"k",)"
        R"("1e+06":"b","1e-05":"j","2020-01-01":"f","31":"d","false":"o","no":"q","y":"p"})");
}

TEST_CASE("merge keys are followed, and an object's own members win") {
  struct Case {
    std::string yaml, json;
  };
  const std::string bases = "{b: &b {x: 1, z: 2}, c: &c {z: 3, w: 4}, s: ";
  const std::vector<Case> cases = {
      {"{<<: *b, z: 7}}", R"({"x":1,"z":7})"},
      {"{v: 7, <<: *b}}", R"({"v":7,"x":1,"z":2})"},
      {"{<<: [*b, *c], x: 9}}", R"({"w":4,"x":9,"z":2})"},
      {"{<<: {<<: *b, q: 1}}}", R"({"q":1,"x":1,"z":2})"},
      {"{<<: []}}", "{}"},
      {"{\"<<\": *b}}", R"({"\u003c\u003c":{"x":1,"z":2}})"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.yaml);
    const auto documents = YamlToJson(bases + c.yaml);
    CAPTURE(documents.status());
    REQUIRE(documents.ok());
    CHECK((*documents)[0]["s"].Dump() == c.json);
  }
}

TEST_CASE("each document of a YAML text is one value, empty ones are left out") {
  const auto documents = YamlToJson("---\na: 1\n---\n# nothing\n---\nb: 2\n");
  REQUIRE(documents.ok());
  REQUIRE(documents->size() == 2);
  CHECK((*documents)[1].Dump() == R"({"b":2})");
}

TEST_CASE("what is wrong is said in text") {
  const auto documents = YamlToJson("a: \"\\\xC3\xA4\"");  // the half of a character in what the parser says
  REQUIRE(documents.status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(base::IsUtf8(base::Message(documents.status())));
  std::string key = "x";
  for (int i = 0; i < 100; ++i) key += "\xC3\xA4";
  const auto twice = YamlToJson(key + ": 1\n" + key + ": 2\n");
  REQUIRE(twice.status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(base::IsUtf8(base::Message(twice.status())));
}

TEST_CASE("documents follow each other by --- and objects of JSON by themselves") {
  struct Case {
    const char* text;
    std::size_t count;
  };
  for (const Case& c : std::vector<Case>{{"a: 1\n--- {b: 2}\n---\n", 2},
                                         {"%YAML 1.1\n---\na: 1\n...\n---\nb: 2\n...\n", 2},
                                         {"{\"a\": 1}\n{\"b\": 2}{\"c\": 3}\n", 3},
                                         {"{a: 1}\n---\nb: 2\n", 2},
                                         {"\xEF\xBB\xBF"
                                          "a: 1\n---\nb: 2\n",
                                          2},
                                         {"a: 1\r\n---\r\nb: 2\r\n", 2},
                                         {"# none\n", 0}}) {
    CAPTURE(c.text);
    const auto documents = YamlToJson(c.text);
    CAPTURE(documents.status());
    REQUIRE(documents.ok());
    CHECK(documents->size() == c.count);
  }
}

TEST_CASE("broken YAML is refused with its place") {
  const auto documents = YamlToJson("a: 1\nb: [1, 2\n");
  REQUIRE(documents.status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(std::string(documents.status().message()).find("line ") != std::string::npos);
}

TEST_CASE("what no manifest has is refused") {
  std::string deep, merges = "a0: &a0 {x: [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]}\n",
                    aliases = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 0; i < 102; ++i) deep += "[";
  for (int i = 1; i < 8; ++i) {
    aliases += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int k = 0; k < 10; ++k) aliases += (k == 0 ? "*a" : ", *a") + std::to_string(i - 1);
    aliases += "]\n";
  }
  for (int i = 1; i < 8; ++i) {
    merges += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " {<<: [";
    for (int k = 0; k < 10; ++k) merges += (k == 0 ? "*a" : ", *a") + std::to_string(i - 1);
    merges += "]}\n";
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
      {"beyond what the parser takes", std::string(3000, '['), "nested deeper than 100"},
      {"a short text that means much", aliases, "more than 2000000 values"},
      {"and by merging", merges, "more than 2000000 values"},
      {"an object that merges itself", "a: &a {<<: *a}", "nested deeper than 100"},
      {"two members by merging", "a: {x: 1, <<: {x: 2}}", "line 1, column 11: \"x\" is there twice: before <<"},
      {"<< twice", "a: {<<: {x: 1}, <<: {y: 2}}", "line 1, column 17: \"<<\" is there twice"},
      {"<< of a number", "a:\n  <<: 1", "line 2, column 3: << takes an object or a list of objects"},
      {"<< of null", "a: {<<: ~}", "<< takes an object or a list of objects"},
      {"<< of lists", "a: {<<: [[{x: 1}]]}", "<< takes an object or a list of objects"},
      {"keys with one text", "1: a\n\"1\": b", "line 2, column 1: \"1\" is there twice"},
      {"a list as a key", "a: 1\n? [x]\n: b", "line 2, column 3: a key that is a list"},
      {"an object as a key", "? {x: y}\n: b", "line 1, column 3: a key that is an object"},
      {"null as a key", "a: 1\n~: b", "line 2, column 1: a key that is null"},
      {"no number", "a: .NaN", "line 1, column 4: .NaN is no number that JSON has"},
      {"no end of numbers", "a: [-.inf]", "line 1, column 5: -.inf is no number that JSON has"},
      {"a tag that does not fit", "a: !!int 1.5", "line 1, column 4: \"1.5\" is no !!int"},
      {"a null that is something", "a: !!null x", "\"x\" is no !!null"},
      {"bytes", "a: !!binary aGVsbG8=", "a value of !!binary"},
      {"a quote that stays open", "c: 1\na: \"x\nb: 1\n", "line 4, column 1: a quote in or after line 2 is not closed"},
      {"a single one", "a: 'x\n  \n", "a quote in or after line 1 is not closed"},
      {"one at the very end", "a: 'x", "a quote in or after line 1 is not closed"},
      {"one at the end of a document", "a: 'x\n---\nb: 1\n", "a quote in or after line 1 is not closed"},
      {"a key without a colon", "a:\n  b: 1\n  c d\n", "line 3, column 3: \"c d\" has no \":\" behind it"},
      {"text after an object", "{a: 1} foo", "line 1, column 8: text after the end of the document"},
      {"text on the next line", "{a: 1}\n# a comment\nfoo\n", "line 3, column 1: text after the end of the document"},
      {"text after a text", "\"a\" b", "line 1, column 5: text after the end of the document"},
      {"an object after a list", "[a]\n{b: 1}\n", "line 2, column 1: text after the end of the document"},
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
  const auto yaml = YamlText::Parse(text);
  REQUIRE(yaml.ok());
  for (const Case& c : cases) {
    CAPTURE(c.document, c.path);
    CHECK(yaml->Line(c.document, c.path) == c.line);
  }
}

TEST_CASE("the line of members with dots, without a value, and merged ones") {
  const std::string text =
      "base: &base\n"             // 1
      "  x: 1\n"                  // 2
      "labels:\n"                 // 3
      "  app: a\n"                // 4
      "  app.example.org/x: b\n"  // 5
      "  none:\n"                 // 6
      "\n"                        // 7
      "merged:\n"                 // 8
      "  <<: [{z: 1}, *base]\n"   // 9
      "  on: 1\n";                // 10
  const auto yaml = YamlText::Parse(text);
  REQUIRE(yaml.ok());
  CHECK(yaml->Line(0, "labels.app") == 4);
  CHECK(yaml->Line(0, "labels.app.example.org/x") == 5);
  CHECK(yaml->Line(0, "labels[app.example.org/x]") == 5);
  CHECK(yaml->Line(0, "labels[app") == 4);
  CHECK(yaml->Line(0, "labels.none") == 6);
  CHECK(yaml->Line(0, "merged.x") == 2);
  CHECK(yaml->Line(0, "merged.z") == 9);
  CHECK(yaml->Line(0, "merged.true") == 10);
}

TEST_CASE("what quotes would make a text is told as it stands there") {
  const auto yaml = YamlText::Parse("a: n\nb: \"n\"\nc: 0x1F\nd: text\ne: ~\nf: [off]\n---\na: 1.50\n");
  REQUIRE(yaml.ok());
  CHECK(yaml->Unquoted(0, "a") == "n");
  CHECK(yaml->Unquoted(0, "b") == std::nullopt);
  CHECK(yaml->Unquoted(0, "c") == "0x1F");
  CHECK(yaml->Unquoted(0, "d") == std::nullopt);
  CHECK(yaml->Unquoted(0, "e") == std::nullopt);
  CHECK(yaml->Unquoted(0, "f") == std::nullopt);
  CHECK(yaml->Unquoted(0, "f[0]") == "off");
  CHECK(yaml->Unquoted(0, "a.b") == std::nullopt);
  CHECK(yaml->Unquoted(1, "a") == "1.50");
  CHECK(yaml->Unquoted(2, "a") == std::nullopt);
}

}  // namespace
}  // namespace clusterpulse::app
