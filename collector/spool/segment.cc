#include "collector/spool/segment.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include <fmt/format.h>

#include "collector/spool/encoding.h"
#include "common/base/status.h"

namespace clusterpulse::spool {
namespace {

using namespace std::string_view_literals;

constexpr std::size_t kHeaderBytes = 64;
constexpr std::string_view kMagic = "CPSPOOL\x01"sv;  // the last byte: the version of the format
constexpr std::string_view kMarker = "\xC7\x9DrEc\xB1\x5E\xF3"sv;
constexpr std::string_view kSuffix = ".seg";
constexpr std::size_t kNameDigits = 16;
constexpr std::uint8_t kUnconfirmed = 1;  // flag of a record
// What is read at once: while headers are hopped over, and while a marker is looked for.
constexpr std::size_t kHopBytes = 4096, kScanBytes = 65536;
// A sector that cannot be read is stepped over in such steps.
constexpr std::uint64_t kUnreadableBytes = 4096;

std::uint64_t Padded(std::uint64_t bytes) { return (bytes + 7) & ~std::uint64_t{7}; }

bool IsZero(std::string_view bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](char c) { return c == 0; });
}

std::optional<SegmentHeader> DecodeSegmentHeader(std::string_view bytes) {
  if (bytes.size() < kHeaderBytes) return std::nullopt;
  bytes = bytes.substr(0, kHeaderBytes);
  if (!bytes.starts_with(kMagic) || GetU32(bytes, 8) != Crc32(bytes.substr(12))) return std::nullopt;
  SegmentHeader header;
  header.index = GetU64(bytes, 16);
  header.first_seq = GetU64(bytes, 24);
  header.first_time = GetTime(bytes, 32);
  header.instance = InstanceText(bytes.substr(40, kInstanceBytes));
  return header;
}

// The crc of what follows it in a record's header, for a record of that instance at that place.
std::uint32_t HeaderCrc(std::string_view instance_bytes, std::uint64_t offset, std::string_view rest) {
  std::string place(instance_bytes);
  PutU64(place, offset);
  return Crc32(rest, Crc32(place));
}

struct RecordHeader {
  Record record;
  std::uint32_t payload_crc = 0;
};

std::optional<RecordHeader> DecodeRecordHeader(std::string_view instance_bytes, std::uint64_t offset,
                                               std::string_view bytes) {
  if (bytes.size() < kRecordHeaderBytes) return std::nullopt;
  bytes = bytes.substr(0, kRecordHeaderBytes);
  if (!bytes.starts_with(kMarker)) return std::nullopt;
  if (GetU32(bytes, 8) != HeaderCrc(instance_bytes, offset, bytes.substr(12))) return std::nullopt;
  RecordHeader header;
  header.record.kind = static_cast<RecordKind>(bytes[12]);
  header.record.is_confirmed = (static_cast<unsigned char>(bytes[13]) & kUnconfirmed) == 0;
  header.record.length = GetU32(bytes, 16);
  header.payload_crc = GetU32(bytes, 20);
  header.record.seq = GetU64(bytes, 24);
  header.record.time = GetTime(bytes, 32).value_or(base::SystemTime{});
  header.record.offset = offset;
  return header;
}

// A file read through a window, so that many small records cost few calls.
class Window {
 public:
  explicit Window(File& file) : file_(file) {}

  // What stands there: fewer bytes than `size` at the end of the file and where it cannot be read. Valid until the next
  // call. Reads `ahead` bytes when it has to read.
  std::string_view At(std::uint64_t offset, std::size_t size, std::size_t ahead) {
    if (offset < begin_ || offset + size > begin_ + bytes_.size()) {
      begin_ = offset;
      bytes_.resize(std::max(size, ahead));
      auto n = file_.ReadAt(offset, bytes_);
      if (!n.ok() && bytes_.size() > size) {  // perhaps only what was not asked for cannot be read
        bytes_.resize(size);
        n = file_.ReadAt(offset, bytes_);
      }
      unreadable_ = !n.ok();
      bytes_.resize(n.ok() ? *n : 0);
    }
    return std::string_view(bytes_).substr(offset - begin_, size);
  }
  // What was read is read anew.
  void Forget() { bytes_.clear(); }
  // Of the last call.
  bool unreadable() const { return unreadable_; }

 private:
  File& file_;
  std::string bytes_;
  std::uint64_t begin_ = 0;
  bool unreadable_ = false;
};

class Reader {
 public:
  Reader(File& file, std::uint64_t size, Verify verify) : window_(file), scan_(file), verify_(verify) {
    segment_.size = size;
  }

