#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "hub/store/state_store.h"

namespace clusterpulse::store {

class Sqlite;

// StateStore inside the hub process, for hubs with nothing else installed and for tests: an SQLite database, in a file
// of the data directory or in memory. The same keys, types and documents as in Redis. One process only.
//
// Durability: every write is one transaction; in a file it is synced before the call returns (WAL, synchronous=FULL),
// so a kill at any point loses nothing acknowledged. Expired keys are never seen; a few are removed with each write.
//
// Files: state.db (with -wal and -shm) and state.lock, mode 0600. Additional errors: kDataLoss when the file is
// damaged.
class EmbeddedStore final : public StateStore {
 public:
  struct Options {
    // Made (mode 0700) when missing. Empty: memory only.
    std::string data_dir;
    const base::Clock* clock = &base::SystemClock();  // for expiry
  };

  // kFailedPrecondition: another process has the data directory, or a newer version of us wrote it. kDataLoss: damaged.
  static absl::StatusOr<std::unique_ptr<EmbeddedStore>> Open(Options options);
  // Subscriptions may outlive the store; they are silent then.
  ~EmbeddedStore() override;

  absl::StatusOr<ApplyResult> Apply(const WriterPosition& position, const std::vector<Write>& writes) override;
  absl::Status Commit(const std::vector<Write>& writes) override;
  absl::StatusOr<std::uint64_t> AcquireEpoch(const std::string& cluster, WriterRole role, std::int64_t now_ms) override;
  absl::StatusOr<std::optional<std::string>> Get(const std::string& key) override;
  absl::StatusOr<std::vector<std::optional<std::string>>> GetMany(const std::vector<std::string>& keys) override;
  absl::StatusOr<std::map<std::string, std::string>> HashGetAll(const std::string& key) override;
  absl::StatusOr<std::vector<std::string>> SetMembers(const std::string& key) override;
  absl::StatusOr<std::vector<std::pair<std::string, double>>> SortedNewest(const std::string& key,
                                                                           std::size_t limit) override;
  absl::StatusOr<std::vector<std::string>> ListRange(const std::string& key, std::size_t limit) override;
  absl::StatusOr<Ttl> TimeToLive(const std::string& key) override;
  absl::StatusOr<std::int64_t> DeletePrefix(const std::string& prefix) override;
  absl::StatusOr<std::vector<std::string>> Keys(const std::string& prefix) override;
  absl::StatusOr<bool> AcquireLease(const std::string& name, const std::string& holder,
                                    std::chrono::milliseconds ttl) override;
  absl::StatusOr<std::optional<std::string>> LeaseHolder(const std::string& name) override;
  absl::Status ReleaseLease(const std::string& name, const std::string& holder) override;
  // At most 1024 messages wait for a slow subscriber; then the oldest are dropped.
  absl::StatusOr<std::unique_ptr<Subscription>> Subscribe(
      const std::string& channel, std::function<void(std::string_view message)> on_message) override;
  // Written is safe, in a file; in memory nothing survives the process, and waiting would not help.
  std::chrono::milliseconds DurableAfter() const override { return std::chrono::milliseconds(0); }
  model::DurableMark Durable() override { return {}; }
  absl::Status Ping() override;

 private:
  class Bus;
  class LocalSubscription;
  class Writes;
  // A database connection is used by one thread at a time, so its lock is held while SQLite works: that is its purpose.
  struct Database {
    base::Mutex mu;
    std::unique_ptr<Sqlite> sqlite ABSL_GUARDED_BY(mu);
  };

  explicit EmbeddedStore(Options options);
  absl::Status Prepare();
  // Runs `body(Writes&)` as one transaction and publishes what it published after the commit.
  template <typename F>
  absl::Status Transaction(F&& body);
  // Reads of a file have their own connection, so that they never wait for a sync.
  Database& Reads() { return has_reader_ ? reader_ : writer_; }
  std::int64_t NowMs() const;

  const Options options_;
  const std::shared_ptr<Bus> bus_;
  int lock_fd_ = -1;
  bool has_reader_ = false;
  Database writer_;
  Database reader_;
};

}  // namespace clusterpulse::store
