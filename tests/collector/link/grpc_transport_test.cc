#include "collector/link/grpc_transport.h"

#include <atomic>
#include <filesystem>
#include <fstream>

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "collector/link/hub_link.h"
#include "collector/link/server_name.h"
#include "tests/collector/link/sample.h"
#include "tests/collector/link/test_hub.h"
#include "tests/common/http/testing/raw_server.h"
#include "tests/common/http/testing/test_certs.h"
#include "tests/support/process.h"
#include "tests/support/tcp_proxy.h"

namespace clusterpulse::link {
namespace {

using namespace std::chrono_literals;
using http::KeyPair;
using http::RawServer;
using Code = absl::StatusCode;
using Seen = TestHub::Seen;

LinkOptions OptionsFor(const std::string& address) {
  LinkOptions options;
  options.address = address;
  options.cluster = "edge-1";
  options.version = "1.2.3";
  options.token = [] { return std::string("a-token"); };
  options.proxy = {};
  options.welcome_limit = 300ms;
  return options;
}

// A collector: an outbox and a link over gRPC.
struct Collector {
  Outbox outbox{{.max_batches = 100}, "instance-1", base::SystemClock()};
  std::atomic<int> connected = 0, configs = 0;
  HubLink link;

  explicit Collector(const LinkOptions& options, std::size_t nodes = 1)
      : link(options,
             {.on_full_batch =
                  [this, nodes] {
                    ++connected;
                    outbox.Add(NodeBatch("full", nodes, 900), true);
                  },
              .on_config =
                  [this](const auto&) {
                    ++configs;
                    return std::vector<std::string>{"a problem"};
                  },
              .heartbeat = [] { return model::Heartbeat{.interval = 1s}; }},
             outbox, MakeGrpcTransport(options), base::SystemClock(), base::SystemRandom()) {
    link.Start();
  }
  std::uint64_t Add(model::Batch batch = NodeBatch("b")) {
    const std::uint64_t seq = outbox.Add(std::move(batch), false);
    link.BatchAdded();
    return seq;
  }
  bool WaitFor(const std::function<bool(const LinkStatus&)>& condition) {
    return testing::Eventually(10s, [&] { return condition(link.status()); });
  }
  // The first failure, as the status tells it.
  absl::Status Failure() {
    WaitFor([](const LinkStatus& status) { return !status.last_error.ok(); });
    return link.status().last_error;
  }
  bool IsEmpty() {
    return testing::Eventually(10s, [&] { return outbox.stats().batches == 0; });
  }
};

TEST_CASE("a hub of ours over a real connection") {
  TestHub hub({.config = model::CollectorConfig{.interval = 10s, .hash = "c1"}});
  LinkOptions options = OptionsFor(hub.address());
  options.heartbeat = 1s;
  Collector collector(options);
  REQUIRE(hub.WaitFor([](const Seen& seen) { return seen.batches.size() == 1 && seen.reports.size() == 1; }));
  for (std::size_t i = 2; i <= 30; ++i) {
    collector.Add();
    REQUIRE(hub.WaitFor([i](const Seen& seen) { return seen.batches.size() == i; }));
  }
  CHECK(collector.IsEmpty());
  CHECK(hub.WaitFor([](const Seen& seen) { return seen.heartbeats > 0; }));
  const Seen seen = hub.seen();
  CHECK(seen.streams == 1);
  CHECK(seen.authorizations == std::vector<std::string>{"Bearer a-token"});
  REQUIRE(seen.registrations.size() == 1);
  CHECK(seen.registrations[0].token == "a-token");
  CHECK(seen.registrations[0].instance == "instance-1");
  CHECK(seen.reports[0] == model::ConfigReport{"c1", {"a problem"}});
  for (std::size_t i = 0; i < seen.batches.size(); ++i) {
    CHECK(seen.batches[i].seq == i + 1);
    CHECK_FALSE(seen.batches[i].history_only);
  }
  const LinkStatus status = collector.link.status();
  CHECK(status.state == LinkState::kStreaming);
  CHECK(status.hub == "test-hub");
  CHECK(status.last_error.ok());
  CHECK(collector.link.Stop(5s));
  CHECK(hub.WaitFor([](const Seen& s) { return s.open == 0; }));
  CHECK(hub.seen().half_closed == 1);
}

TEST_CASE("an upstream hub over a real connection") {
  std::optional<model::CollectorConfig> config;
  SECTION("with sources") { config = model::CollectorConfig{.metric_sources = {R"({"name":"a"})"}}; }
  SECTION("without") {}
  TestHub hub({.upstream = true, .config = config});
  Collector collector(OptionsFor(hub.address()));
  collector.Add(NodeBatch("before"));
  REQUIRE(hub.WaitFor([](const Seen& seen) { return !seen.batches.empty(); }));
  CHECK(collector.IsEmpty());
  CHECK(collector.link.status().upstream);
  CHECK(collector.configs == (config.has_value() ? 1 : 0));
  // 1.5 MiB of nodes go in one message, a source of 1.5 MiB is cut.
  model::Batch big = NodeBatch("big", 3000, 500);
  big.sources = {SampleSource("rows", 3000, 500)};
  collector.Add(big);
  REQUIRE(hub.WaitFor([](const Seen& seen) { return seen.batches.size() >= 3; }));
  CHECK(collector.IsEmpty());
  const Seen seen = hub.seen();
  REQUIRE(seen.batches.size() == 3);
  CHECK(seen.batches[0].id == "full");
  CHECK(seen.batches[1].snapshot == big.snapshot);
  REQUIRE(seen.batches[2].sources.size() == 1);
  CHECK(seen.batches[2].sources[0].truncated);
  CHECK(seen.largest_message > wire::kMaxOwnMessage);
  CHECK(seen.largest_message < wire::kMaxUpstreamMessage);
  CHECK(collector.link.Stop(5s));
  CHECK(hub.WaitFor([](const Seen& s) { return s.open == 0; }));
  CHECK(hub.seen().half_closed == 0);
}

TEST_CASE("a batch of many MiB reaches a hub of ours in parts") {
  TestHub hub({});
  Collector collector(OptionsFor(hub.address()));
  REQUIRE(hub.WaitFor([](const Seen& seen) { return seen.batches.size() == 1; }));
  const model::Batch big = NodeBatch("big", 9000, 900);
  const std::uint64_t seq = collector.Add(big);
  REQUIRE(collector.IsEmpty());
  const Seen seen = hub.seen();
  CHECK(seen.largest_message <= wire::kMaxOwnMessage);
  CHECK(seen.batches.size() > 8);
  model::Batch joined;
  for (std::size_t i = 1; i < seen.batches.size(); ++i) {
    CHECK(seen.batches[i].seq == seq);
    CHECK(seen.batches[i].part == i - 1);
    JoinInto(joined, seen.batches[i]);
  }
  CHECK(joined.snapshot == big.snapshot);
}

TEST_CASE("after a cut connection everything that is not durable comes again") {
  TestHub hub({.makes_durable = false});
  testing::TcpProxy cut(hub.port());
  Collector collector(OptionsFor("127.0.0.1:" + std::to_string(cut.port())));
  REQUIRE(hub.WaitFor([](const Seen& seen) { return seen.batches.size() == 1; }));
  collector.Add();
  REQUIRE(hub.WaitFor([](const Seen& seen) { return seen.batches.size() == 2; }));
  cut.Set({.refuse = true});
  REQUIRE(collector.WaitFor([](const LinkStatus& status) { return status.state == LinkState::kBackingOff; }));
  CHECK(collector.link.status().last_error.code() == Code::kUnavailable);
  collector.Add();
  cut.Heal();
  REQUIRE(hub.WaitFor([](const Seen& seen) { return seen.batches.size() == 6; }));
  const Seen seen = hub.seen();
  CHECK(seen.registrations.back().held == model::SeqRange{1, 3});
  // The full batch first, then history.
  std::vector<std::pair<std::uint64_t, bool>> got;
  for (std::size_t i = 2; i < 6; ++i) got.emplace_back(seen.batches[i].seq, seen.batches[i].history_only);
  CHECK(got == std::vector<std::pair<std::uint64_t, bool>>{{4, false}, {1, true}, {2, true}, {3, true}});
}

TEST_CASE("a hub that is gone comes back on the same address") {
  auto hub = std::make_unique<TestHub>(TestHub::Options{});
  const int port = hub->port();
  Collector collector(OptionsFor(hub->address()));
  REQUIRE(hub->WaitFor([](const Seen& seen) { return seen.batches.size() == 1; }));
  hub.reset();
  REQUIRE(collector.WaitFor([](const LinkStatus& status) { return status.state == LinkState::kBackingOff; }));
  collector.Add();
  hub = std::make_unique<TestHub>(TestHub::Options{.port = port});
  REQUIRE(hub->port() == port);
  REQUIRE(hub->WaitFor([](const Seen& seen) { return seen.batches.size() >= 2; }));
  CHECK(collector.IsEmpty());
  CHECK(collector.connected == 2);
}

TEST_CASE("a hub that does not read is given up, and stopping does not wait for it") {
  TestHub hub({.reads = false});
  LinkOptions options = OptionsFor(hub.address());
  options.write_limit = 500ms;
  Collector collector(options);
  REQUIRE(hub.WaitFor([](const Seen& seen) { return seen.open == 1; }));
  hub.Say(wire::Encode(
      model::Welcome{.hub = "stuck", .credits = {16, 64 << 20}, .capabilities = {.delivery = true, .parts = true}}));
  REQUIRE(collector.WaitFor([](const LinkStatus& status) { return status.hub == "stuck"; }));
  collector.Add(NodeBatch("big", 9000, 900));  // more than a connection buffers
  CHECK(collector.Failure().code() == Code::kDeadlineExceeded);
  CHECK(collector.link.Stop(2s));
}

TEST_CASE("a slow hub is waited for") {
  TestHub hub({});
  testing::TcpProxy slow(hub.port());
  slow.Set({.bytes_per_second = 2000});
  Collector collector(OptionsFor("127.0.0.1:" + std::to_string(slow.port())));
  for (int i = 0; i < 20; ++i) collector.Add();
  REQUIRE(collector.IsEmpty());
  CHECK(collector.link.status().last_error.ok());
}

TEST_CASE("what the hub says at the end of a stream is told with its code") {
  struct Case {
    int code;
    Code want;
  };
  const Case c = GENERATE(Case{16, Code::kUnauthenticated}, Case{7, Code::kPermissionDenied},
                          Case{6, Code::kAlreadyExists}, Case{2, Code::kUnknown});
  TestHub hub({.refuse_code = c.code, .refuse_text = "because " + std::string(2000, 'x')});
  Collector collector(OptionsFor(hub.address()));
  const absl::Status failure = collector.Failure();
  CHECK(failure.code() == c.want);
  CHECK(std::string(failure.message()).rfind("because", 0) == 0);
  CHECK(failure.message().size() <= 512);
}

TEST_CASE("no hub at all") {
  Collector collector(OptionsFor("127.0.0.1:" + std::to_string(http::ClosedPort())));
  CHECK(collector.Failure().code() == Code::kUnavailable);
  CHECK(collector.link.Stop(1s));
}

// An address where connections neither succeed nor fail: what it can queue is used up.
class DeadAddress {
 public:
  explicit DeadAddress(int port) {
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_addr = in6addr_loopback;
    address.sin6_port = htons(static_cast<std::uint16_t>(port));
    auto* const where = reinterpret_cast<sockaddr*>(&address);
    const int listener = Socket();
    ok_ = ::bind(listener, where, sizeof(address)) == 0 && ::listen(listener, 0) == 0;
    for (int i = 0; ok_ && i < 4; ++i) (void)::connect(Socket(), where, sizeof(address));
  }
  ~DeadAddress() {
    for (const int fd : fds_) ::close(fd);
  }
  DeadAddress(const DeadAddress&) = delete;
  DeadAddress& operator=(const DeadAddress&) = delete;
  bool ok() const { return ok_; }

