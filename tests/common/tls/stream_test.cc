#include "common/tls/stream.h"

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <catch2/catch.hpp>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/common/http/testing/raw_server.h"
#include "tests/common/http/testing/stuck.h"
#include "tests/common/http/testing/tls_server.h"
#include "tests/support/process.h"

namespace clusterpulse::tls {
namespace {

using namespace std::chrono_literals;

base::SteadyTime In(std::chrono::milliseconds d) { return std::chrono::steady_clock::now() + d; }

// A server on 127.0.0.1 that echoes on each connection, over TLS when given certificates. `silent`: accepts and never
// reads.
class Echo {
 public:
  struct Options {
    std::string tls_dir;  // empty: plain
    bool wants_client_certificate = false;
    bool is_silent = false;
  };
  explicit Echo(Options options) : options_(std::move(options)) {
    listener_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    REQUIRE(bind(listener_, reinterpret_cast<sockaddr*>(&address), size) == 0);
    REQUIRE(listen(listener_, 8) == 0);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    signal(SIGPIPE, SIG_IGN);  // the server's own; a client's is what the last test looks at
    thread_ = std::jthread([this] { Serve(); });
  }
  ~Echo() {
    stopping_ = true;
    shutdown(listener_, SHUT_RDWR);
    if (const int fd = current_; fd >= 0) shutdown(fd, SHUT_RDWR);
    thread_.join();
    close(listener_);
  }
  std::uint16_t port() const { return port_; }

 private:
  void Serve() {
    SSL_CTX* context = nullptr;
    if (!options_.tls_dir.empty()) {
      context = SSL_CTX_new(TLS_server_method());
      SSL_CTX_use_certificate_chain_file(context, (options_.tls_dir + "/server.crt").c_str());
      SSL_CTX_use_PrivateKey_file(context, (options_.tls_dir + "/server.key").c_str(), SSL_FILETYPE_PEM);
      SSL_CTX_load_verify_locations(context, (options_.tls_dir + "/ca.crt").c_str(), nullptr);
      if (options_.wants_client_certificate) {
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
      }
    }
    while (!stopping_) {
      const int fd = accept(listener_, nullptr, nullptr);
      if (fd < 0) break;
      current_ = fd;
      char buffer[4096];
      if (context != nullptr) {
        SSL* ssl = SSL_new(context);
        SSL_set_fd(ssl, fd);
        if (SSL_accept(ssl) == 1) {
          for (int n = 0; (n = SSL_read(ssl, buffer, sizeof buffer)) > 0;) SSL_write(ssl, buffer, n);
        }
        SSL_free(ssl);
      } else if (options_.is_silent) {
        while (!stopping_ && recv(fd, buffer, 1, MSG_PEEK) > 0) std::this_thread::sleep_for(5ms);
      } else {
        for (ssize_t n = 0; (n = recv(fd, buffer, sizeof buffer, 0)) > 0;) {
          if (std::string_view(buffer, static_cast<std::size_t>(n)).starts_with("bye")) break;
          (void)!send(fd, buffer, static_cast<std::size_t>(n), MSG_NOSIGNAL);
        }
      }
      current_ = -1;
      close(fd);
    }
    SSL_CTX_free(context);
  }

