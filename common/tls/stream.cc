#include "common/tls/stream.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <functional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/mutex.h"
#include "common/base/status.h"

namespace clusterpulse::tls {
namespace {

using base::SteadyTime;

struct Deleter {
  void operator()(SSL_CTX* p) const { SSL_CTX_free(p); }
  void operator()(SSL* p) const { SSL_free(p); }
  void operator()(BIO* p) const { BIO_free(p); }
  void operator()(X509* p) const { X509_free(p); }
};
template <typename T>
using Owned = std::unique_ptr<T, Deleter>;

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_ = -1;
};

std::string ErrnoText(int error) { return std::generic_category().message(error); }

// The reasons OpenSSL queued on this thread, oldest first; empties the queue.
std::string SslErrors() {
  std::string text;
  while (const unsigned long code = ERR_get_error()) {
    std::array<char, 256> line;
    ERR_error_string_n(code, line.data(), line.size());
    const char* reason = ERR_reason_error_string(code);
    if (!text.empty()) text += "; ";
    text += reason != nullptr ? reason : line.data();
  }
  return text.empty() ? "unknown error" : text;
}

// Wakes polls of one stream when the stop token is triggered; costs nothing for tokens that cannot be.
class Waker {
 public:
  explicit Waker(std::stop_token stop)
      : stop_(std::move(stop)),
        fd_(stop_.stop_possible() ? eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) : -1),
        callback_(stop_, Wake{fd_.get()}) {}
  int fd() const { return fd_.get(); }
  bool stopped() const { return stop_.stop_requested(); }

 private:
  struct Wake {
    int fd;
    void operator()() const noexcept {
      const std::uint64_t one = 1;
      if (fd >= 0) (void)!write(fd, &one, sizeof one);  // a full counter is awake already
    }
  };
  std::stop_token stop_;
  Fd fd_;
  std::stop_callback<Wake> callback_;
};

// Waits until `fd` has one of `events`.
absl::Status WaitFor(int fd, short events, const Waker& waker, SteadyTime deadline) {
  for (;;) {
    if (waker.stopped()) return absl::CancelledError("stopped");
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    if (left <= 0) return absl::DeadlineExceededError("timed out");
    std::array<pollfd, 2> fds{{{fd, events, 0}, {waker.fd(), POLLIN, 0}}};
    const int n = poll(fds.data(), fds.size(), static_cast<int>(std::min<std::int64_t>(left, 1 << 30)));
    if (n < 0 && errno != EINTR) return base::Unavailable("poll: {}", ErrnoText(errno));
    if (n > 0 && fds[0].revents != 0) return absl::OkStatus();
  }
}

// OpenSSL's own socket BIO writes with write(2), which raises SIGPIPE on a dead connection. This one does not.
int BioWrite(BIO* bio, const char* data, int size) {
  BIO_clear_retry_flags(bio);
  const int fd = static_cast<int>(reinterpret_cast<std::intptr_t>(BIO_get_data(bio)));
  const auto n = send(fd, data, static_cast<std::size_t>(size), MSG_NOSIGNAL);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_write(bio);
  return static_cast<int>(n);
}