 private:
  int Socket() { return fds_.emplace_back(::socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)); }

  std::vector<int> fds_;
  bool ok_ = false;
};

TEST_CASE("an address of the name that does not answer is passed by in time") {
  TestHub hub({});
  const DeadAddress dead(hub.port());
  if (!dead.ok()) {
    WARN("skipped: this machine has no IPv6 loopback");
    return;
  }
  LinkOptions options = OptionsFor("localhost:" + std::to_string(hub.port()));
  options.address_limit = 300ms;
  Collector collector(options);
  CHECK(hub.WaitFor([](const Seen& seen) { return seen.batches.size() == 1; }));
  CHECK(hub.seen().streams == 1);
  CHECK(collector.link.status().last_error.ok());
}

TEST_CASE("IPv6") {
  TestHub hub({.host = "[::1]"});
  if (hub.port() == 0) {
    WARN("skipped: this machine has no IPv6 loopback");
    return;
  }
  Collector collector(OptionsFor(hub.address()));
  CHECK(hub.WaitFor([](const Seen& seen) { return seen.batches.size() == 1; }));
}

TEST_CASE("tokens: none, and one that cannot be sent") {
  TestHub hub({});
  LinkOptions options = OptionsFor(hub.address());
  SECTION("none") {
    options.token = nullptr;
    Collector collector(options);
    CHECK(hub.WaitFor([](const Seen& seen) { return seen.registrations.size() == 1; }));
    CHECK(hub.seen().authorizations == std::vector<std::string>{"-"});
    CHECK(hub.seen().registrations[0].token.empty());
  }
  SECTION("with a newline") {
    options.token = [] { return std::string("half\nhalf"); };
    Collector collector(options);
    const absl::Status failure = collector.Failure();
    CHECK(failure.code() == Code::kInvalidArgument);
    CHECK(std::string(failure.message()).find("half") == std::string::npos);
    CHECK(hub.seen().streams == 0);
  }
}

// --- TLS ---

struct Pki {
  KeyPair ca = http::MakeCa("test-ca"), other_ca = http::MakeCa("other-ca");
  KeyPair server = http::MakeCert(ca, {"hub", {"DNS:localhost", "IP:127.0.0.1"}});
  testing::TempDir dir;

