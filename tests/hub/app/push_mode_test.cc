// Push mode through the whole hub on fakes: a collector over real gRPC (in clear text), the store, the object's status.
#include <absl/strings/escaping.h>
#include <catch2/catch.hpp>

#include "tests/hub/app/app_fixture.h"
#include "tests/hub/ingest/raw_client.h"

namespace clusterpulse::app {
namespace {

using testing::RawClient;

struct PushFixture : Fixture {
  PushFixture() {
    InstallDefinition();
    PutConnection("push");
    Create();
    Start();
    REQUIRE(
        Eventually([&] { return app->ingester_port() != 0 && !Status()["collectorStatus"]["tokenSecret"].IsNull(); }));
    // Registrations are answered with "try again" until the hub knows its objects and its store.
    REQUIRE(Eventually([&] {
      bool serving = false;
      return testing::CheckHealth(Target(), "clusterpulse.collector.v1.CollectorService", serving).ok() && serving;
    }));
  }
  testing::ClientOptions Target() { return {.target = "localhost:" + std::to_string(app->ingester_port())}; }
  // Of the Secret that the hub made.
  std::string Token() {
    const auto secret = hub.Get(kube::kSecrets, {"fleet", "a-collector-token"});
    REQUIRE(secret.ok());
    const json::Value object = *json::Value::Parse((*secret)->json);
    const std::string_view encoded = object["data"]["token"].StringOr();
    std::string token;
    REQUIRE(absl::Base64Unescape(absl::string_view(encoded.data(), encoded.size()), &token));
    return token;
  }
  model::Registration Registration(const std::string& token, const std::string& instance = "i1") {
    model::Registration registration;
    registration.cluster = "a";
    registration.token = token;
    registration.version = "v1.2";
    registration.instance = instance;
    registration.capabilities = {true, true, true};
    registration.interval = 30s;
    return registration;
  }
  std::unique_ptr<RawClient> Connect(const std::string& token, const std::string& instance = "i1") {
    auto client = std::make_unique<RawClient>(Target());
    CHECK(client->Send(Registration(token, instance)));
    return client;
  }
  model::Batch Batch(std::uint64_t seq, bool ready = true) {
    model::Batch batch;
    batch.cluster = "a";
    batch.id = "b" + std::to_string(seq);
    batch.seq = seq;
    batch.collected_at = base::SystemClock().Now();
    batch.interval = 30s;
    model::Node node;
    node.name = "p1";
    node.status = ready ? model::NodeStatus::kReady : model::NodeStatus::kNotReady;
    batch.snapshot.nodes.emplace().push_back(node);
    batch.snapshot.counts = model::ClusterCounts{1, ready ? 1 : 0, 10, 9, 8, 1024, 4};
    return batch;
  }
  bool Connected() { return Status()["collectorStatus"]["connected"].BoolOr(); }
  std::string Condition(std::string_view type) {
    const json::Value status = Status();
    for (const json::Value& c : status["conditions"].items()) {
      if (c["type"].StringOr() == type) return std::string(c["status"].StringOr());
    }
    return {};
  }
};

TEST_CASE("a collector connects with the hub's token, its data is stored and shown, and its end is noticed") {
  PushFixture f;
  CHECK(f.Phase() == "Connecting");
  const auto started = std::chrono::steady_clock::now();
  auto client = f.Connect(f.Token());
  const auto welcome = client->Await<model::Welcome>();
  REQUIRE(welcome.has_value());
  CHECK(Eventually([&] { return f.Connected(); }));
  CHECK(std::chrono::steady_clock::now() - started < 2s);  // by the hint, not by the next pass
  CHECK(f.Status()["collectorStatus"]["version"].StringOr() == "v1.2");

  REQUIRE(client->Send(f.Batch(1)));
  const auto ack = client->Await<model::DeliveryAck>();
  REQUIRE(ack.has_value());
  CHECK(ack->applied == std::vector<model::SeqRange>{{1, 1}});
  CHECK(ack->durable.low == 1);
  CHECK(*f.store->SetMembers("cluster:a:nodes") == std::vector<std::string>{"p1"});
  CHECK(Eventually([&] { return f.Phase() == "Connected" && f.Status()["health"].StringOr() == "healthy"; }));
  CHECK(f.Condition("DataFresh") == "True");

  // A change shows at once.
  const auto changed = std::chrono::steady_clock::now();
  REQUIRE(client->Send(f.Batch(2, false)));
  CHECK(Eventually([&] { return f.Status()["health"].StringOr() == "unhealthy"; }));
  CHECK(std::chrono::steady_clock::now() - changed < 3s);
  CHECK(f.Status()["nodesReady"].IntOr(7) == 0);

  CHECK(f.Stop().ok());
  CHECK(client->Finish().code() == absl::StatusCode::kUnavailable);
}

TEST_CASE("wrong tokens are refused, the cluster's own is taken until the hub's was used") {
  PushFixture f;
  for (const char* wrong : {"", "wrong"}) {
    CAPTURE(wrong);
    CHECK(f.Connect(wrong)->Finish().code() == absl::StatusCode::kUnauthenticated);
  }
  auto bootstrap = f.Connect("token");
  REQUIRE(bootstrap->Await<model::Welcome>().has_value());

  // The same collector with the hub's token: the stream before it ends, and the bootstrap token is void from then on.
  auto own = f.Connect(f.Token());
  REQUIRE(own->Await<model::Welcome>().has_value());
  CHECK_FALSE(bootstrap->Finish().ok());
  CHECK(Eventually([&] {
    const auto secret = f.hub.Get(kube::kSecrets, {"fleet", "a-collector-token"});
    return (*json::Value::Parse((*secret)->json))["metadata"]["annotations"]["clusterpulse.io/collector-token-used"]
               .StringOr() == "true";
  }));
  CHECK(f.Connect("token")->Finish().code() == absl::StatusCode::kUnauthenticated);

  // Revoked: the live stream ends, and a new token is made.
  const std::string before = f.Token();
  REQUIRE(f.hub.Delete(kube::kSecrets, {"fleet", "a-collector-token"}).ok());
  CHECK(own->Finish().code() == absl::StatusCode::kUnauthenticated);
  CHECK(Eventually([&] {
    const auto secret = f.hub.Get(kube::kSecrets, {"fleet", "a-collector-token"});
    return secret.ok();
  }));
  CHECK(f.Token() != before);
}

TEST_CASE("a cluster that leaves push mode ends its stream, and is pulled") {
  PushFixture f;
  auto client = f.Connect(f.Token());
  REQUIRE(client->Await<model::Welcome>().has_value());
  REQUIRE(client->Send(f.Batch(1)));
  REQUIRE(client->Await<model::DeliveryAck>().has_value());
  f.PutConnection("pull");
  CHECK(client->Finish().code() == absl::StatusCode::kFailedPrecondition);
  CHECK(Eventually([&] { return *f.store->SetMembers("cluster:a:nodes") == std::vector<std::string>{"n1"}; }));
  CHECK(Eventually([&] { return f.Status()["collectorStatus"].IsNull(); }));
  CHECK(f.Connect(f.Token())->Finish().code() == absl::StatusCode::kFailedPrecondition);
}

TEST_CASE("with the ingester off a push cluster is pulled, and nothing listens") {
  Fixture f;
  f.config.ingester_enabled = false;
  f.InstallDefinition();
  f.PutConnection("push");
  f.Create();
  f.Start();
  CHECK(Eventually([&] { return f.Phase() == "Connected"; }));
  CHECK(f.app->ingester_port() == 0);
  CHECK_FALSE(f.hub.Get(kube::kSecrets, {"fleet", "a-collector-token"}).ok());
  CHECK(f.Stop().ok());
}

TEST_CASE("an ingester alone takes streams and reconciles nothing") {
  Fixture f;
  f.config.target = "ingester";
  f.InstallDefinition();
  f.PutConnection("push");
  f.Create();
  f.Start();
  CHECK(Eventually([&] { return f.app->Ready().ok; }));
  CHECK(f.app->ingester_port() != 0);
  RawClient client({.target = "localhost:" + std::to_string(f.app->ingester_port())});
  model::Registration registration;
  registration.cluster = "a";
  registration.token = "token";  // no leader made another
  CHECK(client.Send(registration));
  CHECK(Eventually([&] { return f.store->Get("cluster:a:collector")->has_value(); }));
  CHECK(f.Status().IsNull());
  CHECK(f.Stop().ok());
}

TEST_CASE("a certificate that cannot be used stops the program") {
  Fixture f;
  f.config.ingester_tls = true;
  f.config.ingester_tls_cert = "/nonexistent/tls.crt";
  f.config.ingester_tls_key = "/nonexistent/tls.key";
  f.InstallDefinition();
  f.Create();
  f.Start();
  REQUIRE(f.result.wait_for(20s) == std::future_status::ready);
  const absl::Status status = f.result.get();
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK_THAT(base::Message(status), Catch::Contains("/nonexistent/tls"));
}

}  // namespace
}  // namespace clusterpulse::app
