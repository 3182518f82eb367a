#include "common/http/server.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <limits>
#include <map>
#include <mutex>
#include <optional>

#include <httplib.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/status.h"
#include "common/base/thread.h"

namespace clusterpulse::http {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::size_t kHeaderBytes = 64 << 10;  // request line and headers; also the framing of a chunked body
constexpr int kKeepAliveRequests = 1000;
constexpr int kBacklog = 128;
constexpr milliseconds kEvictAfter(100);
constexpr milliseconds kEvictInterval(20);
constexpr milliseconds kStopGrace(300);

// The open sockets, so that another thread can end them. Thread-safe.
class Connections {
 public:
  // False once stopping: the caller closes the socket.
  bool Add(int fd) {
    const std::lock_guard<std::mutex> lock(mu_);
    if (stopping_) return false;
    open_.emplace(fd, std::nullopt);
    return true;
  }

  // Before the socket is closed and its number can be taken again.
  void Remove(int fd) {
    const std::lock_guard<std::mutex> lock(mu_);
    open_.erase(fd);
    changed_.notify_all();
  }

  // Since when the peer has kept us waiting; nothing while it does not.
  void SetWaiting(int fd, std::optional<steady_clock::time_point> since) {
    const std::lock_guard<std::mutex> lock(mu_);
    open_.find(fd)->second = since;
  }

  // Ends the connection that has waited for its peer the longest, if that is more than kEvictAfter.
  void EvictLongest() {
    const std::lock_guard<std::mutex> lock(mu_);
    auto oldest = open_.end();
    for (auto it = open_.begin(); it != open_.end(); ++it) {
      if (it->second && (oldest == open_.end() || *it->second < *oldest->second)) oldest = it;
    }
    if (oldest == open_.end() || steady_clock::now() - *oldest->second < kEvictAfter) return;
    ::shutdown(oldest->first, SHUT_RDWR);
    oldest->second.reset();
  }

  // No new connections, no further input; replies on their way may still end.
  void BeginStop() {
    const std::lock_guard<std::mutex> lock(mu_);
    stopping_ = true;
    for (const auto& [fd, since] : open_) ::shutdown(fd, SHUT_RD);
  }

  // Waits for those replies for `limit`, then cuts them off.
  void EndStop(milliseconds limit) {
    std::unique_lock<std::mutex> lock(mu_);
    if (changed_.wait_for(lock, limit, [this] { return open_.empty(); })) return;
    for (const auto& [fd, since] : open_) ::shutdown(fd, SHUT_RDWR);
  }

 private:
  std::mutex mu_;
  std::condition_variable changed_;
  std::map<int, std::optional<steady_clock::time_point>> open_;
  bool stopping_ = false;
};

// httplib's own pool queues without bound. This one makes the accepting thread wait until a thread has taken the
// connection, so that the kernel's backlog is the queue, and meanwhile ends connections whose peers dawdle.
class BoundedPool final : public httplib::TaskQueue {
 public:
  BoundedPool(int threads, Connections& connections) : connections_(connections) {
    for (int i = 0; i < threads; ++i) threads_.push_back(base::StartThread("http-worker", [this] { Work(); }));
  }

  void enqueue(std::function<void()> job) override {
    std::unique_lock<std::mutex> lock(mu_);
    jobs_.push_back(std::move(job));
    changed_.notify_all();
    while (!changed_.wait_for(lock, kEvictInterval, [this] { return jobs_.empty(); })) connections_.EvictLongest();
  }

  void shutdown() override {
    {
      const std::lock_guard<std::mutex> lock(mu_);
      stop_ = true;
      changed_.notify_all();
    }
    threads_.clear();
  }

 private:
  void Work() {
    std::unique_lock<std::mutex> lock(mu_);
    while (true) {
      changed_.wait(lock, [this] { return stop_ || !jobs_.empty(); });
      if (jobs_.empty()) return;  // what was accepted still runs: its job also closes the socket
      const auto job = std::move(jobs_.front());
      jobs_.pop_front();
      changed_.notify_all();
      lock.unlock();
      job();
      lock.lock();
    }
  }

