#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "collector/link/splitter.h"
#include "common/base/clock.h"
#include "common/model/delivery.h"
#include "common/wire/messages.h"

namespace clusterpulse::link {

// What the hub at the other end takes.
struct Peer {
  bool upstream = false;  // acknowledges each message; knows neither lanes nor credits
  bool parts = false;     // joins batches that come in parts
  std::size_t max_message = wire::kMaxUpstreamMessage;
  std::size_t max_batch = kMaxBatch;
  model::Credits credits;
};

// A run of batches that were given up before they were known to be durable.
struct LostBatches {
  model::SeqRange seqs;
  base::SystemTime from, to;  // their collection times
};

// The bookkeeping of Outbox (whose header tells the rules): numbered batches, which one goes next, and what the hub
// said of them. A plain object, confined to one thread or guarded by its owner.
class DeliveryQueue {
 public:
  static constexpr std::size_t kMostLost = 64;  // runs that are remembered, the latest

  // REQUIRES: max_batches >= 1.
  DeliveryQueue(std::size_t max_batches, std::size_t max_bytes) : max_batches_(max_batches), max_bytes_(max_bytes) {}

  struct Made {
    std::string id;
    base::SystemTime collected_at;
    base::SteadyTime collected;  // the same moment
    std::vector<Piece> pieces;   // not empty
    bool full = false;
  };
  // Returns the last number given.
  std::uint64_t Add(Made made);

  struct Stats {
    std::size_t batches = 0, bytes = 0;      // kept
    std::optional<base::SystemTime> oldest;  // collection time of the oldest that is kept
    std::optional<base::SteadyTime> newest_durable;
    std::size_t in_flight = 0;
    std::uint64_t last_seq = 0, durable_low = 0, full_batches = 0;
    // Ever.
    std::uint64_t sent_live = 0, sent_history = 0, applied = 0, durable = 0, rejected = 0, lost = 0;
  };
  Stats stats() const;
  const std::deque<LostBatches>& lost() const { return lost_; }
  // First and last number kept; 0, 0: none.
  model::SeqRange held() const;

  // See Outbox.
  void SetPeer(const Peer& peer);
  void SetCredits(model::Credits credits);
  void Disconnected();
  std::optional<std::string> Next(base::SteadyTime now, bool only_begun);
  std::size_t Applied(const std::vector<model::SeqRange>& ranges);
  void Durable(const model::DurablePosition& position);
  void Rejected(const std::vector<model::Rejection>& rejected);
  // True when something of the range was the newest state of a scope: it comes again as history only.
  bool Replay(model::SeqRange range);
  void UpstreamAcked(const model::UpstreamAck& ack);

  // What the hub did not take since the last TakeRefusals; of many only the last reason.
  struct Refusals {
    std::uint64_t count = 0, seq = 0;
    std::string reason;
  };
  const Refusals& refusals() const { return refusals_; }

  // True once after state went that the hub of this stream did not get and that the next batch will not bring by itself
  // (all but nodes, counts and namespaces, of which each batch tells): a full one is needed.
  bool TakeStateLost() { return std::exchange(is_state_lost_, false); }
  // Next would have something for this hub, now or when credits come back.
  bool HasWaiting() const;
  // The newest batch is still to be taken by the hub.
  bool IsNewestPending() const;

  Refusals TakeRefusals() { return std::exchange(refusals_, {}); }

 private:
  // Refused: not for the hub of this stream, but perhaps for the next.
  enum class State { kWaiting, kInFlight, kApplied, kRefused };
  struct Entry {
    std::uint64_t seq = 0, first_of_batch = 0, last_of_batch = 0;
    std::string id;
    std::shared_ptr<const Piece> piece;            // null: fell out of the buffer, its fate is not known yet
    std::set<std::string, std::less<>> newest_of;  // scopes that no later one holds; empty: it is history
    base::SystemTime collected_at;
    base::SteadyTime collected;
    std::size_t bytes = 0;
    State state = State::kWaiting;
    bool was_sent = false;    // on any stream
    bool as_history = false;  // lane it was sent in
    bool again = false;       // in flight, and wanted again as history
  };
  // A batch in parts of which some are sent.
  struct Begun {
    std::shared_ptr<const Piece> piece;
    wire::Stamp stamp;  // of the next part
  };

  Entry* Choose();
  bool HasCredit(const Entry& entry) const;
  std::string NextPart();
  // Nullopt: the hub cannot read it, because of its size.
  std::optional<std::string> Begin(Entry& entry, base::SteadyTime now);
  // Ends being in flight.
  void Settle(Entry& entry, State state);
  void SendAgain(Entry& entry);
  void Reject(std::uint64_t seq, std::string_view reason);
  void Refuse(std::uint64_t seq, std::string_view reason);
  Entry* Find(std::uint64_t seq);
  void CountDurable(const Entry& entry);
  void CountLost(const Entry& entry);
  // The hub of this stream does not get `entry`.
  void NoteUntaken(const Entry& entry);
  // Brings the buffer back into its bounds.
  void Evict();
  // Gives up what fell out of the buffer, unless a hub may still tell that it is durable.
  void Forget();
  // When an upstream hub has decided on all of a batch and taken some of it, that batch and all before it are over.
  void FreeUpstream(std::uint64_t first_of_batch, std::uint64_t last_of_batch);
  void RefuseForNow(Entry& entry, std::string_view reason);
  template <typename Predicate>
  void Erase(Predicate is_over);

  const std::size_t max_batches_, max_bytes_;
  std::deque<Entry> entries_;  // by seq
  std::optional<Peer> peer_;   // of this stream
  std::optional<Begun> begun_;
  std::size_t history_in_flight_ = 0, in_flight_bytes_ = 0;
  std::deque<LostBatches> lost_;
  Refusals refusals_;
  bool is_state_lost_ = false;
  Stats stats_;  // all but what is counted anew for each answer
};

}  // namespace clusterpulse::link
