#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "common/base/mutex.h"

namespace clusterpulse::testing {

// A TCP relay on 127.0.0.1 in front of one server there, or of several that take new connections in turn, which a test
// makes misbehave. It carries bytes and understands none of them, so TLS passes through unbroken.
//
//   TcpProxy proxy(server.port());
//   proxy.Set({.hold_after = 65536});  // freezes every longer answer in its middle
//   proxy.Heal();                      // what was held flows on
//
// One thread serves all connections. A connection whose server closes is closed once its client has all; half-closed
// connections are not imitated. Set and the counters are thread-safe.
class TcpProxy {
 public:
  struct Faults {
    std::chrono::milliseconds max_age{0};  // older connections are reset; zero: none is
    bool refuse = false;                   // all connections are reset, new ones at once
    bool freeze = false;                   // nothing passes either way, as on a cut line; connections stay open
    // What each connection gets of the server, counted from Set or, when later, from its begin; all when not set. The
    // rest is held back while the connection stays open.
    std::optional<std::size_t> hold_after, bytes_per_second;
  };

  explicit TcpProxy(int server_port) : TcpProxy(std::vector<int>{server_port}) {}
  explicit TcpProxy(std::vector<int> server_ports);
  ~TcpProxy();
  TcpProxy(const TcpProxy&) = delete;
  TcpProxy& operator=(const TcpProxy&) = delete;

  int port() const { return port_; }
  std::string url() const { return "https://localhost:" + std::to_string(port_); }
  void Set(Faults faults);  // in place of those before
  void Heal() { Set({}); }

  int resets() const { return resets_; }    // connections reset because of a fault
  int holding() const { return holding_; }  // connections with bytes that a fault holds back

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Connection {
    int client = -1, server = -1;
    std::string to_client, to_server;  // read and not yet written
    bool server_ended = false;
    Time begin;
    Time counted_from;
    std::size_t counted = 0;  // bytes written to the client since then
  };

  void Run();
  void Accept();
  // To the server whose turn it is, or the next that listens. -1: none does.
  int Connect();
  // False: the connection is over and closed.
  bool Relay(Connection& connection, const Faults& faults, Time now);
  // How many bytes the client may get now.
  static std::size_t Allowance(const Connection& connection, const Faults& faults, Time now);
  void Close(Connection& connection, bool reset);

  // Constant after construction.
  const std::vector<int> server_ports_;
  int port_ = 0, listener_ = -1, wake_ = -1;

  // Of the thread.
  std::vector<Connection> connections_;
  std::size_t turn_ = 0;  // of the servers

  std::atomic<bool> stop_ = false;
  std::atomic<int> resets_ = 0, holding_ = 0;
  base::Mutex mu_;
  Faults faults_ ABSL_GUARDED_BY(mu_);
  std::uint64_t faults_set_ ABSL_GUARDED_BY(mu_) = 0;  // how often

  std::jthread thread_;  // last: uses the others
};

}  // namespace clusterpulse::testing
