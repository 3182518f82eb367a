#pragma once

#include <string>
#include <string_view>

#include "common/kube/resource.h"

namespace clusterpulse::runtime {

// The object an Event is about.
struct ObjectRef {
  std::string api_version, kind;
  kube::ObjectKey key;
  std::string uid;
};

enum class EventType { kNormal, kWarning };

// Port for Kubernetes Events. Thread-safe; never blocks: an event that finds the queue full is dropped and counted.
// Implementation: AggregatingEventRecorder (aggregating_event_recorder.h); fake: testing/fake_event_recorder.h.
class EventRecorder {
 public:
  virtual ~EventRecorder() = default;
  // `reason` is a CamelCase word from a closed set, `message` at most 1,024 bytes (cut).
  virtual void Record(const ObjectRef& about, EventType type, std::string_view reason, std::string_view message) = 0;
};

}  // namespace clusterpulse::runtime
