#pragma once

#include <atomic>
#include <chrono>
#include <stop_token>

#include "common/base/mutex.h"

namespace clusterpulse::base {

// The only way to stop and the only way to sleep: `if (stop.WaitFor(interval)) return;`. Thread-safe. Once requested it
// stays requested. Calls that block elsewhere (HTTP, DNS) take token() and register their own wake-up on it.
class StopSignal {
 public:
  StopSignal() = default;
  // Also stops when `parent` does.
  explicit StopSignal(std::stop_token parent) : parent_(std::move(parent), Forward{this}) {}
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  void RequestStop();
  bool stop_requested() const { return stop_; }
  std::stop_token token() const { return source_.get_token(); }

  // Sleeps for `limit` or until stopped. True when stopped.
  bool WaitFor(std::chrono::nanoseconds limit);
  // Sleeps until stopped.
  void Wait();

 private:
  struct Forward {
    StopSignal* self;
    void operator()() const { self->RequestStop(); }
  };

  std::stop_source source_;
  Mutex mu_;
  CondVar stopped_;
  // Set under mu_, and before source_: who was woken by WaitFor or by the token must find it set.
  std::atomic<bool> stop_ = false;
  std::stop_callback<Forward> parent_{std::stop_token(), Forward{this}};  // last: may call RequestStop when built
};

}  // namespace clusterpulse::base
