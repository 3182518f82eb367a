#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <absl/status/statusor.h>

#include "collector/link/splitter.h"
#include "collector/spool/gap_list.h"
#include "collector/spool/segment.h"
#include "collector/spool/spool.h"
#include "common/base/clock.h"
#include "common/model/delivery.h"
#include "common/model/seq_set.h"
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

// The bookkeeping of Outbox (whose header tells the rules): numbered batches, which one goes next, what the hub said of
// them, what is lost. Does no I/O: of what is on disk it knows the number, asks for it when it is its turn (wanted) and
// tells what became of it (TakeVerdicts). A plain object, confined to one thread or guarded by its owner.
class DeliveryQueue {
 public:
  static constexpr std::size_t kMostGaps = spool::Spool::kMostGaps;
  static constexpr std::chrono::seconds kDiskPause{5};

  // Bounds of what is in memory alone. REQUIRES: max_batches >= 1.
  DeliveryQueue(std::size_t max_batches, std::size_t max_bytes) : max_batches_(max_batches), max_bytes_(max_bytes) {}

  struct Made {
    std::string id;
    base::SystemTime collected_at;
    base::SteadyTime collected;  // the same moment
    std::vector<Piece> pieces;   // not empty
    std::size_t spooled = 0;     // so many of them, the first ones, have their history on disk
    bool full = false;
  };
  // Returns the last number given.
  std::uint64_t Add(Made made);
  std::uint64_t last_seq() const { return stats_.last_seq; }

  struct Stats {
    std::size_t batches = 0, bytes = 0;      // kept
    std::size_t spooled = 0;                 // of them on disk
    std::optional<base::SystemTime> oldest;  // collection time of the oldest that is kept
    std::optional<base::SteadyTime> newest_durable;
    std::size_t in_flight = 0;
    std::uint64_t last_seq = 0, durable_low = 0, full_batches = 0;
    // Ever.
    std::uint64_t sent_live = 0, sent_history = 0, applied = 0, durable = 0, rejected = 0, lost = 0;
  };
  Stats stats() const;
  // Numbers that are lost, as far as the hub has not told that it knows, the spool's included; by number.
  std::vector<model::Gap> gaps() const;
  // Of these, what a hub may be told now: before Confirmed only numbers that mean the same to it.
  std::vector<model::Gap> TellGaps();
  // What the hubs told durable, as far as it was ever given.
  const model::DurablePosition& durable() const { return durable_.position(); }
  // First and last number kept; 0, 0: none.
  model::SeqRange held() const;
  // Nothing of what was sent waits to be durable.
  bool IsQuiet() const;
  // Another batch as large as the newest would push the oldest out of memory.
  bool IsFull() const;

  // --- the spool ---

  // What an earlier process left there.
  struct Left {
    std::vector<spool::Spool::Entry> entries;  // by number
    std::vector<model::Gap> gaps;
    std::uint64_t last_seq = 0;  // ever given
    // Up to this they are known to be of these batches alone; all are, and will be, if `is_confirmed`.
    std::uint64_t confirmed = 0;
    bool is_confirmed = false;
    model::DurablePosition durable;
  };
  // Goes on where it ended: what it left is history. What was added here before keeps its order, gets numbers above and
  // was never sent; what of it was lost has no number any more and is returned. `now` and `steady` are one moment.
  // REQUIRES: no stream.
  std::vector<model::Gap> Adopt(const Left& left, base::SystemTime now, base::SteadyTime steady);

  struct Unspooled {
    std::uint64_t seq = 0;
    base::SystemTime collected_at;
    std::shared_ptr<const Piece> piece;
  };
  // What is in memory alone, by number.
  std::vector<Unspooled> unspooled() const;
  // It is on disk now; its history takes so many bytes.
  void Spooled(std::uint64_t seq, std::size_t bytes);
  // Lets go of all that is not on disk any more. `kept` and `gaps`: what the spool keeps and has lost, by number.
  void OnDisk(const std::vector<spool::Spool::Entry>& kept, std::vector<model::Gap> gaps);
  const std::vector<model::Gap>& spool_gaps() const { return spool_gaps_; }
  // Gaps of what was never on disk, for the spool to remember: they are none here any more.
  std::vector<model::Gap> TakeGaps();

