#include <algorithm>
#include <iterator>
#include <utility>

#include "collector/spool/encoding.h"
#include "collector/spool/spool_state.h"
#include "common/base/printable.h"
#include "common/base/status.h"
#include "common/model/seq_set.h"

namespace clusterpulse::spool {

absl::Status Spool::State::Load() {
  RETURN_IF_ERROR(files_.MakeDir(options_.dir));
  ASSIGN_OR_RETURN(lock_, files_.Lock(PathOf(kLockName)));
  ASSIGN_OR_RETURN(head_file_, HeadFile::Open(files_, options_.dir));
  const bool is_new = !head_file_->found();
  if (!is_new) head_ = *head_file_->found();
  if (head_file_->is_broken()) {
    log_.Warn("the spool's HEAD is broken; what is durable is asked anew", {{"file", PathOf(kHeadName)}});
  }
  ASSIGN_OR_RETURN(const Directory directory, ReadSegments());
  // What a process that was killed had written and not synced is kept from now on, so it has to be on the disk.
  if (!directory.segments.empty()) {
    ASSIGN_OR_RETURN(const auto newest,
                     files_.Open(PathOf(directory.segments.rbegin()->first), FileSystem::Mode::kWrite));
    RETURN_IF_ERROR(newest->Sync());
  }
  bytes_ = HeadFile::kBytes;
  for (const auto& [index, segment] : directory.segments) {
    segments_[index] = {.size = segment.size, .end = segment.end};
    bytes_ += segment.size;
  }
  RETURN_IF_ERROR(TakeShifts(directory));
  RETURN_IF_ERROR(TakeGaps(directory));
  RecallLastGiven(directory);
  TakeRecords(directory);
  if (is_new) head_.floor = Floor(directory);
  FindLost(directory);
  RETURN_IF_ERROR(WriteHead(true));
  is_loaded_ = true;
  TrimSegments(directory);
  ExpireOld();
  FlushGaps();
  CollectGarbage();
  return absl::OkStatus();
}

absl::StatusOr<Directory> Spool::State::ReadSegments() {
  ASSIGN_OR_RETURN(Directory directory, ReadDirectory(files_, options_.dir, head_.instance, Verify::kLast));
  for (const Directory::OtherFile& other : directory.others) {
    log_.Warn("a file in the spool is no segment and left alone",
              {{"file", base::Printable(PathOf(other.file), 512)}, {"error", other.why}});
  }
  for (const auto& [index, segment] : directory.segments) {
    if (segment.damage.empty()) continue;
    const Damage& first = segment.damage.front();
    log_.Warn("a segment of the spool is damaged", {{"file", PathOf(index)},
                                                    {"places", static_cast<std::uint64_t>(segment.damage.size())},
                                                    {"offset", first.offset},
                                                    {"error", first.what}});
  }
  // Best effort: the next segment takes its place.
  if (directory.has_new_segment) (void)files_.Remove(PathOf(kNewSegmentName));
  next_index_ = directory.highest_index + 1;  // a file in the way is not written over, whatever it is
  head_.instance = directory.instance;
  if (head_.instance.empty()) {
    std::string bytes;
    PutU64(bytes, random_.Next());
    PutU64(bytes, random_.Next());
    head_.instance = InstanceText(bytes);
    is_confirmed_ = true;
  }
  return directory;
}

absl::Status Spool::State::TakeShifts(const Directory& directory) {
  for (const auto& [index, segment] : directory.segments) {
    for (const Record& record : segment.records) {
      if (record.kind != RecordKind::kShift) continue;
      const auto payload = ReadRecordIn(files_, options_.dir, index, head_.instance, record);
      if (!payload.ok() && !absl::IsDataLoss(payload.status())) return payload.status();
      const auto shift = payload.ok() ? DecodeShift(*payload) : std::nullopt;
      if (shift && !shifts_.empty() && shift->after <= shifts_.back().shift.after) continue;
      if (shift) {
        shifts_.push_back({index, record.offset, *shift});
        shifts_in_.insert(index);
      } else {
        log_.Warn("a shift of numbers in the spool is damaged", {{"file", PathOf(index)}, {"offset", record.offset}});
      }
    }
  }
  return absl::OkStatus();
}

std::uint64_t Spool::State::Today(std::uint64_t seq, std::uint64_t segment, std::uint64_t offset) const {
  for (const ShiftAt& at : shifts_) {
    const bool is_later = std::pair(at.segment, at.offset) > std::pair(segment, offset);
    if (is_later && seq <= kMostSeq) seq = at.shift.Of(seq);
  }
  return seq;
}

absl::Status Spool::State::TakeGaps(const Directory& directory) {
  for (auto at = directory.segments.rbegin(); at != directory.segments.rend(); ++at) {
    const auto& [index, segment] = *at;
    for (auto record = segment.records.rbegin(); record != segment.records.rend(); ++record) {
      if (record->kind != RecordKind::kGaps) continue;
      const auto payload = ReadRecordIn(files_, options_.dir, index, head_.instance, *record);
      if (!payload.ok() && !absl::IsDataLoss(payload.status())) return payload.status();
      auto list = payload.ok() ? GapList::Decode(*payload) : std::nullopt;
      if (list) {
        gaps_ = *std::move(list);
        gaps_in_ = index;
        for (const ShiftAt& at : shifts_) {
          if (std::pair(at.segment, at.offset) < std::pair(index, record->offset)) continue;
          if (!gaps_.all().empty() && at.shift.Of(gaps_.all().back().seqs.last) > kMostSeq) continue;
          gaps_.Shift(at.shift.after, at.shift.by);
          gaps_changed_ = true;
        }
        return absl::OkStatus();
      }
      // An older list will do: the numbers that are missing in it are found missing.
      log_.Warn("a list of gaps in the spool is damaged", {{"file", PathOf(index)}, {"offset", record->offset}});
    }
  }
  return absl::OkStatus();
}

void Spool::State::RecallLastGiven(const Directory& directory) {
  std::uint64_t highest = 0;
  const auto given = [&highest](std::uint64_t seq) {
    if (seq <= kMostSeq) highest = std::max(highest, seq);
  };
  for (const auto& [index, segment] : directory.segments) {
    if (segment.header && segment.header->first_seq > 0) given(segment.header->first_seq - 1);
    for (const Record& record : segment.records) given(Today(record.seq, index, record.offset));
    for (const Record& record : segment.broken) given(Today(record.seq, index, record.offset));
  }
  if (!gaps_.all().empty()) given(gaps_.all().back().seqs.last);
  given(head_.floor);
  given(head_.durable.ranges.empty() ? head_.durable.low : head_.durable.ranges.back().last);
  // The newest record is there in part, and HEAD, which would tell its number, is lost: it is the next one. (With HEAD
  // it was not appended to its end, so its number went nowhere.)
  if (!head_file_->found() && !directory.segments.empty() && directory.segments.rbegin()->second.has_tail) {
    ++highest;
  }
  head_.last_given = std::max(head_.last_given, highest);
  for (const auto& [index, segment] : directory.segments) {
    for (const Record& record : segment.records) {
      const std::uint64_t seq = Today(record.seq, index, record.offset);
      if (record.is_confirmed && seq <= kMostSeq) head_.confirmed = std::max(head_.confirmed, seq);
    }
  }
  head_.confirmed = std::min(head_.confirmed, head_.last_given);
}

void Spool::State::TakeRecords(const Directory& directory) {
  std::vector<Slot> slots;
  for (const auto& [index, segment] : directory.segments) {
    SegmentFile& file = segments_[index];
    for (const Record& record : segment.records) {
      const std::uint64_t seq = Today(record.seq, index, record.offset);
      if (record.kind != RecordKind::kBatch || seq == 0 || seq > kMostSeq) continue;
      file.newest = std::max(file.newest, record.time);
      slots.push_back({seq, record.time, index, record.offset, record.length, record.is_confirmed, record.seq});
    }
  }
  // Of a number that is there twice, as after an append that failed and was tried again, the latter.
  std::stable_sort(slots.begin(), slots.end(), [](const Slot& a, const Slot& b) { return a.seq < b.seq; });
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (i + 1 < slots.size() && slots[i + 1].seq == slots[i].seq) continue;
    if (IsDurable(slots[i].seq) || gaps_.Contains(slots[i].seq)) continue;
    AddSlot(slots[i]);
  }
  if (!slots.empty() && (!head_.last_collected_at || slots.back().seq >= head_.last_given)) {
    head_.last_collected_at = slots.back().time;
  }
}

