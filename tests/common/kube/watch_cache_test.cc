#include "common/kube/watch_cache.h"

#include <algorithm>
#include <atomic>
#include <set>
#include <thread>

#include <catch2/catch.hpp>
#include <malloc.h>

#include "tests/common/kube/scripted_kube_api.h"

namespace clusterpulse::kube {
namespace {

using namespace std::chrono_literals;
using base::ManualClock;
using Script = ScriptedKubeApi::WatchScript;

struct View {
  std::int64_t value = 0;
  bool operator==(const View&) const = default;
};

constexpr std::int64_t kUnreadable = -1;  // the projection refuses this value

absl::Status ReadView(json::Cursor object, ObjectMeta& meta, View& out) {
  RETURN_IF_ERROR(object.ForEachMember([&](std::string_view key, json::Cursor value) -> absl::Status {
    if (key == "metadata") return ReadMeta(value, MetaParts::kIdentity, meta);
    if (key != "spec") return absl::OkStatus();
    return value.ForEachMember([&](std::string_view k, json::Cursor v) {
      if (k == "value") v.Get(out.value);
    });
  }));
  return out.value == kUnreadable ? absl::InvalidArgumentError("value is -1") : absl::OkStatus();
}

ObjectKey Pod(int i) { return {"shop", "p" + std::to_string(i)}; }

// A server, a cache that is stepped by hand, and a clock that watches advance.
struct Fixture {
  ManualClock clock;
  base::SeededRandom random{7};
  ScriptedKubeApi api;
  std::vector<std::string> log_lines;
  std::vector<std::string> notified;
  std::unique_ptr<WatchCache<View>> cache;

  explicit Fixture(int objects = 3) {
    for (int i = 0; i < objects; ++i) api.Set(Pod(i), i);
    api.clock = &clock;
    cache = Make();
  }

  Reflector::Options Options() {
    Reflector::Options options;
    options.resource = kPods;
    options.page_size = 2;
    options.clock = &clock;
    options.random = &random;
    options.log = log::Logger(
        {.level = log::Level::kWarn, .sink = [this](std::string_view line) { log_lines.emplace_back(line); }});
    return options;
  }
  std::unique_ptr<WatchCache<View>> Make() {
    auto made = std::make_unique<WatchCache<View>>(api, Options(), ReadView);
    made->AddHandler([this](const ObjectKey& key) { notified.push_back(key.name); });
    return made;
  }

