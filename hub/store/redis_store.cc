#include "hub/store/redis_store.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "common/base/random.h"
#include "common/base/status.h"
#include "common/base/stop_signal.h"
#include "common/base/thread.h"
#include "hub/store/keys.h"

namespace clusterpulse::store {

using base::SteadyTime;

namespace {

SteadyTime Now() { return std::chrono::steady_clock::now(); }

// The one way state is written. With a key (the cluster's writer): ARGV = epoch, instance, seq, a letter ('m': the
// position moves to them, 'r' and gaps_revision: they are what was read of it, '-': neither), then items; without:
// items alone. An item is a header, kind letter and number of arguments, and the arguments of one command. Kinds: the
// type its key must have when it exists (h s z l), any (-), or R: REPLACE key ttl prefix n suffix*n member*. Answers 0
// applied, 1 repeated, 2 fenced. Types are checked before the first write, so that a foreign key refuses the whole
// chunk. Epochs compare as text; seq and ttl stay far below 2^53.
constexpr std::string_view kWriteScript = R"lua(
local first = 1
if KEYS[1] then
  local w = redis.call('HMGET', KEYS[1], 'epoch', 'instance', 'state_seq')
  if string.sub(ARGV[4], 1, 1) == 'r' then
    if (w[1] or '0') ~= ARGV[1] or (w[2] or '') ~= ARGV[2] or (w[3] or '0') ~= ARGV[3] then return 2 end
    if (redis.call('HGET', KEYS[1], 'gaps_revision') or '0') ~= string.sub(ARGV[4], 2) then return 2 end
  else
    if w[1] ~= ARGV[1] then return 2 end
    if ARGV[3] ~= '0' and w[2] == ARGV[2] and w[3] and tonumber(ARGV[3]) <= tonumber(w[3]) then return 1 end
  end
  first = 5
end
local types = {h = 'hash', s = 'set', z = 'zset', l = 'list', R = 'set'}
local sub, call, n = string.sub, redis.call, #ARGV
local i = first
while i <= n do
  local header = ARGV[i]
  local want = types[sub(header, 1, 1)]
  if want then
    local have = call('TYPE', ARGV[i + 2]).ok
    if have ~= want and have ~= 'none' then
      return redis.error_reply('WRONGTYPE key ' .. ARGV[i + 2] .. ' holds a ' .. have .. ', not a ' .. want)
    end
  end
  i = i + 1 + tonumber(sub(header, 2))
end
local function replace(at, last)
  local key, ttl, prefix, suffixes = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  local members = at + 4 + suffixes
  local missing = {}
  for m = members, last do missing[ARGV[m]] = true end
  for _, member in ipairs(call('SMEMBERS', key)) do
    if missing[member] then
      missing[member] = nil
    else
      call('SREM', key, member)
      for s = at + 4, members - 1 do call('DEL', prefix .. member .. ARGV[s]) end
    end
  end
  for m = members, last do
    if missing[ARGV[m]] then call('SADD', key, ARGV[m]) end
  end
  if ttl ~= '' then call('EXPIRE', key, ttl) else call('PERSIST', key) end
end
i = first
while i <= n do
  local header = ARGV[i]
  local last = i + tonumber(sub(header, 2))
  if sub(header, 1, 1) == 'R' then
    replace(i + 2, last)
  else
    call(unpack(ARGV, i + 1, last))
  end
  i = last + 1
end
if KEYS[1] and ARGV[4] == 'm' then
  call('HSET', KEYS[1], 'instance', ARGV[2], 'state_seq', ARGV[3])
end
return 0
)lua";

// KEYS[1] the writer, ARGV[1] now in ms.
constexpr std::string_view kEpochScript = R"lua(
local stored = tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0') or 0
local epoch = string.format('%.0f', math.max(stored + 1, tonumber(ARGV[1])))
redis.call('HSET', KEYS[1], 'epoch', epoch)
return epoch
)lua";

// KEYS[1] the lease, ARGV[1] the holder, ARGV[2] its life in ms.
constexpr std::string_view kTakeLeaseScript = R"lua(
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
)lua";

constexpr std::string_view kReleaseLeaseScript = R"lua(
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
)lua";

// Synced every second, and a second late when the disk is slow.
constexpr std::chrono::seconds kSyncedAfter{2};

// What a connection keeps of its buffer for requests: a full chunk, which grows by doubling.
constexpr std::size_t kMaxKeptBytes = 2 * RedisStore::kChunkBytes;

// Members and fields of one command inside the script: Lua's unpack takes less than 8000 values.
constexpr std::size_t kMaxArguments = 1000;