int BioRead(BIO* bio, char* out, int size) {
  BIO_clear_retry_flags(bio);
  const int fd = static_cast<int>(reinterpret_cast<std::intptr_t>(BIO_get_data(bio)));
  const auto n = recv(fd, out, static_cast<std::size_t>(size), 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_read(bio);
  return static_cast<int>(n);
}

long BioControl(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

BIO* NewSocketBio(int fd) {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket without SIGPIPE");
    BIO_meth_set_write(m, BioWrite);
    BIO_meth_set_read(m, BioRead);
    BIO_meth_set_ctrl(m, BioControl);
    return m;
  }();
  BIO* bio = BIO_new(method);
  // NOLINTNEXTLINE(performance-no-int-to-ptr): OpenSSL keeps a pointer for us; a descriptor needs nothing to point to.
  BIO_set_data(bio, reinterpret_cast<void*>(static_cast<std::intptr_t>(fd)));
  BIO_set_init(bio, 1);
  return bio;
}

absl::Status AddTrust(SSL_CTX* context, const ClientOptions& options) {
  if (!options.ca_pem.empty()) {
    const Owned<BIO> pem(BIO_new_mem_buf(options.ca_pem.data(), static_cast<int>(options.ca_pem.size())));
    int count = 0;
    while (const Owned<X509> cert{PEM_read_bio_X509(pem.get(), nullptr, nullptr, nullptr)}) {
      X509_STORE_add_cert(SSL_CTX_get_cert_store(context), cert.get());
      ++count;
    }
    ERR_clear_error();  // the end of the text is reported as an error
    return count > 0 ? absl::OkStatus() : absl::InvalidArgumentError("the CA text holds no PEM certificate");
  }
  if (!options.ca_file.empty()) {
    if (SSL_CTX_load_verify_file(context, options.ca_file.c_str()) == 1) return absl::OkStatus();
    return base::InvalidArgument("CA file {}: {}", options.ca_file, SslErrors());
  }
  if (SSL_CTX_set_default_verify_paths(context) == 1) return absl::OkStatus();
  return base::InvalidArgument("system trust store: {}", SslErrors());
}

absl::StatusOr<Owned<SSL_CTX>> NewContext(const ClientOptions& options) {
  ERR_clear_error();
  Owned<SSL_CTX> context(SSL_CTX_new(TLS_client_method()));
  if (context == nullptr) return base::Internal("TLS: {}", SslErrors());
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_mode(context.get(),
                   SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  RETURN_IF_ERROR(AddTrust(context.get(), options));
  if (options.cert_file.empty() != options.key_file.empty()) {
    return absl::InvalidArgumentError("a client certificate needs both certificate and key file");
  }
  if (!options.cert_file.empty()) {
    if (SSL_CTX_use_certificate_chain_file(context.get(), options.cert_file.c_str()) != 1) {
      return base::InvalidArgument("certificate file {}: {}", options.cert_file, SslErrors());
    }
    if (SSL_CTX_use_PrivateKey_file(context.get(), options.key_file.c_str(), SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(context.get()) != 1) {
      return base::InvalidArgument("key file {}: {}", options.key_file, SslErrors());
    }
  }
  return context;
}

bool IsIpAddress(const std::string& text) {
  std::array<unsigned char, sizeof(in6_addr)> address;
  return inet_pton(AF_INET, text.c_str(), address.data()) == 1 ||
         inet_pton(AF_INET6, text.c_str(), address.data()) == 1;
}

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
  int family = 0;
};

absl::StatusOr<std::vector<Address>> ResolveNow(const Endpoint& endpoint) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | (IsIpAddress(endpoint.host) ? AI_NUMERICHOST : AI_ADDRCONFIG);
  addrinfo* list = nullptr;
  const int error = getaddrinfo(endpoint.host.c_str(), std::to_string(endpoint.port).c_str(), &hints, &list);
  if (error != 0) return base::Unavailable("resolving {}: {}", endpoint.host, gai_strerror(error));
  std::vector<Address> addresses;
  for (const addrinfo* a = list; a != nullptr; a = a->ai_next) {
    Address address;
    std::memcpy(&address.storage, a->ai_addr, a->ai_addrlen);
    address.size = a->ai_addrlen;
    address.family = a->ai_family;
    addresses.push_back(address);
  }
  freeaddrinfo(list);
  return addresses;
}

// getaddrinfo cannot be interrupted and waits up to half a minute for a dead name server. So it runs on a thread that
// owns everything it touches and is left behind when the deadline passes: the only detached thread there is.
struct Lookup {
  base::Mutex mu;
  base::CondVar done_cv;
  std::optional<absl::StatusOr<std::vector<Address>>> result ABSL_GUARDED_BY(mu);
};

absl::StatusOr<std::vector<Address>> Resolve(const Endpoint& endpoint, const Waker& waker, SteadyTime deadline) {
  if (IsIpAddress(endpoint.host)) return ResolveNow(endpoint);
  auto lookup = std::make_shared<Lookup>();
  std::thread([lookup, endpoint] {
    auto result = ResolveNow(endpoint);
    base::MutexLock lock(lookup->mu);
    lookup->result = std::move(result);
    lookup->done_cv.NotifyAll();
  }).detach();
  base::MutexLock lock(lookup->mu);
  while (!lookup->result.has_value()) {
    if (waker.stopped()) return absl::CancelledError("stopped");
    const auto left = deadline - std::chrono::steady_clock::now();
    if (left <= std::chrono::nanoseconds(0)) {
      return base::MakeStatus(absl::StatusCode::kDeadlineExceeded, "resolving {}: timed out", endpoint.host);
    }
    lookup->done_cv.WaitFor(lookup->mu, std::min<std::chrono::nanoseconds>(left, std::chrono::milliseconds(50)));
  }
  return *std::move(lookup->result);
}

absl::StatusOr<Fd> ConnectTo(const Address& address, const Waker& waker, SteadyTime deadline) {
  Fd fd(socket(address.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) return base::Unavailable("socket: {}", ErrnoText(errno));
  const int on = 1;
  setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(fd.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.size) != 0) {
    if (errno != EINPROGRESS) return absl::UnavailableError(ErrnoText(errno));
    RETURN_IF_ERROR(WaitFor(fd.get(), POLLOUT, waker, deadline));
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return absl::UnavailableError(ErrnoText(error));
  }
  return fd;
}

}  // namespace

