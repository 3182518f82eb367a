#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "common/base/mutex.h"

namespace clusterpulse::http {

// A TCP server on 127.0.0.1 whose every byte the test decides: half answers, resets, silence. Each connection runs the
// script on a thread of its own. Stopping it (the destructor does) makes every read and write fail, so scripts end.
class RawServer {
 public:
  class Connection {
   public:
    explicit Connection(int fd) : fd_(fd) {}
    // The next request, headers and body (by Content-Length or chunks); empty when the client is gone.
    std::string ReadRequest();
    // Whatever comes first, HTTP or not; empty when the client is gone.
    std::string ReadSome();
    // False when the client is gone.
    bool Write(std::string_view bytes);
    // A whole answer with Content-Length; the connection stays open.
    bool Answer(std::string_view body, int code = 200, std::string_view headers = "Content-Type: application/json\r\n");
    // Hands the bytes of client and server on to each other, to a server on 127.0.0.1, until one of them ends, or the
    // client sends something while `cut` holds.
    void RelayTo(int port, const std::function<bool()>& cut);
    // Waits until the client closes its side; nothing more is read.
    void WaitForEnd();
    // The script's end would close with FIN; this makes it RST.
    void Reset();

   private:
    int fd_;
    std::string buffer_;
  };
  // `index` counts connections from 0.
  using Script = std::function<void(Connection& connection, int index)>;

  explicit RawServer(Script script);
  ~RawServer();
  int port() const { return port_; }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  int connections() const { return connections_; }
  // Requests read so far, over all connections.
  std::vector<std::string> requests() const;
  void Stop();

 private:
  void Accept();

  const Script script_;
  int port_ = 0;  // set while listener_ is made
  int listener_ = -1;
  std::atomic<int> connections_ = 0;
  mutable base::Mutex mu_;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<int> open_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> requests_ ABSL_GUARDED_BY(mu_);
  std::vector<std::jthread> workers_ ABSL_GUARDED_BY(mu_);
  std::jthread acceptor_;
  friend class Connection;
  static thread_local RawServer* current_;  // of the script's thread
};

// A port of 127.0.0.1 on which nothing listens.
int ClosedPort();

}  // namespace clusterpulse::http
