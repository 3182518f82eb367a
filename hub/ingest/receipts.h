#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/clock.h"
#include "common/model/delivery.h"
#include "common/model/seq_set.h"
#include "hub/history/history_writer.h"
#include "hub/ingest/metrics.h"
#include "hub/ingest/replay_plan.h"
#include "hub/ingest/sample_waits.h"
#include "hub/store/durable_batches.h"
#include "hub/store/state_store.h"

namespace clusterpulse::ingest {

// What an acknowledgement names of a batch.
struct BatchRef {
  std::string id;         // upstream
  std::uint64_t seq = 0;  // delivery
  std::size_t bytes = 0;
  base::SystemTime collected_at{};
};

// Where a batch was put, and so what its durability waits for.
struct Placed {
  base::SteadyTime at{};
  bool state = false;                                // in the state store, since `at`
  std::chrono::milliseconds durable_after{0};        // of that store
  std::uint64_t continuity = 0;                      // of that store, before the write
  std::shared_ptr<const history::Ticket> samples{};  // on their way to the history store; null: none have to get there
};

// What one stream's collector is told about its batches, and what it may have in flight.
//
// To an upstream collector: one Ack for each batch. To one with capability "delivery": DeliveryAcks, coalesced (at most
// one each kAckInterval, one with nothing to tell but what is durable each kDurableInterval, and none before the one
// before is written), which also return its credits; and Replay for batches whose wait for durability was broken, or
// whose samples were given up. Such a batch is durable only after it came again; it is asked for while the history
// store takes what it is given. Nothing here holds up what is visible: `applied` never waits for samples.
//
// Confined to one thread; time is an argument. Bounded by the credits, for what is not told yet still counts against
// them; what waits or must come again for as long as a store is away is kept as ranges.
class Receipts {
 public:
  static constexpr std::chrono::milliseconds kAckInterval{20};
  // Nobody waits for it: it only frees space.
  static constexpr std::chrono::milliseconds kDurableInterval{1000};

  // For an upstream collector. `history` as below.
  Receipts(const history::HistoryWriter* history, const Metrics& metrics)
      : metrics_(metrics), history_(history), samples_(history) {}
  // For one with "delivery": it may continue from `durable` and was granted `credits`. `history`: null: off. Borrowed.
  Receipts(std::string instance, const model::DurablePosition& durable, model::Credits credits,
           const history::HistoryWriter* history, const Metrics& metrics);

  bool upstream() const { return !delivery_; }

  // A message of a batch came; `begins`: it is the first of its batch. False: more than the credits allow. One live
  // batch is always allowed, and one of any lane that is larger than all credits.
  bool Take(std::size_t bytes, bool history_only, bool begins);
  // In force with the next DeliveryAck, if they differ enough to be worth telling.
  void SetCredits(model::Credits credits);

  // Readers see the batch, or never will because newer state is there. It is durable when all stores it was put in say
  // so.
  void Applied(const BatchRef& batch, const Placed& placed);
  // It can never be stored. `reason` is for a person, and cut.
  void Rejected(const BatchRef& batch, std::string_view reason);
  // These numbers need not be waited for: what became of them is known for good. `newest`: when the last of them was
  // collected, if its data is there.
  void AddDurable(model::SeqRange seqs, std::optional<base::SystemTime> newest = {});
  // What the store of state says somebody before held of the cluster's samples; `ticket` is what Find says of it.
  void AddHeld(const store::HeldSamples& held, std::shared_ptr<const history::Ticket> ticket, base::SteadyTime now);
  // What nobody but the hub holds once the samples of `next` are written, too; nullopt: nothing to say of that.
  std::optional<store::HeldSamples> HeldWith(const BatchRef& next) const;
  // The losses that Step told of are where they are not forgotten.
  void LossesKept() { lost_ = {}; }
  // Bytes of a message that belongs to a batch which was settled without it.
  void Dropped(std::size_t bytes);
  // Settles the waits for durability that are over, by what the stores say; nothing to do unless one may be. `durable`
  // is the state store's word. Returns whose samples will not get to the history store: those it refused, which count
  // as rejected, and those that are lost and nobody can send again: an upstream collector's, and what was held before.
  bool has_ended_wait(base::SteadyTime now) const {
    return (!waits_.empty() && waits_.front().look_at <= now) || samples_.next_look() <= now;
  }
  std::vector<SampleWaits::News> Step(base::SteadyTime now, const model::DurableMark& durable);

