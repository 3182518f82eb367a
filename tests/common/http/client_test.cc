#include "common/http/client.h"

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include <catch2/catch.hpp>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <zlib.h>

#include "common/base/status.h"
#include "common/base/stop_signal.h"
#include "tests/common/http/testing/raw_server.h"
#include "tests/common/http/testing/stuck.h"

namespace clusterpulse::http {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Code = absl::StatusCode;
using Connection = RawServer::Connection;

std::unique_ptr<Client> MakeClient(const std::string& url, Client::Options options = {}) {
  options.base_url = url;
  options.proxy_settings = {};
  auto client = Client::Create(std::move(options));
  REQUIRE(client.ok());
  return *std::move(client);
}

Limits Within(milliseconds timeout) {
  Limits limits;
  limits.timeout = timeout;
  return limits;
}

struct Outcome {
  absl::Status status;
  Response response;
  std::string body;
  std::string message() const { return base::Message(status); }
};

Outcome Fetch(Client& client, const Request& request, const Limits& limits = Within(seconds(10))) {
  json::Buffer body;
  const auto response = client.Fetch(request, body, limits);
  if (!response.ok()) return {response.status(), {}, ""};
  return {absl::OkStatus(), *response, std::string(body.view())};
}

Outcome Get(Client& client, const Limits& limits = Within(seconds(10))) { return Fetch(client, {"GET", "/x"}, limits); }

// Set once by a script, awaited by the test with a limit.
class Event {
 public:
  void Set() {
    const std::lock_guard<std::mutex> lock(mu_);
    set_ = true;
    changed_.notify_all();
  }
  bool Wait() {
    std::unique_lock<std::mutex> lock(mu_);
    return changed_.wait_for(lock, seconds(10), [this] { return set_; });
  }

 private:
  std::mutex mu_;
  std::condition_variable changed_;
  bool set_ = false;
};

TEST_CASE("a request carries method, path behind the prefix, headers and body") {
  RawServer server([](Connection& c, int) {
    while (!c.ReadRequest().empty()) c.Answer("{}", 201, "Content-Type: application/json; v=1\r\nRetry-After: 7\r\n");
  });
  const auto client = MakeClient(server.url() + "/prefix/");
  const auto method = GENERATE(as<std::string>(), "POST", "PUT", "PATCH", "DELETE");
  const Outcome out =
      Fetch(*client, {method, "/api?a=b", {{"Authorization", "Bearer t"}, {"Content-Type", "x/y"}}, "body!"});
  REQUIRE(out.status.ok());
  CHECK(out.response.code == 201);
  CHECK(out.response.content_type == "application/json; v=1");
  CHECK(out.response.retry_after == seconds(7));
  CHECK(out.body == "{}");
  const std::string sent = server.requests().at(0);
  CHECK(sent.rfind(method + " /prefix/api?a=b HTTP/1.1\r\n", 0) == 0);
  for (const char* part : {"Authorization: Bearer t\r\n", "Content-Type: x/y\r\n", "Accept-Encoding: gzip\r\n",
                           "User-Agent: clusterpulse\r\n", "\r\n\r\nbody!"}) {
    CAPTURE(part);
    CHECK(sent.find(part) != std::string::npos);
  }
  CHECK(sent.find("Expect:") == std::string::npos);
}

TEST_CASE("what one request set is gone from the next") {
  RawServer server([](Connection& c, int) {
    while (!c.ReadRequest().empty()) c.Answer("{}");
  });
  const auto client = MakeClient(server.url());
  for (const char* method : {"POST", "PATCH", "PUT"}) {
    REQUIRE(Fetch(*client, {method, "/x", {{"X-Once", "1"}}, "body"}).status.ok());
    REQUIRE(Get(*client).status.ok());
    const std::string sent = server.requests().back();
    CAPTURE(method, sent);
    CHECK(sent.rfind("GET /x HTTP/1.1\r\n", 0) == 0);
    CHECK(sent.find("X-Once") == std::string::npos);
    CHECK(sent.find("Content-Length") == std::string::npos);
  }
  CHECK(server.connections() == 1);
}

TEST_CASE("connections are reused, and at most the given number is kept") {
  Event both;
  std::atomic<int> waiting = 0;
  RawServer server([&](Connection& c, int) {
    while (!c.ReadRequest().empty()) {
      if (++waiting == 2) both.Set();
      both.Wait();
      c.Answer("{}");
    }
  });
  Client::Options options;
  options.max_idle = 1;
  const auto client = MakeClient(server.url(), options);
  absl::Status other;
  std::thread thread([&] { other = Get(*client).status; });
  CHECK(Get(*client).status.ok());
  thread.join();
  CHECK(other.ok());
  CHECK(server.connections() == 2);
  for (int i = 0; i < 3; ++i) CHECK(Get(*client).status.ok());
  CHECK(server.connections() == 2);
}

// This process's socket to a port of this host.
int SocketTo(int port) {
  for (int fd = 3; fd < 1024; ++fd) {
    sockaddr_in peer{};
    socklen_t size = sizeof peer;
    if (getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) == 0 && peer.sin_family == AF_INET &&
        ntohs(peer.sin_port) == port) {
      return fd;
    }
  }
  return -1;
}

