// What a hub sent to Redis over a line that was cut, and gave up, is not carried out when the line is back.
#include <fstream>
#include <sstream>

#include <catch2/catch.hpp>

#include "common/base/status.h"
#include "hub/store/redis_store.h"
#include "tests/support/net_namespaces.h"
#include "tests/support/process.h"
#include "tests/support/redis_server.h"

namespace clusterpulse::testing {
namespace {

using namespace std::chrono_literals;

// Whether the system still has something to send over a connection of the machine that the calling thread is on.
bool IsSending() {
  std::ifstream table("/proc/thread-self/net/tcp");
  std::string line;
  std::getline(table, line);  // names of columns
  while (std::getline(table, line)) {
    std::istringstream columns(line);
    std::string number, local, remote, state, queues;
    columns >> number >> local >> remote >> state >> queues;  // "tx:rx", in hex
    if (!queues.starts_with("00000000:")) return true;
  }
  return false;
}

TEST_CASE("a write that ran out of time is not carried out after a later one") {
  const auto net = NetNamespaces::Create({"hub", "redis"});
  if (net == nullptr) return;
  const auto redis = net->In("redis", [] {
    return RedisServer::Start({.config = {"bind 0.0.0.0", "protected-mode no"}});
  });
  if (redis == nullptr) return;
  const NetNamespaces::Scope on_hub = net->Enter("hub");
  store::RedisStore store({.address = {net->Address("redis"), static_cast<std::uint16_t>(redis->port())},
                           .io_timeout = 300ms,
                           .backoff = {.initial = 20ms, .max = 20ms}});
  const auto put = [&store](const std::string& text) { return store.Commit({store::SetString{"k", text, {}}}).ok(); };
  REQUIRE(put("first"));
  net->Cut({{"hub", "redis"}});
  REQUIRE_FALSE(put("late"));
  net->HealAll();
  REQUIRE(Eventually(30s, [&] { return put("last"); }));
  REQUIRE(Eventually(60s, [] { return !IsSending(); }));
  CHECK(store.Get("k")->value() == "last");
}

}  // namespace
}  // namespace clusterpulse::testing