struct Stream::State {
  explicit State(std::stop_token stop) : waker(std::move(stop)) {}

  // Runs one OpenSSL call until it neither wants to read nor to write. Returns what it returned, which is > 0.
  absl::StatusOr<int> Retry(const std::function<int()>& call, SteadyTime deadline) {
    for (;;) {
      if (waker.stopped()) return absl::CancelledError("stopped");
      ERR_clear_error();
      errno = 0;
      const int n = call();
      if (n > 0) return n;
      switch (SSL_get_error(ssl.get(), n)) {
        case SSL_ERROR_WANT_READ:
          RETURN_IF_ERROR(WaitFor(fd.get(), POLLIN, waker, deadline));
          break;
        case SSL_ERROR_WANT_WRITE:
          RETURN_IF_ERROR(WaitFor(fd.get(), POLLOUT, waker, deadline));
          break;
        case SSL_ERROR_ZERO_RETURN:
          return absl::UnavailableError("closed by the peer");
        case SSL_ERROR_SYSCALL:
          return absl::UnavailableError(errno != 0 ? ErrnoText(errno) : "closed by the peer");
        default:
          return base::Unavailable("TLS: {}", SslErrors());
      }
    }
  }

  absl::Status Handshake(const ClientOptions& options, const std::string& host, SteadyTime deadline) {
    ASSIGN_OR_RETURN(const Owned<SSL_CTX> context, NewContext(options));
    ssl.reset(SSL_new(context.get()));
    if (ssl == nullptr) return base::Internal("TLS: {}", SslErrors());
    BIO* bio = NewSocketBio(fd.get());
    SSL_set_bio(ssl.get(), bio, bio);
    const std::string& name = options.server_name.empty() ? host : options.server_name;
    if (IsIpAddress(name)) {
      X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl.get()), name.c_str());
    } else {
      SSL_set_tlsext_host_name(ssl.get(), name.c_str());
      SSL_set1_host(ssl.get(), name.c_str());
    }
    const auto done = Retry([this] { return SSL_connect(ssl.get()); }, deadline);
    if (done.ok()) return absl::OkStatus();
    if (const long verdict = SSL_get_verify_result(ssl.get()); verdict != X509_V_OK) {
      return base::MakeStatus(absl::StatusCode::kUnauthenticated, "certificate of {} refused: {}", name,
                              X509_verify_cert_error_string(verdict));
    }
    return base::Annotate(done.status(), "TLS handshake");
  }

  Waker waker;
  Fd fd;
  Owned<SSL> ssl;  // null: plain TCP
  bool aborted = false;
};

std::string Endpoint::ToString() const {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
}

absl::StatusOr<Endpoint> ParseEndpoint(std::string_view text, std::uint16_t default_port) {
  const auto bad = [text] { return base::InvalidArgument("'{}' is not host:port", text); };
  Endpoint endpoint;
  endpoint.port = default_port;
  std::string_view port;
  bool has_port = false;
  if (text.starts_with('[')) {
    const auto end = text.find(']');
    if (end == std::string_view::npos) return bad();
    endpoint.host = text.substr(1, end - 1);
    const std::string_view rest = text.substr(end + 1);
    if (!rest.empty() && rest.front() != ':') return bad();
    has_port = !rest.empty();
    if (has_port) port = rest.substr(1);
  } else if (std::count(text.begin(), text.end(), ':') == 1) {
    const auto colon = text.find(':');
    endpoint.host = text.substr(0, colon);
    port = text.substr(colon + 1);
    has_port = true;
  } else {
    endpoint.host = text;  // a name, or a bare IPv6 address
  }
  if (has_port) {
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), endpoint.port);
    if (error != std::errc() || end != port.data() + port.size()) return bad();
  }
  if (endpoint.host.empty() || endpoint.port == 0) return bad();
  return endpoint;
}