  // The next message to send, encoded, if one is due.
  std::optional<std::string> NextMessage(base::SteadyTime now);
  // When Step has something to do next; with `may_send` also NextMessage.
  std::optional<base::SteadyTime> next_due(bool may_send, base::SteadyTime now) const;
  // Nothing is left to be told.
  bool all_told() const;

  const model::DurablePosition& durable() const { return durable_.position(); }
  bool IsDurable(std::uint64_t seq) const { return durable_.Contains(seq); }
  bool AreDurable(model::SeqRange seqs) const;  // all of them
  bool has_applied() const { return has_applied_; }
  // Upstream: when the batch that was applied last was collected.
  base::SystemTime last_collected() const { return last_collected_; }
  // When the newest durable batch was collected; zero: not known.
  base::SystemTime newest_durable() const { return newest_durable_; }
  void SetNewestDurable(base::SystemTime newest) { newest_durable_ = newest; }
  std::uint64_t in_flight() const { return taken_.batches; }  // not yet told
  const model::Credits& credits() const { return credits_; }

 private:
  struct Wait {
    std::uint64_t seq = 0;
    base::SteadyTime since, look_at;
    std::uint64_t continuity = 0;
    base::SystemTime collected_at;
    std::shared_ptr<const history::Ticket> samples;  // what is waited for after that
  };
  struct Amount {
    std::uint64_t batches = 0, bytes = 0;
  };

  void Settle(std::size_t bytes);
  // The state of the batch survives; its samples, if any, are waited for now.
  void StateDurable(const Wait& wait, base::SteadyTime now);
  // What was lost is asked for only while there is room for it, and as far as its collector may send it.
  bool has_room() const { return history_ == nullptr || history_->HasRoom(); }
  bool may_replay(base::SteadyTime now) const { return replay_.next_due(credits_.batches) <= now && has_room(); }
  bool has_urgent_news() const;
  // When the next ack goes out, written ones permitting; max(): there is nothing to tell.
  base::SteadyTime ack_due() const;
  std::string TakeAck();

  const Metrics& metrics_;
  const bool delivery_ = false;
  bool has_applied_ = false;  // anything, on this stream

  // Upstream: in the order of their batches.
  std::deque<model::UpstreamAck> acks_;

  // Delivery.
  const std::string instance_;
  const history::HistoryWriter* const history_ = nullptr;
  model::Credits credits_, most_credits_;  // in force; the largest ever told on this stream
  std::optional<model::Credits> new_credits_;
  Amount taken_, settled_;  // received and not yet told; of those, what the next ack tells
  std::uint64_t largest_live_ = 0, largest_history_ = 0;  // bytes, since nothing was in flight
  std::uint64_t current_live_ = 0, current_history_ = 0;  // of the batch of each lane whose parts come
  model::SeqSet applied_;                                 // since the last ack
  std::vector<model::Rejection> rejected_;                // since the last ack
  model::SeqSet durable_;
  base::SystemTime newest_durable_{};
  bool durable_news_ = false;
  std::deque<Wait> waits_;   // for the state store, in the order of their writes
  SampleWaits samples_;      // for the history store
  bool was_held_ = false;    // something, before this stream
  store::HeldSamples lost_;  // told of, and not kept anywhere yet
  base::SystemTime last_collected_{};
  ReplayPlan replay_;
  std::optional<base::SteadyTime> last_ack_;
};

}  // namespace clusterpulse::ingest
