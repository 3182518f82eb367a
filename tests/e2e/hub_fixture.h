#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/json/value.h"
#include "tests/support/http_get.h"
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
    bool ingester_tls = false;  // with a certificate of ingester_ca()
    // Another replica of that hub: its namespace and objects, which end with it.
    HubFixture* replica_of = nullptr;
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
  bool InstallDefinitions();
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
  // A cluster in push mode; without `secret` the hub has no credentials of it.
  void ConnectPush(const std::string& name, const std::string& secret = "no-credentials",
                   const std::string& extra_spec = "");
  // The token the hub made for the cluster's collector, once it is there; not `old`.
  std::string CollectorToken(const std::string& name, const std::string& old = "");
  void SyncNow(const std::string& name);
  json::Value Object(const std::string& name);  // the ClusterConnection; null when absent
  std::string Phase(const std::string& name) { return std::string(Object(name)["status"]["phase"].StringOr()); }
  std::string Health(const std::string& name) { return std::string(Object(name)["status"]["health"].StringOr()); }
  // Waits until the object says so, asking for a pass when `sync`; prints the object when it never does.
  bool WaitFor(const std::string& name, const std::string& phase, const std::string& health,
               std::chrono::seconds limit = std::chrono::seconds(45), bool sync = true);

  // Waits until `holds` for the object; prints the object when it never does.
  bool WaitUntil(const std::string& name, std::chrono::milliseconds limit,
                 const std::function<bool(const json::Value& object)>& holds);
  // ... until the status says that a collector is connected, or that none is.
  bool WaitForCollector(const std::string& name, bool connected,
                        std::chrono::milliseconds limit = std::chrono::seconds(20));

  // What a condition of the object says; empty when it has none of this type.
  static std::string Condition(const json::Value& object, std::string_view type, std::string_view member);

  // Sum of the hub's series `clusterpulse_hub_<name>` with all of these labels (`verb="watch"`).
  double Metric(const std::string& name, const std::vector<std::string>& labels) const {
    return MetricAt(metrics_port_, "clusterpulse_hub_" + name, labels);
  }
  static double MetricAt(int port, const std::string& name, const std::vector<std::string>& labels);
  int metrics_port() const { return metrics_port_; }
  int probe_port() const { return probe_port_; }
  int ingester_port() const { return ingester_port_; }
  // PEM file; empty: the ingester speaks no TLS.
  std::string ingester_ca() const { return options_.ingester_tls ? servers_.env->tls_dir() + "/ca.crt" : ""; }
  // Gives the ingester another certificate, as a Secret's volume does; NAME.crt and NAME.key of the test's CA.
  void UseCertificate(const std::string& name);

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

// What redis-cli answers, as JSON; null when it is none.
json::Value AskJson(const RedisServer& redis, std::vector<std::string> args);

}  // namespace clusterpulse::testing