  Connections& connections_;
  std::mutex mu_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  bool stop_ = false;
  std::vector<std::jthread> threads_;
};

// One connection as httplib reads and writes it, with bounds that httplib lacks: on the bytes of a request, and on the
// time for the whole request and for the whole reply. Of one thread.
class BoundedStream final : public httplib::Stream {
 public:
  BoundedStream(int fd, Connections& connections, milliseconds timeout)
      : fd_(fd), connections_(connections), timeout_(timeout) {}

  // Waits for the first byte of the next request, from which its time counts. False: there is none.
  bool AwaitRequest(milliseconds idle) {
    if (broken_) return false;
    if (at_ == filled_) {
      started_ = steady_clock::now();
      deadline_ = started_ + idle;
      if (Fill() <= 0) return false;
    }
    started_ = steady_clock::now();
    deadline_ = started_ + timeout_;
    budget_ = kHeaderBytes;
    return true;
  }

  // The headers are complete: from here on the bound is the body's.
  void BeginBody(std::size_t bytes) { budget_ = bytes; }

  bool is_readable() const override { return !broken_; }
  bool is_writable() const override { return true; }

  // After a failure the reply that says so can still be written.
  ssize_t read(char* to, std::size_t size) override {
    replying_ = false;
    if (broken_ || budget_ == 0) return Break();
    if (at_ == filled_) {
      const ssize_t got = Fill();
      if (got < 0) return Break();
      if (got == 0) return 0;
    }
    const std::size_t count = std::min({size, filled_ - at_, budget_});
    std::copy_n(buffer_.data() + at_, count, to);
    at_ += count;
    budget_ -= count;
    return static_cast<ssize_t>(count);
  }

  ssize_t write(const char* from, std::size_t size) override {
    if (!replying_) {
      replying_ = true;
      reply_started_ = steady_clock::now();
    }
    std::size_t sent = 0;
    while (sent < size) {
      const ssize_t count = ::send(fd_, from + sent, size - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (count >= 0) {
        sent += static_cast<std::size_t>(count);
      } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        if (!Wait(POLLOUT, reply_started_, reply_started_ + timeout_)) return Break();
      } else if (errno != EINTR) {
        return Break();
      }
    }
    return static_cast<ssize_t>(sent);
  }

  void get_remote_ip_and_port(std::string& ip, int& port) const override { Name(::getpeername, ip, port); }
  void get_local_ip_and_port(std::string& ip, int& port) const override { Name(::getsockname, ip, port); }
  socket_t socket() const override { return fd_; }

 private:
  ssize_t Break() {
    broken_ = true;
    return -1;
  }

  // Into the empty buffer. 0 at the end of the stream, negative on an error or at the deadline.
  ssize_t Fill() {
    at_ = filled_ = 0;
    while (steady_clock::now() < deadline_) {
      const ssize_t count = ::recv(fd_, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
      if (count >= 0) {
        filled_ = static_cast<std::size_t>(count);
        return count;
      }
      if (errno == EINTR) continue;
      if ((errno != EAGAIN && errno != EWOULDBLOCK) || !Wait(POLLIN, started_, deadline_)) return -1;
    }
    return -1;
  }

  // `since`: when the peer began to keep us waiting. False at the deadline.
  bool Wait(short events, steady_clock::time_point since, steady_clock::time_point deadline) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now()).count();
    if (left <= 0) return false;
    pollfd entry{fd_, events, 0};
    connections_.SetWaiting(fd_, since);
    const int ready =
        ::poll(&entry, 1, static_cast<int>(std::min<std::int64_t>(left, std::numeric_limits<int>::max())));
    const bool interrupted = ready < 0 && errno == EINTR;
    connections_.SetWaiting(fd_, std::nullopt);
    return ready > 0 || interrupted;
  }

