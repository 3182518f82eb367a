#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <absl/status/statusor.h>

namespace clusterpulse::http {

struct ServerRequest {
  std::string method;                               // "GET", ...
  std::string path;                                 // decoded
  std::multimap<std::string, std::string> query;    // decoded
  std::multimap<std::string, std::string> headers;  // names in lower case
  std::string body;
  std::string peer;  // address of the other side
};

struct ServerReply {
  int code = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
};

// Small HTTP/1.1 server for probes, metrics and the API. Handlers run on a fixed number of threads; further connections
// wait unaccepted, so memory stays bounded. A slow client holds its thread for at most 10 s of silence.
class Server {
 public:
  using Handler = std::function<ServerReply(const ServerRequest&)>;
  struct Route {
    std::string method;  // "GET" answers HEAD too
    std::string path;    // exact, or every path below it when it ends with '/'; the longest match wins
    Handler handler;     // called from several threads at once; an exception becomes a 500 without its text
  };
  struct Options {
    std::string name = "http";  // of the accepting thread, for process lists
    // "host:port", "[::1]:port", or ":port" for every IPv4 and IPv6 address. Port 0 takes a free one.
    std::string address;
    int threads = 4;
    std::size_t max_body_bytes = 1 << 20;
  };
  // Binds and serves. kInvalidArgument: the address; kUnavailable: it cannot be bound (in use, not ours).
  static absl::StatusOr<std::unique_ptr<Server>> Start(Options options, std::vector<Route> routes);
  // Calls Stop.
  ~Server();

  int port() const { return port_; }
  // Stops accepting, lets running handlers finish and joins the threads. Idempotent; not from a handler.
  void Stop();

 private:
  struct Core;
  explicit Server(std::unique_ptr<Core> core);

  std::unique_ptr<Core> core_;
  int port_ = 0;
  std::jthread thread_;
};

struct ListenAddress {
  std::string host;  // empty: all addresses
  int port = 0;
};
absl::StatusOr<ListenAddress> ParseListenAddress(const std::string& address);

}  // namespace clusterpulse::http
