#include "common/base/backoff.h"

#include <catch2/catch.hpp>

namespace clusterpulse::base {
namespace {

using namespace std::chrono_literals;

// Always draws the same fraction.
class FixedRandom final : public Random {
 public:
  explicit FixedRandom(std::uint64_t value) : value_(value) {}
  std::uint64_t Next() override { return value_; }

 private:
  std::uint64_t value_;
};

TEST_CASE("waits double up to the limit and start again after success") {
  FixedRandom none(0);
  Backoff backoff({}, none);
  std::vector<std::chrono::milliseconds> waits;
  for (int i = 0; i < 8; ++i) waits.push_back(backoff.Next());
  CHECK(waits ==
        std::vector<std::chrono::milliseconds>{800ms, 1600ms, 3200ms, 6400ms, 12800ms, 25600ms, 30000ms, 30000ms});
  CHECK(backoff.failures() == 8);
  backoff.Reset();
  CHECK(backoff.failures() == 0);
  CHECK(backoff.Next() == 800ms);
}

TEST_CASE("jitter spreads each wait upwards") {
  FixedRandom most(~std::uint64_t{0});
  Backoff backoff({}, most);
  CHECK(backoff.Next() >= 1599ms);
  CHECK(backoff.Next() >= 3199ms);
  SeededRandom random(3);
  Backoff varied({.initial = 1000ms, .max = 1000ms, .jitter = 0.5}, random);
  std::chrono::milliseconds low = 1h, high = 0ms;
  for (int i = 0; i < 1000; ++i) {
    const auto wait = varied.Next();
    low = std::min(low, wait);
    high = std::max(high, wait);
  }
  CHECK(low >= 1000ms);
  CHECK(low < 1010ms);
  CHECK(high <= 1500ms);
  CHECK(high > 1490ms);
}

TEST_CASE("full jitter spreads each wait from nothing to its base") {
  FixedRandom most(~std::uint64_t{0});
  Backoff top({.initial = 1000ms, .max = 4000ms, .full_jitter = true}, most);
  std::vector<std::chrono::milliseconds> waits;
  for (int i = 0; i < 4; ++i) waits.push_back(top.Next());
  CHECK(waits == std::vector<std::chrono::milliseconds>{999ms, 1999ms, 3999ms, 3999ms});
  FixedRandom none(0);
  CHECK(Backoff({.full_jitter = true}, none).Next() == 0ms);
}

TEST_CASE("one wait may have another limit") {
  FixedRandom none(0);
  Backoff backoff({.initial = 1000ms, .max = 60000ms}, none);
  std::vector<std::chrono::milliseconds> waits;
  for (int i = 0; i < 7; ++i) waits.push_back(backoff.Next(5000ms));
  CHECK(waits == std::vector<std::chrono::milliseconds>{1000ms, 2000ms, 4000ms, 5000ms, 5000ms, 5000ms, 5000ms});
  CHECK(backoff.Next() == 60000ms);
  CHECK(backoff.Next(300000ms) == 256000ms);
}

TEST_CASE("no number of failures overflows the wait") {
  SeededRandom random(1);
  for (const double factor : {1.0, 2.0, 10.0, 1e6}) {
    Backoff backoff({.initial = 5ms, .max = 1000000ms, .factor = factor}, random);
    for (int i = 0; i < 5000; ++i) {
      const auto wait = backoff.Next();
      REQUIRE(wait >= 5ms);
      REQUIRE(wait <= 2000000ms);
    }
  }
}

TEST_CASE("a generator repeats itself for a seed and stays within its range") {
  SeededRandom a(42), b(42), c(43);
  CHECK(a.Next() == b.Next());
  CHECK(a.Next() != c.Next());
  for (int i = 0; i < 1000; ++i) {
    const double u = a.Uniform();
    REQUIRE(u >= 0);
    REQUIRE(u < 1);
  }
  CHECK(FixedRandom(~std::uint64_t{0}).Uniform() < 1);
}

}  // namespace
}  // namespace clusterpulse::base
