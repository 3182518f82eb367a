#include "common/metricsource/convert.h"

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <catch2/catch.hpp>

#include "common/base/time_format.h"

namespace clusterpulse::metricsource {
namespace {

constexpr std::int64_t kMost = INT64_MAX, kLeast = INT64_MIN;

// "null", "i:3", "d:2.5", "b:true", "t:text", "-" for no value.
std::string Show(std::optional<Value> value) {
  if (!value) return "-";
  std::string text;
  AppendText(text, *value);
  switch (value->kind()) {
    case Kind::kNull:
      return "null";
    case Kind::kBool:
      return "b:" + text;
    case Kind::kInt:
      return "i:" + text;
    case Kind::kDouble:
      return "d:" + text;
    case Kind::kText:
      return "t:" + text;
  }
  return "";
}

std::string Converted(FieldType type, Value in, std::string_view token = "") {
  TextArena arena;
  Value out;
  return ConvertScalar(type, in, token, arena, out) ? Show(out) : "-";
}

std::string FromText(std::string_view type, std::string_view text) {
  return Converted(ParseFieldType(type).value(), Value::Text(text));
}

TEST_CASE("texts are converted by the field's type") {
  struct Case {
    std::string type, text, result;
  };
  const auto c = GENERATE(values<Case>({
      {"string", "Ready", "t:Ready"},
      {"string", "", "t:"},
      {"integer", "17", "i:17"},
      {"integer", "+17", "i:17"},
      {"integer", "-017", "i:-17"},
      {"integer", "9223372036854775807", "i:9223372036854775807"},
      {"integer", "9223372036854775808", "i:9223372036854775807"},
      {"integer", "-99999999999999999999", "i:-9223372036854775808"},
      {"integer", "", "-"},
      {"integer", "-", "-"},
      {"integer", "+-1", "-"},
      {"integer", " 17", "-"},
      {"integer", "12.5", "-"},
      {"integer", "2e3", "-"},
      {"integer", "0x11", "-"},
      {"float", "12.5", "d:12.5"},
      {"float", "17", "d:17"},
      {"float", "+2e3", "d:2000"},
      {"float", "-.5", "d:-0.5"},
      {"float", "7.", "d:7"},
      {"float", "0x1p-2", "d:0.25"},
      {"float", "-0X1.8p1", "d:-3"},
      {"float", "1_000.5", "d:1000.5"},
      {"float", "1e-400", "d:0"},
      {"float", "1e400", "-"},
      {"float", "inf", "-"},
      {"float", "-Infinity", "-"},
      {"float", "NaN", "-"},
      {"float", "0x10", "-"},
      {"float", "1_", "-"},
      {"float", "_1", "-"},
      {"float", "1__0", "-"},
      {"float", "", "-"},
      {"float", ".", "-"},
      {"float", "--1", "-"},
      {"float", "+-1", "-"},
      {"float", "1.5 ", "-"},
      {"float", "1.5m", "-"},
      {"boolean", "true", "b:true"},
      {"boolean", "TrUe", "b:true"},
      {"boolean", "1", "b:true"},
      {"boolean", "FALSE", "b:false"},
      {"boolean", "0", "b:false"},
      {"boolean", "yes", "-"},
      {"boolean", "", "-"},
      {"boolean", "12", "-"},
      {"quantity", "3", "i:3"},
      {"quantity", "750m", "d:0.75"},
      {"quantity", "-750m", "d:-0.75"},
      {"quantity", "3000m", "i:3"},
      {"quantity", "1001m", "d:1.001"},
      {"quantity", "1.5", "d:1.5"},
      {"quantity", "3Ki", "i:3072"},
      {"quantity", "1.5Gi", "i:1610612736"},
      {"quantity", "0.1Ki", "d:102.4"},
      {"quantity", "3k", "i:3000"},
      {"quantity", "12e6", "i:12000000"},
      {"quantity", "12E", "i:9223372036854775807"},
      {"quantity", "1E", "i:1000000000000000000"},
      {"quantity", "1Ei", "i:1152921504606846976"},
      {"quantity", "10u", "d:0.00001"},
      {"quantity", "1.7Ei", "i:1959966557831639860"},
      {"quantity", "-1.7Ei", "i:-1959966557831639860"},
      {"quantity", "1000000000000000001m", "i:1000000000000000"},
      {"quantity", "1000000000000000.5", "d:1000000000000000.5"},
      {"quantity", "9223372036854775806.5", "i:9223372036854775807"},
      {"quantity", "9999999999999999999", "i:9223372036854775807"},
      {"quantity", "-9999999999999999999", "i:-9223372036854775807"},
      {"quantity", "1K", "-"},
      {"quantity", "1gi", "-"},
      {"quantity", "1 Gi", "-"},
      {"quantity", "1e3Ki", "-"},
      {"quantity", "500m ", "-"},
      {"quantity", "0x10", "-"},
      {"quantity", "", "-"},
      {"timestamp", "2031-05-01T10:00:00Z", "t:2031-05-01T10:00:00Z"},
      {"timestamp", "2031-05-01T1:00:00,5+02:00", "t:2031-05-01T1:00:00,5+02:00"},
      {"timestamp", "", "t:"},
      {"timestamp", "2031-05-01", "-"},
      {"arrayLength", "3", "-"},
  }));
  CAPTURE(c.type, c.text);
  CHECK(FromText(c.type, c.text) == c.result);
}

TEST_CASE("numbers and booleans are converted by the field's type") {
  struct Case {
    std::string type;
    Value in;
    std::string token, result;
  };
  const auto c = GENERATE(values<Case>({
      {"string", Value::Int(kLeast), "", "t:-9223372036854775808"},
      {"string", Value::Double(2.5), "", "t:2.5"},
      {"string", Value::Double(4), "", "t:4"},
      {"string", Value::Bool(false), "", "t:false"},
      {"integer", Value::Int(kMost), "", "i:9223372036854775807"},
      {"integer", Value::Double(7.9), "", "i:7"},
      {"integer", Value::Double(-7.9), "", "i:-7"},
      {"integer", Value::Double(1e30), "", "i:9223372036854775807"},
      {"integer", Value::Double(-1e30), "", "i:-9223372036854775808"},
      {"integer", Value::Bool(true), "", "-"},
      {"float", Value::Int(3), "", "d:3"},
      {"float", Value::Bool(true), "", "-"},
      {"boolean", Value::Int(0), "", "b:false"},
      {"boolean", Value::Int(-2), "", "b:true"},
      {"boolean", Value::Double(0.5), "", "b:true"},
      {"boolean", Value::Bool(true), "", "b:true"},
      {"quantity", Value::Int(5), "5", "i:5"},
      {"quantity", Value::Double(7.9), "7.9", "d:7.9"},
      {"quantity", Value::Double(1e3), "1e3", "i:1000"},
      {"quantity", Value::Bool(true), "", "-"},
      {"timestamp", Value::Int(1700000000), "", "-"},
      {"arrayLength", Value::Int(3), "", "-"},
      {"arrayLength", Value::Bool(true), "", "-"},
      {"string", Value::Null(), "", "-"},
  }));
  CAPTURE(c.type, Show(c.in));
  CHECK(Converted(ParseFieldType(c.type).value(), c.in, c.token) == c.result);
}

TEST_CASE("defaults are converted like texts") {
  struct Case {
    std::string type, nine, bytes, yes, one;
  };
  const auto c = GENERATE(values<Case>({
      {"integer", "i:9", "-", "-", "i:1"},
      {"float", "d:9", "-", "-", "d:1"},
      {"boolean", "-", "-", "-", "b:true"},
      {"quantity", "i:9", "i:5368709120", "-", "i:1"},
      {"string", "t:9", "t:5Gi", "t:yes", "t:1"},
      {"timestamp", "-", "-", "-", "-"},
      {"arrayLength", "i:9", "-", "-", "i:1"},
  }));
  CAPTURE(c.type);
  const FieldType type = ParseFieldType(c.type).value();
  CHECK(Show(ConvertDefault(type, "9")) == c.nine);
  CHECK(Show(ConvertDefault(type, "5Gi")) == c.bytes);
  CHECK(Show(ConvertDefault(type, "yes")) == c.yes);
  CHECK(Show(ConvertDefault(type, "1")) == c.one);
  CHECK(Show(ConvertDefault(FieldType::kQuantity, "500m")) == "d:0.5");
}

TEST_CASE("times are what upstream takes for RFC 3339") {
  struct Case {
    std::string text, utc;  // "": refused
  };
  const auto c = GENERATE(values<Case>({
      {"2031-05-06T10:20:30Z", "2031-05-06T10:20:30Z"},
      {"2031-05-06T10:20:30+02:00", "2031-05-06T08:20:30Z"},
      {"2031-05-06T10:20:30.123-00:30", "2031-05-06T10:50:30.123Z"},
      {"2031-05-06T10:20:30,5Z", "2031-05-06T10:20:30.5Z"},
      {"2031-05-06T10:20:30.1234567891234Z", "2031-05-06T10:20:30.123456789Z"},
      {"2031-05-06T9:20:30Z", "2031-05-06T09:20:30Z"},
      {"2031-05-06T10:20:30+24:00", "2031-05-05T10:20:30Z"},
      {"2032-02-29T00:00:00Z", "2032-02-29T00:00:00Z"},
      {"2031-05-06", ""},
      {"2031-05-06 10:20:30Z", ""},
      {"2031-05-06T10:20Z", ""},
      {"2031-05-06T10:20:30", ""},
      {"2031-05-06t10:20:30Z", ""},
      {"2031-05-06T10:20:30z", ""},
      {"2031-05-06T10:20:30+0000", ""},
      {"2031-05-06T10:20:30+25:00", ""},
      {"2031-05-06T24:00:00Z", ""},
      {"2031-05-06T10:20:60Z", ""},
      {"2031-02-30T10:20:30Z", ""},
      {"2031-00-06T10:20:30Z", ""},
      {"2031-13-06T10:20:30Z", ""},
      {"2031-05-06T10:20:30.Z", ""},
      {"2031-05-06T10:20:30ZZ", ""},
      {"2031-05-06T", ""},
      {"2031-05-06T1", ""},
      {"2031-05-06T10", ""},
      {"2031-05-06T10:20:3", ""},
      {"31-05-06T10:20:30Z", ""},
      {"1900000000", ""},
      {"", ""},
  }));
  CAPTURE(c.text);
  const auto time = ParseTimestamp(c.text);
  CHECK((time ? base::FormatNanos(*time) : "") == c.utc);
}

TEST_CASE("times that the clock cannot count saturate") {
  CHECK(ParseTimestamp("0001-01-01T00:00:00Z") == base::SystemTime::min());
  CHECK(ParseTimestamp("9999-12-31T23:59:59Z") == base::SystemTime::max());
}

TEST_CASE("numbers of documents are integers where they are written as such") {
  const auto number = [](std::string_view token) {
    Value value;
    return ParseJsonNumber(token, value) ? Show(value) : "-";
  };
  CHECK(number("12") == "i:12");
  CHECK(number("-9223372036854775808") == "i:-9223372036854775808");
  CHECK(number("9007199254740993") == "i:9007199254740993");
  CHECK(number("12.0") == "d:12");
  CHECK(number("1e2") == "d:100");
  CHECK(number("9223372036854775808") == "d:9223372036854776000");
  CHECK(number("1e400") == "-");
  CHECK(number("1e-400") == "d:0");
  CHECK(number("12a") == "-");
  CHECK(number("-") == "-");
  CHECK(number("") == "-");
  CHECK(number("nan") == "-");
  CHECK(number("-inf") == "-");
}

TEST_CASE("compact JSON has no blanks between tokens, and those of texts") {
  std::string out = "x";
  AppendCompactJson(" { \"a b\" : [ 1 , \"\\\" , \" ,\t\"\\\\\" ] }\r\n", out);
  CHECK(out == "x{\"a b\":[1,\"\\\" , \",\"\\\\\"]}");
}

TEST_CASE("texts in compact JSON are escaped where they must be") {
  struct Case {
    const char *from, *to;
  };
  const Case c = GENERATE(values<Case>({
      {R"("a\u0026b \u003cx\u003e")", R"("a&b <x>")"},
      {R"("\u0022 \u005C \u000a \u0001")", R"("\" \\ \n \u0001")"},
      {R"("\/ \n \" \\")", R"("/ \n \" \\")"},
      {R"("\u00fc \u20ac \ud83d\uDE00")", R"("ü € 😀")"},
      {R"("\ud83d \ude00 \ud83dx")", R"("\ud83d \ude00 \ud83dx")"},
      {R"("\\u0026")", R"("\\u0026")"},
      {R"("\u00")", R"("\u00")"},
      {R"("\)", R"("\)"},
  }));
  std::string out;
  AppendCompactJson(c.from, out);
  CHECK(out == c.to);
}

}  // namespace
}  // namespace clusterpulse::metricsource
