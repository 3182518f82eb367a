#include "collector/spool/testing/fake_file_system.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/base/status.h"

namespace clusterpulse::spool {
namespace {

constexpr std::size_t kSector = 512;

absl::Status Gone() { return base::Unavailable("the process that opened this is gone"); }
absl::Status NoFile(const std::string& path) {
  return base::MakeStatus(absl::StatusCode::kNotFound, "{}: no such file", path);
}

}  // namespace

class FakeFileSystem::OpenFile final : public File {
 public:
  OpenFile(FakeFileSystem& files, std::shared_ptr<Node> node, std::string path, std::uint64_t process)
      : files_(files), node_(std::move(node)), path_(std::move(path)), process_(process) {}

  absl::Status WriteAt(std::uint64_t offset, std::string_view bytes) override {
    base::MutexLock lock(files_.mu_);
    if (files_.IsGoneLocked(process_)) return Gone();
    bool is_last = false;
    absl::Status status = files_.BeginLocked(Call::kWrite, path_, true, &is_last);
    if (is_last || !status.ok()) {
      // A part of it, from the beginning, is there.
      bytes = bytes.substr(0, files_.random_.Next() % (bytes.size() + 1));
    }
    const std::uint64_t end = offset + bytes.size();
    if (end > node_->now.size()) {
      const std::uint64_t total = files_.TotalLocked(), grows = end - node_->now.size();
      const std::uint64_t left = total < files_.capacity_ ? files_.capacity_ - total : 0;
      if (grows > left) {
        const std::uint64_t fits = bytes.size() - std::min<std::uint64_t>(bytes.size(), grows - left);
        bytes = bytes.substr(0, fits);
        if (status.ok()) status = base::MakeStatus(absl::StatusCode::kResourceExhausted, "{}: disk full", path_);
      }
    }
    if (!bytes.empty()) DoLocked({false, offset, std::string(bytes)});
    return is_last ? Gone() : status;
  }

  absl::StatusOr<std::size_t> ReadAt(std::uint64_t offset, std::span<char> into) override {
    base::MutexLock lock(files_.mu_);
    if (files_.IsGoneLocked(process_)) return Gone();
    RETURN_IF_ERROR(files_.BeginLocked(Call::kRead, path_, false, nullptr));
    if (offset >= node_->now.size()) return 0;
    const std::size_t n = std::min<std::size_t>(into.size(), node_->now.size() - offset);
    std::memcpy(into.data(), node_->now.data() + offset, n);
    return n;
  }

  absl::Status Sync() override {
    base::MutexLock lock(files_.mu_);
    if (files_.IsGoneLocked(process_)) return Gone();
    bool is_last = false;
    const absl::Status status = files_.BeginLocked(Call::kSync, path_, true, &is_last);
    if (is_last && !files_.CoinLocked()) return Gone();
    for (const Change& change : node_->unsynced) {
      // After an error the disk has some of it, and nothing tries again to write the rest.
      if (status.ok() || files_.CoinLocked()) Make(change, node_->synced);
    }
    node_->unsynced.clear();
    return is_last ? Gone() : status;
  }

  absl::Status Resize(std::uint64_t size) override {
    base::MutexLock lock(files_.mu_);
    if (files_.IsGoneLocked(process_)) return Gone();
    bool is_last = false;
    RETURN_IF_ERROR(files_.BeginLocked(Call::kResize, path_, true, &is_last));
    if (is_last && !files_.CoinLocked()) return Gone();
    if (size > node_->now.size() && files_.TotalLocked() + (size - node_->now.size()) > files_.capacity_) {
      return base::MakeStatus(absl::StatusCode::kResourceExhausted, "{}: disk full", path_);
    }
    DoLocked({true, size, {}});
    return is_last ? Gone() : absl::OkStatus();
  }

  absl::StatusOr<std::uint64_t> Size() override {
    base::MutexLock lock(files_.mu_);
    if (files_.IsGoneLocked(process_)) return Gone();
    RETURN_IF_ERROR(files_.BeginLocked(Call::kRead, path_, false, nullptr));
    return node_->now.size();
  }

