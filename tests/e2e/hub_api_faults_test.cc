// The hub's own API server misbehaves: its watches are cut, its history is compacted away, it restarts and forgets.
// Whatever operators changed meanwhile takes effect, and the store ends as the server has it.
#include <set>

#include <absl/strings/str_split.h>
#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "tests/e2e/hub_fixture.h"

namespace clusterpulse::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Steady = std::chrono::steady_clock;

// Makes or changes a connection to the shared managed cluster; the display name tells its states apart.
void Put(HubFixture& hub, const std::string& name, const std::string& display_name) {
  hub.Connect(name, hub.servers().managed->url(), "harbour-token", fmt::format("  displayName: {}\n", display_name));
}

std::string Stored(RedisServer& redis, const std::string& cluster, const std::string& document, const char* member) {
  const auto value = json::Value::Parse(redis.Ask({"GET", "cluster:" + cluster + ":" + document}));
  return value.ok() ? std::string((*value)[member].StringOr()) : "";
}
std::string StoredName(RedisServer& redis, const std::string& cluster) {
  return Stored(redis, cluster, "spec", "displayName");
}

// "moody" is the one connection with a Secret of its own, which tests spoil and mend. Passes do not read a Secret again
// unless the watch of Secrets says that it changed, so "moody" shows what that watch knows.
enum class Mood { kGood, kBad };
void SetMood(HubFixture& hub, Mood mood) {
  hub.CreateSecret("moody-token", mood == Mood::kGood ? hub.servers().token : "not-a-token",
                   hub.servers().managed->ca_pem());
}
bool ShowsMood(HubFixture& hub, Mood mood, seconds limit) {
  return mood == Mood::kGood ? hub.WaitFor("moody", "Connected", "healthy", limit, false)
                             : hub.WaitFor("moody", "Error", "unhealthy", limit, false);
}
void ConnectMoody(HubFixture& hub) {
  SetMood(hub, Mood::kGood);
  hub.Connect("moody", hub.servers().managed->url(), "moody-token");
  REQUIRE(ShowsMood(hub, Mood::kGood, seconds(30)));
}

// Takes an object away at once, as if it never had a finalizer: no trace is left for a hub that does not look just now.
void Vanish(HubFixture& hub, const std::string& name) {
  CHECK(hub.Kubectl({"delete", "cc", name, "--wait=false"}).exit_code == 0);
  CHECK(hub.Kubectl({"patch", "cc", name, "--type=merge", "-p", R"({"metadata":{"finalizers":null}})"}).exit_code == 0);
}

int Count(std::string_view text, std::string_view part) {
  int count = 0;
  for (auto at = text.find(part); at != text.npos; at = text.find(part, at + part.size())) ++count;
  return count;
}

std::set<std::string> Lines(const std::string& text) { return absl::StrSplit(text, '\n', absl::SkipEmpty()); }

// Where the store and the server disagree; empty: nowhere.
std::string Difference(HubFixture& hub, RedisServer& redis) {
  const auto list = json::Value::Parse(hub.Kubectl({"get", "cc", "-o", "json"}).out);
  if (!list.ok()) return "the server does not answer";
  std::set<std::string> served, with_keys;
  for (const json::Value& object : (*list)["items"].items()) {
    const std::string name(object["metadata"]["name"].StringOr());
    served.insert(name);
    if (object["metadata"].Find("deletionTimestamp") != nullptr) return name + " is still being deleted";
    if (StoredName(redis, name) != object["spec"]["displayName"].StringOr()) return "spec of " + name;
    const std::string health(object["status"]["health"].StringOr());
    if (health.empty() || Stored(redis, name, "status", "health") != health) return "health of " + name;
    if (object["status"]["observedGeneration"].IntOr() != object["metadata"]["generation"].IntOr()) {
      return "generation of " + name;
    }
  }
  const std::set<std::string> stored = Lines(redis.Ask({"SMEMBERS", "clusters:all"}));
  for (const std::string& key : Lines(redis.Ask({"KEYS", "cluster:*"}))) {
    with_keys.insert(std::vector<std::string>(absl::StrSplit(key, ':'))[1]);
  }
  if (stored != served) return fmt::format("clusters:all holds {}", fmt::join(stored, " "));
  if (with_keys != served) return fmt::format("there are keys of {}", fmt::join(with_keys, " "));
  return "";
}

