// Managed clusters that are half alive: answers that stop in their middle, trickle or come slowly, and credentials that
// run out. Each cluster shows its own truth within its limit, the others are served meanwhile, and all come back.
#include <random>

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "tests/e2e/hub_fixture.h"

namespace clusterpulse::testing {
namespace {

using std::chrono::seconds;

// Pods whose list is some 300 KB on the wire, compressed or not: more than all other answers together.
constexpr int kPods = 2;
constexpr std::size_t kMiddleOfPods = 64 << 10;

void CreateBulkyPods(KubeTestEnv& env, KubeTestEnv::Server& cluster) {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  // A pod needs a ServiceAccount; without controllers nobody makes it.
  std::string yaml =
      "apiVersion: v1\nkind: Namespace\nmetadata: {name: bulk}\n---\n"
      "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: default, namespace: bulk}\n";
  std::mt19937 random(7);
  for (int i = 0; i < kPods; ++i) {
    std::string noise(220 << 10, ' ');
    for (char& c : noise) c = kAlphabet[random() % kAlphabet.size()];
    yaml += fmt::format(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: bulky-{}, namespace: bulk, annotations: {{noise: "
        "\"{}\"}}}}\n"
        "spec: {{automountServiceAccountToken: false, containers: [{{name: c, image: none}}]}}\n",
        i, noise);
  }
  WriteFile(env.dir() + "/bulk.yaml", yaml);
  const CommandResult created = cluster.Kubectl({"create", "-f", env.dir() + "/bulk.yaml"});
  INFO(created.out);
  REQUIRE(created.exit_code == 0);
}

std::string LastSync(HubFixture& hub, const std::string& name) {
  return std::string(hub.Object(name)["status"]["lastSyncTime"].StringOr());
}

// The cluster is read, and stored, again and again. (The object's own times may lag an interval.)
bool IsServed(HubFixture& hub, RedisServer& redis, const std::string& name) {
  const auto stored = [&] { return redis.Ask({"HGET", "cluster:" + name + ":meta", "last_update"}); };
  const std::string before = stored();
  int polls = 0;
  return Eventually(seconds(20), [&] {
    if (polls++ % 20 == 0) hub.SyncNow(name);
    return stored() > before;
  });
}

json::Value StoredStatus(RedisServer& redis, const std::string& name) {
  auto status = json::Value::Parse(redis.Ask({"GET", "cluster:" + name + ":status"}));
  return status.ok() ? *std::move(status) : json::Value();
}

bool Contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

// Object, Event and store all say that the cluster refuses the token of this Secret.
void CheckSaysCredentials(HubFixture& hub, RedisServer& redis, const std::string& name, const std::string& secret) {
  const json::Value object = hub.Object(name);
  CAPTURE(object.Dump());
  CHECK(HubFixture::Condition(object, "Ready", "status") == "False");
  CHECK(HubFixture::Condition(object, "Ready", "reason") == "CredentialsInvalid");
  CHECK(HubFixture::Condition(object, "Healthy", "status") == "False");
  CHECK(Contains(object["status"]["message"].StringOr(), secret));
  CHECK(Contains(object["status"]["message"].StringOr(), "expired or revoked"));
  const json::Value stored = StoredStatus(redis, name);
  CHECK(stored["health"].StringOr() == "unhealthy");
  CHECK(Contains(stored["message"].StringOr(), secret));
  // Events are written behind the pass.
  CHECK(Eventually(seconds(10), [&] {
    const std::string events = hub.Kubectl({"get", "events", "--field-selector=involvedObject.name=" + name}).out;
    return Contains(events, "CredentialsInvalid");
  }));
}

TEST_CASE("answers that stop half-way or trickle, and credentials that run out, stay that cluster's own trouble") {
  REQUIRE_REAL_SERVERS();
  REQUIRE_REAL_REDIS({});
  KubeTestEnv::Server& cluster = *servers->managed;
  CreateBulkyPods(*servers->env, cluster);
  TcpProxy half_dead(cluster.port()), trickling(cluster.port()), slow(cluster.port());
  HubFixture hub(*servers, {.redis = redis.get(), .flags = {}});
  REQUIRE(hub.StartConnected());
  hub.Connect("half-dead", half_dead.url(), "harbour-token");
  hub.Connect("doomed", half_dead.url(), "harbour-token");
  hub.Connect("trickling", trickling.url(), "harbour-token");
  hub.Connect("slow", slow.url(), "harbour-token");
  hub.CreateSecret("leaver-token", cluster.CreateToken("leaver"), cluster.ca_pem());
  hub.Connect("leaver", cluster.url(), "leaver-token");
  for (const char* name : {"half-dead", "doomed", "trickling", "slow", "leaver"}) {
    REQUIRE(hub.WaitFor(name, "Connected", "healthy", seconds(30), false));
  }
  const int pid = hub.hub().pid();
  const std::string half_dead_data = LastSync(hub, "half-dead");

  half_dead.Set({.hold_after = kMiddleOfPods});
  trickling.Set({.bytes_per_second = 3000});
  slow.Set({.bytes_per_second = 100 << 10});
  for (const char* name : {"half-dead", "doomed", "trickling", "slow"}) hub.SyncNow(name);
  REQUIRE(Eventually(seconds(10), [&] { return half_dead.holding() == 2; }));  // two passes hang in a body
  CHECK(hub.Kubectl({"delete", "cc", "doomed", "--wait=false"}).exit_code == 0);
  CHECK(IsServed(hub, *redis, "harbour"));
  CHECK(IsServed(hub, *redis, "slow"));
  CHECK(hub.Phase("slow") == "Connected");

  // While those hang: a token that expires, and one whose ServiceAccount is deleted.
  const std::string ebbing_token = cluster.WithLife(servers->token, seconds(10));
  hub.CreateSecret("ebbing-token", ebbing_token, cluster.ca_pem());
  hub.Connect("ebbing", cluster.url(), "ebbing-token");
  REQUIRE(hub.WaitFor("ebbing", "Connected", "healthy", seconds(20), false));
  CHECK(cluster.Kubectl({"-n", "accounts", "delete", "serviceaccount", "leaver"}).exit_code == 0);
  REQUIRE(hub.WaitFor("leaver", "Error", "unhealthy"));
  CheckSaysCredentials(hub, *redis, "leaver", "leaver-token");
  REQUIRE(hub.WaitFor("ebbing", "Error", "unhealthy"));
  CheckSaysCredentials(hub, *redis, "ebbing", "ebbing-token");
  CHECK(redis->Ask({"SCARD", "cluster:ebbing:nodes"}) == "3");  // what was known stays, under its true health

  // A page of a list may take 30 s, also when bytes keep coming.
  for (const char* name : {"half-dead", "trickling"}) {
    CAPTURE(name);
    REQUIRE(hub.WaitFor(name, "Disconnected", "unhealthy", seconds(45), false));
    const json::Value object = hub.Object(name);
    CHECK(HubFixture::Condition(object, "Ready", "reason") == "ConnectionFailed");
    CHECK(Contains(object["status"]["message"].StringOr(), "did not answer in time"));
    CHECK(StoredStatus(*redis, name)["health"].StringOr() == "unhealthy");
    CHECK(redis->Ask({"SCARD", fmt::format("cluster:{}:nodes", name)}) == "3");
    const double lasted = hub.Metric("pull_last_duration_seconds", {fmt::format("cluster=\"{}\"", name)});
    CHECK(lasted > 5);   // it did hang
    CHECK(lasted < 60);  // the limit of a pass
  }
  CHECK(LastSync(hub, "half-dead") == half_dead_data);
  CHECK(Eventually(seconds(10), [&] { return hub.Object("doomed").IsNull(); }));
  CHECK(redis->Ask({"KEYS", "cluster:doomed:*"}).empty());
  CHECK(HttpGet(hub.probe_port(), "/healthz").code == 200);
  CHECK(hub.Phase("harbour") == "Connected");

  half_dead.Heal();
  trickling.Heal();
  hub.CreateSecret("ebbing-token", servers->token, cluster.ca_pem());
  hub.CreateSecret("leaver-token", cluster.CreateToken("leaver"), cluster.ca_pem());
  for (const char* name : {"ebbing", "leaver"}) CHECK(hub.WaitFor(name, "Connected", "healthy", seconds(20), false));
  for (const char* name : {"half-dead", "trickling"}) {
    CHECK(hub.WaitFor(name, "Connected", "healthy"));
    CHECK(hub.Object(name)["status"]["pods"].IntOr() == kPods);
    CHECK(StoredStatus(*redis, name)["health"].StringOr() == "healthy");
  }
  CHECK(hub.hub().running());
  CHECK(hub.hub().pid() == pid);

  // The token has expired for good, and a new hub finds data of long ago: its age is imitated, for three intervals are
  // 90 s.
  hub.hub().Kill9();
  hub.CreateSecret("ebbing-token", ebbing_token, cluster.ca_pem());
  const std::string long_ago = "2020-01-01T00:00:00Z";
  hub.api().Patch(
      fmt::format("/apis/clusterpulse.io/v1alpha1/namespaces/{}/clusterconnections/ebbing/status", hub.ns()),
      fmt::format(R"({{"status":{{"lastSyncTime":"{}"}}}})", long_ago));
  REQUIRE(LastSync(hub, "ebbing") == long_ago);
  hub.StartHub();
  REQUIRE(hub.WaitFor("ebbing", "Error", "unhealthy", seconds(20), false));
  CHECK(HubFixture::Condition(hub.Object("ebbing"), "DataFresh", "status") == "False");
  CHECK(HubFixture::Condition(hub.Object("ebbing"), "DataFresh", "reason") == "StaleData");
  CHECK(LastSync(hub, "ebbing") == long_ago);
  hub.CreateSecret("ebbing-token", servers->token, cluster.ca_pem());
  CHECK(hub.WaitFor("ebbing", "Connected", "healthy", seconds(20), false));
  CHECK(HubFixture::Condition(hub.Object("ebbing"), "DataFresh", "status") == "True");
}

}  // namespace
}  // namespace clusterpulse::testing