  std::string File(const std::string& name, const std::string& content) const {
    testing::WriteFile(dir.File(name), content);
    return dir.File(name);
  }
};

LinkOptions TlsOptionsFor(const TestHub& hub, const std::string& host, const std::string& ca) {
  LinkOptions options = OptionsFor(host + ":" + std::to_string(hub.port()));
  options.tls = true;
  options.tls_ca = ca;
  return options;
}

TEST_CASE("TLS: who is trusted for which name") {
  const Pki pki;
  const std::string right = pki.File("ca.crt", pki.ca.cert_pem), wrong = pki.File("other.crt", pki.other_ca.cert_pem);
  const std::string both = pki.File("both.crt", pki.other_ca.cert_pem + pki.ca.cert_pem);
  struct Case {
    const char* name;
    std::vector<std::string> sans;
    std::string host, ca, server_name;
    bool ok;
  };
  const std::vector<Case> cases = {
      {"name of the host", {"DNS:localhost"}, "localhost", right, "", true},
      {"address of the host", {"IP:127.0.0.1"}, "127.0.0.1", right, "", true},
      {"a bundle", {"DNS:localhost"}, "localhost", both, "", true},
      {"another name", {"DNS:hub.internal"}, "localhost", right, "", false},
      {"another CA", {"DNS:localhost"}, "localhost", wrong, "", false},
      {"system roots", {"DNS:localhost"}, "localhost", "", "", false},
      {"given name", {"DNS:hub.internal"}, "localhost", right, "hub.internal", true},
      {"given name, dialled by address", {"DNS:hub.internal"}, "127.0.0.1", right, "hub.internal", true},
      {"given name, wildcard", {"DNS:*.apps.edge"}, "localhost", right, "hub.apps.edge", true},
      {"given address", {"IP:10.1.2.3"}, "localhost", right, "10.1.2.3", true},
      {"given name is not in it, the host is", {"DNS:localhost"}, "localhost", right, "hub.internal", false},
      {"given name, another CA", {"DNS:hub.internal"}, "localhost", wrong, "hub.internal", false},
      {"given name, system roots", {"DNS:hub.internal"}, "localhost", "", "hub.internal", false},
      {"given name, a bundle", {"DNS:hub.internal"}, "localhost", both, "hub.internal", true},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      TestHub hub({.tls = http::MakeCert(pki.ca, {.common_name = "hub.internal", .names = c.sans})});
      LinkOptions options = TlsOptionsFor(hub, c.host, c.ca);
      options.tls_server_name = c.server_name;
      Collector collector(options);
      if (c.ok) {
        CHECK(hub.WaitFor([](const Seen& seen) { return seen.batches.size() == 1; }));
      } else {
        CHECK(collector.Failure().code() == Code::kUnavailable);
        CHECK(hub.seen().streams == 0);
      }
      CHECK(collector.link.Stop(5s));
    }
  }
}

