#include "tests/support/process.h"

#include <algorithm>
#include <csignal>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

#include "collector/link/history_part.h"
#include "common/kube/http_kube_api.h"
#include "common/survey/survey.h"
#include "tests/collector/link/test_hub.h"
#include "tests/common/http/testing/test_certs.h"
#include "tests/kubesim/kubesim.h"
#include "tests/support/http_get.h"

// The built program as the kubelet and a hub see it: a simulated cluster over HTTPS, a hub over gRPC with TLS.
namespace clusterpulse::testing {
namespace {

using namespace std::chrono_literals;
using Seen = link::TestHub::Seen;

struct Collector {
  TempDir dir;
  std::unique_ptr<kubesim::SimCluster> sim;
  int probe_port = FreePort(), metrics_port = FreePort();
  std::optional<ChildProcess> process;

  Collector() {
    auto made = kubesim::SimCluster::Create({.fleet = kubesim::FleetOptions{.nodes = 4}});
    REQUIRE(made.ok());
    sim = *std::move(made);
    WriteFile(dir.File("kubeconfig"), sim->Kubeconfig());
    WriteFile(dir.File("token"), "hunter2\n");
  }
  void Start(std::map<std::string, std::string> env = {}) {
    env.try_emplace("CLUSTER_NAME", "edge-1");
    env.try_emplace("COLLECTOR_TOKEN_FILE", dir.File("token"));
    env.try_emplace("INGESTER_ADDRESS", "127.0.0.1:1");
    auto started =
        ChildProcess::Start({.argv = {BinDir() + "/clusterpulse-collector", "--kubeconfig=" + dir.File("kubeconfig"),
                                      "--health-probe-bind-address=127.0.0.1:" + std::to_string(probe_port),
                                      "--metrics-bind-address=127.0.0.1:" + std::to_string(metrics_port)},
                             .env = std::move(env),
                             .output = dir.File("log")});
    REQUIRE(started.ok());
    process = *std::move(started);
  }
  bool WaitReady() {
    return Eventually(20s, [this] { return HttpGet(probe_port, "/readyz").code == 200; });
  }
  std::string Log() { return ReadFile(dir.File("log")); }
};

bool IsThere(const Seen& seen) {
  bool nodes = false, info = false;
  for (const model::Batch& batch : seen.batches) {
    nodes = nodes || batch.snapshot.nodes.has_value();
    info = info || batch.snapshot.info.has_value();
  }
  return nodes && info;
}

TEST_CASE("cluster, collector and hub: the hub gets the cluster over TLS, and a change within a second") {
  const http::KeyPair ca = http::MakeCa("hub-ca");
  link::TestHub hub({.tls = http::MakeCert(ca, {.names = {"IP:127.0.0.1"}})});
  Collector collector;
  WriteFile(collector.dir.File("ca.pem"), ca.cert_pem);
  collector.Start({{"INGESTER_ADDRESS", hub.address()},
                   {"INGESTER_TLS_ENABLED", "true"},
                   {"INGESTER_TLS_CA", collector.dir.File("ca.pem")}});
  const bool there = hub.WaitFor(IsThere);
  INFO(collector.Log());
  REQUIRE(there);
  CHECK(hub.seen().authorizations.at(0) == "Bearer hunter2");
  CHECK(hub.seen().registrations.at(0).cluster == "edge-1");

  const auto began = std::chrono::steady_clock::now();
  REQUIRE(kubesim::SetNodeReady(collector.sim->store(), "node-2", false).ok());
  CHECK(hub.WaitFor([](const Seen& seen) {
    const auto& nodes = seen.batches.back().snapshot.nodes;
    return nodes && nodes->at(1).status == model::NodeStatus::kNotReady;
  }));
  CHECK(std::chrono::steady_clock::now() - began < 3s);

  REQUIRE(collector.WaitReady());
  const std::string ready = HttpGet(collector.probe_port, "/readyz").body;
  CHECK(ready.find("[i] hub: streaming since ") != std::string::npos);
  CHECK(HttpGet(collector.probe_port, "/healthz").code == 200);
  const std::string metrics = HttpGet(collector.metrics_port, "/metrics").body;
  CHECK(metrics.find("clusterpulse_collector_connected 1") != std::string::npos);
  CHECK(metrics.find("clusterpulse_collector_watch_objects{resource=\"nodes\"} 4") != std::string::npos);

  collector.process->Signal(SIGTERM);
  CHECK(collector.process->Wait(10s) == 0);
  CHECK(hub.WaitFor([](const Seen& seen) { return seen.open == 0; }));
  CHECK(hub.seen().half_closed == 1);
  const std::string log = collector.Log();
  CAPTURE(log);
  CHECK(log.find("clusterpulse-collector starts") < log.find('\n'));
  CHECK(log.find("\"cluster-name\":\"edge-1\"") < log.find('\n'));
  CHECK(log.find("hunter2") == std::string::npos);
}

TEST_CASE("without a hub and without a cluster it lives, says so, and ends with 0") {
  for (const int signal : {SIGTERM, SIGINT}) {
    Collector collector;
    collector.sim->Stop();
    collector.Start();
    REQUIRE(Eventually(20s, [&] { return HttpGet(collector.probe_port, "/healthz").code == 200; }));
    CHECK(Eventually(20s, [&] {
      const auto [code, body] = HttpGet(collector.probe_port, "/readyz");
      return code == 503 && body.find("[-] cluster: UNAVAILABLE") == 0 && body.find("[i] hub: ") != std::string::npos &&
             body.find("UNAVAILABLE: ", 30) != std::string::npos;
    }));
    CHECK(HttpGet(collector.probe_port, "/healthz").code == 200);
    collector.process->Signal(signal);
    CHECK(collector.process->Wait(10s) == 0);
  }
}

TEST_CASE("bad configuration ends the start with one line and code 2") {
  Collector collector;
  collector.Start({{"COLLECT_INTERVAL", "1m"}});
  CHECK(collector.process->Wait(20s) == 2);
  CHECK(collector.Log() ==
        "clusterpulse-collector: COLLECT_INTERVAL=\"1m\": allowed is a whole number of seconds from 5 to 86400\n");
}

TEST_CASE("a kubeconfig that is not there ends the start with code 1") {
  Collector collector;
  WriteFile(collector.dir.File("kubeconfig"), "apiVersion: v1\n");
  collector.Start();
  CHECK(collector.process->Wait(20s) == 1);
  CHECK(collector.Log().find("clusterpulse-collector failed") != std::string::npos);
}

TEST_CASE("a token in the clear is warned of once, without showing it") {
  link::TestHub hub({});
  Collector collector;
  collector.Start({{"INGESTER_ADDRESS", hub.address()}});
  CHECK(hub.WaitFor(IsThere));
  CHECK(collector.process->Stop() == 0);
  const std::string log = collector.Log();
  const auto first = log.find("the token is sent without TLS");
  CHECK(first != std::string::npos);
  CHECK(log.find("the token is sent without TLS", first + 1) == std::string::npos);
  CHECK(log.find("hunter2") == std::string::npos);
}

// By number, each batch as it came first; false when a number came with two contents.
bool CollectByNumber(const Seen& seen, std::map<std::uint64_t, model::Batch>& batches) {
  for (const model::Batch& batch : seen.batches) {
    const auto [it, is_new] = batches.try_emplace(batch.seq, batch);
    if (it->second.id != batch.id || it->second.collected_at != batch.collected_at) return false;
  }
  return true;
}

TEST_CASE("what was not durable when the process was killed comes again, under its number, and only that") {
  link::TestHub forgetful({.makes_durable = false});
  Collector collector;
  const std::map<std::string, std::string> env = {{"SPOOL_DIR", collector.dir.File("data/spool")}};
  const auto start = [&](const link::TestHub& hub) {
    std::map<std::string, std::string> all = env;
    all["INGESTER_ADDRESS"] = hub.address();
    collector.Start(all);
  };
  start(forgetful);
  REQUIRE(forgetful.WaitFor(IsThere));
  REQUIRE(kubesim::SetNodeReady(collector.sim->store(), "node-2", false).ok());
  REQUIRE(forgetful.WaitFor([](const Seen& seen) {
    const auto& nodes = seen.batches.back().snapshot.nodes;
    return nodes && nodes->at(1).status == model::NodeStatus::kNotReady;
  }));
  collector.process->Kill9();
  const Seen first = forgetful.seen();
  std::map<std::uint64_t, model::Batch> before;
  REQUIRE(CollectByNumber(first, before));
  REQUIRE(before.size() >= 2);
  const std::uint64_t last = before.rbegin()->first;
  CHECK(before.size() == last);

  link::TestHub durable({});
  start(durable);
  const bool came_again = durable.WaitFor([&](const Seen& seen) {
    std::set<std::uint64_t> history;
    bool has_state = false;
    for (const model::Batch& batch : seen.batches) {
      if (batch.history_only) history.insert(batch.seq);
      has_state = has_state || (!batch.history_only && batch.seq > last);
    }
    return has_state && history.size() >= last;
  });
  INFO(collector.Log());
  REQUIRE(came_again);
  CHECK(durable.seen().registrations.at(0).instance == first.registrations.at(0).instance);
  CHECK(durable.seen().registrations.at(0).held.first == 1);
  std::map<std::uint64_t, model::Batch> after;
  REQUIRE(CollectByNumber(durable.seen(), after));
  for (const auto& [seq, batch] : before) {
    CAPTURE(seq);
    REQUIRE(after.count(seq) == 1);
    CHECK(after[seq].history_only);
    CHECK(after[seq].id == batch.id);
    CHECK(after[seq].collected_at == batch.collected_at);
    CHECK(after[seq].snapshot == link::HistoryPart(batch).snapshot);
  }
  REQUIRE(Eventually(20s, [&] {
    return HttpGet(collector.metrics_port, "/metrics").body.find("clusterpulse_collector_buffered_batches 0\n") !=
           std::string::npos;
  }));
  CHECK(HttpGet(collector.probe_port, "/readyz").body.find("[i] spool: 0 batches wait in ") != std::string::npos);
  collector.process->Kill9();

  link::TestHub third({});
  start(third);
  REQUIRE(third.WaitFor(IsThere));
  const model::Registration registration = third.seen().registrations.at(0);
  CHECK(registration.durable_low >= last);
  CHECK((registration.held == model::SeqRange() || registration.held.first > last));  // of this process at most
  for (const model::Batch& batch : third.seen().batches) CHECK(batch.seq > after.rbegin()->first);
  CHECK(collector.process->Stop() == 0);
}

TEST_CASE("a stop waits for nothing that is on disk, and loses nothing") {
  link::TestHub hub({.makes_durable = false});
  Collector collector;
  std::map<std::string, std::string> env = {{"DATA_DIR", collector.dir.File("data")}};
  collector.Start(env);  // without a hub
  REQUIRE(Eventually(20s, [&] {
    return HttpGet(collector.metrics_port, "/metrics").body.find("clusterpulse_collector_spooled_batches 1\n") !=
           std::string::npos;
  }));
  CHECK(collector.process->Stop() == 0);
  env["INGESTER_ADDRESS"] = hub.address();
  collector.Start(env);
  CHECK(hub.WaitFor([](const Seen& seen) {
    return std::any_of(seen.batches.begin(), seen.batches.end(),
                       [](const model::Batch& batch) { return batch.seq == 1 && batch.history_only; });
  }));
  CHECK(collector.process->Stop() == 0);
  CHECK(ReadFile(collector.dir.File("log")).find("batches are kept in memory only") == std::string::npos);
}

TEST_CASE("a spool that cannot be used is said and survived; without one that is said as well") {
  link::TestHub hub({});
  Collector collector;
  WriteFile(collector.dir.File("file"), "in the way");
  collector.Start({{"INGESTER_ADDRESS", hub.address()}, {"SPOOL_DIR", collector.dir.File("file/spool")}});
  CHECK(hub.WaitFor(IsThere));
  CHECK(HttpGet(collector.probe_port, "/readyz").body.find("[i] spool: batches are kept in memory only; ") !=
        std::string::npos);
  CHECK(HttpGet(collector.metrics_port, "/metrics").body.find("clusterpulse_collector_memory_only 1\n") !=
        std::string::npos);
  CHECK(collector.process->Stop() == 0);
  CHECK(collector.Log().find("the spool does not work: batches are kept in memory only") != std::string::npos);
  collector.Start({{"INGESTER_ADDRESS", hub.address()}});
  REQUIRE(collector.WaitReady());
  CHECK(collector.Log().find("batches are kept in memory only: a restart loses") != std::string::npos);
  CHECK(collector.process->Stop() == 0);
}

TEST_CASE("an upstream hub is served as well") {
  link::TestHub hub({.upstream = true});
  Collector collector;
  collector.Start({{"INGESTER_ADDRESS", hub.address()}, {"COLLECT_INTERVAL", "5"}});
  CHECK(hub.WaitFor(IsThere));
  CHECK(collector.process->Stop() == 0);
}

TEST_CASE("a second signal during the stop ends the process at once with code 1") {
  // A frozen process gets both together when it goes on, so the second surely comes before the stop is done.
  Collector collector;
  collector.Start();
  REQUIRE(Eventually(20s, [&] { return HttpGet(collector.probe_port, "/healthz").code == 200; }));
  collector.process->Signal(SIGSTOP);
  collector.process->Signal(SIGTERM);
  collector.process->Signal(SIGINT);
  collector.process->Signal(SIGCONT);
  CHECK(collector.process->Wait(20s) == 1);
  CHECK(collector.Log().find("a second signal came during the stop") != std::string::npos);
}

}  // namespace
}  // namespace clusterpulse::testing
