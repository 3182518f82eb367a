#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "common/base/mutex.h"

namespace clusterpulse::runtime {

// The threads of one owner, which can be waited for with a limit. Thread-safe. How they are told to end is the owner's
// business; the destructor waits for them without limit.
class WorkerGroup {
 public:
  ~WorkerGroup();
  // Starts `count` threads that run `body` once each.
  void Start(int count, const std::string& name, const std::function<void()>& body);
  // True when all have ended and are joined, within `limit`. REQUIRES: not called by one of them.
  bool Join(std::chrono::milliseconds limit);

 private:
  base::Mutex mu_;
  base::CondVar ended_;
  int running_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<std::jthread> threads_ ABSL_GUARDED_BY(mu_);
};

}  // namespace clusterpulse::runtime