// Writes a call of the write script into a buffer that is borrowed and keeps its capacity.
class Request {
 public:
  explicit Request(std::string& bytes) : bytes_(bytes) { bytes_.assign(kRoom, ' '); }

  std::size_t size() const { return bytes_.size(); }
  // The whole command. Valid until the buffer is written to. To be asked for once.
  std::string_view Finish() {
    std::array<char, kRoom> head;
    head[0] = '*';
    char* end = std::to_chars(head.data() + 1, head.data() + kRoom - 2, arguments_).ptr;
    *end++ = '\r';
    *end++ = '\n';
    const auto length = static_cast<std::size_t>(end - head.data());
    bytes_.replace(kRoom - length, length, head.data(), length);
    return std::string_view(bytes_).substr(kRoom - length);
  }

  Request& Arg(std::string_view text) {
    AppendBulk(bytes_, text);
    ++arguments_;
    return *this;
  }
  void Add(const Write& write) {
    std::visit([this](const auto& w) { AddWrite(w); }, write);
  }

 private:
  // In front of the arguments for their number, which is known last.
  static constexpr std::size_t kRoom = 24;

  static void AppendBulk(std::string& out, std::string_view text) {
    std::array<char, 24> head;
    head[0] = '$';
    char* end = std::to_chars(head.data() + 1, head.data() + 20, text.size()).ptr;
    *end++ = '\r';
    *end++ = '\n';
    out.append(head.data(), static_cast<std::size_t>(end - head.data()));
    out.append(text);
    out.append("\r\n", 2);
  }
  Request& Arg(std::int64_t number) {
    std::array<char, 24> digits;
    char* end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
    return Arg(std::string_view(digits.data(), static_cast<std::size_t>(end - digits.data())));
  }
  Request& Score(double number) {
    std::array<char, 400> digits;
    char* end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
    return Arg(std::string_view(digits.data(), static_cast<std::size_t>(end - digits.data())));
  }
  // The header of an item of `count` arguments.
  Request& Item(char kind, std::size_t count) {
    std::array<char, 24> text;
    text[0] = kind;
    char* end = std::to_chars(text.data() + 1, text.data() + text.size(), count).ptr;
    return Arg(std::string_view(text.data(), static_cast<std::size_t>(end - text.data())));
  }
  void Expire(const std::string& key, const Ttl& ttl) {
    if (ttl.has_value()) Item('-', 3).Arg("EXPIRE").Arg(key).Arg(ttl->count());
  }
  void Members(char kind, std::string_view command, const std::string& key, const std::vector<std::string>& members) {
    for (std::size_t at = 0; at < members.size(); at += kMaxArguments) {
      const std::size_t count = std::min(kMaxArguments, members.size() - at);
      Item(kind, count + 2).Arg(command).Arg(key);
      for (std::size_t i = at; i < at + count; ++i) Arg(members[i]);
    }
  }

  void AddWrite(const SetString& w) {
    if (w.ttl.has_value()) {
      Item('-', 5).Arg("SET").Arg(w.key).Arg(w.value).Arg("EX").Arg(w.ttl->count());
    } else {
      Item('-', 3).Arg("SET").Arg(w.key).Arg(w.value);
    }
  }
  void AddWrite(const Delete& w) { Item('-', 2).Arg("DEL").Arg(w.key); }
  void AddWrite(const HashSet& w) {
    for (std::size_t at = 0; at < w.fields.size(); at += kMaxArguments) {
      const std::size_t count = std::min(kMaxArguments, w.fields.size() - at);
      Item('h', 2 * count + 2).Arg("HSET").Arg(w.key);
      for (std::size_t i = at; i < at + count; ++i) Arg(w.fields[i].first).Arg(w.fields[i].second);
    }
    Expire(w.key, w.ttl);
  }
  void AddWrite(const SetAdd& w) { Members('s', "SADD", w.key, w.members); }
  void AddWrite(const SetRemove& w) { Members('s', "SREM", w.key, w.members); }
  void AddWrite(const SetReplace& w) {
    Item('R', 5 + w.member_key_suffixes.size() + w.members.size()).Arg("REPLACE").Arg(w.key);
    if (w.ttl.has_value()) {
      Arg(w.ttl->count());
    } else {
      Arg("");
    }
    Arg(w.member_key_prefix).Arg(static_cast<std::int64_t>(w.member_key_suffixes.size()));
    for (const std::string& suffix : w.member_key_suffixes) Arg(suffix);
    for (const std::string& member : w.members) Arg(member);
  }
  void AddWrite(const SortedAdd& w) {
    Item('z', 4).Arg("ZADD").Arg(w.key).Score(w.score).Arg(w.member);
    Item('-', 4).Arg("ZREMRANGEBYSCORE").Arg(w.key).Arg("-inf").Score(w.trim_to);
    Expire(w.key, w.ttl);
  }
  void AddWrite(const ListPush& w) {
    Item('l', 3).Arg("LPUSH").Arg(w.key).Arg(w.value);
    // Keeping none is deleting: LTRIM 0 -1 would keep all.
    if (w.keep == 0) {
      Item('-', 2).Arg("DEL").Arg(w.key);
      return;
    }
    Item('-', 4).Arg("LTRIM").Arg(w.key).Arg("0").Arg(static_cast<std::int64_t>(w.keep) - 1);
    Expire(w.key, w.ttl);
  }
  void AddWrite(const Publish& w) { Item('-', 3).Arg("PUBLISH").Arg(w.channel).Arg(w.message); }

