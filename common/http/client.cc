#include "common/http/client.h"

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstring>
#include <ctime>
#include <exception>

#include <curl/curl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/x509_vfy.h>
#include <sys/socket.h>

#include "common/base/clock.h"
#include "common/base/status.h"
#include "common/http/pem.h"

namespace clusterpulse::http {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Steady = std::chrono::steady_clock;

constexpr seconds kMaxRetryAfter{3600};
// How long a server may leave what was sent, or the probes of a silent connection, without an answer.
constexpr milliseconds kVanished{30000};

// Once a process. curl_global_init is thread-safe, and so is a local static.
bool InitLibrary() {
  static const bool done = [] {
    struct sigaction now {};
    if (sigaction(SIGPIPE, nullptr, &now) == 0 && now.sa_handler == SIG_DFL) std::signal(SIGPIPE, SIG_IGN);
    return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  }();
  return done;
}

bool StartsWithNoCase(std::string_view text, std::string_view lower) {
  if (text.size() < lower.size()) return false;
  for (std::size_t i = 0; i < lower.size(); ++i) {
    const char c = text[i] >= 'A' && text[i] <= 'Z' ? static_cast<char>(text[i] - 'A' + 'a') : text[i];
    if (c != lower[i]) return false;
  }
  return true;
}

bool Contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

std::string_view TrimValue(std::string_view value) {
  while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
  while (!value.empty() && static_cast<unsigned char>(value.back()) <= ' ') value.remove_suffix(1);
  return value;
}

std::optional<seconds> ParseRetryAfter(std::string_view value) {
  std::int64_t count = 0;
  const auto result = std::from_chars(value.data(), value.data() + value.size(), count);
  if (result.ec != std::errc() || result.ptr != value.data() + value.size()) {
    const std::time_t at = curl_getdate(std::string(value).c_str(), nullptr);
    if (at < 0) return std::nullopt;
    count = at - std::time(nullptr);
  }
  return seconds(std::clamp<std::int64_t>(count, 0, kMaxRetryAfter.count()));
}

bool IsHeaderText(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return c == '\t' || (c >= ' ' && c != 0x7f); });
}

// Why the peer's certificate was refused, when libcurl's words for it are lost: a code of OpenSSL for the chain; when
// the chain was not the reason, the name was.
std::string VerifyReason(long verify_result) {
  // libcurl sets this one before each handshake, and leaves it where its own check of the name fails.
  if (verify_result <= X509_V_ERR_UNSPECIFIED) return "no subject name matches target host name";
  return X509_verify_cert_error_string(verify_result);
}

// What libcurl wrote, without the prefixes that say nothing to an operator.
std::string Reason(const char* error, int curl_code) {
  std::string_view text = error;
  if (text.empty()) text = curl_easy_strerror(static_cast<CURLcode>(curl_code));
  for (const std::string_view prefix : {"SSL certificate problem: ", "SSL: "}) {
    if (text.substr(0, prefix.size()) == prefix) text.remove_prefix(prefix.size());
  }
  return std::string(text.substr(0, 300));
}

}  // namespace

// One libcurl handle with a connection cache of its own: what keeps a connection alive between calls.
struct Client::Connection {
  CURLM* multi = curl_multi_init();
  CURL* easy = curl_easy_init();
  curl_slist* connect_to = nullptr;
  Steady::time_point idle_since{};
  char error[CURL_ERROR_SIZE] = {};
  // libcurl keeps the first words of a call. When a kept connection broke and the new one fails as well, they are not
  // about the failure.
  bool error_is_stale = false;

  Connection() = default;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() {
    curl_easy_cleanup(easy);
    curl_multi_cleanup(multi);
    curl_slist_free_all(connect_to);
  }
};

// One call as the libcurl callbacks see it.
struct Client::Exchange {
  const Request& request;
  BodyVisitor visit;
  std::size_t max_header_bytes;
  std::size_t sent = 0;  // of the body of a POST
  Response head;
  std::size_t header_bytes = 0;
  bool has_head = false;
  Steady::time_point head_at{};  // when it was complete
  absl::Status failure;          // why a callback ended the transfer