  Segment Read(const std::string& instance) {
    ReadHeaders();
    instance_ = InstanceBytes(segment_.header ? segment_.header->instance : instance);
    if (instance_.empty()) {
      segment_.end = std::min(kRecordsBegin, segment_.size);
      return std::move(segment_);
    }
    std::uint64_t at = kRecordsBegin;
    std::optional<Damage> tail;
    for (;;) {
      at = TakeRecords(at);
      segment_.end = std::min(at, segment_.size);
      tail = FindTail();
      // Whoever writes to the file may have come to the next record meanwhile.
      window_.Forget();
      if (!tail || !HeaderAt(at)) break;
    }
    if (tail) segment_.damage.push_back(*std::move(tail));
    if (verify_ == Verify::kLast && last_ && !segment_.records.empty() && !IsWhole(*last_)) {
      segment_.broken.push_back(segment_.records.back());
      segment_.records.pop_back();
      BrokenPayload(*last_);
    }
    std::sort(segment_.damage.begin(), segment_.damage.end(),
              [](const Damage& a, const Damage& b) { return a.offset < b.offset; });
    return std::move(segment_);
  }

 private:
  void Broken(std::uint64_t offset, std::uint64_t bytes, std::string what) {
    segment_.damage.push_back({offset, bytes, std::move(what)});
  }

  // From `at` on; returns where the next one would be.
  std::uint64_t TakeRecords(std::uint64_t at) {
    while (at + kRecordHeaderBytes <= segment_.size) {
      if (const auto header = HeaderAt(at)) {
        at = Take(*header);
        continue;
      }
      const auto next = FindRecord(at + 8);
      if (!next) break;
      Broken(at, *next - at, "no record can be read here");
      at = *next;
    }
    return at;
  }

  void BrokenPayload(const RecordHeader& header) {
    Broken(header.record.offset, RecordBytes(header.record.length),
           fmt::format("the content of record {} is not what was written", header.record.seq));
  }

  void ReadHeaders() {
    std::array<std::optional<SegmentHeader>, 2> copies;
    for (std::size_t i = 0; i < copies.size(); ++i) {
      const std::uint64_t at = i * kHeaderBytes;
      copies[i] = DecodeSegmentHeader(window_.At(at, kHeaderBytes, kHopBytes));
      if (copies[i]) segment_.header = copies[i];
    }
    for (std::size_t i = 0; i < copies.size(); ++i) {
      if (copies[i]) continue;
      Broken(i * kHeaderBytes, kHeaderBytes, i == 0 ? "the header is broken" : "the copy of the header is broken");
    }
  }

  std::optional<RecordHeader> HeaderAt(std::uint64_t at) {
    return DecodeRecordHeader(instance_, at, window_.At(at, kRecordHeaderBytes, kHopBytes));
  }

  bool IsWhole(const RecordHeader& header) {
    const std::string_view payload =
        window_.At(header.record.offset + kRecordHeaderBytes, header.record.length, header.record.length);
    return payload.size() == header.record.length && Crc32(payload) == header.payload_crc;
  }

  // Returns where the next one should be.
  std::uint64_t Take(const RecordHeader& header) {
    const Record& record = header.record;
    const std::uint64_t payload_end = record.offset + kRecordHeaderBytes + record.length;
    const std::uint64_t end = record.offset + RecordBytes(record.length);
    last_ = std::nullopt;
    if (payload_end > segment_.size) {
      segment_.broken.push_back(record);
      Broken(record.offset, segment_.size - record.offset, fmt::format("the file ends within record {}", record.seq));
    } else if (verify_ == Verify::kAll && !IsWhole(header)) {
      segment_.broken.push_back(record);
      BrokenPayload(header);
    } else {
      segment_.records.push_back(record);
      last_ = header;
      if (verify_ == Verify::kAll &&
          !IsZero(window_.At(payload_end, static_cast<std::size_t>(end - payload_end), kHopBytes))) {
        Broken(payload_end, end - payload_end, "no zeros behind a record");
      }
    }
    return end;
  }

  // The next record at or behind `at` that is whole.
  std::optional<std::uint64_t> FindRecord(std::uint64_t at) {
    while (at + kRecordHeaderBytes <= segment_.size) {
      const std::string_view bytes = scan_.At(at, kScanBytes, kScanBytes);
      if (bytes.size() < kMarker.size()) {
        at += kUnreadableBytes - at % kUnreadableBytes;
        continue;
      }
      for (std::size_t found = bytes.find(kMarker); found != std::string_view::npos;
           found = bytes.find(kMarker, found + 1)) {
        const std::uint64_t candidate = at + found;
        if (candidate % 8 != 0) continue;
        const auto header = HeaderAt(candidate);
        if (header && candidate + kRecordHeaderBytes + header->record.length <= segment_.size && IsWhole(*header)) {
          return candidate;
        }
      }
      at += bytes.size() - kMarker.size() + 1;
    }
    return std::nullopt;
  }

