#pragma once

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "common/base/backoff.h"
#include "common/base/mutex.h"
#include "common/log/logger.h"
#include "common/telemetry/registry.h"
#include "common/tls/stream.h"
#include "hub/store/resp.h"
#include "hub/store/state_store.h"

namespace clusterpulse::store {

class RedisConnection;

// StateStore on Redis 7.0 (or later): what a fleet needs that outgrows one hub process. Nothing connects before the
// first call; every call works again by itself once Redis does.
//
// Atomicity: one Lua script checks the writer and carries out the writes of a chunk; readers see a chunk entirely or
// not at all. Apply and Commit beyond kChunkWrites or kChunkBytes go in several chunks, each fenced; the position moves
// with the last, so a batch that broke off is simply applied again. A key of a foreign type refuses the whole chunk.
//
// Connections: at most `max_connections`, kept open; callers beyond that wait. While Redis cannot be reached, calls
// fail at once between attempts, which are spaced by backoff. A call that ran out of time ends its connection with a
// reset, so that its command is not carried out after those of later calls. With Sentinel the master is looked up at
// every dial; a demoted one (READONLY) makes all connections be made anew.
//
// The user needs ~* &* +@read +@write +@pubsub +@connection +@scripting. A server that may evict keys under memory
// pressure would silently lose clusters: warned about once, if INFO is allowed and says so.
//
// Subscribe returns after its first attempt to connect, whatever came of it, and keeps trying.
class RedisStore final : public StateStore {
 public:
  // What the operator says about the server (REDIS_PERSISTENCE); it cannot be asked: INFO and CONFIG may be forbidden.
  enum class Persistence {
    kAof,   // appendonly yes, synced every second: safe 2 s after the answer, if no connection that wrote broke
    kNone,  // nothing survives a crash of the server; writes count as safe at once, as waiting would not help
  };
  struct Options {
    tls::Endpoint address;
    // Set: `address` is ignored and the master called `sentinel_master` is asked for here, in this order.
    std::vector<tls::Endpoint> sentinels;
    std::string sentinel_master;
    std::string username;  // empty: the default user
    std::string password;  // empty: no AUTH
    int database = 0;
    std::optional<tls::ClientOptions> tls;  // also for the sentinels
    int max_connections = 8;
    Persistence persistence = Persistence::kAof;
    std::chrono::milliseconds dial_timeout{5000};  // name, TCP, TLS, AUTH
    std::chrono::milliseconds io_timeout{3000};    // one call on an open connection
    base::Backoff::Options backoff{.initial = std::chrono::milliseconds(50), .max = std::chrono::milliseconds(2000)};
    log::Logger log;
    telemetry::Registry* registry = nullptr;  // for clusterpulse_hub_store_reconnects_total
  };
  static constexpr std::size_t kChunkWrites = 1000;
  static constexpr std::size_t kChunkBytes = 1u << 20;

  explicit RedisStore(Options options);
  // REQUIRES: no call is running and every Subscription is gone.
  ~RedisStore() override;

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
  absl::StatusOr<std::unique_ptr<Subscription>> Subscribe(
      const std::string& channel, std::function<void(std::string_view message)> on_message) override;
  std::chrono::milliseconds DurableAfter() const override;
  model::DurableMark Durable() override;
  absl::Status Ping() override;

 private:
  class RedisSubscription;

  // Runs `commands` (which hold `count` commands) on one connection. Error replies inside are the caller's.
  absl::StatusOr<std::vector<Reply>> Call(std::string_view commands, std::size_t count);
  // One command; an error reply becomes the status.
  absl::StatusOr<Reply> CallOne(std::string_view command);
  // `script` once, not cached: for what is rare.
  absl::StatusOr<Reply> Eval(std::string_view script, const std::string& key, std::initializer_list<std::string> args);
  // The write script for as many of the first `writes` as one chunk takes; they are taken off. The position moves with
  // the last.
  absl::StatusOr<ApplyResult> WriteChunk(const WriterPosition* position, std::span<const Write>& writes);
  absl::StatusOr<ApplyResult> WriteAll(const WriterPosition* position, std::span<const Write> writes);
  absl::StatusOr<std::vector<std::string>> ScanStep(const std::string& prefix, std::string& cursor);

  // A connection from the pool, or a new one; Return gives it back or, when `alive` is false, drops it.
  absl::StatusOr<std::unique_ptr<RedisConnection>> Take();
  void Return(std::unique_ptr<RedisConnection> connection, bool alive);
  // What one connection says of what was written through it.
  struct Mark {
    std::optional<base::SteadyTime> wrote_at;  // when the last write was answered
    base::SteadyTime asked_at{};               // when the last request that was answered was sent
  };
  // Nullopt: all of it is safe. Otherwise what was written until then.
  static std::optional<base::SteadyTime> SafeUntil(const Mark& mark);
  // A connection that wrote, and over which nothing was asked since that would tell whether the server kept it.
  std::unique_ptr<RedisConnection> TakeUnconfirmed();
  // The connection is given up: counts if what it wrote may be lost with it.
  void ForgetLocked(const RedisConnection& connection) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<std::unique_ptr<RedisConnection>> Dial(std::stop_token stop);
  absl::StatusOr<tls::Endpoint> AskSentinels(base::SteadyTime deadline, std::stop_token stop);
  void WarnAboutEviction(RedisConnection& connection);
  // Looks at an error reply for what concerns all connections; returns it as a status.
  absl::Status Judge(const Reply& error);

  // Constant after construction.
  const Options options_;
  telemetry::Counter reconnects_;

  base::Mutex mu_;
  base::CondVar returned_;
  std::vector<std::unique_ptr<RedisConnection>> idle_ ABSL_GUARDED_BY(mu_);
  int open_ ABSL_GUARDED_BY(mu_) = 0;                  // idle, in use, or being dialled
  std::uint64_t generation_ ABSL_GUARDED_BY(mu_) = 0;  // connections of an older one are dropped
  std::uint64_t breaks_ ABSL_GUARDED_BY(mu_) = 0;      // of connections with writes that were not safe yet
  std::map<const RedisConnection*, Mark> marks_ ABSL_GUARDED_BY(mu_);  // of those that are open, as they came back last
  base::Backoff backoff_ ABSL_GUARDED_BY(mu_);
  base::SteadyTime retry_at_ ABSL_GUARDED_BY(mu_){};
  absl::Status last_error_ ABSL_GUARDED_BY(mu_);
  bool is_down_ ABSL_GUARDED_BY(mu_) = false;  // the last dial failed
  bool is_lost_ ABSL_GUARDED_BY(mu_) = false;  // the next dial that works is a reconnect
  bool was_up_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace clusterpulse::store