  const Options options_;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  std::atomic<int> current_{-1};
  std::atomic<bool> stopping_{false};
  std::jthread thread_;
};

const std::string& Certificates() {
  static const testing::TempDir dir;
  static const bool made = [] {
    return testing::RunCommand({std::string(CLUSTERPULSE_SOURCE_DIR) + "/tests/support/certs.sh", dir.path()})
               .exit_code == 0;
  }();
  REQUIRE(made);
  return dir.path();
}

std::string RoundTrip(Stream& stream, const std::string& text) {
  REQUIRE(stream.Write(text, In(5s)).ok());
  std::string back;
  std::string buffer(1024, '\0');
  while (back.size() < text.size()) {
    const auto n = stream.Read(buffer.data(), buffer.size(), In(5s));
    REQUIRE(n.ok());
    back.append(buffer, 0, *n);
  }
  return back;
}

TEST_CASE("endpoints are read") {
  struct Case {
    std::string text, host;
    int port;  // 0: refused
  };
  const Case c =
      GENERATE(Case{"redis", "redis", 6379}, Case{"redis:7000", "redis", 7000}, Case{"[::1]:7000", "::1", 7000},
               Case{"[::1]", "::1", 6379}, Case{"::1", "::1", 6379}, Case{"10.0.0.1:1", "10.0.0.1", 1}, Case{"", "", 0},
               Case{"a:", "", 0}, Case{"a:x", "", 0}, Case{"a:0", "", 0}, Case{"a:65536", "", 0}, Case{":1", "", 0},
               Case{"[::1", "", 0}, Case{"[::1]x", "", 0});
  CAPTURE(c.text);
  const auto endpoint = ParseEndpoint(c.text, 6379);
  if (c.port == 0) {
    CHECK(endpoint.status().code() == absl::StatusCode::kInvalidArgument);
    return;
  }
  REQUIRE(endpoint.ok());
  CHECK(endpoint->host == c.host);
  CHECK(endpoint->port == c.port);
  CHECK(ParseEndpoint(endpoint->ToString(), 1)->port == c.port);
}

TEST_CASE("plain bytes go there and back, by name and by address") {
  const Echo server({});
  const std::string host = GENERATE("127.0.0.1", "localhost");
  auto stream = Stream::Connect({host, server.port()}, std::nullopt, In(5s));
  REQUIRE(stream.ok());
  CHECK(RoundTrip(**stream, std::string(300'000, 'x')).size() == 300'000);
  CHECK((*stream)->IsQuiet());
}

TEST_CASE("TLS bytes go there and back") {
  const std::string& dir = Certificates();
  const bool mutual = GENERATE(false, true);
  const Echo server({.tls_dir = dir, .wants_client_certificate = mutual});
  ClientOptions options{.ca_file = dir + "/ca.crt"};
  if (mutual) {
    options.cert_file = dir + "/client.crt";
    options.key_file = dir + "/client.key";
  } else {
    options.ca_file = "";
    options.ca_pem = testing::ReadFile(dir + "/ca.crt");
  }
  const std::string host = GENERATE("127.0.0.1", "localhost");
  auto stream = Stream::Connect({host, server.port()}, options, In(5s));
  INFO(stream.status().ToString());
  REQUIRE(stream.ok());
  CHECK(RoundTrip(**stream, std::string(300'000, 'x')).size() == 300'000);
  CHECK((*stream)->IsQuiet());
}

TEST_CASE("a certificate that is not acceptable is refused") {
  const std::string& dir = Certificates();
  const Echo server({.tls_dir = dir});
  ClientOptions options{.ca_file = dir + "/ca.crt"};
  SECTION("another CA") { options.ca_file = dir + "/other-ca.crt"; }
  SECTION("the system's CAs") { options.ca_file = ""; }
  SECTION("another name") { options.server_name = "hub.example.com"; }
  SECTION("another address") { options.server_name = "10.1.2.3"; }
  const auto stream = Stream::Connect({"localhost", server.port()}, options, In(5s));
  CHECK(stream.status().code() == absl::StatusCode::kUnauthenticated);
}

TEST_CASE("TLS 1.2 is the oldest that is spoken, whatever OpenSSL is configured to allow") {
  CHECK(http::RunWithOldTls("[old-tls]") == "");
}

TEST_CASE("a server of one TLS version only", "[.][old-tls]") {
  struct Case {
    int version;
    bool is_spoken;
  };
  const auto c = GENERATE(
      values<Case>({{TLS1_VERSION, false}, {TLS1_1_VERSION, false}, {TLS1_2_VERSION, true}, {TLS1_3_VERSION, true}}));
  CAPTURE(c.version);
  const http::KeyPair ca = http::MakeCa("test-ca");
  const http::TlsServer server(http::MakeCert(ca, {"server", {"IP:127.0.0.1"}}), c.version);
  REQUIRE(http::Handshakes(server.port(), c.version));  // it is not the server that refuses
  const auto stream = Stream::Connect({"127.0.0.1", static_cast<std::uint16_t>(server.port())},
                                      ClientOptions{.ca_pem = ca.cert_pem}, In(5s));
  CAPTURE(stream.status().ToString());
  CHECK(stream.status().code() == (c.is_spoken ? absl::StatusCode::kOk : absl::StatusCode::kUnavailable));
  CHECK((stream.status().ToString().find("protocol version") != std::string::npos) == !c.is_spoken);
}

TEST_CASE("our own bad files are named") {
  const std::string& dir = Certificates();
  const Echo server({.tls_dir = dir});
  ClientOptions options{.ca_file = dir + "/ca.crt"};
  SECTION("no file") { options.ca_file = "/nonexistent/ca.crt"; }
  SECTION("no PEM") { options.ca_pem = "hello"; }
  SECTION("half a pair") { options.cert_file = dir + "/client.crt"; }
  SECTION("key of another certificate") {
    options.cert_file = dir + "/client.crt";
    options.key_file = dir + "/admin.key";
  }
  CHECK(Stream::Connect({"localhost", server.port()}, options, In(5s)).status().code() ==
        absl::StatusCode::kInvalidArgument);
}

TEST_CASE("nobody listening, no such name") {
  CHECK(Stream::Connect({"127.0.0.1", 1}, std::nullopt, In(5s)).status().code() == absl::StatusCode::kUnavailable);
  const auto unknown = Stream::Connect({"no-such-host.invalid", 1}, std::nullopt, In(2s)).status().code();
  CHECK((unknown == absl::StatusCode::kUnavailable || unknown == absl::StatusCode::kDeadlineExceeded));
}

TEST_CASE("silence ends at the deadline, in the handshake and in reads and writes") {
  const Echo server({.is_silent = true});
  char byte = 0;
  CHECK(Stream::Connect({"127.0.0.1", server.port()}, ClientOptions{}, In(100ms)).status().code() ==
        absl::StatusCode::kDeadlineExceeded);
  auto stream = Stream::Connect({"127.0.0.1", server.port()}, std::nullopt, In(5s));
  REQUIRE(stream.ok());
  CHECK((*stream)->Read(&byte, 1, In(50ms)).status().code() == absl::StatusCode::kDeadlineExceeded);
  CHECK((*stream)->Write(std::string(64 << 20, 'x'), In(200ms)).code() == absl::StatusCode::kDeadlineExceeded);
}

TEST_CASE("connecting ends at once in every phase, by stop and by deadline") {
  struct Case {
    const char* name;
    Endpoint endpoint;
    std::function<bool()> reached;
  };
  http::StuckResolver resolver;
  const http::FullListener listener;
  std::atomic<bool> greeted = false;
  http::RawServer mute([&](http::RawServer::Connection& c, int) {
    greeted = !c.ReadSome().empty();
    c.WaitForEnd();
  });
  const auto port = [](int number) { return static_cast<std::uint16_t>(number); };
  const std::vector<Case> cases{
      {"name lookup", {http::StuckResolver::kStuckName, 1}, [&] { return resolver.WaitForLookup(10s); }},
      {"connect", {"127.0.0.1", port(listener.port())}, [&] { return listener.WaitForConnect(10s); }},
      {"TLS handshake",
       {"127.0.0.1", port(mute.port())},
       [&] { return testing::Eventually(10s, [&] { return greeted.load(); }); }},
  };
  for (const Case& c : cases) {
    for (const bool stops : {true, false}) {
      DYNAMIC_SECTION(c.name << (stops ? ", stop" : ", deadline")) {
        std::stop_source stop;
        auto began = std::chrono::steady_clock::now();
        bool is_reached = false;
        std::thread watcher([&] {
          is_reached = c.reached();
          if (!stops) return;
          began = std::chrono::steady_clock::now();
          stop.request_stop();
        });
        const auto stream = Stream::Connect(c.endpoint, ClientOptions{}, In(stops ? 60s : 300ms), stop.get_token());
        const auto ended = std::chrono::steady_clock::now();
        watcher.join();
        CHECK(is_reached);
        CHECK(ended - began < 1s);
        CHECK(stream.status().code() == (stops ? absl::StatusCode::kCancelled : absl::StatusCode::kDeadlineExceeded));
      }
    }
  }
}

TEST_CASE("a stop wakes who waits, for good") {
  const Echo server({.is_silent = true});
  std::stop_source stop;
  auto stream = Stream::Connect({"127.0.0.1", server.port()}, std::nullopt, In(5s), stop.get_token());
  REQUIRE(stream.ok());
  const auto start = std::chrono::steady_clock::now();
  std::jthread stopper([&] { stop.request_stop(); });
  char byte = 0;
  CHECK((*stream)->Read(&byte, 1, In(30s)).status().code() == absl::StatusCode::kCancelled);
  CHECK(std::chrono::steady_clock::now() - start < 10s);
  CHECK((*stream)->Write("x", In(1s)).code() == absl::StatusCode::kCancelled);
  CHECK_FALSE((*stream)->IsQuiet());
  CHECK(Stream::Connect({"127.0.0.1", server.port()}, std::nullopt, In(5s), stop.get_token()).status().code() ==
        absl::StatusCode::kCancelled);
}

TEST_CASE("what an aborted connection has not sent is never sent") {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int small = 4096;  // before listen: what is accepted inherits it
  setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  REQUIRE(bind(listener, reinterpret_cast<sockaddr*>(&address), size) == 0);
  REQUIRE(listen(listener, 8) == 0);
  getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);

  for (const bool aborts : {false, true}) {
    CAPTURE(aborts);
    auto stream = Stream::Connect({"127.0.0.1", ntohs(address.sin_port)}, std::nullopt, In(5s));
    REQUIRE(stream.ok());
    const int peer = accept(listener, nullptr, nullptr);
    REQUIRE(peer >= 0);
    // Until neither side holds more.
    const std::string piece(16 << 10, 'x');
    std::size_t taken = 0, arrived = 0;
    while ((*stream)->Write(piece, In(100ms)).ok()) taken += piece.size();
    if (aborts) (*stream)->Abort();
    stream->reset();
    std::string buffer(64 << 10, '\0');
    for (ssize_t n = 0; (n = recv(peer, buffer.data(), buffer.size(), 0)) > 0;) arrived += static_cast<std::size_t>(n);
    close(peer);
    CHECK(taken > 0);
    CHECK((arrived < taken) == aborts);
  }
  close(listener);
}

TEST_CASE("a peer that went away is unavailable, noticed when idle, and no signal") {
  const Echo server({});
  auto stream = Stream::Connect({"127.0.0.1", server.port()}, std::nullopt, In(5s));
  REQUIRE(stream.ok());
  CHECK(RoundTrip(**stream, "hello") == "hello");
  signal(SIGPIPE, SIG_DFL);
  REQUIRE((*stream)->Write("bye", In(1s)).ok());
  CHECK(testing::Eventually(5s, [&] { return !(*stream)->IsQuiet(); }));
  char byte = 0;
  CHECK((*stream)->Read(&byte, 1, In(1s)).status().code() == absl::StatusCode::kUnavailable);
  CHECK(testing::Eventually(5s, [&] { return absl::IsUnavailable((*stream)->Write("x", In(1s))); }));
}

}  // namespace
}  // namespace clusterpulse::tls