// Waits until the store knows the cluster by this name; says why not when it never does.
bool IsStoredAs(HubFixture& hub, RedisServer& redis, const std::string& cluster, const std::string& display_name) {
  const bool stored = Eventually(seconds(20), [&] { return StoredName(redis, cluster) == display_name; });
  if (!stored) UNSCOPED_INFO(hub.Object(cluster).Dump() << "\nhub log:\n" << hub.HubLog());
  return stored;
}

bool EndsEqual(HubFixture& hub, RedisServer& redis, seconds limit) {
  std::string difference;
  const bool equal = Eventually(limit, [&] { return (difference = Difference(hub, redis)).empty(); });
  if (!equal) UNSCOPED_INFO(difference << "\nhub log:\n" << hub.HubLog());
  return equal;
}

// What the hub asked of its own API server so far.
struct Load {
  double watches, lists, all;
};
Load LoadOf(const HubFixture& hub) {
  const auto count = [&](std::vector<std::string> labels) {
    labels.push_back("cluster=\"hub\"");
    return hub.Metric("kube_requests_total", labels);
  };
  return {count({"verb=\"watch\""}), count({"verb=\"list\""}), count({})};
}

TEST_CASE("with its watches cut every second the hub misses nothing and does not hammer its API server") {
  REQUIRE_REAL_SERVERS();
  REQUIRE_REAL_REDIS({});
  TcpProxy proxy(servers->hub->port());
  HubFixture hub(*servers, {.redis = redis.get(), .flags = {"--leader-elect"}, .proxy = &proxy});
  REQUIRE(hub.StartConnected());
  ConnectMoody(hub);
  const std::string lease = "cluster-controller.clusterpulse.io";
  const auto leader = [&] { return hub.Kubectl({"get", "lease", lease, "-o", "jsonpath={.spec.holderIdentity}"}).out; };
  const std::string led_by = leader();
  REQUIRE_FALSE(led_by.empty());

  const Load before = LoadOf(hub);
  const auto begin = Steady::now();
  proxy.Set({.max_age = seconds(1)});
  int changes = 0;
  for (int round = 0; Steady::now() - begin < seconds(15); ++round) {
    const std::string name = fmt::format("tide-{}", round);
    CAPTURE(name);
    Put(hub, name, "rising");
    REQUIRE(hub.WaitFor(name, "Connected", "healthy", seconds(20), false));
    Put(hub, name, "falling");
    REQUIRE(IsStoredAs(hub, *redis, name, "falling"));
    if (round % 2 == 0) {
      REQUIRE(hub.Kubectl({"delete", "cc", name, "--timeout=20s"}).exit_code == 0);
      REQUIRE(redis->Ask({"KEYS", "cluster:" + name + ":*"}).empty());
    }
    SetMood(hub, round % 2 == 0 ? Mood::kBad : Mood::kGood);
    REQUIRE(ShowsMood(hub, round % 2 == 0 ? Mood::kBad : Mood::kGood, seconds(20)));
    changes += 4;
  }
  const Load after = LoadOf(hub);
  const std::chrono::duration<double> lasted = Steady::now() - begin;
  proxy.Heal();
  CAPTURE(lasted.count(), changes, before.watches, after.watches, before.lists, after.lists, before.all, after.all);
  CHECK(proxy.resets() >= lasted.count());
  // Two watches, each back about a second after it was cut, from where it was: nothing is listed again. Ordinary calls
  // grow with the changes (finalizers, status, Events), not with the cuts.
  CHECK(after.watches > before.watches);
  CHECK(after.watches - before.watches <= 2 * 2 * lasted.count() + 2);
  CHECK(after.lists == before.lists);
  CHECK(after.all - after.watches - (before.all - before.watches) <= 10 * changes);

  CHECK(EndsEqual(hub, *redis, seconds(45)));
  CHECK(hub.hub().running());
  CHECK(leader() == led_by);
}

