#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

#include "collector/spool/file_system.h"
#include "common/base/clock.h"
#include "common/base/random.h"
#include "common/log/logger.h"
#include "common/model/delivery.h"

namespace clusterpulse::spool {

// The collector's batches on disk, until they are durable (delivery.md 5): the history part of each, under the sequence
// number of an *instance*, the random name of this spool. Survives restarts, kill -9 and loss of power: what Append
// returned ok for is there afterwards, unless the disk broke it, and then it is a gap.
//
// Format: segment.h. One directory belongs to one process at a time (it is locked). Not thread-safe: the owner guards
// it. All calls but the plain accessors touch the disk and may block for as long as it does.
//
// Bounds: `max_bytes` and `max_age`. When one is exceeded, whole segments go, the oldest first, and what they held that
// was not durable becomes a gap `spool_overflow`; the newest record always stays. At most kMostGaps gaps are kept: then
// the two oldest neighbours of one cause become one.
class Spool {
 public:
  static constexpr std::size_t kMostGaps = 240;  // HEAD has room for what is durable between them

  struct Options {
    std::string dir;                                     // created, 0700, when missing
    std::uint64_t max_bytes = std::uint64_t{256} << 20;  // of all files, >= 2 segments
    std::chrono::seconds max_age = std::chrono::hours(24);
    std::uint64_t segment_bytes = std::uint64_t{16} << 20;
  };

  // What is known of a record without reading it.
  struct Entry {
    std::uint64_t seq = 0;
    base::SystemTime collected_at{};
    std::size_t bytes = 0;  // of its payload
    bool operator==(const Entry&) const = default;
  };

  // Opens or makes the spool, reads what is there, and turns what is damaged into gaps and warnings. Files that are no
  // segments of ours are left alone and named in the log. Errors: kFailedPrecondition (another process has it),
  // kPermissionDenied, kResourceExhausted, kUnavailable (the directory cannot be used). All are borrowed.
  static absl::StatusOr<std::unique_ptr<Spool>> Open(Options options, FileSystem& files, const base::Clock& clock,
                                                     base::Random& random, log::Logger log);
  ~Spool();
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;

  const std::string& instance() const;
  // The number the next record gets at least: above everything ever given in this instance.
  std::uint64_t next_seq() const;
  // Numbers up to this one are known to be those of the batches here, and of no others (Confirm).
  std::uint64_t confirmed() const;
  // So are all that this process gives.
  bool is_confirmed() const;
  // What is kept and not durable, by seq.
  std::vector<Entry> entries() const;
  // What was said by SetDurable, also by an earlier process, as far as it is remembered.
  const model::DurablePosition& durable() const;
  // Numbers that are lost and not known to be durable, by seq.
  const std::vector<model::Gap>& gaps() const;
  // Collection time of the newest batch that got a number, as far as it is remembered.
  std::optional<base::SystemTime> last_collected_at() const;
  std::uint64_t bytes() const;  // of all files

  // Writes and syncs (fdatasync). REQUIRES: `seq` was never appended with success, and is neither durable nor in a gap:
  // next_seq() or more, or a number whose Append failed. Numbers in between are with whoever gave them; those that are
  // still nowhere when the spool is opened again are lost. An error means the record is not kept: kResourceExhausted
  // (disk full), kUnavailable (the disk failed), kInvalidArgument (larger than a segment), kFailedPrecondition (not as
  // required). The spool stays usable: the next Append begins a new segment, so that no record stands behind half of
  // another. The number is remembered as given; only if HEAD cannot be written either, this process alone knows it.
  absl::Status Append(std::uint64_t seq, base::SystemTime collected_at, std::string_view payload);
  // Numbers up to `seq`, of which the highest was collected then, were given to batches that are not here; HEAD says
  // so, synced. Without `write` only the next time it is written.
  absl::Status NoteGiven(std::uint64_t seq, base::SystemTime collected_at, bool write = true);
  // HEAD could be written when that was tried last.
  bool is_head_written() const;
  // The payload. kNotFound: not kept. kDataLoss: the disk broke it; it is a gap then. Writes nothing.
  absl::StatusOr<std::string> Read(std::uint64_t seq);
  // Everything in `position` is over: gaps and records it covers are forgotten, segments that hold nothing else are
  // deleted. Remembered without a sync: a lost word costs that the hub says it again.
  void SetDurable(const model::DurablePosition& position);
  // Whoever uses the spool has learnt from a hub which numbers were ever given, or a disk that failed may have
  // forgotten some: from now on no number, given or to be given, is another batch's too. (So it is of a new spool from
  // the start.)
  void Confirm();
  // The opposite: the numbers of `forgotten` were given to other batches, and forgotten. What has a number above its
  // first, or that one, gets one above its last, in the same order; `forgotten` is a gap from then on. Written by one
  // small record; until the disk takes that, nothing else is written. REQUIRES: its first is above confirmed() and all
  // that is durable, its last not below any number given.
  void Renumber(const model::Gap& forgotten);
  // Gives records up, as gaps of these causes; those that are not kept are passed over.
  struct GivenUp {
    std::uint64_t seq = 0;
    model::GapCause cause = model::GapCause::kCollectorLost;
  };
  void GiveUp(const std::vector<GivenUp>& records);
  void GiveUp(std::uint64_t seq, model::GapCause cause) { GiveUp({{seq, cause}}); }
  // Notes numbers that were given and never appended (a disk that failed) as lost. The record of it is synced if the
  // disk allows.
  void NoteGap(const model::Gap& gap);
  // Writes down what Read found to be lost.
  void Flush();
  // Enforces max_age; Append does too.
  void Expire();

 private:
  class State;
  explicit Spool(std::unique_ptr<State> state);
  const std::unique_ptr<State> state_;
};

}  // namespace clusterpulse::spool