  std::string& bytes_;
  std::size_t arguments_ = 0;
};

std::string Encode(std::initializer_list<std::string_view> arguments) {
  std::string bytes;
  Command command(bytes, arguments.size());
  for (const std::string_view argument : arguments) command.Arg(argument);
  return bytes;
}

absl::Status Unexpected(std::string_view command) {
  return base::MakeStatus(absl::StatusCode::kDataLoss, "redis: unexpected reply to {}", command);
}

absl::StatusOr<std::vector<std::string>> Texts(Reply reply, std::string_view command) {
  if (reply.type != Reply::Type::kArray) return Unexpected(command);
  std::vector<std::string> texts;
  texts.reserve(reply.elements.size());
  for (Reply& element : reply.elements) {
    if (element.type != Reply::Type::kString) return Unexpected(command);
    texts.push_back(std::move(element.text));
  }
  return texts;
}

std::string EscapeGlob(std::string_view text) {
  std::string pattern;
  for (const char c : text) {
    if (c == '*' || c == '?' || c == '[' || c == ']' || c == '\\' || c == '^') pattern.push_back('\\');
    pattern.push_back(c);
  }
  return pattern;
}

}  // namespace

// One connection in step with its replies. Confined to who took it.
class RedisConnection {
 public:
  explicit RedisConnection(std::unique_ptr<tls::Stream> connected) : stream(std::move(connected)) {}

  absl::Status Send(std::string_view bytes, SteadyTime deadline) {
    return base::Annotate(stream->Write(bytes, deadline), "redis");
  }
  absl::StatusOr<Reply> Receive(SteadyTime deadline) {
    for (;;) {
      ASSIGN_OR_RETURN(auto reply, reader.Next());
      if (reply.has_value()) return *std::move(reply);
      ASSIGN_OR_RETURN(const std::size_t n, stream->Read(buffer.data(), buffer.size(), deadline), "redis");
      RETURN_IF_ERROR(reader.Feed(std::string_view(buffer.data(), n)));
    }
  }
  absl::StatusOr<std::vector<Reply>> Execute(std::string_view commands, std::size_t count, SteadyTime deadline) {
    const SteadyTime asked = Now();
    RETURN_IF_ERROR(Send(commands, deadline));
    std::vector<Reply> replies;
    replies.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      ASSIGN_OR_RETURN(Reply reply, Receive(deadline));
      replies.push_back(std::move(reply));
    }
    asked_at = asked;
    return replies;
  }

  std::unique_ptr<tls::Stream> stream;
  RespReader reader;
  std::array<char, 16384> buffer;
  std::string script_sha;  // of the write script; empty: send the text
  std::string request;     // buffer of the write script's calls, kept for its capacity
  std::uint64_t generation = 0;
  bool has_written = false;  // since it was taken
  SteadyTime asked_at{};     // when the last request that was answered was sent
};

class RedisStore::RedisSubscription final : public Subscription {
 public:
  RedisSubscription(RedisStore& store, std::string channel, std::function<void(std::string_view)> on_message)
      : store_(store),
        channel_(std::move(channel)),
        on_message_(std::move(on_message)),
        thread_(base::StartThread("redis-subscribe", [this] { Run(); })) {}
  ~RedisSubscription() override {
    stop_.RequestStop();
    thread_.join();
  }

  void AwaitFirstAttempt() {
    base::MutexLock lock(mu_);
    while (!attempted_) attempted_cv_.Wait(mu_);  // bounded by the time-outs of Dial and Listen
  }

 private:
  // A half-open connection is found by a PING in silence.
  static constexpr std::chrono::seconds kSilence{10};

