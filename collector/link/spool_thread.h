#pragma once

#include <functional>
#include <thread>
#include <utility>

#include "common/base/mutex.h"

namespace clusterpulse::link {

// The thread that writes to an outbox's disk what the link finds out (Outbox::WorkOnDisk), so that the link's own never
// waits for a write. Wakes that come while it works are one more turn.
//
// Wake is for any thread, at any time; Start and Stop for the owner. Stop waits for the turn that is under way, which
// may last as long as the disk does; what is left to be done then is done by the end of the outbox.
class SpoolThread {
 public:
  // `turn`: what is done after each Wake, on the thread.
  explicit SpoolThread(std::function<void()> turn) : turn_(std::move(turn)) {}
  ~SpoolThread() { Stop(); }
  SpoolThread(const SpoolThread&) = delete;
  SpoolThread& operator=(const SpoolThread&) = delete;

  void Start();
  void Stop();
  void Wake();

 private:
  void Run();

  const std::function<void()> turn_;
  std::jthread thread_;  // of the owner

  base::Mutex mu_;
  base::CondVar woken_;
  bool wake_ ABSL_GUARDED_BY(mu_) = false, stop_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace clusterpulse::link
