#include "collector/spool/spool.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "collector/spool/encoding.h"
#include "collector/spool/spool_state.h"
#include "common/base/failpoint.h"
#include "common/base/status.h"
#include "common/model/seq_set.h"

namespace clusterpulse::spool {
namespace {

// A segment grows by so much at a time: what the disk lacks it says before a record is written, and few syncs have to
// write down a new size.
constexpr std::uint64_t kGrowth = std::uint64_t{256} << 10;
constexpr std::uint64_t kLeastGrowth = 4096;
// A list of kMostGaps gaps has room in the smallest segment, and in what is kept free for it below max_bytes.
constexpr std::uint64_t kLeastSegment = std::uint64_t{16} << 10, kReserve = std::uint64_t{20} << 10;
// A segment spans at most this part of max_age, for only whole ones go.
constexpr int kSegmentsOfMaxAge = 16;
// A record that the disk does not give back is given up after so long, in which it was asked for again and again: of a
// pause between two tries no more than this counts.
constexpr auto kReadPatience = std::chrono::minutes(10), kReadPause = std::chrono::minutes(1);

std::uint64_t RoundUp(std::uint64_t value, std::uint64_t step) { return (value + step - 1) / step * step; }

bool IsSpaceOrDisk(const absl::Status& status) {
  return absl::IsResourceExhausted(status) || absl::IsUnavailable(status);
}

// The errors of Append.
absl::Status AppendError(const absl::Status& status) {
  if (status.ok() || IsSpaceOrDisk(status)) return status;
  return base::Unavailable("{}", base::Message(status));
}

Spool::Options Bounded(Spool::Options options) {
  options.max_bytes = std::max(options.max_bytes, 2 * kLeastSegment + kReserve + HeadFile::kBytes);
  const std::uint64_t most = (options.max_bytes - kReserve - HeadFile::kBytes) / 2;
  options.segment_bytes = std::clamp(options.segment_bytes, kLeastSegment, std::min(most, kMostSegmentBytes));
  return options;
}

}  // namespace

Spool::State::State(Options options, FileSystem& files, const base::Clock& clock, base::Random& random, log::Logger log)
    : options_(Bounded(std::move(options))), files_(files), clock_(clock), random_(random), log_(std::move(log)) {}

Spool::State::~State() {
  if (!is_loaded_) return;
  Seal();
  // Best effort: without it the next process hears of durable batches again.
  (void)WriteHead(true);
}

// --- what is kept ---

std::vector<Spool::Entry> Spool::State::entries() const {
  std::vector<Entry> out;
  out.reserve(slots_.size());
  for (const Slot& slot : slots_) out.push_back({slot.seq, slot.time, slot.length});
  return out;
}

std::deque<Spool::State::Slot>::iterator Spool::State::Find(std::uint64_t seq) {
  const auto slot = std::lower_bound(slots_.begin(), slots_.end(), seq,
                                     [](const Slot& s, std::uint64_t wanted) { return s.seq < wanted; });
  return slot != slots_.end() && slot->seq == seq ? slot : slots_.end();
}

bool Spool::State::HasKept(model::SeqRange range) {
  const auto slot = std::lower_bound(slots_.begin(), slots_.end(), range.first,
                                     [](const Slot& s, std::uint64_t wanted) { return s.seq < wanted; });
  return slot != slots_.end() && slot->seq <= range.last;
}

void Spool::State::DropSlots(model::SeqRange range) {
  const auto begin = std::lower_bound(slots_.begin(), slots_.end(), range.first,
                                      [](const Slot& s, std::uint64_t wanted) { return s.seq < wanted; });
  auto end = begin;
  for (; end != slots_.end() && end->seq <= range.last; ++end) --segments_[end->segment].kept;
  slots_.erase(begin, end);
}

void Spool::State::AddSlot(const Slot& slot) {
  const auto at = std::lower_bound(slots_.begin(), slots_.end(), slot.seq,
                                   [](const Slot& s, std::uint64_t wanted) { return s.seq < wanted; });
  slots_.insert(at, slot);
  ++segments_[slot.segment].kept;
}

void Spool::State::Lose(const Slot& slot, model::GapCause cause) {
  const model::Gap gap{{slot.seq, slot.seq}, slot.time, slot.time, cause};
  DropSlots(gap.seqs);
  AddGap(gap);
}

void Spool::State::AddGap(const model::Gap& gap) {
  if (!gaps_.Add(gap)) return;
  gaps_changed_ = true;
  for (const model::SeqRange& range : gaps_.Merge(kMostGaps, [this](model::SeqRange r) { return HasKept(r); })) {
    DropSlots(range);
  }
}

bool Spool::State::IsDurable(std::uint64_t seq) const {
  return seq <= head_.durable.low || model::Contains(head_.durable.ranges, seq);
}

// --- writing ---

absl::Status Spool::State::WriteHead(bool sync) {
  // Of numbers that the records do not have yet it must not tell; what became durable of the others, it may.
  if (!unwritten_shifts_.empty()) {
    model::SeqSet durable;
    const std::uint64_t after = unwritten_shifts_.front().after;
    if (head_.durable.low > 0) durable.AddUpTo(std::min(head_.durable.low, after));
    for (const model::SeqRange& range : head_.durable.ranges) {
      if (range.first <= after) durable.Add({range.first, std::min(range.last, after)});
    }
    head_before_.durable = durable.position();
  }
  absl::Status written = head_file_->Write(unwritten_shifts_.empty() ? head_ : head_before_, sync);
  is_head_written_ = written.ok();
  if (written.ok() && sync) durable_is_synced_ = true;
  return written;
}

void Spool::State::Given(std::uint64_t seq, base::SystemTime collected_at) {
  if (seq <= head_.last_given) return;
  head_.last_given = seq;
  head_.last_collected_at = collected_at;
  if (is_confirmed_) head_.confirmed = seq;
}

absl::Status Spool::State::WriteGaps() {
  // The list lacks what became durable, so HEAD has to tell of that first.
  if (!durable_is_synced_) RETURN_IF_ERROR(WriteHead(true));
  const auto place = AppendRecord(RecordKind::kGaps, head_.last_given, clock_.Now(), gaps_.Encode());
  if (!place.ok()) return place.status();
  gaps_in_ = place->segment;
  gaps_changed_ = false;
  return absl::OkStatus();
}

void Spool::State::FlushGaps() {
  if (gaps_.all().empty()) gaps_changed_ = false;  // what an older list says of them is durable, or found lost again
  if (!gaps_changed_) return;
  if (const absl::Status written = WriteGaps(); !written.ok()) {
    log_.Debug("gaps cannot be written to the spool", {{"error", log::ToText(written)}});
  }
}

void Spool::State::SaveGaps() {
  if (!gaps_changed_) return;
  // Room that cannot be made is an error of the disk, which writing meets too.
  (void)MakeRoom(RecordBytes(gaps_.Encode().size()));
  FlushGaps();
}

absl::StatusOr<Spool::State::Place> Spool::State::AppendRecord(RecordKind kind, std::uint64_t seq,
                                                               base::SystemTime time, std::string_view payload) {
  if (kind != RecordKind::kShift) RETURN_IF_ERROR(WriteShifts());
  const std::uint64_t bytes = RecordBytes(payload.size());
  if (active_ != nullptr) {
    const bool is_full = segments_.rbegin()->second.end + bytes > options_.segment_bytes;
    const bool is_old = clock_.Steady() - active_since_ >= options_.max_age / kSegmentsOfMaxAge;
    if (is_full || is_old) Seal();
  }
  if (active_ == nullptr) {
    // A header alone says nothing of numbers that the records before it do not have yet.
    const std::uint64_t next = (unwritten_shifts_.empty() ? seq : head_before_.last_given) + 1;
    RETURN_IF_ERROR(kind == RecordKind::kBatch ? StartSegment(seq, time, bytes)
                                               : StartSegment(next, std::nullopt, bytes));
  }
  const auto segment = std::prev(segments_.end());
  const Record record{kind,
                      seq,
                      time,
                      segment->second.end,
                      static_cast<std::uint32_t>(payload.size()),
                      is_confirmed_ || kind == RecordKind::kShift};
  absl::Status status = Extend(record.offset + bytes);
  if (status.ok()) status = active_->WriteAt(record.offset, EncodeRecord(head_.instance, record, payload));
  if (status.ok()) {
    base::FailPoint("spool.appended");
    status = active_->Sync();
  }
  if (!status.ok()) {
    // Cuts off what is there of the record; no other comes behind it in any case.
    Seal();
    if (segment->second.end == kRecordsBegin && files_.Remove(PathOf(segment->first)).ok()) {
      bytes_ -= segment->second.size;
      segments_.erase(segment);
    }
    return status;
  }
  base::FailPoint("spool.synced");
  segment->second.end += bytes;
  return Place{segment->first, record.offset};
}

absl::Status Spool::State::Extend(std::uint64_t end) {
  SegmentFile& segment = segments_.rbegin()->second;
  if (end <= segment.size) return absl::OkStatus();
  absl::Status status;
  for (const std::uint64_t step : {kGrowth, kLeastGrowth}) {
    const std::uint64_t size = std::max(end, std::min(RoundUp(end, step), options_.segment_bytes));
    // Ahead of need only where there is room.
    if (step != kLeastGrowth && bytes_ + size - segment.size + kReserve > options_.max_bytes) continue;
    status = active_->Resize(size);
    if (status.ok()) {
      bytes_ += size - segment.size;
      segment.size = size;
      return status;
    }
  }
  return status;
}

absl::Status Spool::State::StartSegment(std::uint64_t first_seq, std::optional<base::SystemTime> first_time,
                                        std::uint64_t record_bytes) {
  const std::uint64_t end = kRecordsBegin + record_bytes;
  const std::uint64_t size = std::max(end, std::min(RoundUp(end, kLeastGrowth), options_.segment_bytes));
  const std::uint64_t index = next_index_;
  const std::string path = PathOf(index), made = PathOf(kNewSegmentName);
  const auto make = [&]() -> absl::StatusOr<std::unique_ptr<File>> {
    ASSIGN_OR_RETURN(std::unique_ptr<File> file, files_.Open(made, FileSystem::Mode::kReplace));
    RETURN_IF_ERROR(file->Resize(size));
    RETURN_IF_ERROR(file->WriteAt(0, EncodeSegmentHeader({head_.instance, index, first_seq, first_time})));
    RETURN_IF_ERROR(file->Sync());
    RETURN_IF_ERROR(files_.Rename(made, path));
    const absl::Status synced = files_.SyncDir(options_.dir);
    if (!synced.ok()) {
      (void)files_.Remove(path);  // best effort: an empty segment means nothing
      return synced;
    }
    return file;
  };
  auto file = make();
  if (!file.ok()) {
    (void)files_.Remove(made);  // best effort: the next try writes over it
    return file.status();
  }
  next_index_ = index + 1;
  active_ = *std::move(file);
  active_since_ = clock_.Steady();
  segments_[index] = {.size = size, .end = kRecordsBegin};
  bytes_ += size;
  base::FailPoint("spool.rotated");
  return absl::OkStatus();
}

void Spool::State::Seal() {
  if (active_ == nullptr) return;
  SegmentFile& segment = segments_.rbegin()->second;
  if (segment.end < segment.size && active_->Resize(segment.end).ok()) {
    bytes_ -= segment.size - segment.end;
    segment.size = segment.end;
  }
  active_ = nullptr;
}

absl::Status Spool::State::Append(std::uint64_t seq, base::SystemTime collected_at, std::string_view payload) {
  const std::uint64_t bytes = RecordBytes(payload.size());
  if (kRecordsBegin + bytes > options_.segment_bytes) {
    return base::InvalidArgument("{} bytes are too many for a segment of {}", payload.size(), options_.segment_bytes);
  }
  if (seq == 0 || seq > kMostSeq || IsDurable(seq) || IsKept(seq) || gaps_.Contains(seq)) {
    return base::MakeStatus(absl::StatusCode::kFailedPrecondition, "number {} is not one that can be given", seq);
  }
  ExpireOld();
  absl::Status status = MakeRoom(bytes);
  std::optional<Place> place;
  if (status.ok()) {
    const auto appended = AppendRecord(RecordKind::kBatch, seq, collected_at, payload);
    status = appended.status();
    if (appended.ok()) place = *appended;
  }
  Given(seq, collected_at);
  if (!place) {
    // The number was given, and no record says so.
    if (const absl::Status written = WriteHead(true); !written.ok()) {
      log_.Debug("the spool's HEAD cannot be written", {{"error", log::ToText(written)}});
    }
    return AppendError(status);
  }
  AddSlot({.seq = seq,
           .time = collected_at,
           .segment = place->segment,
           .offset = place->offset,
           .length = static_cast<std::uint32_t>(payload.size()),
           .is_confirmed = is_confirmed_,
           .written_as = seq});
  SegmentFile& segment = segments_[place->segment];
  segment.newest = std::max(segment.newest, collected_at);
  // Without a sync, and whether it works or not: the record is there, and says the same.
  (void)WriteHead(false);
  FlushGaps();
  return absl::OkStatus();
}

absl::Status Spool::State::NoteGiven(std::uint64_t seq, base::SystemTime collected_at, bool write) {
  const bool is_news = seq > head_.last_given;
  Given(std::min(seq, kMostSeq), collected_at);
  if (!write || (!is_news && is_head_written_)) return absl::OkStatus();
  return AppendError(WriteHead(true));
}

absl::StatusOr<std::string> Spool::State::Read(std::uint64_t seq) {
  const auto slot = Find(seq);
  if (slot == slots_.end()) {
    return base::MakeStatus(absl::StatusCode::kNotFound, "record {} is not in the spool", seq);
  }
  const Record record{RecordKind::kBatch, slot->written_as, slot->time, slot->offset, slot->length, slot->is_confirmed};
  const auto file = files_.Open(PathOf(slot->segment), FileSystem::Mode::kRead);
  auto payload = file.ok() ? ReadRecord(**file, head_.instance, record) : file.status();
  if (payload.ok()) {
    if (unreadable_seq_ == seq) unreadable_seq_ = 0;
    return payload;
  }
  const bool is_lost = absl::IsDataLoss(payload.status()) || absl::IsNotFound(payload.status());
  if (absl::IsAborted(payload.status())) return AppendError(payload.status());
  if (!is_lost) {
    const base::SteadyTime now = clock_.Steady();
    if (std::exchange(unreadable_seq_, seq) != seq) {
      unreadable_at_ = now;
      unreadable_for_ = {};
    }
    unreadable_for_ += std::min<base::SteadyTime::duration>(now - std::exchange(unreadable_at_, now), kReadPause);
    if (unreadable_for_ < kReadPatience) return AppendError(payload.status());
  }
  log_.Warn("a record of the spool is lost", {{"file", PathOf(slot->segment)},
                                              {"offset", slot->offset},
                                              {"seq", seq},
                                              {"error", log::ToText(payload.status())}});
  Lose(*slot, model::GapCause::kCollectorLost);
  return base::MakeStatus(absl::StatusCode::kDataLoss, "{}", base::Message(payload.status()));
}

void Spool::State::SetDurable(const model::DurablePosition& position) {
  model::SeqSet durable(head_.durable);
  bool is_news = durable.AddUpTo(std::min(position.low, head_.last_given));
  for (const model::SeqRange& range : position.ranges) {
    const model::SeqRange given{range.first, std::min(range.last, head_.last_given)};
    if (given.first <= given.last) is_news |= durable.Add(given);
  }
  if (!is_news) return;
  head_.durable = durable.position();
  durable_is_synced_ = false;
  // Those within a gap go first: it stands for them.
  if (head_.durable.ranges.size() > Head::kMostRanges) {
    std::erase_if(head_.durable.ranges, [this](const model::SeqRange& range) { return gaps_.Contains(range.first); });
  }
  if (head_.durable.ranges.size() > Head::kMostRanges) head_.durable.ranges.resize(Head::kMostRanges);
  if (head_.durable.low > 0) DropSlots({1, head_.durable.low});
  for (const model::SeqRange& range : head_.durable.ranges) DropSlots(range);
  gaps_changed_ |= gaps_.Forget(head_.durable);
  (void)WriteHead(false);  // the hub says it again
  CollectGarbage();
}

void Spool::State::Confirm() {
  if (is_confirmed_) return;
  is_confirmed_ = true;
  head_.confirmed = head_.last_given;
  (void)WriteHead(true);  // what is written from now on says it too; else a hub is asked once more
}

void Spool::State::Renumber(const model::Gap& forgotten) {
  const Shift shift{forgotten.seqs.first - 1, forgotten.seqs.last - forgotten.seqs.first + 1};
  const std::uint64_t last = shift.Of(std::max(head_.last_given, shift.after));
  if (forgotten.seqs.first == 0 || last > kMostSeq) return;
  if (unwritten_shifts_.empty()) head_before_ = head_;
  unwritten_shifts_.push_back(shift);
  for (Slot& slot : slots_) slot.seq = shift.Of(slot.seq);
  gaps_.Shift(shift.after, shift.by);
  head_.last_given = std::max(last, forgotten.seqs.last);
  gaps_changed_ = true;
  AddGap(forgotten);
  if (const absl::Status written = WriteShifts(); !written.ok()) {
    log_.Debug("the spool cannot take down that numbers are others", {{"error", log::ToText(written)}});
    return;
  }
  (void)WriteHead(false);  // the record says the same
  SaveGaps();
}

absl::Status Spool::State::WriteShifts() {
  while (!unwritten_shifts_.empty()) {
    const auto place =
        AppendRecord(RecordKind::kShift, head_.last_given, clock_.Now(), EncodeShift(unwritten_shifts_.front()));
    if (!place.ok()) return place.status();
    shifts_in_.insert(place->segment);
    // HEAD tells of these numbers when all that has them is written.
    unwritten_shifts_.erase(unwritten_shifts_.begin());
  }
  return absl::OkStatus();
}

void Spool::State::GiveUp(const std::vector<GivenUp>& records) {
  for (const GivenUp& record : records) {
    const auto slot = Find(record.seq);
    if (slot != slots_.end()) Lose(Slot(*slot), record.cause);
  }
  SaveGaps();
  CollectGarbage();
}

void Spool::State::NoteGap(const model::Gap& gap) {
  model::Gap rest = gap;
  rest.seqs.first = std::max(rest.seqs.first, head_.durable.low + 1);
  if (gap.seqs.first == 0 || rest.seqs.first > rest.seqs.last || rest.seqs.last > kMostSeq) return;
  // What is kept or durable is not lost: the numbers between go in, one run after the other.
  std::vector<model::SeqRange> known = head_.durable.ranges;
  for (auto slot = std::lower_bound(slots_.begin(), slots_.end(), rest.seqs.first,
                                    [](const Slot&s, std::uint64_t wanted) { return s.seq < wanted; });
       slot != slots_.end() && slot->seq <= rest.seqs.last; ++slot) {
    known.push_back({slot->seq, slot->seq});
  }
  std::sort(known.begin(), known.end(),
            [](const model::SeqRange& a, const model::SeqRange& b) { return a.first < b.first; });
  known.push_back({rest.seqs.last + 1, rest.seqs.last + 1});
  std::uint64_t next = rest.seqs.first;
  for (const model::SeqRange& range : known) {
    if (range.last < next) continue;
    const std::uint64_t last = std::min(range.first - 1, rest.seqs.last);
    if (next <= last) {
      const SeqTime below{gap.seqs.first, gap.from}, above{gap.seqs.last, gap.to};
      AddGap({{next, last}, Interpolate(below, above, next), Interpolate(below, above, last), gap.cause});
    }
    next = range.last + 1;
    if (next > rest.seqs.last) break;
  }
  const bool is_given = rest.seqs.last > head_.last_given;
  Given(rest.seqs.last, gap.to);
  SaveGaps();
  if (is_given && gaps_changed_) (void)WriteHead(true);  // at least the numbers, on a disk that is full
}

void Spool::State::Expire() {
  ExpireOld();
  SaveGaps();
}

// --- bounds ---

bool Spool::State::CanDrop() const {
  if (segments_.size() < 2) return false;
  // The newest record stays, also when nothing can be written behind it.
  const auto& [index, segment] = *segments_.begin();
  return slots_.empty() || slots_.back().segment != index;
}

absl::Status Spool::State::MakeRoom(std::uint64_t bytes) {
  // What comes may need a segment of its own, and the list of gaps room beside it.
  const std::uint64_t wanted = RoundUp(kRecordsBegin + bytes, kLeastGrowth) + kReserve;
  const auto is_free = [&] {
    const bool fits = active_ != nullptr && segments_.rbegin()->second.end + bytes <= segments_.rbegin()->second.size;
    return bytes_ + (fits ? kReserve : wanted) <= options_.max_bytes;
  };
  while (!is_free() && CanDrop()) RETURN_IF_ERROR(DropOldest(model::GapCause::kSpoolOverflow));
  return absl::OkStatus();
}

absl::Status Spool::State::DropOldest(model::GapCause cause) {
  const auto oldest = segments_.begin();
  std::vector<model::Gap> lost;
  for (const Slot& slot : slots_) {
    if (slot.segment != oldest->first) continue;
    if (!lost.empty() && lost.back().seqs.last + 1 == slot.seq) {
      lost.back().seqs.last = slot.seq;
      lost.back().to = slot.time;
    } else {
      lost.push_back({{slot.seq, slot.seq}, slot.time, slot.time, cause});
    }
  }
  if (!lost.empty()) {
    log_.Warn("the spool is full or its batches are too old: the oldest are lost",
              {{"file", PathOf(oldest->first)},
               {"batches", static_cast<std::uint64_t>(oldest->second.kept)},
               {"first", lost.front().seqs.first},
               {"last", lost.back().seqs.last}});
  }
  for (const model::Gap& gap : lost) {
    DropSlots(gap.seqs);
    AddGap(gap);
  }
  return RemoveSegment(oldest);
}

absl::Status Spool::State::RemoveSegment(Segments::iterator segment) {
  const std::uint64_t index = segment->first;
  // First what tells that its records are not lost, or why they are. A disk that is too full for the list of gaps gets
  // its room by this; if power goes in between, they are still found lost.
  RETURN_IF_ERROR(WriteHead(true));
  if (gaps_in_ == index && !gaps_.all().empty()) gaps_changed_ = true;
  FlushGaps();
  base::FailPoint("spool.deleting");
  absl::Status removed = files_.Remove(PathOf(index));
  if (!removed.ok() && !absl::IsNotFound(removed)) return removed;
  base::FailPoint("spool.deleted");
  if (gaps_in_ == index) gaps_in_ = std::nullopt;
  shifts_in_.erase(index);
  bytes_ -= segment->second.size;
  segments_.erase(index);
  FlushGaps();  // there is room now
  return absl::OkStatus();
}

void Spool::State::CollectGarbage() {
  for (auto segment = segments_.begin(); segment != segments_.end();) {
    const auto here = segment++;
    if (here->second.kept > 0) continue;
    const bool holds_gaps = gaps_in_ == here->first && !gaps_.all().empty();
    if (shifts_in_.contains(here->first) && here != segments_.begin()) continue;  // what is before it needs it
    if (segment == segments_.end() && (active_ != nullptr || holds_gaps)) continue;
    if (const absl::Status removed = RemoveSegment(here); !removed.ok()) {
      log_.Debug("a segment of the spool cannot be removed", {{"error", log::ToText(removed)}});
      return;
    }
  }
}

void Spool::State::ExpireOld() {
  const base::SystemTime now = clock_.Now();
  while (CanDrop()) {
    const auto& [index, oldest] = *segments_.begin();
    if (oldest.kept > 0 && oldest.newest > now - options_.max_age) return;
    if (const absl::Status dropped = DropOldest(model::GapCause::kSpoolOverflow); !dropped.ok()) {
      log_.Debug("a segment of the spool cannot be removed", {{"error", log::ToText(dropped)}});
      return;
    }
  }
}

// --- the outside ---

absl::StatusOr<std::unique_ptr<Spool>> Spool::Open(Options options, FileSystem& files, const base::Clock& clock,
                                                   base::Random& random, log::Logger log) {
  const std::string dir = options.dir;
  auto state = std::make_unique<State>(std::move(options), files, clock, random, std::move(log));
  const absl::Status loaded = state->Load();
  if (!loaded.ok()) {
    const bool is_told =
        absl::IsFailedPrecondition(loaded) || absl::IsPermissionDenied(loaded) || IsSpaceOrDisk(loaded);
    const absl::Status status = is_told ? loaded : base::Unavailable("{}", base::Message(loaded));
    return base::Annotate(status, fmt::format("opening the spool in {}", dir));
  }
  return std::unique_ptr<Spool>(new Spool(std::move(state)));
}

Spool::Spool(std::unique_ptr<State> state) : state_(std::move(state)) {}
Spool::~Spool() = default;

const std::string& Spool::instance() const { return state_->instance(); }
std::uint64_t Spool::next_seq() const { return state_->next_seq(); }
std::vector<Spool::Entry> Spool::entries() const { return state_->entries(); }
std::uint64_t Spool::confirmed() const { return state_->confirmed(); }
bool Spool::is_confirmed() const { return state_->is_confirmed(); }
const model::DurablePosition& Spool::durable() const { return state_->durable(); }
const std::vector<model::Gap>& Spool::gaps() const { return state_->gaps(); }
std::optional<base::SystemTime> Spool::last_collected_at() const { return state_->last_collected_at(); }
std::uint64_t Spool::bytes() const { return state_->bytes(); }

absl::Status Spool::Append(std::uint64_t seq, base::SystemTime collected_at, std::string_view payload) {
  return state_->Append(seq, collected_at, payload);
}
absl::Status Spool::NoteGiven(std::uint64_t seq, base::SystemTime collected_at, bool write) {
  return state_->NoteGiven(seq, collected_at, write);
}
bool Spool::is_head_written() const { return state_->is_head_written(); }
absl::StatusOr<std::string> Spool::Read(std::uint64_t seq) { return state_->Read(seq); }
void Spool::SetDurable(const model::DurablePosition& position) { state_->SetDurable(position); }
void Spool::Confirm() { state_->Confirm(); }
void Spool::Renumber(const model::Gap& forgotten) { state_->Renumber(forgotten); }
void Spool::GiveUp(const std::vector<GivenUp>& records) { state_->GiveUp(records); }
void Spool::NoteGap(const model::Gap& gap) { state_->NoteGap(gap); }
void Spool::Flush() { state_->Flush(); }
void Spool::Expire() { state_->Expire(); }

}  // namespace clusterpulse::spool
