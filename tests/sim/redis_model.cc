#include "tests/sim/redis_model.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "common/base/status.h"
#include "common/base/time_format.h"
#include "hub/store/keys.h"

namespace clusterpulse::sim {

using store::ApplyResult;

namespace {

class DeafSubscription final : public store::Subscription {};

std::uint64_t ParseNumber(const std::string& text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

}  // namespace

// --- server ---

std::int64_t RedisModel::now_ms() const { return base::UnixMillis(world_.today()); }

const RedisModel::Value* RedisModel::Find(const std::string& key) const {
  const auto found = values_.find(key);
  if (found == values_.end()) return nullptr;
  const std::optional<std::int64_t> expires = found->second->expires_ms;
  return expires.has_value() && *expires <= now_ms() ? nullptr : found->second.get();
}

void RedisModel::Crash(Duration lost) {
  const base::SteadyTime until = world_.now() - std::min<Duration>(lost, kUnsynced);
  for (; !changes_.empty() && changes_.back().at > until; changes_.pop_back()) {
    Change& change = changes_.back();
    if (change.before == nullptr) {
      values_.erase(change.key);
    } else {
      values_[change.key] = std::move(change.before);
    }
  }
  changes_.clear();  // what is left was read from the disk
  is_up_ = is_frozen_ = false;
  ++generation_;
}

void RedisModel::Put(const std::string& key, std::shared_ptr<const Value> value) {
  while (!changes_.empty() && changes_.front().at < world_.now() - kUnsynced) changes_.pop_front();
  const auto found = values_.find(key);
  changes_.push_back({world_.now(), key, found == values_.end() ? nullptr : found->second});
  if (value != nullptr) {
    values_[key] = std::move(value);
  } else if (found != values_.end()) {
    values_.erase(found);
  }
}

template <typename T>
T& RedisModel::Edit(const std::string& key, std::shared_ptr<Value>& made) {
  const Value* const found = Find(key);
  made = found != nullptr && std::holds_alternative<T>(found->data) ? std::make_shared<Value>(*found)
                                                                    : std::make_shared<Value>(Value{T(), {}});
  return std::get<T>(made->data);
}

void RedisModel::Run(const std::vector<store::Write>& writes) {
  for (const store::Write& write : writes) std::visit([this](const auto& w) { One(w); }, write);
}

void RedisModel::One(const store::SetString& write) {
  auto value = std::make_shared<Value>(Value{write.value, {}});
  if (write.ttl.has_value()) value->expires_ms = now_ms() + std::chrono::milliseconds(*write.ttl).count();
  Put(write.key, std::move(value));
}

void RedisModel::One(const store::HashSet& write) {
  std::shared_ptr<Value> value;
  auto& fields = Edit<Value::Hash>(write.key, value);
  for (const auto& [name, text] : write.fields) fields[name] = text;
  if (write.ttl.has_value()) value->expires_ms = now_ms() + std::chrono::milliseconds(*write.ttl).count();
  if (!fields.empty()) Put(write.key, std::move(value));
}

void RedisModel::One(const store::SetAdd& write) {
  std::shared_ptr<Value> value;
  auto& members = Edit<std::set<std::string>>(write.key, value);
  members.insert(write.members.begin(), write.members.end());
  if (!members.empty()) Put(write.key, std::move(value));
}

void RedisModel::One(const store::SetRemove& write) {
  std::shared_ptr<Value> value;
  auto& members = Edit<std::set<std::string>>(write.key, value);
  for (const std::string& member : write.members) members.erase(member);
  Put(write.key, members.empty() ? nullptr : std::move(value));
}

void RedisModel::One(const store::SetReplace& write) {
  std::shared_ptr<Value> value;
  auto& members = Edit<std::set<std::string>>(write.key, value);
  const std::set<std::string> wanted(write.members.begin(), write.members.end());
  for (const std::string& member : members) {
    if (wanted.contains(member)) continue;
    for (const std::string& suffix : write.member_key_suffixes) Put(write.member_key_prefix + member + suffix, nullptr);
  }
  members = wanted;
  value->expires_ms.reset();
  if (write.ttl.has_value()) value->expires_ms = now_ms() + std::chrono::milliseconds(*write.ttl).count();
  Put(write.key, wanted.empty() ? nullptr : std::move(value));
}

void RedisModel::One(const store::SortedAdd& write) {
  std::shared_ptr<Value> value;
  auto& members = Edit<Value::Sorted>(write.key, value);
  members[write.member] = write.score;
  std::erase_if(members, [&](const auto& member) { return member.second <= write.trim_to; });
  if (write.ttl.has_value()) value->expires_ms = now_ms() + std::chrono::milliseconds(*write.ttl).count();
  Put(write.key, members.empty() ? nullptr : std::move(value));
}

void RedisModel::One(const store::ListPush& write) {
  std::shared_ptr<Value> value;
  auto& entries = Edit<std::deque<std::string>>(write.key, value);
  entries.push_front(write.value);
  entries.resize(std::min(entries.size(), write.keep));
  if (write.ttl.has_value()) value->expires_ms = now_ms() + std::chrono::milliseconds(*write.ttl).count();
  Put(write.key, entries.empty() ? nullptr : std::move(value));
}

// --- client ---

absl::Status RedisClient::Break(std::string_view why) {
  ++continuity_;
  wrote_at_.reset();
  generation_ = server_.generation();
  return base::Unavailable("redis: {}", why);
}

absl::Status RedisClient::Ask() {
  spent_ += world_.Delay(usual_);
  loses_answer_ = false;
  if (is_cut_ || server_.is_frozen()) {
    spent_ += kTimeout;
    return Break("no answer in time");
  }
  if (!server_.is_up()) return Break("connection refused");
  // Found dead when it is used; a pool may have another one, or connect anew.
  if (generation_ != server_.generation()) {
    absl::Status lost = Break("connection reset");
    if (world_.Chance(0.5)) return lost;
  }
  if (breaks_per_mille_ > 0 && world_.Below(1000) < breaks_per_mille_) {
    if (world_.Chance(0.5)) return Break("connection reset");
    loses_answer_ = true;
  }
  return absl::OkStatus();
}

absl::Status RedisClient::Answer(bool wrote) {
  if (loses_answer_) return Break("connection reset before the answer");
  asked_at_ = clock_.Steady();
  if (wrote) wrote_at_ = clock_.Steady();
  return absl::OkStatus();
}

model::DurableMark RedisClient::Durable() {
  // A server that was restarted has closed the connection, whether or not anybody called since.
  if (!is_cut_ && generation_ != server_.generation()) (void)Break("closed");
  const base::SteadyTime asked = asked_at_ - RedisModel::kUnsynced;
  const bool is_unsafe = wrote_at_.has_value() && *wrote_at_ > asked;
  return {continuity_, is_unsafe ? asked : clock_.Steady() - RedisModel::kUnsynced};
}

absl::Status RedisClient::Ping() {
  RETURN_IF_ERROR(Ask());
  return Answer(false);
}

absl::StatusOr<ApplyResult> RedisClient::Apply(const store::WriterPosition& position,
                                               const std::vector<store::Write>& writes) {
  RETURN_IF_ERROR(Ask());
  const std::string key = store::keys::Writer(position.cluster, position.role);
  RedisModel::Value::Hash fields;
  if (const RedisModel::Value* const found = server_.Find(key)) fields = std::get<RedisModel::Value::Hash>(found->data);
  const auto text = [&](const char* name) {
    const auto at = fields.find(name);
    return at == fields.end() ? std::string() : at->second;
  };
  const std::string epoch = text("epoch"), instance = text("instance"), seq = text("state_seq");
  const bool is_writer = epoch == std::to_string(position.epoch);
  const bool is_unmoved = (is_writer || (epoch.empty() && position.epoch == 0)) && instance == position.instance &&
                          ParseNumber(seq) == position.seq;
  const bool is_numbered = position.seq != 0 && !position.as_read;
  ApplyResult result = ApplyResult::kApplied;
  if (position.as_read ? !is_unmoved : !is_writer) {
    result = ApplyResult::kFenced;
  } else if (is_numbered && instance == position.instance && !seq.empty() && position.seq <= ParseNumber(seq)) {
    result = ApplyResult::kRepeated;
  } else {
    server_.Run(writes);
    if (is_numbered) {
      server_.One(
          store::HashSet{key, {{"instance", position.instance}, {"state_seq", std::to_string(position.seq)}}, {}});
    }
  }
  RETURN_IF_ERROR(Answer(true));
  return result;
}

absl::Status RedisClient::Commit(const std::vector<store::Write>& writes) {
  RETURN_IF_ERROR(Ask());
  server_.Run(writes);
  return Answer(true);
}

absl::StatusOr<std::uint64_t> RedisClient::AcquireEpoch(const std::string& cluster, store::WriterRole role,
                                                        std::int64_t now_ms) {
  RETURN_IF_ERROR(Ask());
  const std::string key = store::keys::Writer(cluster, role);
  std::uint64_t epoch = 1;
  if (const RedisModel::Value* const found = server_.Find(key)) {
    const auto& fields = std::get<RedisModel::Value::Hash>(found->data);
    if (const auto stored = fields.find("epoch"); stored != fields.end()) epoch = ParseNumber(stored->second) + 1;
  }
  epoch = std::max(epoch, static_cast<std::uint64_t>(std::max<std::int64_t>(now_ms, 0)));
  server_.One(store::HashSet{key, {{"epoch", std::to_string(epoch)}}, {}});
  RETURN_IF_ERROR(Answer(true));
  return epoch;
}

template <typename T>
absl::StatusOr<const T*> RedisClient::Read(const std::string& key) {
  const RedisModel::Value* const found = server_.Find(key);
  if (found == nullptr) return static_cast<const T*>(nullptr);
  const T* const value = std::get_if<T>(&found->data);
  if (value == nullptr) {
    return base::MakeStatus(absl::StatusCode::kFailedPrecondition, "key {} holds another type", key);
  }
  return value;
}

absl::StatusOr<std::optional<std::string>> RedisClient::Get(const std::string& key) {
  ASSIGN_OR_RETURN(auto values, GetMany({key}));
  return std::move(values.front());
}

absl::StatusOr<std::vector<std::optional<std::string>>> RedisClient::GetMany(const std::vector<std::string>& keys) {
  RETURN_IF_ERROR(Ask());
  std::vector<std::optional<std::string>> values;
  for (const std::string& key : keys) {
    ASSIGN_OR_RETURN(const std::string* const value, Read<std::string>(key));
    values.push_back(value != nullptr ? std::optional(*value) : std::nullopt);
  }
  RETURN_IF_ERROR(Answer(false));
  return values;
}

absl::StatusOr<std::map<std::string, std::string>> RedisClient::HashGetAll(const std::string& key) {
  RETURN_IF_ERROR(Ask());
  ASSIGN_OR_RETURN(const RedisModel::Value::Hash* const value, Read<RedisModel::Value::Hash>(key));
  RETURN_IF_ERROR(Answer(false));
  return value != nullptr ? *value : RedisModel::Value::Hash();
}

absl::StatusOr<std::vector<std::string>> RedisClient::SetMembers(const std::string& key) {
  RETURN_IF_ERROR(Ask());
  ASSIGN_OR_RETURN(const std::set<std::string>* const value, Read<std::set<std::string>>(key));
  RETURN_IF_ERROR(Answer(false));
  if (value == nullptr) return std::vector<std::string>();
  return std::vector<std::string>(value->begin(), value->end());
}

absl::StatusOr<std::vector<std::pair<std::string, double>>> RedisClient::SortedNewest(const std::string& key,
                                                                                      std::size_t limit) {
  RETURN_IF_ERROR(Ask());
  ASSIGN_OR_RETURN(const RedisModel::Value::Sorted* const value, Read<RedisModel::Value::Sorted>(key));
  RETURN_IF_ERROR(Answer(false));
  std::vector<std::pair<std::string, double>> newest;
  if (value != nullptr) newest.assign(value->begin(), value->end());
  std::sort(newest.begin(), newest.end(), [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first > b.first;
  });
  newest.resize(std::min(newest.size(), limit));
  return newest;
}

absl::StatusOr<std::vector<std::string>> RedisClient::ListRange(const std::string& key, std::size_t limit) {
  RETURN_IF_ERROR(Ask());
  ASSIGN_OR_RETURN(const std::deque<std::string>* const value, Read<std::deque<std::string>>(key));
  RETURN_IF_ERROR(Answer(false));
  std::vector<std::string> entries;
  if (value != nullptr) entries.assign(value->begin(), value->end());
  entries.resize(std::min(entries.size(), limit));
  return entries;
}

absl::StatusOr<store::Ttl> RedisClient::TimeToLive(const std::string& key) {
  RETURN_IF_ERROR(Ask());
  const RedisModel::Value* const found = server_.Find(key);
  RETURN_IF_ERROR(Answer(false));
  if (found == nullptr) return absl::NotFoundError(key);
  if (!found->expires_ms.has_value()) return store::Ttl();
  return store::Ttl(
      std::chrono::ceil<std::chrono::seconds>(std::chrono::milliseconds(*found->expires_ms - server_.now_ms())));
}

absl::StatusOr<std::int64_t> RedisClient::DeletePrefix(const std::string& prefix) {
  ASSIGN_OR_RETURN(const std::vector<std::string> keys, Keys(prefix));
  for (const std::string& key : keys) server_.Put(key, nullptr);
  RETURN_IF_ERROR(Answer(true));
  return static_cast<std::int64_t>(keys.size());
}

absl::StatusOr<std::vector<std::string>> RedisClient::Keys(const std::string& prefix) {
  RETURN_IF_ERROR(Ask());
  std::vector<std::string> keys;
  for (auto it = server_.values_.lower_bound(prefix); it != server_.values_.end(); ++it) {
    if (!it->first.starts_with(prefix)) break;
    if (server_.Find(it->first) != nullptr) keys.push_back(it->first);
  }
  RETURN_IF_ERROR(Answer(false));
  return keys;
}

absl::StatusOr<bool> RedisClient::AcquireLease(const std::string& name, const std::string& holder,
                                               std::chrono::milliseconds ttl) {
  RETURN_IF_ERROR(Ask());
  const std::string key = store::keys::Lease(name);
  ASSIGN_OR_RETURN(const std::string* const current, Read<std::string>(key));
  const bool is_ours = current == nullptr || *current == holder;
  if (is_ours) {
    server_.Put(key, std::make_shared<RedisModel::Value>(RedisModel::Value{holder, server_.now_ms() + ttl.count()}));
  }
  RETURN_IF_ERROR(Answer(true));
  return is_ours;
}

absl::StatusOr<std::optional<std::string>> RedisClient::LeaseHolder(const std::string& name) {
  return Get(store::keys::Lease(name));
}

absl::Status RedisClient::ReleaseLease(const std::string& name, const std::string& holder) {
  RETURN_IF_ERROR(Ask());
  const std::string key = store::keys::Lease(name);
  ASSIGN_OR_RETURN(const std::string* const current, Read<std::string>(key));
  if (current != nullptr && *current == holder) server_.Put(key, nullptr);
  return Answer(true);
}

absl::StatusOr<std::unique_ptr<store::Subscription>> RedisClient::Subscribe(const std::string&,
                                                                            std::function<void(std::string_view)>) {
  return std::unique_ptr<store::Subscription>(std::make_unique<DeafSubscription>());
}

}  // namespace clusterpulse::sim
