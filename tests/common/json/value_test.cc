#include "common/json/value.h"

#include <string>

#include <catch2/catch.hpp>

namespace clusterpulse::json {
namespace {

Value Parse(std::string_view text) {
  auto value = Value::Parse(text);
  INFO(text);
  REQUIRE(value.ok());
  return std::move(*value);
}

TEST_CASE("values keep their types and are written with sorted keys") {
  const Value v =
      Parse(R"( {"z": 1, "a": [true, null, -2.5, "x\u00e9\n"], "m": {"b": {}, "a": []}, "big": 9223372036854775807} )");
  CHECK(v["z"].IsInt());
  CHECK(v["z"].IntOr() == 1);
  CHECK(v["z"].DoubleOr() == 1.0);
  CHECK(v["big"].IntOr() == INT64_MAX);
  CHECK(v["a"].items().size() == 4);
  CHECK(v["a"].items()[2].DoubleOr() == -2.5);
  CHECK(v["a"].items()[3].StringOr() == "xé\n");
  CHECK(v.Dump() == R"({"a":[true,null,-2.5,"xé\n"],"big":9223372036854775807,"m":{"a":[],"b":{}},"z":1})");
  CHECK(Parse(v.Dump()) == v);
}

TEST_CASE("reading what is not there or of another type gives the fallback") {
  const Value v = Parse(R"({"a": "text"})");
  CHECK(v["x"]["y"]["z"].IntOr(5) == 5);
  CHECK(v["a"]["b"].IsNull());
  CHECK(v["a"].IntOr(-1) == -1);
  CHECK(v["a"].DoubleOr(0.5) == 0.5);
  CHECK(v["a"].BoolOr(true));
  CHECK(v.StringOr("none") == "none");
  CHECK(v["a"].items().empty());
  CHECK(v["a"].members().empty());
  CHECK(v.Find("x") == nullptr);
  CHECK(Value(1.5).IntOr(9) == 9);
}

TEST_CASE("numbers beyond 64 bits are doubles") {
  CHECK(Parse("9223372036854775808").DoubleOr() == 9223372036854775808.0);
  CHECK(Parse("18446744073709551615").DoubleOr() == 18446744073709551615.0);
  CHECK(Parse("18446744073709551616").DoubleOr() == 18446744073709551616.0);
  CHECK(Parse("-9223372036854775808").IntOr() == INT64_MIN);
  CHECK(Parse("1.0").IsNumber());
  CHECK_FALSE(Parse("1.0").IsInt());
  CHECK(Parse("-0").IsNumber());
}

TEST_CASE("a repeated key means its last value") {
  CHECK(Parse(R"({"a": {"b": 1}, "a": {"c": 2}})").Dump() == R"({"a":{"c":2}})");
}

TEST_CASE("malformed text is refused with the place") {
  for (const std::string text : {"",
                                 " ",
                                 "{",
                                 "}",
                                 "[",
                                 "[1",
                                 "[1,",
                                 "[1,]",
                                 "[,1]",
                                 "{\"a\"",
                                 "{\"a\":",
                                 "{\"a\":1",
                                 "{\"a\":1,",
                                 "{\"a\":1,}",
                                 "{a:1}",
                                 "{'a':1}",
                                 "{1:2}",
                                 "\"open",
                                 "\"\\x\"",
                                 "\"\\u12\"",
                                 "\"\\ud800\"",
                                 "\"a\nb\"",
                                 "tru",
                                 "nul",
                                 "NaN",
                                 "Infinity",
                                 "+1",
                                 "01",
                                 "1.",
                                 ".5",
                                 "1e",
                                 "-",
                                 "0x1",
                                 "1e999",
                                 "{} {}",
                                 "[] x",
                                 "1 2",
                                 "// c\n1",
                                 "\"\xff\"",
                                 "\"\xc0\x80\"",
                                 "\xef\xbb\xbf{}x"}) {
    CAPTURE(text);
    const auto value = Value::Parse(text);
    CHECK(value.status().code() == absl::StatusCode::kInvalidArgument);
    CHECK(std::string(value.status().message()).find("at byte ") != std::string::npos);
  }
  CHECK_FALSE(Value::Parse(std::string_view("{}\0garbage", 10)).ok());
  CHECK_FALSE(Value::Parse(std::string_view("\0", 1)).ok());
  CHECK_FALSE(Value::Parse(std::string_view("[1\0]", 4)).ok());
}

TEST_CASE("every truncation of a document is refused") {
  const std::string text = R"({"a":[1,2.5,"x\n",{"b":null}],"c":true,"d":"é"})";
  for (std::size_t n = 0; n < text.size(); ++n) {
    CAPTURE(n);
    CHECK_FALSE(Value::Parse(std::string_view(text).substr(0, n)).ok());
  }
  CHECK(Value::Parse(text).ok());
}

TEST_CASE("depth is bounded at 512 levels") {
  const auto nested = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  CHECK(Value::Parse(nested(512)).ok());
  const auto deep = Value::Parse(nested(513));
  CHECK(deep.status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(std::string(deep.status().message()).find("512 levels") != std::string::npos);
  CHECK_FALSE(Value::Parse(std::string(1000000, '[')).ok());
  std::string objects;
  for (int i = 0; i < 600; ++i) objects += R"({"a":)";
  CHECK_FALSE(Value::Parse(objects).ok());
}

TEST_CASE("trees are changed in place") {
  Value v;
  v.Mutable("spec").Mutable("replicas") = 3;
  v.Mutable("list").MutableArray().push_back("x");
  CHECK(v.Dump() == R"({"list":["x"],"spec":{"replicas":3}})");
  CHECK(v.Erase("list"));
  CHECK_FALSE(v.Erase("list"));
  CHECK_FALSE(Value("text").Erase("a"));
  Value copy = v;
  copy.Mutable("spec").Mutable("replicas") = 4;
  CHECK(v["spec"]["replicas"].IntOr() == 3);
  CHECK_FALSE(copy == v);
  v.MutableArray();
  CHECK(v.Dump() == "[]");
}

TEST_CASE("merge patches follow RFC 7386") {
  struct Case {
    const char *target, *patch, *result;
  };
  constexpr Case kCases[] = {
      {R"({"a":"b"})", R"({"a":"c"})", R"({"a":"c"})"},
      {R"({"a":"b"})", R"({"b":"c"})", R"({"a":"b","b":"c"})"},
      {R"({"a":"b"})", R"({"a":null})", R"({})"},
      {R"({"a":"b","b":"c"})", R"({"a":null})", R"({"b":"c"})"},
      {R"({"a":["b"]})", R"({"a":"c"})", R"({"a":"c"})"},
      {R"({"a":"c"})", R"({"a":["b"]})", R"({"a":["b"]})"},
      {R"({"a":{"b":"c"}})", R"({"a":{"b":"d","c":null}})", R"({"a":{"b":"d"}})"},
      {R"({"a":[{"b":"c"}]})", R"({"a":[1]})", R"({"a":[1]})"},
      {R"(["a","b"])", R"(["c","d"])", R"(["c","d"])"},
      {R"({"a":"b"})", R"(["c"])", R"(["c"])"},
      {R"({"a":"foo"})", "null", "null"},
      {R"({"a":"foo"})", R"("bar")", R"("bar")"},
      {R"({"e":null})", R"({"a":1})", R"({"a":1,"e":null})"},
      {"[1,2]", R"({"a":"b","c":null})", R"({"a":"b"})"},
      {"{}", R"({"a":{"bb":{"ccc":null}}})", R"({"a":{"bb":{}}})"},
  };
  for (const Case& c : kCases) {
    CAPTURE(c.target, c.patch);
    Value target = Parse(c.target);
    MergePatch(target, Parse(c.patch));
    CHECK(target.Dump() == c.result);
  }
}

}  // namespace
}  // namespace clusterpulse::json
