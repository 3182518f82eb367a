#include "common/base/published.h"

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>

namespace clusterpulse::base {
namespace {

TEST_CASE("readers keep the snapshot they took") {
  Published<std::string> published("first");
  const auto first = published.Get();
  published.Set("second");
  CHECK(*first == "first");
  CHECK(*published.Get() == "second");
  CHECK(*Published<int>().Get() == 0);
}

TEST_CASE("readers see whole values while writers replace them") {
  Published<std::vector<int>> published(std::vector<int>(100, 0));
  std::atomic<bool> done{false}, torn{false};
  std::vector<std::jthread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      while (!done) {
        const auto seen = published.Get();
        for (const int v : *seen) {
          if (v != seen->front()) torn = true;
        }
      }
    });
  }
  for (int i = 1; i <= 2000; ++i) published.Set(std::vector<int>(100, i));
  done = true;
  readers.clear();
  CHECK_FALSE(torn);
}

}  // namespace
}  // namespace clusterpulse::base
