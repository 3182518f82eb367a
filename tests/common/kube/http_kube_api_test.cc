#include "common/kube/http_kube_api.h"

#include <functional>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>
#include <unistd.h>

#include "common/base/status.h"
#include "tests/common/http/testing/raw_server.h"
#include "tests/common/http/testing/stuck.h"
#include "tests/support/process.h"

namespace clusterpulse::kube {
namespace {

using Code = absl::StatusCode;
using http::RawServer;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr char kStatus503[] = R"({"kind":"Status","code":503,"reason":"ServiceUnavailable","message":"busy"})";
constexpr char kEmptyList[] = R"({"kind":"PodList","metadata":{"resourceVersion":"7"},"items":[]})";

std::unique_ptr<HttpKubeApi> Make(const std::string& server, HttpKubeApi::Options options = {},
                                  ConnectionConfig config = {}) {
  config.server = server;
  options.retry_initial = milliseconds(1);
  options.retry_max = milliseconds(5);
  auto api = HttpKubeApi::Create(std::move(config), std::move(options));
  REQUIRE(api.ok());
  return *std::move(api);
}

CallOptions Within(milliseconds timeout) {
  CallOptions options;
  options.timeout = timeout;
  return options;
}

absl::Status Ignore(json::Cursor) { return absl::OkStatus(); }

// Answers every request with `body`.
RawServer::Script Always(std::string body, int code = 200) {
  return [body, code](RawServer::Connection& c, int) {
    while (!c.ReadRequest().empty()) c.Answer(body, code);
  };
}

std::string FirstLine(const std::string& request) { return request.substr(0, request.find("\r\n")); }

TEST_CASE("each call is the request Kubernetes expects") {
  RawServer server(Always(R"({"kind":"X","items":[]})"));
  const auto api = Make(server.url() + "/k8s/c-1");
  const CallOptions options = Within(seconds(10));
  const auto last = [&] { return server.requests().back(); };

  ListQuery list{kPods, "team", "app in (a,b)", "spec.nodeName=n1"};
  list.resource_version = "0";
  REQUIRE(api->List(list, Ignore, options).ok());
  CHECK(FirstLine(last()) ==
        "GET /k8s/c-1/api/v1/namespaces/team/pods?limit=500&resourceVersion=0&labelSelector=app%20in%20%28a%2Cb%29&"
        "fieldSelector=spec.nodeName%3Dn1 HTTP/1.1");
  CHECK(last().find("\r\nAccept: application/json\r\n") != std::string::npos);
  list = {kNodes};
  list.limit = 7;
  list.continue_token = "a/b=";
  list.resource_version = "5";
  list.metadata_only = true;
  REQUIRE(api->List(list, Ignore, options).ok());
  CHECK(FirstLine(last()) == "GET /k8s/c-1/api/v1/nodes?limit=7&continue=a%2Fb%3D HTTP/1.1");
  CHECK(last().find("\r\nAccept: application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1\r\n") !=
        std::string::npos);

  REQUIRE(api->Get(kDeployments, {"ns", "d"}, options).ok());
  CHECK(FirstLine(last()) == "GET /k8s/c-1/apis/apps/v1/namespaces/ns/deployments/d HTTP/1.1");
  REQUIRE(api->GetPath("/version", options).ok());
  CHECK(FirstLine(last()) == "GET /k8s/c-1/version HTTP/1.1");
  REQUIRE(api->Create(kEvents, "ns", "{\"a\":1}", options).ok());
  CHECK(FirstLine(last()) == "POST /k8s/c-1/api/v1/namespaces/ns/events HTTP/1.1");
  CHECK(last().find("\r\nContent-Type: application/json\r\n") != std::string::npos);
  CHECK(last().find("\r\n\r\n{\"a\":1}") != std::string::npos);
  REQUIRE(api->Replace(kLeases, {"ns", "l"}, "{}", options).ok());
  CHECK(FirstLine(last()) == "PUT /k8s/c-1/apis/coordination.k8s.io/v1/namespaces/ns/leases/l HTTP/1.1");
  REQUIRE(
      api->Patch(kClusterConnections, {"ns", "c"}, PatchType::kMerge, "{}", {"status", "hub", false}, options).ok());
  CHECK(FirstLine(last()) ==
        "PATCH /k8s/c-1/apis/clusterpulse.io/v1alpha1/namespaces/ns/clusterconnections/c/status?fieldManager=hub "
        "HTTP/1.1");
  CHECK(last().find("\r\nContent-Type: application/merge-patch+json\r\n") != std::string::npos);
  REQUIRE(api->Patch(kNamespaces, {"", "n"}, PatchType::kServerApply, "{}", {"", "hub", true}, options).ok());
  CHECK(FirstLine(last()) == "PATCH /k8s/c-1/api/v1/namespaces/n?fieldManager=hub&force=true HTTP/1.1");
  CHECK(last().find("\r\nContent-Type: application/apply-patch+yaml\r\n") != std::string::npos);
  REQUIRE(api->Delete(kPods, {"ns", "p"}, {"uid-1", "Background"}, options).ok());
  CHECK(FirstLine(last()) == "DELETE /k8s/c-1/api/v1/namespaces/ns/pods/p HTTP/1.1");
  CHECK(last().find(R"("preconditions":{"uid":"uid-1"},"propagationPolicy":"Background"})") != std::string::npos);
  REQUIRE(api->Delete(kPods, {"ns", "p"}, {}, options).ok());
  CHECK(last().find("Content-Type") == std::string::npos);
  CHECK(server.connections() == 1);
}

TEST_CASE("names that would change the path are refused") {
  const auto api = Make("http://127.0.0.1:1");
  const CallOptions options;
  CHECK(api->Get(kPods, {"ns", "../x"}, options).status().code() == Code::kInvalidArgument);
  CHECK(api->Get(kPods, {"a/b", "x"}, options).status().code() == Code::kInvalidArgument);
  CHECK(api->Get(kPods, {"", "x"}, options).status().code() == Code::kInvalidArgument);
  CHECK(api->Get(kNodes, {"ns", "x"}, options).status().code() == Code::kInvalidArgument);
  CHECK(api->Get({"g/x", "v1", "things", "", true}, {"ns", "x"}, options).status().code() == Code::kInvalidArgument);
  CHECK(api->Patch(kPods, {"ns", "x"}, PatchType::kMerge, "{}", {"a/b", "", false}, options).status().code() ==
        Code::kInvalidArgument);
  CHECK(api->Patch(kPods, {"ns", "x"}, PatchType::kServerApply, "{}", {}, options).status().code() ==
        Code::kInvalidArgument);
  ListQuery list{kPods};
  list.limit = 0;
  CHECK(api->List(list, Ignore, options).status().code() == Code::kInvalidArgument);
}

TEST_CASE("429 and 503 are repeated within the deadline") {
  const int code = GENERATE(429, 503);
  RawServer server([code](RawServer::Connection& c, int) {
    for (int i = 0; i < 2; ++i) {
      c.ReadRequest();
      c.Answer(R"({"kind":"Status","reason":"Busy"})", code);
    }
    while (!c.ReadRequest().empty()) c.Answer(kEmptyList);
  });
  const auto api = Make(server.url());
  const auto page = api->List({kPods}, Ignore, Within(seconds(10)));
  REQUIRE(page.ok());
  CHECK(page->resource_version == "7");
  CHECK(server.requests().size() == 3);
  CHECK(api->Create(kPods, "ns", "{}", Within(seconds(10))).ok());
}

TEST_CASE("a Retry-After beyond the deadline is the answer") {
  RawServer server([](RawServer::Connection& c, int) {
    while (!c.ReadRequest().empty()) c.Answer(kStatus503, 503, "Retry-After: 60\r\n");
  });
  const auto status = Make(server.url())->List({kPods}, Ignore, Within(seconds(10))).status();
  CHECK(status.code() == Code::kUnavailable);
  CHECK(GetApiError(status)->retry_after == seconds(60));
  CHECK(base::Message(status) == "list /api/v1/pods: busy (HTTP 503 ServiceUnavailable)");
  CHECK(server.requests().size() == 1);
}

TEST_CASE("a caller that repeats itself gets each refusal at once, with its Retry-After") {
  const int code = GENERATE(429, 503);
  const bool is_told = GENERATE(false, true);
  CAPTURE(code, is_told);
  RawServer server([&](RawServer::Connection& c, int) {
    while (!c.ReadRequest().empty()) {
      c.Answer(R"({"kind":"Status","reason":"Busy"})", code, is_told ? "Retry-After: 1\r\n" : "");
    }
  });
  const auto api = Make(server.url());
  CallOptions options = Within(seconds(10));
  options.repeats_refused = false;
  const std::optional<seconds> wanted = is_told ? std::optional(seconds(1)) : std::nullopt;
  const auto listed = api->List({kPods}, Ignore, options).status();
  CHECK(listed.code() == (code == 429 ? Code::kResourceExhausted : Code::kUnavailable));
  CHECK(GetApiError(listed)->retry_after == wanted);
  CHECK(GetApiError(api->GetPath("/apis", options).status())->code == code);
  CHECK(GetApiError(api->Watch(
                        {kPods}, [](WatchEventType, json::Cursor) { return absl::OkStatus(); }, options))
            ->code == code);
  CHECK(server.requests().size() == 3);
}

TEST_CASE("a Retry-After within the deadline is waited for, and stop ends the wait") {
  RawServer server([](RawServer::Connection& c, int) {
    while (!c.ReadRequest().empty()) c.Answer(kStatus503, 503, "Retry-After: 30\r\n");
  });
  const auto api = Make(server.url());
  std::stop_source stop;
  std::thread stopper([&] {
    testing::Eventually(seconds(10), [&] { return !server.requests().empty(); });
    stop.request_stop();
  });
  CallOptions options = Within(seconds(60));
  options.stop = stop.get_token();
  CHECK(api->List({kPods}, Ignore, options).status().code() == Code::kCancelled);
  stopper.join();
  CHECK(server.requests().size() == 1);
}

TEST_CASE("a create is not repeated when only a proxy refused it") {
  RawServer server(Always("<html>503</html>", 503));
  const auto api = Make(server.url());
  CHECK(api->Create(kPods, "ns", "{}", Within(milliseconds(300))).status().code() == Code::kUnavailable);
  CHECK(server.requests().size() == 1);
}

TEST_CASE("what is no Kubernetes API is told so") {
  RawServer server([](RawServer::Connection& c, int) {
    while (!c.ReadRequest().empty()) c.Answer("<html>Sign in</html>", 200, "Content-Type: text/html\r\n");
  });
  const auto api = Make(server.url());
  const CallOptions options = Within(seconds(10));
  const auto status = api->List({kPods}, Ignore, options).status();
  CHECK(status.code() == Code::kDataLoss);
  CHECK(base::Message(status).find("text/html") != std::string::npos);
  CHECK(api->GetPath("/version", options).status().code() == Code::kDataLoss);
  CHECK(api->Watch(
               {kPods}, [](WatchEventType, json::Cursor) { return absl::OkStatus(); }, options)
            .code() == Code::kDataLoss);
}

TEST_CASE("a redirect is an error that says so") {
  RawServer server(Always("", 302));
  const auto status = Make(server.url())->Get(kPods, {"ns", "p"}, Within(seconds(10))).status();
  CHECK(status.code() == Code::kUnknown);
  CHECK(base::Message(status).find("redirects") != std::string::npos);
}

TEST_CASE("metadata only falls back to whole objects, but never for Secrets") {
  RawServer server([](RawServer::Connection& c, int) {
    for (std::string request; !(request = c.ReadRequest()).empty();) {
      const bool partial = request.find("as=PartialObjectMetadata") != std::string::npos;
      c.Answer(partial ? R"({"kind":"Status","reason":"NotAcceptable"})" : kEmptyList, partial ? 406 : 200);
    }
  });
  const auto api = Make(server.url());
  ListQuery query{kPods};
  query.metadata_only = true;
  CHECK(api->List(query, Ignore, Within(seconds(10))).ok());
  CHECK(server.requests().size() == 2);
  query.resource = kSecrets;
  CHECK(api->List(query, Ignore, Within(seconds(10))).status().code() == Code::kInvalidArgument);
  CHECK(server.requests().size() == 3);
}

TEST_CASE("a token file that rotates is read again, and a 401 repeats the request once") {
  testing::TempDir dir;
  testing::WriteFile(dir.File("token"), "old\n");
  RawServer server([](RawServer::Connection& c, int) {
    for (std::string request; !(request = c.ReadRequest()).empty();) {
      const bool good = request.find("Authorization: Bearer new\r\n") != std::string::npos;
      c.Answer(good ? kEmptyList : R"({"kind":"Status","reason":"Unauthorized"})", good ? 200 : 401);
    }
  });
  ConnectionConfig config;
  config.token_file = dir.File("token");
  HttpKubeApi::Options options;
  options.token_check = std::chrono::hours(1);
  const auto api = Make(server.url(), options, config);
  // The same token still: no second try.
  const auto refused = api->List({kPods}, Ignore, Within(seconds(10))).status();
  CHECK(refused.code() == Code::kUnauthenticated);
  CHECK(server.requests().size() == 1);
  CHECK(server.requests()[0].find("Authorization: Bearer old\r\n") != std::string::npos);
  testing::WriteFile(dir.File("token"), "new\n");
  CHECK(api->List({kPods}, Ignore, Within(seconds(10))).ok());
  CHECK(server.requests().size() == 3);
  // Mid-rotation the file may be empty or gone: the last good token stays.
  testing::WriteFile(dir.File("token"), "");
  CHECK(api->List({kPods}, Ignore, Within(seconds(10))).ok());

  options.token_check = milliseconds(0);
  testing::WriteFile(dir.File("token"), "old");
  const auto eager = Make(server.url(), options, config);
  testing::WriteFile(dir.File("token"), "new");
  const std::size_t before = server.requests().size();
  CHECK(eager->List({kPods}, Ignore, Within(seconds(10))).ok());
  CHECK(server.requests().size() == before + 1);
}

TEST_CASE("credentials are sent and never repeated in errors") {
  RawServer server(Always("no", 401));
  ConnectionConfig config;
  std::string expected;
  SECTION("token") {
    config.token = "hunter2";
    expected = "Authorization: Bearer hunter2\r\n";
  }
  SECTION("basic") {
    config.username = "admin";
    config.password = "hunter2";
    expected = "Authorization: Basic YWRtaW46aHVudGVyMg==\r\n";
  }
  const auto status = Make(server.url(), {}, config)->Get(kPods, {"ns", "p"}, Within(seconds(10))).status();
  CHECK(server.requests().at(0).find(expected) != std::string::npos);
  CHECK(status.ToString().find("hunter2") == std::string::npos);
}

TEST_CASE("bad credentials and addresses are refused when the client is made") {
  ConnectionConfig config;
  config.server = "https://h";
  Code expected = Code::kInvalidArgument;
  SECTION("address") { config.server = "h"; }
  SECTION("token with a line end inside") { config.token = "hunt\ner2"; }
  SECTION("CA") { config.ca_pem = "x"; }
  SECTION("token file missing") {
    config.token_file = "/nowhere/token";
    expected = Code::kNotFound;
  }
  const auto status = HttpKubeApi::Create(config, {}).status();
  CHECK(status.code() == expected);
  CHECK(base::Message(status).find("er2") == std::string::npos);
}

TEST_CASE("the client's own rate limit respects deadline and stop") {
  RawServer server(Always(kEmptyList));
  HttpKubeApi::Options options;
  options.qps = 0.001;
  options.burst = 2;
  const auto api = Make(server.url(), options);
  CHECK(api->List({kPods}, Ignore, Within(seconds(10))).ok());
  CHECK(api->List({kPods}, Ignore, Within(seconds(10))).ok());
  const auto status = api->List({kPods}, Ignore, Within(seconds(10))).status();
  CHECK(status.code() == Code::kDeadlineExceeded);
  CHECK(base::Message(status).find("limit of 0.001 requests a second") != std::string::npos);
  std::stop_source stop;
  CallOptions call = Within(std::chrono::hours(10));
  call.stop = stop.get_token();
  std::thread stopper([&] { stop.request_stop(); });
  CHECK(api->List({kPods}, Ignore, call).status().code() == Code::kCancelled);
  stopper.join();
  CHECK(server.requests().size() == 2);
}

TEST_CASE("a stop ends a call that does not get to its server, at once") {
  http::StuckResolver resolver;
  const http::FullListener listener;
  struct Case {
    const char* name;
    std::string server;
    std::function<bool()> reached;
  };
  const std::vector<Case> cases{
      {"name lookup", std::string("https://") + http::StuckResolver::kStuckName,
       [&] { return resolver.WaitForLookup(seconds(10)); }},
      {"connect", "https://127.0.0.1:" + std::to_string(listener.port()),
       [&] { return listener.WaitForConnect(seconds(10)); }},
  };
  for (const Case& c : cases) {
    for (const bool watches : {false, true}) {
      DYNAMIC_SECTION(c.name << (watches ? ", watch" : ", get")) {
        auto api = Make(c.server);
        std::stop_source stop;
        CallOptions options = Within(seconds(60));
        options.stop = stop.get_token();
        bool is_reached = false;
        auto began = std::chrono::steady_clock::now();
        std::thread stopper([&] {
          is_reached = c.reached();
          began = std::chrono::steady_clock::now();
          stop.request_stop();
        });
        const auto ignore = [](WatchEventType, json::Cursor) { return absl::OkStatus(); };
        const auto status =
            watches ? api->Watch({.resource = kPods}, ignore, options) : api->Get(kPods, {"ns", "p"}, options).status();
        api.reset();
        const auto ended = std::chrono::steady_clock::now();
        stopper.join();
        CHECK(is_reached);
        CHECK(ended - began < seconds(1));
        CHECK(status.code() == Code::kCancelled);
      }
    }
  }
}

std::string Chunk(const std::string& data) { return fmt::format("{:x}\r\n{}\r\n", data.size(), data); }
constexpr char kStreamHead[] =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
constexpr char kAdded[] = "{\"type\":\"ADDED\",\"object\":{}}\n";

struct Watched {
  absl::Status status;
  int events = 0;
};
Watched Watch(HttpKubeApi& api, const WatchQuery& query, const CallOptions& options) {
  Watched out;
  out.status = api.Watch(
      query,
      [&](WatchEventType, json::Cursor) {
        ++out.events;
        return absl::OkStatus();
      },
      options);
  return out;
}

TEST_CASE("how a watch ends") {
  struct Case {
    const char* name;
    std::string stream;
    Code code;
    int events;
  };
  const std::vector<Case> cases{
      {"cleanly", kStreamHead + Chunk(kAdded) + Chunk(kAdded) + "0\r\n\r\n", Code::kOk, 2},
      {"cut between events", kStreamHead + Chunk(kAdded), Code::kUnavailable, 1},
      {"cut in an event", kStreamHead + Chunk(kAdded) + Chunk("{\"type\""), Code::kUnavailable, 1},
      {"ended in an event", kStreamHead + Chunk(kAdded) + Chunk("{\"type\"") + "0\r\n\r\n", Code::kUnavailable, 1},
      {"too old",
       kStreamHead + Chunk(R"({"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}})"
                           "\n"),
       Code::kOutOfRange, 0},
      {"busy inside",
       kStreamHead + Chunk(kAdded) +
           Chunk(R"({"type":"ERROR","object":{"kind":"Status","code":503,"reason":"X"}})"
                 "\n"),
       Code::kUnavailable, 1},
      {"refused", "HTTP/1.1 410 Gone\r\nContent-Length: 2\r\n\r\n{}", Code::kOutOfRange, 0},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      RawServer server([&](RawServer::Connection& connection, int) {
        connection.ReadRequest();
        connection.Write(c.stream);
      });
      const auto api = Make(server.url());
      const Watched out = Watch(*api, {kPods, "", "", "", "5", seconds(10)}, Within(seconds(10)));
      CHECK(out.status.code() == c.code);
      CHECK(out.events == c.events);
      REQUIRE(server.requests().size() == 1);
      CHECK(FirstLine(server.requests()[0]) ==
            "GET /api/v1/pods?watch=1&allowWatchBookmarks=true&timeoutSeconds=10&resourceVersion=5 HTTP/1.1");
    }
  }
}

