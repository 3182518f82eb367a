#include "common/base/token_bucket.h"

#include <atomic>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>

namespace clusterpulse::base {
namespace {

using namespace std::chrono_literals;

TEST_CASE("a burst passes at once, then calls queue up at the rate") {
  TokenBucket bucket(50, 100);
  const SteadyTime now(1h);
  for (int i = 0; i < 100; ++i) REQUIRE(bucket.Reserve(now) == 0ns);
  for (int i = 1; i <= 10; ++i) {
    const auto wait = bucket.Reserve(now);
    CHECK(wait >= i * 20ms - 1us);
    CHECK(wait <= i * 20ms + 1us);
  }
}

TEST_CASE("tokens come back at the rate and not beyond the burst") {
  TokenBucket bucket(10, 2);
  SteadyTime now(1h);
  CHECK(bucket.TryTake(now));
  CHECK(bucket.TryTake(now));
  CHECK_FALSE(bucket.TryTake(now));
  now += 99ms;
  CHECK_FALSE(bucket.TryTake(now));
  now += 2ms;
  CHECK(bucket.TryTake(now));
  now += 24h;
  CHECK(bucket.TryTake(now));
  CHECK(bucket.TryTake(now));
  CHECK_FALSE(bucket.TryTake(now));
}

TEST_CASE("a cancelled reservation shortens the queue") {
  TokenBucket bucket(1, 1);
  const SteadyTime now(1h);
  CHECK(bucket.Reserve(now) == 0ns);
  CHECK(bucket.Reserve(now) == 1s);
  bucket.Cancel();
  CHECK(bucket.Reserve(now) == 1s);
  for (int i = 0; i < 10; ++i) bucket.Cancel();
  CHECK(bucket.TryTake(now));
  CHECK_FALSE(bucket.TryTake(now));  // never more than the burst
}

TEST_CASE("time that goes back gives nothing and takes nothing") {
  TokenBucket bucket(1, 1);
  const SteadyTime now(1h);
  CHECK(bucket.TryTake(now));
  CHECK_FALSE(bucket.TryTake(now - 10s));
  CHECK_FALSE(bucket.TryTake(now));
  CHECK(bucket.TryTake(now + 1s));
}

TEST_CASE("threads share one budget") {
  TokenBucket bucket(1, 100);
  const SteadyTime now(1h);
  std::atomic<int> taken{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 100; ++i) taken += bucket.TryTake(now) ? 1 : 0;
      });
    }
  }
  CHECK(taken == 100);
}

}  // namespace
}  // namespace clusterpulse::base
