#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <absl/status/status.h>

#include "collector/link/delivery_queue.h"
#include "collector/link/spool_keeper.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/token_bucket.h"
#include "common/log/logger.h"
#include "common/model/batch.h"
#include "common/model/delivery.h"
#include "common/model/row_stream.h"
#include "common/telemetry/registry.h"

namespace clusterpulse::link {

// What was made and is not yet known to be durable: numbers batches, keeps them encoded, decides which one goes next,
// and frees them when the hub says so.
//
// A batch too large for one message becomes several, each with its number (splitter.h). They are counted, sent and
// freed one by one, but fall out of the buffer together.
//
// Two lanes. A batch is *live* while it is the newest that holds some scope: it goes as state, in order of numbers and
// before anything else. All others go as history, oldest first, and only so much at a time that a live one never waits
// behind much. One live batch may always be in flight; the rest needs credits, and what is larger than all credits goes
// when nothing else is in flight. An upstream hub, which takes all it gets for current, gets the newest batch only.
//
// Kept on disk, if there is a spool: of each batch the history part (history_part.h) is there before the batch may be
// sent. In memory is then only what is newest state of some scope; all else is read when it is its turn. The next
// process goes on with the numbers, and with what is left, as history; its first batch tells how long nobody watched.
// The spool's bounds are its own, and what they cost it knows as gaps.
//
// Kept in memory otherwise: whole batches without a spool, history parts while there is one that does not work, which
// go to it as soon as it does. When a bound of Options is exceeded the oldest batch goes, but never the newest. It is
// lost, unless it was sent and the hub of this stream, or of the next one, tells that it is durable all the same.
//
// A spool that can be opened only later has other numbers. They hold from the next stream on (WantsNewStream), for all
// that is left, and what a hub did not tell durable under the old ones is there again.
//
// Thread-safe. Add is for one owner; what follows "for the link" is for HubLink, and waits for the disk only to read
// history, never for what is being written: what the hub says is written down by WorkOnDisk, for which there should be
// a thread (spool_thread.h).
class Outbox {
 public:
  struct Options {
    std::size_t max_batches = 10;                   // calls of Add that are kept in memory, >= 1
    std::size_t max_bytes = std::size_t{64} << 20;  // of all these; the newest stays even if it alone is larger
    SpoolKeeper::Opener open_spool;                 // null: in memory only. Called here and in Add
    // There is work for WorkOnDisk, after which the link may have more to send. Called on any thread, without a lock.
    // Null: whoever has found some does it at once.
    std::function<void()> on_disk_work;
  };
  // `instance` names the series of numbers of a process without a spool to the hub: random, a new one with each.
  // `clock` and `registry` are borrowed and must outlive this.
  Outbox(Options options, std::string instance, const base::Clock& clock, log::Logger log = {},
         telemetry::Registry* registry = nullptr);
  ~Outbox();
  Outbox(const Outbox&) = delete;
  Outbox& operator=(const Outbox&) = delete;

  // Numbers the batch and keeps it, on disk if that works. `full`: it carries every scope that is known, so nothing
  // older is needed as state. Returns its number, the last of them if it became several. What `batch` says of seq, part
  // and lane is ignored.
  // `streams`: results of it whose rows are still to be made.
  std::uint64_t Add(model::Batch batch, bool full, std::vector<model::RowStream> streams = {});

  using Stats = DeliveryQueue::Stats;
  Stats stats() const;
  // The newest batch is still to be taken by the hub, or there is none to take it: another one would only wait behind
  // it.
  bool IsNewestPending() const;
  // Numbers that are lost, as far as the hub has not told that it knows; by number.
  std::vector<model::Gap> gaps() const;
  // Writes down what the hub said, and what was found on the way: what is durable, rejected or lost, which numbers are
  // whose. Blocks as long as the disk does.
  void WorkOnDisk();
  // Why batches are not kept on disk although they should be; ok: they are, or should not be. A spool that was opened
  // late is not in use before the next stream.
  absl::Status SpoolTrouble() const;

  // --- for the link ---

  // Sets instance, held, durable_low, durable and gaps.
  void Describe(model::Registration& registration);
  // Of gaps(), what the hub is to be told.
  std::vector<model::Gap> TellGaps();
  // Batches have another instance than this stream knows: it should end, so that the next one tells. Not before what
  // the hub has of them is durable, but after 30 s at most, and at once when the next batch would push one out.
  bool WantsNewStream() const;

  // What the hub says of the instance before all else: the last number it knows. Numbers above what was ever sent from
  // here were given by an earlier process whose disk failed. Batches and gaps that have them now get others, in
  // WorkOnDisk; until then nothing is sent, and what the hub says is kept.
  void Welcomed(std::uint64_t last_seq);
  // What the hub of this stream takes; before, nothing is sent. Said again when more is known.
  void SetPeer(const Peer& peer);
  void SetCredits(model::Credits credits);
  // The stream is over: all that is kept will be sent again on the next one, where that hub does not know it as
  // durable. (A hub that died may have lost what it had only applied.)
  void Disconnected();