  std::map<ObjectKey, int> Contents() const {
    std::map<ObjectKey, int> contents;
    for (const auto& item : cache->Snapshot()) contents[item.key] = static_cast<int>(item.value.value);
    return contents;
  }
  bool Current() const { return Contents() == api.Model(); }
  std::chrono::nanoseconds Step() {
    const auto pause = cache->Step();
    clock.AdvanceBy(pause);
    return pause;
  }
  std::vector<std::string> TakeNotified() { return std::exchange(notified, {}); }
};

using Names = std::vector<std::string>;

TEST_CASE("a list in pages fills the cache, then the watch goes on from its version") {
  Fixture f;
  CHECK_FALSE(f.cache->HasSynced());
  CHECK(f.cache->SinceKnownGood() == std::nullopt);
  CHECK(f.Step() == 0ns);
  CHECK(f.cache->HasSynced());
  CHECK(f.Current());
  CHECK(f.cache->size() == 3);
  CHECK(f.cache->Get(Pod(2))->value == 2);
  CHECK(f.cache->Get({"shop", "none"}) == std::nullopt);
  CHECK(f.cache->Get({"", "shop/p2"}) == std::nullopt);
  CHECK(f.TakeNotified() == Names{"p0", "p1", "p2"});
  CHECK(f.api.lists().size() == 2);
  CHECK(f.api.lists()[0].resource_version.empty());
  CHECK(f.api.lists()[0].limit == 2);

  f.api.Set(Pod(3), 3);
  f.api.Set(Pod(0), 10);
  f.api.Remove(Pod(1));
  f.Step();
  CHECK(f.Current());
  CHECK(f.TakeNotified() == Names{"p3", "p0", "p1"});
  REQUIRE(f.api.watches().size() == 1);
  CHECK(f.api.watches()[0].resource_version == "1003");
  CHECK(f.api.watches()[0].timeout >= 300s);
  CHECK(f.api.watches()[0].timeout <= 600s);
  const ReflectorStats stats = f.cache->stats();
  CHECK(stats.lists == 1);
  CHECK(stats.watches == 1);
  CHECK(stats.events == 3);
  CHECK(stats.last_event.has_value());
}

TEST_CASE("a clean end resumes from the last event, and from a bookmark") {
  Fixture f;
  f.Step();
  f.api.Set(Pod(3), 3);
  f.Step();
  f.api.Skip(500);
  f.api.watch_scripts.push_back({.bookmark = true});
  f.Step();
  f.Step();
  const auto watches = f.api.watches();
  REQUIRE(watches.size() == 3);
  CHECK(watches[1].resource_version == "1004");
  CHECK(watches[2].resource_version == "1504");
  CHECK(f.api.lists().size() == 2);
  CHECK(f.cache->stats().bookmarks == 1);
  CHECK(f.cache->stats().watch_failures == 0);
}

TEST_CASE("a bookmark keeps a cut watch from expiring") {
  Fixture f;
  f.Step();
  f.api.Skip(500);
  f.api.watch_scripts.push_back({.end = absl::UnavailableError("cut"), .bookmark = true});
  f.Step();
  f.api.Compact();
  f.api.Set(Pod(7), 7);
  f.Step();
  CHECK(f.Current());
  CHECK(f.cache->stats().relists == 0);
}

TEST_CASE("an expired version is listed again and deletions are not missed") {
  Fixture f(5);
  f.Step();
  f.TakeNotified();
  f.api.Remove(Pod(1));
  f.api.Set(Pod(2), 22);
  f.api.Set(Pod(9), 9);
  SECTION("refused at the start of the watch") { f.api.Compact(); }
  SECTION("in the middle of the watch") {
    f.api.watch_scripts.push_back({.cut_after = 0, .end = absl::OutOfRangeError("too old resource version")});
  }
  CHECK(f.Step() >= 800ms);
  CHECK(f.cache->HasSynced());  // still: old data is served meanwhile
  f.Step();
  CHECK(f.Current());
  Names notified = f.TakeNotified();
  std::sort(notified.begin(), notified.end());
  CHECK(notified == Names{"p1", "p2", "p9"});  // the unchanged ones are not mentioned
  CHECK(f.cache->stats().lists == 2);
  CHECK(f.cache->stats().relists == 1);
}

TEST_CASE("a continue token that expires starts the list again without losing a deletion") {
  Fixture f(5);
  f.Step();
  f.TakeNotified();
  f.api.Remove(Pod(0));
  f.api.Compact();
  f.Step();
  f.api.on_page = [&](int page) {
    if (page == 5) {  // the pages before were 0-2 and 3, 4
      f.api.Remove(Pod(4));
      f.api.Remove(Pod(1));
      f.api.Compact();
    }
  };
  f.api.Set(Pod(8), 8);
  f.Step();
  CHECK(f.Current());
  CHECK(f.cache->stats().list_restarts == 1);
}

TEST_CASE("a list that fails half way removes nothing and is tried again") {
  Fixture f(5);
  f.Step();
  f.api.Remove(Pod(4));
  f.api.Compact();
  f.Step();
  f.api.list_results = {absl::OkStatus(), absl::UnavailableError("reset")};
  CHECK(f.Step() >= 800ms);
  CHECK(f.cache->size() == 5);
  CHECK(f.cache->LastError().code() == absl::StatusCode::kUnavailable);
  CHECK(f.cache->stats().list_failures == 1);
  f.Step();
  CHECK(f.Current());
  CHECK(f.cache->LastError().ok());
}

TEST_CASE("a storm of 410 answers backs off and never empties the cache") {
  Fixture f;
  f.Step();
  std::chrono::nanoseconds last{0};
  for (int i = 0; i < 12; ++i) {
    f.api.watch_scripts.push_back({.refuse = absl::OutOfRangeError("gone"), .lasts = 0ns});
    last = f.Step();
    CHECK(last >= 800ms);
    CHECK(last <= 60s);
    f.Step();  // the list
    CHECK(f.cache->size() == 3);
  }
  CHECK(last >= 30s);
  f.api.list_results.assign(3, absl::OutOfRangeError("gone"));
  f.api.Skip(1);
  f.api.Compact();
  f.Step();
  for (int i = 0; i < 3; ++i) CHECK(f.Step() >= 30s);
  CHECK(f.cache->size() == 3);
}

TEST_CASE("the backoff starts again after two minutes of health") {
  Fixture f;
  f.Step();
  f.api.watch_scripts.assign(8, {.refuse = absl::UnavailableError("refused"), .lasts = 0ns});
  for (int i = 0; i < 8; ++i) f.Step();
  f.Step();  // six good minutes
  f.api.watch_scripts.push_back({.refuse = absl::UnavailableError("refused"), .lasts = 0ns});
  CHECK(f.Step() <= 1600ms);
}

TEST_CASE("refused connections and 429 are retried with the same version") {
  Fixture f;
  f.Step();
  absl::Status refusal;
  SECTION("connection refused") { refusal = absl::UnavailableError("connection refused"); }
  SECTION("too many requests") { refusal = ToStatus({.code = 429, .reason = "TooManyRequests"}); }
  SECTION("token being rotated") { refusal = absl::UnauthenticatedError("expired"); }
  f.api.watch_scripts.assign(20, {.refuse = refusal, .lasts = 0ns});
  for (int i = 0; i < 20; ++i) CHECK(f.Step() >= 800ms);
  f.api.Set(Pod(5), 5);
  f.Step();
  CHECK(f.Current());
  CHECK(f.cache->stats().lists == 1);
  CHECK(f.cache->stats().watch_failures == 20);
  for (const WatchQuery& watch : f.api.watches()) CHECK(watch.resource_version == "1003");
}

TEST_CASE("a server that will not go on from a version is listed again") {
  Fixture f;
  f.Step();
  int refusals = 0;
  absl::Status refusal;
  SECTION("at once when the request is refused") {
    refusal = GENERATE(absl::InvalidArgumentError("invalid resourceVersion"), absl::NotFoundError("no such resource"),
                       absl::PermissionDeniedError("may not watch"));
    refusals = 1;
  }
  SECTION("after five broken answers") {
    refusal = absl::DataLossError("malformed JSON");
    refusals = 5;
  }
  SECTION("after five server errors") {
    refusal = ToStatus({.code = 500});
    refusals = 5;
  }
  f.api.watch_scripts.assign(static_cast<std::size_t>(refusals), {.refuse = refusal, .lasts = 0ns});
  for (int i = 0; i < refusals; ++i) {
    CHECK(f.cache->stats().relists == 0);
    CHECK(f.Step() >= 800ms);
  }
  f.api.Set(Pod(4), 4);
  f.Step();
  CHECK(f.cache->stats().lists == 2);
  CHECK(f.Current());
}

TEST_CASE("a half line loses nothing, nor does a watch that was given up") {
  const absl::Status end =
      GENERATE(absl::DataLossError("malformed JSON"), absl::DeadlineExceededError("no end within 630 s"));
  CAPTURE(end.ToString());
  Fixture f;
  f.Step();
  f.api.Set(Pod(3), 3);
  f.api.Set(Pod(4), 4);
  f.api.watch_scripts.push_back({.cut_after = 1, .end = end, .lasts = 0ns});
  CHECK(f.Step() < 800ms);
  f.Step();
  CHECK(f.Current());
  CHECK(f.cache->stats().lists == 1);
}

TEST_CASE("a watch that ends at once again and again does not become a busy loop") {
  Fixture f;
  f.Step();
  absl::Status end;
  SECTION("cleanly") {}
  SECTION("by a lost connection") { end = absl::UnavailableError("reset"); }
  f.api.watch_scripts.assign(10, {.end = end, .lasts = 1ms});
  std::chrono::nanoseconds total{0};
  for (int i = 0; i < 10; ++i) total += f.Step();
  CHECK(total >= 2min);
  CHECK(f.cache->stats().lists == 1);
}

TEST_CASE("a watch cut every second converges without listing again") {
  Fixture f;
  f.Step();
  for (int i = 0; i < 200; ++i) {
    if (i % 3 == 0) f.api.Set(Pod(i % 7), i);
    if (i % 10 == 9) f.api.Remove(Pod((i * 3) % 7));
    f.api.watch_scripts.push_back({.end = absl::UnavailableError("cut"), .lasts = 1s});
    CHECK(f.Step() <= 1s);
    CHECK(f.Current());
  }
  CHECK(f.cache->stats().lists == 1);
}

TEST_CASE("watches that live are back soon for ever, also when one in many is cut early") {
  const auto lives = GENERATE(1s, 100s);  // a proxy's limit
  Fixture f;
  f.Step();
  for (int i = 0; i < 100; ++i) {
    const bool early = i % 5 == 4;
    f.api.watch_scripts.push_back({.end = absl::UnavailableError("cut"), .lasts = early ? 10ms : lives});
    CHECK(f.Step() <= 3200ms);  // twice the first step, spread
  }
  // Only early ends: nobody knows that the server is well.
  std::chrono::nanoseconds longest{};
  for (int i = 0; i < 10; ++i) {
    f.api.watch_scripts.push_back({.end = absl::UnavailableError("cut"), .lasts = 10ms});
    longest = std::max(longest, f.Step());
  }
  CHECK(longest >= 30s);
  CHECK(f.cache->stats().lists == 1);
}

TEST_CASE("a watch cut at every event converges in order") {
  Fixture f(0);
  f.Step();
  for (int i = 0; i < 50; ++i) f.api.Set(Pod(i % 5), i);
  f.api.watch_scripts.assign(50, {.cut_after = 1, .end = absl::UnavailableError("cut"), .lasts = 0ns});
  for (int i = 0; i < 50; ++i) CHECK(f.Step() <= 200ms);
  CHECK(f.Current());
  CHECK(f.notified.size() == 50);
  CHECK(f.cache->stats().lists == 1);
}

TEST_CASE("replayed and repeated events change nothing and call nobody") {
  Fixture f;
  f.Step();
  f.TakeNotified();
  for (int i = 0; i < 3; ++i) f.api.Set(Pod(i), i);  // new versions, equal projections
  f.api.Remove(Pod(0));
  f.Step();
  CHECK(f.TakeNotified() == Names{"p0"});
  f.api.Set(Pod(0), 0);
  f.api.Remove(Pod(0));
  f.Step();
  CHECK(f.TakeNotified() == Names{"p0", "p0"});
  CHECK(f.Current());
}

TEST_CASE("an object that cannot be read is counted and what is known of it stays") {
  Fixture f;
  f.Step();
  f.api.Set(Pod(1), kUnreadable);
  f.api.Set(Pod(8), kUnreadable);
  f.api.Set(Pod(9), 9);
  f.Step();
  CHECK(f.cache->Get(Pod(1))->value == 1);
  CHECK_FALSE(f.cache->Get(Pod(8)).has_value());
  CHECK(f.cache->Get(Pod(9))->value == 9);
  CHECK(f.cache->stats().bad_objects == 2);
  CHECK(f.log_lines.size() == 1);  // rate-limited
  CHECK(f.log_lines[0].find("\"name\":\"p1\"") != std::string::npos);

  f.api.Skip(1);
  f.api.Compact();  // also through a list
  f.Step();
  f.Step();
  CHECK(f.cache->Get(Pod(1))->value == 1);
  CHECK(f.cache->size() == 4);
  CHECK(f.cache->stats().bad_objects == 4);

  f.api.Remove(Pod(1));  // and a deletion needs no projection
  f.Step();
  CHECK_FALSE(f.cache->Get(Pod(1)).has_value());
}

TEST_CASE("an object without a name spoils neither list nor watch") {
  Fixture f;
  f.api.nameless = Pod(1);
  f.Step();
  CHECK(f.cache->HasSynced());
  CHECK(f.cache->size() == 2);
  f.api.Set(Pod(1), 5);
  f.api.Remove(Pod(1));
  f.api.Set(Pod(4), 4);
  f.Step();
  CHECK(f.cache->size() == 3);
  CHECK(f.cache->stats().bad_objects == 3);
}

TEST_CASE("a handler added later gets every existing key once, then the changes") {
  Fixture f;
  f.Step();
  Names late;
  f.cache->AddHandler([&](const ObjectKey& key) { late.push_back(key.name); });
  CHECK(late.empty());  // not on the caller's thread
  f.api.Set(Pod(1), 11);
  f.Step();
  REQUIRE(late.size() == 4);
  std::sort(late.begin(), late.begin() + 3);
  CHECK(late == Names{"p0", "p1", "p2", "p1"});
}

TEST_CASE("handlers see the cache as it is after the change") {
  Fixture f;
  std::vector<std::optional<std::int64_t>> seen;
  f.cache->AddHandler([&](const ObjectKey& key) {
    const auto view = f.cache->Get(key);  // takes the lock: none may be held
    seen.push_back(view ? std::optional(view->value) : std::nullopt);
  });
  f.Step();
  f.api.Set(Pod(0), 5);
  f.api.Remove(Pod(0));
  f.Step();
  CHECK(seen == std::vector<std::optional<std::int64_t>>{0, 1, 2, 5, std::nullopt});
}

TEST_CASE("selectors, namespace and metadata-only reach the server") {
  Fixture f;
  Reflector::Options options = f.Options();
  options.ns = "shop";
  options.label_selector = "a=b";
  options.field_selector = "status.phase!=Succeeded";
  options.metadata_only = true;
  WatchCache<View> cache(f.api, options, ReadView);
  cache.Step();
  cache.Step();
  const ListQuery list = f.api.lists().back();
  const WatchQuery watch = f.api.watches().back();
  CHECK(list.ns + list.label_selector + list.field_selector == "shopa=bstatus.phase!=Succeeded");
  CHECK(watch.ns + watch.label_selector + watch.field_selector == "shopa=bstatus.phase!=Succeeded");
  CHECK(list.metadata_only);
  CHECK(watch.metadata_only);
}

TEST_CASE("the age of knowledge counts from the last sign of the server") {
  Fixture f;
  f.Step();
  CHECK(*f.cache->SinceKnownGood() == 0ns);
  f.api.watch_scripts.assign(4, {.refuse = absl::UnavailableError("refused"), .lasts = 1s});
  std::chrono::nanoseconds passed{0};
  for (int i = 0; i < 4; ++i) passed += f.Step() + 1s;
  CHECK(*f.cache->SinceKnownGood() == passed);
  CHECK_FALSE(f.log_lines.empty());  // lasting failures are warned about
  CHECK(f.log_lines.size() == 1);
  f.cache->Step();
  CHECK(*f.cache->SinceKnownGood() == 0ns);
}

TEST_CASE("a cluster-scoped object has a key without namespace") {
  Fixture f(0);
  f.api.Set({"", "node-a"}, 1);
  f.Step();
  CHECK(f.cache->Get({"", "node-a"})->value == 1);
  CHECK(f.cache->Snapshot()[0].key == ObjectKey{"", "node-a"});
  CHECK(f.notified == Names{"node-a"});
}

// --- with its thread ---

// Waits on a condition with a limit of ten seconds.
template <typename Condition>
bool Eventually(Condition condition) {
  base::StopSignal never;
  for (int i = 0; i < 5000; ++i) {
    if (condition()) return true;
    never.WaitFor(2ms);
  }
  return condition();
}

struct Threaded {
  ScriptedKubeApi api;
  Reflector::Options options;
  std::unique_ptr<WatchCache<View>> cache;

