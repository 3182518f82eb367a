#include "common/json/writer.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>

#include <catch2/catch.hpp>

#include "common/base/random.h"

namespace clusterpulse::json {
namespace {

using namespace std::string_literals;

std::string Number(double value) {
  std::string out;
  AppendNumber(out, value);
  return out;
}

TEST_CASE("doubles are written as Go writes them") {
  struct Case {
    double value;
    const char* text;
  };
  // What encoding/json printed.
  constexpr Case kCases[] = {
      {0.0, "0"},
      {-0.0, "-0"},
      {1, "1"},
      {-1, "-1"},
      {0.1, "0.1"},
      {1.5, "1.5"},
      {100, "100"},
      {1e6, "1000000"},
      {123456789, "123456789"},
      {1e20, "100000000000000000000"},
      {1e21, "1e+21"},
      {1.5e21, "1.5e+21"},
      {1e22, "1e+22"},
      {1e100, "1e+100"},
      {1e-5, "0.00001"},
      {1e-6, "0.000001"},
      {9.99e-7, "9.99e-7"},
      {1e-7, "1e-7"},
      {1e-9, "1e-9"},
      {1e-10, "1e-10"},
      {1e-100, "1e-100"},
      {5e-324, "5e-324"},
      {1.7976931348623157e308, "1.7976931348623157e+308"},
      {2.2250738585072014e-308, "2.2250738585072014e-308"},
      {0.1 + 0.2, "0.30000000000000004"},
      {33.333333333333336, "33.333333333333336"},
      {12345678901234567890.0, "12345678901234567000"},
      {999999999999999900000.0, "999999999999999900000"},
      {9007199254740993.0, "9007199254740992"},
      {-1e-7, "-1e-7"},
      {-1e21, "-1e+21"},
      {4.35, "4.35"},
      {1.0000000000000002, "1.0000000000000002"},
  };
  for (const Case& c : kCases) CHECK(Number(c.value) == c.text);
}

TEST_CASE("every double is read back as itself") {
  base::SeededRandom random(5);
  for (int i = 0; i < 20000; ++i) {
    const std::uint64_t bits = random.Next();
    double value;
    std::memcpy(&value, &bits, sizeof value);
    if (!std::isfinite(value)) continue;
    const std::string text = Number(value);
    CAPTURE(text);
    REQUIRE(std::strtod(text.c_str(), nullptr) == value);
    REQUIRE(text.size() <= 25);
    const double whole = static_cast<double>(bits >> (i % 60));
    REQUIRE(std::strtod(Number(whole).c_str(), nullptr) == whole);
  }
}

TEST_CASE("what JSON cannot say is null") {
  std::string out;
  Writer w(out);
  w.BeginArray();
  w.Double(std::numeric_limits<double>::quiet_NaN()).Double(std::numeric_limits<double>::infinity()).Double(-INFINITY);
  w.EndArray();
  CHECK(out == "[null,null,null]");
}

TEST_CASE("text is escaped as Go escapes it") {
  struct Case {
    std::string text;
    const char* escaped;
  };
  // What encoding/json printed.
  const Case kCases[] = {
      {"", ""},
      {"plain", "plain"},
      {"\"\\/", R"(\"\\/)"},
      {"<a href='x'>&</a>", R"(\u003ca href='x'\u003e\u0026\u003c/a\u003e)"},
      {"\n\r\t\b\f", R"(\n\r\t\b\f)"},
      {std::string("\x00\x01\x1f\x7f", 4), "\\u0000\\u0001\\u001f\x7f"},
      {"é漢😀", "é漢😀"},
      {"\u2028\u2029\u2027", "\\u2028\\u2029\u2027"},
      {"a\xff"
       "b",
       R"(a\ufffdb)"},
      {"\xc3", R"(\ufffd)"},
      {"\xc0\x80", R"(\ufffd\ufffd)"},
      {"\xed\xa0\x80", R"(\ufffd\ufffd\ufffd)"},
      {"\xf4\x90\x80\x80", R"(\ufffd\ufffd\ufffd\ufffd)"},
      {"\xe2\x82", R"(\ufffd\ufffd)"},
      {"\xf0\x9f\x98", R"(\ufffd\ufffd\ufffd)"},
      {"\xe2\x80", R"(\ufffd\ufffd)"},
      {"\xc3(", R"(\ufffd()"},
      {"\xf8\x88\x80\x80\x80", R"(\ufffd\ufffd\ufffd\ufffd\ufffd)"},
      {"\uFFFD", "\uFFFD"},
  };
  for (const Case& c : kCases) {
    std::string out;
    AppendEscaped(out, c.text);
    CHECK(out == c.escaped);
  }
}

TEST_CASE("every byte is escaped alike wherever it stands") {
  const auto escaped = [](std::string_view text) {
    std::string out;
    AppendEscaped(out, text);
    return out;
  };
  for (int byte = 0; byte < 256; ++byte) {
    const std::string one(1, static_cast<char>(byte));
    for (std::size_t length = 1; length <= 18; ++length) {
      for (std::size_t at = 0; at < length; ++at) {
        std::string text(length, 'a');
        text[at] = one[0];
        CAPTURE(byte, length, at);
        REQUIRE(escaped(text) == std::string(at, 'a') + escaped(one) + std::string(length - at - 1, 'a'));
      }
    }
  }
}

TEST_CASE("a name is escaped alike, known when compiled or not") {
  const auto written = [](auto name) {
    std::string out;
    Writer(out).BeginObject().Member(name, 1).EndObject();
    return out;
  };
  std::string literals;
  Writer(literals)
      .BeginObject()
      .Member("plain", 1)
      .Member("a<b", 1)
      .Member("q\"\n", 1)
      .Member("\xc3\xa9", 1)
      .EndObject();
  CHECK(literals == "{\"plain\":1,\"a\\u003cb\":1,\"q\\\"\\n\":1,\"\xc3\xa9\":1}");
  CHECK(written("a<b"s) == R"({"a\u003cb":1})");
  CHECK(written(std::string_view("q\"\n")) == R"({"q\"\n":1})");
  CHECK(written("plain"s) == R"({"plain":1})");
}

TEST_CASE("commas and colons stand where they belong") {
  std::string out = "> ";
  Writer w(out);
  w.BeginObject().Member("name", "a").Member("n", std::int64_t{-5}).Member("i", 7).Member("d", 0.5).Member("b", true);
  w.Member("s", std::string("x<y")).Member("v", std::string_view("view"));
  w.Key("list").BeginArray().Int(1).String("two").Null().Bool(false).BeginObject().EndObject().BeginArray().EndArray();
  w.EndArray().Key("raw").Raw(R"({"a":1})").Key("empty").BeginObject().EndObject().Key("a\"b").Null().EndObject();
  CHECK(out == R"(> {"name":"a","n":-5,"i":7,"d":0.5,"b":true,"s":"x\u003cy","v":"view",)"
               R"("list":[1,"two",null,false,{},[]],"raw":{"a":1},"empty":{},"a\"b":null})");
}

TEST_CASE("integers keep all their digits") {
  std::string out;
  Writer w(out);
  w.BeginArray().Int(INT64_MAX).Int(INT64_MIN).Int(0).EndArray();
  CHECK(out == "[9223372036854775807,-9223372036854775808,0]");
}

}  // namespace
}  // namespace clusterpulse::json
