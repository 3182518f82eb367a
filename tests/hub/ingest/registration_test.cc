#include "tests/hub/ingest/harness.h"

namespace clusterpulse::ingest {
namespace {

using namespace std::chrono_literals;
using absl::StatusCode;

TEST_CASE("a stream that does not register ends after 10 s") {
  TestHub hub;
  TestStream& stream = hub.Open();
  hub.AdvanceBy(9900ms);
  CHECK(!stream.ended());
  hub.AdvanceBy(200ms);
  CHECK(stream.code() == StatusCode::kDeadlineExceeded);
  CHECK(hub.pool->size() == 0);
}

TEST_CASE("what is no registration ends a stream that has none") {
  model::Registration nameless = UpstreamRegistration();
  nameless.cluster.clear();
  model::Registration no_instance = DeliveryRegistration("");
  const model::Registration long_name = UpstreamRegistration(std::string(257, 'a'));
  struct Case {
    std::string name, bytes;
    StatusCode code;
    std::string text;
  };
  const std::vector<Case> cases = {
      {"metrics", wire::Encode(MakeBatch(1)), StatusCode::kFailedPrecondition, "metrics received before registration"},
      {"health", wire::Encode(model::Heartbeat{}), StatusCode::kFailedPrecondition,
       "health received before registration"},
      {"report", wire::Encode(model::ConfigReport{}), StatusCode::kFailedPrecondition,
       "config report received before registration"},
      {"no name", wire::Encode(nameless), StatusCode::kInvalidArgument, "register: cluster_name is required"},
      {"no instance", wire::Encode(no_instance), StatusCode::kInvalidArgument, "register: instance is required"},
      {"a name that is too long", wire::Encode(long_name), StatusCode::kInvalidArgument,
       "cluster_name has 257 bytes, more than 256"},
      {"more than a registration can have", wire::Encode(LargeBatch(1, 64 << 10)), StatusCode::kResourceExhausted,
       "more than 65536 bytes received before registration"},
      {"no message", "\xff\xff\xff", StatusCode::kInvalidArgument, "the bytes are no message of this protocol"},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      TestHub hub;
      TestStream& stream = hub.Open();
      hub.Send(stream, c.bytes);
      CHECK(stream.code() == c.code);
      CHECK(stream.text() == c.text);
      CHECK(hub.pool->size() == 0);
      CHECK(!hub.State().presence.has_value());
    }
  }
}

TEST_CASE("a message of a later version is skipped, before and after registration") {
  TestHub hub;
  TestStream& stream = hub.Open();
  hub.Send(stream, std::string());
  CHECK(stream.reading());
  hub.Send(stream, UpstreamRegistration());
  hub.Send(stream, std::string());
  CHECK(stream.reading());
  CHECK(!stream.ended());
}

TEST_CASE("the token is in the metadata, in the registration, or the same in both") {
  struct Case {
    std::string name, bearer, told;
    StatusCode code;
    std::string reason;
  };
  const std::vector<Case> cases = {
      {"metadata", kToken, "", StatusCode::kOk, ""},
      {"registration", "", kToken, StatusCode::kOk, ""},
      {"both", kToken, kToken, StatusCode::kOk, ""},
      {"none", "", "", StatusCode::kUnauthenticated, "missing_token"},
      {"different", kToken, "other", StatusCode::kUnauthenticated, "tokens_differ"},
      {"wrong", "", "other", StatusCode::kUnauthenticated, "bad_token"},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      TestHub hub;
      TestStream& stream = hub.Open("10.0.0.1:4000", c.bearer);
      model::Registration registration = DeliveryRegistration();
      registration.token = c.told;
      hub.Send(stream, registration);
      if (c.code == StatusCode::kOk) {
        CHECK(!stream.ended());
        CHECK(stream.Take<model::Welcome>().size() == 1);
        continue;
      }
      CHECK(stream.code() == c.code);
      CHECK(stream.text() == "the credential was not accepted");
      CHECK(hub.Count("auth_failures_total", {"reason"}, c.reason) == 1);
      CHECK(hub.Count("registrations_total", {"result"}, "unauthenticated") == 1);
    }
  }
}