TEST_CASE("a server that vanished is noticed in half a minute") {
  RawServer server([](Connection& c, int) {
    while (!c.ReadRequest().empty()) c.Answer("{}");
  });
  const auto client = MakeClient(server.url());
  REQUIRE(Get(*client).status.ok());
  const int socket = SocketTo(client->base_url().port);
  REQUIRE(socket >= 0);
  struct Case {
    std::string name;
    int level, option, value;
  };
  const std::vector<Case> cases = {{"keepalive", SOL_SOCKET, SO_KEEPALIVE, 1},
                                   {"first probe after", IPPROTO_TCP, TCP_KEEPIDLE, 15},
                                   {"between probes", IPPROTO_TCP, TCP_KEEPINTVL, 5},
                                   {"ms without an answer", IPPROTO_TCP, TCP_USER_TIMEOUT, 30000}};
  for (const Case& c : cases) {
    CAPTURE(c.name);
    int value = 0;
    socklen_t size = sizeof value;
    CHECK(getsockopt(socket, c.level, c.option, &value, &size) == 0);
    CHECK(value == c.value);
  }
}

TEST_CASE("a connection beyond its idle age is not used again") {
  RawServer server([](Connection& c, int) {
    while (!c.ReadRequest().empty()) c.Answer("{}");
  });
  Client::Options options;
  options.max_idle_age = seconds(0);
  const auto client = MakeClient(server.url(), options);
  CHECK(Get(*client).status.ok());
  CHECK(Get(*client).status.ok());
  CHECK(server.connections() == 2);
}

TEST_CASE("a kept connection that the server closed is replaced") {
  // Every connection dies right when its second request comes: the client cannot have known.
  RawServer server([](Connection& c, int index) {
    if (!c.ReadRequest().empty()) c.Answer("{}");
    if (index == 0) {
      c.ReadRequest();
      return;
    }
    while (!c.ReadRequest().empty()) c.Answer("{}");
  });
  const auto client = MakeClient(server.url());
  REQUIRE(Get(*client).status.ok());
  const auto method = GENERATE(as<std::string>(), "GET", "PATCH", "DELETE");
  const Outcome out = Fetch(*client, {method, "/x", {}, method == "PATCH" ? "body" : ""});
  CHECK(out.message() == "");
  CHECK(server.connections() == 2);
  CHECK(server.requests().size() == 3);
}

TEST_CASE("a POST that may have happened is not sent twice") {
  RawServer server([](Connection& c, int index) {
    if (!c.ReadRequest().empty()) c.Answer("{}");
    if (index > 0) return;
    c.ReadRequest();  // and no answer
  });
  const auto client = MakeClient(server.url());
  REQUIRE(Get(*client).status.ok());
  const Outcome out = Fetch(*client, {"POST", "/x", {}, "body"});
  CHECK(out.status.code() == Code::kUnavailable);
  CHECK(server.requests().size() == 2);
}

