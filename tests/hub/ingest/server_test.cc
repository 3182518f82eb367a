// The ingester over real gRPC and TLS on loopback.
#include <atomic>
#include <filesystem>
#include <thread>

#include <catch2/catch.hpp>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/random.h"
#include "common/base/thread.h"
#include "hub/ingest/ingester.h"
#include "hub/ingest/testing/fakes.h"
#include "tests/hub/ingest/raw_client.h"
#include "tests/support/process.h"
#include "tests/support/tcp_proxy.h"

namespace clusterpulse::ingest {
namespace {

using namespace std::chrono_literals;
using absl::StatusCode;
using testing::ClientOptions;
using testing::Eventually;
using testing::RawClient;
using testing::ReadFile;

const std::string kToken = "s3cret";
constexpr std::size_t kMiB = std::size_t{1} << 20;

// Two sets of certificates, made once for the program.
struct Certificates {
  Certificates() {
    for (const std::string name : {"one", "two"}) {
      const auto made =
          testing::RunCommand({"bash", CLUSTERPULSE_SOURCE_DIR "/tests/support/certs.sh", dir.File(name)});
      if (made.exit_code != 0) FAIL(made.out);
    }
  }
  std::string File(const std::string& name) const { return dir.File(name); }
  testing::TempDir dir;
};
const Certificates& Certs() {
  static const Certificates certificates;
  return certificates;
}

model::Registration Registration(const std::string& cluster, bool delivery = true) {
  model::Registration registration;
  registration.cluster = cluster;
  registration.token = kToken;
  if (delivery) {
    registration.instance = "inst-" + cluster;
    registration.capabilities = {true, true, true};
  }
  return registration;
}

model::Batch Batch(const std::string& cluster, std::uint64_t seq) {
  model::Batch batch;
  batch.cluster = cluster;
  batch.id = "b" + std::to_string(seq);
  batch.seq = seq;
  batch.collected_at = base::SystemTime(1933135000s);
  batch.snapshot.nodes.emplace().push_back({.name = "n1"});
  return batch;
}

// A message of exactly so many bytes.
std::string Sized(const model::Batch& original, std::size_t bytes) {
  model::Batch batch = original;
  batch.snapshot.nodes->front().os_image = std::string(bytes - 200, 'x');
  const std::size_t missing = bytes - wire::Encode(batch).size();
  batch.snapshot.nodes->front().os_image += std::string(missing, 'x');
  const std::string message = wire::Encode(batch);
  REQUIRE(message.size() == bytes);
  return message;
}

struct Hub {
  explicit Hub(const std::function<void(Ingester::Options&)>& adapt = {}, bool tls = true) {
    Ingester::Options options{.hub = "hub-1", .version = "9.9", .port = 0};
    if (tls) {
      for (const std::string name : {"server.crt", "server.key"}) {
        std::filesystem::copy_file(Certs().File("one/" + name), dir.File(name));
      }
      options.tls_cert = dir.File("server.crt");
      options.tls_key = dir.File("server.key");
    }
    if (adapt) adapt(options);
    ingester = std::make_unique<Ingester>(
        options, Ingester::Dependencies{clusters, authenticator, data, base::SystemClock(), random, &registry}, log);
    const absl::Status started = ingester->Start();
    INFO(started.ToString());
    REQUIRE(started.ok());
    client.target = "localhost:" + std::to_string(ingester->port());
    if (tls) client.ca_pem = ReadFile(Certs().File("one/ca.crt"));
    AddCluster("c");
  }
  ~Hub() { CHECK(ingester->Stop(20s)); }

  void AddCluster(const std::string& name, std::vector<std::string> sources = {}) {
    ClusterPolicy policy;
    policy.uid = name;
    policy.config.interval = 30s;
    policy.config.hash = "h";
    policy.config.metric_sources = std::move(sources);
    clusters.Put(name, policy);
    authenticator.Put(name, kToken);
  }
  std::unique_ptr<RawClient> Connect(const std::string& cluster = "c") {
    auto stream = std::make_unique<RawClient>(client);
    CHECK(stream->Send(Registration(cluster)));
    CHECK(stream->Await<model::Welcome>().has_value());
    return stream;
  }
  double Streams(std::string_view kind) {
    return registry.Gauges("clusterpulse_hub_ingest_streams", "", {"kind"}).With({kind}).Value();
  }