TEST_CASE("an unknown cluster gets the words of a wrong token") {
  TestHub hub;
  const std::string name = GENERATE(as<std::string>(), "nowhere", "not a name!", std::string(253, 'a'));
  TestStream& stream = hub.Connect(DeliveryRegistration("inst-a", name));
  CHECK(stream.code() == StatusCode::kUnauthenticated);
  CHECK(stream.text() == "the credential was not accepted");
  CHECK(hub.Count("auth_failures_total", {"reason"}, "unknown_cluster") == 1);
  for (const std::string& line : hub.lines) CHECK(line.size() < 2000);
}

TEST_CASE("a cluster that wants no collector says why") {
  TestHub hub;
  hub.ChangePolicy([](ClusterPolicy& policy) { policy.refusal = "is in pull mode"; });
  TestStream& stream = hub.Connect(DeliveryRegistration());
  CHECK(stream.code() == StatusCode::kFailedPrecondition);
  CHECK(stream.text() == "cluster harbour-7 is in pull mode");
  CHECK(hub.State().epoch == 0);
}

TEST_CASE("no token ever reaches the log or the peer") {
  TestHub hub;
  hub.Connect(DeliveryRegistration());
  model::Registration wrong = DeliveryRegistration();
  wrong.token = "another-s3cret";
  TestStream& refused = hub.Connect(wrong);
  CHECK(refused.text().find("s3cret") == std::string::npos);
  CHECK(!hub.lines.empty());
  for (const std::string& line : hub.lines) CHECK(line.find("s3cret") == std::string::npos);
}

TEST_CASE("while nobody can be authenticated or stored, a collector of ours is sent away and an upstream one waits") {
  const bool store = GENERATE(true, false);
  TestHub hub;
  const auto fail = [&](const absl::Status& status) { store ? hub.data.Fail(status) : hub.authenticator.Fail(status); };
  fail(absl::UnavailableError("down at 10.9.8.7"));
  TestStream& ours = hub.Connect(DeliveryRegistration());
  CHECK(!ours.ended());
  for (int i = 0; i < 15; ++i) hub.AdvanceBy(100ms);
  CHECK(ours.code() == StatusCode::kUnavailable);
  CHECK(ours.text().find("10.9.8.7") == std::string::npos);
  TestStream& upstream = hub.Connect(UpstreamRegistration());
  hub.Pass(60s);
  CHECK(!upstream.ended());
  fail(absl::OkStatus());
  hub.Pass(6s);
  CHECK(!upstream.ended());
  CHECK(upstream.reading());
  CHECK(hub.Presence().upstream);
}

TEST_CASE("a collector of ours waits for a moment while the hub gets ready, and is let in then") {
  TestHub hub;
  hub.authenticator.Fail(absl::UnavailableError("the hub has not listed its objects yet"));
  TestStream& stream = hub.Connect(DeliveryRegistration());
  for (int i = 0; i < 4; ++i) hub.AdvanceBy(250ms);
  CHECK(stream.Take<model::Welcome>().empty());
  hub.authenticator.Fail(absl::OkStatus());
  hub.AdvanceBy(250ms);
  CHECK(stream.Take<model::Welcome>().size() == 1);
}

TEST_CASE("of a crowd that comes back at once all are let in before the data of most is written") {
  constexpr int kAll = 400, kFirst = 100;
  TestHub hub;
  std::vector<TestStream*> streams;
  const auto name = [](int i) { return fmt::format("c{}", i); };
  for (int i = 0; i < kAll; ++i) {
    hub.AddCluster(name(i));
    streams.push_back(&hub.Connect(DeliveryRegistration("inst-a", name(i))));
    CHECK(streams.back()->Take<model::Welcome>().size() == 1);
    hub.Send(*streams.back(), MakeBatch(1, {"n1"}, name(i)));
  }
  const auto written = [&](int i) { return hub.Applied(name(i)).size(); };
  const auto count = [&] {
    int all = 0;
    for (int i = 0; i < kAll; ++i) all += written(i) == 1 ? 1 : 0;
    return all;
  };
  CHECK(count() == kFirst);
  for (int i = 0; i < kFirst; ++i) CHECK(written(i) == 1);
  // A few more are no reason to wait for long.
  hub.AdvanceBy(101ms);
  CHECK(count() == kFirst + 20);
  hub.AdvanceBy(1398ms);
  CHECK(count() < kAll);
  hub.AdvanceBy(1ms);
  CHECK(count() == kAll);
  // Whoever comes later is no crowd, and nobody waits twice.
  hub.Send(*streams.back(), MakeBatch(2, {"n1"}, name(kAll - 1)));
  CHECK(written(kAll - 1) == 2);
}