TEST_CASE("TLS: an expired certificate is refused, whatever name is asked for") {
  const Pki pki;
  TestHub hub(
      {.tls = http::MakeCert(pki.ca, {.names = {"DNS:localhost"}, .valid_from_days = -10, .valid_to_days = -1})});
  LinkOptions options = TlsOptionsFor(hub, "localhost", pki.File("ca.crt", pki.ca.cert_pem));
  options.tls_server_name = GENERATE(as<std::string>(), "", "localhost");
  Collector collector(options);
  CHECK(collector.Failure().code() == Code::kUnavailable);
  CHECK(hub.seen().streams == 0);
}

TEST_CASE("TLS: a CA file that cannot be read whole is told") {
  const Pki pki;
  struct Case {
    const char* name;
    std::string file, said;
  };
  const std::string pipe = pki.dir.File("pipe");
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  const std::vector<Case> cases = {
      {"none", pki.dir.File("none"), "cannot be read"},
      {"a pipe", pipe, "cannot be read"},
      {"too large", pki.File("large.crt", pki.ca.cert_pem + std::string(std::size_t{1} << 20, '\n')),
       "more than 1024 KiB"},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      TestHub hub({.tls = pki.server});
      Collector collector(TlsOptionsFor(hub, "localhost", c.file));
      const absl::Status failure = collector.Failure();
      CHECK(failure.code() == Code::kInvalidArgument);
      CHECK(std::string(failure.message()).find(c.said) != std::string::npos);
    }
  }
}

