#include "tests/support/net_namespaces.h"

#include <arpa/inet.h>
#include <catch2/catch.hpp>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace clusterpulse::testing {
namespace {

constexpr int kPort = 7000;

sockaddr_in AddressOf(const std::string& text) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(kPort);
  ::inet_pton(AF_INET, text.c_str(), &address.sin_addr);
  return address;
}

// A datagram socket of one machine, on kPort.
class Peer {
 public:
  Peer(const NetNamespaces& net, const std::string& machine)
      : fd_(net.In(machine, [] { return ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0); })) {
    const sockaddr_in address = AddressOf(net.Address(machine));
    REQUIRE(::bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  }
  ~Peer() { ::close(fd_); }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  void Send(const std::string& to, char what) {
    const sockaddr_in address = AddressOf(to);
    ::sendto(fd_, &what, 1, 0, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  }
  // The next datagram; 0: none came.
  char Receive(int limit_ms) {
    pollfd waiting{.fd = fd_, .events = POLLIN, .revents = 0};
    char what = 0;
    if (::poll(&waiting, 1, limit_ms) == 1) ::recv(fd_, &what, 1, 0);
    return what;
  }

 private:
  const int fd_;
};

TEST_CASE("lines between machines are cut one way, both ways, and healed") {
  const auto net = NetNamespaces::Create({"hub", "collector", "redis"});
  if (net == nullptr) return;
  Peer hub(*net, "hub"), collector(*net, "collector"), redis(*net, "redis");
  char count = 'a';
  // Whether what `from` sends arrives; a first datagram after a change may have to ask for the way.
  const auto passes = [&](Peer& from, Peer& to, const char* machine) {
    const char what = count++;
    from.Send(net->Address(machine), what);
    return to.Receive(2000) == what;
  };
  const auto lost = [&](Peer& from, Peer& to, const char* machine) {
    from.Send(net->Address(machine), count++);
    return to.Receive(100) == 0;
  };
  CHECK(passes(collector, hub, "hub"));
  CHECK(passes(hub, collector, "collector"));
  CHECK(passes(hub, redis, "redis"));

  net->Cut({{"collector", "hub"}});
  CHECK(lost(collector, hub, "hub"));
  CHECK(passes(hub, collector, "collector"));
  CHECK(passes(redis, hub, "hub"));

  net->CutBoth("hub", "redis");
  CHECK(lost(hub, redis, "redis"));
  CHECK(lost(redis, hub, "hub"));
  CHECK(passes(collector, hub, "hub"));
  CHECK(passes(collector, redis, "redis"));

  net->HealAll();
  CHECK(passes(collector, hub, "hub"));
  CHECK(passes(hub, redis, "redis"));
  CHECK(passes(redis, hub, "hub"));
}

TEST_CASE("processes stay in the namespace they were started in, and its loopback is their own") {
  const auto net = NetNamespaces::Create({"one", "two"});
  if (net == nullptr) return;
  const auto addresses = [&](const std::string& machine) {
    return net->In(machine, [] { return RunCommand({"ip", "-4", "-o", "address"}).out; });
  };
  for (const char* machine : {"one", "two"}) {
    const std::string seen = addresses(machine);
    CAPTURE(machine, seen);
    CHECK(seen.find("127.0.0.1/8") != std::string::npos);
    CHECK(seen.find(net->Address(machine) + "/24") != std::string::npos);
  }
  CHECK(RunCommand({"ip", "-4", "-o", "address"}).out.find("10.77.0.") == std::string::npos);
}

}  // namespace
}  // namespace clusterpulse::testing
