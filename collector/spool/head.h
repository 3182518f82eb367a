#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <absl/status/statusor.h>

#include "collector/spool/file_system.h"
#include "common/base/clock.h"
#include "common/model/delivery.h"

namespace clusterpulse::spool {

// What a spool knows beyond its segments: it tells a segment that was cut between two records from one that ends there,
// and a record that was deleted from one that is lost.
struct Head {
  // A position of more ranges is remembered without the highest.
  static constexpr std::size_t kMostRanges = 250;

  std::string instance;
  std::uint64_t last_given = 0;  // the highest number any batch got
  std::optional<base::SystemTime> last_collected_at;
  std::uint64_t floor = 0;  // what became of the numbers up to this one is not known, and not asked
  model::DurablePosition durable;
  std::uint64_t confirmed = 0;  // numbers up to this one were never given to other batches as well (Spool::Confirm)
  bool operator==(const Head&) const = default;
};

// The file `HEAD`: two slots of 4096 bytes, of which the valid one with the higher generation counts.
//
//   slot = magic:8 crc:4 length:4 generation:8 instance:16 last_given:8 last_collected_at:8 floor:8 low:8 ranges:4
//          unconfirmed:4 (first:8 last:8)*
//
// `unconfirmed` is last_given - confirmed; a file of before there was such a thing has 0 there.
//
// One slot is always synced, and only the other is written to. So loss of power costs what was said since the last
// synced Write, and never all of it. Not thread-safe.
class HeadFile {
 public:
  static constexpr std::uint64_t kBytes = std::uint64_t{2} * 4096;

  // Opens the file, or makes it. `files` is borrowed.
  static absl::StatusOr<std::unique_ptr<HeadFile>> Open(FileSystem& files, const std::string& dir);
  // What is in the file, when it need not be written: for spool inspect. kDataLoss: neither slot is whole.
  static absl::StatusOr<Head> Read(FileSystem& files, const std::string& dir);

  // What Open found; nullopt: nothing that can be used.
  const std::optional<Head>& found() const { return found_; }
  // Open found something that cannot be used.
  bool is_broken() const { return is_broken_; }

  absl::Status Write(const Head& head, bool sync);

 private:
  explicit HeadFile(std::unique_ptr<File> file) : file_(std::move(file)) {}

  const std::unique_ptr<File> file_;
  std::optional<Head> found_;
  bool is_broken_ = false;
  std::uint64_t generation_ = 0;
  std::size_t slot_ = 0;          // which is written to
  bool other_is_synced_ = false;  // not known of a file that another process wrote
};

}  // namespace clusterpulse::spool