  void Run() {
    base::Backoff backoff(store_.options_.backoff, base::SystemRandom());
    while (!stop_.stop_requested()) {
      absl::Status ended;
      auto connection = store_.Dial(stop_.token());
      ended = connection.ok() ? Listen(**connection, backoff) : connection.status();
      Attempted();
      if (stop_.stop_requested()) return;
      store_.options_.log.Debug("redis subscription interrupted",
                                {{"channel", channel_}, {"error", log::ToText(ended)}});
      if (stop_.WaitFor(backoff.Next())) return;
    }
    Attempted();
  }

  absl::Status Listen(RedisConnection& connection, base::Backoff& backoff) {
    const auto io = store_.options_.io_timeout;
    RETURN_IF_ERROR(connection.Send(Encode({"SUBSCRIBE", channel_}), Now() + io));
    bool pinged = true;  // the answer to SUBSCRIBE is due as that to a PING is
    for (;;) {
      auto reply = connection.Receive(Now() + (pinged ? io : kSilence));
      if (absl::IsDeadlineExceeded(reply.status()) && !pinged) {
        RETURN_IF_ERROR(connection.Send(Encode({"PING"}), Now() + io));
        pinged = true;
        continue;
      }
      if (!reply.ok()) return reply.status();
      if (reply->IsError()) return store_.Judge(*reply);
      pinged = false;
      backoff.Reset();
      Attempted();
      const auto& parts = reply->elements;
      if (parts.size() == 3 && parts[0].text == "message" && !stop_.stop_requested()) on_message_(parts[2].text);
    }
  }

  void Attempted() {
    base::MutexLock lock(mu_);
    attempted_ = true;
    attempted_cv_.NotifyAll();
  }

  RedisStore& store_;
  const std::string channel_;
  const std::function<void(std::string_view)> on_message_;
  base::StopSignal stop_;
  base::Mutex mu_;
  base::CondVar attempted_cv_;
  bool attempted_ ABSL_GUARDED_BY(mu_) = false;
  std::jthread thread_;  // last: uses all of the above
};

RedisStore::RedisStore(Options options)
    : options_(std::move(options)), backoff_(options_.backoff, base::SystemRandom()) {
  if (options_.registry != nullptr) {
    reconnects_ = options_.registry
                      ->Counters("clusterpulse_hub_store_reconnects_total",
                                 "Connections to the state store made again after it could not be reached.")
                      .With({});
  }
}

RedisStore::~RedisStore() = default;

// --- connections ---

absl::StatusOr<tls::Endpoint> RedisStore::AskSentinels(SteadyTime deadline, std::stop_token stop) {
  absl::Status last = absl::UnavailableError("no sentinel configured");
  const std::string question = Encode({"SENTINEL", "get-master-addr-by-name", options_.sentinel_master});
  for (std::size_t i = 0; i < options_.sentinels.size(); ++i) {
    const SteadyTime share = Now() + (deadline - Now()) / static_cast<int>(options_.sentinels.size() + 1 - i);
    auto stream = tls::Stream::Connect(options_.sentinels[i], options_.tls, share, stop);
    last = stream.status();
    if (!stream.ok()) continue;
    RedisConnection sentinel(*std::move(stream));
    auto replies = sentinel.Execute(question, 1, share);
    last = replies.status();
    if (!replies.ok()) continue;
    const Reply& reply = replies->front();
    if (reply.IsError()) {
      last = ErrorReplyStatus(reply.text);
    } else if (reply.elements.size() != 2) {
      last = base::Unavailable("sentinel knows no master '{}'", options_.sentinel_master);
    } else {
      tls::Endpoint master{reply.elements[0].text, 0};
      const std::string& port = reply.elements[1].text;
      const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), master.port);
      if (error == std::errc() && end == port.data() + port.size()) return master;
      last = Unexpected("SENTINEL");
    }
  }
  return base::Annotate(last, "asking the sentinels");
}

absl::StatusOr<std::unique_ptr<RedisConnection>> RedisStore::Dial(std::stop_token stop) {
  const SteadyTime deadline = Now() + options_.dial_timeout;
  tls::Endpoint address = options_.address;
  if (!options_.sentinels.empty()) {
    ASSIGN_OR_RETURN(address, AskSentinels(deadline, stop));
  }
  ASSIGN_OR_RETURN(auto stream, tls::Stream::Connect(address, options_.tls, deadline, stop), "redis");
  auto connection = std::make_unique<RedisConnection>(std::move(stream));

  std::string hello;
  std::size_t count = 0;
  const bool has_auth = !options_.password.empty() || !options_.username.empty();
  if (has_auth) {
    hello += options_.username.empty() ? Encode({"AUTH", options_.password})
                                       : Encode({"AUTH", options_.username, options_.password});
    ++count;
  }
  if (options_.database != 0) {
    hello += Encode({"SELECT", std::to_string(options_.database)});
    ++count;
  }
  hello += Encode({"SCRIPT", "LOAD", kWriteScript});
  ++count;
  ASSIGN_OR_RETURN(const auto replies, connection->Execute(hello, count, deadline));
  for (std::size_t i = 0; i + 1 < replies.size(); ++i) {
    if (replies[i].IsError()) return ErrorReplyStatus(replies[i].text);
  }
  // A user that may not load scripts sends the text each time; a server that is not ready for anybody says so here.
  const Reply& loaded = replies.back();
  if (loaded.IsError()) {
    const absl::Status status = ErrorReplyStatus(loaded.text);
    if (!absl::IsPermissionDenied(status)) return status;
  } else {
    connection->script_sha = loaded.text;
  }
  return connection;
}

