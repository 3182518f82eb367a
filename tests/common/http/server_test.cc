#include "common/http/server.h"

#include <stdexcept>

#include <catch2/catch.hpp>

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