  Exchange(const Request& r, BodyVisitor v, std::size_t max) : request(r), visit(v), max_header_bytes(max) {}

  std::size_t OnHeader(std::string_view line) {
    header_bytes += line.size();
    if (header_bytes > max_header_bytes) {
      failure = absl::DataLossError(fmt::format("the response headers are larger than {} bytes", max_header_bytes));
      return 0;
    }
    if (has_head) return line.size();  // a trailer behind the body
    if (line.substr(0, 5) == "HTTP/") {
      head = Response();
      const auto space = line.find(' ');
      if (space != std::string_view::npos)
        std::from_chars(line.data() + space + 1, line.data() + line.size(), head.code);
    } else if (StartsWithNoCase(line, "content-type:")) {
      head.content_type = TrimValue(line.substr(13));
    } else if (StartsWithNoCase(line, "retry-after:")) {
      head.retry_after = ParseRetryAfter(TrimValue(line.substr(12)));
    } else if (line == "\r\n" || line == "\n") {
      has_head = head.code >= 200;  // 1xx come before the real one
      head_at = Steady::now();
    }
    return line.size();
  }

  std::size_t OnBody(std::string_view bytes) {
    try {  // an exception must not pass through libcurl
      failure = visit(head, bytes);
    } catch (const std::exception& e) {
      failure = base::Internal("reading the response: {}", e.what());
    }
    return failure.ok() ? bytes.size() : 0;
  }

  std::size_t ReadBody(char* out, std::size_t room) {
    const std::size_t count = std::min(room, request.body.size() - sent);
    std::memcpy(out, request.body.data() + sent, count);
    sent += count;
    return count;
  }
};

absl::StatusOr<std::unique_ptr<Client>> Client::Create(Options options) {
  if (!InitLibrary()) return base::Internal("libcurl cannot be initialised");
  ASSIGN_OR_RETURN(Url base, ParseUrl(options.base_url));
  const TlsOptions& tls = options.tls;
  if (tls.insecure_skip_verify && !tls.ca_pem.empty()) {
    return base::InvalidArgument("CA certificates are given, but verification is switched off: choose one");
  }
  if (!tls.ca_pem.empty()) RETURN_IF_ERROR(CheckCaPem(tls.ca_pem));
  if (tls.client_cert_pem.empty() != tls.client_key_pem.empty()) {
    return base::InvalidArgument("a client certificate and its key are only usable together: the {} is missing",
                                 tls.client_cert_pem.empty() ? "certificate" : "key");
  }
  if (!tls.client_cert_pem.empty()) RETURN_IF_ERROR(CheckClientPem(tls.client_cert_pem, tls.client_key_pem));
  if (!IsHeaderText(options.user_agent)) return base::InvalidArgument("the user agent has control characters in it");
  if (!tls.server_name.empty()) {
    // It becomes the host of the URL that libcurl gets.
    const bool is_ipv6 = Contains(tls.server_name, ":");
    const std::string url = fmt::format("https://{}{}{}", is_ipv6 ? "[" : "", tls.server_name, is_ipv6 ? "]" : "");
    const auto parsed = ParseUrl(url);
    if (!parsed.ok() || !parsed->path.empty() || parsed->port != 443) {
      return base::InvalidArgument("the TLS server name is no host name");
    }
  }
  const std::string chosen = options.proxy_url.empty() ? ChooseProxy(base, options.proxy_settings) : options.proxy_url;
  std::optional<Proxy> proxy;
  if (!chosen.empty()) {
    ASSIGN_OR_RETURN(proxy, ParseProxy(chosen));
  }
  return std::unique_ptr<Client>(new Client(std::move(options), std::move(base), std::move(proxy)));
}

Client::Client(Options options, Url base, std::optional<Proxy> proxy)
    : options_(std::move(options)), base_(std::move(base)), proxy_(std::move(proxy)) {}

Client::~Client() = default;

