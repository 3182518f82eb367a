#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "collector/spool/file_system.h"
#include "common/base/mutex.h"
#include "common/base/random.h"

namespace clusterpulse::spool {

// A disk in memory that can be told to fail, to be full, and to lose power. The same calls with the same seed give the
// same bytes, so a simulation replays. Thread-safe, its files too.
//
//   FakeFileSystem files(random);
//   files.SetCapacity(1 << 20);                                // then kResourceExhausted, after a part was written
//   files.SetFault([](FakeFileSystem::Call call, auto& path) { return call == kSync ? Eio() : absl::OkStatus(); });
//   files.StopAfter(7);                                        // the process is killed in its 7th change from now
//   files.LosePower();                                         // what was not synced is there, or in part, or not
//   files.Restart();                                           // the next process may open its files
//
// Does not imitate: directories (a file makes them), permissions, links, files of other kinds, times.
class FakeFileSystem final : public FileSystem {
 public:
  enum class Call { kOpen, kMakeDir, kList, kRename, kRemove, kSyncDir, kLock, kWrite, kRead, kSync, kResize };
  using Fault = std::function<absl::Status(Call call, const std::string& path)>;

  // `random` decides what a fault and a loss of power leave. Borrowed.
  explicit FakeFileSystem(base::Random& random) : random_(random) {}
  ~FakeFileSystem() override;

  // Bytes of all files together; zeros that a file grew by count too.
  void SetCapacity(std::uint64_t bytes);
  // Asked before each call; what it returns fails it. A write that fails may have written a part of it. Called with the
  // lock held: it must not call back. Null: no fault.
  void SetFault(Fault fault);
  // The change (a write, sync, resize, open that makes a file, rename, removal) with that number from now, from 1, is
  // the last one: it is made in part or not at all, and all calls after it fail with kUnavailable until Restart.
  void StopAfter(std::uint64_t changes);
  bool is_stopped() const;
  // Changes so far.
  std::uint64_t changes() const;

  // Of what is not synced each write and each sector of 512 bytes of it may be lost; names are as they were at some
  // moment since the last SyncDir. Ends the process as Restart does.
  void LosePower();
  // The process that used the disk is gone: its open files and locks are void. What it wrote is there.
  void Restart();

  // Reads and changes files from outside; as if always synced. REQUIRES: the file is there.
  std::string Content(const std::string& path) const;
  void SetContent(const std::string& path, std::string bytes);
  bool Exists(const std::string& path) const;
  std::uint64_t TotalBytes() const;

  absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path, Mode mode) override;
  absl::Status MakeDir(const std::string& dir) override;
  absl::StatusOr<std::vector<std::string>> List(const std::string& dir) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status Remove(const std::string& path) override;
  absl::Status SyncDir(const std::string& dir) override;
  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) override;

 private:
  class OpenFile;
  class HeldLock;
  // A write, or with `is_resize` a new size.
  struct Change {
    bool is_resize = false;
    std::uint64_t offset = 0;  // or the new size
    std::string bytes;
  };
  struct Node {
    std::string now, synced;
    std::vector<Change> unsynced;
  };
  using Names = std::map<std::string, std::shared_ptr<Node>>;

  static void Make(const Change& change, std::string& content);
  // The fault, if any; Gone when the process is stopped. `is_change`: counts, and sets *is_last when this change is the
  // one StopAfter named.
  absl::Status BeginLocked(Call call, const std::string& path, bool is_change, bool* is_last)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool IsGoneLocked(std::uint64_t process) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return is_stopped_ || process != process_;
  }
  // Of the change that stops the process: whether it is made all the same.
  bool CoinLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return random_.Next() % 2 == 0; }
  std::uint64_t TotalLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void NamesChangedLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { unsynced_names_.push_back(names_); }
  void RestartLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  base::Random& random_;  // synchronises itself

  mutable base::Mutex mu_;
  Names names_ ABSL_GUARDED_BY(mu_), synced_names_ ABSL_GUARDED_BY(mu_);
  std::vector<Names> unsynced_names_ ABSL_GUARDED_BY(mu_);  // after each change since synced_names_
  std::set<std::string> locks_ ABSL_GUARDED_BY(mu_);
  std::uint64_t capacity_ ABSL_GUARDED_BY(mu_) = ~std::uint64_t{0};
  Fault fault_ ABSL_GUARDED_BY(mu_);
  std::uint64_t changes_ ABSL_GUARDED_BY(mu_) = 0;
  std::uint64_t last_change_ ABSL_GUARDED_BY(mu_) = 0;  // 0: none
  bool is_stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::uint64_t process_ ABSL_GUARDED_BY(mu_) = 1;
};

}  // namespace clusterpulse::spool
