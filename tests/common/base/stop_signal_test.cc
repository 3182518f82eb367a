#include "common/base/stop_signal.h"

#include <atomic>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>

#include "common/base/thread.h"

namespace clusterpulse::base {
namespace {

using namespace std::chrono_literals;

TEST_CASE("waiting ends with the time or with the signal") {
  StopSignal stop;
  CHECK_FALSE(stop.WaitFor(1ms));
  CHECK_FALSE(stop.WaitFor(0ns));
  CHECK_FALSE(stop.WaitFor(-1h));
  stop.RequestStop();
  CHECK(stop.stop_requested());
  CHECK(stop.WaitFor(0ns));
  CHECK(stop.WaitFor(std::chrono::nanoseconds::max()));
  stop.Wait();
  stop.RequestStop();
}

TEST_CASE("everyone who waits is woken, and sees that it was asked to stop") {
  for (int round = 0; round < 50; ++round) {
    StopSignal stop;
    std::atomic<int> woken{0}, consistent{0};
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.push_back(StartThread("waiter", [&] {
        const bool stopped = stop.WaitFor(std::chrono::nanoseconds::max());
        consistent += stopped && stop.stop_requested() ? 1 : 0;
        ++woken;
      }));
    }
    stop.RequestStop();
    threads.clear();
    REQUIRE(woken == 4);
    REQUIRE(consistent == 4);
  }
}

TEST_CASE("requests from several threads at once are one request") {
  StopSignal stop;
  std::atomic<int> calls{0};
  const std::stop_callback on_stop(stop.token(), [&] { ++calls; });
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) threads.emplace_back([&] { stop.RequestStop(); });
  }
  CHECK(calls == 1);
}

TEST_CASE("a child stops with its parent and not the other way round") {
  StopSignal parent;
  {
    StopSignal child(parent.token());
    CHECK_FALSE(child.stop_requested());
    StopSignal sibling(parent.token());
    sibling.RequestStop();
    CHECK_FALSE(parent.stop_requested());
    CHECK_FALSE(child.stop_requested());
    std::jthread waiter([&] { child.Wait(); });
    parent.RequestStop();
    waiter.join();
    CHECK(child.stop_requested());
    CHECK(child.token().stop_requested());
  }
  StopSignal late(parent.token());
  CHECK(late.stop_requested());
  CHECK(late.WaitFor(1h));
}

}  // namespace
}  // namespace clusterpulse::base