  // What became of batches on disk.
  struct Verdicts {
    std::optional<model::DurablePosition> durable;  // all that is over
    std::vector<spool::Spool::GivenUp> given_up;
    bool empty() const { return !durable.has_value() && given_up.empty(); }
  };
  bool HasVerdicts() const { return !verdicts_.empty(); }
  Verdicts TakeVerdicts() { return std::exchange(verdicts_, {}); }

  // --- the hub; see Outbox ---

  void SetPeer(const Peer& peer);
  void SetCredits(model::Credits credits);
  void Disconnected();
  std::optional<std::string> Next(base::SteadyTime now, bool only_begun);
  // The last Next gave nothing because it needs the history of this one from the disk. Loaded brings it: kNotFound and
  // kDataLoss give it up (the spool counts it as lost); after other errors nothing is wanted for kDiskPause. False:
  // what was read is no history, and given up; the spool does not know.
  std::optional<std::uint64_t> wanted() const { return wanted_; }
  bool Loaded(std::uint64_t seq, absl::StatusOr<std::string> history, base::SteadyTime now);
  // What is on disk is not begun any more: it is safe there.
  void Drain() { is_draining_ = true; }

  std::size_t Applied(const std::vector<model::SeqRange>& ranges);
  void Durable(const model::DurablePosition& position);
  void Rejected(const std::vector<model::Rejection>& rejected);
  // True when something of the range was the newest state of a scope: it comes again as history only. What is not kept
  // any more is lost from now on.
  bool Replay(model::SeqRange range);
  // True when it was taken, as far as was not known before.
  bool UpstreamAcked(const model::UpstreamAck& ack);

  // A hub knows numbers up to `last_seq`: from which on they may be other batches' here, if any.
  std::optional<std::uint64_t> FirstForeign(std::uint64_t last_seq) const;
  // Those were given before, and forgotten: all that has them, or a higher one, gets a number above in the same order.
  // As Spool::Renumber.
  void Renumber(model::SeqRange forgotten);
  // A hub has told which numbers it knows, and none of them is another batch's.
  void Confirmed() { is_confirmed_ = true; }
  bool is_confirmed() const { return is_confirmed_; }

  // What the hub did not take since the last TakeRefusals; of many only the last reason.
  struct Refusals {
    std::uint64_t count = 0, seq = 0;
    std::string reason;
  };
  const Refusals& refusals() const { return refusals_; }
  Refusals TakeRefusals() { return std::exchange(refusals_, {}); }

  // True once after state went that the hub of this stream did not get and that the next batch will not bring by itself
  // (all but nodes, counts and namespaces, of which each batch tells): a full one is needed.
  bool TakeStateLost() { return std::exchange(is_state_lost_, false); }
  // Next would have something for this hub, now or when credits come back; while draining: something that is not on
  // disk.
  bool HasWaiting() const;
  // The newest batch is still to be taken by the hub.
  bool IsNewestPending() const;

 private:
  // Refused: not for the hub of this stream, but perhaps for the next.
  enum class State { kWaiting, kInFlight, kApplied, kRefused };
  // What is in memory of a batch.
  struct Memory {
    std::string id;
    std::shared_ptr<const Piece> piece;            // null: fell out of the buffer, its fate is not known yet
    bool is_history = false;                       // only `piece->history` is left
    std::set<std::string, std::less<>> newest_of;  // scopes that no later one holds; empty: it is history
  };
  struct Entry {
    std::uint64_t seq = 0, first_of_batch = 0, last_of_batch = 0;
    base::SystemTime collected_at;
    base::SteadyTime collected;
    std::size_t bytes = 0;           // of what is kept: on disk, or in memory
    std::unique_ptr<Memory> memory;  // null: it is on disk alone
    State state = State::kWaiting;
    bool is_spooled = false;
    bool was_sent = false;    // on any stream
    bool as_history = false;  // lane it was sent in
    bool again = false;       // in flight, and wanted again as history

    bool HasPiece() const { return memory != nullptr && memory->piece != nullptr; }
    bool IsKept() const { return is_spooled || HasPiece(); }
    bool IsLive() const { return memory != nullptr && !memory->newest_of.empty(); }
  };
  using Entries = std::deque<Entry>;
  // A batch in parts of which some are sent.
  struct Begun {
    std::shared_ptr<const Piece> piece;
    wire::Stamp stamp;  // of the next part
  };
  struct FromDisk {
    std::uint64_t seq = 0;
    std::shared_ptr<const Piece> piece;
  };