void RedisStore::WarnAboutEviction(RedisConnection& connection) {
  const auto replies = connection.Execute(Encode({"INFO", "memory"}), 1, Now() + options_.io_timeout);
  if (!replies.ok() || replies->front().type != Reply::Type::kString) return;
  const auto value = [&text = replies->front().text](std::string_view name) -> std::string_view {
    const std::size_t at = text.find(name);
    if (at == std::string::npos) return {};
    const std::size_t start = at + name.size();
    return std::string_view(text).substr(start, text.find_first_of("\r\n", start) - start);
  };
  const std::string_view policy = value("\nmaxmemory_policy:");
  const std::string_view limit = value("\nmaxmemory:");
  if (policy.empty() || policy == "noeviction" || limit == "0") return;
  options_.log.Warn("redis may evict keys when it runs out of memory: set maxmemory-policy to noeviction",
                    {{"policy", policy}, {"maxmemory_bytes", limit}});
}

absl::StatusOr<std::unique_ptr<RedisConnection>> RedisStore::Take() {
  const SteadyTime deadline = Now() + options_.dial_timeout;
  std::uint64_t generation = 0;
  for (;;) {
    std::unique_ptr<RedisConnection> candidate;
    {
      base::MutexLock lock(mu_);
      while (idle_.empty() && open_ >= options_.max_connections) {
        const auto left = deadline - Now();
        if (left <= std::chrono::nanoseconds(0)) {
          return absl::DeadlineExceededError("redis: all connections are busy");
        }
        returned_.WaitFor(mu_, left);
      }
      if (idle_.empty()) {
        if (Now() < retry_at_) return base::Annotate(last_error_, "redis is down, waiting to retry");
        ++open_;
        generation = generation_;
        break;
      }
      candidate = std::move(idle_.back());
      idle_.pop_back();
      generation = generation_;
    }
    // One that the server closed while it was idle must not cost the caller an error.
    if (candidate->generation == generation && candidate->stream->IsQuiet()) return candidate;
    Return(std::move(candidate), false);
  }

  auto connection = Dial({});
  bool is_first = false;
  bool came_back = false;
  bool went_down = false;
  {
    base::MutexLock lock(mu_);
    if (connection.ok()) {
      (*connection)->generation = generation;
      backoff_.Reset();
      retry_at_ = {};
      is_first = !std::exchange(was_up_, true);
      came_back = std::exchange(is_down_, false);
      if (std::exchange(is_lost_, false)) reconnects_.Add();
    } else {
      --open_;
      last_error_ = connection.status();
      retry_at_ = Now() + backoff_.Next();
      went_down = !std::exchange(is_down_, true);
      is_lost_ = true;
      returned_.NotifyOne();
    }
  }
  if (went_down) options_.log.Warn("redis cannot be reached", {{"error", log::ToText(connection.status())}});
  if (came_back) options_.log.Info("redis is reached again");
  if (is_first) WarnAboutEviction(**connection);
  return connection;
}

void RedisStore::Return(std::unique_ptr<RedisConnection> connection, bool alive) {
  // What was not answered may still be on its way. It must not arrive after what the caller does about that.
  if (!alive) connection->stream->Abort();
  {
    base::MutexLock lock(mu_);
    Mark& mark = marks_[connection.get()];
    mark.asked_at = connection->asked_at;
    if (std::exchange(connection->has_written, false)) mark.wrote_at = Now();
    if (alive && connection->generation == generation_) {
      idle_.push_back(std::move(connection));
    } else {
      --open_;
      ForgetLocked(*connection);
      if (!alive) is_lost_ = true;
    }
    returned_.NotifyOne();
  }
}

void RedisStore::ForgetLocked(const RedisConnection& connection) {
  const auto mark = marks_.find(&connection);
  if (mark == marks_.end()) return;
  if (SafeUntil(mark->second).has_value()) ++breaks_;
  marks_.erase(mark);
}

