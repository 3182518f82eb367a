#include "common/http/server.h"

#include <atomic>
#include <chrono>
#include <future>
#include <stdexcept>
#include <thread>

#include <arpa/inet.h>
#include <catch2/catch.hpp>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/http/client.h"

namespace clusterpulse::http {
namespace {

struct Answer {
  int code = 0;
  std::string type, body;
};

Answer Send(const std::string& host, int port, Request request) {
  Client::Options options;
  options.base_url = "http://" + host + ":" + std::to_string(port);
  options.proxy_settings = {};
  auto client = Client::Create(options);
  REQUIRE(client.ok());
  json::Buffer body;
  const auto response = (*client)->Fetch(request, body, Limits());
  if (!response.ok()) return {};
  return {response->code, response->content_type, std::string(body.view())};
}

std::vector<Server::Route> Routes() {
  return {
      {"GET", "/metrics",
       [](const ServerRequest&) {
         return ServerReply{200, "text/plain; version=0.0.4", "m 1\n", {}};
       }},
      {"GET", "/api/",
       [](const ServerRequest& r) {
         return ServerReply{200, "text/plain", "below " + r.path, {}};
       }},
      {"POST", "/api/echo",
       [](const ServerRequest& r) {
         const auto q = r.query.find("q");
         return ServerReply{201,
                            "text/plain",
                            r.body + "|" + (q == r.query.end() ? "" : q->second) + "|" + r.headers.find("x-a")->second,
                            {}};
       }},
      {"GET", "/throws", [](const ServerRequest&) -> ServerReply { throw std::runtime_error("password=hunter2"); }},
  };
}

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// A client that sends what and when it likes.
class RawClient {
 public:
  explicit RawClient(int port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof(to)) == 0);
  }
  ~RawClient() { ::close(fd_); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  // False when the other side has ended the connection.
  bool Send(const std::string& data) {
    std::size_t sent = 0;
    while (sent < data.size()) {
      const ssize_t count = ::send(fd_, data.data() + sent, data.size() - sent, MSG_NOSIGNAL);
      if (count <= 0) return false;
      sent += static_cast<std::size_t>(count);
    }
    return true;
  }
  // What arrives until `end` is in it or the connection ends, within 10 s.
  std::string Receive(const std::string& end) {
    std::string out;
    const auto limit = steady_clock::now() + std::chrono::seconds(10);
    while (out.find(end) == std::string::npos && steady_clock::now() < limit) {
      char buffer[4096];
      if (!Readable(milliseconds(100))) continue;
      const ssize_t count = ::recv(fd_, buffer, sizeof(buffer), 0);
      if (count <= 0) {
        ended_ = true;
        break;
      }
      out.append(buffer, static_cast<std::size_t>(count));
    }
    return out;
  }
  // Sends a byte of an endless header now and then until the connection ends or `limit` has passed.
  bool DribbleUntilEnded(milliseconds limit) {
    const auto end = steady_clock::now() + limit;
    if (!Send("GET /metrics HTTP/1.1\r\nX-Slow: ")) return true;
    while (steady_clock::now() < end) {
      if (Readable(milliseconds(20)) || !Send("a")) return true;
    }
    return false;
  }
  bool ended() const { return ended_; }

 private:
  bool Readable(milliseconds limit) {
    pollfd entry{fd_, POLLIN, 0};
    return ::poll(&entry, 1, static_cast<int>(limit.count())) > 0;
  }

  const int fd_;
  bool ended_ = false;
};

std::string HeaderLines(std::size_t bytes) {
  std::string out;
  while (out.size() < bytes) out += "X-Some: " + std::string(90, 'v') + "\r\n";
  return out;
}

std::unique_ptr<Server> Start(const std::string& address, Server::Options options = {}) {
  options.address = address;
  auto server = Server::Start(options, Routes());
  REQUIRE(server.ok());
  return *std::move(server);
}

TEST_CASE("requests reach the handler of the longest matching path") {
  const auto server = Start("127.0.0.1:0");
  const int port = server->port();
  CHECK(port > 0);
  const Answer metrics = Send("127.0.0.1", port, {"GET", "/metrics"});
  CHECK(metrics.code == 200);
  CHECK(metrics.type == "text/plain; version=0.0.4");
  CHECK(metrics.body == "m 1\n");
  CHECK(Send("127.0.0.1", port, {"HEAD", "/metrics"}).code == 200);
  CHECK(Send("127.0.0.1", port, {"GET", "/api/v1/x"}).body == "below /api/v1/x");
  CHECK(Send("127.0.0.1", port, {"POST", "/api/echo?q=a%20b", {{"X-A", "1"}}, "hi"}).body == "hi|a b|1");
  CHECK(Send("127.0.0.1", port, {"GET", "/nothing"}).code == 404);
  CHECK(Send("127.0.0.1", port, {"GET", "/metrics/x"}).code == 404);
  CHECK(Send("127.0.0.1", port, {"DELETE", "/metrics"}).code == 405);
}

TEST_CASE("an exception of a handler does not reach the client") {
  const auto server = Start("127.0.0.1:0");
  const Answer answer = Send("127.0.0.1", server->port(), {"GET", "/throws"});
  CHECK(answer.code == 500);
  CHECK(answer.body == "internal error\n");
}

TEST_CASE("a body over the bound is refused") {
  Server::Options options;
  options.max_body_bytes = 1000;
  const auto server = Start("127.0.0.1:0", options);
  const std::string body(5000, 'x');
  const int code = Send("127.0.0.1", server->port(), {"POST", "/api/echo", {{"X-A", "1"}}, body}).code;
  CHECK((code == 413 || code == 0));
}

TEST_CASE("headers are bounded in all, not only each") {
  const auto server = Start("127.0.0.1:0");
  SECTION("within the bound they are taken") {
    RawClient client(server->port());
    REQUIRE(client.Send("GET /metrics HTTP/1.1\r\n" + HeaderLines(60'000) + "\r\n"));
    CHECK(client.Receive("m 1\n").find("HTTP/1.1 200") == 0);
  }
  SECTION("beyond it the request is not served and the connection ends") {
    RawClient client(server->port());
    client.Send("GET /metrics HTTP/1.1\r\n" + HeaderLines(66'000) + "\r\n");
    CHECK(client.Receive("m 1\n").find("HTTP/1.1 200") == std::string::npos);
    CHECK(client.ended());
  }
  SECTION("a flood is cut off") {
    RawClient client(server->port());
    const std::string block = HeaderLines(1 << 20);
    bool open = client.Send("GET /metrics HTTP/1.1\r\n");
    for (int i = 0; i < 80 && open; ++i) open = client.Send(block);
    CHECK_FALSE(open);
  }
  SECTION("an endless request line too") {
    RawClient client(server->port());
    const std::string block(1 << 20, 'a');
    bool open = client.Send("GET /");
    for (int i = 0; i < 80 && open; ++i) open = client.Send(block);
    CHECK_FALSE(open);
  }
  CHECK(Send("127.0.0.1", server->port(), {"GET", "/metrics"}).code == 200);
}

TEST_CASE("a chunked body is bounded as well") {
  Server::Options options;
  options.max_body_bytes = 1000;
  const auto server = Start("127.0.0.1:0", options);
  RawClient client(server->port());
  const std::string chunk = "10000\r\n" + std::string(0x10000, 'x') + "\r\n";
  bool open = client.Send("POST /api/echo HTTP/1.1\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 1000 && open; ++i) open = client.Send(chunk);
  CHECK_FALSE(open);
}

TEST_CASE("requests that would cost more than their size are harmless") {
  const auto server = Start("127.0.0.1:0");
  RawClient client(server->port());
  SECTION("a long path") {
    REQUIRE(client.Send("GET /" + std::string(8000, 'a') + " HTTP/1.1\r\nConnection: close\r\n\r\n"));
    CHECK(client.Receive("not found\n").find("HTTP/1.1 404") == 0);
  }
  SECTION("many ranges") {
    std::string ranges = "0-";
    while (ranges.size() < 8000) ranges += ",0-";
    REQUIRE(client.Send("GET /metrics HTTP/1.1\r\nRange: bytes=" + ranges + "\r\nConnection: close\r\n\r\n"));
    const std::string reply = client.Receive("no such end");
    CHECK(reply.find("HTTP/1.1 200") == 0);
    CHECK(reply.size() < 1000);
  }
  SECTION("a compressed body") {
    REQUIRE(client.Send("POST /api/echo HTTP/1.1\r\nX-A: 1\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nab"));
    CHECK(client.Receive("no such end").find("HTTP/1.1 415") == 0);
    CHECK(client.ended());
  }
}

TEST_CASE("requests can follow each other on a connection") {
  const auto server = Start("127.0.0.1:0");
  RawClient client(server->port());
  const std::string request = "GET /metrics HTTP/1.1\r\n\r\n";
  REQUIRE(client.Send(request + request));  // the second is there before the first is answered
  std::string got = client.Receive("m 1\n");
  if (got.find("m 1\n") == got.rfind("m 1\n")) got += client.Receive("m 1\n");
  CHECK(got.find("m 1\n") != got.rfind("m 1\n"));
  REQUIRE(client.Send(request));
  CHECK(client.Receive("m 1\n").find("HTTP/1.1 200") == 0);
}

TEST_CASE("a client that dribbles is ended at the deadline") {
  Server::Options options;
  options.threads = 2;
  options.request_timeout = milliseconds(300);
  const auto server = Start("127.0.0.1:0", options);
  RawClient slow(server->port());
  const auto start = steady_clock::now();
  auto ended = std::async(std::launch::async, [&] { return slow.DribbleUntilEnded(std::chrono::seconds(10)); });
  CHECK(Send("127.0.0.1", server->port(), {"GET", "/metrics"}).code == 200);
  CHECK(ended.get());
  CHECK(steady_clock::now() - start >= milliseconds(300));
}

TEST_CASE("an idle connection is ended at its deadline") {
  Server::Options options;
  options.idle_timeout = milliseconds(100);
  const auto server = Start("127.0.0.1:0", options);
  RawClient idle(server->port());
  CHECK(idle.Receive("x").empty());
  CHECK(idle.ended());
}

TEST_CASE("a client that does not take its reply is ended at the deadline") {
  Server::Options options;
  options.address = "127.0.0.1:0";
  options.request_timeout = milliseconds(200);
  std::atomic<int> served = 0;
  auto server = Server::Start(options, {{"GET", "/big", [&](const ServerRequest&) {
                                           ++served;
                                           return ServerReply{200, "application/x-big", std::string(16 << 20, 'x'), {}};
                                         }}});
  REQUIRE(server.ok());
  RawClient client((*server)->port());
  REQUIRE(client.Send("GET /big HTTP/1.1\r\n\r\n"));
  const auto limit = steady_clock::now() + std::chrono::seconds(10);
  bool open = true;  // once the server has closed, sending fails
  while (open && steady_clock::now() < limit) {
    std::this_thread::sleep_for(milliseconds(10));
    open = client.Send("G");
  }
  CHECK_FALSE(open);
  CHECK(served == 1);
}

TEST_CASE("slow and idle clients do not lock others out") {
  Server::Options options;
  options.threads = 2;
  options.request_timeout = options.idle_timeout = std::chrono::seconds(60);
  const auto server = Start("127.0.0.1:0", options);
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 6; ++i) {
    clients.push_back(std::make_unique<RawClient>(server->port()));
    if (i % 2 == 0) REQUIRE(clients.back()->Send("GET /metrics HTT"));
  }
  const auto start = steady_clock::now();
  CHECK(Send("127.0.0.1", server->port(), {"GET", "/metrics"}).code == 200);
  CHECK(steady_clock::now() - start < std::chrono::seconds(5));
}

TEST_CASE("stopping does not wait for idle, slow or unread clients") {
  Server::Options options;
  options.threads = 3;
  options.request_timeout = options.idle_timeout = std::chrono::seconds(60);
  options.address = "127.0.0.1:0";
  std::promise<void> served;
  auto routes = Routes();
  routes.push_back({"GET", "/big", [&](const ServerRequest&) {
                      served.set_value();
                      return ServerReply{200, "application/x-big", std::string(16 << 20, 'x'), {}};
                    }});
  auto server = Server::Start(options, routes);
  REQUIRE(server.ok());
  RawClient idle((*server)->port()), slow((*server)->port()), unread((*server)->port());
  REQUIRE(idle.Send("GET /metrics HTTP/1.1\r\n\r\n"));
  REQUIRE(idle.Receive("m 1\n").find("HTTP/1.1 200") == 0);
  REQUIRE(slow.Send("GET /met"));
  REQUIRE(unread.Send("GET /big HTTP/1.1\r\n\r\n"));
  REQUIRE(served.get_future().wait_for(std::chrono::seconds(10)) == std::future_status::ready);
  const auto start = steady_clock::now();
  (*server)->Stop();
  CHECK(steady_clock::now() - start < std::chrono::seconds(1));
}

TEST_CASE("stopping lets a running handler answer") {
  Server::Options options;
  options.address = "127.0.0.1:0";
  std::promise<void> running, go;
  auto server = Server::Start(options, {{"GET", "/", [&](const ServerRequest&) {
                                           running.set_value();
                                           go.get_future().wait();
                                           return ServerReply{200, "text/plain", "done\n", {}};
                                         }}});
  REQUIRE(server.ok());
  RawClient client((*server)->port());
  REQUIRE(client.Send("GET / HTTP/1.1\r\n\r\n"));
  running.get_future().wait();
  auto stopped = std::async(std::launch::async, [&] { (*server)->Stop(); });
  go.set_value();
  CHECK(client.Receive("done\n").find("HTTP/1.1 200") == 0);
  stopped.get();
}

TEST_CASE("without a host both address families are served") {
  const auto server = Start(":0");
  CHECK(Send("127.0.0.1", server->port(), {"GET", "/metrics"}).code == 200);
  const bool has_ipv6 = Server::Start({"t", "[::1]:0", 1}, {}).ok();
  if (has_ipv6) CHECK(Send("[::1]", server->port(), {"GET", "/metrics"}).code == 200);
}

TEST_CASE("more clients than threads are all served") {
  Server::Options options;
  options.threads = 2;
  const auto server = Start("127.0.0.1:0", options);
  std::atomic<int> good = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      Client::Options client_options;
      client_options.base_url = "http://127.0.0.1:" + std::to_string(server->port());
      client_options.proxy_settings = {};
      auto client = Client::Create(client_options);
      json::Buffer body;
      if (client.ok() && (*client)->Fetch({"GET", "/metrics", {{"Connection", "close"}}}, body, Limits()).ok()) ++good;
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(good == 8);
}

TEST_CASE("a stopped server is gone, and stopping twice does no harm") {
  const auto server = Start("127.0.0.1:0");
  const int port = server->port();
  CHECK(Send("127.0.0.1", port, {"GET", "/metrics"}).code == 200);
  server->Stop();
  server->Stop();
  CHECK(Send("127.0.0.1", port, {"GET", "/metrics"}).code == 0);
}

TEST_CASE("a port in use is an error that names the address") {
  const auto first = Start("127.0.0.1:0");
  const std::string address = "127.0.0.1:" + std::to_string(first->port());
  Server::Options options;
  options.address = address;
  const auto second = Server::Start(options, {});
  CHECK(second.status().code() == absl::StatusCode::kUnavailable);
  CHECK(std::string(second.status().message()).find(address) != std::string::npos);
}

TEST_CASE("addresses to listen on") {
  struct Case {
    const char* text;
    bool ok;
    const char* host;
    int port;
  };
  const auto c = GENERATE(values<Case>({
      {":8080", true, "", 8080},
      {"0.0.0.0:0", true, "0.0.0.0", 0},
      {"localhost:1", true, "localhost", 1},
      {"[::1]:65535", true, "::1", 65535},
      {"8080", false, "", 0},
      {"::1:8080", false, "", 0},
      {":65536", false, "", 0},
      {":-1", false, "", 0},
      {":8080x", false, "", 0},
      {":", false, "", 0},
  }));
  CAPTURE(c.text);
  const auto parsed = ParseListenAddress(c.text);
  REQUIRE(parsed.ok() == c.ok);
  if (!c.ok) return;
  CHECK(parsed->host == c.host);
  CHECK(parsed->port == c.port);
}

}  // namespace
}  // namespace clusterpulse::http
