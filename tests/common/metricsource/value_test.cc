#include "common/metricsource/value.h"

#include <cstdint>
#include <cstring>
#include <limits>
#include <string>

#include <catch2/catch.hpp>

#include "common/base/random.h"
#include "common/json/writer.h"

namespace clusterpulse::metricsource {
namespace {

constexpr std::int64_t kMaxInt = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kMinInt = std::numeric_limits<std::int64_t>::min();

std::string TextOf(Value value) {
  std::string out;
  AppendText(out, value);
  return out;
}

TEST_CASE("kinds add up to sets that never hold null") {
  CHECK(KindSet(Kind::kNull).IsEmpty());
  CHECK(kNumbers.Has(Kind::kInt));
  CHECK_FALSE(kNumbers.Has(Kind::kText));
  CHECK(kNumbers.IsOnly(kAnyKind));
  CHECK_FALSE(kAnyKind.IsOnly(kNumbers));
  CHECK((kAnyKind & Kind::kBool) == KindSet(Kind::kBool));
}

TEST_CASE("a double that no document can hold is null") {
  CHECK(Value::Double(std::numeric_limits<double>::infinity()).IsNull());
  CHECK(Value::Double(-std::numeric_limits<double>::infinity()).IsNull());
  CHECK(Value::Double(std::numeric_limits<double>::quiet_NaN()).IsNull());
  CHECK(Value::Double(std::numeric_limits<double>::max()).kind() == Kind::kDouble);
}

TEST_CASE("values are the same by what they say, across integer and double, exactly") {
  CHECK(SameValue(Value::Null(), Value::Null()));
  CHECK_FALSE(SameValue(Value::Null(), Value::Int(0)));
  CHECK_FALSE(SameValue(Value::Null(), Value::Text("")));
  CHECK(SameValue(Value::Int(7), Value::Double(7)));
  CHECK(SameValue(Value::Int(0), Value::Double(-0.0)));
  CHECK_FALSE(SameValue(Value::Int(7), Value::Double(7.25)));
  CHECK_FALSE(SameValue(Value::Int(9007199254740993), Value::Double(9007199254740992.0)));
  CHECK(SameValue(Value::Int(9007199254740992), Value::Double(9007199254740992.0)));
  CHECK_FALSE(SameValue(Value::Int(kMaxInt), Value::Double(9223372036854775808.0)));
  CHECK(SameValue(Value::Int(kMinInt), Value::Double(-9223372036854775808.0)));
  CHECK_FALSE(SameValue(Value::Int(1), Value::Bool(true)));
  CHECK_FALSE(SameValue(Value::Int(5), Value::Text("5")));
  CHECK(SameValue(Value::Text("pvc"), Value::Text(std::string("pvc"))));
  CHECK_FALSE(SameValue(Value::Text("pvc"), Value::Text("pv")));
  CHECK(SameValue(Value::Bool(false), Value::Bool(false)));
  CHECK_FALSE(SameValue(Value::Bool(false), Value::Bool(true)));
}

TEST_CASE("numbers are ordered exactly") {
  CHECK(CompareNumbers(Value::Int(kMaxInt), Value::Int(kMaxInt - 1)) > 0);
  CHECK(CompareNumbers(Value::Int(kMaxInt), Value::Double(9223372036854775808.0)) < 0);
  CHECK(CompareNumbers(Value::Int(kMinInt), Value::Double(-1e300)) > 0);
  CHECK(CompareNumbers(Value::Double(1e300), Value::Int(kMaxInt)) > 0);
  CHECK(CompareNumbers(Value::Int(-3), Value::Double(-3.5)) > 0);
  CHECK(CompareNumbers(Value::Double(3.5), Value::Int(3)) > 0);
  CHECK(CompareNumbers(Value::Int(3), Value::Double(3.5)) < 0);
  CHECK(CompareNumbers(Value::Int(9007199254740993), Value::Double(9007199254740992.0)) > 0);
  CHECK(CompareNumbers(Value::Double(0.5), Value::Double(0.25)) > 0);
  CHECK(CompareNumbers(Value::Double(-0.0), Value::Int(0)) == 0);
}

TEST_CASE("every value has one text") {
  struct Case {
    Value value;
    const char* text;
  };
  const Case kCases[] = {
      {Value::Null(), ""},
      {Value::Bool(true), "true"},
      {Value::Bool(false), "false"},
      {Value::Int(-42), "-42"},
      {Value::Int(kMinInt), "-9223372036854775808"},
      {Value::Int(kMaxInt), "9223372036854775807"},
      {Value::Double(12), "12"},
      {Value::Double(-0.0), "0"},
      {Value::Double(1234567.25), "1234567.25"},
      {Value::Double(0.00001), "0.00001"},
      {Value::Double(5e-7), "5e-7"},
      {Value::Double(4611686018427387904.0), "4611686018427387904"},
      {Value::Double(9223372036854775808.0), "9223372036854776000"},
      {Value::Double(1e20), "100000000000000000000"},
      {Value::Double(1e21), "1e+21"},
      {Value::Double(-2.5e-300), "-2.5e-300"},
      {Value::Text("as it is"), "as it is"},
  };
  for (const Case& c : kCases) {
    CAPTURE(c.text);
    CHECK(TextOf(c.value) == c.text);
  }
}

TEST_CASE("a number's text fits its buffer and is that of documents") {
  base::SeededRandom random(20311);
  for (int i = 0; i < 20'000; ++i) {
    const std::uint64_t bits = random.Next();
    double number;
    std::memcpy(&number, &bits, sizeof number);
    const Value value = Value::Double(number);
    if (value.IsNull()) continue;
    char digits[kMaxNumberText];
    const std::size_t size = WriteNumber(digits, value);
    REQUIRE(size <= kMaxNumberText);
    if (number < 9.2e18 && number > -9.2e18 && number == static_cast<double>(static_cast<std::int64_t>(number)))
      continue;
    std::string document;
    json::AppendNumber(document, number);
    CHECK(std::string(digits, size) == document);
  }
}

TEST_CASE("numbers are truncated toward zero, within 64 bits") {
  CHECK(TruncateToInt(Value::Int(kMinInt)) == kMinInt);
  CHECK(TruncateToInt(Value::Double(-2.9)) == -2);
  CHECK(TruncateToInt(Value::Double(9223372036854775808.0)) == kMaxInt);
  CHECK(TruncateToInt(Value::Double(-9223372036854775808.0)) == kMinInt);
  CHECK(TruncateToInt(Value::Double(-1e300)) == kMinInt);
}

TEST_CASE("what an arena gets back counts no more") {
  TextArena arena;
  for (int i = 0; i < 4; ++i) {
    REQUIRE(arena.Allocate(TextArena::kMaxBytes) != nullptr);
    arena.GiveBack(TextArena::kMaxBytes);
  }
  char* const first = arena.Allocate(10);
  arena.GiveBack(4);
  CHECK(arena.Allocate(1) == first + 6);
}

TEST_CASE("an arena gives text that lives until the row ends, up to its bound") {
  TextArena arena;
  std::string_view first, second;
  REQUIRE(arena.Copy("claim-", first));
  REQUIRE(arena.Copy("7", second));
  char* const large = arena.Allocate(100'000);
  REQUIRE(large != nullptr);
  std::memset(large, 'x', 100'000);
  CHECK(first == "claim-");
  CHECK(second == "7");
  CHECK(arena.Allocate(0) != nullptr);

  std::string_view untouched = "as before";
  CHECK_FALSE(arena.Copy(std::string(TextArena::kMaxBytes - 100'006, 'y'), untouched));
  CHECK(untouched == "as before");
  CHECK(arena.Copy(std::string(TextArena::kMaxBytes - 100'007, 'y'), untouched));
  CHECK(arena.Allocate(1) == nullptr);

  arena.Reset();
  for (int row = 0; row < 3; ++row) {
    for (int i = 0; i < 8; ++i) REQUIRE(arena.Allocate(TextArena::kMaxBytes / 8) != nullptr);
    CHECK(arena.Allocate(1) == nullptr);
    arena.Reset();
  }
  REQUIRE(arena.Copy("next row", first));
  CHECK(first == "next row");
}

}  // namespace
}  // namespace clusterpulse::metricsource