TEST_CASE("what goes wrong on the way has a code and words") {
  struct Case {
    const char* name;
    RawServer::Script script;
    Code code;
    const char* words;
  };
  const std::vector<Case> cases{
      {"closed", [](Connection& c, int) { c.ReadRequest(); }, Code::kUnavailable, "without an answer"},
      {"reset",
       [](Connection& c, int) {
         c.ReadRequest();
         c.Reset();
       },
       Code::kUnavailable, "Connection reset by peer"},
      {"half body",
       [](Connection& c, int) {
         c.ReadRequest();
         c.Write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"half\":");
       },
       Code::kUnavailable, "in the middle of the response"},
      {"half chunk",
       [](Connection& c, int) {
         c.ReadRequest();
         c.Write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nabc");
       },
       Code::kUnavailable, ""},
      {"half headers",
       [](Connection& c, int) {
         c.ReadRequest();
         c.Write("HTTP/1.1 200 OK\r\nContent-");
       },
       Code::kUnavailable, ""},
      {"no HTTP",
       [](Connection& c, int) {
         c.ReadRequest();
         c.Write("SSH-2.0-OpenSSH_9.2\r\n");
       },
       Code::kDataLoss, "broken HTTP"},
      {"bad gzip",
       [](Connection& c, int) {
         c.ReadRequest();
         c.Answer("no gzip at all", 200, "Content-Encoding: gzip\r\n");
       },
       Code::kDataLoss, "broken HTTP"},
      {"endless headers",
       [](Connection& c, int) {
         c.ReadRequest();
         c.Write("HTTP/1.1 200 OK\r\n");
         while (c.Write("X-Filler: " + std::string(1000, 'x') + "\r\n")) {
         }
       },
       Code::kDataLoss, "headers are larger than 65536 bytes"},
      {"one endless header",
       [](Connection& c, int) {
         c.ReadRequest();
         c.Write("HTTP/1.1 200 OK\r\nX: ");
         while (c.Write(std::string(10000, 'x'))) {
         }
       },
       Code::kResourceExhausted, ""},
      {"endless body",
       [](Connection& c, int) {
         c.ReadRequest();
         c.Write("HTTP/1.1 200 OK\r\n\r\n");
         while (c.Write(std::string(10000, 'x'))) {
         }
       },
       Code::kDataLoss, "larger than 100000 bytes"},
      {"silence",
       [](Connection& c, int) {
         c.ReadRequest();
         c.WaitForEnd();
       },
       Code::kDeadlineExceeded, "no answer within 300 ms, while waiting for the response"},
      {"dribbling headers",
       [](Connection& c, int) {
         c.ReadRequest();
         c.Write("HTTP/1.1 200 OK\r\n");
         while (c.Write("X: y\r\n")) usleep(20000);
       },
       Code::kDeadlineExceeded, "while waiting for the response"},
      {"dribbling body",
       [](Connection& c, int) {
         c.ReadRequest();
         c.Write("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
         while (c.Write("x")) usleep(20000);
       },
       Code::kDeadlineExceeded, "while reading the response"},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      RawServer server(c.script);
      Client::Options options;
      options.max_body_bytes = 100000;
      const auto client = MakeClient(server.url(), options);
      const Outcome out = Get(*client, Within(milliseconds(300)));
      CAPTURE(out.message());
      CHECK(out.status.code() == c.code);
      CHECK(out.message().find(c.words) != std::string::npos);
      CHECK(out.message().find(server.url()) != std::string::npos);
    }
  }
}

TEST_CASE("a server that is not there") {
  const auto refused = MakeClient("http://127.0.0.1:" + std::to_string(ClosedPort()));
  Outcome out = Get(*refused);
  CHECK(out.status.code() == Code::kUnavailable);
  CHECK(out.message().find("Connection refused") != std::string::npos);

  const auto unknown = MakeClient("http://no-such-host.invalid");
  out = Get(*unknown);
  CAPTURE(out.message());
  CHECK((out.status.code() == Code::kUnavailable || out.status.code() == Code::kDeadlineExceeded));
  CHECK(out.message().find("no-such-host.invalid") != std::string::npos);
}

