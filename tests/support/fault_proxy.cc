#include "tests/support/fault_proxy.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>

#include "common/base/thread.h"
#include "tests/support/loopback.h"

namespace clusterpulse::testing {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kBuffer = 64 << 10;  // of each direction of a connection

// A stream of its own for each connection and direction.
std::uint64_t Mix(std::uint64_t seed, std::uint64_t connection, bool to_server) {
  return (seed * 0x9e3779b97f4a7c15) ^ (connection * 0xbf58476d1ce4e5b9) ^ (to_server ? 0x94d049bb133111eb : 0);
}

}  // namespace

FaultProxy::Plan::Plan(std::uint64_t seed, std::uint64_t connection, bool to_server, const Faults& faults)
    : random_(Mix(seed, connection, to_server)), faults_(faults) {
  if (faults.most_life == 0) return;
  life_ = faults.least_life + random_() % (faults.most_life - std::min(faults.least_life, faults.most_life) + 1);
}

FaultProxy::Plan::Slice FaultProxy::Plan::Next() {
  Slice slice;
  if (faults_.largest_slice > 0) slice.bytes = 1 + random_() % faults_.largest_slice;
  if (faults_.longest_delay.count() > 0 && Uniform() < faults_.delayed) {
    slice.delay = milliseconds(random_() % (static_cast<std::uint64_t>(faults_.longest_delay.count()) + 1));
  }
  if (faults_.stalled > 0 && Uniform() < faults_.stalled) slice.delay += faults_.stall;
  return slice;
}

FaultProxy::FaultProxy(std::vector<int> server_ports, std::uint64_t seed)
    : server_ports_(std::move(server_ports)), seed_(seed), spread_(seed) {
  listener_ = ListenOnLoopback(port_);
  wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (listener_ < 0 || wake_ < 0) std::abort();
  thread_ = base::StartThread("fault-proxy", [this] { Run(); });
}

FaultProxy::~FaultProxy() {
  stop_ = true;
  ::eventfd_write(wake_, 1);
  thread_.join();
  for (Connection& connection : open_) Close(connection, false);
  ::close(listener_);
  ::close(wake_);
}

void FaultProxy::Set(Faults faults) {
  {
    base::MutexLock lock(mu_);
    faults_ = faults;
    ++faults_set_;
  }
  ::eventfd_write(wake_, 1);
}

void FaultProxy::Run() {
  std::uint64_t seen = 0;
  std::vector<pollfd> polled;
  while (!stop_) {
    {
      base::MutexLock lock(mu_);
      if (std::exchange(seen, faults_set_) != faults_set_) {
        in_force_ = faults_;
        for (Connection& connection : open_) {
          for (Direction& way : connection.ways) {
            way.plan.reset();
            way.left = way.passed = 0;
            for (Due& due : way.due) due.at = {};
          }
        }
      }
    }
    const Time now = std::chrono::steady_clock::now();
    for (std::size_t i = 0; i < open_.size(); ++i) Relay(open_[i], now);
    std::erase_if(open_, [](const Connection& connection) { return connection.is_over; });

    polled = {{wake_, POLLIN, 0}, {listener_, POLLIN, 0}};
    milliseconds wait(-1);
    for (Connection& connection : open_) {
      short events[2] = {0, 0};  // of the client, of the server
      for (const bool to_server : {true, false}) {
        const Direction& way = connection.ways[to_server ? 0 : 1];
        if (!way.ended && way.due_bytes < kBuffer) events[to_server ? 0 : 1] |= POLLIN;
        if (way.due.empty()) continue;
        if (way.due.front().at <= now) {
          events[to_server ? 1 : 0] |= POLLOUT;
        } else {
          const auto left = std::chrono::ceil<milliseconds>(way.due.front().at - now);
          wait = wait.count() < 0 ? left : std::min(wait, left);
        }
      }
      // One that is of no interest now is not looked at: poll would report its end again and again.
      polled.push_back({events[0] != 0 ? connection.client : -1, events[0], 0});
      polled.push_back({events[1] != 0 ? connection.server : -1, events[1], 0});
    }
    ::poll(polled.data(), polled.size(), static_cast<int>(wait.count()));
    eventfd_t ignored = 0;
    (void)::eventfd_read(wake_, &ignored);  // nothing to read is fine
    Accept();
  }
}