  void Name(int (*get)(int, sockaddr*, socklen_t*), std::string& ip, int& port) const {
    sockaddr_storage address{};
    socklen_t size = sizeof(address);
    char host[NI_MAXHOST] = "", service[NI_MAXSERV] = "";
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (get(fd_, generic, &size) != 0) return;
    if (::getnameinfo(generic, size, host, sizeof(host), service, sizeof(service), NI_NUMERICHOST | NI_NUMERICSERV)) {
      return;
    }
    ip = host;
    port = std::atoi(service);
  }

  const int fd_;
  Connections& connections_;
  const milliseconds timeout_;
  std::array<char, 4096> buffer_;
  std::size_t at_ = 0, filled_ = 0;
  std::size_t budget_ = 0;
  steady_clock::time_point started_, deadline_;  // of the wait for a request, then of the request
  steady_clock::time_point reply_started_;
  bool replying_ = false;
  bool broken_ = false;
};

// httplib's parser and router over connections of ours.
class BoundedServer final : public httplib::Server {
 public:
  explicit BoundedServer(const http::Server::Options& options) : options_(options) {
    new_task_queue = [this] { return new BoundedPool(options_.threads, connections_); };
    set_payload_max_length(options_.max_body_bytes);
    // httplib would inflate the body, to a size that nothing bounds.
    set_pre_routing_handler([](const httplib::Request& in, httplib::Response& out) {
      if (!in.has_header("Content-Encoding")) return HandlerResponse::Unhandled;
      out.status = 415;
      out.set_content("content encodings are not supported\n", "text/plain; charset=utf-8");
      return HandlerResponse::Handled;
    });
  }

  // Once bound: httplib's backlog of 5 overflows when several clients come at once.
  void WidenBacklog() { ::listen(svr_sock_, kBacklog); }

  void Stop() {
    connections_.BeginStop();
    stop();
    connections_.EndStop(kStopGrace);
  }

 private:
  bool process_and_close_socket(socket_t fd) override {
    if (connections_.Add(fd)) {
      Converse(fd);
      connections_.Remove(fd);
    }
    ::shutdown(fd, SHUT_RDWR);
    ::close(fd);
    return true;
  }

  void Converse(int fd) {
    BoundedStream stream(fd, connections_, options_.request_timeout);
    bool close = false;
    const auto headers_done = [&](httplib::Request& in) {
      stream.BeginBody(options_.max_body_bytes + kHeaderBytes);
      in.ranges.clear();  // many overlapping ranges would multiply the reply; a server may ignore them
      // httplib leaves such a body unread, and would take it for the next request.
      const bool reads_body =
          in.method == "POST" || in.method == "PUT" || in.method == "PATCH" || in.method == "DELETE";
      const bool has_body = in.has_header("Content-Length") || in.has_header("Transfer-Encoding");
      if (in.has_header("Content-Encoding") || (has_body && !reads_body)) close = true;
    };
    for (int left = kKeepAliveRequests; left > 0 && !close && stream.AwaitRequest(options_.idle_timeout); --left) {
      bool asked_to_close = false;
      if (!process_request(stream, left == 1, asked_to_close, headers_done)) return;
      close = close || asked_to_close;
    }
  }

  const http::Server::Options options_;
  Connections connections_;
};

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return text;
}

}  // namespace

struct Server::Core {
  Core(const Options& options, std::vector<Route> all) : server(options), routes(std::move(all)) {}

  BoundedServer server;
  const std::vector<Route> routes;
  std::atomic<bool> ended = false;  // the accepting thread has returned

  // The handler for a request, or the code that says why there is none.
  const Handler* Find(const std::string& method, const std::string& path, int& code) const {
    const Route* best = nullptr;
    code = 404;
    for (const Route& route : routes) {
      const bool below =
          !route.path.empty() && route.path.back() == '/' && path.compare(0, route.path.size(), route.path) == 0;
      if (route.path != path && !below) continue;
      if (route.method != method && !(route.method == "GET" && method == "HEAD")) {
        code = 405;
        continue;
      }
      if (best == nullptr || route.path.size() > best->path.size()) best = &route;
    }
    return best == nullptr ? nullptr : &best->handler;
  }

