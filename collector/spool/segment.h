#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

#include "collector/spool/file_system.h"
#include "common/base/clock.h"

// One file of records, `NNNNNNNNNNNNNNNN.seg`; docs/spool-format.md shows it byte by byte. Numbers are little endian.
//
//   segment = header header record* zeros
//   header  = magic:8 crc:4 0:4 index:8 first_seq:8 first_time:8 instance:16 0:8          64 bytes, twice
//   record  = marker:8 crc:4 kind:1 flags:1 0:2 length:4 payload_crc:4 seq:8 time:8 payload 0*    40 bytes, then the
//   payload,
//                                                                                         then zeros up to 8
//
// What one broken bit may cost:
// - in one of the two headers: nothing, there is the other;
// - in the header of a record: this record. Its crc covers the length, so a length that is believed is right. Reading
//   goes on at the next marker whose header and payload are both as their crcs say;
// - in a payload: this record. Reading goes on behind it, as the header told;
// - in zeros: nothing.
// A marker inside a payload leads nowhere: a crc of a record's header begins with the instance, a random name, and the
// offset of the record, so that not even a copy of a whole segment inside a payload is taken for records.
namespace clusterpulse::spool {

inline constexpr std::uint64_t kRecordsBegin = 128;  // behind the two headers
inline constexpr std::size_t kRecordHeaderBytes = 40;
// Longer files are not read as segments.
inline constexpr std::uint64_t kMostSegmentBytes = std::uint64_t{64} << 20;

std::string SegmentName(std::uint64_t index);
std::optional<std::uint64_t> ParseSegmentName(std::string_view name);

struct SegmentHeader {
  std::string instance;
  std::uint64_t index = 0;                     // counts the segments of a spool; also in the name
  std::uint64_t first_seq = 0;                 // all numbers below it were given when the segment was made
  std::optional<base::SystemTime> first_time;  // when that batch was collected
  bool operator==(const SegmentHeader&) const = default;
};
// Both copies.
std::string EncodeSegmentHeader(const SegmentHeader& header);

enum class RecordKind : std::uint8_t {
  kBatch = 1,
  kGaps = 2,  // all gaps there are (gap_list.h); the newest such record counts
  kShift = 3  // the numbers in all records before it are others (Shift)
};

// Numbers above `after` are higher by `by`. Of later shifts `after` is higher: one of which it is not is an earlier one
// that the disk said it had not taken, written again.
struct Shift {
  std::uint64_t after = 0, by = 0;
  std::uint64_t Of(std::uint64_t seq) const { return seq > after ? seq + by : seq; }
  bool operator==(const Shift&) const = default;
};
// The payload of such a record.
std::string EncodeShift(const Shift& shift);
std::optional<Shift> DecodeShift(std::string_view payload);

struct Record {
  RecordKind kind = RecordKind::kBatch;
  std::uint64_t seq = 0;  // of gaps and shifts: the highest number given by then
  base::SystemTime time{};
  std::uint64_t offset = 0;
  std::uint32_t length = 0;  // of the payload
  bool is_confirmed = true;  // whoever wrote it knew that no other batch has the number, or one below
  bool operator==(const Record&) const = default;
};
// On disk.
std::uint64_t RecordBytes(std::size_t payload);
// `record.length` is taken from the payload.
std::string EncodeRecord(const std::string& instance, const Record& record, std::string_view payload);

// A place that is not as it was written.
struct Damage {
  std::uint64_t offset = 0, bytes = 0;
  std::string what;
  bool operator==(const Damage&) const = default;
};

struct Segment {
  std::optional<SegmentHeader> header;
  std::vector<Record> records;  // as they stand in the file
  std::vector<Record> broken;   // their header is whole, their payload is not
  std::vector<Damage> damage;
  std::uint64_t size = 0;
  std::uint64_t end = kRecordsBegin;  // behind the last record; zeros follow, unless there is damage
  bool has_tail = false;              // behind `end` there is what looks like one more record
};

enum class Verify {
  kLast,  // of the payloads only the last one: what stands before a synced record was synced earlier
  kAll
};

// Reads a segment, whatever is in the file. Without a usable header the records are those of `instance`; then, and
// with an empty `instance`, there may be none. What cannot be read is damage. Errors: those of File::Size, and
// kInvalidArgument (longer than kMostSegmentBytes).
absl::StatusOr<Segment> ReadSegment(File& file, const std::string& instance, Verify verify);
// The header alone, if one of its copies is whole.
std::optional<SegmentHeader> ReadSegmentHeader(File& file);

// The payload of that record. kDataLoss: it is not as written. Other errors: those of File::ReadAt.
absl::StatusOr<std::string> ReadRecord(File& file, const std::string& instance, const Record& record);

}  // namespace clusterpulse::spool
