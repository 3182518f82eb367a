#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "common/base/mutex.h"

namespace clusterpulse::testing {

// A TCP relay on 127.0.0.1 like TcpProxy, whose faults are drawn from a seed: it cuts what passes into slices down to
// single bytes, delays each, so that what one connection sent first may arrive after what another sent later, stalls
// one direction or both, and resets connections, at times several at once. It carries bytes and understands none.
//
//   FaultProxy proxy({server.port()}, 42);
//   proxy.Set({.largest_slice = 7, .longest_delay = 20ms, .least_life = 1000, .most_life = 100000});
//   ... traffic ...
//   proxy.Heal();  // what is delayed or stalled flows on; what was reset stays so
//
// Deterministic as far as TCP allows: the n-th connection's slices, delays, stalls and life are a function of the seed,
// n, the direction and the position in the stream of bytes (Plan), whatever the timing. Which bytes of the other
// connections are under way when a reset spreads to them is not.
//
// Within a connection bytes keep their order. One thread serves all. Set, Heal and the counters are thread-safe.
class FaultProxy {
 public:
  struct Faults {
    std::size_t largest_slice = 0;               // of 1 to so many bytes; 0: whatever comes at once
    std::chrono::milliseconds longest_delay{0};  // of each slice, from none to so long
    double delayed = 1;                          // the share of slices that are delayed at all
    // A connection is reset when so many bytes of a direction went through, drawn between the two; 0, 0: never.
    std::uint64_t least_life = 0, most_life = 0;
    double spread = 0;  // the chance of each other connection to be reset with it
    // The share of slices before which a direction carries nothing for so long, while the connection stays open.
    double stalled = 0;
    std::chrono::milliseconds stall{0};
  };

  // What happens to one direction of one connection.
  class Plan {
   public:
    Plan(std::uint64_t seed, std::uint64_t connection, bool to_server, const Faults& faults);
    struct Slice {
      std::size_t bytes = 0;  // at most; 0: what comes at once
      std::chrono::milliseconds delay{0};
      bool operator==(const Slice&) const = default;
    };
    Slice Next();
    // Bytes until it is reset; nullopt: never.
    std::optional<std::uint64_t> life() const { return life_; }

   private:
    double Uniform() { return static_cast<double>(random_() >> 11) * 0x1.0p-53; }

    std::mt19937_64 random_;
    Faults faults_;
    std::optional<std::uint64_t> life_;
  };

  // New connections go to the ports in turn.
  FaultProxy(std::vector<int> server_ports, std::uint64_t seed);
  ~FaultProxy();
  FaultProxy(const FaultProxy&) = delete;
  FaultProxy& operator=(const FaultProxy&) = delete;

  int port() const { return port_; }
  // For connections from now on, and for what open ones carry from now on; each counts its life anew.
  void Set(Faults faults);
  void Heal() { Set({}); }

  int connections() const { return opened_; }  // ever
  int resets() const { return resets_; }
  std::uint64_t slices() const { return slices_; }

 private:
  using Time = std::chrono::steady_clock::time_point;
  // Bytes that were read and are due at some time.
  struct Due {
    std::string bytes;
    Time at;
  };
  struct Direction {
    std::optional<Plan> plan;
    std::size_t left = 0;  // of the slice that has begun
    Plan::Slice slice;
    std::uint64_t passed = 0;
    std::string read;     // not yet cut
    std::deque<Due> due;  // cut
    std::size_t due_bytes = 0;
    Time last{};         // when the last of them is due: order is kept
    bool ended = false;  // its source sends nothing more
    bool passed_end = false;
  };
  struct Connection {
    int client = -1, server = -1;
    std::uint64_t number = 0;
    std::array<Direction, 2> ways;  // to the server, to the client
    bool is_over = false;
  };

  void Run();
  void Accept();
  bool Connect(int socket);
  void Relay(Connection& connection, Time now);
  // Reads, cuts and delays. False: broken.
  bool Read(Connection& connection, bool to_server, Time now);
  bool Write(Connection& connection, bool to_server, Time now);
  void Reset(Connection& connection);
  void Close(Connection& connection, bool reset);

  // Constant after construction.
  const std::vector<int> server_ports_;
  const std::uint64_t seed_;
  int port_ = 0, listener_ = -1, wake_ = -1;

  // Of the thread.
  std::vector<Connection> open_;
  std::size_t turn_ = 0;
  std::uint64_t last_number_ = 0;
  Faults in_force_;
  std::mt19937_64 spread_;

  std::atomic<bool> stop_ = false;
  std::atomic<int> opened_ = 0, resets_ = 0;
  std::atomic<std::uint64_t> slices_ = 0;
  base::Mutex mu_;
  Faults faults_ ABSL_GUARDED_BY(mu_);
  std::uint64_t faults_set_ ABSL_GUARDED_BY(mu_) = 0;  // how often

  std::jthread thread_;  // last: uses the others
};

}  // namespace clusterpulse::testing
