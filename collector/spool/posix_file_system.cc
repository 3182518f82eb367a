#include "collector/spool/posix_file_system.h"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/status.h"

namespace clusterpulse::spool {
namespace {

absl::StatusCode CodeOf(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return absl::StatusCode::kResourceExhausted;
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::StatusCode::kPermissionDenied;
    case ENOENT:
      return absl::StatusCode::kNotFound;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return absl::StatusCode::kAborted;
    default:
      return absl::StatusCode::kUnavailable;
  }
}

absl::Status Failed(int error, std::string_view what, std::string_view path) {
  return base::MakeStatus(CodeOf(error), "{} {}: {}", what, path, std::generic_category().message(error));
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

class PosixFile final : public File {
 public:
  PosixFile(Descriptor fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

  absl::Status WriteAt(std::uint64_t offset, std::string_view bytes) override {
    while (!bytes.empty()) {
      const ssize_t n = pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (n < 0) {
        if (errno == EINTR) continue;
        return Failed(errno, "writing", path_);
      }
      // A write of nothing without an error: the disk has no room for the next byte.
      if (n == 0) return Failed(ENOSPC, "writing", path_);
      bytes.remove_prefix(static_cast<std::size_t>(n));
      offset += static_cast<std::uint64_t>(n);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::size_t> ReadAt(std::uint64_t offset, std::span<char> into) override {
    std::size_t done = 0;
    while (done < into.size()) {
      const ssize_t n = pread(fd_.get(), into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
      if (n < 0) {
        if (errno == EINTR) continue;
        return Failed(errno, "reading", path_);
      }
      if (n == 0) break;
      done += static_cast<std::size_t>(n);
    }
    return done;
  }

  absl::Status Sync() override {
    // EINTR is an error like any other here: what became of the data is not known.
    if (fdatasync(fd_.get()) != 0) return Failed(errno, "syncing", path_);
    return absl::OkStatus();
  }

  absl::Status Resize(std::uint64_t size) override {
    ASSIGN_OR_RETURN(const std::uint64_t now, Size());
    if (size > now) {
      int failed = 0;
      do {
        failed = fallocate(fd_.get(), 0, static_cast<off_t>(now), static_cast<off_t>(size - now)) == 0 ? 0 : errno;
      } while (failed == EINTR);
      if (failed == 0) return absl::OkStatus();
      // A file system that cannot set space aside gives zeros all the same.
      if (failed != EOPNOTSUPP && failed != ENOSYS) return Failed(failed, "growing", path_);
    }
    while (ftruncate(fd_.get(), static_cast<off_t>(size)) != 0) {
      if (errno != EINTR) return Failed(errno, "resizing", path_);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::uint64_t> Size() override {
    struct stat info {};
    if (fstat(fd_.get(), &info) != 0) return Failed(errno, "looking at", path_);
    return static_cast<std::uint64_t>(info.st_size);
  }

 private:
  const Descriptor fd_;
  const std::string path_;
};

class PosixLock final : public FileLock {
 public:
  explicit PosixLock(Descriptor fd) : fd_(std::move(fd)) {}

 private:
  const Descriptor fd_;
};

absl::StatusOr<Descriptor> OpenRegular(const std::string& path, int flags) {
  int fd = -1;
  do {
    fd = open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) {
    if (errno == EISDIR || errno == ELOOP || errno == ENXIO) {
      return base::InvalidArgument("{} is no regular file", path);
    }
    return Failed(errno, "opening", path);
  }
  Descriptor descriptor(fd);
  struct stat info {};
  if (fstat(fd, &info) != 0) return Failed(errno, "looking at", path);
  if (!S_ISREG(info.st_mode)) return base::InvalidArgument("{} is no regular file", path);
  return descriptor;
}

class PosixFiles final : public FileSystem {
 public:
  absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path, Mode mode) override {
    ASSIGN_OR_RETURN(Descriptor fd, OpenRegular(path, FlagsOf(mode)));
    return std::make_unique<PosixFile>(std::move(fd), path);
  }

  absl::Status MakeDir(const std::string& dir) override {
    const std::filesystem::path path(dir);
    std::filesystem::path above;
    for (const auto& part : path) {
      above /= part;
      if (mkdir(above.c_str(), 0700) == 0 || errno == EEXIST) continue;
      const int failed = errno;
      // What is there already may stand in a directory where nothing can be made.
      std::error_code error;
      if (!std::filesystem::is_directory(above, error)) return Failed(failed, "making", above.native());
    }
    std::error_code error;
    if (!std::filesystem::is_directory(path, error)) return Failed(ENOTDIR, "making", dir);
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<std::string>> List(const std::string& dir) override {
    std::vector<std::string> names;
    std::error_code error;
    std::filesystem::directory_iterator entry(dir, error);
    for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
      names.push_back(entry->path().filename().native());
    }
    if (error) return Failed(error.value(), "listing", dir);
    std::sort(names.begin(), names.end());
    return names;
  }

  absl::Status Rename(const std::string& from, const std::string& to) override {
    if (rename(from.c_str(), to.c_str()) != 0) return Failed(errno, "renaming", from);
    return absl::OkStatus();
  }

  absl::Status Remove(const std::string& path) override {
    if (unlink(path.c_str()) != 0) return Failed(errno, "removing", path);
    return absl::OkStatus();
  }

  absl::Status SyncDir(const std::string& dir) override {
    const Descriptor fd(open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd.get() < 0) return Failed(errno, "opening", dir);
    if (fsync(fd.get()) != 0) return Failed(errno, "syncing", dir);
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) override {
    ASSIGN_OR_RETURN(Descriptor fd, OpenRegular(path, O_RDWR | O_CREAT));
    if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) {
        return base::MakeStatus(absl::StatusCode::kFailedPrecondition, "{} is locked by another process", path);
      }
      return Failed(errno, "locking", path);
    }
    return std::make_unique<PosixLock>(std::move(fd));
  }

 private:
  static int FlagsOf(Mode mode) {
    switch (mode) {
      case Mode::kRead:
        return O_RDONLY;
      case Mode::kWrite:
        return O_RDWR;
      case Mode::kCreate:
        return O_RDWR | O_CREAT;
      case Mode::kReplace:
        return O_RDWR | O_CREAT | O_TRUNC;
    }
    return O_RDONLY;
  }
};

}  // namespace

FileSystem& PosixFileSystem() {
  static PosixFiles files;
  return files;
}

}  // namespace clusterpulse::spool
