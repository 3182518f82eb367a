#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
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

// Small HTTP/1.1 server for probes, metrics and the API. A connection holds one of a fixed number of threads; further
// ones wait unaccepted, so memory stays bounded. When none is free, the connection whose client has kept its thread
// waiting the longest (idle, or slow to send or to take; at least 100 ms) is ended in favour of the next, so that slow
// clients cannot lock others out. Request line and headers are bounded to 64 KiB in all. Byte ranges are ignored, and
// encoded bodies refused (415).
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
    int threads = 4;  // connections at once
    std::size_t max_body_bytes = 1 << 20;
    // From the first byte of a request to its last, and again for the whole reply; then the connection is ended.
    std::chrono::milliseconds request_timeout{10'000};
    std::chrono::milliseconds idle_timeout{5'000};  // between requests
  };
  // Binds and serves. kInvalidArgument: the address; kUnavailable: it cannot be bound (in use, not ours).
  static absl::StatusOr<std::unique_ptr<Server>> Start(Options options, std::vector<Route> routes);
  // Calls Stop.
  ~Server();

  int port() const { return port_; }
  // Stops accepting, ends what waits for its client, lets running handlers finish and joins the threads: within a
  // second when the handlers do. Replies still being sent after 300 ms are cut off. Idempotent; not from a
  // handler.
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
