#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/model/batch.h"
#include "common/model/delivery.h"

namespace clusterpulse::history {

// What became of the samples of one batch. Shared by the writer, who settles it once, and whoever waits for it.
// Thread-safe.
class Ticket {
 public:
  enum class State {
    kWaiting,   // not taken by the history store yet
    kAccepted,  // taken at `at`: durable when the writer's Durable() says so
    kDropped,   // given up for want of room or because the hub stops: the samples must come again to be stored
    kRefused,   // the history store can never take them; `why` says it
  };
  struct Outcome {
    State state = State::kWaiting;
    base::SteadyTime at{};         // accepted: when the answer came
    std::uint64_t continuity = 0;  // accepted: of the writer's Durable(), before it was sent
    std::string why;               // refused: for a person
  };

  Outcome Get() const {
    base::MutexLock lock(mu_);
    return outcome_;
  }
  // The first call counts.
  void Settle(Outcome outcome) {
    base::MutexLock lock(mu_);
    if (outcome_.state == State::kWaiting) outcome_ = std::move(outcome);
  }

 private:
  mutable base::Mutex mu_;
  Outcome outcome_ ABSL_GUARDED_BY(mu_);
};

// Samples that another process, or an earlier one, was to write: of so many batches with the counts of their cluster,
// collected after `after` (at it, when `until` is the same) and until `until`.
struct Sought {
  std::string cluster;
  base::SystemTime after{}, until{};
  std::uint64_t batches = 0;
};

// Port to the store of samples. delivery.md 3 and 4. Adapters: VictoriaMetrics (victoria_metrics_writer.h).
// Thread-safe. Nothing here blocks or waits for the store: a slow or missing one costs the state path nothing.
class HistoryWriter {
 public:
  virtual ~HistoryWriter() = default;

  // Takes the samples of `batch` (series.h), stamped with its collected_at, into the queue towards the store. The same
  // batch may come again: the store keeps one of equal samples. Never null; settled at once, as dropped, when the queue
  // is full, and as accepted when the batch has no samples.
  virtual std::shared_ptr<const Ticket> Write(const model::Batch& batch) = 0;

  // Whether the store has them all. Accepted: it does, and they are durable as if it had taken them then. Dropped: it
  // lacks some, though what was in the queue of this process has gone out since, or it cannot be asked. Never null;
  // waits for as long as the store does not answer.
  virtual std::shared_ptr<const Ticket> Find(const Sought& sought) = 0;

  // An accepted ticket is durable when `at` + DurableAfter() has passed, `at` <= Durable().until, and the continuity is
  // still that of the ticket. When it is another one, the samples must come again.
  virtual std::chrono::milliseconds DurableAfter() const = 0;
  virtual model::DurableMark Durable() const = 0;

  // The store takes what it is given, and there is room in the queue: what was dropped may be asked for again.
  virtual bool HasRoom() const = 0;
};

}  // namespace clusterpulse::history