Stream::Stream(std::unique_ptr<State> state) : state_(std::move(state)) {}

Stream::~Stream() {
  if (state_->ssl == nullptr || state_->aborted) return;
  ERR_clear_error();
  SSL_shutdown(state_->ssl.get());  // says goodbye when the socket takes it at once; nobody waits for the answer
  ERR_clear_error();
}

absl::StatusOr<std::unique_ptr<Stream>> Stream::Connect(const Endpoint& endpoint,
                                                        const std::optional<ClientOptions>& tls, SteadyTime deadline,
                                                        std::stop_token stop) {
  const std::string context = fmt::format("connecting to {}", endpoint.ToString());
  auto state = std::make_unique<State>(std::move(stop));
  ASSIGN_OR_RETURN(const auto addresses, Resolve(endpoint, state->waker, deadline), context);
  absl::Status last = absl::UnavailableError("no address");
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    const auto now = std::chrono::steady_clock::now();
    const auto share = (deadline - now) / static_cast<int>(addresses.size() - i);
    auto fd = ConnectTo(addresses[i], state->waker, now + share);
    last = fd.status();
    if (absl::IsCancelled(last)) break;
    if (!fd.ok()) continue;
    state->fd = *std::move(fd);
    if (tls.has_value()) last = state->Handshake(*tls, endpoint.host, deadline);
    if (last.ok()) return std::unique_ptr<Stream>(new Stream(std::move(state)));
    break;  // somebody answered: another address would not judge certificates differently
  }
  return base::Annotate(last, context);
}

void Stream::Abort() {
  const linger now{.l_onoff = 1, .l_linger = 0};
  setsockopt(state_->fd.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
  state_->aborted = true;
}

absl::Status Stream::Write(std::string_view bytes, SteadyTime deadline) {
  while (!bytes.empty()) {
    if (state_->ssl != nullptr) {
      const int size = static_cast<int>(std::min<std::size_t>(bytes.size(), 1 << 30));
      ASSIGN_OR_RETURN(const int n,
                       state_->Retry([&] { return SSL_write(state_->ssl.get(), bytes.data(), size); }, deadline));
      bytes.remove_prefix(static_cast<std::size_t>(n));
      continue;
    }
    if (state_->waker.stopped()) return absl::CancelledError("stopped");
    const auto n = send(state_->fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno == EAGAIN) {
      RETURN_IF_ERROR(WaitFor(state_->fd.get(), POLLOUT, state_->waker, deadline));
    } else if (errno != EINTR) {
      return base::Unavailable("write: {}", ErrnoText(errno));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::size_t> Stream::Read(char* out, std::size_t size, SteadyTime deadline) {
  if (state_->ssl != nullptr) {
    const int limit = static_cast<int>(std::min<std::size_t>(size, 1 << 30));
    ASSIGN_OR_RETURN(const int n, state_->Retry([&] { return SSL_read(state_->ssl.get(), out, limit); }, deadline));
    return static_cast<std::size_t>(n);
  }
  for (;;) {
    // Wait first: right after a request there is nothing to read yet, and a failed recv would cost a system call.
    RETURN_IF_ERROR(WaitFor(state_->fd.get(), POLLIN, state_->waker, deadline));
    const auto n = recv(state_->fd.get(), out, size, 0);
    if (n > 0) return static_cast<std::size_t>(n);
    if (n == 0) return absl::UnavailableError("closed by the peer");
    if (errno != EAGAIN && errno != EINTR) return base::Unavailable("read: {}", ErrnoText(errno));
  }
}

bool Stream::IsQuiet() const {
  if (state_->waker.stopped()) return false;
  if (state_->ssl != nullptr && SSL_pending(state_->ssl.get()) > 0) return false;
  pollfd fd{state_->fd.get(), POLLIN | POLLRDHUP, 0};
  // TLS 1.3 servers send session tickets after the handshake: bytes on a TLS socket prove nothing, an end does.
  if (poll(&fd, 1, 0) == 0) return true;
  return state_->ssl != nullptr && (fd.revents & (POLLRDHUP | POLLHUP | POLLERR)) == 0;
}

}  // namespace clusterpulse::tls
