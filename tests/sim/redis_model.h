#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "hub/store/state_store.h"
#include "tests/sim/world.h"

namespace clusterpulse::sim {

// A Redis server with AOF, synced every second, as several hub replicas share it: what it answered within the last two
// seconds may be gone after a crash, and then everything after that moment is.
//
// Does not imitate: memory limits, ACLs, replicas, a write cut into chunks, channels (nobody hears what is published).
class RedisModel {
 public:
  struct Value {
    using Hash = std::map<std::string, std::string>;
    using Sorted = std::map<std::string, double>;
    std::variant<std::string, Hash, std::set<std::string>, Sorted, std::deque<std::string>> data;
    std::optional<std::int64_t> expires_ms;
  };

  explicit RedisModel(World& world) : world_(world) {}

  // Ends all connections; what was written after `lost` ago is undone, at most kUnsynced. Down until Start.
  static constexpr std::chrono::seconds kUnsynced{2};
  void Crash(Duration lost);
  void Start() { is_up_ = true; }
  // Answers nothing for now, and breaks no connection.
  void SetFrozen(bool frozen) { is_frozen_ = frozen; }

  bool is_up() const { return is_up_; }
  bool is_frozen() const { return is_frozen_; }
  // Another one: all connections of before are dead.
  std::uint64_t generation() const { return generation_; }

  // What is stored, for checks.
  const Value* Find(const std::string& key) const;

 private:
  friend class RedisClient;
  struct Change {
    base::SteadyTime at;
    std::string key;
    std::shared_ptr<const Value> before;  // null: it was not there
  };

  std::int64_t now_ms() const;
  // Null: deleted.
  void Put(const std::string& key, std::shared_ptr<const Value> value);
  // The value to change, of the type T; made when missing or of another type.
  template <typename T>
  T& Edit(const std::string& key, std::shared_ptr<Value>& made);
  void Run(const std::vector<store::Write>& writes);
  void One(const store::SetString& write);
  void One(const store::Delete& write) { Put(write.key, nullptr); }
  void One(const store::HashSet& write);
  void One(const store::SetAdd& write);
  void One(const store::SetRemove& write);
  void One(const store::SetReplace& write);
  void One(const store::SortedAdd& write);
  void One(const store::ListPush& write);
  void One(const store::Publish&) {}

  World& world_;
  bool is_up_ = true, is_frozen_ = false;
  std::uint64_t generation_ = 1;
  std::map<std::string, std::shared_ptr<const Value>> values_;
  std::deque<Change> changes_;  // of the last kUnsynced
};

// One replica's connection to it, with RedisStore's rule of what is durable. A call takes effect at once, or not at
// all; how long its caller has to wait for the answer is added up in TakeSpent.
class RedisClient final : public store::StateStore {
 public:
  static constexpr std::chrono::milliseconds kTimeout{3000};

  // `clock`: of the replica's host.
  RedisClient(World& world, const HostClock& clock, RedisModel& server)
      : world_(world), clock_(clock), server_(server), generation_(server.generation()) {}

  // The way to the server; cut, calls time out and the connection is lost.
  void SetCut(bool cut) { is_cut_ = cut; }
  // So many of a thousand calls break the connection: half of them after they took effect.
  void SetBreaks(std::uint64_t per_mille) { breaks_per_mille_ = per_mille; }
  void SetSlow(Duration usual) { usual_ = usual; }
  Duration TakeSpent() { return std::exchange(spent_, Duration::zero()); }

  absl::StatusOr<store::ApplyResult> Apply(const store::WriterPosition& position,
                                           const std::vector<store::Write>& writes) override;
  absl::Status Commit(const std::vector<store::Write>& writes) override;
  absl::StatusOr<std::uint64_t> AcquireEpoch(const std::string& cluster, store::WriterRole role,
                                             std::int64_t now_ms) override;
  absl::StatusOr<std::optional<std::string>> Get(const std::string& key) override;
  absl::StatusOr<std::vector<std::optional<std::string>>> GetMany(const std::vector<std::string>& keys) override;
  absl::StatusOr<std::map<std::string, std::string>> HashGetAll(const std::string& key) override;
  absl::StatusOr<std::vector<std::string>> SetMembers(const std::string& key) override;
  absl::StatusOr<std::vector<std::pair<std::string, double>>> SortedNewest(const std::string& key,
                                                                           std::size_t limit) override;
  absl::StatusOr<std::vector<std::string>> ListRange(const std::string& key, std::size_t limit) override;
  absl::StatusOr<store::Ttl> TimeToLive(const std::string& key) override;
  absl::StatusOr<std::int64_t> DeletePrefix(const std::string& prefix) override;
  absl::StatusOr<std::vector<std::string>> Keys(const std::string& prefix) override;
  absl::StatusOr<bool> AcquireLease(const std::string& name, const std::string& holder,
                                    std::chrono::milliseconds ttl) override;
  absl::StatusOr<std::optional<std::string>> LeaseHolder(const std::string& name) override;
  absl::Status ReleaseLease(const std::string& name, const std::string& holder) override;
  absl::StatusOr<std::unique_ptr<store::Subscription>> Subscribe(
      const std::string& channel, std::function<void(std::string_view message)> on_message) override;
  std::chrono::milliseconds DurableAfter() const override { return RedisModel::kUnsynced; }
  model::DurableMark Durable() override;
  absl::Status Ping() override;

 private:
  // Before what a call does: an error when it does not happen. After it: the answer, which may be lost.
  absl::Status Ask();
  absl::Status Answer(bool wrote);
  absl::Status Break(std::string_view why);
  // REQUIRES: of the type T, or absent (then null).
  template <typename T>
  absl::StatusOr<const T*> Read(const std::string& key);

  World& world_;
  const HostClock& clock_;
  RedisModel& server_;
  std::uint64_t generation_, continuity_ = 1;
  bool is_cut_ = false;
  std::uint64_t breaks_per_mille_ = 0;
  Duration usual_ = std::chrono::microseconds(200), spent_{};
  bool loses_answer_ = false;  // of the call that runs
  std::optional<base::SteadyTime> wrote_at_;
  base::SteadyTime asked_at_{};
};

}  // namespace clusterpulse::sim
