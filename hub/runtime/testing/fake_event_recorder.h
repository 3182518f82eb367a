#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/mutex.h"
#include "hub/runtime/event_recorder.h"

namespace clusterpulse::runtime {

// Keeps every event. Thread-safe. Does not imitate: cutting, aggregation, limits, the API server.
class FakeEventRecorder final : public EventRecorder {
 public:
  struct Recorded {
    ObjectRef about;
    EventType type;
    std::string reason, message;
  };

  void Record(const ObjectRef& about, EventType type, std::string_view reason, std::string_view message) override {
    base::MutexLock lock(mu_);
    events_.push_back({about, type, std::string(reason), std::string(message)});
  }

  std::vector<Recorded> events() const {
    base::MutexLock lock(mu_);
    return events_;
  }
  int Count(std::string_view reason) const {
    base::MutexLock lock(mu_);
    return static_cast<int>(
        std::count_if(events_.begin(), events_.end(), [&](const Recorded& e) { return e.reason == reason; }));
  }
  void Clear() {
    base::MutexLock lock(mu_);
    events_.clear();
  }

 private:
  mutable base::Mutex mu_;
  std::vector<Recorded> events_ ABSL_GUARDED_BY(mu_);
};

}  // namespace clusterpulse::runtime
