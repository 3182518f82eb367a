// The contract of StateStore, on every adapter: memory, SQLite file, real Redis, real Redis with TLS and an ACL user.
#include <atomic>
#include <map>
#include <memory>
#include <set>
#include <thread>

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "common/base/testing/manual_clock.h"
#include "hub/store/embedded_store.h"
#include "hub/store/keys.h"
#include "hub/store/redis_store.h"
#include "tests/support/redis_server.h"

namespace clusterpulse::store {
namespace {

using namespace std::chrono_literals;
using testing::Eventually;
using testing::RedisServer;

RedisStore::Options OptionsFor(const RedisServer& server, bool tls) {
  RedisStore::Options options;
  options.address = {"localhost", static_cast<std::uint16_t>(server.port())};
  options.username = server.username();
  options.password = server.password();
  if (tls) {
    options.tls = tls::ClientOptions{
        .ca_pem = {}, .ca_file = server.ca_file(), .cert_file = server.cert_file(), .key_file = server.key_file()};
  }
  return options;
}

// One adapter, empty at the start of each test.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual StateStore& store() = 0;
  // Waits for `condition`, which time alone brings about within two seconds.
  virtual bool AfterTwoSeconds(const std::function<bool()>& condition) = 0;
};

class EmbeddedBackend final : public Backend {
 public:
  explicit EmbeddedBackend(bool in_file) {
    auto store = EmbeddedStore::Open({.data_dir = in_file ? dir_.File("data") : "", .clock = &clock_});
    REQUIRE(store.ok());
    store_ = *std::move(store);
  }
  StateStore& store() override { return *store_; }
  bool AfterTwoSeconds(const std::function<bool()>& condition) override {
    clock_.AdvanceBy(2s);
    return condition();
  }

 private:
  testing::TempDir dir_;
  base::ManualClock clock_;
  std::unique_ptr<EmbeddedStore> store_;
};

class RedisBackend final : public Backend {
 public:
  RedisBackend(const RedisServer& server, bool tls) : store_(OptionsFor(server, tls)) {
    REQUIRE(store_.DeletePrefix("").ok());
  }
  StateStore& store() override { return store_; }
  bool AfterTwoSeconds(const std::function<bool()>& condition) override { return Eventually(10s, condition); }

