#include "tests/support/tcp_proxy.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <utility>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/thread.h"
#include "tests/support/loopback.h"

namespace clusterpulse::testing {
namespace {

constexpr std::size_t kBuffer = 64 << 10;  // of each direction of a connection
constexpr std::size_t kUnlimited = std::numeric_limits<std::size_t>::max();
constexpr int kTickMs = 10;  // how exact ages and rates are

enum class Read { kOpen, kEnded, kBroken };

// What there is, as far as `buffer` has room.
Read ReadInto(int fd, std::string& buffer) {
  char bytes[16 << 10];
  while (buffer.size() < kBuffer) {
    const ssize_t n = ::recv(fd, bytes, std::min(sizeof(bytes), kBuffer - buffer.size()), MSG_DONTWAIT);
    if (n == 0) return Read::kEnded;
    if (n < 0) return WouldBlock() ? Read::kOpen : Read::kBroken;
    buffer.append(bytes, static_cast<std::size_t>(n));
  }
  return Read::kOpen;
}

// False: the peer is gone. Takes at most `limit` bytes, those written, off the front.
bool WriteFrom(std::string& buffer, int fd, std::size_t limit, std::size_t& written) {
  written = 0;
  while (!buffer.empty() && written < limit) {
    const ssize_t n = ::send(fd, buffer.data(), std::min(buffer.size(), limit - written), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) return WouldBlock();
    buffer.erase(0, static_cast<std::size_t>(n));
    written += static_cast<std::size_t>(n);
  }
  return true;
}

}  // namespace

TcpProxy::TcpProxy(std::vector<int> server_ports) : server_ports_(std::move(server_ports)) {
  listener_ = ListenOnLoopback(port_);
  wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (listener_ < 0 || wake_ < 0) std::abort();
  thread_ = base::StartThread("tcp-proxy", [this] { Run(); });
}

TcpProxy::~TcpProxy() {
  stop_ = true;
  ::eventfd_write(wake_, 1);
  thread_.join();
  for (Connection& connection : connections_) Close(connection, false);
  ::close(listener_);
  ::close(wake_);
}

void TcpProxy::Set(Faults faults) {
  {
    base::MutexLock lock(mu_);
    faults_ = faults;
    ++faults_set_;
  }
  ::eventfd_write(wake_, 1);
}

void TcpProxy::Run() {
  std::uint64_t seen = 0;
  std::vector<pollfd> polled;
  while (!stop_) {
    Faults faults;
    bool fresh = false;
    {
      base::MutexLock lock(mu_);
      faults = faults_;
      fresh = std::exchange(seen, faults_set_) != faults_set_;
    }
    const Time now = std::chrono::steady_clock::now();
    int holding = 0;
    polled = {{wake_, POLLIN, 0}, {listener_, POLLIN, 0}};
    std::erase_if(connections_, [&](Connection& connection) {
      if (fresh) {
        connection.counted_from = now;
        connection.counted = 0;
      }
      if (!Relay(connection, faults, now)) return true;
      const bool may_write = !connection.to_client.empty() && Allowance(connection, faults, now) > 0;
      if (!connection.to_client.empty() && !may_write) ++holding;
      // A full buffer takes nothing; poll would report the end of its source again and again.
      const bool from_client = connection.to_server.size() < kBuffer;
      const bool from_server = !connection.server_ended && connection.to_client.size() < kBuffer;
      const auto events = [](bool in, bool out) { return static_cast<short>((in ? POLLIN : 0) | (out ? POLLOUT : 0)); };
      const bool to_server = !connection.to_server.empty();
      if (faults.freeze) return false;
      polled.push_back({from_client || may_write ? connection.client : -1, events(from_client, may_write), 0});
      polled.push_back({from_server || to_server ? connection.server : -1, events(from_server, to_server), 0});
      return false;
    });
    holding_ = holding;
    const bool timed = faults.max_age.count() > 0 || faults.bytes_per_second.has_value();
    ::poll(polled.data(), polled.size(), timed ? kTickMs : -1);
    eventfd_t ignored = 0;
    (void)::eventfd_read(wake_, &ignored);  // nothing to read is fine
    Accept();
  }
}

void TcpProxy::Accept() {
  while (true) {
    const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (client < 0) return;
    Connection connection;
    connection.client = client;
    connection.begin = connection.counted_from = std::chrono::steady_clock::now();
    connection.server = Connect();
    if (connection.server < 0) {
      Close(connection, true);
      continue;
    }
    connections_.push_back(std::move(connection));
  }
}

int TcpProxy::Connect() {
  for (std::size_t tried = 0; tried < server_ports_.size(); ++tried) {
    const int socket = ConnectToLoopback(server_ports_[turn_++ % server_ports_.size()]);
    if (socket >= 0) return socket;
  }
  return -1;
}

std::size_t TcpProxy::Allowance(const Connection& connection, const Faults& faults, Time now) {
  std::size_t all = faults.hold_after.value_or(kUnlimited);
  if (faults.bytes_per_second) {
    const std::chrono::duration<double> passed = now - connection.counted_from;
    all = std::min(all, static_cast<std::size_t>(passed.count() * static_cast<double>(*faults.bytes_per_second)));
  }
  return all - std::min(all, connection.counted);
}

bool TcpProxy::Relay(Connection& connection, const Faults& faults, Time now) {
  if (faults.refuse || (faults.max_age.count() > 0 && now - connection.begin >= faults.max_age)) {
    ++resets_;
    Close(connection, true);
    return false;
  }
  if (faults.freeze) return true;
  const Read client = ReadInto(connection.client, connection.to_server);
  Read server = Read::kOpen;
  if (!connection.server_ended) server = ReadInto(connection.server, connection.to_client);
  connection.server_ended |= server == Read::kEnded;
  std::size_t ignored = 0, written = 0;
  const bool server_takes = WriteFrom(connection.to_server, connection.server, kUnlimited, ignored);
  const bool client_takes =
      WriteFrom(connection.to_client, connection.client, Allowance(connection, faults, now), written);
  connection.counted += written;
  const bool done = connection.server_ended && connection.to_client.empty();
  if (client == Read::kOpen && server != Read::kBroken && client_takes && server_takes && !done) return true;
  Close(connection, server == Read::kBroken);
  return false;
}

void TcpProxy::Close(Connection& connection, bool reset) {
  if (reset) SetResetOnClose(connection.client);
  ::close(connection.client);
  if (connection.server >= 0) ::close(connection.server);
}

}  // namespace clusterpulse::testing
