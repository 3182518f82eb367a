#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <absl/status/statusor.h>

#include "common/base/clock.h"
#include "common/model/delivery.h"

namespace clusterpulse::store {

using Ttl = std::optional<std::chrono::seconds>;  // absent: the key lives until deleted

// The writes a document needs, as data. Keys and contents are decided above the adapters (keys.h, documents.h); an
// adapter only carries them out. Names follow the Redis types of the contract.
struct SetString {
  std::string key, value;
  Ttl ttl;
};
struct Delete {
  std::string key;
};
// Sets these fields, leaves others.
struct HashSet {
  std::string key;
  std::vector<std::pair<std::string, std::string>> fields;
  Ttl ttl;
};
struct SetAdd {
  std::string key;
  std::vector<std::string> members;
};
struct SetRemove {
  std::string key;
  std::vector<std::string> members;
};
// Makes the set exactly `members` (an empty one deletes it). For every member that falls out, the keys
// `member_key_prefix + member + suffix` of all suffixes are deleted in the same step, so that an index and what it
// names never disagree. No suffixes: only the set changes.
struct SetReplace {
  std::string key;
  std::vector<std::string> members;
  Ttl ttl;
  std::string member_key_prefix;
  std::vector<std::string> member_key_suffixes;
};
// Adds one member and removes those with a score <= trim_to.
struct SortedAdd {
  std::string key;
  double score = 0;
  std::string member;
  double trim_to = 0;
  Ttl ttl;
};
// Pushes in front and keeps the newest `keep` entries.
struct ListPush {
  std::string key, value;
  std::size_t keep = 100;
  Ttl ttl;
};
struct Publish {
  std::string channel, message;
};
using Write = std::variant<SetString, Delete, HashSet, SetAdd, SetRemove, SetReplace, SortedAdd, ListPush, Publish>;

// What a writer of a cluster writes. Each role has its own writer, so that one who lost a role is fenced without
// disturbing the other: the data may come from a stream on one replica while the spec is the leader's.
enum class WriterRole {
  kData,  // what was read from the cluster, and its status: the puller or one stream
  kSpec,  // what the ClusterConnection says: the hub that leads
};

// Who writes a cluster's state. See delivery.md 2 and 4.
struct WriterPosition {
  std::string cluster;
  std::uint64_t epoch = 0;  // from AcquireEpoch, for the same role
  std::string instance;     // of the spool or process that numbered the batch
  // Dense from 1 within `instance` and role. 0: a write without a number, fenced by the epoch alone, that leaves
  // instance and number of the position as they are.
  std::uint64_t seq = 0;
  WriterRole role = WriterRole::kData;
  // A write without a number by somebody who read the position: `epoch`, `instance`, `seq` and `gaps_revision` are what
  // was read (zeroes and empty where nothing was), and the write is fenced once any of them is another. So what was
  // decided from what was read never covers what a writer wrote meanwhile. Leaves the position as it is.
  bool as_read = false;
  std::uint64_t gaps_revision = 0;  // field of the position, set by its writer; only looked at with as_read
};

enum class ApplyResult {
  kApplied,
  kRepeated,  // a batch of this instance with this or a later seq is already there: nothing changed
  kFenced,    // a newer writer took over, or the cluster was deleted: stop, acquire a new epoch if entitled to one
};

// A hint that something was published; lost ones cost a poll. Dropping the subscription ends the calls and waits for
// one that runs.
class Subscription {
 public:
  virtual ~Subscription() = default;
};

// Port to the hub's current state. Thread-safe; calls block for at most the adapter's deadline. Adapters: Redis
// (redis_store.h), embedded (embedded_store.h: memory or SQLite). The contract both keep:
// tests/contract/state_store_test.cc.
//
// Errors: kUnavailable and kDeadlineExceeded (store down or slow: retry; a write may or may not have happened,
// repeating it is safe), kPermissionDenied (ACL), kResourceExhausted (store full), kFailedPrecondition (key holds
// another type).
class StateStore {
 public:
  virtual ~StateStore() = default;

  // All writes or none, and only while `position` is the cluster's writer in its role. Remembers the position.
  virtual absl::StatusOr<ApplyResult> Apply(const WriterPosition& position, const std::vector<Write>& writes) = 0;
  // All writes or none, for documents that have one writer by construction (registries, policies: the leader).
  virtual absl::Status Commit(const std::vector<Write>& writes) = 0;

  // Makes the caller the cluster's writer in that role: stores and returns max(stored + 1, now_ms). Older epochs of the
  // role are fenced from then on. The position of a known instance is kept.
  virtual absl::StatusOr<std::uint64_t> AcquireEpoch(const std::string& cluster, WriterRole role,
                                                     std::int64_t now_ms) = 0;

  virtual absl::StatusOr<std::optional<std::string>> Get(const std::string& key) = 0;
  // The same for several keys, in their order, at the price of one; not one moment's view.
  virtual absl::StatusOr<std::vector<std::optional<std::string>>> GetMany(const std::vector<std::string>& keys) = 0;
  virtual absl::StatusOr<std::map<std::string, std::string>> HashGetAll(const std::string& key) = 0;
  virtual absl::StatusOr<std::vector<std::string>> SetMembers(const std::string& key) = 0;  // sorted
  // Newest (highest score) first, at most `limit`.
  virtual absl::StatusOr<std::vector<std::pair<std::string, double>>> SortedNewest(const std::string& key,
                                                                                   std::size_t limit) = 0;
  // In list order (newest first), at most `limit`.
  virtual absl::StatusOr<std::vector<std::string>> ListRange(const std::string& key, std::size_t limit) = 0;
  // Remaining life; nullopt inside: no TTL. kNotFound: no such key.
  virtual absl::StatusOr<Ttl> TimeToLive(const std::string& key) = 0;

  // Deletes every key that starts with `prefix` (a literal: no patterns). Not atomic: callers delete indexes first.
  // Returns how many.
  virtual absl::StatusOr<std::int64_t> DeletePrefix(const std::string& prefix) = 0;
  virtual absl::StatusOr<std::vector<std::string>> Keys(const std::string& prefix) = 0;  // sorted; for tools and tests

  // Leases with expiry. True when `holder` now has `name` for `ttl` (taken, or renewed).
  virtual absl::StatusOr<bool> AcquireLease(const std::string& name, const std::string& holder,
                                            std::chrono::milliseconds ttl) = 0;
  virtual absl::StatusOr<std::optional<std::string>> LeaseHolder(const std::string& name) = 0;
  // Only when `holder` has it.
  virtual absl::Status ReleaseLease(const std::string& name, const std::string& holder) = 0;

  // Calls `on_message` from a thread of the store. Reconnects by itself.
  virtual absl::StatusOr<std::unique_ptr<Subscription>> Subscribe(
      const std::string& channel, std::function<void(std::string_view message)> on_message) = 0;

  // What was written survives a crash of the store when Durable says so: DurableAfter after the answer at the earliest,
  // when the server has spoken since then. Neither waits for the store.
  virtual std::chrono::milliseconds DurableAfter() const = 0;
  virtual model::DurableMark Durable() = 0;

  // Ok when a round trip works now. For readiness; to be called every second or so, as it also moves Durable on.
  virtual absl::Status Ping() = 0;
};

}  // namespace clusterpulse::store