std::uint64_t Spool::State::Floor(const Directory& directory) const {
  // What was deleted before is not lost, as far as anyone knows.
  std::uint64_t first = head_.last_given + 1;
  for (const auto& [index, segment] : directory.segments) {
    if (segment.header) first = std::min(first, segment.header->first_seq);
    for (const Record& record : segment.records) {
      if (record.kind == RecordKind::kBatch) first = std::min(first, Today(record.seq, index, record.offset));
    }
  }
  return first > 0 ? first - 1 : 0;
}

void Spool::State::FindLost(const Directory& directory) {
  std::vector<SeqTime> times;  // of batches that are known to have been there
  for (const auto& [index, segment] : directory.segments) {
    const auto& header = segment.header;
    if (header && header->first_time) times.push_back({Today(header->first_seq, index, 0), *header->first_time});
    for (const Record& record : segment.broken) {
      if (record.kind == RecordKind::kBatch) times.push_back({Today(record.seq, index, record.offset), record.time});
    }
  }
  gaps_changed_ |= gaps_.Forget(head_.durable);
  std::vector<model::SeqRange> known = model::SeqSet(head_.durable).Ranges();
  for (const model::Gap& gap : gaps_.all()) {
    known.push_back(gap.seqs);
    times.push_back({gap.seqs.first, gap.from});
    times.push_back({gap.seqs.last, gap.to});
  }
  for (const Slot& slot : slots_) {
    known.push_back({slot.seq, slot.seq});
    times.push_back({slot.seq, slot.time});
  }
  if (head_.last_collected_at) times.push_back({head_.last_given, *head_.last_collected_at});
  std::sort(known.begin(), known.end(),
            [](const model::SeqRange& a, const model::SeqRange& b) { return a.first < b.first; });
  std::stable_sort(times.begin(), times.end(), [](const SeqTime& a, const SeqTime& b) { return a.seq < b.seq; });

  const auto time_of = [&](std::uint64_t seq) {
    if (times.empty()) return clock_.Now();
    const auto above =
        std::lower_bound(times.begin(), times.end(), seq, [](const SeqTime& t, std::uint64_t s) { return t.seq < s; });
    if (above == times.end()) return times.back().time;
    if (above == times.begin()) return above->time;
    return Interpolate(*std::prev(above), *above, seq);
  };
  std::vector<model::Gap> lost;
  std::uint64_t next = head_.floor + 1;
  const auto lose_until = [&](std::uint64_t end) {
    if (next >= end) return;
    const auto [from, to] = std::minmax({time_of(next), time_of(end - 1)});  // a clock may have been put back
    lost.push_back({{next, end - 1}, from, to, model::GapCause::kCollectorLost});
  };
  for (const model::SeqRange& range : known) {
    if (range.first > head_.last_given) break;
    lose_until(range.first);
    next = std::max(next, range.last + 1);
  }
  lose_until(head_.last_given + 1);
  if (lost.empty()) return;
  std::uint64_t batches = 0;
  for (const model::Gap& gap : lost) batches += gap.seqs.last - gap.seqs.first + 1;
  log_.Warn("batches are not in the spool where they should be: they are lost",
            {{"batches", batches}, {"first", lost.front().seqs.first}, {"last", lost.back().seqs.last}});
  for (const model::Gap& gap : lost) AddGap(gap);
}

void Spool::State::TrimSegments(const Directory& directory) {
  for (const auto& [index, segment] : directory.segments) {
    if (segment.end >= segment.size || !segment.damage.empty()) continue;
    const auto file = files_.Open(PathOf(index), FileSystem::Mode::kWrite);
    if (!file.ok() || !(*file)->Resize(segment.end).ok()) continue;  // it only saves space
    bytes_ -= segment.size - segment.end;
    segments_[index].size = segment.end;
  }
}

}  // namespace clusterpulse::spool
