#include "hub/history/vm_client.h"

#include <cstdio>
#include <memory>

#include <catch2/catch.hpp>

#include "common/base/status.h"
#include "tests/hub/history/fake_vm.h"
#include "tests/support/process.h"

namespace clusterpulse::history {
namespace {

using testing::TempDir;
using testing::WriteFile;

// Log lines, and how many of them there are.
struct Lines {
  base::Mutex mu;
  std::vector<std::string> lines ABSL_GUARDED_BY(mu);

  log::Logger Logger() {
    log::Logger::Options options;
    options.sink = [this](std::string_view line) {
      base::MutexLock lock(mu);
      lines.emplace_back(line);
    };
    return log::Logger(std::move(options));
  }
  std::size_t count() {
    base::MutexLock lock(mu);
    return lines.size();
  }
};

TEST_CASE("endpoints of single nodes, proxies and clusters") {
  struct Case {
    std::string endpoint, origin, prefix, metrics;
  };
  const std::vector<Case> cases = {
      {"http://vm:8428", "http://vm:8428", "", "/metrics"},
      {"http://vm:8428/", "http://vm:8428", "", "/metrics"},
      {"https://vm", "https://vm:443", "", "/metrics"},
      {"https://proxy/vm/", "https://proxy:443", "/vm", "/vm/metrics"},
      {"http://vminsert:8480/insert/0/prometheus", "http://vminsert:8480", "/insert/0/prometheus", "/metrics"},
      {"http://vminsert:8480/insert/0/prometheus/", "http://vminsert:8480", "/insert/0/prometheus", "/metrics"},
      {"http://vminsert:8480/insert/1:2", "http://vminsert:8480", "/insert/1:2/prometheus", "/metrics"},
      {"http://proxy/vm/insert/0/prometheus", "http://proxy:80", "/vm/insert/0/prometheus", "/vm/metrics"},
      {"http://vmselect:8481/select/0/prometheus", "http://vmselect:8481", "/select/0/prometheus", "/metrics"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.endpoint);
    const auto paths = ParseVmEndpoint(c.endpoint);
    REQUIRE(paths.ok());
    CHECK(paths->origin == c.origin);
    CHECK(paths->prefix == c.prefix);
    CHECK(paths->metrics == c.metrics);
  }
  for (const std::string bad : {"", "vm:8428", "ftp://vm", "http://u:p@vm", "http://vm?x=y"}) {
    CAPTURE(bad);
    CHECK(ParseVmEndpoint(bad).status().code() == absl::StatusCode::kInvalidArgument);
  }
}

TEST_CASE("what does not fit together is refused") {
  const TempDir dir;
  WriteFile(dir.File("secret"), "s3cret\n");
  WriteFile(dir.File("empty"), " \n");
  WriteFile(dir.File("large"), std::string(1 << 20, 'x'));
  WriteFile(dir.File("ca"), "no PEM");
  struct Case {
    std::string name;
    VmOptions options;
    std::string message;
  };
  const std::string url = "http://vm:8428";
  const std::vector<Case> cases = {
      {"a user alone", {.endpoint = url, .username = "u"}, "a user name and a file"},
      {"a password alone", {.endpoint = url, .password_file = dir.File("secret")}, "a user name and a file"},
      {"a user and a token",
       {.endpoint = url, .username = "u", .password_file = dir.File("secret"), .bearer_token_file = dir.File("secret")},
       "a user name and a bearer token"},
      {"no file", {.endpoint = url, .bearer_token_file = dir.File("none")}, dir.File("none") + " cannot be read"},
      {"a directory", {.endpoint = url, .bearer_token_file = dir.path()}, dir.path() + " cannot be read"},
      {"an empty file", {.endpoint = url, .bearer_token_file = dir.File("empty")}, dir.File("empty") + " is empty"},
      {"a large file", {.endpoint = url, .bearer_token_file = dir.File("large")}, dir.File("large") + " is too large"},
      {"authorities without TLS", {.endpoint = url, .tls_ca_file = dir.File("ca")}, "a file of authorities is given"},
      {"no authorities", {.endpoint = "https://vm", .tls_ca_file = dir.File("ca")}, dir.File("ca")},
      {"no address", {.endpoint = "vm"}, "the address"},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      const auto client = VmClient::Create(c.options, {});
      REQUIRE(client.status().code() == absl::StatusCode::kInvalidArgument);
      CAPTURE(base::Message(client.status()));
      CHECK(base::Message(client.status()).starts_with(c.message));
      CHECK(base::Message(client.status()).find("s3cret") == std::string::npos);
    }
  }
}

struct Session {
  FakeVm vm;
  TempDir dir;
  Lines log;
  std::unique_ptr<VmClient> client;

  void Create(VmOptions options) {
    options.proxy = {};
    options.endpoint = vm.url() + "/insert/7/prometheus";
    auto made = VmClient::Create(std::move(options), log.Logger());
    REQUIRE(made.ok());
    client = *std::move(made);
  }
  // The Authorization header that a request has now.
  std::string Authorization() {
    json::Buffer body;
    http::Limits limits;
    limits.timeout = std::chrono::seconds(10);
    const auto response = client->Fetch({.method = "POST", .target = "/api/v1/import/prometheus"}, body, limits);
    REQUIRE(response.ok());
    const auto imports = vm.imports();
    REQUIRE_FALSE(imports.empty());
    CHECK(imports.back().target == "/insert/7/prometheus/api/v1/import/prometheus");
    return imports.back().authorization;
  }
};

TEST_CASE("requests carry the credentials of the moment") {
  Session s;
  const std::string file = s.dir.File("secret");
  WriteFile(file, " first \n");
  SECTION("none") {
    s.Create({});
    CHECK(s.Authorization().empty());
  }
  SECTION("a token") {
    s.Create({.bearer_token_file = file});
    CHECK(s.Authorization() == "Bearer first");
    WriteFile(file, "another one");
    CHECK(s.Authorization() == "Bearer another one");
    CHECK(s.log.count() == 0);
  }
  SECTION("a user") {
    s.Create({.username = "hub", .password_file = file});
    CHECK(s.Authorization() == "Basic aHViOmZpcnN0");  // hub:first
    WriteFile(file, "second");
    CHECK(s.Authorization() == "Basic aHViOnNlY29uZA==");
  }
  SECTION("one that cannot be read any more stays, with one line") {
    s.Create({.bearer_token_file = file});
    REQUIRE(std::remove(file.c_str()) == 0);
    CHECK(s.Authorization() == "Bearer first");
    CHECK(s.Authorization() == "Bearer first");
    CHECK(s.log.count() == 1);
    WriteFile(file, "");
    CHECK(s.Authorization() == "Bearer first");
    CHECK(s.log.count() == 2);
    WriteFile(file, "back");
    CHECK(s.Authorization() == "Bearer back");
    CHECK(s.log.count() == 2);
  }
}

TEST_CASE("what a server tells about itself is beside its endpoint") {
  Session s;
  s.vm.SetStart(5);
  s.Create({});
  json::Buffer body;
  http::Limits limits;
  limits.timeout = std::chrono::seconds(10);
  const auto response = s.client->FetchMetrics(body, limits);
  REQUIRE(response.ok());
  CHECK(response->code == 200);
  CHECK(body.view().starts_with("process_start_time_seconds 5\n"));
}

}  // namespace
}  // namespace clusterpulse::history
