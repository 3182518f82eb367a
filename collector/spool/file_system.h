#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

// Port to the disk, as narrow as the spool needs it. Adapter: posix_file_system.h. Fake, with faults and loss of power:
// testing/fake_file_system.h.
//
// Errors of all calls: kResourceExhausted (no space, over quota), kPermissionDenied, kNotFound (no such file), kAborted
// (no descriptors or memory for now, which says nothing of the disk), kUnavailable (anything else the disk says). Calls
// block for as long as the disk does.
namespace clusterpulse::spool {

// An open file. Not thread-safe; closed by the destructor.
class File {
 public:
  virtual ~File() = default;
  // All of `bytes`, at that place; the file grows when it must. After an error any part of them may be there.
  virtual absl::Status WriteAt(std::uint64_t offset, std::string_view bytes) = 0;
  // Returns how many bytes were read: fewer than asked for only at the end of the file.
  virtual absl::StatusOr<std::size_t> ReadAt(std::uint64_t offset, std::span<char> into) = 0;
  // Content and size as they are now survive loss of power (fdatasync). After an error what was written since the last
  // one may be lost, also when a later one succeeds.
  virtual absl::Status Sync() = 0;
  // Cuts the file, or lets it grow by zeros for which the disk sets space aside.
  virtual absl::Status Resize(std::uint64_t size) = 0;
  virtual absl::StatusOr<std::uint64_t> Size() = 0;
};

// Held until it is destroyed, or the process ends.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

// Names of files are paths. Which names a directory has survives loss of power only after SyncDir; until then each
// change of them may be undone, later ones first.
class FileSystem {
 public:
  enum class Mode {
    kRead,
    kWrite,   // reads and writes what is there
    kCreate,  // the same; made when missing, 0600
    kReplace  // the same; what was there is gone
  };

  virtual ~FileSystem() = default;
  // kInvalidArgument: no regular file.
  virtual absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path, Mode mode) = 0;
  // Makes it, and what is missing above it, 0700. It may be there.
  virtual absl::Status MakeDir(const std::string& dir) = 0;
  // The names in it, sorted.
  virtual absl::StatusOr<std::vector<std::string>> List(const std::string& dir) = 0;
  // In one step, in place of a file of the new name.
  virtual absl::Status Rename(const std::string& from, const std::string& to) = 0;
  virtual absl::Status Remove(const std::string& path) = 0;
  virtual absl::Status SyncDir(const std::string& dir) = 0;
  // Locks that file, which is made when missing. kFailedPrecondition: another has it.
  virtual absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) = 0;
};

}  // namespace clusterpulse::spool
