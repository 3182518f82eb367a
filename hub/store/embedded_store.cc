#include "hub/store/embedded_store.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <deque>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/status.h"
#include "common/base/thread.h"
#include "common/base/time_format.h"
#include "hub/store/keys.h"
#include "hub/store/sqlite.h"

namespace clusterpulse::store {
namespace {

constexpr std::int64_t kSchemaVersion = 1;
constexpr std::size_t kMaxPending = 1024;

// Key types; the numbers are in the file.
enum class Kind : std::int64_t { kString = 0, kHash = 1, kSet = 2, kSorted = 3, kList = 4 };

constexpr char kSchema[] = R"sql(
CREATE TABLE IF NOT EXISTS key(
  id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, kind INTEGER NOT NULL, expires INTEGER, value BLOB);
CREATE INDEX IF NOT EXISTS key_expires ON key(expires) WHERE expires IS NOT NULL;
CREATE TABLE IF NOT EXISTS member(
  key_id INTEGER NOT NULL REFERENCES key(id) ON DELETE CASCADE, name BLOB NOT NULL, value BLOB, score REAL,
  PRIMARY KEY(key_id, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS element(
  key_id INTEGER NOT NULL REFERENCES key(id) ON DELETE CASCADE, position INTEGER NOT NULL, value BLOB NOT NULL,
  PRIMARY KEY(key_id, position)) WITHOUT ROWID;
)sql";

absl::Status WrongType(std::string_view key) {
  return base::MakeStatus(absl::StatusCode::kFailedPrecondition, "key {} holds another type", key);
}

// The first text behind all that start with `prefix`; empty when there is none.
std::string PrefixEnd(std::string prefix) {
  while (!prefix.empty()) {
    if (prefix.back() != '\xff') {
      prefix.back() = static_cast<char>(static_cast<unsigned char>(prefix.back()) + 1);
      return prefix;
    }
    prefix.pop_back();
  }
  return prefix;
}

std::uint64_t ParseNumber(const std::string& text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

}  // namespace

// Channels within the process.
class EmbeddedStore::Bus {
 public:
  void Publish(const std::string& channel, const std::string& message);
  void Add(const std::string& channel, LocalSubscription* subscription) {
    base::MutexLock lock(mu_);
    subscribers_.emplace(channel, subscription);
  }
  void Remove(const std::string& channel, LocalSubscription* subscription) {
    base::MutexLock lock(mu_);
    const auto [first, last] = subscribers_.equal_range(channel);
    for (auto it = first; it != last; ++it) {
      if (it->second != subscription) continue;
      subscribers_.erase(it);
      return;
    }
  }

 private:
  base::Mutex mu_;  // taken before a subscription's
  std::multimap<std::string, LocalSubscription*> subscribers_ ABSL_GUARDED_BY(mu_);
};

class EmbeddedStore::LocalSubscription final : public Subscription {
 public:
  LocalSubscription(std::shared_ptr<Bus> bus, std::string channel, std::function<void(std::string_view)> on_message)
      : bus_(std::move(bus)),
        channel_(std::move(channel)),
        on_message_(std::move(on_message)),
        thread_(base::StartThread("store-subscribe", [this] { Run(); })) {
    bus_->Add(channel_, this);
  }
  ~LocalSubscription() override {
    bus_->Remove(channel_, this);
    {
      base::MutexLock lock(mu_);
      stopping_ = true;
      changed_.NotifyAll();
    }
    thread_.join();
  }
  void Push(const std::string& message) {
    base::MutexLock lock(mu_);
    if (pending_.size() >= kMaxPending) pending_.pop_front();
    pending_.push_back(message);
    changed_.NotifyAll();
  }

 private:
  void Run() {
    for (;;) {
      std::string message;
      {
        base::MutexLock lock(mu_);
        while (pending_.empty() && !stopping_) changed_.Wait(mu_);
        if (stopping_) return;
        message = std::move(pending_.front());
        pending_.pop_front();
      }
      on_message_(message);
    }
  }

  const std::shared_ptr<Bus> bus_;
  const std::string channel_;
  const std::function<void(std::string_view)> on_message_;
  base::Mutex mu_;
  base::CondVar changed_;
  std::deque<std::string> pending_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::jthread thread_;  // last: uses all of the above
};

void EmbeddedStore::Bus::Publish(const std::string& channel, const std::string& message) {
  base::MutexLock lock(mu_);
  const auto [first, last] = subscribers_.equal_range(channel);
  for (auto it = first; it != last; ++it) it->second->Push(message);
}

// The writes as SQL, inside a transaction of the caller. As in Redis: a collection without members is no key; a write
// without a TTL leaves the key's expiry, except SetString and SetReplace, which make it live for ever.
class EmbeddedStore::Writes {
 public:
  Writes(Sqlite& sqlite, std::int64_t now_ms) : sqlite_(sqlite), now_ms_(now_ms) {}

  std::vector<Publish> published;

  absl::Status All(const std::vector<Write>& writes) {
    for (const Write& write : writes) {
      RETURN_IF_ERROR(std::visit([this](const auto& w) { return One(w); }, write));
    }
    return absl::OkStatus();
  }

  // The value of a live hash field.
  absl::StatusOr<std::optional<std::string>> Field(const std::string& key, std::string_view field) {
    Query q = sqlite_.Prepare(
        "SELECT m.value FROM key k JOIN member m ON m.key_id = k.id WHERE k.name = ? AND k.kind = 1 AND m.name = ?");
    ASSIGN_OR_RETURN(const bool found, q.Bind(key).Bind(field).Step());
    return found ? std::optional<std::string>(q.Bytes(0)) : std::nullopt;
  }
  absl::StatusOr<std::optional<std::string>> String(const std::string& key) {
    RETURN_IF_ERROR(Find(key));
    Query q = sqlite_.Prepare("SELECT value FROM key WHERE name = ? AND kind = 0");
    ASSIGN_OR_RETURN(const bool found, q.Bind(key).Step());
    return found ? std::optional<std::string>(q.Bytes(0)) : std::nullopt;
  }
  absl::Status PutString(const std::string& key, std::string_view value, std::optional<std::int64_t> expires_ms) {
    ASSIGN_OR_RETURN(const auto found, Find(key));
    if (found.has_value() && found->kind != Kind::kString) RETURN_IF_ERROR(Drop(found->id));
    return sqlite_
        .Prepare(
            "INSERT INTO key(name, kind, expires, value) VALUES(?, 0, ?, ?) "
            "ON CONFLICT(name) DO UPDATE SET expires = excluded.expires, value = excluded.value")
        .Bind(key)
        .Bind(expires_ms)
        .Bind(value)
        .Run();
  }
  absl::Status One(const Delete& w) { return sqlite_.Prepare("DELETE FROM key WHERE name = ?").Bind(w.key).Run(); }
  absl::Status One(const HashSet& w) {
    if (w.fields.empty()) return ExpireIfThere(w.key, w.ttl);
    ASSIGN_OR_RETURN(const std::int64_t id, Ensure(w.key, Kind::kHash, w.ttl));
    for (const auto& [field, value] : w.fields) RETURN_IF_ERROR(PutMember(id, field, value, 0));
    return absl::OkStatus();
  }
  // A few expired keys, so that they do not pile up.
  absl::Status Sweep() {
    return sqlite_
        .Prepare("DELETE FROM key WHERE id IN (SELECT id FROM key WHERE expires <= ? ORDER BY expires LIMIT 200)")
        .Bind(now_ms_)
        .Run();
  }

 private:
  struct Found {
    std::int64_t id;
    Kind kind;
  };

  std::optional<std::int64_t> Expires(const Ttl& ttl) const {
    if (!ttl.has_value()) return std::nullopt;
    return now_ms_ + std::chrono::milliseconds(*ttl).count();
  }

  absl::Status Drop(std::int64_t id) { return sqlite_.Prepare("DELETE FROM key WHERE id = ?").Bind(id).Run(); }

  // The live key; one that has expired is removed.
  absl::StatusOr<std::optional<Found>> Find(const std::string& key) {
    std::int64_t id = 0;
    {
      Query q = sqlite_.Prepare("SELECT id, kind, expires FROM key WHERE name = ?");
      ASSIGN_OR_RETURN(const bool found, q.Bind(key).Step());
      if (!found) return std::optional<Found>();
      id = q.Int(0);
      if (q.IsNull(2) || q.Int(2) > now_ms_) return std::optional<Found>({id, static_cast<Kind>(q.Int(1))});
    }
    RETURN_IF_ERROR(Drop(id));
    return std::optional<Found>();
  }

  absl::StatusOr<std::optional<std::int64_t>> FindKind(const std::string& key, Kind kind) {
    ASSIGN_OR_RETURN(const auto found, Find(key));
    if (!found.has_value()) return std::optional<std::int64_t>();
    if (found->kind != kind) return WrongType(key);
    return std::optional<std::int64_t>(found->id);
  }

  absl::Status SetExpiry(std::int64_t id, std::optional<std::int64_t> expires) {
    return sqlite_.Prepare("UPDATE key SET expires = ? WHERE id = ?").Bind(expires).Bind(id).Run();
  }

  absl::Status ExpireIfThere(const std::string& key, const Ttl& ttl) {
    ASSIGN_OR_RETURN(const auto found, Find(key));
    return found.has_value() && ttl.has_value() ? SetExpiry(found->id, Expires(ttl)) : absl::OkStatus();
  }

  // The id of the key, made when missing.
  absl::StatusOr<std::int64_t> Ensure(const std::string& key, Kind kind, const Ttl& ttl) {
    ASSIGN_OR_RETURN(const auto id, FindKind(key, kind));
    if (id.has_value()) {
      if (ttl.has_value()) RETURN_IF_ERROR(SetExpiry(*id, Expires(ttl)));
      return *id;
    }
    RETURN_IF_ERROR(sqlite_.Prepare("INSERT INTO key(name, kind, expires) VALUES(?, ?, ?)")
                        .Bind(key)
                        .Bind(static_cast<std::int64_t>(kind))
                        .Bind(Expires(ttl))
                        .Run());
    return sqlite_.LastId();
  }

  absl::Status PutMember(std::int64_t id, std::string_view name, std::string_view value, double score) {
    return sqlite_
        .Prepare(
            "INSERT INTO member(key_id, name, value, score) VALUES(?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET value = excluded.value, score = excluded.score")
        .Bind(id)
        .Bind(name)
        .Bind(value)
        .Bind(score)
        .Run();
  }

  absl::Status DropMember(std::int64_t id, std::string_view name) {
    return sqlite_.Prepare("DELETE FROM member WHERE key_id = ? AND name = ?").Bind(id).Bind(name).Run();
  }

  absl::Status DropIfEmpty(std::int64_t id) {
    return sqlite_.Prepare("DELETE FROM key WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM member WHERE key_id = ?1)")
        .Bind(id)
        .Run();
  }

  absl::Status One(const SetString& w) { return PutString(w.key, w.value, Expires(w.ttl)); }
  absl::Status One(const SetAdd& w) {
    if (w.members.empty()) return absl::OkStatus();
    ASSIGN_OR_RETURN(const std::int64_t id, Ensure(w.key, Kind::kSet, std::nullopt));
    for (const std::string& member : w.members) RETURN_IF_ERROR(PutMember(id, member, "", 0));
    return absl::OkStatus();
  }
  absl::Status One(const SetRemove& w) {
    if (w.members.empty()) return absl::OkStatus();
    ASSIGN_OR_RETURN(const auto id, FindKind(w.key, Kind::kSet));
    if (!id.has_value()) return absl::OkStatus();
    for (const std::string& member : w.members) RETURN_IF_ERROR(DropMember(*id, member));
    return DropIfEmpty(*id);
  }
  absl::Status One(const SetReplace& w) {
    ASSIGN_OR_RETURN(const std::int64_t id, Ensure(w.key, Kind::kSet, std::nullopt));
    std::map<std::string, bool> wanted;  // member -> is there already
    for (const std::string& member : w.members) wanted.emplace(member, false);
    std::vector<std::string> vanished;
    {
      Query q = sqlite_.Prepare("SELECT name FROM member WHERE key_id = ?");
      q.Bind(id);
      for (;;) {
        ASSIGN_OR_RETURN(const bool found, q.Step());
        if (!found) break;
        std::string member = q.Bytes(0);
        if (const auto it = wanted.find(member); it != wanted.end()) {
          it->second = true;
        } else {
          vanished.push_back(std::move(member));
        }
      }
    }
    for (const std::string& member : vanished) {
      RETURN_IF_ERROR(DropMember(id, member));
      for (const std::string& suffix : w.member_key_suffixes) {
        RETURN_IF_ERROR(One(Delete{fmt::format("{}{}{}", w.member_key_prefix, member, suffix)}));
      }
    }
    for (const auto& [member, is_there] : wanted) {
      if (!is_there) RETURN_IF_ERROR(PutMember(id, member, "", 0));
    }
    RETURN_IF_ERROR(SetExpiry(id, Expires(w.ttl)));
    return DropIfEmpty(id);
  }
  absl::Status One(const SortedAdd& w) {
    ASSIGN_OR_RETURN(const std::int64_t id, Ensure(w.key, Kind::kSorted, w.ttl));
    RETURN_IF_ERROR(PutMember(id, w.member, "", w.score));
    RETURN_IF_ERROR(
        sqlite_.Prepare("DELETE FROM member WHERE key_id = ? AND score <= ?").Bind(id).Bind(w.trim_to).Run());
    return DropIfEmpty(id);
  }
  absl::Status One(const ListPush& w) {
    ASSIGN_OR_RETURN(const std::int64_t id, Ensure(w.key, Kind::kList, w.ttl));
    if (w.keep == 0) return Drop(id);
    RETURN_IF_ERROR(sqlite_
                        .Prepare("INSERT INTO element(key_id, position, value) VALUES(?1, "
                                 "(SELECT COALESCE(MIN(position), 0) - 1 FROM element WHERE key_id = ?1), ?2)")
                        .Bind(id)
                        .Bind(w.value)
                        .Run());
    return sqlite_
        .Prepare(
            "DELETE FROM element WHERE key_id = ?1 AND position >= "
            "(SELECT MIN(position) FROM element WHERE key_id = ?1) + ?2")
        .Bind(id)
        .Bind(static_cast<std::int64_t>(w.keep))
        .Run();
  }
  absl::Status One(const Publish& w) {
    published.push_back(w);
    return absl::OkStatus();
  }

  Sqlite& sqlite_;
  const std::int64_t now_ms_;
};

EmbeddedStore::EmbeddedStore(Options options) : options_(std::move(options)), bus_(std::make_shared<Bus>()) {}

EmbeddedStore::~EmbeddedStore() {
  {
    base::MutexLock lock(reader_.mu);
    reader_.sqlite.reset();  // the last connection to close tidies the WAL away, and only a writer can
  }
  {
    base::MutexLock lock(writer_.mu);
    writer_.sqlite.reset();
  }
  if (lock_fd_ >= 0) close(lock_fd_);  // after the database: the lock goes with it
}

std::int64_t EmbeddedStore::NowMs() const { return base::UnixMillis(options_.clock->Now()); }

absl::StatusOr<std::unique_ptr<EmbeddedStore>> EmbeddedStore::Open(Options options) {
  std::unique_ptr<EmbeddedStore> store(new EmbeddedStore(std::move(options)));
  const std::string& dir = store->options_.data_dir;
  absl::Status status = store->Prepare();
  if (absl::IsDataLoss(status)) {
    return base::Annotate(status, fmt::format("state database {}/state.db is damaged; move it away to start afresh "
                                              "(the hub collects the state again)",
                                              dir));
  }
  if (!status.ok())
    return base::Annotate(status, dir.empty() ? "state database in memory" : "state database in " + dir);
  return store;
}

absl::Status EmbeddedStore::Prepare() {
  const std::string& dir = options_.data_dir;
  std::string path = ":memory:";
  if (!dir.empty()) {
    if (mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST) {
      return base::Unavailable("cannot make the directory: {}", std::generic_category().message(errno));
    }
    lock_fd_ = open((dir + "/state.lock").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (lock_fd_ < 0) return base::Unavailable("state.lock: {}", std::generic_category().message(errno));
    if (flock(lock_fd_, LOCK_EX | LOCK_NB) != 0) {
      return absl::FailedPreconditionError("in use by another hub process; an embedded store allows one");
    }
    path = dir + "/state.db";
    // SQLite would use the umask; its other files take the mode of this one.
    const int fd = open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) return base::Unavailable("state.db: {}", std::generic_category().message(errno));
    close(fd);
  }
  base::MutexLock lock(writer_.mu);
  ASSIGN_OR_RETURN(writer_.sqlite, Sqlite::Open(path, false));
  Sqlite& sqlite = *writer_.sqlite;
  if (!dir.empty()) {
    RETURN_IF_ERROR(sqlite.Execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"));
    {
      // Durability rests on this one; a library built without it would take the line above in silence.
      constexpr std::int64_t kFull = 2;
      Query synchronous = sqlite.Prepare("PRAGMA synchronous");
      ASSIGN_OR_RETURN(const bool answered, synchronous.Step());
      if (!answered || synchronous.Int(0) != kFull) return base::Internal("SQLite does not sync with every write");
    }
    Query check = sqlite.Prepare("PRAGMA quick_check(1)");
    ASSIGN_OR_RETURN(const bool has_row, check.Step());
    if (!has_row || check.Bytes(0) != "ok") return absl::DataLossError(has_row ? check.Bytes(0) : "no answer");
  }
  RETURN_IF_ERROR(sqlite.Execute("PRAGMA foreign_keys = ON;"));
  std::int64_t version = 0;
  {
    Query q = sqlite.Prepare("PRAGMA user_version");
    RETURN_IF_ERROR(q.Step());
    version = q.Int(0);
  }
  if (version > kSchemaVersion) {
    return base::MakeStatus(absl::StatusCode::kFailedPrecondition,
                            "written by a newer version (layout {}, this program knows {})", version, kSchemaVersion);
  }
  RETURN_IF_ERROR(sqlite.Execute("BEGIN"));
  RETURN_IF_ERROR(sqlite.Execute(kSchema));
  RETURN_IF_ERROR(sqlite.Execute("PRAGMA user_version = 1; COMMIT"));
  static_assert(kSchemaVersion == 1, "the pragma above takes no parameter");
  if (!dir.empty()) {
    base::MutexLock reader_lock(reader_.mu);
    ASSIGN_OR_RETURN(reader_.sqlite, Sqlite::Open(path, true));
    has_reader_ = true;
  }
  return absl::OkStatus();
}

template <typename F>
absl::Status EmbeddedStore::Transaction(F&& body) {
  std::vector<Publish> published;
  {
    base::MutexLock lock(writer_.mu);
    Sqlite& sqlite = *writer_.sqlite;
    Writes writes(sqlite, NowMs());
    RETURN_IF_ERROR(sqlite.Prepare("BEGIN IMMEDIATE").Run());
    absl::Status status = writes.Sweep();
    if (status.ok()) status = body(writes);
    if (status.ok()) status = sqlite.Prepare("COMMIT").Run();
    if (!status.ok()) {
      (void)sqlite.Prepare("ROLLBACK").Run();  // fails when SQLite has rolled back by itself
      return status;
    }
    published = std::move(writes.published);
  }
  for (const Publish& message : published) bus_->Publish(message.channel, message.message);
  return absl::OkStatus();
}

absl::StatusOr<ApplyResult> EmbeddedStore::Apply(const WriterPosition& position, const std::vector<Write>& writes) {
  ApplyResult result = ApplyResult::kApplied;
  const std::string key = keys::Writer(position.cluster, position.role);
  RETURN_IF_ERROR(Transaction([&](Writes& sql) -> absl::Status {
    ASSIGN_OR_RETURN(const auto epoch, sql.Field(key, "epoch"));
    ASSIGN_OR_RETURN(const auto instance, sql.Field(key, "instance"));
    ASSIGN_OR_RETURN(const auto seq, sql.Field(key, "state_seq"));
    const bool is_writer = epoch == std::to_string(position.epoch);
    std::optional<std::string> gaps;
    if (position.as_read) {
      ASSIGN_OR_RETURN(gaps, sql.Field(key, keys::kWriterGapsRevision));
    }
    const bool is_unmoved =
        (is_writer || (!epoch.has_value() && position.epoch == 0)) && instance.value_or("") == position.instance &&
        ParseNumber(seq.value_or("")) == position.seq && ParseNumber(gaps.value_or("")) == position.gaps_revision;
    if (position.as_read ? !is_unmoved : !is_writer) {
      result = ApplyResult::kFenced;
      return absl::OkStatus();
    }
    const bool numbered = position.seq != 0 && !position.as_read;
    if (numbered && instance == position.instance && seq.has_value() && position.seq <= ParseNumber(*seq)) {
      result = ApplyResult::kRepeated;
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(sql.All(writes));
    if (!numbered) return absl::OkStatus();
    return sql.One(HashSet{key, {{"instance", position.instance}, {"state_seq", std::to_string(position.seq)}}, {}});
  }));
  return result;
}

absl::Status EmbeddedStore::Commit(const std::vector<Write>& writes) {
  if (writes.empty()) return absl::OkStatus();
  return Transaction([&](Writes& sql) { return sql.All(writes); });
}

absl::StatusOr<std::uint64_t> EmbeddedStore::AcquireEpoch(const std::string& cluster, WriterRole role,
                                                          std::int64_t now_ms) {
  std::uint64_t epoch = 0;
  const std::string key = keys::Writer(cluster, role);
  RETURN_IF_ERROR(Transaction([&](Writes& sql) -> absl::Status {
    ASSIGN_OR_RETURN(const auto stored, sql.Field(key, "epoch"));
    epoch = std::max(stored.has_value() ? ParseNumber(*stored) + 1 : 1,
                     static_cast<std::uint64_t>(std::max<std::int64_t>(now_ms, 0)));
    return sql.One(HashSet{key, {{"epoch", std::to_string(epoch)}}, {}});
  }));
  return epoch;
}

// Reads are one statement each, and so see one state of the database. Each row starts with the key's kind.
absl::StatusOr<std::optional<std::string>> EmbeddedStore::Get(const std::string& key) {
  Database& database = Reads();
  base::MutexLock lock(database.mu);
  Query q = database.sqlite->Prepare("SELECT kind, value FROM key WHERE name = ? AND (expires IS NULL OR expires > ?)");
  ASSIGN_OR_RETURN(const bool found, q.Bind(key).Bind(NowMs()).Step());
  if (!found) return std::optional<std::string>();
  if (static_cast<Kind>(q.Int(0)) != Kind::kString) return WrongType(key);
  return std::optional<std::string>(q.Bytes(1));
}

absl::StatusOr<std::vector<std::optional<std::string>>> EmbeddedStore::GetMany(const std::vector<std::string>& keys) {
  std::vector<std::optional<std::string>> values;
  for (const std::string& key : keys) {
    ASSIGN_OR_RETURN(values.emplace_back(), Get(key));
  }
  return values;
}

absl::StatusOr<std::map<std::string, std::string>> EmbeddedStore::HashGetAll(const std::string& key) {
  Database& database = Reads();
  base::MutexLock lock(database.mu);
  Query q = database.sqlite->Prepare(
      "SELECT k.kind, m.name, m.value FROM key k LEFT JOIN member m ON m.key_id = k.id "
      "WHERE k.name = ? AND (k.expires IS NULL OR k.expires > ?)");
  q.Bind(key).Bind(NowMs());
  std::map<std::string, std::string> fields;
  for (;;) {
    ASSIGN_OR_RETURN(const bool found, q.Step());
    if (!found) return fields;
    if (static_cast<Kind>(q.Int(0)) != Kind::kHash) return WrongType(key);
    fields.emplace(q.Bytes(1), q.Bytes(2));
  }
}

absl::StatusOr<std::vector<std::string>> EmbeddedStore::SetMembers(const std::string& key) {
  Database& database = Reads();
  base::MutexLock lock(database.mu);
  Query q = database.sqlite->Prepare(
      "SELECT k.kind, m.name FROM key k LEFT JOIN member m ON m.key_id = k.id "
      "WHERE k.name = ? AND (k.expires IS NULL OR k.expires > ?) ORDER BY m.name");
  q.Bind(key).Bind(NowMs());
  std::vector<std::string> members;
  for (;;) {
    ASSIGN_OR_RETURN(const bool found, q.Step());
    if (!found) return members;
    if (static_cast<Kind>(q.Int(0)) != Kind::kSet) return WrongType(key);
    members.push_back(q.Bytes(1));
  }
}

absl::StatusOr<std::vector<std::pair<std::string, double>>> EmbeddedStore::SortedNewest(const std::string& key,
                                                                                        std::size_t limit) {
  Database& database = Reads();
  base::MutexLock lock(database.mu);
  Query q = database.sqlite->Prepare(
      "SELECT k.kind, m.name, m.score FROM key k LEFT JOIN member m ON m.key_id = k.id "
      "WHERE k.name = ? AND (k.expires IS NULL OR k.expires > ?) ORDER BY m.score DESC, m.name DESC LIMIT ?");
  q.Bind(key).Bind(NowMs()).Bind(static_cast<std::int64_t>(limit));
  std::vector<std::pair<std::string, double>> newest;
  for (;;) {
    ASSIGN_OR_RETURN(const bool found, q.Step());
    if (!found) return newest;
    if (static_cast<Kind>(q.Int(0)) != Kind::kSorted) return WrongType(key);
    newest.emplace_back(q.Bytes(1), q.Double(2));
  }
}

absl::StatusOr<std::vector<std::string>> EmbeddedStore::ListRange(const std::string& key, std::size_t limit) {
  Database& database = Reads();
  base::MutexLock lock(database.mu);
  Query q = database.sqlite->Prepare(
      "SELECT k.kind, e.value FROM key k LEFT JOIN element e ON e.key_id = k.id "
      "WHERE k.name = ? AND (k.expires IS NULL OR k.expires > ?) ORDER BY e.position LIMIT ?");
  q.Bind(key).Bind(NowMs()).Bind(static_cast<std::int64_t>(limit));
  std::vector<std::string> entries;
  for (;;) {
    ASSIGN_OR_RETURN(const bool found, q.Step());
    if (!found) return entries;
    if (static_cast<Kind>(q.Int(0)) != Kind::kList) return WrongType(key);
    entries.push_back(q.Bytes(1));
  }
}

absl::StatusOr<Ttl> EmbeddedStore::TimeToLive(const std::string& key) {
  Database& database = Reads();
  base::MutexLock lock(database.mu);
  const std::int64_t now = NowMs();
  Query q = database.sqlite->Prepare("SELECT expires FROM key WHERE name = ? AND (expires IS NULL OR expires > ?)");
  ASSIGN_OR_RETURN(const bool found, q.Bind(key).Bind(now).Step());
  if (!found) return absl::NotFoundError(key);
  if (q.IsNull(0)) return Ttl();
  return Ttl(std::chrono::ceil<std::chrono::seconds>(std::chrono::milliseconds(q.Int(0) - now)));
}

absl::StatusOr<std::int64_t> EmbeddedStore::DeletePrefix(const std::string& prefix) {
  base::MutexLock lock(writer_.mu);
  const std::string end = PrefixEnd(prefix);
  RETURN_IF_ERROR(writer_.sqlite->Prepare("DELETE FROM key WHERE name >= ?1 AND (?2 = x'' OR name < ?2)")
                      .Bind(prefix)
                      .Bind(end)
                      .Run());
  return writer_.sqlite->Changes();
}

absl::StatusOr<std::vector<std::string>> EmbeddedStore::Keys(const std::string& prefix) {
  Database& database = Reads();
  base::MutexLock lock(database.mu);
  Query q = database.sqlite->Prepare(
      "SELECT name FROM key WHERE name >= ?1 AND (?2 = x'' OR name < ?2) AND (expires IS NULL OR expires > ?3) "
      "ORDER BY name");
  const std::string end = PrefixEnd(prefix);
  q.Bind(prefix).Bind(end).Bind(NowMs());
  std::vector<std::string> all;
  for (;;) {
    ASSIGN_OR_RETURN(const bool found, q.Step());
    if (!found) return all;
    all.push_back(q.Bytes(0));
  }
}

absl::StatusOr<bool> EmbeddedStore::AcquireLease(const std::string& name, const std::string& holder,
                                                 std::chrono::milliseconds ttl) {
  bool is_ours = false;
  const std::string key = keys::Lease(name);
  RETURN_IF_ERROR(Transaction([&](Writes& sql) -> absl::Status {
    ASSIGN_OR_RETURN(const auto current, sql.String(key));
    is_ours = !current.has_value() || *current == holder;
    return is_ours ? sql.PutString(key, holder, NowMs() + ttl.count()) : absl::OkStatus();
  }));
  return is_ours;
}

absl::StatusOr<std::optional<std::string>> EmbeddedStore::LeaseHolder(const std::string& name) {
  return Get(keys::Lease(name));
}

absl::Status EmbeddedStore::ReleaseLease(const std::string& name, const std::string& holder) {
  const std::string key = keys::Lease(name);
  return Transaction([&](Writes& sql) -> absl::Status {
    ASSIGN_OR_RETURN(const auto current, sql.String(key));
    return current == holder ? sql.One(Delete{key}) : absl::OkStatus();
  });
}

absl::StatusOr<std::unique_ptr<Subscription>> EmbeddedStore::Subscribe(
    const std::string& channel, std::function<void(std::string_view message)> on_message) {
  return std::unique_ptr<Subscription>(std::make_unique<LocalSubscription>(bus_, channel, std::move(on_message)));
}

absl::Status EmbeddedStore::Ping() {
  Database& database = Reads();
  base::MutexLock lock(database.mu);
  return base::internal::ToStatus(database.sqlite->Prepare("SELECT COUNT(*) FROM sqlite_master").Step());
}

}  // namespace clusterpulse::store
