#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/process.h"

namespace clusterpulse::testing {

// A real redis-server (or sentinel) of the test's own on 127.0.0.1, killed with the test. Confined to one thread.
//
//   auto redis = RedisServer::Start({.aof = true});  // null: not to be had here, the reason was printed
//   redis->Kill9();
//   REQUIRE(redis->Restart());
class RedisServer {
 public:
  struct Options {
    bool aof = false;  // appendonly yes, synced with every write: what was answered survives Kill9
    // TLS with client certificates, and instead of the default user one called username() with the rights a hub needs
    // and no others.
    bool tls_and_acl = false;
    std::vector<std::string> config;  // more lines of redis.conf
    bool sentinel = false;            // runs as sentinel; `config` names the master
  };

  // Null when redis-server is not in PATH: the caller prints nothing more and returns, unless CLUSTERPULSE_REQUIRE_REAL
  // is set, in which case this aborts the test run. Waits until it answers.
  static std::unique_ptr<RedisServer> Start(Options options);
  static std::unique_ptr<RedisServer> Start() { return Start(Options()); }

  int port() const { return port_; }
  int pid() const { return process_->pid(); }
  std::string username() const { return options_.tls_and_acl ? "hub" : ""; }
  std::string password() const { return options_.tls_and_acl ? "correct horse battery staple" : ""; }
  std::string ca_file() const { return dir_.File("tls/ca.crt"); }
  std::string cert_file() const { return dir_.File("tls/client.crt"); }
  std::string key_file() const { return dir_.File("tls/client.key"); }
  std::string other_ca_file() const { return dir_.File("tls/other-ca.crt"); }

  bool IsRunning() { return process_->running(); }
  void Kill9();
  void Stop();    // SIGTERM and wait
  void Freeze();  // SIGSTOP: connections stay open and nothing answers
  void Resume();
  // On the same port and data after Kill9 or Stop. True once it answers.
  bool Restart();
  // redis-cli against this server as the configured user.
  CommandResult Cli(std::vector<std::string> args) const;
  // What it prints, without the last newline.
  std::string Ask(std::vector<std::string> args) const;
  // CPU time the process has used, user and system.
  std::chrono::microseconds CpuTime() const;

 private:
  explicit RedisServer(Options options);
  bool Launch();

  const Options options_;
  const int port_;
  TempDir dir_;
  std::optional<ChildProcess> process_;
};

}  // namespace clusterpulse::testing
