#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <absl/status/status.h>

#include "common/base/mutex.h"
#include "tests/kubesim/tls.h"

namespace clusterpulse::kubesim {

// Lets traffic through, or holds it as a stopped process would: connections stay open and nothing moves. Thread-safe.
class Gate {
 public:
  void Freeze();
  void Open();
  // Waits while frozen; `stop` ends the wait.
  void Pass(std::stop_token stop);

 private:
  base::Mutex mu_;
  base::CondVar changed_;
  std::atomic<bool> frozen_{false};  // read without the lock on the fast path
};

struct HttpRequest {
  std::string method;
  std::string path;                            // percent-decoded, without the query
  std::map<std::string, std::string> query;    // decoded
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;

  std::string_view Header(const std::string& name) const;
  std::string_view Query(const std::string& name) const;
  std::int64_t QueryInt(const std::string& name, std::int64_t fallback) const;
  bool QueryBool(const std::string& name) const;
};

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

// One request being answered, on its connection's thread. Each write waits at the gate. After a false the peer is gone.
class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual const HttpRequest& request() const = 0;
  virtual HttpRequest& request() = 0;

  // A whole answer. Bodies from 128 KiB are compressed when the client accepts gzip, as real servers do.
  virtual bool Respond(int code, std::string_view content_type, std::string_view body,
                       const HttpHeaders& headers = {}) = 0;
  // A chunked answer; Write sends one chunk at once.
  virtual bool BeginStream(int code, std::string_view content_type) = 0;
  virtual bool Write(std::string_view bytes) = 0;
  virtual bool EndStream() = 0;

  // Faults. Half: the headers and the first half of what Respond would send, then a close.
  virtual bool RespondHalf(int code, std::string_view content_type, std::string_view body) = 0;
  virtual void Close() = 0;  // orderly, without the end of a stream
  virtual void Reset() = 0;  // TCP RST

  virtual bool PeerGone() = 0;
  // Requested when the server stops.
  virtual std::stop_token stop() const = 0;
  // Further writes wait at this gate too. It must outlive the exchange.
  virtual void SetGate(Gate& gate) = 0;
};

// A small HTTP/1.1 server over sockets and OpenSSL: one thread per connection, keep-alive, full control over how
// connections die, which is why no library is used. Headers up to 64 KiB, bodies up to 16 MiB. Thread-safe.
class HttpServer {
 public:
  using Handler = std::function<void(Exchange&)>;
  struct Options {
    std::string host = "127.0.0.1";
    int port = 0;    // 0: any free one, kept over Stop and Start
    TlsContext tls;  // null: plain text
    bool gzip = true;
  };

  // `handler` runs on many threads at once; `gate` is borrowed and must outlive this.
  HttpServer(Options options, Gate& gate, Handler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Listens; kUnavailable when the port is taken. Does nothing when running.
  absl::Status Start();
  // Closes the listener, resets every connection and waits for their threads. Start begins anew on the same port.
  void Stop();
  // For connections from now on; the present ones are reset.
  void SetTls(TlsContext tls);
  void ResetConnections();

  int port() const { return port_; }

 private:
  struct Connection;

  void Accept(int listener, std::stop_token stop);
  void Serve(Connection& connection);

  const Options options_;
  Gate& gate_;
  const Handler handler_;
  std::atomic<int> port_{0};

  base::Mutex control_mu_;  // taken before mu_; one Start or Stop at a time
  int listener_ ABSL_GUARDED_BY(control_mu_) = -1;
  std::jthread acceptor_ ABSL_GUARDED_BY(control_mu_);
  std::optional<std::stop_source> stop_ ABSL_GUARDED_BY(control_mu_);

  base::Mutex mu_;
  TlsContext tls_ ABSL_GUARDED_BY(mu_);
  std::list<std::unique_ptr<Connection>> connections_ ABSL_GUARDED_BY(mu_);
};

}  // namespace clusterpulse::kubesim
