#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include <absl/status/statusor.h>

#include "common/base/stop_signal.h"

namespace clusterpulse::app {

// Blocks SIGTERM and SIGINT for the calling thread and those it starts later, and ignores SIGPIPE. To be called first
// thing in main.
void BlockSignals();

// Turns SIGTERM and SIGINT into a clean stop: the first requests `stop`; a second one, or the limit passing, ends the
// process at once with code 1. One thread, ended by the destructor. REQUIRES: BlockSignals was called before any thread
// was started; one instance at a time.
class SignalHandler {
 public:
  struct Options {
    std::chrono::milliseconds limit{25000};  // of the clean stop
    // Called with a reason just before the process ends; must only log.
    std::function<void(const char* reason)> on_abrupt_end;
  };
  // `stop` is borrowed and must outlive this. Errors: kResourceExhausted when out of file descriptors.
  static absl::StatusOr<std::unique_ptr<SignalHandler>> Start(base::StopSignal& stop, Options options);
  virtual ~SignalHandler() = default;
};

}  // namespace clusterpulse::app
