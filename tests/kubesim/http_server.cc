#include "tests/kubesim/http_server.h"

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstring>

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include "common/base/status.h"
#include "common/base/stop_signal.h"
#include "common/base/thread.h"

namespace clusterpulse::kubesim {

using base::MutexLock;

namespace {

constexpr std::size_t kMaxHead = 64 * 1024;
constexpr std::size_t kMaxBody = 16 * 1024 * 1024;
constexpr std::size_t kGzipFrom = 128 * 1024;

std::string Lower(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r')) text.remove_suffix(1);
  return text;
}

std::string Decode(std::string_view text, bool plus_is_space) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 3, value, 16).ptr == text.data() + i + 3) {
      out.push_back(static_cast<char>(value));
      i += 2;
    } else {
      out.push_back(plus_is_space && text[i] == '+' ? ' ' : text[i]);
    }
  }
  return out;
}

std::string Gzip(std::string_view text) {
  z_stream stream{};
  // 15 + 16: gzip framing. Level 1: a test server is not there to save bytes.
  if (deflateInit2(&stream, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) return {};
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string_view Phrase(int code) {
  switch (code) {
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 404:
      return "Not Found";
    case 429:
      return "Too Many Requests";
    case 503:
      return "Service Unavailable";
    default:
      return "Status";
  }
}

// Splits "a=b&c=d".
std::map<std::string, std::string> ParseQuery(std::string_view text) {
  std::map<std::string, std::string> query;
  while (!text.empty()) {
    const auto end = std::min(text.find('&'), text.size());
    const auto pair = text.substr(0, end);
    const auto equals = std::min(pair.find('='), pair.size());
    query[Decode(pair.substr(0, equals), true)] =
        equals < pair.size() ? Decode(pair.substr(equals + 1), true) : std::string();
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return query;
}

// False: not HTTP.
bool ParseHead(std::string_view head, HttpRequest& request) {
  const auto line_end = head.find("\r\n");
  const auto line = head.substr(0, line_end);
  const auto first = line.find(' '), last = line.rfind(' ');
  if (first == line.npos || first == last || !line.substr(last + 1).starts_with("HTTP/1.")) return false;
  request.method = line.substr(0, first);
  const auto target = line.substr(first + 1, last - first - 1);
  const auto question = std::min(target.find('?'), target.size());
  request.path = Decode(target.substr(0, question), false);
  if (question < target.size()) request.query = ParseQuery(target.substr(question + 1));
  auto rest = line_end == head.npos ? std::string_view() : head.substr(line_end + 2);
  while (!rest.empty()) {
    const auto end = std::min(rest.find("\r\n"), rest.size());
    const auto header = rest.substr(0, end);
    if (const auto colon = header.find(':'); colon != header.npos) {
      request.headers[Lower(header.substr(0, colon))] = Trim(header.substr(colon + 1));
    }
    rest.remove_prefix(std::min(end + 2, rest.size()));
  }
  return true;
}

}  // namespace

// --- Gate ---

void Gate::Freeze() {
  MutexLock lock(mu_);
  frozen_ = true;
}

void Gate::Open() {
  MutexLock lock(mu_);
  frozen_ = false;
  changed_.NotifyAll();
}

void Gate::Pass(std::stop_token stop) {
  if (!frozen_) return;
  const std::stop_callback wake(stop, [this] {
    MutexLock lock(mu_);
    changed_.NotifyAll();
  });
  MutexLock lock(mu_);
  while (frozen_ && !stop.stop_requested()) changed_.Wait(mu_);
}

// --- HttpRequest ---

std::string_view HttpRequest::Header(const std::string& name) const {
  const auto it = headers.find(name);
  return it == headers.end() ? std::string_view() : it->second;
}

std::string_view HttpRequest::Query(const std::string& name) const {
  const auto it = query.find(name);
  return it == query.end() ? std::string_view() : it->second;
}

std::int64_t HttpRequest::QueryInt(const std::string& name, std::int64_t fallback) const {
  const auto text = Query(name);
  std::int64_t value = fallback;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

bool HttpRequest::QueryBool(const std::string& name) const {
  const auto it = query.find(name);
  return it != query.end() && it->second != "false" && it->second != "0";
}

// --- one connection ---

struct HttpServer::Connection final : Exchange {
  Connection(int socket, TlsContext context, bool compress, Gate& server_gate, std::stop_token server_stop)
      : fd(socket), tls(std::move(context)), gzip(compress), gate(server_gate), stop_token(std::move(server_stop)) {}
  ~Connection() override {
    thread = std::jthread();  // joined first: it uses the rest
    if (fd >= 0) ::close(fd);
  }

  bool Handshake() {
    if (tls == nullptr) return true;
    ssl.reset(SSL_new(tls.get()));
    SSL_set_fd(ssl.get(), fd);
    return SSL_accept(ssl.get()) == 1;
  }

  // Reads more into `input`; false at the end of the connection.
  bool Fill() {
    char block[16384];
    const auto got = ssl ? SSL_read(ssl.get(), block, sizeof block) : ::recv(fd, block, sizeof block, 0);
    if (got <= 0) return false;
    input.append(block, static_cast<std::size_t>(got));
    return true;
  }

  bool ReadRequest() {
    current = HttpRequest();
    extra_gate = nullptr;
    std::size_t end;
    while ((end = input.find("\r\n\r\n")) == input.npos) {
      if (input.size() > kMaxHead || !Fill()) return false;
    }
    if (!ParseHead(std::string_view(input).substr(0, end), current)) return false;
    input.erase(0, end + 4);
    if (Lower(current.Header("expect")) == "100-continue" && !Send("HTTP/1.1 100 Continue\r\n\r\n")) return false;
    if (Lower(current.Header("transfer-encoding")) == "chunked") return ReadChunks();
    std::size_t length = 0;
    const auto text = current.Header("content-length");
    std::from_chars(text.data(), text.data() + text.size(), length);
    return length <= kMaxBody && Take(length, current.body);
  }

  bool Take(std::size_t length, std::string& out) {
    while (input.size() < length) {
      if (!Fill()) return false;
    }
    out.append(input, 0, length);
    input.erase(0, length);
    return true;
  }

  bool ReadChunks() {
    while (current.body.size() <= kMaxBody) {
      std::size_t end;
      while ((end = input.find("\r\n")) == input.npos) {
        if (input.size() > kMaxHead || !Fill()) return false;
      }
      std::size_t size = 0;
      std::from_chars(input.data(), input.data() + end, size, 16);
      input.erase(0, end + 2);
      std::string crlf;
      if (!Take(size, current.body) || !Take(2, crlf)) return false;
      if (size == 0) return true;
    }
    return false;
  }

  // All of it or false.
  bool Send(std::string_view bytes) {
    gate.Pass(stop_token);
    if (extra_gate != nullptr) extra_gate->Pass(stop_token);
    while (!bytes.empty()) {
      if (dead) return false;
      const std::size_t size = std::min<std::size_t>(bytes.size(), 1 << 20);
      const auto sent = ssl ? SSL_write(ssl.get(), bytes.data(), static_cast<int>(size))
                            : ::send(fd, bytes.data(), size, MSG_NOSIGNAL);
      if (sent <= 0) {
        // A peer that reads slowly: try again, unless somebody ended the connection meanwhile.
        if (ssl ? SSL_get_error(ssl.get(), static_cast<int>(sent)) == SSL_ERROR_WANT_WRITE : errno == EAGAIN) continue;
        dead = true;
        return false;
      }
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return !dead;
  }

  std::string Head(int code, std::string_view content_type, const HttpHeaders& headers) const {
    std::string head = fmt::format("HTTP/1.1 {} {}\r\nContent-Type: {}\r\nCache-Control: no-cache, private\r\n", code,
                                   Phrase(code), content_type);
    for (const auto& [name, value] : headers) head += fmt::format("{}: {}\r\n", name, value);
    return head;
  }

  // Exchange.
  const HttpRequest& request() const override { return current; }
  HttpRequest& request() override { return current; }

  bool Respond(int code, std::string_view content_type, std::string_view body, const HttpHeaders& headers) override {
    std::string head = Head(code, content_type, headers);
    std::string packed;
    if (gzip && body.size() >= kGzipFrom && current.Header("accept-encoding").find("gzip") != std::string_view::npos) {
      packed = Gzip(body);
      body = packed;
      head += "Content-Encoding: gzip\r\nVary: Accept-Encoding\r\n";
    }
    head += fmt::format("Content-Length: {}\r\n\r\n", body.size());
    if (body.size() < 4096) return Send(head.append(body));
    return Send(head) && Send(body);
  }
  bool RespondHalf(int code, std::string_view content_type, std::string_view body) override {
    const std::string head = Head(code, content_type, {}) + fmt::format("Content-Length: {}\r\n\r\n", body.size());
    Send(head + std::string(body.substr(0, body.size() / 2)));
    Close();
    return false;
  }
  bool BeginStream(int code, std::string_view content_type) override {
    return Send(Head(code, content_type, {}) + "Transfer-Encoding: chunked\r\n\r\n");
  }
  bool Write(std::string_view bytes) override {
    return bytes.empty() || Send(fmt::format("{:x}\r\n{}\r\n", bytes.size(), bytes));
  }
  bool EndStream() override { return Send("0\r\n\r\n"); }
  void Close() override {
    dead = true;
    if (!reset) ::shutdown(fd, SHUT_RDWR);  // a FIN would come before the RST
  }
  void Reset() override {
    const linger abort{1, 0};  // close with unsent data discarded: a RST on the wire
    ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort, sizeof abort);
    dead = true;
    reset = true;
  }
  bool PeerGone() override {
    pollfd poll_fd{fd, POLLIN | POLLRDHUP, 0};
    // Clients send nothing while they wait for an answer: whatever can be read is the end.
    return dead || (::poll(&poll_fd, 1, 0) > 0 && poll_fd.revents != 0);
  }
  std::stop_token stop() const override { return stop_token; }
  void SetGate(Gate& other) override { extra_gate = &other; }

  int fd;
  const TlsContext tls;
  const bool gzip;
  Gate& gate;
  const std::stop_token stop_token;
  Gate* extra_gate = nullptr;
  std::unique_ptr<SSL, decltype(&SSL_free)> ssl{nullptr, SSL_free};
  std::string input;
  HttpRequest current;
  std::atomic<bool> dead{false};
  std::atomic<bool> reset{false};
  std::atomic<bool> done{false};
  std::jthread thread;
};

// --- HttpServer ---

HttpServer::HttpServer(Options options, Gate& gate, Handler handler)
    : options_(std::move(options)),
      gate_(gate),
      handler_(std::move(handler)),
      port_(options_.port),
      tls_(options_.tls) {}

HttpServer::~HttpServer() { Stop(); }

absl::Status HttpServer::Start() {
  MutexLock control(control_mu_);
  if (listener_ >= 0) return absl::OkStatus();
  std::signal(SIGPIPE, SIG_IGN);  // OpenSSL writes with write()
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICHOST;
  addrinfo* found = nullptr;
  if (::getaddrinfo(options_.host.c_str(), std::to_string(port_).c_str(), &hints, &found) != 0) {
    return base::InvalidArgument("\"{}\" is no address to listen on", options_.host);
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> address(found, freeaddrinfo);
  const int fd = ::socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(fd, address->ai_addr, address->ai_addrlen) != 0 || ::listen(fd, 1024) != 0) {
    const int error = errno;
    ::close(fd);
    return base::Unavailable("cannot listen on {}:{}: {}", options_.host, port_.load(), std::strerror(error));
  }
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size);
  port_ = ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&bound)->sin6_port
                                            : reinterpret_cast<sockaddr_in*>(&bound)->sin_port);
  listener_ = fd;
  stop_.emplace();
  acceptor_ = base::StartThread("sim-accept", [this, fd, stop = stop_->get_token()] { Accept(fd, stop); });
  return absl::OkStatus();
}