std::unique_ptr<Client::Connection> Client::NewConnection() const {
  auto connection = std::make_unique<Connection>();
  if (connection->easy == nullptr || connection->multi == nullptr) return nullptr;
  CURL* easy = connection->easy;
  bool ok = curl_multi_setopt(connection->multi, CURLMOPT_MAXCONNECTS, 1L) == CURLM_OK;
  const auto set = [&](CURLoption option, auto value) { ok = curl_easy_setopt(easy, option, value) == CURLE_OK && ok; };
  const auto set_pem = [&](CURLoption option, const std::string& pem) {
    // Not copied: options_ lives longer.
    curl_blob blob{const_cast<char*>(pem.data()), pem.size(), CURL_BLOB_NOCOPY};
    set(option, &blob);
  };

  set(CURLOPT_ERRORBUFFER, connection->error);
  set(CURLOPT_SOCKOPTDATA, connection.get());
  set(
      CURLOPT_SOCKOPTFUNCTION, +[](void* self, curl_socket_t socket, curlsocktype) -> int {
        auto& opening = *static_cast<Connection*>(self);
        opening.error_is_stale = opening.error[0] != '\0';
        // libcurl has no option for it, and the kernel's own limits are minutes.
        const auto vanished = static_cast<int>(kVanished.count());
        setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &vanished, sizeof vanished);
        return CURL_SOCKOPT_OK;
      });
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_QUICK_EXIT, 1L);  // do not wait for a name lookup that was given up
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(CURLOPT_HTTP09_ALLOWED, 0L);
  set(CURLOPT_ACCEPT_ENCODING, "gzip");
  set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options_.connect_timeout.count()));
  set(CURLOPT_MAXAGE_CONN, static_cast<long>(options_.max_idle_age.count()));
  set(CURLOPT_TCP_KEEPALIVE, 1L);
  set(CURLOPT_TCP_KEEPIDLE, 15L);
  set(CURLOPT_TCP_KEEPINTVL, 5L);
  set(CURLOPT_BUFFERSIZE, 64L << 10);
  set(CURLOPT_USERAGENT, options_.user_agent.c_str());
  set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);

  set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  const TlsOptions& tls = options_.tls;
  if (tls.insecure_skip_verify) {
    set(CURLOPT_SSL_VERIFYPEER, 0L);
    set(CURLOPT_SSL_VERIFYHOST, 0L);
  }
  if (!tls.ca_pem.empty()) {
    set(CURLOPT_CAPATH, static_cast<char*>(nullptr));  // otherwise the system's roots would be trusted as well
    set_pem(CURLOPT_CAINFO_BLOB, tls.ca_pem);
  }
  if (!tls.client_cert_pem.empty()) {
    set(CURLOPT_SSLCERTTYPE, "PEM");
    set(CURLOPT_SSLKEYTYPE, "PEM");
    set_pem(CURLOPT_SSLCERT_BLOB, tls.client_cert_pem);
    set_pem(CURLOPT_SSLKEY_BLOB, tls.client_key_pem);
  }
  if (!tls.server_name.empty() && base_.scheme == "https") {
    const bool is_ipv6 = Contains(base_.host, ":");
    const bool name_is_ipv6 = Contains(tls.server_name, ":");
    const std::string line =
        fmt::format("{}{}{}:{}:{}{}{}:{}", name_is_ipv6 ? "[" : "", tls.server_name, name_is_ipv6 ? "]" : "",
                    base_.port, is_ipv6 ? "[" : "", base_.host, is_ipv6 ? "]" : "", base_.port);
    connection->connect_to = curl_slist_append(nullptr, line.c_str());
    set(CURLOPT_CONNECT_TO, connection->connect_to);
  }
  // Both set always, so that libcurl never reads the environment itself.
  set(CURLOPT_PROXY, proxy_ ? proxy_->url.c_str() : "");
  set(CURLOPT_NOPROXY, "");
  return ok ? std::move(connection) : nullptr;
}

std::unique_ptr<Client::Connection> Client::Take() {
  std::vector<std::unique_ptr<Connection>> old;  // closed outside the lock
  const auto oldest = Steady::now() - options_.max_idle_age;
  base::MutexLock lock(mu_);
  auto fresh = std::find_if(idle_.begin(), idle_.end(), [&](const auto& c) { return c->idle_since >= oldest; });
  old.assign(std::make_move_iterator(idle_.begin()), std::make_move_iterator(fresh));
  idle_.erase(idle_.begin(), fresh);
  if (idle_.empty()) return nullptr;
  auto connection = std::move(idle_.back());
  idle_.pop_back();
  return connection;
}

