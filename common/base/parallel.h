#pragma once

#include <functional>
#include <vector>

namespace clusterpulse::base {

// Runs all tasks, at most `limit` at a time, the calling thread being one of those that work. Returns when all are
// done. Tasks are started in order, must not throw and end by themselves.
void RunParallel(const std::vector<std::function<void()>>& tasks, int limit);

}  // namespace clusterpulse::base