TEST_CASE("TLS: the CA file is read at every attempt") {
  const Pki pki;
  TestHub hub({.tls = pki.server});
  const std::string path = pki.dir.File("ca.crt");
  SECTION("absent") {}
  SECTION("no certificate") { testing::WriteFile(path, "hello"); }
  SECTION("a folder") { std::filesystem::create_directory(path); }
  Collector collector(TlsOptionsFor(hub, "localhost", path));
  const absl::Status failure = collector.Failure();
  CHECK(failure.code() == Code::kInvalidArgument);
  CHECK(std::string(failure.message()).find(path) != std::string::npos);
  std::filesystem::remove(path);
  testing::WriteFile(path, pki.ca.cert_pem);
  CHECK(hub.WaitFor([](const Seen& seen) { return seen.batches.size() == 1; }));
}

TEST_CASE("TLS: SNI is the host that is dialled, versions are 1.2 and 1.3") {
  const Pki pki;
  std::string hello;
  base::Mutex mu;
  RawServer server([&](RawServer::Connection& connection, int) {
    const std::string first = connection.ReadSome();
    base::MutexLock lock(mu);
    if (hello.empty()) hello = first;
  });
  LinkOptions options = OptionsFor("localhost:" + std::to_string(server.port()));
  options.tls = true;
  options.tls_ca = pki.File("ca.crt", pki.ca.cert_pem);
  options.tls_server_name = GENERATE(as<std::string>(), "", "hub.internal");
  Collector collector(options);
  CHECK_FALSE(collector.Failure().ok());
  base::MutexLock lock(mu);
  CHECK(hello.find("localhost") != std::string::npos);
  CHECK(hello.find("hub.internal") == std::string::npos);
  // The extension supported_versions: 2 versions, 1.3 and 1.2.
  CHECK(hello.find(std::string("\x00\x2b\x00\x05\x04\x03\x04\x03\x03", 9)) != std::string::npos);
}

