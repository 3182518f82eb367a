#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "collector/link/delivery_queue.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/token_bucket.h"
#include "common/log/logger.h"
#include "common/model/batch.h"
#include "common/model/delivery.h"
#include "common/telemetry/registry.h"

namespace clusterpulse::link {

// What was made and is not yet known to be durable: numbers batches, keeps them encoded, decides which one goes next,
// and frees them when the hub says so. In memory only.
//
// A batch too large for one message becomes several, each with its number (splitter.h). They are counted, sent and
// freed one by one, but fall out of the buffer together.
//
// Two lanes. A batch is *live* while it is the newest that holds some scope: it goes as state, in order of numbers and
// before anything else. All others go as history, oldest first, at most two in flight at a time, so that a live one
// never waits behind much. One live batch may always be in flight; the rest needs credits, and what is larger than all
// credits goes when nothing else is in flight. An upstream hub, which takes all it gets for current, gets the newest
// batch only.
//
// When a bound is exceeded the oldest batch goes, but never the newest. It is lost, unless it was sent and the hub of
// this stream, or of the next one, tells that it is durable all the same.
//
// Thread-safe. Add is for the owner; what follows "for the link" is for HubLink.
class Outbox {
 public:
  struct Options {
    std::size_t max_batches = 10;                   // calls of Add that are kept, >= 1
    std::size_t max_bytes = std::size_t{64} << 20;  // of all; the newest batch stays even if it alone is larger
  };
  // `instance` names this series of numbers to the hub: random, a new one with each process. `clock` and `registry` are
  // borrowed and must outlive this.
  Outbox(Options options, std::string instance, const base::Clock& clock, log::Logger log = {},
         telemetry::Registry* registry = nullptr);
  ~Outbox();
  Outbox(const Outbox&) = delete;
  Outbox& operator=(const Outbox&) = delete;

  // Numbers the batch and keeps it. `full`: it carries every scope that is known, so nothing older is needed as state.
  // Returns its number, the last of them if it became several. What `batch` says of seq, part and lane is ignored.
  std::uint64_t Add(model::Batch batch, bool full);

  using Stats = DeliveryQueue::Stats;
  Stats stats() const;
  // The newest batch is still to be taken by the hub, or there is none to take it: another one would only wait behind
  // it.
  bool IsNewestPending() const;
  // What was given up, for gap records: the latest 64 runs.
  std::vector<LostBatches> lost() const;

  // --- for the link ---

  // Sets instance, held and durable_low.
  void Describe(model::Registration& registration) const;

  // What the hub of this stream takes; before, nothing is sent. Said again when more is known.
  void SetPeer(const Peer& peer);
  void SetCredits(model::Credits credits);
  // The stream is over: all that is kept will be sent again on the next one, where that hub does not know it as
  // durable. (A hub that died may have lost what it had only applied.)
  void Disconnected();

  // The next message, if one may go now. With `only_begun` nothing but the rest of a batch in parts. A batch that
  // the hub could not read, because of its size, is kept for the next one.
  std::optional<std::string> Next(bool only_begun = false);
  // Next would have something for this hub, now or when credits come back.
  bool HasWaiting() const;
  // True once after state went that this hub did not get and that only a full batch brings: what fell out of the buffer
  // unsent, or was not taken.
  bool TakeStateLost();

  // What the hub says of batches that were sent; all else is ignored. Ranges ascend, as wire decodes them.
  // Returns how many were not known to be applied.
  std::size_t Applied(const std::vector<model::SeqRange>& ranges);
  void Durable(const model::DurablePosition& position);
  void Rejected(const std::vector<model::Rejection>& rejected);
  // True when the hub may have lost state by that, which only a new full batch brings back.
  bool Replay(const model::Replay& replay);
  void UpstreamAcked(const model::UpstreamAck& ack);

 private:
  void ExportMetrics();
  void LogRefusals();

  // Constant after construction.
  const std::string instance_;
  const base::Clock& clock_;
  const base::SteadyTime began_;
  const log::Logger log_;
  telemetry::Registry* const registry_;
  struct Metrics {
    telemetry::Counter sent_live, sent_history, applied, durable, rejected, lost;
    telemetry::Gauge batches, bytes, durable_age;
  } metrics_;
  int collector_ = 0;
  base::TokenBucket log_bucket_{1.0 / 60, 5};  // synchronises itself

  mutable base::Mutex mu_;
  DeliveryQueue queue_ ABSL_GUARDED_BY(mu_);
  Stats exported_ ABSL_GUARDED_BY(mu_);  // what the counters say
};

}  // namespace clusterpulse::link
