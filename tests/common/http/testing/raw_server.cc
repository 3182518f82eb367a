#include "tests/common/http/testing/raw_server.h"

#include <algorithm>
#include <cstdlib>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace clusterpulse::http {
namespace {

int Listen(int& port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  if (fd < 0 || bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(fd, 64) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    std::abort();
  }
  port = ntohs(address.sin_port);
  return fd;
}

}  // namespace

thread_local RawServer* RawServer::current_ = nullptr;

std::string RawServer::Connection::ReadRequest() {
  const auto fill = [this] {
    const std::string got = ReadSome();
    buffer_ += got;
    return !got.empty();
  };
  std::size_t head = 0;
  while ((head = buffer_.find("\r\n\r\n")) == std::string::npos) {
    if (!fill()) return "";
  }
  std::size_t length = head + 4;
  const std::string field = "Content-Length: ";
  if (const auto at = buffer_.find(field); at != std::string::npos && at < head) {
    length += static_cast<std::size_t>(std::atol(buffer_.c_str() + at + field.size()));
  }
  while (buffer_.size() < length) {
    if (!fill()) return "";
  }
  std::string request = buffer_.substr(0, length);
  buffer_.erase(0, length);
  if (current_ != nullptr) {
    base::MutexLock lock(current_->mu_);
    current_->requests_.push_back(request);
  }
  return request;
}

std::string RawServer::Connection::ReadSome() {
  char block[16384];
  const ssize_t got = recv(fd_, block, sizeof(block), 0);
  return got > 0 ? std::string(block, static_cast<std::size_t>(got)) : "";
}

bool RawServer::Connection::Write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

bool RawServer::Connection::Answer(std::string_view body, int code, std::string_view headers) {
  return Write(fmt::format("HTTP/1.1 {} X\r\n{}Content-Length: {}\r\n\r\n{}", code, headers, body.size(), body));
}

void RawServer::Connection::RelayTo(int port, const std::function<bool()>& cut) {
  const int upstream = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  if (connect(upstream, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) std::abort();
  Connection server(upstream);
  while (true) {
    pollfd ends[] = {{fd_, POLLIN, 0}, {upstream, POLLIN, 0}};
    if (poll(ends, 2, -1) < 0) break;
    const bool from_client = ends[0].revents != 0;
    const std::string bytes = (from_client ? *this : server).ReadSome();
    if (bytes.empty() || (from_client && cut())) break;
    if (!(from_client ? server : *this).Write(bytes)) break;
  }
  close(upstream);
}

void RawServer::Connection::WaitForEnd() {
  char block[4096];
  while (recv(fd_, block, sizeof(block), 0) > 0) {
  }
}

void RawServer::Connection::Reset() {
  const linger hard{1, 0};
  setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
}

RawServer::RawServer(Script script) : script_(std::move(script)), listener_(Listen(port_)) {
  acceptor_ = std::jthread([this] { Accept(); });
}

void RawServer::Accept() {
  while (true) {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    const int index = connections_++;
    base::MutexLock lock(mu_);
    if (stopped_) {
      close(fd);
      return;
    }
    open_.push_back(fd);
    workers_.emplace_back([this, fd, index] {
      current_ = this;
      Connection connection(fd);
      script_(connection, index);
      base::MutexLock worker_lock(mu_);
      open_.erase(std::find(open_.begin(), open_.end(), fd));
      close(fd);
    });
  }
}

std::vector<std::string> RawServer::requests() const {
  base::MutexLock lock(mu_);
  return requests_;
}

void RawServer::Stop() {
  std::vector<std::jthread> workers;
  {
    base::MutexLock lock(mu_);
    stopped_ = true;
    for (const int fd : open_) shutdown(fd, SHUT_RDWR);
    workers.swap(workers_);
  }
  shutdown(listener_, SHUT_RDWR);
  if (acceptor_.joinable()) acceptor_.join();
}

RawServer::~RawServer() {
  Stop();
  close(listener_);
}

int ClosedPort() {
  int port = 0;
  close(Listen(port));
  return port;
}

}  // namespace clusterpulse::http