void HttpServer::Stop() {
  MutexLock control(control_mu_);
  if (listener_ < 0) return;
  stop_->request_stop();
  ::shutdown(listener_, SHUT_RDWR);  // wakes accept
  acceptor_ = std::jthread();
  ::close(listener_);
  listener_ = -1;
  ResetConnections();
  std::list<std::unique_ptr<Connection>> dying;
  {
    MutexLock lock(mu_);
    dying.swap(connections_);
  }
  dying.clear();  // joins
}

void HttpServer::SetTls(TlsContext tls) {
  {
    MutexLock lock(mu_);
    tls_ = std::move(tls);
  }
  ResetConnections();
}

void HttpServer::ResetConnections() {
  MutexLock lock(mu_);
  for (const auto& connection : connections_) {
    connection->Reset();
    if (connection->fd >= 0) ::shutdown(connection->fd, SHUT_RD);  // wakes its thread, whose close then sends the RST
  }
}

void HttpServer::Accept(int listener, std::stop_token stop) {
  while (!stop.stop_requested()) {
    const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) {
      if (stop.stop_requested()) return;
      base::StopSignal(stop).WaitFor(std::chrono::milliseconds(10));  // out of descriptors: some will come free
      continue;
    }
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const timeval write_limit{0, 250000};
    ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &write_limit, sizeof write_limit);
    MutexLock lock(mu_);
    connections_.remove_if([](const auto& connection) { return connection->done.load(); });
    auto& connection = connections_.emplace_back(std::make_unique<Connection>(fd, tls_, options_.gzip, gate_, stop));
    connection->thread = base::StartThread("sim-conn", [this, &c = *connection] { Serve(c); });
  }
}

void HttpServer::Serve(Connection& connection) {
  gate_.Pass(connection.stop_token);
  if (connection.Handshake()) {
    while (!connection.dead && connection.ReadRequest()) {
      gate_.Pass(connection.stop_token);
      handler_(connection);
      if (Lower(connection.current.Header("connection")) == "close") break;
    }
  }
  if (connection.ssl && !connection.reset && !connection.dead) SSL_shutdown(connection.ssl.get());
  ERR_clear_error();
  {
    MutexLock lock(mu_);  // ResetConnections looks at fd
    connection.ssl.reset();
    if (!connection.reset) ::shutdown(connection.fd, SHUT_RDWR);
    ::close(std::exchange(connection.fd, -1));
  }
  connection.done = true;
}

}  // namespace clusterpulse::kubesim