void Client::GiveBack(std::unique_ptr<Connection> connection) {
  connection->idle_since = Steady::now();
  base::MutexLock lock(mu_);
  if (static_cast<int>(idle_.size()) < options_.max_idle) idle_.push_back(std::move(connection));
}

void Client::CloseIdle() {
  std::vector<std::unique_ptr<Connection>> old;
  base::MutexLock lock(mu_);
  old.swap(idle_);
}

absl::StatusOr<Response> Client::Fetch(const Request& request, json::Buffer& body, const Limits& limits) {
  body.Clear();
  return Stream(
      request,
      [&](const Response&, std::string_view bytes) -> absl::Status {
        if (body.size() + bytes.size() > options_.max_body_bytes) {
          return absl::DataLossError(fmt::format("the response is larger than {} bytes", options_.max_body_bytes));
        }
        body.Append(bytes);
        return absl::OkStatus();
      },
      limits);
}

absl::StatusOr<Response> Client::Stream(const Request& request, BodyVisitor visit, const Limits& limits) {
  if (limits.stop.stop_requested()) return absl::CancelledError("stopped");
  if (request.target.empty() || request.target.front() != '/' ||
      std::any_of(request.target.begin(), request.target.end(),
                  [](unsigned char c) { return c <= ' ' || c >= 0x7f; })) {
    return base::InvalidArgument("the request path is empty or has characters that need escaping");
  }
  curl_slist* list = nullptr;
  const std::unique_ptr<curl_slist*, void (*)(curl_slist**)> free_list(&list,
                                                                       [](curl_slist** l) { curl_slist_free_all(*l); });
  const auto add = [&list](const std::string& line) { list = curl_slist_append(list, line.c_str()); };
  for (const auto& [name, value] : request.headers) {
    if (!IsHeaderText(name) || !IsHeaderText(value)) {
      return base::InvalidArgument("the value of request header {} has control characters in it",
                                   IsHeaderText(name) ? name : "?");
    }
    add(fmt::format("{}: {}", name, value));
  }
  add("Expect:");  // no wait for "100 Continue"
  const bool renamed = !options_.tls.server_name.empty() && base_.scheme == "https";
  if (renamed) add("Host: " + base_.Authority());

  auto connection = Take();
  if (connection == nullptr) connection = NewConnection();
  if (connection == nullptr) return absl::ResourceExhaustedError("no memory for another connection");
  CURL* easy = connection->easy;
  connection->error[0] = '\0';
  connection->error_is_stale = false;

  Exchange exchange(request, visit, options_.max_header_bytes);
  Url url = base_;
  if (renamed) url.host = options_.tls.server_name;
  curl_easy_setopt(easy, CURLOPT_URL, (url.Origin() + base_.path + request.target).c_str());
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, list);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &exchange);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &exchange);
  curl_easy_setopt(
      easy, CURLOPT_HEADERFUNCTION, +[](char* data, std::size_t size, std::size_t n, void* self) {
        return static_cast<Exchange*>(self)->OnHeader({data, size * n});
      });
  curl_easy_setopt(
      easy, CURLOPT_WRITEFUNCTION, +[](char* data, std::size_t size, std::size_t n, void* self) {
        return static_cast<Exchange*>(self)->OnBody({data, size * n});
      });
  curl_easy_setopt(easy, CURLOPT_POSTFIELDS, nullptr);  // makes it a POST: before the next line
  curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
  curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, nullptr);
  if (request.method == "HEAD") {
    curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  } else if (request.method == "POST") {
    // Read piecewise and not rewindable: libcurl then cannot send a POST twice that the server may have acted on.
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    curl_easy_setopt(easy, CURLOPT_READDATA, &exchange);
    curl_easy_setopt(
        easy, CURLOPT_READFUNCTION, +[](char* out, std::size_t size, std::size_t n, void* self) {
          return static_cast<Exchange*>(self)->ReadBody(out, size * n);
        });
  } else if (request.method != "GET" || !request.body.empty()) {
    if (!request.body.empty()) {
      curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
      curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request.body.data());
    }
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }

  const absl::Status status = Run(*connection, exchange, limits);
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, nullptr);
  if (!status.ok()) return status;  // and the connection is closed
  GiveBack(std::move(connection));
  return exchange.head;
}

