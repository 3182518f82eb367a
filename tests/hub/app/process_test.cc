#include "tests/support/process.h"

#include <csignal>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "tests/support/http_get.h"

// The built program as the kubelet and an operator see it. There is no API server and no Redis: both are waited for.
namespace clusterpulse::testing {
namespace {

using namespace std::chrono_literals;

struct Hub {
  TempDir dir;
  int probe_port = FreePort(), metrics_port = FreePort();
  std::optional<ChildProcess> process;

  Hub() {
    WriteFile(dir.File("kubeconfig"),
              "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
              "contexts: [{name: c, context: {cluster: c, user: u}}]\n"
              "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:" +
                  std::to_string(FreePort()) + "'}}]\nusers: [{name: u, user: {token: hunter2}}]\n");
  }
  void Start(std::vector<std::string> more = {}, std::map<std::string, std::string> env = {}) {
    std::vector<std::string> argv = {BinDir() + "/clusterpulse-hub", "--kubeconfig=" + dir.File("kubeconfig"),
                                     "--health-probe-bind-address=127.0.0.1:" + std::to_string(probe_port),
                                     "--metrics-bind-address=127.0.0.1:" + std::to_string(metrics_port),
                                     "--ingester-port=" + std::to_string(FreePort())};
    argv.insert(argv.end(), more.begin(), more.end());
    auto started = ChildProcess::Start({.argv = std::move(argv), .env = std::move(env), .output = dir.File("log")});
    REQUIRE(started.ok());
    process = *std::move(started);
  }
  bool WaitAlive() {
    return Eventually(20s, [this] { return HttpGet(probe_port, "/healthz").code == 200; });
  }
  std::string Log() { return ReadFile(dir.File("log")); }
};

TEST_CASE("with nothing to reach the hub is alive and not ready, and ends with 0 on SIGTERM and SIGINT") {
  for (const int signal : {SIGTERM, SIGINT}) {
    Hub hub;
    hub.Start({},
              {{"REDIS_HOST", "127.0.0.1"}, {"REDIS_PORT", std::to_string(FreePort())}, {"REDIS_PASSWORD", "hunter2"}});
    REQUIRE(hub.WaitAlive());
    CHECK(Eventually(20s, [&] {
      const auto [code, body] = HttpGet(hub.probe_port, "/readyz");
      return code == 503 && body.find("[-] store: UNAVAILABLE") != std::string::npos &&
             body.find("[-] clusterconnections: UNAVAILABLE") != std::string::npos;
    }));
    CHECK(HttpGet(hub.probe_port, "/healthz").code == 200);
    CHECK(HttpGet(hub.metrics_port, "/metrics").body.find("process_open_fds") != std::string::npos);
    hub.process->Signal(signal);
    CHECK(hub.process->Wait(20s) == 0);
    const std::string log = hub.Log();
    CAPTURE(log);
    CHECK(log.find("clusterpulse-hub starts") != std::string::npos);
    CHECK(log.find("clusterpulse-hub starts") < log.find('\n'));
    CHECK(log.find("\"redis-host\":\"127.0.0.1\"") < log.find('\n'));
    CHECK(log.find("hunter2") == std::string::npos);
  }
}

TEST_CASE("a data directory belongs to one process at a time") {
  Hub first;
  TempDir data;
  first.Start({}, {{"DATA_DIR", data.path()}});
  REQUIRE(first.WaitAlive());
  Hub second;
  second.Start({}, {{"DATA_DIR", data.path()}});
  CHECK(second.process->Wait(20s) == 1);
  CHECK(second.Log().find("FAILED_PRECONDITION: state store: ") != std::string::npos);
  CHECK(first.process->Stop() == 0);
  // What it left behind does not stand in the way of the next one, even after a kill.
  second.Start({}, {{"DATA_DIR", data.path()}});
  REQUIRE(second.WaitAlive());
  second.process->Kill9();
  second.Start({}, {{"DATA_DIR", data.path()}});
  REQUIRE(second.WaitAlive());
}

TEST_CASE("bad configuration ends the start with one line and code 2") {
  Hub hub;
  hub.Start({}, {{"CACHE_TTL", "ten minutes"}});
  CHECK(hub.process->Wait(20s) == 2);
  CHECK(hub.Log() ==
        "clusterpulse-hub: CACHE_TTL=\"ten minutes\": allowed is a whole number of seconds from 60 to 2592000\n");
}

TEST_CASE("a second signal during the stop ends the process at once with code 1") {
  // A frozen process gets both together when it goes on, so the second surely comes before the stop is done.
  Hub hub;
  hub.Start();
  REQUIRE(hub.WaitAlive());
  hub.process->Signal(SIGSTOP);
  hub.process->Signal(SIGTERM);
  hub.process->Signal(SIGINT);
  hub.process->Signal(SIGCONT);
  CHECK(hub.process->Wait(20s) == 1);
  CHECK(hub.Log().find("a second signal came during the stop") != std::string::npos);
}

}  // namespace
}  // namespace clusterpulse::testing