std::optional<SteadyTime> RedisStore::SafeUntil(const Mark& mark) {
  const SteadyTime until = mark.asked_at - kSyncedAfter;
  if (!mark.wrote_at.has_value() || *mark.wrote_at <= until) return std::nullopt;
  return until;
}

std::chrono::milliseconds RedisStore::DurableAfter() const {
  switch (options_.persistence) {
    case Persistence::kAof:
      return kSyncedAfter;
    case Persistence::kNone:
      break;
  }
  return std::chrono::milliseconds(0);
}

model::DurableMark RedisStore::Durable() {
  if (options_.persistence == Persistence::kNone) return {};
  std::vector<std::unique_ptr<RedisConnection>> dead;  // closed without the lock
  base::MutexLock lock(mu_);
  // A server that was restarted has closed them all, whether or not anybody called since.
  const auto first_dead = std::stable_partition(idle_.begin(), idle_.end(),
                                                [](const auto& connection) { return connection->stream->IsQuiet(); });
  for (auto it = first_dead; it != idle_.end(); ++it) {
    --open_;
    is_lost_ = true;
    ForgetLocked(**it);
    dead.push_back(std::move(*it));
  }
  idle_.erase(first_dead, idle_.end());
  if (!dead.empty()) returned_.NotifyAll();
  model::DurableMark durable{breaks_ + generation_, Now() - kSyncedAfter};
  for (const auto& [connection, mark] : marks_) {
    durable.until = std::min(durable.until, SafeUntil(mark).value_or(durable.until));
  }
  return durable;
}

std::unique_ptr<RedisConnection> RedisStore::TakeUnconfirmed() {
  base::MutexLock lock(mu_);
  for (auto it = idle_.begin(); it != idle_.end(); ++it) {
    const Mark& mark = marks_[it->get()];
    if (!SafeUntil(mark).has_value() || Now() < *mark.wrote_at + kSyncedAfter) continue;
    std::unique_ptr<RedisConnection> connection = std::move(*it);
    idle_.erase(it);
    return connection;
  }
  return nullptr;
}

absl::Status RedisStore::Judge(const Reply& error) {
  if (error.text.starts_with("READONLY") || error.text.starts_with("MASTERDOWN")) {
    base::MutexLock lock(mu_);
    ++generation_;  // a demoted master: look for the new one
  }
  return ErrorReplyStatus(error.text);
}

absl::StatusOr<std::vector<Reply>> RedisStore::Call(std::string_view commands, std::size_t count) {
  ASSIGN_OR_RETURN(auto connection, Take());
  auto replies = connection->Execute(commands, count, Now() + options_.io_timeout);
  Return(std::move(connection), replies.ok());
  return replies;
}

absl::StatusOr<Reply> RedisStore::CallOne(std::string_view command) {
  ASSIGN_OR_RETURN(auto replies, Call(command, 1));
  if (replies.front().IsError()) return Judge(replies.front());
  return std::move(replies.front());
}

absl::StatusOr<Reply> RedisStore::Eval(std::string_view script, const std::string& key,
                                       std::initializer_list<std::string> args) {
  std::string bytes;
  Command command(bytes, 4 + args.size());
  command.Arg("EVAL").Arg(script).Arg("1").Arg(key);
  for (const std::string& arg : args) command.Arg(arg);
  return CallOne(bytes);
}

// --- writes ---

absl::StatusOr<ApplyResult> RedisStore::WriteChunk(const WriterPosition* position, std::span<const Write>& writes) {
  ASSIGN_OR_RETURN(auto connection, Take());
  std::span<const Write> rest;
  const auto execute = [&](std::string_view command_name, std::string_view script) {
    Request request(connection->request);
    request.Arg(command_name).Arg(script).Arg(position != nullptr ? "1" : "0");
    if (position != nullptr) {
      request.Arg(keys::Writer(position->cluster, position->role))
          .Arg(std::to_string(position->epoch))
          .Arg(position->instance)
          .Arg(std::to_string(position->seq))
          .Arg(position->as_read ? "r" + std::to_string(position->gaps_revision) : "-");
    }
    const std::size_t head = request.size();
    std::size_t count = 0;
    while (count < writes.size() && count < kChunkWrites && request.size() - head < kChunkBytes) {
      request.Add(writes[count++]);
    }
    rest = writes.subspan(count);
    const bool moves = position != nullptr && !position->as_read && position->seq != 0 && rest.empty();
    if (moves) connection->request[head - std::string_view("-\r\n").size()] = 'm';  // known only now
    return connection->Execute(request.Finish(), 1, Now() + options_.io_timeout);
  };
  absl::StatusOr<std::vector<Reply>> replies = std::vector<Reply>();
  if (!connection->script_sha.empty()) replies = execute("EVALSHA", connection->script_sha);
  // No sha, or the server forgot the script (restart behind a proxy, SCRIPT FLUSH): the text, which it then remembers.
  if (replies.ok() && (replies->empty() || replies->front().text.starts_with("NOSCRIPT"))) {
    replies = execute("EVAL", kWriteScript);
  }
  writes = rest;
  if (connection->request.capacity() > kMaxKeptBytes) std::string().swap(connection->request);
  connection->has_written = true;
  Return(std::move(connection), replies.ok());
  if (!replies.ok()) return replies.status();
  const Reply& reply = replies->front();
  if (reply.IsError()) return Judge(reply);
  if (reply.type != Reply::Type::kInteger || reply.integer < 0 || reply.integer > 2) return Unexpected("EVALSHA");
  return reply.integer == 0   ? ApplyResult::kApplied
         : reply.integer == 1 ? ApplyResult::kRepeated
                              : ApplyResult::kFenced;
}