absl::Status Client::Run(Connection& connection, Exchange& exchange, const Limits& limits) const {
  constexpr milliseconds kForever = std::chrono::hours(8760);  // keeps the sums below from overflowing
  const auto start = Steady::now();
  const auto deadline = start + std::min(limits.timeout, kForever);
  if (curl_multi_add_handle(connection.multi, connection.easy) != CURLM_OK) {
    return base::Internal("libcurl refused a transfer");
  }
  int code = -1;
  absl::Status status;
  {
    const std::stop_callback wake(limits.stop, [&connection] { curl_multi_wakeup(connection.multi); });
    while (true) {
      int running = 0;
      if (curl_multi_perform(connection.multi, &running) != CURLM_OK) {
        status = base::Internal("libcurl failed to go on with a transfer");
        break;
      }
      if (running == 0) {
        int left = 0;
        while (const CURLMsg* message = curl_multi_info_read(connection.multi, &left)) {
          if (message->msg == CURLMSG_DONE) code = message->data.result;
        }
        break;
      }
      if (limits.stop.stop_requested()) {
        status = absl::CancelledError("stopped");
        break;
      }
      const bool streams = limits.stream > milliseconds::zero() && exchange.has_head;
      const auto limit = streams ? exchange.head_at + std::min(limits.stream, kForever) : deadline;
      const auto left = std::chrono::ceil<milliseconds>(limit - Steady::now());
      if (left <= milliseconds::zero()) {
        status = TimedOut(connection, exchange, streams ? limits.stream : limits.timeout);
        break;
      }
      curl_multi_poll(connection.multi, nullptr, 0, static_cast<int>(std::min<milliseconds>(left, seconds(60)).count()),
                      nullptr);
    }
  }
  if (status.ok() && code != CURLE_OK) status = Failure(connection, exchange, code);
  curl_multi_remove_handle(connection.multi, connection.easy);
  if (status.ok() && !exchange.has_head) {
    status = base::Unavailable("the connection to {} ended in the middle of the response headers", base_.Origin());
  }
  return status;
}

absl::Status Client::TimedOut(Connection& connection, const Exchange& exchange, milliseconds limit) const {
  const char* phase = "while reading the response";
  double connected = 0;
  curl_easy_getinfo(connection.easy, CURLINFO_PRETRANSFER_TIME, &connected);
  if (!exchange.has_head) phase = connected > 0 ? "while waiting for the response" : "while connecting";
  return absl::DeadlineExceededError(
      fmt::format("{}: no answer within {} ms, {}", base_.Origin(), limit.count(), phase));
}