 private:
  RedisStore store_;
};

RedisServer* SharedServer(bool tls) {
  static std::map<bool, std::unique_ptr<RedisServer>> servers;
  if (!servers.contains(tls)) servers[tls] = RedisServer::Start({.tls_and_acl = tls});
  return servers[tls].get();
}

// Null when its real part is not to be had.
std::unique_ptr<Backend> MakeBackend(const std::string& name) {
  if (name == "memory") return std::make_unique<EmbeddedBackend>(false);
  if (name == "sqlite") return std::make_unique<EmbeddedBackend>(true);
  const bool tls = name == "redis+tls+acl";
  RedisServer* server = SharedServer(tls);
  return server == nullptr ? nullptr : std::make_unique<RedisBackend>(*server, tls);
}

// Runs the rest of the test case on each adapter.
#define ON_EVERY_BACKEND                                                                                      \
  const std::string backend_name = GENERATE(as<std::string>(), "memory", "sqlite", "redis", "redis+tls+acl"); \
  CAPTURE(backend_name);                                                                                      \
  const auto backend = MakeBackend(backend_name);                                                             \
  if (backend == nullptr) return;                                                                             \
  [[maybe_unused]] StateStore& store = backend->store()

constexpr WriterRole kData = WriterRole::kData;
constexpr WriterRole kSpec = WriterRole::kSpec;

WriterPosition Writer(StateStore& store, const std::string& cluster, std::uint64_t seq,
                      const std::string& instance = "i1") {
  const auto epoch = store.AcquireEpoch(cluster, kData, 1000);
  REQUIRE(epoch.ok());
  return {cluster, *epoch, instance, seq};
}

ApplyResult Apply(StateStore& store, const WriterPosition& position, const std::vector<Write>& writes) {
  const auto result = store.Apply(position, writes);
  INFO(result.status().ToString());
  REQUIRE(result.ok());
  return *result;
}

std::string Text(StateStore& store, const std::string& key) {
  const auto value = store.Get(key);
  INFO(value.status().ToString());
  REQUIRE(value.ok());
  return value->value_or("(none)");
}

std::vector<std::string> Members(StateStore& store, const std::string& key) {
  const auto members = store.SetMembers(key);
  REQUIRE(members.ok());
  return *members;
}

using Strings = std::vector<std::string>;

TEST_CASE("each kind of write is read back") {
  ON_EVERY_BACKEND;
  const std::string binary("a\0b\r\n\xff*1", 8);
  REQUIRE(store.Ping().ok());
  REQUIRE(store
              .Commit({SetString{"s", binary, {}}, HashSet{"h", {{"a", "1"}, {"b", ""}}, {}}, SetAdd{"set", {"y", "x"}},
                       SortedAdd{"z", 10, "ten", 0, {}}, SortedAdd{"z", 20.5, "twenty", 0, {}},
                       ListPush{"l", "first", 2, {}}, ListPush{"l", "second", 2, {}}, ListPush{"l", "third", 2, {}}})
              .ok());
  CHECK(Text(store, "s") == binary);
  CHECK(*store.HashGetAll("h") == std::map<std::string, std::string>{{"a", "1"}, {"b", ""}});
  CHECK(Members(store, "set") == Strings{"x", "y"});
  CHECK(*store.SortedNewest("z", 9) == std::vector<std::pair<std::string, double>>{{"twenty", 20.5}, {"ten", 10}});
  CHECK(store.SortedNewest("z", 1)->size() == 1);
  CHECK(*store.ListRange("l", 9) == Strings{"third", "second"});
  CHECK(*store.ListRange("l", 1) == Strings{"third"});

  REQUIRE(store
              .Commit({HashSet{"h", {{"b", "2"}, {"c", "3"}}, {}}, SetRemove{"set", {"x", "nobody"}},
                       SortedAdd{"z", 30, "thirty", 10, {}}, Delete{"s"}, Delete{"never"}})
              .ok());
  CHECK(Text(store, "s") == "(none)");
  CHECK(*store.HashGetAll("h") == std::map<std::string, std::string>{{"a", "1"}, {"b", "2"}, {"c", "3"}});
  CHECK(Members(store, "set") == Strings{"y"});
  CHECK(store.SortedNewest("z", 9)->size() == 2);

  // A collection without members is no key.
  REQUIRE(store.Commit({SetRemove{"set", {"y"}}, SetReplace{"r", {}, {}, "", {}}}).ok());
  CHECK(*store.Keys("") == Strings{"h", "l", "z"});
  CHECK(store.HashGetAll("none")->empty());
  CHECK(store.SetMembers("none")->empty());
  CHECK(store.SortedNewest("none", 5)->empty());
  CHECK(store.ListRange("none", 5)->empty());
  CHECK(store.ListRange("l", 0)->empty());
  CHECK(store.Commit({}).ok());
}

TEST_CASE("replacing a set prunes what it no longer names") {
  ON_EVERY_BACKEND;
  const auto replace = [](Strings members, Ttl ttl = {}) {
    return SetReplace{"idx", std::move(members), ttl, "node:", {"", ":metrics"}};
  };
  REQUIRE(store
              .Commit({replace({"a", "b", "c"}, 100s), SetString{"node:a", "1", {}}, SetString{"node:b", "1", {}},
                       SetString{"node:b:metrics", "1", {}}, SetString{"node:b:kept", "1", {}},
                       SetString{"node:c", "1", {}}})
              .ok());
  CHECK(*store.TimeToLive("idx") == Ttl(100s));
  REQUIRE(store.Commit({replace({"a", "d", "c", "d"})}).ok());
  CHECK(Members(store, "idx") == Strings{"a", "c", "d"});
  CHECK(*store.Keys("node:") == Strings{"node:a", "node:b:kept", "node:c"});
  CHECK(*store.TimeToLive("idx") == Ttl());
  REQUIRE(store.Commit({replace({})}).ok());
  CHECK(*store.Keys("") == Strings{"node:b:kept"});
}

TEST_CASE("keys with a life expire") {
  ON_EVERY_BACKEND;
  REQUIRE(store
              .Commit({SetString{"s", "v", 1s}, HashSet{"h", {{"a", "1"}}, 1s}, SortedAdd{"z", 1, "m", 0, 1s},
                       ListPush{"l", "e", 5, 1s}, SetReplace{"set", {"m"}, 1s, "", {}}, SetString{"long", "v", 1000s},
                       SetString{"ever", "v", 1s}})
              .ok());
  REQUIRE(store.Commit({SetString{"ever", "v", {}}}).ok());  // a write without a life makes a text permanent
  CHECK(*store.TimeToLive("s") == Ttl(1s));
  CHECK(*store.TimeToLive("ever") == Ttl());
  CHECK(absl::IsNotFound(store.TimeToLive("none").status()));
  CHECK(backend->AfterTwoSeconds([&] { return *store.Keys("") == Strings{"ever", "long"}; }));
  CHECK(Text(store, "s") == "(none)");
  CHECK(store.HashGetAll("h")->empty());
  CHECK(store.SetMembers("set")->empty());
  // What comes after expiry starts afresh, without the old fields and the old life.
  REQUIRE(store.Commit({HashSet{"h", {{"b", "2"}}, {}}, SetAdd{"s", {"now a set"}}}).ok());
  CHECK(*store.HashGetAll("h") == std::map<std::string, std::string>{{"b", "2"}});
  CHECK(*store.TimeToLive("h") == Ttl());
}

TEST_CASE("a key of another type refuses the whole batch") {
  ON_EVERY_BACKEND;
  REQUIRE(store.Commit({SetString{"text", "v", {}}, SetAdd{"set", {"m"}}}).ok());
  const Write foreign = GENERATE(as<Write>(), HashSet{"text", {{"a", "1"}}, {}}, SetAdd{"text", {"m"}},
                                 SetReplace{"text", {"m"}, {}, "", {}}, SortedAdd{"text", 1, "m", 0, {}},
                                 ListPush{"text", "e", 5, {}}, HashSet{"set", {{"a", "1"}}, {}});
  const absl::Status status = store.Commit({SetString{"before", "v", {}}, foreign, SetString{"after", "v", {}}});
  CHECK(status.code() == absl::StatusCode::kFailedPrecondition);
  CHECK(*store.Keys("") == Strings{"set", "text"});

  WriterPosition writer = Writer(store, "c", 1);
  CHECK(store.Apply(writer, {SetString{"before", "v", {}}, foreign}).status().code() ==
        absl::StatusCode::kFailedPrecondition);
  CHECK(Text(store, "before") == "(none)");
  CHECK(Apply(store, writer, {SetString{"before", "v", {}}}) == ApplyResult::kApplied);  // the position did not move

  CHECK(absl::IsFailedPrecondition(store.HashGetAll("text").status()));
  CHECK(absl::IsFailedPrecondition(store.Get("set").status()));
  CHECK(absl::IsFailedPrecondition(store.GetMany({"text", "set"}).status()));
  CHECK(absl::IsFailedPrecondition(store.SetMembers("text").status()));
  CHECK(absl::IsFailedPrecondition(store.SortedNewest("text", 1).status()));
  CHECK(absl::IsFailedPrecondition(store.ListRange("text", 1).status()));
  REQUIRE(store.Commit({SetString{"set", "text now", {}}}).ok());  // a text replaces whatever there was
  CHECK(Text(store, "set") == "text now");

  const auto many = store.GetMany({"set", "nothing", "text"});
  REQUIRE(many.ok());
  CHECK(*many == std::vector<std::optional<std::string>>{"text now", std::nullopt, Text(store, "text")});
}

TEST_CASE("a batch is applied once") {
  ON_EVERY_BACKEND;
  WriterPosition p = Writer(store, "c", 1);
  CHECK(Apply(store, p, {SetString{"k", "1", {}}}) == ApplyResult::kApplied);
  CHECK(Apply(store, p, {SetString{"k", "again", {}}}) == ApplyResult::kRepeated);
  p.seq = 5;  // gaps are fine: of state only the newest matters
  CHECK(Apply(store, p, {SetString{"k", "5", {}}}) == ApplyResult::kApplied);
  p.seq = 4;
  CHECK(Apply(store, p, {SetString{"k", "late", {}}}) == ApplyResult::kRepeated);
  CHECK(Text(store, "k") == "5");

  SECTION("a new epoch does not make a repeated batch new") {
    p = Writer(store, "c", 5);
    CHECK(Apply(store, p, {SetString{"k", "again", {}}}) == ApplyResult::kRepeated);
  }
  SECTION("a new instance starts over") {
    p = Writer(store, "c", 1, "i2");
    CHECK(Apply(store, p, {SetString{"k", "new", {}}}) == ApplyResult::kApplied);
    CHECK(Text(store, "k") == "new");
    CHECK(store.HashGetAll(keys::Writer("c", kData))->at("state_seq") == "1");
  }
  SECTION("a batch without writes moves the position") {
    p.seq = 6;
    CHECK(Apply(store, p, {}) == ApplyResult::kApplied);
    CHECK(Apply(store, p, {}) == ApplyResult::kRepeated);
  }
}

TEST_CASE("a write without a number is fenced by its epoch and leaves the position alone") {
  ON_EVERY_BACKEND;
  const std::string writer = keys::Writer("c", kData);
  WriterPosition p = Writer(store, "c", 7, "stream");
  REQUIRE(Apply(store, p, {SetString{"k", "7", {}}, HashSet{writer, {{"durable", "3,5-6"}}, {}}}) ==
          ApplyResult::kApplied);
  const WriterPosition unnumbered{"c", p.epoch, "", 0};
  for (const char* value : {"once", "again"}) {  // repeats count
    CHECK(Apply(store, unnumbered, {SetString{"k", value, {}}}) == ApplyResult::kApplied);
    CHECK(Text(store, "k") == value);
  }
  const auto fields = store.HashGetAll(writer);
  REQUIRE(fields.ok());
  CHECK(fields->at("instance") == "stream");
  CHECK(fields->at("state_seq") == "7");
  CHECK(fields->at("durable") == "3,5-6");
  CHECK(Apply(store, p, {SetString{"k", "late", {}}}) == ApplyResult::kRepeated);

  const WriterPosition successor = Writer(store, "c", 1);
  CHECK(Apply(store, unnumbered, {SetString{"k", "fenced", {}}}) == ApplyResult::kFenced);
  CHECK(Apply(store, {"unknown", 0, "", 0}, {SetString{"k", "fenced", {}}}) == ApplyResult::kFenced);
  CHECK(Text(store, "k") == "again");
  CHECK(store.HashGetAll(writer)->at("instance") == "stream");  // an epoch forgets nothing

  // Larger than a chunk: still no number.
  std::vector<Write> many;
  for (std::size_t i = 0; i < RedisStore::kChunkWrites + 10; ++i) {
    many.push_back(SetString{"many:" + std::to_string(i), "v", {}});
  }
  CHECK(Apply(store, {"c", successor.epoch, "", 0}, many) == ApplyResult::kApplied);
  CHECK(store.HashGetAll(writer)->at("state_seq") == "7");
}

TEST_CASE("what was decided from a position that was read counts only while that stands") {
  ON_EVERY_BACKEND;
  const std::string writer = keys::Writer("c", kData);
  struct Position {
    std::uint64_t epoch;
    std::string instance;
    std::uint64_t seq;
  };
  const auto as_read = [&](const Position& p) {
    return Apply(store, {"c", p.epoch, p.instance, p.seq, kData, true}, {SetString{"verdict", "said", {}}});
  };
  CHECK(as_read({1, "", 0}) == ApplyResult::kFenced);
  CHECK(as_read({0, "", 1}) == ApplyResult::kFenced);
  CHECK(Text(store, "verdict") == "(none)");
  CHECK(as_read({0, "", 0}) == ApplyResult::kApplied);  // nobody writes yet
  CHECK(store.HashGetAll(writer)->empty());             // and nobody does by that

  WriterPosition p = Writer(store, "c", 1, "i1");
  CHECK(as_read({0, "", 0}) == ApplyResult::kFenced);
  CHECK(as_read({p.epoch, "", 0}) == ApplyResult::kApplied);
  REQUIRE(Apply(store, p, {}) == ApplyResult::kApplied);
  const Position moved[] = {{0, "", 0},         {p.epoch, "", 0},   {p.epoch, "i1", 0},
                            {p.epoch, "i1", 2}, {p.epoch, "i2", 1}, {p.epoch - 1, "i1", 1}};
  for (const Position& other : moved) CHECK(as_read(other) == ApplyResult::kFenced);
  const auto before = store.HashGetAll(writer);
  REQUIRE(before.ok());
  CHECK(as_read({p.epoch, "i1", 1}) == ApplyResult::kApplied);
  CHECK(as_read({p.epoch, "i1", 1}) == ApplyResult::kApplied);  // has no number: counts again
  CHECK(*store.HashGetAll(writer) == *before);

  const std::uint64_t read_at = p.epoch;
  p = Writer(store, "c", 2, "i1");
  CHECK(as_read({read_at, "i1", 1}) == ApplyResult::kFenced);
}

TEST_CASE("who read the position is fenced when the holes were written since") {
  ON_EVERY_BACKEND;
  const WriterPosition p = Writer(store, "c", 1, "i1");
  REQUIRE(Apply(store, p, {}) == ApplyResult::kApplied);
  const auto as_read = [&](std::uint64_t revision) {
    WriterPosition position{"c", p.epoch, "i1", 1, kData, true};
    position.gaps_revision = revision;
    return Apply(store, position, {SetString{"verdict", "said", {}}});
  };
  const auto move = [&](const std::string& revision) {
    return Apply(store, {"c", p.epoch, "", 0}, {HashSet{keys::Writer("c", kData), {{"gaps_revision", revision}}, {}}});
  };
  CHECK(as_read(1) == ApplyResult::kFenced);
  CHECK(Text(store, "verdict") == "(none)");
  CHECK(as_read(0) == ApplyResult::kApplied);
  REQUIRE(move("1") == ApplyResult::kApplied);
  CHECK(as_read(0) == ApplyResult::kFenced);
  CHECK(as_read(1) == ApplyResult::kApplied);
  REQUIRE(move("12") == ApplyResult::kApplied);
  CHECK(as_read(1) == ApplyResult::kFenced);
  CHECK(as_read(12) == ApplyResult::kApplied);
  // Writers themselves do not look at it.
  WriterPosition next = p;
  next.seq = 2;
  CHECK(Apply(store, next, {}) == ApplyResult::kApplied);
  CHECK(as_read(12) == ApplyResult::kFenced);  // by the number
}

TEST_CASE("a store that was not disturbed keeps its continuity") {
  ON_EVERY_BACKEND;
  CHECK(store.DurableAfter() == (backend_name.starts_with("redis") ? 2000ms : 0ms));
  const std::uint64_t before = store.Durable().continuity;
  const WriterPosition p = Writer(store, "c", 1);
  REQUIRE(Apply(store, p, {SetString{"k", "v", {}}}) == ApplyResult::kApplied);
  const auto written = std::chrono::steady_clock::now();
  CHECK(Eventually(10s, [&] { return store.Ping().ok() && store.Durable().until >= written; }));
  CHECK(std::chrono::steady_clock::now() - written >= store.DurableAfter());
  CHECK(store.Durable().continuity == before);
}

TEST_CASE("only the newest writer writes") {
  ON_EVERY_BACKEND;
  CHECK(Apply(store, {"c", 1, "i", 1}, {SetString{"k", "stranger", {}}}) == ApplyResult::kFenced);
  const WriterPosition old_writer = Writer(store, "c", 1);
  CHECK(old_writer.epoch == 1000);  // the hub's clock
  WriterPosition new_writer = Writer(store, "c", 2);
  CHECK(new_writer.epoch == 1001);  // the clock stood still
  CHECK(*store.AcquireEpoch("other", kData, 5) == 5);
  CHECK(Apply(store, old_writer, {SetString{"k", "old", {}}}) == ApplyResult::kFenced);
  CHECK(Apply(store, new_writer, {SetString{"k", "new", {}}}) == ApplyResult::kApplied);
  new_writer.epoch += 1;  // never issued
  new_writer.seq += 1;
  CHECK(Apply(store, new_writer, {SetString{"k", "forged", {}}}) == ApplyResult::kFenced);
  CHECK(Text(store, "k") == "new");
  CHECK(*store.AcquireEpoch("c", kData, 1'900'000'000'123) == 1'900'000'000'123);
  CHECK(*store.AcquireEpoch("c", kData, 7) == 1'900'000'000'124);

  SECTION("a deleted cluster fences its writer") {
    const WriterPosition p = Writer(store, "c", 9);
    REQUIRE(store.Commit({Delete{keys::Writer("c", kData)}}).ok());
    CHECK(Apply(store, p, {SetString{"k", "undead", {}}}) == ApplyResult::kFenced);
    CHECK(Text(store, "k") == "new");
  }
}

TEST_CASE("a cluster's roles have a writer each") {
  ON_EVERY_BACKEND;
  WriterPosition data = Writer(store, "c", 5);
  WriterPosition spec{"c", *store.AcquireEpoch("c", kSpec, 1000), "leader", 1, kSpec};
  CHECK(data.epoch == 1000);
  CHECK(spec.epoch == 1000);  // counts by itself
  CHECK(Apply(store, data, {SetString{"data", "1", {}}}) == ApplyResult::kApplied);
  CHECK(Apply(store, spec, {SetString{"spec", "1", {}}}) == ApplyResult::kApplied);
  CHECK(Apply(store, spec, {SetString{"spec", "again", {}}}) == ApplyResult::kRepeated);

  // A new leader takes the spec; the data's writer does not notice.
  WriterPosition successor{"c", *store.AcquireEpoch("c", kSpec, 1000), "successor", 1, kSpec};
  CHECK(successor.epoch == 1001);
  CHECK(Apply(store, successor, {SetString{"spec", "2", {}}}) == ApplyResult::kApplied);
  spec.seq = 2;
  CHECK(Apply(store, spec, {SetString{"spec", "late", {}}}) == ApplyResult::kFenced);
  data.seq = 6;
  CHECK(Apply(store, data, {SetString{"data", "2", {}}}) == ApplyResult::kApplied);
  CHECK(Text(store, "spec") == "2");
  CHECK(Text(store, "data") == "2");

  // And the other way round. An epoch of one role is none of the other.
  const WriterPosition stream = Writer(store, "c", 1, "stream");
  data.seq = 7;
  CHECK(Apply(store, data, {}) == ApplyResult::kFenced);
  successor.seq = 2;
  CHECK(Apply(store, successor, {}) == ApplyResult::kApplied);
  CHECK(*store.AcquireEpoch("c", kSpec, 5000) == 5000);
  CHECK(Apply(store, {"c", 5000, "leader", 9, kData}, {SetString{"data", "forged", {}}}) == ApplyResult::kFenced);
  CHECK(Apply(store, stream, {SetString{"data", "3", {}}}) == ApplyResult::kApplied);
  CHECK(Text(store, "data") == "3");
}

TEST_CASE("two hubs that fight over a cluster never mix their writes") {
  ON_EVERY_BACKEND;
  std::atomic<std::uint64_t> highest{0};
  std::atomic<int> applied{0};
  std::atomic<bool> failed{false};
  const auto hub = [&](const std::string& instance) {
    for (int round = 0; round < 30; ++round) {
      const auto epoch = store.AcquireEpoch("c", kData, 1);
      if (!epoch.ok()) {
        failed = true;
        return;
      }
      for (std::uint64_t before = highest; before < *epoch && !highest.compare_exchange_weak(before, *epoch);) {
      }
      for (std::uint64_t seq = 1; seq <= 3; ++seq) {
        const std::string text = std::to_string(*epoch);
        const auto result = store.Apply({"c", *epoch, instance + text, seq},
                                        {SetString{"a", text, {}}, HashSet{"b", {{"epoch", text}}, {}}});
        if (!result.ok()) failed = true;
        if (result.ok() && *result == ApplyResult::kApplied) ++applied;
      }
    }
  };
  {
    std::jthread one(hub, "one-");
    std::jthread two(hub, "two-");
  }
  CHECK_FALSE(failed);
  CHECK(applied > 0);
  CHECK(highest == 60);  // every epoch was issued once
  CHECK(store.HashGetAll("b")->at("epoch") == Text(store, "a"));
}

TEST_CASE("a reader never sees half of a batch") {
  ON_EVERY_BACKEND;
  // Each batch writes the same number into 40 fields and names as many nodes as the number's last digit says.
  const auto batch = [](int n) {
    const std::string text = std::to_string(n);
    HashSet hash{"h", {}, {}};
    for (int i = 0; i < 40; ++i) hash.fields.emplace_back("f" + std::to_string(i), text);
    SetReplace set{"set", {}, {}, "node:", {""}};
    for (int i = 0; i <= n % 10; ++i) set.members.push_back(text + "/" + std::to_string(i));
    std::vector<Write> writes{SetString{"first", text, {}}, hash, set};
    for (const std::string& m : set.members) writes.push_back(SetString{"node:" + m, "v", {}});
    writes.push_back(SetString{"last", text, {}});
    return writes;
  };
  WriterPosition p = Writer(store, "c", 1);
  REQUIRE(Apply(store, p, batch(0)) == ApplyResult::kApplied);
  std::atomic<bool> done{false};
  std::atomic<int> torn{0};
  std::atomic<int> reads{0};
  {
    std::jthread reader([&] {
      while (!done || reads < 20) {
        // Read in the opposite order of the writes: were a batch visible in parts, what is read later would be older.
        const auto last = store.Get("last");
        const auto hash = store.HashGetAll("h");
        const auto set = store.SetMembers("set");
        const auto first = store.Get("first");
        if (!last.ok() || !hash.ok() || !set.ok() || !first.ok()) {
          ++torn;
          return;
        }
        std::set<std::string> values;
        for (const auto& [field, value] : *hash) values.insert(value);
        if (values.size() != 1 || hash->size() != 40) ++torn;
        const int n = std::stoi(set->front());
        if (set->size() != static_cast<std::size_t>(n % 10 + 1)) ++torn;
        // What is read later is never older.
        if (std::stoi(*values.begin()) < std::stoi(**last) || n < std::stoi(*values.begin()) ||
            std::stoi(**first) < n) {
          ++torn;
        }
        ++reads;
      }
    });
    for (int n = 1; n <= 150; ++n) {
      p.seq = static_cast<std::uint64_t>(n) + 1;
      CHECK(Apply(store, p, batch(n)) == ApplyResult::kApplied);
    }
    done = true;
  }
  CHECK(torn == 0);
  CHECK(store.Keys("node:")->size() == 1);  // 150 ends in 0: one node, all others were pruned
}

TEST_CASE("a prefix is taken literally") {
  ON_EVERY_BACKEND;
  REQUIRE(store
              .Commit({SetString{"c:a*:x", "1", {}}, SetString{"c:ab:x", "1", {}}, SetString{"c:a[b]:x", "1", {}},
                       SetString{"c:a?:x", "1", {}}, SetString{"c:a\\:x", "1", {}}, HashSet{"c:a*:h", {{"f", "v"}}, {}},
                       ListPush{"c:a*:l", "e", 3, {}}, SetAdd{"c:a*:s", {"m"}}, SetString{"d\xff", "1", {}}})
              .ok());
  CHECK(*store.Keys("c:a*") == Strings{"c:a*:h", "c:a*:l", "c:a*:s", "c:a*:x"});
  CHECK(*store.DeletePrefix("c:a*:") == 4);
  CHECK(*store.DeletePrefix("c:a[b]") == 1);
  CHECK(*store.DeletePrefix("c:a?") == 1);
  CHECK(*store.DeletePrefix("c:a\\") == 1);
  CHECK(*store.DeletePrefix("none") == 0);
  CHECK(*store.Keys("") == Strings{"c:ab:x", "d\xff"});
  CHECK(*store.DeletePrefix("d\xff") == 1);
  CHECK(store.ListRange("c:a*:l", 5)->empty());
}

TEST_CASE("thousands of keys go in one batch and in one deletion") {
  ON_EVERY_BACKEND;
  std::vector<Write> writes;
  SetReplace index{"idx", {}, {}, "n:", {""}};
  for (int i = 0; i < 3500; ++i) {
    index.members.push_back(fmt::format("{:05}", i));
    writes.push_back(HashSet{"n:" + index.members.back(), {{"f", std::string(500, 'x')}}, 600s});
  }
  writes.push_back(SetAdd{"many", index.members});
  writes.push_back(index);
  const WriterPosition p = Writer(store, "c", 1);
  CHECK(Apply(store, p, writes) == ApplyResult::kApplied);
  CHECK(Apply(store, p, writes) == ApplyResult::kRepeated);
  CHECK(store.SetMembers("idx")->size() == 3500);
  CHECK(store.SetMembers("many")->size() == 3500);
  CHECK(store.Keys("n:")->size() == 3500);
  CHECK(*store.DeletePrefix("n:") == 3500);
  CHECK(store.Keys("n:")->empty());
}

TEST_CASE("a lease has one holder until it ends") {
  ON_EVERY_BACKEND;
  CHECK(*store.LeaseHolder("stream/a") == std::nullopt);
  CHECK(*store.AcquireLease("stream/a", "hub-1", 1s));
  CHECK_FALSE(*store.AcquireLease("stream/a", "hub-2", 1s));
  CHECK(*store.AcquireLease("stream/a", "hub-1", 1s));  // renewed
  CHECK(*store.LeaseHolder("stream/a") == "hub-1");
  REQUIRE(store.ReleaseLease("stream/a", "hub-2").ok());  // not its own
  CHECK(*store.LeaseHolder("stream/a") == "hub-1");
  CHECK(backend->AfterTwoSeconds([&] { return *store.AcquireLease("stream/a", "hub-2", 100s); }));
  REQUIRE(store.ReleaseLease("stream/a", "hub-2").ok());
  CHECK(*store.LeaseHolder("stream/a") == std::nullopt);
}

TEST_CASE("subscribers hear what is published with a batch that counts") {
  ON_EVERY_BACKEND;
  std::mutex mu;
  std::vector<std::string> heard;
  const auto count = [&] {
    std::lock_guard lock(mu);
    return heard.size();
  };
  auto subscription = store.Subscribe("cluster-events", [&](std::string_view message) {
    std::lock_guard lock(mu);
    heard.emplace_back(message);
  });
  REQUIRE(subscription.ok());
  WriterPosition p = Writer(store, "c", 1);
  CHECK(Apply(store, p, {Publish{"cluster-events", "one"}, Publish{"elsewhere", "no"}}) == ApplyResult::kApplied);
  CHECK(Apply(store, p, {Publish{"cluster-events", "a repeat"}}) == ApplyResult::kRepeated);
  REQUIRE(store.Commit({Publish{"cluster-events", "two"}}).ok());
  CHECK(Eventually(5s, [&] { return count() == 2; }));
  subscription->reset();
  REQUIRE(store.Commit({Publish{"cluster-events", "three"}}).ok());
  std::lock_guard lock(mu);
  CHECK(heard == Strings{"one", "two"});
}

// --- what only one adapter can show ---

TEST_CASE("an SQLite store keeps everything over a restart and allows one process") {
  const testing::TempDir dir;
  base::ManualClock clock;
  const EmbeddedStore::Options options{.data_dir = dir.File("data"), .clock = &clock};
  {
    auto store = EmbeddedStore::Open(options);
    REQUIRE(store.ok());
    const WriterPosition p = Writer(**store, "c", 7);
    CHECK(Apply(**store, p, {SetString{"k", "v", 100s}, SetAdd{"s", {"m"}}, ListPush{"l", "e", 5, {}}}) ==
          ApplyResult::kApplied);
    const auto second = EmbeddedStore::Open(options);
    CHECK(second.status().code() == absl::StatusCode::kFailedPrecondition);
    CHECK_THAT(second.status().ToString(), Catch::Contains("another hub process"));
  }
  for (const char* file : {"data/state.db", "data/state.lock"}) {
    CHECK(testing::RunCommand({"stat", "-c", "%a", dir.File(file)}).out == "600\n");
  }
  clock.AdvanceBy(40s);
  auto store = EmbeddedStore::Open(options);
  REQUIRE(store.ok());
  CHECK(Text(**store, "k") == "v");
  CHECK(*(*store)->TimeToLive("k") == Ttl(60s));
  CHECK(*(*store)->ListRange("l", 5) == Strings{"e"});
  CHECK(Apply(**store, Writer(**store, "c", 7), {}) == ApplyResult::kRepeated);
}

TEST_CASE("a damaged or newer SQLite file is refused with what to do") {
  const testing::TempDir dir;
  const EmbeddedStore::Options options{.data_dir = dir.path()};
  REQUIRE(EmbeddedStore::Open(options).ok());
  SECTION("not a database") {
    testing::WriteFile(dir.File("state.db"), std::string(8192, 'x'));
    const auto store = EmbeddedStore::Open(options);
    CHECK(store.status().code() == absl::StatusCode::kDataLoss);
    CHECK_THAT(store.status().ToString(), Catch::Contains("state.db is damaged"));
  }
  SECTION("a page overwritten") {
    std::string bytes = testing::ReadFile(dir.File("state.db"));
    REQUIRE(bytes.size() > 8192);
    bytes.replace(4096, 4096, std::string(4096, '\x7f'));
    testing::WriteFile(dir.File("state.db"), bytes);
    CHECK(EmbeddedStore::Open(options).status().code() == absl::StatusCode::kDataLoss);
  }
  SECTION("newer layout") {
    std::string bytes = testing::ReadFile(dir.File("state.db"));
    bytes[63] = 9;  // the last byte of user_version in the file header
    testing::WriteFile(dir.File("state.db"), bytes);
    const auto store = EmbeddedStore::Open(options);
    CHECK(store.status().code() == absl::StatusCode::kFailedPrecondition);
    CHECK_THAT(store.status().ToString(), Catch::Contains("newer version"));
  }
}

TEST_CASE("a Redis killed and restarted under the writer loses nothing that was answered") {
  auto server = RedisServer::Start({.aof = true});
  if (server == nullptr) return;
  telemetry::Registry registry;
  RedisStore::Options options = OptionsFor(*server, false);
  options.registry = &registry;
  RedisStore store(options);
  std::atomic<int> heard{0};
  const auto subscription = store.Subscribe("ch", [&](std::string_view) { ++heard; });
  REQUIRE(subscription.ok());
  WriterPosition p = Writer(store, "c", 0);
  for (p.seq = 1; p.seq <= 50; ++p.seq) {
    REQUIRE(Apply(store, p, {SetString{"k", std::to_string(p.seq), {}}}) == ApplyResult::kApplied);
  }
  server->Kill9();
  for (int i = 0; i < 3; ++i) {
    CHECK(store.Apply(p, {SetString{"k", "51", {}}}).status().code() == absl::StatusCode::kUnavailable);
  }
  CHECK(store.Ping().code() == absl::StatusCode::kUnavailable);
  REQUIRE(server->Restart());
  // The same handle works again, at the position it had.
  absl::StatusOr<ApplyResult> result;
  REQUIRE(Eventually(15s, [&] {
    p.seq = 50;
    result = store.Apply(p, {SetString{"k", "again", {}}});
    return result.ok();
  }));
  CHECK(*result == ApplyResult::kRepeated);
  CHECK(Text(store, "k") == "50");
  p.seq = 51;
  CHECK(Apply(store, p, {SetString{"k", "51", {}}}) == ApplyResult::kApplied);
  CHECK_THAT(registry.Render(), Catch::Contains("clusterpulse_hub_store_reconnects_total 1"));
  // The subscription reconnects by itself.
  CHECK(Eventually(15s, [&] {
    (void)store.Commit({Publish{"ch", "hello"}});  // repeated until heard
    return heard > 0;
  }));
}

TEST_CASE("a Redis that went away under a write breaks the continuity, whether or not anybody called since") {
  const auto server = RedisServer::Start({.aof = true});
  if (server == nullptr) return;
  RedisStore store(OptionsFor(*server, false));
  const auto write = [&] { REQUIRE(store.Commit({SetString{"k", "v", {}}}).ok()); };

  SECTION("killed and restarted while the connection was idle") {
    write();
    const std::uint64_t before = store.Durable().continuity;
    server->Kill9();
    REQUIRE(server->Restart());
    CHECK(Eventually(10s, [&] { return store.Durable().continuity != before; }));
    const std::uint64_t after = store.Durable().continuity;
    write();
    CHECK(store.Durable().continuity == after);  // counted once
  }
  SECTION("found by the next call") {
    write();
    const std::uint64_t before = store.Durable().continuity;
    server->Kill9();
    CHECK_FALSE(store.Commit({SetString{"k", "lost", {}}}).ok());
    CHECK(store.Durable().continuity != before);
  }
  SECTION("frozen: the call that waited in vain") {
    RedisStore::Options options = OptionsFor(*server, false);
    options.io_timeout = 200ms;
    RedisStore impatient(options);
    REQUIRE(impatient.Commit({SetString{"k", "v", {}}}).ok());
    const std::uint64_t before = impatient.Durable().continuity;
    server->Freeze();
    CHECK_FALSE(impatient.Ping().ok());
    CHECK(impatient.Durable().continuity != before);
    server->Resume();
  }
  SECTION("frozen: nothing is durable until it has spoken, over each connection that wrote") {
    RedisStore::Options options = OptionsFor(*server, false);
    options.io_timeout = 15s;
    RedisStore patient(options);
    // Two connections that wrote, of which the one below is not used any more.
    std::thread other([&] { CHECK(patient.Commit({SetString{"k", std::string(1 << 20, 'v'), {}}}).ok()); });
    CHECK(patient.Commit({SetString{"k", std::string(1 << 20, 'w'), {}}}).ok());
    other.join();
    const auto written = std::chrono::steady_clock::now();
    const std::uint64_t before = patient.Durable().continuity;
    server->Freeze();
    CHECK_FALSE(Eventually(3s, [&] { return patient.Durable().until >= written; }));
    server->Resume();
    CHECK(patient.Durable().until < written);
    REQUIRE(patient.Ping().ok());
    CHECK(patient.Durable().until >= written);
    CHECK(patient.Durable().continuity == before);
    // Safe by now: to lose the connections costs nothing.
    server->Kill9();
    CHECK_FALSE(patient.Ping().ok());
    CHECK(patient.Durable().continuity == before);
  }
  SECTION("a connection that only read took nothing along") {
    REQUIRE(store.Ping().ok());
    const std::uint64_t before = store.Durable().continuity;
    server->Kill9();
    CHECK_FALSE(store.Ping().ok());
    CHECK(store.Durable().continuity == before);
  }
  SECTION("without persistence there is nothing to wait for") {
    RedisStore::Options options = OptionsFor(*server, false);
    options.persistence = RedisStore::Persistence::kNone;
    RedisStore careless(options);
    REQUIRE(careless.Commit({SetString{"k", "v", {}}}).ok());
    const std::uint64_t before = careless.Durable().continuity;
    CHECK(careless.DurableAfter() == 0ms);
    server->Kill9();
    CHECK_FALSE(careless.Ping().ok());
    CHECK(careless.Durable().continuity == before);
  }
}

TEST_CASE("an idle connection that Redis closed costs nobody an error") {
  auto server = RedisServer::Start({.aof = true});
  if (server == nullptr) return;
  RedisStore store(OptionsFor(*server, false));
  REQUIRE(store.Ping().ok());
  server->Stop();
  REQUIRE(server->Restart());
  CHECK(store.Ping().ok());
  CHECK(server->Cli({"SCRIPT", "FLUSH"}).exit_code == 0);
  const WriterPosition p = Writer(store, "c", 1);
  CHECK(server->Cli({"SCRIPT", "FLUSH"}).exit_code == 0);
  CHECK(Apply(store, p, {SetString{"k", "v", {}}}) == ApplyResult::kApplied);
}

TEST_CASE("batches of any size follow one another on one connection") {
  auto server = RedisServer::Start();
  if (server == nullptr) return;
  RedisStore::Options options = OptionsFor(*server, false);
  options.max_connections = 1;
  RedisStore store(options);
  const WriterPosition position = Writer(store, "c", 1);
  struct Case {
    std::size_t writes, bytes;        // of each value
    bool forgets_the_script = false;  // the server, before the batch
  };
  // One write beyond what the connection keeps of its buffer, and chunks that are full by bytes and by number.
  const Case kCases[] = {{1, 10},
                         {0, 0},
                         {1, 3 * RedisStore::kChunkBytes},
                         {3, 10},
                         {40, 100 << 10},
                         {2500, 20},
                         {40, 100 << 10, true},
                         {1, 10, true}};
  std::uint64_t seq = 0;
  for (const Case& c : kCases) {
    CAPTURE(c.writes, c.bytes, c.forgets_the_script);
    if (c.forgets_the_script) CHECK(server->Cli({"SCRIPT", "FLUSH"}).exit_code == 0);
    const std::string value(c.bytes, static_cast<char>('a' + ++seq));
    std::vector<Write> writes;
    for (std::size_t i = 0; i < c.writes; ++i) writes.push_back(SetString{"k" + std::to_string(i), value, {}});
    REQUIRE(Apply(store, {"c", position.epoch, "i", seq}, writes) == ApplyResult::kApplied);
    std::size_t stored = 0;
    for (std::size_t i = 0; i < c.writes; ++i) stored += Text(store, "k" + std::to_string(i)) == value ? 1 : 0;
    CHECK(stored == c.writes);
    CHECK(store.HashGetAll(keys::Writer("c", kData))->at("state_seq") == std::to_string(seq));
  }
}

TEST_CASE("a frozen Redis ends in a deadline") {
  auto server = RedisServer::Start();
  if (server == nullptr) return;
  RedisStore::Options options = OptionsFor(*server, false);
  options.io_timeout = 200ms;
  options.dial_timeout = 300ms;
  RedisStore store(options);
  const WriterPosition p = Writer(store, "c", 1);
  server->Freeze();
  CHECK(store.Apply(p, {SetString{"k", "v", {}}}).status().code() == absl::StatusCode::kDeadlineExceeded);
  server->Resume();
  CHECK(Eventually(10s, [&] { return store.Apply(p, {SetString{"k", "v", {}}}).ok(); }));
  CHECK(Text(store, "k") == "v");
}

TEST_CASE("what a Redis refuses has the code that tells what to do") {
  auto server = RedisServer::Start({.tls_and_acl = true});
  if (server == nullptr) return;
  const RedisStore::Options good = OptionsFor(*server, true);
  RedisStore::Options options = good;
  SECTION("wrong password") {
    options.password = "wrong";
    CHECK(RedisStore(options).Ping().code() == absl::StatusCode::kUnauthenticated);
  }
  SECTION("wrong CA") {
    options.tls->ca_file = server->other_ca_file();
    CHECK(RedisStore(options).Ping().code() == absl::StatusCode::kUnauthenticated);
  }
  SECTION("wrong name") {
    options.tls->server_name = "redis.example.com";
    CHECK(RedisStore(options).Ping().code() == absl::StatusCode::kUnauthenticated);
  }
  SECTION("no client certificate") {
    options.tls->cert_file = options.tls->key_file = "";
    CHECK(RedisStore(options).Ping().code() == absl::StatusCode::kUnavailable);
  }
  SECTION("no TLS") {
    options.tls.reset();
    CHECK(RedisStore(options).Ping().code() == absl::StatusCode::kUnavailable);
  }
  SECTION("missing file") {
    options.tls->ca_file = "/nonexistent";
    CHECK(RedisStore(options).Ping().code() == absl::StatusCode::kInvalidArgument);
  }
}

TEST_CASE("a Redis out of memory refuses the whole batch; one that may evict is warned about") {
  auto server = RedisServer::Start({.config = {"maxmemory 3mb", "maxmemory-policy noeviction"}});
  if (server == nullptr) return;
  std::mutex mu;
  std::string lines;
  RedisStore::Options options = OptionsFor(*server, false);
  options.log = log::Logger({.sink = [&](std::string_view line) {
    std::lock_guard lock(mu);
    lines += line;
  }});
  {
    RedisStore store(options);
    WriterPosition p = Writer(store, "c", 1);
    absl::Status status;
    for (; p.seq < 100 && status.ok(); ++p.seq) {
      status = store
                   .Apply(p, {SetString{"n", std::to_string(p.seq), {}},
                              SetString{"big" + std::to_string(p.seq), std::string(200'000, 'x'), {}}})
                   .status();
    }
    CHECK(status.code() == absl::StatusCode::kResourceExhausted);
    CHECK(Text(store, "n") == std::to_string(p.seq - 2));  // the one before the refused
    CHECK(lines.empty());
  }
  CHECK(server->Cli({"CONFIG", "SET", "maxmemory-policy", "allkeys-lru"}).exit_code == 0);
  RedisStore store(options);
  REQUIRE(store.Ping().ok());
  CHECK_THAT(lines, Catch::Contains("may evict") && Catch::Contains("allkeys-lru"));
}

TEST_CASE("more callers than connections all get their turn") {
  RedisServer* server = SharedServer(false);
  if (server == nullptr) return;
  RedisStore::Options options = OptionsFor(*server, false);
  options.max_connections = 2;
  RedisStore store(options);
  REQUIRE(store.DeletePrefix("").ok());
  std::atomic<int> failures{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 50; ++i) {
          if (!store.Commit({ListPush{"l" + std::to_string(t), "e", 100, {}}}).ok()) ++failures;
        }
      });
    }
  }
  CHECK(failures == 0);
  for (int t = 0; t < 8; ++t) CHECK(store.ListRange("l" + std::to_string(t), 100)->size() == 50);
}

TEST_CASE("after a failover the sentinels lead to the new master") {
  auto first = RedisServer::Start();
  if (first == nullptr) return;
  auto second = RedisServer::Start({.config = {fmt::format("replicaof 127.0.0.1 {}", first->port())}});
  auto sentinel = RedisServer::Start(
      {.config = {fmt::format("sentinel monitor fleet 127.0.0.1 {} 1", first->port()),
                  "sentinel down-after-milliseconds fleet 500", "sentinel failover-timeout fleet 3000"},
       .sentinel = true});
  RedisStore::Options options;
  options.sentinels = {{"127.0.0.1", 1}, {"127.0.0.1", static_cast<std::uint16_t>(sentinel->port())}};
  options.sentinel_master = "fleet";
  RedisStore store(options);
  const WriterPosition p = Writer(store, "c", 1);
  REQUIRE(Apply(store, p, {SetString{"k", "v", {}}}) == ApplyResult::kApplied);
  // The replica has it and the sentinel knows the replica: now the master may die.
  REQUIRE(Eventually(20s, [&] { return second->Cli({"GET", "k"}).out == "v\n"; }));
  REQUIRE(Eventually(20s, [&] {
    return sentinel->Cli({"SENTINEL", "replicas", "fleet"}).out.find(std::to_string(second->port())) !=
           std::string::npos;
  }));
  first->Kill9();
  REQUIRE(Eventually(40s, [&] { return store.Commit({SetString{"k2", "v2", {}}}).ok(); }));
  CHECK(second->Cli({"GET", "k2"}).out == "v2\n");
  CHECK(Apply(store, p, {}) == ApplyResult::kRepeated);

  RedisStore::Options unknown = options;
  unknown.sentinel_master = "nobody";
  CHECK(RedisStore(unknown).Ping().code() == absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace clusterpulse::store