TEST_CASE("an API server that restarted and forgot its history costs a relist, and no deletion is missed") {
  REQUIRE_REAL_SERVERS();
  REQUIRE_REAL_REDIS({});
  TcpProxy proxy(servers->hub->port());
  HubFixture hub(*servers, {.redis = redis.get(), .flags = {}, .proxy = &proxy});
  REQUIRE(hub.StartConnected());
  for (const char* name : {"changed", "deleted", "vanished", "reborn"}) Put(hub, name, "before");
  ConnectMoody(hub);
  REQUIRE(EndsEqual(hub, *redis, seconds(45)));
  const Load before = LoadOf(hub);

  // A partition: nothing reaches the hub any more. It sees none of this happen.
  proxy.Set({.hold_after = 0});
  Put(hub, "changed", "after");
  Put(hub, "new", "after");
  CHECK(hub.Kubectl({"delete", "cc", "deleted", "--wait=false"}).exit_code == 0);
  Vanish(hub, "vanished");
  Vanish(hub, "reborn");
  REQUIRE(hub.Object("reborn").IsNull());
  Put(hub, "reborn", "after");
  SetMood(hub, Mood::kBad);
  proxy.Set({.refuse = true});  // what was held back is lost
  servers->env->CompactEtcd();
  servers->hub->Kill9();
  REQUIRE(servers->hub->Restart());
  servers->env->CompactEtcd();
  proxy.Heal();

  CHECK(EndsEqual(hub, *redis, seconds(120)));  // a backoff as long as the fault may be running
  CHECK(ShowsMood(hub, Mood::kBad, seconds(120)));
  CHECK(hub.Object("vanished").IsNull());
  CHECK(hub.Object("deleted").IsNull());
  // One for each watch: neither could go on from where it was.
  CHECK(LoadOf(hub).lists >= before.lists + 2);
  CHECK(LoadOf(hub).lists <= before.lists + 4);
  CHECK(hub.hub().running());
}

TEST_CASE("a storm of 410: each watch ends soon, and what it wants to resume from is compacted away") {
  REQUIRE_REAL_SERVERS();
  REQUIRE_REAL_REDIS({});
  // Without its watch cache the API server asks etcd for the history, which knows only what is not compacted.
  const auto uncached = servers->env->StartServer("uncached", {"--watch-cache=false"});
  REQUIRE(uncached != nullptr);
  TcpProxy proxy(uncached->port());
  HubFixture hub(*servers, {.redis = redis.get(), .flags = {}, .api = uncached.get(), .proxy = &proxy});
  REQUIRE(hub.StartConnected());
  for (const char* name : {"steady", "deleted", "changed"}) Put(hub, name, "before");
  ConnectMoody(hub);
  REQUIRE(EndsEqual(hub, *redis, seconds(45)));
  const Load before = LoadOf(hub);

  proxy.Set({.max_age = milliseconds(500)});
  const auto refused = [&] { return Count(hub.HubLog(), "OUT_OF_RANGE: watch"); };
  const auto begin = Steady::now();
  for (int round = 0; round < 5 || (refused() < 4 && Steady::now() - begin < seconds(25)); ++round) {
    Put(hub, "changed", fmt::format("round {}", round));
    if (round == 2) hub.Kubectl({"delete", "cc", "deleted", "--wait=false"});
    if (round == 3) SetMood(hub, Mood::kBad);
    if (round == 4) Put(hub, "new", "after");
    // History that neither watch has seen, so that compaction leaves both behind.
    hub.Kubectl({"annotate", "namespace", hub.ns(), "--overwrite", fmt::format("round={}", round)});
    servers->env->CompactEtcd();
  }
  const Load after = LoadOf(hub);
  proxy.Heal();
  CAPTURE(before.lists, after.lists, before.all, after.all);
  CHECK(refused() >= 4);
  // Each costs one list, and the next comes after a backoff that doubles from 0.8 s on: 6 of a watch take 25 s.
  CHECK(refused() <= 2 * 6);
  CHECK(after.lists - before.lists <= refused() + 2);
  CHECK(EndsEqual(hub, *redis, seconds(120)));  // a backoff as long as the fault may be running
  CHECK(ShowsMood(hub, Mood::kBad, seconds(120)));
  CHECK(hub.Object("deleted").IsNull());
  CHECK(hub.hub().running());
}

}  // namespace
}  // namespace clusterpulse::testing