  // The next message, if one may go now. With `only_begun` nothing but the rest of a batch in parts. A batch that
  // the hub could not read, because of its size, is kept for the next one. Nothing may also mean that the disk is
  // written to: after Add there is more.
  std::optional<std::string> Next(bool only_begun = false);
  // From now on history that is on disk is not begun: the process ends, and it is safe there.
  void Drain();
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
  // True when the hub may have lost state by that, which only a new full batch brings back. What of it is not kept any
  // more becomes a gap.
  bool Replay(const model::Replay& replay);
  // True when a batch was taken that was not known to be.
  bool UpstreamAcked(const model::UpstreamAck& ack);

 private:
  // A spool that was opened, before it is used.
  struct Opened {
    std::string instance;
    DeliveryQueue::Left left;
    std::optional<base::SystemTime> last_collected_at;
    base::SteadyTime at{};
  };
  // The right to use keeper_, waited for.
  class DiskTurn;
  bool TryDisk() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FreeDisk() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Takes over what keeper_ knows. With the right to use it.
  void RefreshLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  bool HasDiskWorkLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Whoever may have made work for WorkOnDisk sees to it that it is done. Without the lock.
  void AskForDiskWork();
  // REQUIRES: foreign_.
  model::Gap ForgottenLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // With the right to use keeper_:
  void OpenSpool();
  void DoDiskWork();
  void Renumber(const model::Gap& forgotten);
  // Puts on disk what is in memory only, as far as that works. False: it does not, or is not to.
  bool SpoolWaiting();
  // Returns how many of the pieces, the first ones, are on disk.
  std::size_t KeepOnDisk(const DeliveryQueue::Made& made);
  void Tell(const DeliveryQueue::Verdicts& verdicts);

  void AdoptLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void AttachGapsLocked(model::Batch& batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void MakeMetrics();
  void ExportMetrics();
  void LogRefusals();

  // Constant after construction.
  const base::Clock& clock_;
  const base::SteadyTime began_;
  const log::Logger log_;
  telemetry::Registry* const registry_;
  const std::function<void()> on_disk_work_;
  struct Metrics {
    telemetry::Counter sent_live, sent_history, applied, durable, rejected, lost, spool_errors;
    telemetry::Gauge batches, bytes, oldest_age, durable_age, spooled, spool_bytes, memory_only;
    telemetry::Registry::GaugeFamily gaps;
  } metrics_;
  int collector_ = 0;
  base::TokenBucket log_bucket_{1.0 / 60, 5};  // synchronises itself

  SpoolKeeper keeper_;  // of whoever has the disk (disk_busy_)

  mutable base::Mutex mu_;
  base::CondVar disk_free_;
  bool disk_busy_ ABSL_GUARDED_BY(mu_) = false;
  std::string instance_ ABSL_GUARDED_BY(mu_);
  DeliveryQueue queue_ ABSL_GUARDED_BY(mu_);
  bool has_spool_ ABSL_GUARDED_BY(mu_) = false;                     // numbers are the spool's
  std::optional<Opened> opened_ ABSL_GUARDED_BY(mu_);               // they will be
  bool is_described_ ABSL_GUARDED_BY(mu_) = false;                  // the hub of this stream knows the instance
  std::optional<base::SystemTime> down_from_ ABSL_GUARDED_BY(mu_);  // nobody watched since; for the next batch to tell
  std::optional<base::SystemTime> first_collected_at_ ABSL_GUARDED_BY(mu_);
  std::optional<base::SystemTime> left_at_ ABSL_GUARDED_BY(mu_);  // collection time of the last batch before them
  // For WorkOnDisk.
  bool confirm_due_ ABSL_GUARDED_BY(mu_) = false, save_due_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::uint64_t> unusable_ ABSL_GUARDED_BY(mu_);          // records that are no history
  std::optional<model::SeqRange> foreign_ ABSL_GUARDED_BY(mu_);       // a hub knows up to the last, perhaps others'
  std::optional<model::DurablePosition> heard_ ABSL_GUARDED_BY(mu_);  // from that hub, meanwhile
  std::vector<model::SeqRange> replays_ ABSL_GUARDED_BY(mu_);         // the same
  std::vector<model::Gap> pending_gaps_ ABSL_GUARDED_BY(mu_);         // without numbers, for the next batch to tell
  struct Disk {
    absl::Status trouble;
    std::uint64_t bytes = 0, errors = 0;
  };
  Disk disk_ ABSL_GUARDED_BY(mu_);       // keeper_ as it was when it was last used
  Stats exported_ ABSL_GUARDED_BY(mu_);  // what the counters say
  std::uint64_t exported_errors_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace clusterpulse::link