  Entry* Choose(base::SteadyTime now);
  Entry* ChooseHistory(base::SteadyTime now);
  std::size_t BytesToSend(const Entry& entry) const;
  bool HasCredit(const Entry& entry) const;
  std::string NextPart();
  // What is to be sent of it; null: it must be read from the disk first.
  std::shared_ptr<const Piece> PieceOf(const Entry& entry);
  // Nullopt: the hub cannot read it, because of its size.
  std::optional<std::string> Begin(Entry& entry, const std::shared_ptr<const Piece>& piece, base::SteadyTime now);
  void Launch(Entry& entry);
  // Ends being in flight.
  void Land(Entry& entry);
  void Settle(Entry& entry, State state);
  void SendAgain(Entry& entry);
  // It is no scope's newest any more.
  void Outdate(Entry& entry);
  // Lets go of what only state needs.
  void Shrink(Entry& entry);
  void Reject(std::uint64_t seq, std::string_view reason);
  void Refuse(std::uint64_t seq, std::string_view reason);
  Entries::iterator LowerBound(std::uint64_t seq);
  Entries::const_iterator LowerBound(std::uint64_t seq) const;
  Entry* Find(std::uint64_t seq);
  bool HasAny(model::SeqRange range) const;
  void CountDurable(const Entry& entry);
  // For Erase, which must be over before AddLost.
  void CountLost(const Entry& entry, model::GapCause cause, std::vector<model::Gap>& lost);
  void AddLost(const std::vector<model::Gap>& lost);
  // The hub of this stream does not get `entry`.
  void NoteUntaken(const Entry& entry);
  // What is in memory alone.
  struct InMemory {
    std::size_t calls = 0, bytes = 0, newest_bytes = 0;
  };
  InMemory CountInMemory() const;
  // Brings it back into its bounds.
  void Evict();
  // Gives up what fell out of the buffer, unless a hub may still tell that it is durable.
  void Forget();
  // When an upstream hub has decided on all of a batch and taken some of it, that batch and all before it are over:
  // what it took is durable, what it refused or was never sent is a gap, for a hub of ours that comes later.
  void FreeUpstream(std::uint64_t first_of_batch, std::uint64_t last_of_batch);
  void RefuseForNow(Entry& entry, std::string_view reason);
  // Of the range, what is neither kept nor known to be lost.
  std::vector<model::SeqRange> Missing(model::SeqRange range) const;
  // What was offered, a hub of ours may have, and nobody else's under that number, once it is known what numbers mean.
  void NoteSent() {
    if (is_confirmed_) last_sent_ = std::max(last_sent_, last_offered_);
  }
  // What depends on numbers, after they changed.
  void NumbersChanged();
  // The entries from `from` on get numbers above `last`.
  void GiveNumbers(std::size_t from, std::uint64_t last);
  template <typename Predicate>
  void Erase(Predicate is_over);

  const std::size_t max_batches_, max_bytes_;
  Entries entries_;                                 // by seq
  std::set<std::uint64_t> live_;                    // numbers of those that are newest of something
  std::map<std::uint64_t, std::size_t> in_flight_;  // numbers to bytes
  std::size_t in_flight_bytes_ = 0, history_in_flight_ = 0, history_in_flight_bytes_ = 0;
  std::uint64_t history_from_ = 0;  // no history waits below
  // The highest number that a hub can have from this process or those before, as a batch or as a gap. What goes
  // out before Confirmed may have a number that the hub knows already: it is offered, not sent. (If the hub took it, it
  // comes again under another number, with the same times and values.)
  std::uint64_t last_sent_ = 0, last_offered_ = 0, last_told_ = 0;
  bool is_confirmed_ = true;
  base::SystemTime last_collected_at_{};  // of the newest
  std::optional<Peer> peer_;              // of this stream
  std::optional<Begun> begun_;
  std::optional<std::uint64_t> wanted_;
  base::SteadyTime disk_from_{};  // before, nothing is read from the disk
  FromDisk from_disk_;            // to be sent next
  model::SeqSet durable_;
  spool::GapList gaps_;                 // of what was never on disk
  std::vector<model::Gap> spool_gaps_;  // the spool's
  Verdicts verdicts_;
  Refusals refusals_;
  bool is_state_lost_ = false, has_fallen_ = false, is_draining_ = false;
  Stats stats_;  // all but what is counted anew for each answer
};

}  // namespace clusterpulse::link
