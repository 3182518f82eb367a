#include "common/base/circuit_breaker.h"

#include <atomic>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>

namespace clusterpulse::base {
namespace {

using namespace std::chrono_literals;
using State = CircuitBreaker::State;

struct Fixture {
  CircuitBreaker breaker{{}};
  SteadyTime now{1h};

  void Fail(int times) {
    for (int i = 0; i < times; ++i) {
      REQUIRE(breaker.Allow(now));
      breaker.OnFailure(now);
    }
  }
};

TEST_CASE("five failures in a row open it, a success in between does not") {
  Fixture f;
  f.Fail(4);
  CHECK(f.breaker.state() == State::kClosed);
  REQUIRE(f.breaker.Allow(f.now));
  f.breaker.OnSuccess();
  f.Fail(4);
  CHECK(f.breaker.state() == State::kClosed);
  f.Fail(1);
  CHECK(f.breaker.state() == State::kOpen);
  CHECK_FALSE(f.breaker.Allow(f.now));
}

TEST_CASE("an open one refuses for the whole recovery time, then lets one probe pass") {
  Fixture f;
  f.Fail(5);
  CHECK(f.breaker.RetryIn(f.now) == 60s);
  f.now += 60s - 1ns;
  CHECK_FALSE(f.breaker.Allow(f.now));
  CHECK(f.breaker.RetryIn(f.now) == 1ns);
  f.now += 1ns;
  CHECK(f.breaker.RetryIn(f.now) == 0ns);
  CHECK(f.breaker.Allow(f.now));
  CHECK(f.breaker.state() == State::kHalfOpen);
  CHECK_FALSE(f.breaker.Allow(f.now));
  SECTION("its success closes") {
    f.breaker.OnSuccess();
    CHECK(f.breaker.state() == State::kClosed);
    f.Fail(4);  // the count starts anew
    CHECK(f.breaker.state() == State::kClosed);
  }
  SECTION("its failure opens again for the full time") {
    f.breaker.OnFailure(f.now);
    CHECK(f.breaker.state() == State::kOpen);
    CHECK(f.breaker.RetryIn(f.now) == 60s);
  }
  SECTION("abandoned, it frees its place") {
    f.breaker.OnAbandoned();
    CHECK(f.breaker.state() == State::kHalfOpen);
    CHECK(f.breaker.Allow(f.now));
    CHECK_FALSE(f.breaker.Allow(f.now));
  }
}

TEST_CASE("calls that were under way when it opened do not keep it open") {
  Fixture f;
  REQUIRE(f.breaker.Allow(f.now));  // slow
  f.Fail(5);
  f.now += 50s;
  f.breaker.OnFailure(f.now);
  CHECK(f.breaker.RetryIn(f.now) == 10s);
  f.now += 10s;
  CHECK(f.breaker.Allow(f.now));
}

TEST_CASE("an abandoned call is neither success nor failure") {
  Fixture f;
  f.Fail(4);
  REQUIRE(f.breaker.Allow(f.now));
  f.breaker.OnAbandoned();
  f.Fail(1);
  CHECK(f.breaker.state() == State::kOpen);
}

TEST_CASE("of many threads one is the probe") {
  Fixture f;
  f.Fail(5);
  f.now += 60s;
  std::atomic<int> allowed{0};
  std::vector<std::jthread> threads;
  for (int i = 0; i < 8; ++i) threads.emplace_back([&] { allowed += f.breaker.Allow(f.now) ? 1 : 0; });
  threads.clear();
  CHECK(allowed == 1);
}

}  // namespace
}  // namespace clusterpulse::base
