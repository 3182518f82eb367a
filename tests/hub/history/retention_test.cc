#include "hub/history/retention.h"

#include <catch2/catch.hpp>

namespace clusterpulse::history {
namespace {

using namespace std::chrono_literals;

TEST_CASE("periods are read as VictoriaMetrics reads them") {
  constexpr auto kDays = 24h;
  struct Case {
    const char* text;
    std::chrono::milliseconds period;
  };
  const Case cases[] = {
      {"1", 31 * kDays},   {"12", 372 * kDays}, {"1.5", 31 * kDays + 31 * 12h},
      {"36h", 36h},        {"90d", 90 * kDays}, {"2w", 14 * kDays},
      {"1y", 365 * kDays}, {"0.5d", 12h},
  };
  for (const Case& c : cases) {
    CAPTURE(c.text);
    CHECK(ParsePeriod(c.text) == c.period);
  }
  for (const char* text : {"", "d", "x", "1 d", " 1d", "1m", "1month", "-1d", "0", "0d", "1e3", "nan", "inf", "1001y",
                           "99999999999999999999999999"}) {
    CAPTURE(text);
    CHECK_FALSE(ParsePeriod(text).has_value());
  }
}

TEST_CASE("the retention among other metrics") {
  // As 1.79 has it, and without the blanks.
  CHECK(ParseRetention("flag{name=\"x\", value=\"7d\"} 1\n"
                       "flag{name=\"retentionPeriod\", value=\"1\", is_set=\"false\"} 1\n"
                       "flag{name=\"retentionTimezoneOffset\", value=\"0s\", is_set=\"false\"} 1\n") == 31 * 24h);
  CHECK(ParseRetention("flag{name=\"retentionPeriod\",value=\"100d\",is_set=\"true\"} 1") == 100 * 24h);
  for (const char* text :
       {"", "vm_rows_inserted_total 1\n", "flag{name=\"retentionPeriod\"} 1\n",
        "flag{name=\"retentionPeriod\", value=\"\"} 1\n", "flag{name=\"retentionPeriod\", value=\"secret\"} 1\n",
        "flag{name=\"retentionPeriod\", value=\"1"}) {
    CAPTURE(text);
    const bool is_cut = std::string_view(text).ends_with("=\"1");
    CHECK(ParseRetention(text).has_value() == is_cut);
  }
}

}  // namespace
}  // namespace clusterpulse::history