  void Serve(const httplib::Request& in, httplib::Response& out) const {
    int code = 404;
    const Handler* handler = Find(in.method, in.path, code);
    if (handler == nullptr) {
      out.status = code;
      out.set_content(code == 405 ? "method not allowed\n" : "not found\n", "text/plain; charset=utf-8");
      return;
    }
    ServerRequest request{in.method, in.path, {in.params.begin(), in.params.end()}, {}, in.body, in.remote_addr};
    for (const auto& [name, value] : in.headers) request.headers.emplace(Lower(name), value);
    const ServerReply reply = (*handler)(request);
    out.status = reply.code;
    for (const auto& [name, value] : reply.headers) out.set_header(name, value);
    out.set_content(reply.body, reply.content_type);
  }
};

absl::StatusOr<ListenAddress> ParseListenAddress(const std::string& address) {
  const auto colon = address.rfind(':');
  ListenAddress out;
  if (colon == std::string::npos) return base::InvalidArgument("the address {} is not of the form host:port", address);
  out.host = address.substr(0, colon);
  if (out.host.size() >= 2 && out.host.front() == '[' && out.host.back() == ']') {
    out.host = out.host.substr(1, out.host.size() - 2);
  } else if (out.host.find(':') != std::string::npos) {
    return base::InvalidArgument("the address {} needs brackets around its IPv6 host: [::1]:8080", address);
  }
  const char* end = address.data() + address.size();
  const auto parsed = std::from_chars(address.data() + colon + 1, end, out.port);
  if (parsed.ec != std::errc() || parsed.ptr != end || out.port < 0 || out.port > 65535) {
    return base::InvalidArgument("the address {} has no port from 0 to 65535", address);
  }
  return out;
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(Options options, std::vector<Route> routes) {
  ASSIGN_OR_RETURN(const ListenAddress listen, ParseListenAddress(options.address));
  if (options.threads < 1) return base::InvalidArgument("a server needs at least one thread");
  if (options.request_timeout.count() <= 0 || options.idle_timeout.count() <= 0) {
    return base::InvalidArgument("the timeouts of a server must be positive");
  }
  auto core = std::make_unique<Core>(options, std::move(routes));
  BoundedServer& server = core->server;
  server.set_tcp_nodelay(true);
  server.set_socket_options([](int fd) {
    const int yes = 1, no = 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes,
               sizeof(yes));                                     // not REUSEPORT: two programs on one port is a mistake
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof(no));  // IPv4 too; fails harmlessly on IPv4 sockets
  });
  server.set_exception_handler([](const httplib::Request&, httplib::Response& out, const std::exception_ptr&) {
    out.status = 500;
    out.set_content("internal error\n", "text/plain; charset=utf-8");
  });
  Core* raw = core.get();
  const auto serve = [raw](const httplib::Request& in, httplib::Response& out) { raw->Serve(in, out); };
  server.Get(".*", serve).Post(".*", serve).Put(".*", serve).Patch(".*", serve).Delete(".*", serve);

  const auto bind = [&](const std::string& host) {
    if (listen.port == 0) return server.bind_to_any_port(host);
    return server.bind_to_port(host, listen.port) ? listen.port : -1;
  };
  int port = bind(listen.host.empty() ? "::" : listen.host);
  if (port < 0 && listen.host.empty()) port = bind("0.0.0.0");  // no IPv6 here
  if (port < 0) {
    return base::Unavailable("cannot listen on {}: the port is in use, or the address is not of this machine",
                             options.address);
  }
  server.WidenBacklog();
  std::unique_ptr<Server> out(new Server(std::move(core)));
  out->port_ = port;
  out->thread_ = base::StartThread(options.name, [raw] {
    raw->server.listen_after_bind();
    raw->ended = true;
  });
  // stop() does nothing before the accept loop runs.
  while (!raw->server.is_running() && !raw->ended) std::this_thread::yield();
  return out;
}

Server::Server(std::unique_ptr<Core> core) : core_(std::move(core)) {}

Server::~Server() { Stop(); }

void Server::Stop() {
  core_->server.Stop();
  if (thread_.joinable()) thread_.join();
}

}  // namespace clusterpulse::http