  explicit Threaded(int objects = 50) {
    for (int i = 0; i < objects; ++i) api.Set(Pod(i), i);
    api.block = true;
    options.resource = kPods;
    options.page_size = 10;
    options.backoff = {.initial = 1ms, .max = 2ms};
    options.min_pause = 1ms;
    cache = std::make_unique<WatchCache<View>>(api, options, ReadView);
  }
  bool Current() {
    std::map<ObjectKey, int> contents;
    cache->ForEach([&](std::string_view ns, std::string_view name, const View& view) {
      contents[{std::string(ns), std::string(name)}] = static_cast<int>(view.value);
    });
    return contents == api.Model();
  }
};

TEST_CASE("the thread follows the server until stopped, and may be stopped twice") {
  Threaded t;
  CHECK_FALSE(t.cache->WaitForSync(1ms));
  t.cache->Start();
  t.cache->Start();
  REQUIRE(t.cache->WaitForSync(10s));
  CHECK(t.Current());
  for (int i = 0; i < 200; ++i) t.api.Set(Pod(i % 60), -2 - i);
  CHECK(Eventually([&] { return t.Current(); }));
  t.cache->Stop();
  t.cache->Stop();
  t.cache->Start();  // has no effect any more
  t.api.Set(Pod(0), 1);
  CHECK_FALSE(t.Current());
}

TEST_CASE("stopping ends a list at once") {
  Threaded t;
  std::atomic<int> items{0};
  base::StopSignal in_list, go_on;
  t.api.on_item = [&](const ObjectKey&) {
    if (++items == 15) {
      in_list.RequestStop();
      go_on.WaitFor(10s);
    }
  };
  t.cache->Start();
  REQUIRE(in_list.WaitFor(10s));
  std::jthread stopper([&] { t.cache->Stop(); });
  CHECK_FALSE(t.cache->WaitForSync(50ms));
  go_on.RequestStop();
  stopper.join();
  CHECK(items <= 16);
  CHECK_FALSE(t.cache->HasSynced());
}

TEST_CASE("stopping ends a watch and a wait for sync at once") {
  Threaded t;
  SECTION("watch") {
    t.cache->Start();
    REQUIRE(t.api.WaitForWatch(1));
    t.cache->Stop();
  }
  SECTION("backing off") {
    t.options.backoff = {.initial = 1h, .max = 1h};
    t.api.list_results.assign(1, absl::UnavailableError("down"));
    WatchCache<View> cache(t.api, t.options, ReadView);
    cache.Start();
    CHECK(Eventually([&] { return cache.stats().list_failures == 1; }));
    std::atomic<bool> synced{true};
    std::jthread waiter([&] { synced = cache.WaitForSync(1h); });
    cache.Stop();
    waiter.join();
    CHECK_FALSE(synced);
  }
  SECTION("the waiter's own stop") {
    base::StopSignal stop;
    std::jthread waiter([&] { t.cache->WaitForSync(1h, stop.token()); });
    stop.RequestStop();
    waiter.join();
    CHECK_FALSE(t.cache->HasSynced());
  }
}

TEST_CASE("a handler added while a watch is open or a backoff runs is served soon, on the reflector's thread") {
  Threaded t;
  std::set<std::string> seen;
  std::set<std::thread::id> threads;
  std::atomic<int> calls{0};
  const auto handler = [&](const ObjectKey& key) {
    seen.insert(key.name);
    threads.insert(std::this_thread::get_id());
    ++calls;
  };
  SECTION("open watch") {
    t.cache->Start();
    REQUIRE(t.api.WaitForWatch(1));
    t.cache->AddHandler(handler);
    CHECK(Eventually([&] { return calls == 50; }));
    t.api.Set(Pod(99), 1);
    CHECK(Eventually([&] { return calls == 51; }));
    t.cache->Stop();
    CHECK(t.cache->stats().lists == 1);
    CHECK(t.cache->stats().watch_failures == 0);
  }
  SECTION("backoff") {
    t.options.backoff = {.initial = 1h, .max = 1h};
    t.api.watch_scripts.push_back({.refuse = absl::UnavailableError("down")});
    WatchCache<View> cache(t.api, t.options, ReadView);
    cache.Start();
    CHECK(Eventually([&] { return cache.stats().watch_failures == 1; }));
    cache.AddHandler(handler);
    CHECK(Eventually([&] { return calls == 50; }));
    cache.Stop();
  }
  CHECK(threads.size() == 1);
  CHECK(threads.count(std::this_thread::get_id()) == 0);
}

// --- any sequence of events and faults ---

TEST_CASE("after any events and faults the cache equals the server") {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    Fixture f(0);
    base::SeededRandom dice(seed);
    const auto roll = [&](int n) { return static_cast<int>(dice.Next() % static_cast<std::uint64_t>(n)); };
    const auto mutate = [&] {
      switch (roll(8)) {
        case 0:
        case 1:
          f.api.Remove(Pod(roll(40)));
          break;
        case 2:
          f.api.Skip(roll(5));
          break;
        default:
          f.api.Set(Pod(roll(40)), roll(1000));
      }
      if (roll(60) == 0) f.api.Compact();
    };
    f.api.on_page = [&](int) {
      for (int i = roll(4); i > 0; --i) mutate();
    };
    // What the handlers were told must be enough to follow: a mirror reads the cache only for the keys it is told.
    std::map<ObjectKey, int> mirror;
    f.cache->AddHandler([&](const ObjectKey& key) {
      const auto view = f.cache->Get(key);
      if (view) {
        mirror[key] = static_cast<int>(view->value);
      } else {
        mirror.erase(key);
      }
      if (roll(20) == 0) mutate();
    });
    const absl::Status faults[] = {absl::OkStatus(),
                                   absl::UnavailableError("cut"),
                                   absl::DeadlineExceededError("silence"),
                                   absl::DataLossError("half a line"),
                                   absl::OutOfRangeError("gone"),
                                   absl::ResourceExhaustedError("429"),
                                   absl::UnauthenticatedError("token"),
                                   absl::PermissionDeniedError("rbac")};
    for (int round = 0; round < 60; ++round) {
      for (int i = roll(20); i > 0; --i) mutate();
      if (roll(3) == 0) f.api.list_results.assign(1, faults[roll(8)]);
      Script script;
      if (roll(4) == 0) script.refuse = faults[roll(8)];
      script.cut_after = roll(2) == 0 ? -1 : roll(6);
      script.end = faults[roll(8)];
      script.bookmark = roll(3) == 0 && script.cut_after < 0;
      script.lasts = std::chrono::milliseconds(roll(2000));
      f.api.watch_scripts.push_back(script);
      f.Step();
    }
    // The faults stop. A clean watch that served all there is makes the cache equal.
    f.api.on_page = nullptr;
    f.api.watch_scripts.clear();
    f.api.list_results.clear();
    for (int i = 0; i < 6 && !(f.Current() && mirror == f.api.Model()); ++i) f.Step();
    CHECK(f.Current());
    CHECK(mirror == f.api.Model());
  }
}

TEST_CASE("readers, handlers, changes and faults at once do not disturb each other") {
  Threaded t;
  std::atomic<bool> done{false};
  std::atomic<int> calls{0};
  for (int i = 0; i < 30; ++i) {
    t.api.watch_scripts.push_back({.cut_after = 20, .end = absl::UnavailableError("cut")});
    if (i % 10 == 0) t.api.watch_scripts.push_back({.refuse = absl::OutOfRangeError("gone")});
  }
  t.cache->AddHandler([&](const ObjectKey&) { ++calls; });
  t.cache->Start();
  std::jthread reader([&] {
    while (!done) {
      std::int64_t sum = 0;
      t.cache->ForEach([&](std::string_view, std::string_view, const View& view) { sum += view.value; });
      t.cache->Get(Pod(1));
      t.cache->stats();
      t.cache->SinceKnownGood();
      t.cache->LastError().IgnoreError();
    }
  });
  for (int i = 0; i < 1000; ++i) {
    if (i % 7 == 6) {
      t.api.Remove(Pod(i % 60));
    } else {
      t.api.Set(Pod(i % 60), i);
    }
    if (i % 300 == 150) t.cache->AddHandler([&](const ObjectKey&) { ++calls; });
  }
  CHECK(Eventually([&] { return t.Current(); }));
  done = true;
  reader.join();
  t.cache->Stop();
  CHECK(calls > 50);
}

// Bytes allocated now; 0 where the allocator does not say (sanitizers).
std::size_t Allocated() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
  return 0;
#else
  const struct mallinfo2 info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
#endif
}