TEST_CASE("gzip is undone, and its bound is that of the content") {
  const std::string content(200000, 'a');
  std::string packed(1000 + content.size(), '\0');
  z_stream z{};
  REQUIRE(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  z.avail_in = static_cast<uInt>(content.size());
  z.next_out = reinterpret_cast<Bytef*>(packed.data());
  z.avail_out = static_cast<uInt>(packed.size());
  REQUIRE(deflate(&z, Z_FINISH) == Z_STREAM_END);
  packed.resize(z.total_out);
  deflateEnd(&z);
  RawServer server([&](Connection& c, int) {
    while (!c.ReadRequest().empty()) c.Answer(packed, 200, "Content-Encoding: gzip\r\n");
  });
  CHECK(Get(*MakeClient(server.url())).body == content);
  Client::Options options;
  options.max_body_bytes = 100000;
  CHECK(Get(*MakeClient(server.url(), options)).status.code() == Code::kDataLoss);
}

TEST_CASE("redirects are answers") {
  RawServer server([](Connection& c, int) {
    while (!c.ReadRequest().empty()) c.Answer("", 302, "Location: http://127.0.0.1:1/\r\n");
  });
  const Outcome out = Get(*MakeClient(server.url()));
  CHECK(out.response.code == 302);
}

TEST_CASE("an interim answer is not the answer") {
  RawServer server([](Connection& c, int) {
    c.ReadRequest();
    c.Write("HTTP/1.1 103 Early Hints\r\nContent-Type: wrong\r\n\r\n");
    c.Answer("{}", 200, "");
  });
  const Outcome out = Get(*MakeClient(server.url()));
  CHECK(out.response.code == 200);
  CHECK(out.response.content_type.empty());
}

TEST_CASE("Retry-After may be a date") {
  RawServer server([](Connection& c, int) {
    c.ReadRequest();
    c.Answer("", 503, "Retry-After: Fri, 31 Dec 2999 23:59:59 GMT\r\n");
    c.ReadRequest();
    c.Answer("", 503, "Retry-After: soon\r\n");
    c.ReadRequest();
    c.Answer("", 503, "Retry-After: -5\r\n");
  });
  const auto client = MakeClient(server.url());
  CHECK(Get(*client).response.retry_after == seconds(3600));
  CHECK(Get(*client).response.retry_after == std::nullopt);
  CHECK(Get(*client).response.retry_after == seconds(0));
}

// A server, or the lack of one, that brings a call into one phase and leaves it there.
struct Phase {
  const char* name;
  const char* words;  // of the deadline's message
  // Makes what is needed, hands out the client's options, and gives back how to wait until the phase is reached.
  std::function<std::function<bool()>(Client::Options& options)> enter;
};

std::vector<Phase> Phases() {
  const auto look_up = [](std::string Client::Options::*url) {
    return [url](Client::Options& options) -> std::function<bool()> {
      options.*url = std::string("http://") + StuckResolver::kStuckName;
      return [resolver = std::make_shared<StuckResolver>()] { return resolver->WaitForLookup(seconds(10)); };
    };
  };
  const auto connect = [](std::string Client::Options::*url) {
    return [url](Client::Options& options) -> std::function<bool()> {
      const auto listener = std::make_shared<FullListener>();
      options.*url = "http://127.0.0.1:" + std::to_string(listener->port());
      return [listener] { return listener->WaitForConnect(seconds(10)); };
    };
  };
  // Sends `answer` after the first bytes of the client, and then nothing.
  const auto fall_silent = [](std::string Client::Options::*url, const char* scheme, const char* answer) {
    return [=](Client::Options& options) -> std::function<bool()> {
      const auto reached = std::make_shared<Event>();
      const auto server = std::make_shared<RawServer>([=](Connection& c, int) {
        c.ReadSome();
        c.Write(answer);
        reached->Set();
        c.WaitForEnd();
      });
      options.*url = std::string(scheme) + "://127.0.0.1:" + std::to_string(server->port());
      return [reached, server] { return reached->Wait(); };
    };
  };
  const auto base = &Client::Options::base_url, proxy = &Client::Options::proxy_url;
  return {{"name lookup", "while connecting", look_up(base)},
          {"name lookup of the proxy", "while connecting", look_up(proxy)},
          {"connect", "while connecting", connect(base)},
          {"connect to the proxy", "while connecting", connect(proxy)},
          {"the proxy's answer", "while connecting", fall_silent(proxy, "http", "")},
          {"TLS handshake", "while connecting", fall_silent(base, "https", "")},
          {"response", "while waiting for the response", fall_silent(base, "http", "")},
          {"response headers", "while waiting for the response", fall_silent(base, "http", "HTTP/1.1 200 OK\r\n")},
          {"response body", "while reading the response",
           fall_silent(base, "http", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")}};
}

TEST_CASE("a call ends at once in every phase, by stop and by deadline") {
  for (const Phase& phase : Phases()) {
    for (const bool stops : {true, false}) {
      DYNAMIC_SECTION(phase.name << (stops ? ", stop" : ", deadline")) {
        Client::Options options;
        options.base_url = "https://api.example.invalid";
        const auto reached = phase.enter(options);
        std::stop_source stop;
        Limits limits = Within(stops ? seconds(60) : milliseconds(300));
        limits.stop = stop.get_token();
        auto began = std::chrono::steady_clock::now();
        bool is_reached = false;
        std::thread watcher([&] {
          is_reached = reached();
          if (!stops) return;
          // libcurl looks around 200 ms after the start by itself; from then on only the stop wakes it.
          base::StopSignal().WaitFor(milliseconds(250));
          began = std::chrono::steady_clock::now();
          stop.request_stop();
        });
        auto client = MakeClient(options.base_url, options);
        const Outcome out = Get(*client, limits);
        client.reset();  // must not wait for what was given up
        const auto ended = std::chrono::steady_clock::now();
        watcher.join();
        CAPTURE(out.message());
        CHECK(is_reached);
        CHECK(ended - began < seconds(5));  // a minute otherwise
        CHECK(out.status.code() == (stops ? Code::kCancelled : Code::kDeadlineExceeded));
        if (!stops) CHECK(out.message().find(phase.words) != std::string::npos);
      }
    }
  }
}

TEST_CASE("a call whose stop was requested before sends nothing") {
  RawServer server([](Connection& c, int) { c.WaitForEnd(); });
  std::stop_source stop;
  stop.request_stop();
  Limits limits;
  limits.stop = stop.get_token();
  CHECK(Get(*MakeClient(server.url()), limits).status.code() == Code::kCancelled);
  CHECK(server.connections() == 0);
}

TEST_CASE("a stream ends after its own limit, not after its time-out, silent or not") {
  const bool falls_silent = GENERATE(true, false);
  RawServer server([falls_silent](Connection& c, int) {
    c.ReadRequest();
    c.Write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < (falls_silent ? 4 : 200) && c.Write("2\r\nab\r\n"); ++i) usleep(50000);
    c.WaitForEnd();
  });
  const auto client = MakeClient(server.url());
  Limits limits = Within(milliseconds(300));
  limits.stream = milliseconds(1000);
  std::string got;
  const auto response = client->Stream(
      {"GET", "/x"},
      [&](const Response& head, std::string_view bytes) {
        CHECK(head.code == 200);
        got.append(bytes);
        return absl::OkStatus();
      },
      limits);
  CHECK(response.status().code() == Code::kDeadlineExceeded);
  CHECK(base::Message(response.status()).find("1000 ms") != std::string::npos);
  if (falls_silent) CHECK(got.size() == 8);
  CHECK(got.size() < 200);
}

TEST_CASE("an error of the body's visitor ends the call with that error") {
  RawServer server([](Connection& c, int) {
    c.ReadRequest();
    c.Answer("{}");
  });
  const auto client = MakeClient(server.url());
  const auto response = client->Stream(
      {"GET", "/x"}, [](const Response&, std::string_view) { return absl::OutOfRangeError("enough"); }, Limits());
  CHECK(response.status().code() == Code::kOutOfRange);
  const auto thrown = client->Stream(
      {"GET", "/x"}, [](const Response&, std::string_view) -> absl::Status { throw std::runtime_error("oops"); },
      Limits());
  CHECK_FALSE(thrown.ok());
}

TEST_CASE("requests with line ends in them are refused before anything is sent") {
  const auto client = MakeClient("http://127.0.0.1:" + std::to_string(ClosedPort()));
  CHECK(Fetch(*client, {"GET", "/x\r\nEvil: 1"}).status.code() == Code::kInvalidArgument);
  CHECK(Fetch(*client, {"GET", "x"}).status.code() == Code::kInvalidArgument);
  const Outcome out = Fetch(*client, {"GET", "/x", {{"Authorization", "Bearer secret\r\nEvil: 1"}}});
  CHECK(out.status.code() == Code::kInvalidArgument);
  CHECK(out.message().find("secret") == std::string::npos);
}

TEST_CASE("an http target goes through the proxy, whose password stays in it") {
  RawServer proxy([](Connection& c, int) {
    while (!c.ReadRequest().empty()) c.Answer("{}");
  });
  Client::Options options;
  options.proxy_url = "http://user:hunter2@127.0.0.1:" + std::to_string(proxy.port());
  const auto client = MakeClient("http://api.example.invalid:8080", options);
  REQUIRE(Get(*client).status.ok());
  const std::string sent = proxy.requests().at(0);
  CHECK(sent.rfind("GET http://api.example.invalid:8080/x HTTP/1.1\r\n", 0) == 0);
  CHECK(sent.find("Proxy-Authorization: Basic") != std::string::npos);
}

TEST_CASE("an https target goes through a tunnel, and a refusal of the proxy is named") {
  struct Case {
    int answer;
    Code code;
  };
  const auto c =
      GENERATE(values<Case>({{403, Code::kUnavailable}, {407, Code::kUnauthenticated}, {502, Code::kUnavailable}}));
  RawServer proxy([&](Connection& connection, int) {
    connection.ReadRequest();
    connection.Answer("no", c.answer);
  });
  Client::Options options;
  options.proxy_url = "http://user:hunter2@127.0.0.1:" + std::to_string(proxy.port());
  const auto client = MakeClient("https://api.example.invalid:6443", options);
  const Outcome out = Get(*client);
  CAPTURE(out.message());
  CHECK(proxy.requests().at(0).rfind("CONNECT api.example.invalid:6443 HTTP/1.1\r\n", 0) == 0);
  CHECK(out.status.code() == c.code);
  CHECK(out.message().find("HTTP " + std::to_string(c.answer)) != std::string::npos);
  CHECK(out.message().find("127.0.0.1") != std::string::npos);
  CHECK(out.message().find("hunter2") == std::string::npos);
}

TEST_CASE("the environment's proxy is used unless NO_PROXY says no") {
  RawServer proxy([](Connection& c, int) {
    while (!c.ReadRequest().empty()) c.Answer("{}");
  });
  Client::Options options;
  options.base_url = "http://api.example.invalid";
  options.proxy_settings.http_proxy = "127.0.0.1:" + std::to_string(proxy.port());
  auto client = Client::Create(options);
  REQUIRE(client.ok());
  CHECK(Get(**client).status.ok());
  options.proxy_settings.no_proxy = "example.invalid";
  client = Client::Create(options);
  REQUIRE(client.ok());
  CHECK_FALSE(Get(**client, Within(seconds(3))).status.ok());
  CHECK(proxy.connections() == 1);
}

TEST_CASE("bad options are refused when the client is made") {
  Client::Options options;
  options.base_url = "https://h";
  SECTION("URL") { options.base_url = "h:6443"; }
  SECTION("proxy") { options.proxy_url = "gopher://x"; }
  SECTION("certificate without key") { options.tls.client_cert_pem = "x"; }
  SECTION("CA") { options.tls.ca_pem = "x"; }
  SECTION("user agent") { options.user_agent = "a\nb"; }
  SECTION("server name") { options.tls.server_name = "a/b"; }
  CHECK(Client::Create(options).status().code() == Code::kInvalidArgument);
}

}  // namespace
}  // namespace clusterpulse::http