absl::StatusOr<ApplyResult> RedisStore::WriteAll(const WriterPosition* position, std::span<const Write> writes) {
  for (;;) {
    ASSIGN_OR_RETURN(const ApplyResult result, WriteChunk(position, writes));
    if (result != ApplyResult::kApplied || writes.empty()) return result;
  }
}

absl::StatusOr<ApplyResult> RedisStore::Apply(const WriterPosition& position, const std::vector<Write>& writes) {
  return WriteAll(&position, writes);
}

absl::Status RedisStore::Commit(const std::vector<Write>& writes) {
  if (writes.empty()) return absl::OkStatus();
  return WriteAll(nullptr, writes).status();
}

absl::StatusOr<std::uint64_t> RedisStore::AcquireEpoch(const std::string& cluster, WriterRole role,
                                                       std::int64_t now_ms) {
  ASSIGN_OR_RETURN(const Reply reply, Eval(kEpochScript, keys::Writer(cluster, role), {std::to_string(now_ms)}));
  std::uint64_t epoch = 0;
  const char* end = reply.text.data() + reply.text.size();
  const auto parsed = std::from_chars(reply.text.data(), end, epoch);
  if (parsed.ec != std::errc() || parsed.ptr != end) return Unexpected("EVAL");
  return epoch;
}

// --- reads ---

absl::StatusOr<std::optional<std::string>> RedisStore::Get(const std::string& key) {
  ASSIGN_OR_RETURN(auto values, GetMany({key}));
  return std::move(values.front());
}

absl::StatusOr<std::vector<std::optional<std::string>>> RedisStore::GetMany(const std::vector<std::string>& keys) {
  std::string commands;
  for (const std::string& key : keys) commands += Encode({"GET", key});
  ASSIGN_OR_RETURN(std::vector<Reply> replies, Call(commands, keys.size()));
  std::vector<std::optional<std::string>> values;
  for (Reply& reply : replies) {
    if (reply.IsError()) return Judge(reply);
    if (reply.type != Reply::Type::kNil && reply.type != Reply::Type::kString) return Unexpected("GET");
    values.emplace_back();
    if (reply.type == Reply::Type::kString) values.back() = std::move(reply.text);
  }
  return values;
}

absl::StatusOr<std::map<std::string, std::string>> RedisStore::HashGetAll(const std::string& key) {
  ASSIGN_OR_RETURN(Reply reply, CallOne(Encode({"HGETALL", key})));
  ASSIGN_OR_RETURN(auto texts, Texts(std::move(reply), "HGETALL"));
  if (texts.size() % 2 != 0) return Unexpected("HGETALL");
  std::map<std::string, std::string> fields;
  for (std::size_t i = 0; i < texts.size(); i += 2) fields.emplace(std::move(texts[i]), std::move(texts[i + 1]));
  return fields;
}

absl::StatusOr<std::vector<std::string>> RedisStore::SetMembers(const std::string& key) {
  ASSIGN_OR_RETURN(Reply reply, CallOne(Encode({"SMEMBERS", key})));
  ASSIGN_OR_RETURN(auto members, Texts(std::move(reply), "SMEMBERS"));
  std::sort(members.begin(), members.end());
  return members;
}

