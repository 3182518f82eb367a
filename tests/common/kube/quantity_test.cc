#include "common/kube/quantity.h"

#include <limits>
#include <string>

#include <catch2/catch.hpp>

using clusterpulse::kube::Quantity;

namespace {

Quantity Q(const std::string& text) {
  const auto quantity = Quantity::Parse(text);
  INFO(text);
  REQUIRE(quantity.ok());
  return *quantity;
}

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

}  // namespace

TEST_CASE("quantities have the value Kubernetes gives them") {
  struct Case {
    const char* text;
    std::int64_t value;  // rounded away from zero
    std::int64_t milli;
  };
  constexpr Case kCases[] = {
      {"0", 0, 0},
      {"-0", 0, 0},
      {"000", 0, 0},
      {"007", 7, 7000},
      {"1", 1, 1000},
      {"+1", 1, 1000},
      {"-1", -1, -1000},
      {"2", 2, 2000},
      {"1.", 1, 1000},
      {".5", 1, 500},
      {"-.5", -1, -500},
      {"1.5", 2, 1500},
      {"-1.5", -2, -1500},
      {"100n", 1, 1},
      {"1000000n", 1, 1},
      {"1000000001n", 2, 1001},
      {"500u", 1, 1},
      {"1000u", 1, 1},
      {"250m", 1, 250},
      {"250.5m", 1, 251},
      {"-250.5m", -1, -251},
      {"1500m", 2, 1500},
      {"1k", 1000, 1000000},
      {"1.5k", 1500, 1500000},
      {"12M", 12000000, 12000000000},
      {"1G", 1000000000, 1000000000000},
      {"2T", 2000000000000, 2000000000000000},
      {"1P", 1000000000000000, 1000000000000000000},
      {"1E", 1000000000000000000, kMax},
      {"1Ki", 1024, 1024000},
      {"1.5Ki", 1536, 1536000},
      {"0.1Ki", 103, 102400},
      {"123Mi", 128974848, 128974848000},
      {"16Gi", 17179869184, 17179869184000},
      {"16777216Ki", 17179869184, 17179869184000},
      {"1Ti", 1099511627776, 1099511627776000},
      {"1Pi", 1125899906842624, 1125899906842624000},
      {"1Ei", 1152921504606846976, kMax},
      {"-1Ki", -1024, -1024000},
      {"129e6", 129000000, 129000000000},
      {"129E6", 129000000, 129000000000},
      {"129e+6", 129000000, 129000000000},
      {"1.5e3", 1500, 1500000},
      {"5e-1", 1, 500},
      {"5E-3", 1, 5},
      {"123456789012345678m", 123456789012346, 123456789012345678},
      {"12345678901234567", 12345678901234567, kMax},
      {"0.000000000000000000000000000000000000000000000001Ei", 1, 1},
      {"0.0000000000000000010Ei", 2, 1153},
      {"000000000000000000000000000000000000000000000000001Gi", 1073741824, 1073741824000},
  };
  for (const Case& c : kCases) {
    CAPTURE(c.text);
    CHECK(Q(c.text).Value() == c.value);
    CHECK(Q(c.text).MilliValue() == c.milli);
  }
}

TEST_CASE("amounts finer than a billionth round away from zero") {
  CHECK(Q("0.1n") == Q("1n"));
  CHECK(Q("1e-10") == Q("1n"));
  CHECK(Q("1e-1000") == Q("1n"));
  CHECK(Q("1e-9999999999999") == Q("1n"));
  CHECK(Q("-0.1n") == Q("-1n"));
  CHECK(Q("1.0000000001") == Q("1000000001n"));
  CHECK(Q("1.0000000000") == Q("1"));
  CHECK(Q("0e-1000").IsZero());
  // 2^-40 of a gibi is 2^-10 exactly; a digit far to the right rounds the last place up.
  CHECK(Q("0.0000000009313225746154785156250Gi") == Q("1"));
  CHECK(Q("0.00000000093132257461547851562500000001Gi") == Q("1000000001n"));
}

TEST_CASE("amounts beyond 64 bits become the largest") {
  for (const char* text : {"9223372036854775807", "9223372036854775808", "8Ei", "10E", "99999999999999999999999Ki",
                           "1e19", "1e1000000", "9e9223372036854775807", "999999999999999999Gi",
                           "99999999999999999999999999999999999999999999999999999999999999"}) {
    CAPTURE(text);
    CHECK(Q(text).Value() == kMax);
    CHECK(Q(std::string("-") + text).Value() == -kMax);
  }
  CHECK(Q("9223372036854775806").Value() == kMax - 1);
  CHECK(Q("9223372036854775806.5").Value() == kMax);
  CHECK(Q("9223372036854775806.5") < Q("9223372036854775807"));
  CHECK(Q("0e1000000").IsZero());
}

TEST_CASE("what is no quantity is refused") {
  for (const char* text : {"",       " ",
                           "+",      "-",
                           ".",      "-.",
                           "+-1",    "--1",
                           "1 ",     " 1",
                           "1\n",    "Ki",
                           "m",      "e3",
                           "1e",     "1e+",
                           "1e-",    "1e+-3",
                           "1e3m",   "1e3.5",
                           "1m3",    "1K",
                           "1ki",    "1mi",
                           "1MI",    "1i",
                           "1g",     "1t",
                           "1Gib",   "1GB",
                           "1.1.M",  "1+1.0M",
                           "0.1mi",  "0.1am",
                           "aoeu",   ".5i",
                           "-3.01i", "-3.01e-",
                           "0x10",   "1_000",
                           "1,5",    "NaN",
                           "Inf",    "1ee3",
                           "1Ee3",   "1e99999999999999999999"}) {
    CAPTURE(text);
    CHECK(Quantity::Parse(text).status().code() == absl::StatusCode::kInvalidArgument);
  }
  CHECK_FALSE(Quantity::Parse(std::string_view("1\0", 2)).ok());
}

TEST_CASE("the double of an amount is the nearest one") {
  CHECK(Q("0.1").AsDouble() == 0.1);
  CHECK(Q("250m").AsDouble() == 0.25);
  CHECK(Q("250.5m").AsDouble() == 0.2505);
  CHECK(Q("1.000000001").AsDouble() == 1.000000001);
  CHECK(Q("-4.35").AsDouble() == -4.35);
  CHECK(Q("1n").AsDouble() == 1e-9);
  CHECK(Q("16Gi").AsDouble() == 17179869184.0);
  CHECK(Q("64077308Ki").AsDouble() == 65615163392.0);
  CHECK(Q("9007199254740993").AsDouble() == 9007199254740993.0);
  CHECK(Q("12345678.5").AsDouble() == 12345678.5);
}

TEST_CASE("amounts add exactly, saturate and compare") {
  Quantity sum;
  for (int i = 0; i < 10; ++i) sum += Q("100m");
  CHECK(sum == Q("1"));
  CHECK(sum == Quantity::FromUnits(1));
  CHECK(Q("1Gi") + Q("-1Gi") == Quantity());
  CHECK((Q("8Ei") + Q("8Ei")).Value() == kMax);
  CHECK((Q("-8Ei") + Q("-8Ei")).Value() == -kMax);
  CHECK(Q("1023") < Q("1Ki"));
  CHECK(Q("1Ki") > Q("1k"));
  CHECK(Q("1000m") == Q("1"));
  CHECK(Q("-1") < Q("-999m"));
  CHECK(Quantity::FromUnits(std::numeric_limits<std::int64_t>::min()).Value() == -kMax);
}
