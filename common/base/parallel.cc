#include "common/base/parallel.h"

#include <algorithm>
#include <atomic>
#include <system_error>
#include <thread>

#include "common/base/thread.h"

namespace clusterpulse::base {

void RunParallel(const std::vector<std::function<void()>>& tasks, int limit) {
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    for (std::size_t i = next++; i < tasks.size(); i = next++) tasks[i]();
  };
  const auto threads = std::min(tasks.size(), static_cast<std::size_t>(std::max(limit, 1)));
  std::vector<std::jthread> helpers;  // joined when this returns
  try {
    for (std::size_t i = 1; i < threads; ++i) helpers.push_back(StartThread("parallel", work));
  } catch (const std::system_error&) {  // no more threads to be had: those there are do the work
  }
  work();
}

}  // namespace clusterpulse::base