TEST_CASE("a watch outlives its call's time-out, ends soon after its own, and stops at once") {
  RawServer server([](RawServer::Connection& c, int) {
    c.ReadRequest();
    c.Write(kStreamHead);
    for (int i = 0; i < 200 && c.Write(Chunk(kAdded)); ++i) usleep(50000);
    c.WaitForEnd();
  });
  HttpKubeApi::Options options;
  options.watch_slack = milliseconds(600);
  const auto api = Make(server.url(), options);
  WatchQuery query{kPods};
  query.timeout = seconds(0);
  // A server that does not end it; what it tells meanwhile is no reason to wait longer.
  const Watched overdue = Watch(*api, query, Within(milliseconds(300)));
  CHECK(overdue.status.code() == Code::kDeadlineExceeded);
  CHECK(overdue.events > 0);
  CHECK(overdue.events < 100);

  query.timeout = seconds(100);
  std::stop_source stop;
  CallOptions call = Within(seconds(10));
  call.stop = stop.get_token();
  int events = 0;
  const auto begin = std::chrono::steady_clock::now();
  const absl::Status stopped = api->Watch(
      query,
      [&](WatchEventType, json::Cursor) {
        if (++events == 3) stop.request_stop();
        return absl::OkStatus();
      },
      call);
  CHECK(stopped.code() == Code::kCancelled);
  CHECK(std::chrono::steady_clock::now() - begin < seconds(10));
}

TEST_CASE("requests are counted by verb and code") {
  RawServer server([](RawServer::Connection& c, int) {
    c.ReadRequest();
    c.Answer("{}", 404);
    c.ReadRequest();
    c.Answer(kEmptyList);
  });
  telemetry::Registry registry;
  HttpKubeApi::Options options;
  options.cluster = "edge-1";
  options.metrics = ApiMetrics::Make(registry, "clusterpulse_test");
  const auto api = Make(server.url(), options);
  CHECK(IsNotFound(api->Get(kPods, {"ns", "p"}, Within(seconds(10))).status()));
  CHECK(api->List({kPods}, Ignore, Within(seconds(10))).ok());
  CHECK_FALSE(Make("http://127.0.0.1:" + std::to_string(http::ClosedPort()), options)
                  ->List({kPods}, Ignore, Within(seconds(10)))
                  .ok());
  CHECK(options.metrics.requests.With({"edge-1", "get", "404"}).Value() == 1);
  CHECK(options.metrics.requests.With({"edge-1", "list", "200"}).Value() == 1);
  CHECK(options.metrics.requests.With({"edge-1", "list", "error"}).Value() == 1);
}

}  // namespace
}  // namespace clusterpulse::kube