TEST_CASE("TLS on one side only is no connection") {
  const Pki pki;
  SECTION("hub") {
    TestHub hub({.tls = pki.server});
    Collector collector(OptionsFor(hub.address()));
    CHECK(collector.Failure().code() == Code::kUnavailable);
  }
  SECTION("collector") {
    TestHub hub({});
    Collector collector(TlsOptionsFor(hub, "localhost", pki.File("ca.crt", pki.ca.cert_pem)));
    CHECK(collector.Failure().code() == Code::kUnavailable);
  }
}

TEST_CASE("names of a certificate") {
  const KeyPair ca = http::MakeCa("ca");
  const auto names = [&](const std::vector<std::string>& sans, const std::string& name) {
    return CertificateNames(http::MakeCert(ca, {.common_name = "cn.example", .names = sans}).cert_pem, name);
  };
  CHECK(names({"DNS:a.example"}, "a.example"));
  CHECK(names({"DNS:a.example"}, "A.Example"));
  CHECK_FALSE(names({"DNS:a.example"}, "b.example"));
  CHECK_FALSE(names({"DNS:a.example"}, ""));
  CHECK_FALSE(names({"DNS:a.example"}, "cn.example"));
  CHECK_FALSE(names({}, "cn.example"));
  CHECK(names({"DNS:*.b.example"}, "a.b.example"));
  CHECK_FALSE(names({"DNS:*.b.example"}, "c.a.b.example"));
  CHECK_FALSE(names({"DNS:a*.b.example"}, "aa.b.example"));
  CHECK(names({"IP:10.0.0.1"}, "10.0.0.1"));
  CHECK_FALSE(names({"IP:10.0.0.1"}, "10.0.0.2"));
  CHECK(names({"IP:fd00::1"}, "fd00::1"));
  CHECK_FALSE(CertificateNames("no certificate", "a.example"));
  CHECK_FALSE(CertificateNames("", "a.example"));
}

// --- proxies ---

