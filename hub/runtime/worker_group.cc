#include "hub/runtime/worker_group.h"

#include <utility>

#include "common/base/thread.h"

namespace clusterpulse::runtime {

WorkerGroup::~WorkerGroup() {
  std::vector<std::jthread> threads;
  base::MutexLock lock(mu_);
  while (running_ > 0) ended_.Wait(mu_);
  threads.swap(threads_);  // joined behind the lock: declared before it
}

void WorkerGroup::Start(int count, const std::string& name, const std::function<void()>& body) {
  base::MutexLock lock(mu_);
  for (int i = 0; i < count; ++i) {
    ++running_;
    threads_.push_back(base::StartThread(name, [this, body] {
      body();
      base::MutexLock done(mu_);
      --running_;
      ended_.NotifyAll();
    }));
  }
}

bool WorkerGroup::Join(std::chrono::milliseconds limit) {
  std::vector<std::jthread> threads;
  const auto deadline = std::chrono::steady_clock::now() + limit;
  base::MutexLock lock(mu_);
  while (running_ > 0) {
    const auto left = deadline - std::chrono::steady_clock::now();
    if (left <= std::chrono::nanoseconds::zero()) return false;
    ended_.WaitFor(mu_, left);
  }
  threads.swap(threads_);  // joined behind the lock: declared before it
  return true;
}

}  // namespace clusterpulse::runtime
