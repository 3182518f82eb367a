#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/json/value.h"
#include "tests/support/kube_api_server.h"
#include "tests/support/process.h"
#include "tests/support/redis_server.h"
#include "tests/support/tcp_proxy.h"

// Declare `servers` and `redis` for a test case; it ends here when the real parts are not to be had.
#define REQUIRE_REAL_SERVERS()                                      \
  HubFixture::Servers* const servers = HubFixture::SharedServers(); \
  if (servers == nullptr) return
#define REQUIRE_REAL_REDIS(options)                                       \
  const std::unique_ptr<RedisServer> redis = RedisServer::Start(options); \
  if (redis == nullptr) return

namespace clusterpulse::testing {

// The real hub against real API servers, with the verbs of an operator. One hub API server and one managed one per test
// program (starting them takes 10 s), a fresh namespace per fixture.
class HubFixture {
 public:
  struct Options {
    RedisServer* redis = nullptr;  // null: embedded store
    std::vector<std::string> flags;
    // Of the hub cluster; null: the shared one.
    KubeTestEnv::Server* api = nullptr;
    // In front of it, for the hub itself; kubectl and subcommands go straight to the server.
    TcpProxy* proxy = nullptr;
  };
  // The programs' servers, started on first use; null when the real parts are not to be had.
  struct Servers {
    std::unique_ptr<KubeTestEnv> env;
    std::unique_ptr<KubeTestEnv::Server> hub;
    std::unique_ptr<KubeTestEnv::Server> managed;
    std::string token;  // of a reader on `managed`
  };
  static Servers* SharedServers();

  HubFixture(Servers& servers, Options options);
  ~HubFixture();

  void StartHub();
  // Installs the CRD, connects the shared managed cluster as "harbour" (Secret harbour-token), starts the hub and waits
  // until the cluster is healthy.
  bool StartConnected();
  ChildProcess& hub() { return *hub_; }
  std::string HubLog() const { return ReadFile(log_); }
  CommandResult Hub(std::vector<std::string> args);  // runs a subcommand to its end

  // kubectl on the hub cluster, in this fixture's namespace.
  CommandResult Kubectl(std::vector<std::string> args);
  CommandResult Apply(const std::string& yaml);

  void CreateSecret(const std::string& name, const std::string& token, const std::string& ca_pem);
  void Connect(const std::string& name, const std::string& endpoint, const std::string& secret,
               const std::string& extra_spec = "");
  void SyncNow(const std::string& name);
  json::Value Object(const std::string& name);  // the ClusterConnection; null when absent
  std::string Phase(const std::string& name) { return std::string(Object(name)["status"]["phase"].StringOr()); }
  std::string Health(const std::string& name) { return std::string(Object(name)["status"]["health"].StringOr()); }
  // Waits until the object says so, asking for a pass when `sync`; prints the object when it never does.
  bool WaitFor(const std::string& name, const std::string& phase, const std::string& health,
               std::chrono::seconds limit = std::chrono::seconds(45), bool sync = true);

  // What a condition of the object says; empty when it has none of this type.
  static std::string Condition(const json::Value& object, std::string_view type, std::string_view member);

  // Sum of the hub's series `clusterpulse_hub_<name>` with all of these labels (`verb="watch"`).
  double Metric(const std::string& name, const std::vector<std::string>& labels) const;
  int metrics_port() const { return metrics_port_; }
  int probe_port() const { return probe_port_; }
  // HTTP status of a GET, and the body; 0 when nobody answers.
  static std::pair<int, std::string> HttpGet(int port, const std::string& path);

  const std::string& ns() const { return ns_; }
  Servers& servers() { return servers_; }
  KubeTestEnv::Server& api() { return api_; }

 private:
  std::map<std::string, std::string> Environment() const;

  Servers& servers_;
  const Options options_;
  KubeTestEnv::Server& api_;
  const std::string ns_;
  TempDir dir_;
  std::string log_;
  int metrics_port_ = 0, probe_port_ = 0, ingester_port_ = 0;
  int syncs_ = 0;
  std::optional<ChildProcess> hub_;
};

}  // namespace clusterpulse::testing
