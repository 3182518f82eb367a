#include "common/base/parallel.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>

namespace clusterpulse::base {
namespace {

TEST_CASE("all tasks run, never more at once than allowed") {
  const int limit = GENERATE(0, 1, 3, 100);
  CAPTURE(limit);
  std::atomic<int> running{0}, most{0}, done{0};
  std::vector<std::function<void()>> tasks(20, [&] {
    const int now = ++running;
    for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
    }
    std::this_thread::yield();
    --running;
    ++done;
  });
  RunParallel(tasks, limit);
  CHECK(done == 20);
  CHECK(most <= std::max(limit, 1));
}

TEST_CASE("with a limit of one the calling thread does the work in order") {
  std::vector<int> order;
  const auto self = std::this_thread::get_id();
  std::vector<std::function<void()>> tasks;
  for (int i = 0; i < 5; ++i) {
    tasks.emplace_back([&order, i, self] {
      if (std::this_thread::get_id() == self) order.push_back(i);
    });
  }
  RunParallel(tasks, 1);
  CHECK(order == std::vector<int>{0, 1, 2, 3, 4});
}

}  // namespace
}  // namespace clusterpulse::base
