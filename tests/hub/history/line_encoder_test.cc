#include "hub/history/line_encoder.h"

#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include <catch2/catch.hpp>

#include "common/base/random.h"
#include "tests/common/wire/sample_batch.h"

namespace clusterpulse::history {
namespace {

constexpr std::int64_t kNow = 1'700'000'000'000;

struct Encoded {
  LineBuffer buffer;
  LineEncoder encoder{buffer, 2000, kNow};
  std::string text() const { return std::string(buffer.view()); }
};

std::string Value(Number value) {
  Encoded e;
  e.encoder.Labels("", "", "");
  e.encoder.Sample("m", value);
  const std::string text = e.text();
  if (text.empty()) return "";
  REQUIRE(text.starts_with("m{} "));
  REQUIRE(text.ends_with(" 2000\n"));
  return text.substr(4, text.size() - 4 - 6);
}

TEST_CASE("lines are as upstream writes them") {
  Encoded e;
  e.encoder.Labels("cluster-1", "node", "node-1");
  e.encoder.Sample("metric_name", 42);
  e.encoder.Labels("cluster-1", "", "");
  e.encoder.Sample("metric_name", 3.14);
  e.encoder.Labels("cluster-1", "node", "");
  e.encoder.Sample("metric_name", 1);
  CHECK(e.text() ==
        "metric_name{cluster=\"cluster-1\",node=\"node-1\"} 42 2000\n"
        "metric_name{cluster=\"cluster-1\"} 3.14 2000\n"
        "metric_name{cluster=\"cluster-1\"} 1 2000\n");
  CHECK(e.encoder.written() == 3);
  CHECK(e.encoder.refused() == 0);
}

TEST_CASE("lines that are older than the batch have their own time") {
  Encoded e;
  e.encoder.Labels("c", "", "");
  e.encoder.Sample("a", 1);
  e.encoder.Earlier(std::chrono::milliseconds(1500));
  e.encoder.Sample("b", 1);
  e.encoder.Earlier(std::chrono::milliseconds(2000));  // 1970
  e.encoder.Sample("c", 1);
  e.encoder.Earlier(std::chrono::milliseconds(0));
  e.encoder.Sample("d", 1);
  CHECK(e.text() == "a{cluster=\"c\"} 1 2000\nb{cluster=\"c\"} 1 500\nd{cluster=\"c\"} 1 2000\n");
  CHECK(e.encoder.refused(Refusal::kTime) == 1);
}

TEST_CASE("numbers") {
  struct Case {
    Number value;
    std::string text;
  };
  const std::vector<Case> cases = {
      {0, "0"},
      {-7, "-7"},
      {std::int64_t{48'000'000'000}, "48000000000"},
      {std::numeric_limits<std::int64_t>::min(), "-9223372036854775808"},
      {0.0, "0"},
      {-0.0, "-0"},
      {16.0, "16"},
      {7.5, "7.5"},
      {0.1, "0.1"},
      {1.0 / 3, "0.3333333333333333"},
      {999'999.0, "999999"},
      {999'999.5, "999999.5"},
      {1e6, "1e+06"},
      {1'234'567.0, "1.234567e+06"},
      {4.8e10, "4.8e+10"},
      {-4.8e10, "-4.8e+10"},
      {0.0001, "0.0001"},
      {0.00005, "5e-05"},
      {1e300, "1e+300"},
      {std::numeric_limits<double>::denorm_min(), "5e-324"},
      {std::numeric_limits<double>::max(), "1.7976931348623157e+308"},
      {std::numeric_limits<double>::quiet_NaN(), ""},
      {std::numeric_limits<double>::infinity(), ""},
      {-std::numeric_limits<double>::infinity(), ""},
  };
  for (const Case& c : cases) {
    CAPTURE(c.text);
    CHECK(Value(c.value) == c.text);
  }
}

TEST_CASE("any finite number reads back as it was") {
  base::SeededRandom random(7);
  for (int i = 0; i < 20'000; ++i) {
    const std::uint64_t bits = random.Next();
    double value = 0;
    static_assert(sizeof value == sizeof bits);
    std::memcpy(&value, &bits, sizeof value);
    if (i % 2 == 0) value = std::ldexp(random.Uniform() * 2 - 1, static_cast<int>(random.Next() % 60) - 20);
    if (!std::isfinite(value)) continue;
    CAPTURE(value);
    const std::string text = Value(value);
    double back = 0;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), back);
    REQUIRE(error == std::errc());
    REQUIRE(rest == text.data() + text.size());
    REQUIRE(std::memcmp(&back, &value, sizeof back) == 0);
  }
}

TEST_CASE("labels are escaped, and refused where that does not help") {
  struct Case {
    std::string value, escaped;
    bool ok = true;
  };
  const std::vector<Case> cases = {
      {R"(a\b)", R"(a\\b)"},
      {R"(say "hi")", R"(say \"hi\")"},
      {"two\nlines", R"(two\nlines)"},
      {"a,b}c{d=", "a,b}c{d="},
      {"käse", "käse"},
      {std::string("a\0b", 3), std::string("a\0b", 3)},
      {std::string(LineEncoder::kMaxLabelBytes, 'x'), std::string(LineEncoder::kMaxLabelBytes, 'x')},
      {std::string(LineEncoder::kMaxLabelBytes + 1, 'x'), "", false},
      {"\xff\xfe", "", false},
      {"cut \xc3", "", false},
  };
  for (const Case& c : cases) {
    CAPTURE(c.value);
    std::string out = "before";
    CHECK(AppendLabelValue(out, c.value) == c.ok);
    CHECK(out == "before" + c.escaped);
  }
}

TEST_CASE("what cannot be stored is counted by kind, and the rest is written") {
  Encoded e;
  e.encoder.Labels("c", "node", "\xff");
  e.encoder.Sample("m", 1);
  e.encoder.Sample("m", 2);
  e.encoder.Labels("c", "node", "ok");
  const std::string bad_name = "no name";
  e.encoder.Sample(MetricName(bad_name), 3);
  e.encoder.Sample("m", std::nan(""));
  e.encoder.Ambiguous("twice\n");
  e.encoder.Sample("m", 4);
  CHECK(e.text() == "m{cluster=\"c\",node=\"ok\"} 4 2000\n");
  CHECK(e.encoder.written() == 1);
  CHECK(e.encoder.refused() == 5);
  CHECK(e.encoder.refused(Refusal::kLabel) == 2);
  CHECK(e.encoder.refused(Refusal::kName) == 1);
  CHECK(e.encoder.refused(Refusal::kValue) == 1);
  CHECK(e.encoder.refused(Refusal::kAmbiguous) == 1);
  CHECK(e.encoder.refused(Refusal::kTime) == 0);
  CHECK(e.encoder.example(Refusal::kLabel) == "node");
  CHECK(e.encoder.example(Refusal::kName) == "no name");
  CHECK(e.encoder.example(Refusal::kAmbiguous) == "twice?");
}

TEST_CASE("times that VictoriaMetrics would ignore are refused") {
  struct Case {
    std::int64_t stamp;
    bool ok;
  };
  const std::vector<Case> cases = {{kNow, true},
                                   {kNow - 1'000'000'000'000, true},
                                   {1, true},
                                   {0, false},
                                   {-1, false},
                                   {kNow + LineEncoder::kMaxAheadMs, true},
                                   {kNow + LineEncoder::kMaxAheadMs + 1, false},
                                   {std::numeric_limits<std::int64_t>::max(), false}};
  for (const Case& c : cases) {
    CAPTURE(c.stamp);
    LineBuffer buffer;
    LineEncoder encoder(buffer, c.stamp, kNow);
    encoder.Labels("c", "", "");
    encoder.Sample("m", 1);
    CHECK(encoder.written() == (c.ok ? 1 : 0));
    CHECK(encoder.refused(Refusal::kTime) == (c.ok ? 0 : 1));
  }
}

TEST_CASE("a buffer keeps its text as it grows, and gives large memory back") {
  LineBuffer buffer;
  std::string expected;
  for (int i = 0; i < 1000; ++i) {
    LineEncoder encoder(buffer, 1'005'000 + i, kNow);  // all of the same length
    ForEachSample(wire::FullBatch(), encoder);
    if (i == 0) expected = buffer.view();
  }
  CHECK(buffer.view().starts_with(expected));
  CHECK(buffer.view().size() == expected.size() * 1000);
  buffer.Clear(0);
  CHECK(buffer.view().empty());
}

}  // namespace
}  // namespace clusterpulse::history
