#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

#include "collector/spool/file_system.h"
#include "collector/spool/segment.h"

namespace clusterpulse::spool {

inline constexpr std::string_view kLockName = "LOCK";
inline constexpr std::string_view kHeadName = "HEAD";
inline constexpr std::string_view kNewSegmentName = "new.tmp";  // a segment that is being made

// The segments of one spool, and what else lies in its directory.
struct Directory {
  struct OtherFile {
    std::string file, why;  // the name, and why it is no segment of this spool
  };

  std::string instance;                       // empty: neither told nor in any segment
  std::map<std::uint64_t, Segment> segments;  // by index
  std::vector<OtherFile> others;
  std::uint64_t highest_index = 0;  // of all names of segments, also of files that are none
  bool has_new_segment = false;     // kNewSegmentName is there
};

// Reads all of it. Segments are those of `instance`; when that is empty, of the instance that the newest readable
// header names. Files that are gone before they are opened are passed over. One is open at a time. Errors: a file
// cannot be opened, or the directory not be listed.
absl::StatusOr<Directory> ReadDirectory(FileSystem& files, const std::string& dir, const std::string& instance,
                                        Verify verify);
// The payload of a record of that segment, which is opened for it. Errors: those of Open and ReadRecord.
absl::StatusOr<std::string> ReadRecordIn(FileSystem& files, const std::string& dir, std::uint64_t segment,
                                         const std::string& instance, const Record& record);

}  // namespace clusterpulse::spool
