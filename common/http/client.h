#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "common/base/mutex.h"
#include "common/http/proxy.h"
#include "common/http/url.h"
#include "common/json/buffer.h"

namespace clusterpulse::http {

struct TlsOptions {
  std::string ca_pem;                           // trusted instead of the system's roots when not empty
  std::string client_cert_pem, client_key_pem;  // both or neither
  bool insecure_skip_verify = false;            // trusts any certificate
  std::string server_name;                      // name asked for and checked instead of the URL's host
};

struct Request {
  std::string method = "GET";
  std::string target;  // path and query behind the base URL: "/api/v1/pods?limit=500"
  std::vector<std::pair<std::string, std::string>> headers;
  std::string_view body;  // borrowed until the call returns
};

struct Response {
  int code = 0;
  std::string content_type;                         // as sent, empty when absent
  std::optional<std::chrono::seconds> retry_after;  // seconds or date, at most an hour
};

struct Limits {
  // The whole exchange; with `stream` set: until the response headers are there.
  std::chrono::milliseconds timeout{30000};
  // Streaming: how long the body may take once the response headers are there. Zero: not a stream.
  std::chrono::milliseconds stream{0};
  std::stop_token stop{};
};

// HTTP/1.1 client for one server, over libcurl (docs/decisions/0001). Each call blocks its caller until the answer, the
// limit or `stop`; stop takes effect at once in every phase, name resolution and connecting included. Connections are
// kept alive and reused; one whose server vanished without a word breaks within about 30 s; a request that finds a
// reused connection closed and got nothing back is sent once more on a new one (a POST only when its body had not been
// sent). No redirects, TLS 1.2 or later, gzip accepted and undone.
//
// Thread-safe; as many calls at once as there are callers, each on a connection of its own. Any HTTP code is an ok
// result; an error means there was no complete answer:
//   kUnauthenticated    certificate not trusted, expired or for another name; our certificate, or credentials for the
//                       proxy, refused; no common TLS version; the server does not speak TLS
//   kUnavailable        name not found, connection refused, reset or ended early, proxy failed
//   kDeadlineExceeded   names the limit and the phase
//   kCancelled          `stop`
//   kDataLoss           no HTTP, broken encoding, headers or body over their bound
//   kInvalidArgument    bad options or request
// Messages name the server and never hold header values or secrets. SIGPIPE is set to ignored by the first Create when
// it still had its default action.
class Client {
 public:
  struct Options {
    std::string base_url;  // "https://host:port/prefix"
    TlsOptions tls;
    std::string proxy_url;  // wins over proxy_settings
    ProxySettings proxy_settings = ProxySettings::FromEnvironment();
    std::string user_agent = "clusterpulse";
    std::chrono::milliseconds connect_timeout{10000};  // name, connection and TLS handshake
    // Connections kept for the next call. More may be in use at once; those are closed when their call ends.
    int max_idle = 4;
    std::chrono::seconds max_idle_age{90};
    std::size_t max_body_bytes = std::size_t{64} << 20;  // of Fetch, after gunzip
    std::size_t max_header_bytes = std::size_t{64} << 10;
  };
  // kInvalidArgument: bad URL, bad PEM, certificate without key and the like.
  static absl::StatusOr<std::unique_ptr<Client>> Create(Options options);
  // REQUIRES: no call is running.
  ~Client();

  // Puts the whole body into `body`, which is cleared first.
  absl::StatusOr<Response> Fetch(const Request& request, json::Buffer& body, const Limits& limits);

  // Called with the head of the response and each piece of the body as it arrives, on the caller's thread; not called
  // for an empty body. An error ends the call with that error. While it runs neither limits nor stop take effect.
  using BodyVisitor = absl::FunctionRef<absl::Status(const Response& head, std::string_view bytes)>;
  absl::StatusOr<Response> Stream(const Request& request, BodyVisitor visit, const Limits& limits);

  // Closes the idle connections, for example after a change of credentials.
  void CloseIdle();

  const Url& base_url() const { return base_; }

 private:
  struct Connection;
  struct Exchange;

  Client(Options options, Url base, std::optional<Proxy> proxy);
  std::unique_ptr<Connection> Take();
  void GiveBack(std::unique_ptr<Connection> connection);
  std::unique_ptr<Connection> NewConnection() const;
  absl::Status Run(Connection& connection, Exchange& exchange, const Limits& limits) const;
  absl::Status Failure(Connection& connection, const Exchange& exchange, int curl_code) const;
  absl::Status TimedOut(Connection& connection, const Exchange& exchange, std::chrono::milliseconds limit) const;

  // Constant after construction.
  const Options options_;
  const Url base_;
  const std::optional<Proxy> proxy_;

  base::Mutex mu_;
  std::vector<std::unique_ptr<Connection>> idle_ ABSL_GUARDED_BY(mu_);  // most recently used last
};

}  // namespace clusterpulse::http
