#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <fmt/format.h>

#include "collector/spool/directory.h"
#include "collector/spool/file_system.h"
#include "collector/spool/gap_list.h"
#include "collector/spool/head.h"
#include "collector/spool/segment.h"
#include "collector/spool/spool.h"

namespace clusterpulse::spool {

// What a Spool is made of: opening it is in spool_open.cc, everything else in spool.cc. The functions are those of
// Spool.
class Spool::State {
 public:
  State(Options options, FileSystem& files, const base::Clock& clock, base::Random& random, log::Logger log);
  ~State();

  // REQUIRES: called once, before everything else.
  absl::Status Load();

  absl::Status Append(std::uint64_t seq, base::SystemTime collected_at, std::string_view payload);
  absl::Status NoteGiven(std::uint64_t seq, base::SystemTime collected_at, bool write);
  bool is_head_written() const { return is_head_written_; }
  absl::StatusOr<std::string> Read(std::uint64_t seq);
  void SetDurable(const model::DurablePosition& position);
  void Confirm();
  void Renumber(const model::Gap& forgotten);
  void GiveUp(const std::vector<GivenUp>& records);
  void NoteGap(const model::Gap& gap);
  void Flush() { SaveGaps(); }
  void Expire();

  const std::string& instance() const { return head_.instance; }
  std::uint64_t next_seq() const { return head_.last_given + 1; }
  std::uint64_t confirmed() const { return head_.confirmed; }
  bool is_confirmed() const { return is_confirmed_; }
  const model::DurablePosition& durable() const { return head_.durable; }
  const std::vector<model::Gap>& gaps() const { return gaps_.all(); }
  std::optional<base::SystemTime> last_collected_at() const { return head_.last_collected_at; }
  std::uint64_t bytes() const { return bytes_; }
  std::vector<Entry> entries() const;

 private:
  // A record that is kept.
  struct Slot {
    std::uint64_t seq = 0;
    base::SystemTime time{};
    std::uint64_t segment = 0, offset = 0;
    std::uint32_t length = 0;
    bool is_confirmed = true;
    std::uint64_t written_as = 0;  // its number in the file; seq unless it was shifted
  };
  struct SegmentFile {
    std::uint64_t size = 0;                             // of the file
    std::uint64_t end = 0;                              // behind the last record
    std::size_t kept = 0;                               // slots in it
    base::SystemTime newest = base::SystemTime::min();  // collection time of its newest batch
  };
  using Segments = std::map<std::uint64_t, SegmentFile>;

  std::string PathOf(std::string_view name) const { return fmt::format("{}/{}", options_.dir, name); }
  std::string PathOf(std::uint64_t segment) const { return PathOf(SegmentName(segment)); }

  // Steps of Load: spool_open.cc.
  absl::StatusOr<Directory> ReadSegments();
  absl::Status TakeShifts(const Directory& directory);
  // The number today of what stands there with that number.
  std::uint64_t Today(std::uint64_t seq, std::uint64_t segment, std::uint64_t offset) const;
  absl::Status TakeGaps(const Directory& directory);
  void RecallLastGiven(const Directory& directory);
  void TakeRecords(const Directory& directory);
  // From where on numbers are asked for when HEAD does not tell.
  std::uint64_t Floor(const Directory& directory) const;
  // What is neither durable nor kept nor in a gap becomes one.
  void FindLost(const Directory& directory);
  void TrimSegments(const Directory& directory);

  std::deque<Slot>::iterator Find(std::uint64_t seq);
  bool IsKept(std::uint64_t seq) { return Find(seq) != slots_.end(); }
  bool HasKept(model::SeqRange range);
  // Removes the slots of that range; their segments know.
  void DropSlots(model::SeqRange range);
  void AddSlot(const Slot& slot);
  // The slot's record is lost: it becomes a gap.
  void Lose(const Slot& slot, model::GapCause cause);
  void AddGap(const model::Gap& gap);
  bool IsDurable(std::uint64_t seq) const;

  absl::Status WriteHead(bool sync);
  // Writes the shifts that are not on disk.
  absl::Status WriteShifts();
  // A batch that was collected then got that number.
  void Given(std::uint64_t seq, base::SystemTime collected_at);
  // The gaps as they are, into the newest segment.
  absl::Status WriteGaps();
  // The same if they are not written yet; a failure is tried again with the next call.
  void FlushGaps();
  // The same, within max_bytes.
  void SaveGaps();

  struct Place {
    std::uint64_t segment = 0, offset = 0;
  };
  // Writes and syncs one record. After an error nothing follows it in its segment.
  absl::StatusOr<Place> AppendRecord(RecordKind kind, std::uint64_t seq, base::SystemTime time,
                                     std::string_view payload);
  absl::Status Extend(std::uint64_t end);
  absl::Status StartSegment(std::uint64_t first_seq, std::optional<base::SystemTime> first_time,
                            std::uint64_t record_bytes);
  // The newest segment takes no more records.
  void Seal();
  absl::Status MakeRoom(std::uint64_t bytes);
  // What is not durable in the oldest segment becomes a gap, and the segment goes.
  absl::Status DropOldest(model::GapCause cause);
  // False when the one file that is left there is the newest.
  bool CanDrop() const;
  absl::Status RemoveSegment(Segments::iterator segment);
  // Removes segments that hold nothing that is kept.
  void CollectGarbage();
  void ExpireOld();

  // Constant after Load.
  const Options options_;
  FileSystem& files_;
  const base::Clock& clock_;
  base::Random& random_;
  const log::Logger log_;
  std::unique_ptr<FileLock> lock_;
  std::unique_ptr<HeadFile> head_file_;
  // Those on disk, as Load found them; nobody reads them later.
  struct ShiftAt {
    std::uint64_t segment = 0, offset = 0;
    Shift shift;
  };
  std::vector<ShiftAt> shifts_;
  bool is_loaded_ = false;
  bool durable_is_synced_ = false;  // HEAD's, as it is on the disk
  bool is_head_written_ = true;

  Head head_;
  bool is_confirmed_ = false;
  // What numbers here were shifted by and those on disk not yet, and HEAD as it was before that.
  std::vector<Shift> unwritten_shifts_;
  Head head_before_;
  std::set<std::uint64_t> shifts_in_;  // segments with shifts
  std::deque<Slot> slots_;             // by seq
  GapList gaps_;
  bool gaps_changed_ = false;             // and not written
  std::optional<std::uint64_t> gaps_in_;  // the segment with the newest record of gaps
  Segments segments_;                     // by index: the oldest first
  std::uint64_t next_index_ = 1;
  std::uint64_t bytes_ = 0;  // of all files

  // The segment that is written to: the last of segments_. Null: the next record begins a new one.
  std::unique_ptr<File> active_;
  base::SteadyTime active_since_{};

  // The record that the disk does not give back, when it was tried last, and for how long by now.
  std::uint64_t unreadable_seq_ = 0;
  base::SteadyTime unreadable_at_{};
  base::SteadyTime::duration unreadable_for_{};
};

}  // namespace clusterpulse::spool