TEST_CASE("which proxy") {
  struct Case {
    const char* name;
    std::string address;
    bool tls;
    http::ProxySettings settings;
    std::string want;  // "!": an error
  };
  const std::string secure = "http://secure:3128", plain = "http://plain:3128";
  const std::vector<Case> cases = {
      {"none", "hub:9443", true, {}, ""},
      {"TLS", "hub:9443", true, {plain, secure, ""}, "http://secure:3128/"},
      {"TLS does not use the other", "hub:9443", true, {plain, "", ""}, ""},
      {"plaintext in a tunnel, as upstream", "hub:9443", false, {plain, secure, ""}, "http://secure:3128/"},
      {"plaintext", "hub:9443", false, {plain, "", ""}, "http://plain:3128/"},
      {"exception by name", "hub.corp:9443", true, {"", secure, "corp"}, ""},
      {"exception by name, in capitals", "Hub.Example.com:9443", true, {"", secure, "hub.example.com"}, ""},
      {"exception in capitals", "hub.example.com:9443", true, {"", secure, "Hub.Example.COM"}, ""},
      {"exception by CIDR", "10.1.2.3:9443", true, {"", secure, "10.0.0.0/8"}, ""},
      {"outside the CIDR", "11.1.2.3:9443", true, {"", secure, "10.0.0.0/8"}, "http://secure:3128/"},
      {"exception for IPv6", "[fd00::5]:9443", true, {"", secure, "fd00::/8"}, ""},
      {"exception with port", "hub:9443", true, {"", secure, "hub:9443"}, ""},
      {"exception for everything", "hub:9443", true, {"", secure, "*"}, ""},
      {"loopback", "127.0.0.1:9443", true, {"", secure, ""}, ""},
      {"with password", "hub:9443", true, {"", "u:p@secure:3128", ""}, "http://u:p@secure:3128/"},
      {"no scheme gRPC knows", "hub:9443", true, {"", "socks5://secure:1080", ""}, "!"},
      {"no address", "hub:no-port", true, {"", secure, ""}, "!"},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      LinkOptions options = OptionsFor(c.address);
      options.tls = c.tls;
      options.proxy = c.settings;
      const auto proxy = ProxyFor(options);
      if (c.want == "!") {
        CHECK(proxy.status().code() == Code::kInvalidArgument);
      } else {
        REQUIRE(proxy.ok());
        CHECK(*proxy == c.want);
      }
    }
  }
}