TEST_CASE("an upstream collector does not wait for ever") {
  TestHub hub;
  hub.data.Fail(absl::UnavailableError("down"));
  TestStream& upstream = hub.Connect(UpstreamRegistration());
  hub.Pass(301s);
  CHECK(upstream.code() == StatusCode::kUnavailable);
}

TEST_CASE("to register again repeats the configuration, and only for the same collector") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  hub.Send(stream, DeliveryRegistration());
  const auto configs = stream.Take<model::CollectorConfig>();
  REQUIRE(configs.size() == 1);
  CHECK(configs[0].hash == "h1");
  CHECK(stream.Take<model::Welcome>().empty());

  const bool other_name = GENERATE(true, false);
  hub.AddCluster("other");
  hub.Send(stream, other_name ? DeliveryRegistration("inst-a", "other") : DeliveryRegistration("inst-b"));
  CHECK(stream.code() == StatusCode::kInvalidArgument);
}

TEST_CASE("the hub takes so many streams and no more") {
  base::ManualClock clock;
  base::SeededRandom random{1};
  FakeClusters clusters;
  FakeAuthenticator authenticator;
  FakeCollectorData data{clock};
  StreamPool pool({.hub = "hub-1", .max_streams = 2}, {clusters, authenticator, data, clock, random}, log::Logger());
  CHECK(pool.Accept("a:1", "", std::make_shared<FakePeer>()).ok());
  CHECK(pool.Accept("a:2", "", std::make_shared<FakePeer>()).ok());
  CHECK(pool.Accept("a:3", "", std::make_shared<FakePeer>()).status().code() == StatusCode::kUnavailable);
}

TEST_CASE("those that nobody has let in take no place of those that are") {
  TestHub hub(std::int64_t{256} << 20, 2);
  hub.ConnectDelivery();
  TestStream& first = hub.Open("a:1");
  hub.Open("a:2");
  const auto accept = [&] { return hub.pool->Accept("a:3", "", std::make_shared<FakePeer>()).status().code(); };
  CHECK(accept() == StatusCode::kUnavailable);
  SECTION("one is let in") {
    hub.AddCluster("other");
    hub.Send(first, DeliveryRegistration("inst-b", "other"));
    CHECK(!first.ended());
  }
  SECTION("one goes") { hub.Gone(first); }
  SECTION("one is refused") { hub.Send(first, wire::Encode(model::Heartbeat{})); }
  CHECK(accept() == StatusCode::kOk);
  CHECK(accept() == StatusCode::kUnavailable);
}

TEST_CASE("the log names the cluster that was asked for, and an error only where there is one") {
  TestHub hub;
  hub.authenticator.Put(kCluster, "another");
  hub.Connect(DeliveryRegistration());
  REQUIRE(hub.lines.size() == 2);
  for (const std::string& line : hub.lines) {
    CAPTURE(line);
    CHECK(line.find("\"cluster\":\"harbour-7\"") != std::string::npos);
  }
  CHECK(hub.lines[0].find("\"error\":\"wrong token\"") != std::string::npos);
  hub.lines.clear();
  hub.authenticator.Put(kCluster, kToken);
  hub.Connect(DeliveryRegistration());
  REQUIRE(hub.lines.size() == 1);
  CHECK(hub.lines[0].find("collector registered") != std::string::npos);
  CHECK(hub.lines[0].find("error") == std::string::npos);
}

TEST_CASE("what peers trigger is logged a few times a second, and the rest counted") {
  TestHub hub;
  for (int i = 0; i < 300; ++i) {
    TestStream& stream = hub.Open();
    hub.Send(stream, wire::Encode(model::Heartbeat{}));
  }
  const std::size_t before = hub.lines.size();
  CHECK(before <= 110);
  hub.AdvanceBy(1s);
  TestStream& stream = hub.Open();
  hub.Send(stream, wire::Encode(model::Heartbeat{}));
  REQUIRE(hub.lines.size() == before + 1);
  CHECK(hub.lines.back().find("\"suppressed_lines\":200") != std::string::npos);
}

}  // namespace
}  // namespace clusterpulse::ingest
