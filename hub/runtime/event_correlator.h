#pragma once

#include <chrono>
#include <optional>
#include <set>
#include <string>

#include "common/base/clock.h"
#include "common/base/token_bucket.h"
#include "hub/runtime/event_recorder.h"
#include "hub/runtime/lru_map.h"

namespace clusterpulse::runtime {

// Something that happened, as given to Record.
struct Occurrence {
  ObjectRef about;
  EventType type = EventType::kNormal;
  std::string reason, message;
  base::SystemTime time;
};

// How an occurrence is told to the API server: as a new Event, or as an update of one made before.
struct EventWrite {
  Occurrence occurrence;  // with the message to show
  std::string ns, name;   // of the Event object
  base::SystemTime first;
  int count = 1;
  bool update = false;  // the object is there already (unless the server has forgotten it)
};

// Turns occurrences into few Event objects: a repeat raises the count of its Event; many different messages of one
// reason about one object become one combined Event; an object that produces more than its share is muted. Remembers a
// bounded number of objects, least recently used ones go. One source. Confined to one thread.
class EventCorrelator {
 public:
  struct Options {
    std::size_t capacity = 4096;                    // of each of the three memories
    int similar = 10;                               // different messages (same object, type, reason) ...
    std::chrono::milliseconds similar_gap{600000};  // ... each within this time of the one before: more are combined
    double spam_burst = 25;                         // Events about one object at once, and then
    std::chrono::milliseconds spam_refill{300000};  // one more after each of these
  };
  explicit EventCorrelator(Options options);

  // Absent: muted. Its repeats count nevertheless, and are told with the next one that passes.
  std::optional<EventWrite> Correlate(Occurrence occurrence, base::SteadyTime now);

 private:
  struct Similar {
    std::set<std::string> messages;
    base::SteadyTime last{};
  };
  struct Seen {
    std::string name;
    base::SystemTime first;
    int count = 0;
    bool written = false;
  };

  std::string NewName(const Occurrence& occurrence);

  const Options options_;
  LruMap<Similar> similar_;
  LruMap<Seen> seen_;
  LruMap<base::TokenBucket> budgets_;
  std::int64_t last_stamp_ = 0;
};

}  // namespace clusterpulse::runtime
