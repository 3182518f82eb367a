#include "tests/support/fault_proxy.h"

#include <algorithm>
#include <functional>
#include <map>

#include <catch2/catch.hpp>
#include <poll.h>

#include "common/base/thread.h"
#include "tests/support/loopback.h"

namespace clusterpulse::testing {
namespace {

using namespace std::chrono_literals;

constexpr int kLimitMs = 10000;

bool Readable(int fd) {
  pollfd waiting{fd, POLLIN, 0};
  return ::poll(&waiting, 1, kLimitMs) == 1;
}

// A server that sends back what it gets and ends when its client does; it remembers the order in which first bytes of
// connections came.
class EchoServer {
 public:
  EchoServer() {
    listener_ = ListenOnLoopback(port_);
    REQUIRE(listener_ >= 0);
    thread_ = base::StartThread("echo", [this] { Run(); });
  }
  ~EchoServer() {
    stop_ = true;
    ::close(ConnectToLoopback(port_));  // wakes it
    thread_.join();
    ::close(listener_);
  }
  int port() const { return port_; }
  std::string order() {
    base::MutexLock lock(mu_);
    return order_;
  }

 private:
  void Run() {
    std::map<int, bool> sockets;  // whether anything came
    while (!stop_) {
      std::vector<pollfd> polled{{listener_, POLLIN, 0}};
      for (const auto& [socket, spoke] : sockets) polled.push_back({socket, POLLIN, 0});
      ::poll(polled.data(), polled.size(), kLimitMs);
      for (const pollfd& p : polled) {
        if (p.revents == 0) continue;
        if (p.fd == listener_) {
          const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
          if (client >= 0) sockets[client] = false;
          continue;
        }
        char bytes[4096];
        const ssize_t n = ::recv(p.fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        if (n < 0 && WouldBlock()) continue;
        if (n <= 0 || ::send(p.fd, bytes, static_cast<std::size_t>(n), MSG_NOSIGNAL) != n) {
          ::close(p.fd);
          sockets.erase(p.fd);
          continue;
        }
        if (std::exchange(sockets[p.fd], true)) continue;
        base::MutexLock lock(mu_);
        order_ += bytes[0];
      }
    }
    for (const auto& [socket, spoke] : sockets) ::close(socket);
  }

  int port_ = 0, listener_ = -1;
  std::atomic<bool> stop_ = false;
  base::Mutex mu_;
  std::string order_ ABSL_GUARDED_BY(mu_);
  std::jthread thread_;
};

class Client {
 public:
  explicit Client(const FaultProxy& proxy) : socket_(ConnectToLoopback(proxy.port())) { REQUIRE(socket_ >= 0); }
  ~Client() { ::close(socket_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // False: the connection is broken.
  bool Send(const std::string& bytes) {
    return ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
  }
  void End() { ::shutdown(socket_, SHUT_WR); }
  // So many bytes, or fewer at the end or a reset.
  std::string Receive(std::size_t size) {
    std::string all;
    char bytes[4096];
    while (all.size() < size && Readable(socket_)) {
      const ssize_t n = ::recv(socket_, bytes, std::min(sizeof(bytes), size - all.size()), 0);
      was_reset_ = n < 0;
      if (n <= 0) break;
      all.append(bytes, static_cast<std::size_t>(n));
    }
    return all;
  }
  bool was_reset() const { return was_reset_; }

 private:
  const int socket_;
  bool was_reset_ = false;
};

std::string Pattern(std::size_t size) {
  std::string text(size, ' ');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + i * 7 % 26);
  return text;
}

}  // namespace

TEST_CASE("a plan is a function of seed, connection and direction") {
  const FaultProxy::Faults faults{.largest_slice = 100,
                                  .longest_delay = 50ms,
                                  .least_life = 10,
                                  .most_life = 5000,
                                  .stalled = 0.1,
                                  .stall = 1000ms};
  const auto slices = [&](std::uint64_t seed, std::uint64_t connection, bool to_server) {
    FaultProxy::Plan plan(seed, connection, to_server, faults);
    REQUIRE(plan.life().has_value());
    CHECK((*plan.life() >= 10 && *plan.life() <= 5000));
    std::vector<FaultProxy::Plan::Slice> all;
    for (int i = 0; i < 200; ++i) {
      all.push_back(plan.Next());
      CHECK((all.back().bytes >= 1 && all.back().bytes <= 100));
      CHECK((all.back().delay <= 50ms || (all.back().delay >= 1000ms && all.back().delay <= 1050ms)));
    }
    return all;
  };
  const auto first = slices(7, 3, true);
  CHECK(first == slices(7, 3, true));
  CHECK(first != slices(8, 3, true));
  CHECK(first != slices(7, 4, true));
  CHECK(first != slices(7, 3, false));
}

TEST_CASE("what passes is sliced and delayed, and complete") {
  struct Case {
    const char* name;
    FaultProxy::Faults faults;
    std::size_t size;
    std::uint64_t least_slices;
  };
  const std::vector<Case> cases{
      {"untouched", {}, 300'000, 2},
      {"single bytes", {.largest_slice = 1}, 3000, 6000},
      {"small slices, delayed", {.largest_slice = 500, .longest_delay = 3ms}, 20'000, 80},
      {"stalls", {.largest_slice = 1000, .stalled = 0.2, .stall = 5ms}, 20'000, 40},
  };
  EchoServer server;
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      FaultProxy proxy({server.port()}, 1);
      proxy.Set(c.faults);
      Client client(proxy);
      const std::string sent = Pattern(c.size);
      std::jthread writer = base::StartThread("writer", [&] {
        (void)client.Send(sent);  // what does not arrive is missed below
        client.End();
      });
      CHECK(client.Receive(sent.size()) == sent);
      CHECK(client.Receive(1).empty());  // the end came through
      CHECK_FALSE(client.was_reset());
      CHECK(proxy.slices() >= c.least_slices);
      CHECK(proxy.resets() == 0);
    }
  }
}

TEST_CASE("a connection is reset at the byte its seed says") {
  EchoServer server;
  const FaultProxy::Faults faults{.largest_slice = 10, .least_life = 100, .most_life = 2000};
  FaultProxy proxy({server.port()}, 5);
  proxy.Set(faults);
  for (std::uint64_t connection = 1; connection <= 3; ++connection) {
    CAPTURE(connection);
    const std::uint64_t to_server = *FaultProxy::Plan(5, connection, true, faults).life();
    const std::uint64_t to_client = *FaultProxy::Plan(5, connection, false, faults).life();
    Client client(proxy);
    // What comes back is what got there: whichever way dies first decides.
    std::uint64_t got = 0;
    while (got < 5000) {
      if (!client.Send("x")) break;
      const std::string back = client.Receive(1);
      if (back.empty()) break;
      ++got;
    }
    // The last byte before the reset may still arrive, or not.
    const std::uint64_t life = std::min(to_server, to_client);
    CHECK(got <= life);
    CHECK(got + 1 >= life);
    CHECK(proxy.resets() == static_cast<int>(connection));
  }
}

TEST_CASE("a reset spreads to the others") {
  EchoServer server;
  FaultProxy proxy({server.port()}, 9);
  Client a(proxy), b(proxy), c(proxy);
  for (Client* client : {&a, &b, &c}) {
    REQUIRE(client->Send("x"));
    REQUIRE(client->Receive(1) == "x");
  }
  proxy.Set({.least_life = 4, .most_life = 4, .spread = 1});
  REQUIRE(a.Send("12345678"));
  a.Receive(8);
  CHECK(b.Receive(1).empty());
  CHECK(c.Receive(1).empty());
  CHECK(proxy.resets() == 3);
  CHECK(proxy.connections() == 3);

  proxy.Heal();
  Client d(proxy);
  REQUIRE(d.Send("hello"));
  CHECK(d.Receive(5) == "hello");
}

TEST_CASE("what one connection sent first can come after what another sent later") {
  EchoServer server;
  // A seed by which the first connection waits and the second does not.
  const FaultProxy::Faults faults{.longest_delay = 200ms, .delayed = 0.5};
  std::uint64_t seed = 1;
  const auto delay = [&](std::uint64_t connection) {
    return FaultProxy::Plan(seed, connection, true, faults).Next().delay;
  };
  while (delay(1) < 100ms || delay(2) > 0ms) ++seed;
  FaultProxy proxy({server.port()}, seed);
  proxy.Set(faults);
  Client first(proxy);
  REQUIRE(first.Send("1"));
  Client second(proxy);
  REQUIRE(second.Send("2"));
  CHECK(first.Receive(1) == "1");
  CHECK(second.Receive(1) == "2");
  CHECK(server.order() == "21");
}

TEST_CASE("healing sets free what is held back") {
  EchoServer server;
  FaultProxy proxy({server.port()}, 3);
  proxy.Set({.stalled = 1, .stall = std::chrono::hours(1)});
  Client client(proxy);
  REQUIRE(client.Send("hello"));
  while (proxy.slices() == 0) std::this_thread::yield();
  proxy.Heal();
  CHECK(client.Receive(5) == "hello");
}

TEST_CASE("nobody listens behind it") {
  int port = 0;
  const int listener = ListenOnLoopback(port);
  REQUIRE(listener >= 0);
  ::close(listener);
  FaultProxy proxy({port}, 1);
  Client client(proxy);
  CHECK(client.Receive(1).empty());
}

}  // namespace clusterpulse::testing