TEST_CASE("ten thousand objects take less than 3 MiB, and a relist no more") {
  Fixture f(0);
  for (int i = 0; i < 10000; ++i) f.api.Set({"namespace-of-a-team", "deployment-7d9c5b8f6d-" + std::to_string(i)}, i);
  Reflector::Options options = f.Options();
  options.page_size = 500;
  f.api.Compact();
  const std::size_t before = Allocated();
  WatchCache<View> cache(f.api, options, ReadView);
  cache.Step();
  f.api.Skip(1);
  f.api.Compact();
  CHECK(Allocated() - before < (3u << 20));
  CHECK(f.api.lists().size() == 20);
  const std::size_t once = Allocated();
  cache.Step();
  cache.Step();
  f.api.Compact();
  CHECK(cache.size() == 10000);
  CHECK(cache.stats().lists == 2);
  CHECK(Allocated() < once + (64u << 10));
  for (int i = 0; i < 9990; ++i) f.api.Remove({"namespace-of-a-team", "deployment-7d9c5b8f6d-" + std::to_string(i)});
  const std::size_t full = Allocated();
  f.api.Compact();
  cache.Step();
  cache.Step();
  f.api.Compact();
  CHECK(cache.size() == 10);
  if (full > 0) CHECK(Allocated() + (1u << 20) < full);  // memory is given back
}

}  // namespace
}  // namespace clusterpulse::kube