absl::Status Client::Failure(Connection& connection, const Exchange& exchange, int curl_code) const {
  if (!exchange.failure.ok()) return base::Annotate(exchange.failure, base_.Origin());
  long verify_result = 0;
  curl_easy_getinfo(connection.easy, CURLINFO_SSL_VERIFYRESULT, &verify_result);
  // A kept connection is replaced only when it broke, so of a break the first words are as good.
  const bool is_break = curl_code == CURLE_RECV_ERROR || curl_code == CURLE_SEND_ERROR;
  const bool is_stale = connection.error_is_stale && !is_break;
  const std::string reason = is_stale && curl_code == CURLE_PEER_FAILED_VERIFICATION
                                 ? VerifyReason(verify_result)
                                 : Reason(is_stale ? "" : connection.error, curl_code);
  const std::string origin = base_.Origin();
  const std::string via = proxy_ ? fmt::format(" through the proxy {}", proxy_->name) : "";
  const auto error = [](absl::StatusCode code, const std::string& message) { return absl::Status(code, message); };

  long proxy_code = 0, proxy_verify = 0;
  curl_easy_getinfo(connection.easy, CURLINFO_HTTP_CONNECTCODE, &proxy_code);
  curl_easy_getinfo(connection.easy, CURLINFO_PROXY_SSL_VERIFYRESULT, &proxy_verify);
  if (proxy_ && proxy_code >= 300) {
    return error(
        proxy_code == 407 ? absl::StatusCode::kUnauthenticated : absl::StatusCode::kUnavailable,
        fmt::format("the proxy {} refused the connection to {} with HTTP {}", proxy_->name, origin, proxy_code));
  }
  switch (curl_code) {
    case CURLE_PEER_FAILED_VERIFICATION:
      if (Contains(reason, "target host name") || Contains(reason, "subject name")) {
        return error(absl::StatusCode::kUnauthenticated,
                     fmt::format("the certificate of {} is for another name: {}", origin, reason));
      }
      return error(absl::StatusCode::kUnauthenticated,
                   fmt::format("the certificate of {} is not trusted: {}",
                               proxy_ && proxy_verify != 0 ? "the proxy " + proxy_->name : origin, reason));
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
      return error(absl::StatusCode::kUnauthenticated, fmt::format("TLS with {}: {}", origin, reason));
    case CURLE_SSL_CONNECT_ERROR:
      // An alert or a protocol error is somebody's configuration; a connection that broke during the handshake is not.
      if (Contains(reason, "wrong version number") || Contains(reason, "http request")) {
        return error(absl::StatusCode::kUnauthenticated, fmt::format("{} does not speak TLS: {}", origin, reason));
      }
      if (Contains(reason, "error:")) {
        return error(absl::StatusCode::kUnauthenticated, fmt::format("TLS with {} was refused: {}", origin, reason));
      }
      return error(absl::StatusCode::kUnavailable, fmt::format("TLS handshake with {} failed: {}", origin, reason));
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
      // TLS 1.3 servers judge our certificate after the handshake.
      if (Contains(reason, "alert") && (Contains(reason, "certificate") || Contains(reason, "unknown ca"))) {
        return error(absl::StatusCode::kUnauthenticated,
                     fmt::format("{} refused our client certificate: {}", origin, reason));
      }
      return error(absl::StatusCode::kUnavailable,
                   fmt::format("the connection to {} broke{}: {}", origin, via, reason));
    case CURLE_SEND_FAIL_REWIND:
    case CURLE_GOT_NOTHING:
      return error(absl::StatusCode::kUnavailable,
                   fmt::format("{} closed the connection{} without an answer", origin, via));
    case CURLE_PARTIAL_FILE:
      return error(absl::StatusCode::kUnavailable,
                   fmt::format("the connection to {} ended in the middle of the response", origin));
    case CURLE_COULDNT_RESOLVE_HOST:
      return error(absl::StatusCode::kUnavailable, fmt::format("{}: {}", origin, reason));
    case CURLE_COULDNT_RESOLVE_PROXY:
      return error(absl::StatusCode::kUnavailable,
                   fmt::format("cannot resolve the name of the proxy {}", proxy_->name));
    case CURLE_COULDNT_CONNECT: {
      long os_error = 0;
      curl_easy_getinfo(connection.easy, CURLINFO_OS_ERRNO, &os_error);
      const std::string why = os_error != 0 ? std::generic_category().message(static_cast<int>(os_error)) : reason;
      return error(absl::StatusCode::kUnavailable, fmt::format("cannot connect to {}{}: {}", origin, via, why));
    }
    case CURLE_PROXY:
      return error(absl::StatusCode::kUnavailable, fmt::format("cannot reach {}{}: {}", origin, via, reason));
    case CURLE_OPERATION_TIMEDOUT:
      return error(absl::StatusCode::kDeadlineExceeded,
                   fmt::format("no connection to {}{} within {} ms", origin, via, options_.connect_timeout.count()));
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING:
      return error(absl::StatusCode::kDataLoss, fmt::format("{} answered with broken HTTP: {}", origin, reason));
    case CURLE_OUT_OF_MEMORY:
      return error(absl::StatusCode::kResourceExhausted, fmt::format("{}: out of memory", origin));
    case CURLE_URL_MALFORMAT:
      return error(absl::StatusCode::kInvalidArgument, fmt::format("{}: {}", origin, reason));
    default:
      return error(absl::StatusCode::kUnavailable, fmt::format("{}{}: {}", origin, via, reason));
  }
}

}  // namespace clusterpulse::http
