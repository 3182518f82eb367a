#include "collector/spool/head.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>
#include <vector>

#include "collector/spool/encoding.h"
#include "common/base/status.h"

namespace clusterpulse::spool {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view kMagic = "CPHEAD\0\x01"sv;
constexpr std::size_t kSlots = 2, kSlotBytes = HeadFile::kBytes / kSlots, kFixedBytes = 80;
constexpr std::uint64_t kMostUnconfirmed = std::numeric_limits<std::uint32_t>::max();
static_assert(kFixedBytes + 16 * Head::kMostRanges <= kSlotBytes);

struct Slot {
  std::uint64_t generation = 0;
  Head head;
};

std::string Encode(const Slot& slot) {
  const std::vector<model::SeqRange>& ranges = slot.head.durable.ranges;
  const std::size_t count = std::min(ranges.size(), Head::kMostRanges);
  std::string rest;  // behind the crc
  PutU32(rest, static_cast<std::uint32_t>(kFixedBytes + 16 * count));
  PutU64(rest, slot.generation);
  rest += InstanceBytes(slot.head.instance);
  PutU64(rest, slot.head.last_given);
  PutTime(rest, slot.head.last_collected_at);
  PutU64(rest, slot.head.floor);
  PutU64(rest, slot.head.durable.low);
  PutU32(rest, static_cast<std::uint32_t>(count));
  PutU32(rest, static_cast<std::uint32_t>(std::min(slot.head.last_given - slot.head.confirmed, kMostUnconfirmed)));
  for (std::size_t i = 0; i < count; ++i) {
    PutU64(rest, ranges[i].first);
    PutU64(rest, ranges[i].last);
  }
  std::string out(kMagic);
  PutU32(out, Crc32(rest));
  return out + rest;
}

std::optional<Slot> Decode(std::string_view bytes) {
  if (bytes.size() < kFixedBytes || !bytes.starts_with(kMagic)) return std::nullopt;
  const std::size_t length = GetU32(bytes, 12);
  if (length < kFixedBytes || length > bytes.size()) return std::nullopt;
  bytes = bytes.substr(0, length);
  const std::size_t count = GetU32(bytes, 72);
  if (GetU32(bytes, 8) != Crc32(bytes.substr(12)) || length != kFixedBytes + 16 * count) return std::nullopt;
  Slot slot;
  slot.generation = GetU64(bytes, 16);
  slot.head.instance = InstanceText(bytes.substr(24, kInstanceBytes));
  slot.head.last_given = GetU64(bytes, 40);
  slot.head.last_collected_at = GetTime(bytes, 48);
  slot.head.floor = GetU64(bytes, 56);
  slot.head.durable.low = GetU64(bytes, 64);
  const std::uint64_t unconfirmed = GetU32(bytes, 76);
  if (unconfirmed > slot.head.last_given) return std::nullopt;
  slot.head.confirmed = slot.head.last_given - unconfirmed;
  std::uint64_t above = slot.head.durable.low;
  for (std::size_t i = 0; i < count; ++i) {
    const model::SeqRange range{GetU64(bytes, kFixedBytes + 16 * i), GetU64(bytes, kFixedBytes + 16 * i + 8)};
    if (range.first <= above || range.last < range.first) return std::nullopt;
    slot.head.durable.ranges.push_back(range);
    above = range.last;
  }
  if (std::max({above, slot.head.last_given, slot.head.floor}) > kMostSeq) return std::nullopt;
  return slot;
}

struct Found {
  std::optional<Slot> slot;
  std::size_t at = 0;  // which it is
  bool is_blank = true;
};

absl::StatusOr<Found> ReadSlots(File& file) {
  std::array<char, HeadFile::kBytes> bytes{};
  ASSIGN_OR_RETURN(const std::size_t n, file.ReadAt(0, bytes));
  const std::string_view read(bytes.data(), n);
  Found found;
  found.is_blank = std::all_of(read.begin(), read.end(), [](char c) { return c == 0; });
  for (std::size_t i = 0; i < kSlots && i * kSlotBytes < read.size(); ++i) {
    auto slot = Decode(read.substr(i * kSlotBytes, kSlotBytes));
    if (!slot || (found.slot && found.slot->generation > slot->generation)) continue;
    found.slot = std::move(slot);
    found.at = i;
  }
  return found;
}

std::string PathIn(const std::string& dir) { return dir + "/HEAD"; }

}  // namespace

absl::StatusOr<std::unique_ptr<HeadFile>> HeadFile::Open(FileSystem& files, const std::string& dir) {
  ASSIGN_OR_RETURN(std::unique_ptr<File> file, files.Open(PathIn(dir), FileSystem::Mode::kCreate));
  ASSIGN_OR_RETURN(Found found, ReadSlots(*file));
  // Both slots have their space from the start: a disk that is full later can still be told what was given.
  ASSIGN_OR_RETURN(const std::uint64_t size, file->Size());
  if (size < kBytes) {
    const std::string zeros(kBytes - size, '\0');
    RETURN_IF_ERROR(file->WriteAt(size, zeros));
  }
  RETURN_IF_ERROR(files.SyncDir(dir));
  std::unique_ptr<HeadFile> head(new HeadFile(std::move(file)));
  if (found.slot) {
    head->generation_ = found.slot->generation;
    head->slot_ = (found.at + 1) % kSlots;
    head->found_ = std::move(found.slot->head);
  } else {
    head->is_broken_ = !found.is_blank;
  }
  return head;
}

absl::StatusOr<Head> HeadFile::Read(FileSystem& files, const std::string& dir) {
  ASSIGN_OR_RETURN(const std::unique_ptr<File> file, files.Open(PathIn(dir), FileSystem::Mode::kRead));
  ASSIGN_OR_RETURN(Found found, ReadSlots(*file));
  if (!found.slot) return base::MakeStatus(absl::StatusCode::kDataLoss, "HEAD holds nothing that can be read");
  return std::move(found.slot->head);
}

absl::Status HeadFile::Write(const Head& head, bool sync) {
  if (!other_is_synced_) {
    RETURN_IF_ERROR(file_->Sync());
    other_is_synced_ = true;
  }
  RETURN_IF_ERROR(file_->WriteAt(slot_ * kSlotBytes, Encode({generation_ + 1, head})));
  ++generation_;
  if (!sync) return absl::OkStatus();
  RETURN_IF_ERROR(file_->Sync());
  slot_ = (slot_ + 1) % kSlots;
  return absl::OkStatus();
}

}  // namespace clusterpulse::spool