void FaultProxy::Accept() {
  while (true) {
    const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (client < 0) return;
    Connection connection;
    connection.client = client;
    connection.number = ++last_number_;
    ++opened_;
    for (std::size_t tried = 0; tried < server_ports_.size() && connection.server < 0; ++tried) {
      connection.server = ConnectToLoopback(server_ports_[turn_++ % server_ports_.size()]);
    }
    if (connection.server < 0) {
      Close(connection, true);
      continue;
    }
    for (const int socket : {connection.client, connection.server}) {
      const int on = 1;
      ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));  // a slice is a packet
    }
    open_.push_back(std::move(connection));
  }
}

void FaultProxy::Relay(Connection& connection, Time now) {
  for (const bool to_server : {true, false}) {
    if (connection.is_over) return;
    if (!Read(connection, to_server, now) || !Write(connection, to_server, now)) {
      Close(connection, true);
      return;
    }
    if (connection.is_over) return;
    Direction& way = connection.ways[to_server ? 0 : 1];
    if (way.ended && way.due.empty() && !std::exchange(way.passed_end, true)) {
      ::shutdown(to_server ? connection.server : connection.client, SHUT_WR);
    }
  }
  if (connection.ways[0].passed_end && connection.ways[1].passed_end) Close(connection, false);
}

bool FaultProxy::Read(Connection& connection, bool to_server, Time now) {
  Direction& way = connection.ways[to_server ? 0 : 1];
  const int fd = to_server ? connection.client : connection.server;
  char bytes[16 << 10];
  while (!way.ended && way.due_bytes < kBuffer) {
    const ssize_t n = ::recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (n < 0 && !WouldBlock()) return false;
    if (n < 0) return true;
    way.ended = n == 0;
    std::string_view rest(bytes, static_cast<std::size_t>(n));
    while (!rest.empty()) {
      if (!way.plan) way.plan.emplace(seed_, connection.number, to_server, in_force_);
      if (way.left == 0) {
        way.slice = way.plan->Next();
        way.left = way.slice.bytes;
        ++slices_;
      }
      const std::size_t take = way.slice.bytes == 0 ? rest.size() : std::min(rest.size(), way.left);
      way.left -= way.slice.bytes == 0 ? 0 : take;
      // A slice may come in pieces; all have its delay, and none overtakes another.
      way.last = std::max(way.last, now + way.slice.delay);
      way.due.push_back({std::string(rest.substr(0, take)), way.last});
      way.due_bytes += take;
      rest.remove_prefix(take);
    }
  }
  return true;
}

bool FaultProxy::Write(Connection& connection, bool to_server, Time now) {
  Direction& way = connection.ways[to_server ? 0 : 1];
  const int fd = to_server ? connection.server : connection.client;
  while (!way.due.empty() && way.due.front().at <= now) {
    std::string& bytes = way.due.front().bytes;
    std::size_t size = bytes.size();
    const std::optional<std::uint64_t> life = way.plan ? way.plan->life() : std::nullopt;
    if (life) size = static_cast<std::size_t>(std::min<std::uint64_t>(size, *life - std::min(*life, way.passed)));
    if (size > 0) {
      const ssize_t n = ::send(fd, bytes.data(), size, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0) return WouldBlock();
      bytes.erase(0, static_cast<std::size_t>(n));
      way.passed += static_cast<std::uint64_t>(n);
      way.due_bytes -= static_cast<std::size_t>(n);
    }
    if (life && way.passed >= *life) {
      Reset(connection);
      return true;
    }
    if (bytes.empty()) way.due.pop_front();
  }
  return true;
}

void FaultProxy::Reset(Connection& connection) {
  ++resets_;  // before anybody can see it
  Close(connection, true);
  for (Connection& other : open_) {
    if (other.is_over || in_force_.spread <= 0 ||
        spread_() % 1000 >= static_cast<std::uint64_t>(in_force_.spread * 1000))
      continue;
    ++resets_;
    Close(other, true);
  }
}

void FaultProxy::Close(Connection& connection, bool reset) {
  if (std::exchange(connection.is_over, true)) return;
  for (const int socket : {connection.client, connection.server}) {
    if (socket < 0) continue;
    if (reset) SetResetOnClose(socket);
    ::close(socket);
  }
}

}  // namespace clusterpulse::testing
