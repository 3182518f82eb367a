#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <absl/status/statusor.h>

#include "collector/spool/directory.h"
#include "collector/spool/file_system.h"
#include "collector/spool/head.h"
#include "collector/spool/segment.h"
#include "common/base/clock.h"
#include "common/model/delivery.h"

namespace clusterpulse::spool {

// What is in a spool's directory, every checksum verified: `clusterpulse-collector spool inspect DIR`.
struct Inspection {
  struct SegmentFile {
    std::string file;
    std::string instance;  // empty: not to be read any more
    model::SeqRange seqs;  // of its batches that are whole; 0, 0: none
    std::size_t batches = 0, gap_lists = 0, broken = 0;
    std::uint64_t bytes = 0, used_bytes = 0;   // of the file; up to the end of its last record
    std::optional<base::SystemTime> from, to;  // collection times of its batches
  };
  struct Place {
    std::string file;
    Damage damage;
  };

  std::string dir;
  std::optional<Head> head;
  std::vector<SegmentFile> segments;  // by name
  std::vector<model::Gap> gaps;
  std::vector<Place> damage;
  // Numbers that were given and are neither here nor durable nor in a gap. The collector makes gaps of them when it
  // starts; while it runs it may have them in memory, after its disk failed.
  std::vector<model::SeqRange> missing;
  std::vector<Directory::OtherFile> others;  // no segments of this spool

  bool is_clean() const { return damage.empty() && missing.empty(); }
};

// Reads only, and takes no lock: a collector may use the directory meanwhile. What looks broken is looked at twice
// more, each time after a `pause`, for it may just be being written. Errors: the directory or a file in it cannot be
// read.
absl::StatusOr<Inspection> Inspect(FileSystem& files, const std::string& dir, std::chrono::milliseconds pause = {});

// For people, with a line for each thing; and one JSON object.
std::string ToText(const Inspection& inspection);
std::string ToJson(const Inspection& inspection);

}  // namespace clusterpulse::spool