  testing::TempDir dir;
  std::vector<std::string> lines;
  base::Mutex mu;
  log::Logger log{{.level = log::Level::kWarn, .sink = [this](std::string_view line) {
                     base::MutexLock lock(mu);
                     lines.emplace_back(line);
                   }}};
  FakeClusters clusters;
  FakeAuthenticator authenticator;
  FakeCollectorData data{base::SystemClock()};
  base::SeededRandom random{3};
  telemetry::Registry registry;
  std::unique_ptr<Ingester> ingester;
  ClientOptions client;
};

TEST_CASE("a collector of ours: welcome, batches, acks, over TLS") {
  Hub hub;
  const auto stream = hub.Connect();
  for (std::uint64_t seq = 1; seq <= 20; ++seq) {
    REQUIRE(stream->Send(Batch("c", seq)));
    REQUIRE(stream->Await<model::DeliveryAck>().has_value());
  }
  CHECK(hub.data.Get("c").applied.size() == 20);
  const store::Presence presence = hub.data.Get("c").presence.value();
  CHECK((presence.peer.rfind("127.0.0.1:", 0) == 0 || presence.peer.rfind("[::1]:", 0) == 0));
  CHECK(hub.Streams("delivery") == 1);
  stream->HalfClose();
  CHECK(stream->Finish() == absl::OkStatus());
  CHECK(Eventually(10s, [&] { return hub.Streams("delivery") == 0; }));
  CHECK(hub.data.Get("c").presence->end_reason == "the collector ended");
}

TEST_CASE("an upstream collector: token in the metadata, one ack a batch, then it goes away") {
  Hub hub;
  RawClient stream(hub.client, kToken);
  model::Registration registration = Registration("c", false);
  registration.token.clear();
  REQUIRE(stream.Send(registration));
  // It does not wait for anything.
  for (std::uint64_t i = 1; i <= 3; ++i) {
    model::Batch batch = Batch("c", 0);
    batch.id = "b" + std::to_string(i);
    REQUIRE(stream.Send(batch));
  }
  CHECK(std::holds_alternative<model::CollectorConfig>(stream.Receive().value()));
  for (int i = 1; i <= 3; ++i) {
    CHECK(std::get<model::UpstreamAck>(stream.Receive().value()) ==
          model::UpstreamAck{.batch_id = "b" + std::to_string(i)});
  }
  stream.Cancel();
  CHECK(stream.Finish().code() == StatusCode::kCancelled);
  CHECK(Eventually(10s, [&] { return hub.data.Get("c").presence->ended_at.has_value(); }));
  CHECK(hub.data.Get("c").presence->end_reason == "the connection was lost");
}

TEST_CASE("what the hub refuses has the code and the words, and what TLS refuses is unavailable") {
  Hub hub;
  SECTION("wrong token") {
    RawClient stream(hub.client, "wrong");
    REQUIRE(stream.Send(Registration("c", false)));
    CHECK(stream.Finish() == absl::UnauthenticatedError("the credential was not accepted"));
  }
  SECTION("no registration first") {
    RawClient stream(hub.client, kToken);
    REQUIRE(stream.Send(model::Heartbeat{}));
    CHECK(stream.Finish() == absl::FailedPreconditionError("health received before registration"));
  }
  SECTION("wrong authority") {
    ClientOptions options = hub.client;
    options.ca_pem = ReadFile(Certs().File("two/ca.crt"));
    RawClient stream(options, kToken);
    CHECK(stream.Finish().code() == StatusCode::kUnavailable);
  }
  SECTION("no TLS") {
    ClientOptions options = hub.client;
    options.ca_pem.clear();
    RawClient stream(options, kToken);
    CHECK(stream.Finish().code() == StatusCode::kUnavailable);
  }
}

TEST_CASE("messages: 4 MiB is taken, one byte more is not, compressed ones neither") {
  Hub hub;
  SECTION("4 MiB") {
    const auto stream = hub.Connect();
    REQUIRE(stream->Send(Sized(Batch("c", 1), 4 * kMiB)));
    CHECK(stream->Await<model::DeliveryAck>().value().applied.size() == 1);
  }
  SECTION("one byte more") {
    const auto stream = hub.Connect();
    (void)stream->Send(Sized(Batch("c", 1), 4 * kMiB + 1));
    CHECK(stream->Finish().code() == StatusCode::kResourceExhausted);
    CHECK(Eventually(10s, [&] { return hub.Streams("delivery") == 0; }));
  }
  SECTION("compressed") {
    ClientOptions options = hub.client;
    options.compressed = true;
    RawClient stream(options, kToken);
    (void)stream.Send(Sized(Batch("c", 1), 100000));
    CHECK(stream.Finish().code() == StatusCode::kUnimplemented);
  }
  // The server lives.
  hub.AddCluster("d");
  CHECK(hub.Connect("d") != nullptr);
}

TEST_CASE("health follows the store") {
  Hub hub;
  const std::string service = "clusterpulse.collector.v1.CollectorService";
  for (const bool serving : {false, true, false}) {
    hub.ingester->SetServing(serving);
    for (const std::string& name : {std::string(), service}) {
      bool answer = !serving;
      CHECK(testing::CheckHealth(hub.client, name, answer).ok());
      CHECK(answer == serving);
    }
  }
  bool answer = false;
  CHECK(testing::CheckHealth(hub.client, "other.Service", answer).code() == StatusCode::kNotFound);
}

TEST_CASE("both families of addresses") {
  Hub hub({}, false);
  for (const std::string host : {"127.0.0.1", "[::1]"}) {
    if (host == "[::1]" && !std::filesystem::exists("/proc/net/if_inet6")) continue;
    CAPTURE(host);
    ClientOptions options = hub.client;
    options.target = host + ":" + std::to_string(hub.ingester->port());
    RawClient stream(options);
    REQUIRE(stream.Send(Registration("c")));
    CHECK(stream.Await<model::Welcome>().has_value());
    CHECK(hub.data.Get("c").presence->peer.rfind(host + ":", 0) == 0);
  }
}

TEST_CASE("a port that is taken and certificates that are none are said at the start") {
  Hub hub;
  const auto start = [&](Ingester::Options options) {
    Ingester other(options, {hub.clusters, hub.authenticator, hub.data, base::SystemClock(), hub.random}, hub.log);
    return other.Start();
  };
  CHECK(start({.port = hub.ingester->port()}).code() == StatusCode::kUnavailable);
  CHECK(start({.port = 0, .tls_cert = "/none.crt", .tls_key = "/none.key"}) ==
        absl::InvalidArgumentError("ingester: /none.crt cannot be read"));
  CHECK(start({.port = 0, .tls_cert = hub.dir.File("server.crt")}).code() == StatusCode::kInvalidArgument);
  const absl::Status mixed =
      start({.port = 0, .tls_cert = Certs().File("one/server.crt"), .tls_key = Certs().File("two/server.key")});
  CHECK(mixed.code() == StatusCode::kInvalidArgument);
}

TEST_CASE("the certificate is replaced under load: nobody notices, broken files change nothing") {
  Hub hub;
  const ClientOptions old_ca = hub.client;
  ClientOptions new_ca = hub.client;
  new_ca.ca_pem = ReadFile(Certs().File("two/ca.crt"));
  const auto connects = [&](const ClientOptions& options) {
    bool serving = false;
    return testing::CheckHealth(options, "", serving).ok();
  };
  hub.AddCluster("long");
  const auto long_lived = hub.Connect("long");

  std::atomic<bool> stop = false;
  std::atomic<int> failures = 0, done = 0;
  std::vector<std::jthread> load;
  for (int i = 0; i < 3; ++i) {
    load.push_back(base::StartThread("load", [&] {
      while (!stop) {
        // While it changes a client trusts both.
        ClientOptions both = old_ca;
        both.ca_pem += new_ca.ca_pem;
        connects(both) ? ++done : ++failures;
      }
    }));
  }
  const auto let_pass = [&](int connections) {
    const int from = done;
    CHECK(Eventually(20s, [&] { return done >= from + connections; }));
  };
  const auto put = [&](const std::string& name, const std::string& content) {
    // As editors and Secrets do: another file under the same name.
    testing::WriteFile(hub.dir.File("new"), content);
    std::filesystem::rename(hub.dir.File("new"), hub.dir.File(name));
  };
  let_pass(5);
  // Half written, in place.
  const std::string next_cert = ReadFile(Certs().File("two/server.crt"));
  testing::WriteFile(hub.dir.File("server.crt"), next_cert.substr(0, next_cert.size() / 2));
  let_pass(5);
  CHECK(connects(old_ca));
  CHECK(!connects(new_ca));
  put("server.crt", next_cert);  // with the old key
  let_pass(5);
  CHECK(connects(old_ca));
  put("server.key", "");
  let_pass(5);
  CHECK(connects(old_ca));
  std::filesystem::remove(hub.dir.File("server.key"));
  let_pass(5);
  CHECK(connects(old_ca));
  put("server.key", ReadFile(Certs().File("two/server.key")));
  let_pass(5);
  CHECK(connects(new_ca));
  CHECK(!connects(old_ca));
  stop = true;
  load.clear();
  CHECK(failures == 0);

  REQUIRE(long_lived->Send(Batch("long", 1)));
  CHECK(long_lived->Await<model::DeliveryAck>().has_value());
}

TEST_CASE("a peer that is cut off without a word is noticed by keepalive") {
  Hub hub([](Ingester::Options& options) {
    options.keepalive_time = 300ms;
    options.keepalive_timeout = 300ms;
  });
  testing::TcpProxy proxy(hub.ingester->port());
  ClientOptions options = hub.client;
  options.target = "localhost:" + std::to_string(proxy.port());
  RawClient stream(options);
  REQUIRE(stream.Send(Registration("c")));
  REQUIRE(stream.Await<model::Welcome>().has_value());
  proxy.Set({.hold_after = 0});
  CHECK(Eventually(10s, [&] { return hub.data.Get("c").presence->ended_at.has_value(); }));
  CHECK(hub.data.Get("c").presence->end_reason == "the connection was lost");
}

// A bare TCP connection to the hub.
class Tcp {
 public:
  explicit Tcp(int port) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    const timeval limit{.tv_sec = 20, .tv_usec = 0};
    REQUIRE(setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
  }
  ~Tcp() { close(fd_); }
  void Send(std::string_view bytes) { REQUIRE(send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) > 0); }
  // Whether the hub ends it in time.
  bool Ends() {
    char bytes[1024];
    ssize_t got = 0;
    do {
      got = recv(fd_, bytes, sizeof bytes, 0);
    } while (got > 0);
    return got == 0 || errno == ECONNRESET;
  }