 private:
  void DoLocked(Change change) {
    Make(change, node_->now);
    node_->unsynced.push_back(std::move(change));
  }

  FakeFileSystem& files_;
  const std::shared_ptr<Node> node_;  // guarded by the lock of `files_`
  const std::string path_;
  const std::uint64_t process_;
};

class FakeFileSystem::HeldLock final : public FileLock {
 public:
  HeldLock(FakeFileSystem& files, std::string path, std::uint64_t process)
      : files_(files), path_(std::move(path)), process_(process) {}
  ~HeldLock() override {
    base::MutexLock lock(files_.mu_);
    if (files_.process_ == process_) files_.locks_.erase(path_);
  }

 private:
  FakeFileSystem& files_;
  const std::string path_;
  const std::uint64_t process_;
};

FakeFileSystem::~FakeFileSystem() = default;

void FakeFileSystem::Make(const Change& change, std::string& content) {
  if (change.is_resize) {
    content.resize(change.offset, '\0');
    return;
  }
  if (content.size() < change.offset + change.bytes.size()) {
    content.resize(change.offset + change.bytes.size(), '\0');
  }
  std::memcpy(content.data() + change.offset, change.bytes.data(), change.bytes.size());
}

absl::Status FakeFileSystem::BeginLocked(Call call, const std::string& path, bool is_change, bool* is_last) {
  if (is_stopped_) return Gone();
  if (is_change) {
    ++changes_;
    *is_last = changes_ == last_change_;
    if (*is_last) is_stopped_ = true;
  }
  return fault_ ? fault_(call, path) : absl::OkStatus();
}

std::uint64_t FakeFileSystem::TotalLocked() const {
  std::uint64_t total = 0;
  for (const auto& [path, node] : names_) total += node->now.size();
  return total;
}

void FakeFileSystem::SetCapacity(std::uint64_t bytes) {
  base::MutexLock lock(mu_);
  capacity_ = bytes;
}

void FakeFileSystem::SetFault(Fault fault) {
  base::MutexLock lock(mu_);
  fault_ = std::move(fault);
}

void FakeFileSystem::StopAfter(std::uint64_t changes) {
  base::MutexLock lock(mu_);
  last_change_ = changes_ + changes;
}

bool FakeFileSystem::is_stopped() const {
  base::MutexLock lock(mu_);
  return is_stopped_;
}

std::uint64_t FakeFileSystem::changes() const {
  base::MutexLock lock(mu_);
  return changes_;
}

void FakeFileSystem::RestartLocked() {
  ++process_;
  is_stopped_ = false;
  last_change_ = 0;
  locks_.clear();
}

void FakeFileSystem::Restart() {
  base::MutexLock lock(mu_);
  RestartLocked();
}

void FakeFileSystem::LosePower() {
  base::MutexLock lock(mu_);
  if (const std::uint64_t kept = random_.Next() % (unsynced_names_.size() + 1); kept > 0) {
    synced_names_ = unsynced_names_[kept - 1];
  }
  unsynced_names_.clear();
  names_ = synced_names_;
  for (const auto& [path, node] : names_) {
    for (const Change& change : node->unsynced) {
      switch (random_.Next() % 4) {
        case 0:  // lost
          break;
        case 1:
        case 2:  // whole
          Make(change, node->synced);
          break;
        case 3:  // torn
          if (change.is_resize) break;
          for (std::size_t at = 0; at < change.bytes.size();) {
            const std::size_t step = kSector - (change.offset + at) % kSector;
            if (CoinLocked()) Make({false, change.offset + at, change.bytes.substr(at, step)}, node->synced);
            at += step;
          }
          break;
      }
    }
    node->unsynced.clear();
    node->now = node->synced;
  }
  RestartLocked();
}

std::string FakeFileSystem::Content(const std::string& path) const {
  base::MutexLock lock(mu_);
  return names_.at(path)->now;
}

void FakeFileSystem::SetContent(const std::string& path, std::string bytes) {
  base::MutexLock lock(mu_);
  auto& node = names_[path];
  if (node == nullptr) node = std::make_shared<Node>();
  node->synced = node->now = std::move(bytes);
  node->unsynced.clear();
  synced_names_ = names_;
  unsynced_names_.clear();
}

bool FakeFileSystem::Exists(const std::string& path) const {
  base::MutexLock lock(mu_);
  return names_.contains(path);
}

std::uint64_t FakeFileSystem::TotalBytes() const {
  base::MutexLock lock(mu_);
  return TotalLocked();
}

absl::StatusOr<std::unique_ptr<File>> FakeFileSystem::Open(const std::string& path, Mode mode) {
  base::MutexLock lock(mu_);
  const auto found = names_.find(path);
  const bool makes = mode == Mode::kReplace || (mode == Mode::kCreate && found == names_.end());
  bool is_last = false;
  RETURN_IF_ERROR(BeginLocked(Call::kOpen, path, makes, &is_last));
  if (is_last && !CoinLocked()) return Gone();
  std::shared_ptr<Node> node;
  if (found != names_.end()) {
    node = found->second;
    if (mode == Mode::kReplace) {
      node->unsynced.push_back({true, 0, {}});
      node->now.clear();
    }
  } else {
    if (!makes) return NoFile(path);
    node = names_[path] = std::make_shared<Node>();
    NamesChangedLocked();
  }
  if (is_last) return Gone();
  return std::make_unique<OpenFile>(*this, std::move(node), path, process_);
}

absl::Status FakeFileSystem::MakeDir(const std::string& dir) {
  base::MutexLock lock(mu_);
  return BeginLocked(Call::kMakeDir, dir, false, nullptr);
}

absl::StatusOr<std::vector<std::string>> FakeFileSystem::List(const std::string& dir) {
  base::MutexLock lock(mu_);
  RETURN_IF_ERROR(BeginLocked(Call::kList, dir, false, nullptr));
  std::vector<std::string> names;
  const std::string prefix = dir + "/";
  for (const auto& [path, node] : names_) {
    if (path.starts_with(prefix) && path.find('/', prefix.size()) == std::string::npos) {
      names.push_back(path.substr(prefix.size()));
    }
  }
  return names;
}

absl::Status FakeFileSystem::Rename(const std::string& from, const std::string& to) {
  base::MutexLock lock(mu_);
  bool is_last = false;
  RETURN_IF_ERROR(BeginLocked(Call::kRename, from, true, &is_last));
  if (is_last && !CoinLocked()) return Gone();
  const auto found = names_.find(from);
  if (found == names_.end()) return NoFile(from);
  std::shared_ptr<Node> node = found->second;
  names_.erase(found);
  names_[to] = std::move(node);
  NamesChangedLocked();
  return is_last ? Gone() : absl::OkStatus();
}

absl::Status FakeFileSystem::Remove(const std::string& path) {
  base::MutexLock lock(mu_);
  bool is_last = false;
  RETURN_IF_ERROR(BeginLocked(Call::kRemove, path, true, &is_last));
  if (is_last && !CoinLocked()) return Gone();
  if (names_.erase(path) == 0) return NoFile(path);
  NamesChangedLocked();
  return is_last ? Gone() : absl::OkStatus();
}

absl::Status FakeFileSystem::SyncDir(const std::string& dir) {
  base::MutexLock lock(mu_);
  bool is_last = false;
  RETURN_IF_ERROR(BeginLocked(Call::kSyncDir, dir, true, &is_last));
  if (is_last && !CoinLocked()) return Gone();
  synced_names_ = names_;
  unsynced_names_.clear();
  return is_last ? Gone() : absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<FileLock>> FakeFileSystem::Lock(const std::string& path) {
  base::MutexLock lock(mu_);
  RETURN_IF_ERROR(BeginLocked(Call::kLock, path, false, nullptr));
  if (!locks_.insert(path).second) {
    return base::MakeStatus(absl::StatusCode::kFailedPrecondition, "{} is locked by another process", path);
  }
  if (!names_.contains(path)) {
    names_[path] = std::make_shared<Node>();
    NamesChangedLocked();
  }
  return std::make_unique<HeldLock>(*this, path, process_);
}

}  // namespace clusterpulse::spool
