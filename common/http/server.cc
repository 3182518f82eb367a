#include "common/http/server.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <condition_variable>
#include <deque>
#include <mutex>

#include <httplib.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "common/base/status.h"
#include "common/base/thread.h"

namespace clusterpulse::http {
namespace {

constexpr int kSilenceSeconds = 10;
constexpr int kKeepAliveSeconds = 5;
constexpr std::size_t kKeepAliveRequests = 1000;

// httplib's own pool queues without bound. This one makes the accepting thread wait, so that the kernel's backlog is
// the queue.
class BoundedPool final : public httplib::TaskQueue {
 public:
  explicit BoundedPool(int threads) : room_(static_cast<std::size_t>(threads)) {
    for (int i = 0; i < threads; ++i) threads_.push_back(base::StartThread("http-worker", [this] { Work(); }));
  }

  void enqueue(std::function<void()> job) override {
    std::unique_lock<std::mutex> lock(mu_);
    changed_.wait(lock, [this] { return jobs_.size() < room_; });
    jobs_.push_back(std::move(job));
    changed_.notify_all();
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
      if (jobs_.empty()) return;  // what was accepted is still served: its job also closes the socket
      const auto job = std::move(jobs_.front());
      jobs_.pop_front();
      changed_.notify_all();
      lock.unlock();
      job();
      lock.lock();
    }
  }

  const std::size_t room_;
  std::mutex mu_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  bool stop_ = false;
  std::vector<std::jthread> threads_;
};

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return text;
}

}  // namespace

struct Server::Core {
  httplib::Server server;
  std::vector<Route> routes;
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
    for (const auto& [name, value] : reply.headers) out.set_header(name.c_str(), value);
    out.set_content(reply.body, reply.content_type.c_str());
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
  auto core = std::make_unique<Core>();
  core->routes = std::move(routes);
  httplib::Server& server = core->server;
  const int threads = options.threads;
  server.new_task_queue = [threads] { return new BoundedPool(threads); };
  server.set_tcp_nodelay(true);
  server.set_keep_alive_max_count(kKeepAliveRequests);
  server.set_keep_alive_timeout(kKeepAliveSeconds);
  server.set_read_timeout(kSilenceSeconds);
  server.set_write_timeout(kSilenceSeconds);
  server.set_payload_max_length(options.max_body_bytes);
  server.set_socket_options([](int fd) {
    const int yes = 1, no = 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes,
               sizeof(yes));                                     // not REUSEPORT: two programs on one port is a mistake
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof(no));  // IPv4 too; fails harmlessly on IPv4 sockets
  });
  server.set_exception_handler([](const httplib::Request&, httplib::Response& out, std::exception_ptr) {
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
  core_->server.stop();
  if (thread_.joinable()) thread_.join();
}

}  // namespace clusterpulse::http
