#pragma once

#include <chrono>
#include <stop_token>
#include <string_view>

#include <absl/status/status.h>

namespace clusterpulse::runtime {

// A part of the program with threads of its own, started and stopped by a Manager: a watch cache, a controller, a
// server.
class Runnable {
 public:
  virtual ~Runnable() = default;

  // For log lines and errors.
  virtual std::string_view name() const = 0;
  // Runs only in the process that holds the lead.
  virtual bool needs_lead() const { return false; }

  // Starts the threads and returns at once; called at most once.
  virtual absl::Status Start() = 0;
  // Blocks until it can be relied on (a cache: until its first list is in), at most `limit`; kDeadlineExceeded then,
  // kCancelled after `stop`. Not called for what needs the lead.
  virtual absl::Status WaitReady(std::chrono::milliseconds limit, std::stop_token stop) {
    (void)limit, (void)stop;
    return absl::OkStatus();
  }
  // Asks it to end and waits at most `limit` (zero: only asks). True when it has ended. May be called again and from
  // any thread; before Start it does nothing.
  virtual bool Stop(std::chrono::milliseconds limit) = 0;
};

}  // namespace clusterpulse::runtime