absl::StatusOr<std::vector<std::pair<std::string, double>>> RedisStore::SortedNewest(const std::string& key,
                                                                                     std::size_t limit) {
  std::vector<std::pair<std::string, double>> newest;
  if (limit == 0) return newest;
  ASSIGN_OR_RETURN(Reply reply, CallOne(Encode({"ZREVRANGE", key, "0", std::to_string(limit - 1), "WITHSCORES"})));
  ASSIGN_OR_RETURN(auto texts, Texts(std::move(reply), "ZREVRANGE"));
  if (texts.size() % 2 != 0) return Unexpected("ZREVRANGE");
  for (std::size_t i = 0; i < texts.size(); i += 2) {
    double score = 0;
    const char* end = texts[i + 1].data() + texts[i + 1].size();
    if (std::from_chars(texts[i + 1].data(), end, score).ptr != end) return Unexpected("ZREVRANGE");
    newest.emplace_back(std::move(texts[i]), score);
  }
  return newest;
}

absl::StatusOr<std::vector<std::string>> RedisStore::ListRange(const std::string& key, std::size_t limit) {
  if (limit == 0) return std::vector<std::string>();
  ASSIGN_OR_RETURN(Reply reply, CallOne(Encode({"LRANGE", key, "0", std::to_string(limit - 1)})));
  return Texts(std::move(reply), "LRANGE");
}

absl::StatusOr<Ttl> RedisStore::TimeToLive(const std::string& key) {
  ASSIGN_OR_RETURN(const Reply reply, CallOne(Encode({"PTTL", key})));
  if (reply.type != Reply::Type::kInteger) return Unexpected("PTTL");
  if (reply.integer == -2) return absl::NotFoundError(key);
  if (reply.integer == -1) return Ttl();
  return Ttl(std::chrono::ceil<std::chrono::seconds>(std::chrono::milliseconds(reply.integer)));
}

absl::StatusOr<std::vector<std::string>> RedisStore::ScanStep(const std::string& prefix, std::string& cursor) {
  ASSIGN_OR_RETURN(Reply reply, CallOne(Encode({"SCAN", cursor, "MATCH", EscapeGlob(prefix) + "*", "COUNT", "1000"})));
  if (reply.elements.size() != 2) return Unexpected("SCAN");
  cursor = reply.elements[0].text;
  return Texts(std::move(reply.elements[1]), "SCAN");
}

absl::StatusOr<std::int64_t> RedisStore::DeletePrefix(const std::string& prefix) {
  std::int64_t deleted = 0;
  std::string cursor = "0";
  do {
    ASSIGN_OR_RETURN(const auto found, ScanStep(prefix, cursor));
    if (found.empty()) continue;
    std::string bytes;
    Command command(bytes, found.size() + 1);
    command.Arg("UNLINK");
    for (const std::string& key : found) command.Arg(key);
    ASSIGN_OR_RETURN(const Reply reply, CallOne(bytes));
    deleted += reply.integer;
  } while (cursor != "0");
  return deleted;
}

absl::StatusOr<std::vector<std::string>> RedisStore::Keys(const std::string& prefix) {
  std::vector<std::string> all;
  std::string cursor = "0";
  do {
    ASSIGN_OR_RETURN(const auto found, ScanStep(prefix, cursor));
    all.insert(all.end(), found.begin(), found.end());
  } while (cursor != "0");
  std::sort(all.begin(), all.end());  // SCAN may name a key twice
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

// --- leases, channels, health ---

absl::StatusOr<bool> RedisStore::AcquireLease(const std::string& name, const std::string& holder,
                                              std::chrono::milliseconds ttl) {
  ASSIGN_OR_RETURN(const Reply reply, Eval(kTakeLeaseScript, keys::Lease(name), {holder, std::to_string(ttl.count())}));
  return reply.integer == 1;
}

absl::StatusOr<std::optional<std::string>> RedisStore::LeaseHolder(const std::string& name) {
  return Get(keys::Lease(name));
}

absl::Status RedisStore::ReleaseLease(const std::string& name, const std::string& holder) {
  return Eval(kReleaseLeaseScript, keys::Lease(name), {holder}).status();
}

absl::StatusOr<std::unique_ptr<Subscription>> RedisStore::Subscribe(
    const std::string& channel, std::function<void(std::string_view message)> on_message) {
  auto subscription = std::make_unique<RedisSubscription>(*this, channel, std::move(on_message));
  subscription->AwaitFirstAttempt();
  return std::unique_ptr<Subscription>(std::move(subscription));
}

absl::Status RedisStore::Ping() {
  const std::string ping = Encode({"PING"});
  while (auto connection = TakeUnconfirmed()) {
    const auto replies = connection->Execute(ping, 1, Now() + options_.io_timeout);
    Return(std::move(connection), replies.ok());
    if (!replies.ok()) return replies.status();
  }
  return CallOne(ping).status();
}

}  // namespace clusterpulse::store