 private:
  const int fd_;
};

TEST_CASE("connections that come to nothing are ended") {
  SECTION("no handshake") {
    Hub hub([](Ingester::Options& options) { options.handshake_limit = 300ms; });
    CHECK(Tcp(hub.ingester->port()).Ends());
  }
  SECTION("no call") {
    Hub hub([](Ingester::Options& options) { options.idle_limit = 300ms; }, false);
    const auto stream = hub.Connect();
    Tcp idle(hub.ingester->port());
    // Preface and empty SETTINGS.
    idle.Send(std::string_view("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33));
    CHECK(idle.Ends());
    // One with a call is not.
    REQUIRE(stream->Send(Batch("c", 1)));
    CHECK(stream->Await<model::DeliveryAck>().has_value());
  }
}

TEST_CASE("a connection has at most 16 calls") {
  Hub hub;
  std::vector<std::unique_ptr<RawClient>> streams;
  streams.push_back(std::make_unique<RawClient>(hub.client));
  REQUIRE(streams[0]->Send(std::string()));
  ClientOptions same = hub.client;
  same.same_connection = streams[0].get();
  for (int i = 0; i < 24; ++i) streams.push_back(std::make_unique<RawClient>(same));
  REQUIRE(Eventually(10s, [&] { return hub.Streams("unregistered") == 16; }));
  // Another one is not kept out.
  const auto other = hub.Connect();
  REQUIRE(other->Send(Batch("c", 1)));
  CHECK(other->Await<model::DeliveryAck>().has_value());
  CHECK(hub.Streams("unregistered") == 16);
}

TEST_CASE("those that register nothing keep nobody out for long") {
  Hub hub([](Ingester::Options& options) { options.max_unregistered = 2; });
  RawClient first(hub.client), second(hub.client);
  REQUIRE(first.Send(std::string()));
  REQUIRE(second.Send(std::string()));
  RawClient third(hub.client);
  (void)third.Send(Registration("c"));
  CHECK(third.Finish().code() == StatusCode::kUnavailable);
  first.Cancel();
  REQUIRE(Eventually(10s, [&] { return hub.Streams("unregistered") == 1; }));
  CHECK(hub.Connect() != nullptr);
}

TEST_CASE("a peer that does not read is ended, and disturbs nobody") {
  Hub hub([](Ingester::Options& options) { options.write_limit = 500ms; });
  hub.AddCluster("slow", std::vector<std::string>(8, std::string(kMiB, 'x')));
  RawClient slow(hub.client);
  REQUIRE(slow.Send(Registration("slow")));  // its Welcome does not fit what it lets in
  const auto other = hub.Connect();
  for (std::uint64_t seq = 1; seq <= 50; ++seq) {
    REQUIRE(other->Send(Batch("c", seq)));
    REQUIRE(other->Await<model::DeliveryAck>().has_value());
  }
  CHECK(Eventually(10s, [&] { return hub.data.Get("slow").presence->ended_at.has_value(); }));
  CHECK(hub.data.Get("slow").presence->end_reason == "the peer does not take what it is sent");
  CHECK(Eventually(10s, [&] { return hub.Streams("delivery") == 1; }));
}

TEST_CASE("two hundred collectors connect at once") {
  constexpr int kCollectors = 200, kThreads = 8;
  // With hardly more memory for gRPC than it needs for so many.
  Hub hub([](Ingester::Options& options) {
    options.max_streams = kCollectors;
    options.max_in_flight = 2 * kMiB;
  });
  for (int i = 0; i < kCollectors; ++i) hub.AddCluster("c" + std::to_string(i));
  std::atomic<int> welcomed = 0, applied = 0;
  std::vector<std::jthread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.push_back(base::StartThread("connect", [&, t] {
      std::vector<std::unique_ptr<RawClient>> mine;
      for (int i = t; i < kCollectors; i += kThreads) mine.push_back(std::make_unique<RawClient>(hub.client));
      for (std::size_t i = 0; i < mine.size(); ++i) {
        const std::string name = "c" + std::to_string(t + static_cast<int>(i) * kThreads);
        if (!mine[i]->Send(Registration(name)) || !mine[i]->Await<model::Welcome>()) continue;
        ++welcomed;
        if (mine[i]->Send(Batch(name, 1)) && mine[i]->Await<model::DeliveryAck>()) ++applied;
      }
    }));
  }
  threads.clear();
  CHECK(welcomed == kCollectors);
  CHECK(applied == kCollectors);
  CHECK(Eventually(10s, [&] { return hub.Streams("delivery") == 0 && hub.Streams("unregistered") == 0; }));
}

TEST_CASE("a hub that stops tells its collectors and ends in time") {
  Hub hub;
  std::vector<std::unique_ptr<RawClient>> streams;
  for (int i = 0; i < 20; ++i) {
    hub.AddCluster("c" + std::to_string(i));
    streams.push_back(hub.Connect("c" + std::to_string(i)));
  }
  RawClient unregistered(hub.client);
  REQUIRE(unregistered.Send(std::string()));
  CHECK(!hub.ingester->Stop(0ms));
  CHECK(hub.ingester->Stop(10s));
  for (const auto& stream : streams) CHECK(stream->Finish() == absl::UnavailableError("hub is stopping"));
  CHECK(unregistered.Finish() == absl::UnavailableError("hub is stopping"));
  for (int i = 0; i < 20; ++i) {
    CHECK(hub.data.Get("c" + std::to_string(i)).presence->end_reason == "hub is stopping");
  }
  CHECK(hub.ingester->Stop(10s));
}

TEST_CASE("a hub stops in time though its store hangs and a peer does not read") {
  Hub hub;
  hub.AddCluster("slow", std::vector<std::string>(8, std::string(kMiB, 'x')));
  const auto stream = hub.Connect();
  RawClient slow(hub.client);
  REQUIRE(slow.Send(Registration("slow")));
  CHECK(Eventually(10s, [&] { return hub.data.Get("slow").presence.has_value(); }));
  hub.data.Hang();
  REQUIRE(stream->Send(Batch("c", 1)));
  CHECK(Eventually(10s, [&] { return hub.data.waiting() > 0; }));
  const auto begin = std::chrono::steady_clock::now();
  CHECK(!hub.ingester->Stop(1s));
  CHECK(std::chrono::steady_clock::now() - begin < 5s);
  CHECK(stream->Finish() == absl::UnavailableError("hub is stopping"));
  hub.data.Resume();
  CHECK(hub.ingester->Stop(5s));
}

TEST_CASE("failed handshakes are logged, a few") {
  Hub hub;
  ClientOptions options = hub.client;
  options.ca_pem = ReadFile(Certs().File("two/ca.crt"));
  for (int i = 0; i < 20; ++i) {
    bool serving = false;
    CHECK(testing::CheckHealth(options, "", serving).code() == StatusCode::kUnavailable);
  }
  base::MutexLock lock(hub.mu);
  CHECK(hub.lines.size() <= 120);
}

}  // namespace
}  // namespace clusterpulse::ingest