TEST_CASE("a stream through a proxy") {
  const Pki pki;
  TestHub hub({.tls = http::MakeCert(pki.ca, {"hub", {"IP:10.1.2.3"}})});
  std::atomic<bool> refuse = false;
  RawServer proxy([&](RawServer::Connection& connection, int) {
    if (connection.ReadRequest().empty()) return;
    if (refuse) {
      connection.Write("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
      return;
    }
    connection.Write("HTTP/1.1 200 Connection established\r\n\r\n");
    connection.RelayTo(hub.port(), [] { return false; });
  });
  LinkOptions options = OptionsFor("10.1.2.3:9443");
  options.tls = true;
  options.tls_ca = pki.File("ca.crt", pki.ca.cert_pem);
  options.proxy.https_proxy = "http://user:pass@127.0.0.1:" + std::to_string(proxy.port());
  SECTION("open") {
    Collector collector(options);
    REQUIRE(hub.WaitFor([](const Seen& seen) { return seen.batches.size() == 1; }));
    const std::string request = proxy.requests().at(0);
    CAPTURE(request);
    CHECK(request.rfind("CONNECT 10.1.2.3:9443 HTTP/1.", 0) == 0);
    CHECK(request.find("Basic dXNlcjpwYXNz") != std::string::npos);
    CHECK(request.find("a-token") == std::string::npos);
  }
  SECTION("closed") {
    refuse = true;
    Collector collector(options);
    const absl::Status failure = collector.Failure();
    CHECK(failure.code() == Code::kUnavailable);
    CHECK(std::string(failure.message()).find("pass") == std::string::npos);
    CHECK(hub.seen().streams == 0);
  }
}

// --- the port's rules ---

struct Counts {
  int written = 0, messages = 0, closed = 0;
};

class Recorder final : public HubTransport::Events {
 public:
  void OnWritten() override { Count(&Counts::written); }
  void OnMessage(std::string) override { Count(&Counts::messages); }
  void OnClosed(absl::Status status) override {
    {
      base::MutexLock lock(mu_);
      end_ = std::move(status);
    }
    Count(&Counts::closed);
  }

  bool WaitFor(const std::function<bool(const Counts&)>& condition) {
    const auto until = std::chrono::steady_clock::now() + 10s;
    base::MutexLock lock(mu_);
    while (!condition(counts_)) {
      if (!changed_.WaitFor(mu_, until - std::chrono::steady_clock::now())) return false;
    }
    return true;
  }
  Counts counts() {
    base::MutexLock lock(mu_);
    return counts_;
  }
  absl::Status end() {
    base::MutexLock lock(mu_);
    return end_;
  }

 private:
  void Count(int Counts::*field) {
    base::MutexLock lock(mu_);
    ++(counts_.*field);
    changed_.NotifyAll();
  }

  base::Mutex mu_;
  base::CondVar changed_;
  Counts counts_ ABSL_GUARDED_BY(mu_);
  absl::Status end_ ABSL_GUARDED_BY(mu_);
};

TEST_CASE("a stream may be cancelled at any moment, and always closes once") {
  TestHub hub({});
  const auto transport = MakeGrpcTransport(OptionsFor(hub.address()));
  const std::string registration = wire::Encode(model::Registration{.cluster = "edge-1"});
  for (int i = 0; i < 60; ++i) {
    CAPTURE(i);
    Recorder events;
    transport->Open("t", events);
    if (i % 6 >= 1) transport->Write(registration);
    if (i % 6 >= 2) transport->Receive();
    if (i % 6 >= 3) REQUIRE(events.WaitFor([](const Counts& seen) { return seen.written == 1; }));
    if (i % 6 >= 4) REQUIRE(events.WaitFor([](const Counts& seen) { return seen.messages == 1; }));
    if (i % 6 >= 5) transport->Write(wire::Encode(NodeBatch("b", 2000)));
    transport->Cancel();
    transport->Cancel();
    REQUIRE(events.WaitFor([](const Counts& seen) { return seen.closed == 1; }));
    transport->Write("late");
    transport->Receive();
    transport->Release();
    CHECK(events.counts().closed == 1);
  }
  CHECK(hub.WaitFor([](const Seen& seen) { return seen.open == 0; }));
}

TEST_CASE("a half-closed stream is ended by the hub, or cancelled") {
  struct Case {
    bool upstream, cancel;
    Code want;
  };
  const Case c =
      GENERATE(Case{false, false, Code::kOk}, Case{true, false, Code::kUnknown}, Case{false, true, Code::kCancelled});
  CAPTURE(c.upstream, c.cancel);
  TestHub hub({.upstream = c.upstream, .reads = !c.cancel});
  const auto transport = MakeGrpcTransport(OptionsFor(hub.address()));
  Recorder events;
  transport->Open("t", events);
  transport->Write(wire::Encode(model::Registration{.cluster = "edge-1"}));
  transport->Receive();
  REQUIRE(events.WaitFor([](const Counts& seen) { return seen.written == 1; }));
  transport->HalfClose();
  if (c.cancel) transport->Cancel();
  // What the hub said before comes first.
  REQUIRE(events.WaitFor([](const Counts& seen) { return seen.messages + seen.closed > 0; }));
  transport->Receive();
  REQUIRE(events.WaitFor([](const Counts& seen) { return seen.closed == 1; }));
  CHECK(events.end().code() == c.want);
  transport->HalfClose();
  transport->Release();
}

TEST_CASE("a server that ends while nothing is read is noticed with the next read") {
  TestHub hub({});
  const auto transport = MakeGrpcTransport(OptionsFor(hub.address()));
  Recorder events;
  transport->Open("t", events);
  transport->Write(wire::Encode(model::Registration{.cluster = "edge-1"}));
  REQUIRE(hub.WaitFor([](const Seen& seen) { return seen.registrations.size() == 1; }));
  hub.Stop();
  transport->Receive();  // the welcome may still be there
  REQUIRE(events.WaitFor([](const Counts& seen) { return seen.closed + seen.messages == 1; }));
  transport->Receive();
  CHECK(events.WaitFor([](const Counts& seen) { return seen.closed == 1; }));
  transport->Release();
}

}  // namespace
}  // namespace clusterpulse::link