  // Behind the last record there should be nothing but zeros: what else is there.
  std::optional<Damage> FindTail() {
    std::uint64_t first = segment_.size, last = 0;
    std::size_t in_first_header = 0;
    for (std::uint64_t at = segment_.end; at < segment_.size;) {
      const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(kScanBytes, segment_.size - at));
      const std::string_view bytes = window_.At(at, want, want);
      if (bytes.empty()) {  // unreadable, or the file became shorter
        if (!window_.unreadable()) break;
        first = std::min(first, at);
        at += kUnreadableBytes - at % kUnreadableBytes;
        last = std::max(last, std::min(at, segment_.size));
        continue;
      }
      for (std::size_t i = 0; i < bytes.size(); ++i) {
        if (bytes[i] == 0) continue;
        first = std::min(first, at + i);
        last = std::max(last, at + i + 1);
        if (at + i < segment_.end + kRecordHeaderBytes) ++in_first_header;
      }
      at += bytes.size();
    }
    segment_.has_tail = false;
    if (first >= last) return std::nullopt;
    // A header has its marker and two checksums: of one that is there in part, more than a few bytes are not zero. A
    // bit that tipped over in unused space is no record.
    segment_.has_tail = in_first_header >= 8;
    return Damage{first, last - first, "this is neither a record nor zeros"};
  }

  Window window_, scan_;
  const Verify verify_;
  Segment segment_;
  std::string instance_;              // its bytes
  std::optional<RecordHeader> last_;  // of the last record, if it was taken
};

}  // namespace

std::string SegmentName(std::uint64_t index) { return fmt::format("{:0{}}{}", index, kNameDigits, kSuffix); }

std::optional<std::uint64_t> ParseSegmentName(std::string_view name) {
  if (name.size() != kNameDigits + kSuffix.size() || !name.ends_with(kSuffix)) return std::nullopt;
  std::uint64_t index = 0;
  const char* const end = name.data() + kNameDigits;
  const auto [parsed, error] = std::from_chars(name.data(), end, index);
  if (error != std::errc() || parsed != end) return std::nullopt;
  return index;
}

std::string EncodeSegmentHeader(const SegmentHeader& header) {
  std::string rest;  // behind the crc
  PutU32(rest, 0);
  PutU64(rest, header.index);
  PutU64(rest, header.first_seq);
  PutTime(rest, header.first_time);
  rest += InstanceBytes(header.instance);
  PutU64(rest, 0);
  std::string copy(kMagic);
  PutU32(copy, Crc32(rest));
  copy += rest;
  return copy + copy;
}

std::string EncodeShift(const Shift& shift) {
  std::string out;
  PutU64(out, shift.after);
  PutU64(out, shift.by);
  return out;
}

std::optional<Shift> DecodeShift(std::string_view payload) {
  if (payload.size() != 16) return std::nullopt;
  const Shift shift{GetU64(payload, 0), GetU64(payload, 8)};
  if (shift.after > kMostSeq || shift.by > kMostSeq) return std::nullopt;
  return shift;
}

std::uint64_t RecordBytes(std::size_t payload) { return Padded(kRecordHeaderBytes + payload); }

std::string EncodeRecord(const std::string& instance, const Record& record, std::string_view payload) {
  std::string rest;  // of the header, behind its crc
  rest.push_back(static_cast<char>(record.kind));
  rest.push_back(static_cast<char>(record.is_confirmed ? 0 : kUnconfirmed));
  rest.append(2, '\0');
  PutU32(rest, static_cast<std::uint32_t>(payload.size()));
  PutU32(rest, Crc32(payload));
  PutU64(rest, record.seq);
  PutTime(rest, record.time);
  std::string out;
  out.reserve(RecordBytes(payload.size()));
  out += kMarker;
  PutU32(out, HeaderCrc(InstanceBytes(instance), record.offset, rest));
  out += rest;
  out += payload;
  out.append(RecordBytes(payload.size()) - out.size(), '\0');
  return out;
}

absl::StatusOr<Segment> ReadSegment(File& file, const std::string& instance, Verify verify) {
  ASSIGN_OR_RETURN(const std::uint64_t size, file.Size());
  if (size > kMostSegmentBytes) return base::InvalidArgument("{} bytes are too many for a segment", size);
  return Reader(file, size, verify).Read(instance);
}

std::optional<SegmentHeader> ReadSegmentHeader(File& file) {
  std::array<char, kRecordsBegin> bytes{};
  const auto n = file.ReadAt(0, bytes);
  if (!n.ok()) return std::nullopt;
  const std::string_view read(bytes.data(), *n);
  if (auto header = DecodeSegmentHeader(read)) return header;
  if (read.size() <= kHeaderBytes) return std::nullopt;
  return DecodeSegmentHeader(read.substr(kHeaderBytes));
}

absl::StatusOr<std::string> ReadRecord(File& file, const std::string& instance, const Record& record) {
  std::string bytes(kRecordHeaderBytes + record.length, '\0');
  ASSIGN_OR_RETURN(const std::size_t n, file.ReadAt(record.offset, bytes));
  const auto header = DecodeRecordHeader(InstanceBytes(instance), record.offset, bytes);
  if (n < bytes.size() || !header || header->record != record ||
      Crc32(std::string_view(bytes).substr(kRecordHeaderBytes)) != header->payload_crc) {
    return base::MakeStatus(absl::StatusCode::kDataLoss, "record {} at offset {} is not what was written", record.seq,
                            record.offset);
  }
  bytes.erase(0, kRecordHeaderBytes);
  return bytes;
}

}  // namespace clusterpulse::spool
