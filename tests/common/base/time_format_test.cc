#include "common/base/time_format.h"

#include <catch2/catch.hpp>

#include "common/base/testing/manual_clock.h"

namespace clusterpulse::base {
namespace {

using namespace std::chrono_literals;

SystemTime At(std::int64_t seconds, std::int64_t nanos = 0) {
  return SystemTime(std::chrono::seconds(seconds) + std::chrono::nanoseconds(nanos));
}

TEST_CASE("times are written in UTC") {
  struct Case {
    SystemTime time;
    const char* seconds;
    const char* micros;
    const char* nanos;
  };
  const Case kCases[] = {
      {At(0), "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000Z", "1970-01-01T00:00:00Z"},
      {At(1933135628, 120934000), "2031-04-05T06:07:08Z", "2031-04-05T06:07:08.120934Z", "2031-04-05T06:07:08.120934Z"},
      {At(1933135628, 1), "2031-04-05T06:07:08Z", "2031-04-05T06:07:08.000000Z", "2031-04-05T06:07:08.000000001Z"},
      {At(1933135628, 999999999), "2031-04-05T06:07:08Z", "2031-04-05T06:07:08.999999Z",
       "2031-04-05T06:07:08.999999999Z"},
      {At(1933135628, 500000000), "2031-04-05T06:07:08Z", "2031-04-05T06:07:08.500000Z", "2031-04-05T06:07:08.5Z"},
      {At(-1), "1969-12-31T23:59:59Z", "1969-12-31T23:59:59.000000Z", "1969-12-31T23:59:59Z"},
      {At(-1, 250000000), "1969-12-31T23:59:59Z", "1969-12-31T23:59:59.250000Z", "1969-12-31T23:59:59.25Z"},
      {At(951782400), "2000-02-29T00:00:00Z", "2000-02-29T00:00:00.000000Z", "2000-02-29T00:00:00Z"},
      {SystemTime::max(), "2262-04-11T23:47:16Z", "2262-04-11T23:47:16.854775Z", "2262-04-11T23:47:16.854775807Z"},
      {SystemTime::min(), "1677-09-21T00:12:43Z", "1677-09-21T00:12:43.145224Z", "1677-09-21T00:12:43.145224192Z"},
  };
  for (const Case& c : kCases) {
    CHECK(FormatSeconds(c.time) == c.seconds);
    CHECK(FormatMicros(c.time) == c.micros);
    CHECK(FormatNanos(c.time) == c.nanos);
  }
  CHECK(FormatSeconds(ManualClock().Now()) == "2031-04-05T06:07:08Z");
}

TEST_CASE("what was written is read back") {
  for (std::int64_t seconds : {-9000000000LL, -62135LL, -1LL, 0LL, 1LL, 951782399LL, 1933135628LL, 9000000000LL}) {
    for (std::int64_t nanos : {0, 1, 10, 120934000, 999999999}) {
      const SystemTime t = At(seconds, nanos);
      CAPTURE(FormatNanos(t));
      CHECK(ParseRfc3339(FormatNanos(t)) == t);
      CHECK(ParseRfc3339(FormatSeconds(t)) == At(seconds));
    }
  }
}

TEST_CASE("offsets, fractions and odd but valid forms are read") {
  struct Case {
    const char* text;
    SystemTime time;
  };
  const Case kCases[] = {
      {"2031-04-05T06:07:08Z", At(1933135628)},
      {"2031-04-05t06:07:08z", At(1933135628)},
      {"2031-04-05T08:07:08+02:00", At(1933135628)},
      {"2031-04-04T23:37:08-06:30", At(1933135628)},
      {"2031-04-05T06:07:08+00:00", At(1933135628)},
      {"2031-04-05T06:07:08-00:00", At(1933135628)},
      {"2031-04-05T06:07:08.1Z", At(1933135628, 100000000)},
      {"2031-04-05T06:07:08.123456789012Z", At(1933135628, 123456789)},
      {"2031-04-05T08:07:08.5+02:00", At(1933135628, 500000000)},
      {"2000-02-29T00:00:00Z", At(951782400)},
      {"0001-01-01T00:00:00Z", SystemTime::min()},
      {"9999-12-31T23:59:59Z", SystemTime::max()},
  };
  for (const Case& c : kCases) {
    CAPTURE(c.text);
    CHECK(ParseRfc3339(c.text) == c.time);
  }
  CHECK(FormatSeconds(*ParseRfc3339(kZeroTime)) == "1677-09-21T00:12:43Z");
}

TEST_CASE("anything else is refused") {
  for (const char* text : {"",
                           "2031",
                           "2031-04-05",
                           "2031-04-05T06:07:08",
                           "2031-04-05 06:07:08Z",
                           "2031-04-05T06:07Z",
                           "2031-4-5T06:07:08Z",
                           "2031-13-05T06:07:08Z",
                           "2031-00-05T06:07:08Z",
                           "2031-02-29T06:07:08Z",
                           "2031-04-31T06:07:08Z",
                           "2031-04-00T06:07:08Z",
                           "2031-04-05T24:00:00Z",
                           "2031-04-05T06:60:08Z",
                           "2031-04-05T06:07:60Z",
                           "2031-04-05T06:07:08.Z",
                           "2031-04-05T06:07:08.5",
                           "2031-04-05T06:07:08ZZ",
                           "2031-04-05T06:07:08Z ",
                           " 2031-04-05T06:07:08Z",
                           "2031-04-05T06:07:08+2",
                           "2031-04-05T06:07:08+0200",
                           "2031-04-05T06:07:08+24:00",
                           "2031-04-05T06:07:08+02:60",
                           "0000-01-01T00:00:00Z",
                           "-001-01-01T00:00:00Z",
                           "12031-04-05T06:07:08Z",
                           "2031-04-05T-6:07:08Z",
                           "2031-04-05T06:07:08.5.5Z",
                           "2031-04-05T06:07:08+",
                           "2031/04/05T06:07:08Z"}) {
    CAPTURE(text);
    CHECK_FALSE(ParseRfc3339(text).has_value());
  }
  CHECK_FALSE(ParseRfc3339(std::string_view("2031-04-05T06:07:08Z\0", 21)).has_value());
}

TEST_CASE("unix times round towards the past") {
  CHECK(UnixSeconds(At(5, 999999999)) == 5);
  CHECK(UnixSeconds(At(-1, 500000000)) == -1);
  CHECK(UnixMillis(At(5, 999999999)) == 5999);
}

TEST_CASE("the manual clock moves both clocks, and a step only one") {
  ManualClock clock;
  const auto steady = clock.Steady();
  const auto system = clock.Now();
  clock.AdvanceBy(90s);
  CHECK(clock.Steady() - steady == 90s);
  CHECK(clock.Now() - system == 90s);
  clock.SetSystem(system);
  CHECK(clock.Steady() - steady == 90s);
  CHECK(clock.Now() == system);
}

}  // namespace
}  // namespace clusterpulse::base
