#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <absl/status/status.h>

#include "common/base/clock.h"

namespace clusterpulse::app {

// Ok while a loop that last came around at `last` has not been silent for longer than `limit`; else kDeadlineExceeded.
absl::Status CheckTurn(base::SteadyTime last, base::SteadyTime now, std::chrono::seconds limit);

// Proof that a loop still turns: the loop beats, the check asks. Thread-safe.
class Heartbeat {
 public:
  explicit Heartbeat(const base::Clock& clock) : clock_(clock) { Beat(); }
  void Beat() { last_.store(clock_.Steady().time_since_epoch().count(), std::memory_order_relaxed); }
  // kDeadlineExceeded when the last beat is older than `limit`.
  absl::Status Check(std::chrono::seconds limit) const;

 private:
  const base::Clock& clock_;
  std::atomic<base::SteadyTime::rep> last_{0};
};

// What /healthz or /readyz answers: the outcome of named checks, each on a line. Liveness asks only about this process
// (a dead Redis must not restart the hub); readiness also about what it needs.
//
// Checks are added before the server starts; they are called from its threads, several at once, must be thread-safe and
// answer within a second.
class HealthChecks {
 public:
  using Check = std::function<absl::Status()>;
  void Add(std::string name, Check check) { checks_.emplace_back(std::move(name), std::move(check)); }

  // Something that is told and never fails: "[i] hub: streaming". Called like a check.
  using Note = std::function<std::string()>;
  void AddNote(std::string name, Note note) { notes_.emplace_back(std::move(name), std::move(note)); }

  struct Answer {
    bool ok = true;
    // "[+] store: ok" or "[-] store: UNAVAILABLE: ..." a line, the notes, then "ok" or "failed".
    std::string body;
  };
  Answer Run() const;

 private:
  std::vector<std::pair<std::string, Check>> checks_;
  std::vector<std::pair<std::string, Note>> notes_;
};

}  // namespace clusterpulse::app
