#pragma once

#include <string>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "collector/spool/file_system.h"

// The definitions of the MetricSources in force, kept on disk: what a collector runs that starts while the hub is away.
//
//   clusterpulse metric sources 1 <crc32 of all that follows, 8 hex digits>\n
//   (<length>\n<definition>\n)*
namespace clusterpulse::sources {

// Replaces the file in one step: after a crash or loss of power it is the old or the new one. Makes its folder. Errors
// are those of FileSystem.
absl::Status WriteDefinitions(spool::FileSystem& files, const std::string& path,
                              const std::vector<std::string>& definitions);

// None when there is no such file. kDataLoss: it is damaged, or of another version. Other errors are those of
// FileSystem.
absl::StatusOr<std::vector<std::string>> ReadDefinitions(spool::FileSystem& files, const std::string& path);

}  // namespace clusterpulse::sources
