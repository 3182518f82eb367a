#pragma once

#include <chrono>

namespace clusterpulse::base {

using SystemTime = std::chrono::system_clock::time_point;  // timestamps that leave the process
using SteadyTime = std::chrono::steady_clock::time_point;  // intervals, deadlines, ages

// Port to time. Thread-safe. Logic takes `now` as an argument where it can; what must ask takes a Clock, so that tests
// use ManualClock (common/base/testing/manual_clock.h) and never sleep.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual SystemTime Now() const = 0;
  virtual SteadyTime Steady() const = 0;
};

// The machine's clocks. The returned object lives as long as the process.
const Clock& SystemClock();

}  // namespace clusterpulse::base
