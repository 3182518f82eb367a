#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/fleetload/fleet.h"
#include "tests/support/process.h"
#include "tests/support/redis_server.h"

namespace clusterpulse::bench {

// What benchmarks of push mode have in common: the real hub with TLS, a real Redis beside it, kubesim as its API server
// and the clusters' objects with their tokens. Everything ends with it. Confined to one thread. Whatever does not work
// is a Failure.
class PushRig {
 public:
  struct Options {
    int clusters = 1;  // ClusterConnections in push mode: cluster-0001, ...
    std::chrono::seconds interval{30};
    std::vector<std::string> kubesim = {"--clusters", "0"};  // more arguments
    std::vector<std::string> redis_config;
    std::map<std::string, std::string> hub_env{};  // more of its environment
  };
  // Null: no Redis here (77 is then the exit code that says "skipped").
  static std::unique_ptr<PushRig> Start(Options options);
  ~PushRig();

  // On the same port.
  void StopHub();
  void KillHub();
  // Returns once the hub's port takes connections.
  void StartHub();
  int hub_pid() const { return hub_->pid(); }
  testing::RedisServer& redis() { return *redis_; }

  // Collectors that reach the hub.
  fleetload::FleetOptions FleetOptions() const;
  const std::map<std::string, std::string>& tokens() const { return tokens_; }
  // "hub.log", "ca.pem", "cert.pem", "key.pem", "NAME.kubeconfig".
  std::string File(const std::string& name) const { return dir_.File(name); }
  // Of kubesim's control port: http://127.0.0.1:PORT
  const std::string& control_url() const { return control_url_; }

 private:
  explicit PushRig(Options options);
  void StartKubesim();
  void MakeClusters();

  const Options options_;
  const testing::TempDir dir_;
  const int port_;
  std::unique_ptr<testing::RedisServer> redis_;
  std::optional<testing::ChildProcess> kubesim_, hub_;
  std::string control_url_;
  std::map<std::string, std::string> tokens_;
};

// plain_server with the certificate of a rig.
class PlainServer {
 public:
  explicit PlainServer(const PushRig& rig);
  int pid() const { return process_->pid(); }
  // As those of the rig, but to this server.
  fleetload::FleetOptions FleetOptions() const;

 private:
  const PushRig& rig_;
  const testing::TempDir dir_;
  std::optional<testing::ChildProcess> process_;
  int port_ = 0;
};

// Why a benchmark cannot go on. An exception, so that the programs it started end with it.
class Failure : public std::runtime_error {
  using std::runtime_error::runtime_error;
};
[[noreturn]] void Fail(const std::string& what, const std::string& log_file = "");

// The exit code of `body`; 1 after a Failure, which is printed.
int RunBenchmark(const std::function<int()>& body);

}  // namespace clusterpulse::bench
