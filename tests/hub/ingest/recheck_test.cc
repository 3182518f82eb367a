// What a live stream does when the world around it changes.
#include "tests/hub/ingest/harness.h"

namespace clusterpulse::ingest {
namespace {

using namespace std::chrono_literals;
using absl::StatusCode;

TEST_CASE("a stream ends when its credential or its cluster's policy no longer allow it") {
  struct Case {
    std::string name;
    std::function<void(TestHub&)> change;
    StatusCode code;
    std::string text;
  };
  const std::vector<Case> cases = {
      {"credential replaced", [](TestHub& hub) { hub.authenticator.Put(kCluster, "new"); },
       StatusCode::kUnauthenticated, "the credential was not accepted"},
      {"cluster deleted", [](TestHub& hub) { hub.clusters.Erase(kCluster); }, StatusCode::kUnauthenticated,
       "the credential was not accepted"},
      {"pull mode",
       [](TestHub& hub) { hub.ChangePolicy([](ClusterPolicy& policy) { policy.refusal = "is in pull mode"; }); },
       StatusCode::kFailedPrecondition, "cluster harbour-7 is in pull mode"},
      {"made anew", [](TestHub& hub) { hub.ChangePolicy([](ClusterPolicy& policy) { policy.uid = "other"; }); },
       StatusCode::kAborted, "cluster harbour-7 was made anew, connect again"},
  };
  const bool told = GENERATE(true, false);
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name << (told ? ", told" : ", not told")) {
      TestHub hub;
      TestStream& stream = hub.ConnectDelivery();
      c.change(hub);
      if (told) {
        hub.pool->Recheck(kCluster);
        hub.Run();
      } else {
        hub.Pass(29s);
        CHECK(!stream.ended());
        hub.Pass(2s);
      }
      CHECK(stream.code() == c.code);
      CHECK(stream.text() == c.text);
      CHECK(hub.Presence().ended_at.has_value());
      CHECK(hub.Presence().end_reason == c.text);
    }
  }
}

TEST_CASE("a changed configuration is pushed, an unchanged one is not") {
  TestHub hub;
  const bool upstream = GENERATE(true, false);
  TestStream& stream = upstream ? hub.ConnectUpstream() : hub.ConnectDelivery();
  hub.pool->Recheck(kCluster);
  hub.Run();
  hub.Pass(40s);
  CHECK(stream.Take<model::CollectorConfig>().empty());
  hub.ChangePolicy([](ClusterPolicy& policy) {
    policy.config.interval = 15s;
    policy.config.hash = "h2";
  });
  hub.pool->Recheck(kCluster);
  hub.Run();
  hub.pool->Recheck(kCluster);
  hub.Run();
  const auto configs = stream.Take<model::CollectorConfig>();
  REQUIRE(configs.size() == 1);
  CHECK(configs[0].interval == 15s);
  CHECK(configs[0].hash == "h2");
}

TEST_CASE("a policy that changes while the registration is decided counts") {
  TestHub hub;
  TestStream& stream = hub.Open();
  // The job that decides has looked at the policy.
  hub.data.OnPresence(
      [&](const store::Presence&) { hub.ChangePolicy([](ClusterPolicy& policy) { policy.refusal = "is paused"; }); });
  hub.Send(stream, DeliveryRegistration());
  CHECK(stream.code() == StatusCode::kFailedPrecondition);
  CHECK(stream.Take<model::Welcome>().empty());
  CHECK(hub.Presence().ended_at.has_value());
}

TEST_CASE("a recheck of a cluster without a stream does nothing") {
  TestHub hub;
  hub.pool->Recheck("nowhere");
  TestStream& stream = hub.ConnectDelivery();
  hub.Gone(stream);
  hub.pool->Recheck(kCluster);
  hub.Run();
  CHECK(hub.pool->size() == 0);
}

TEST_CASE("a hub that stops ends its streams and says so, everywhere") {
  TestHub hub;
  TestStream& live = hub.ConnectDelivery();
  TestStream& open = hub.Open();
  CHECK(!hub.pool->EndStreams(0ms));
  hub.Run();
  CHECK(live.code() == StatusCode::kUnavailable);
  CHECK(live.text() == "hub is stopping");
  CHECK(open.code() == StatusCode::kUnavailable);
  CHECK(hub.Presence().end_reason == "hub is stopping");
  CHECK(hub.pool->EndStreams(0ms));
  CHECK(hub.pool->Accept("a:1", "", std::make_shared<FakePeer>()).status() ==
        absl::UnavailableError("hub is stopping"));
}

TEST_CASE("a peer that takes nothing is ended, and broken off when it does not even take that") {
  TestHub hub;
  TestStream& stream = hub.Open();
  stream.takes_messages = stream.closes = false;
  hub.Send(stream, DeliveryRegistration());
  hub.Send(stream, MakeBatch(1));
  hub.Pass(59s);
  CHECK(!stream.ended());
  hub.Pass(2s);
  CHECK(stream.code() == StatusCode::kUnavailable);
  CHECK(!stream.peer->aborted());
  hub.Pass(5s);
  CHECK(stream.peer->aborted());
  CHECK(hub.pool->size() == 1);
  stream.closes = true;
  hub.Run();
  CHECK(hub.pool->size() == 0);
}

TEST_CASE("how a stream ended is remembered") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  SECTION("the connection broke") {
    stream.stream->OnGone();
    hub.Run();
    CHECK(hub.Presence().end_reason == "the connection was lost");
  }
  SECTION("the collector ended it") {
    stream.stream->OnHalfClosed();
    hub.Run();
    CHECK(stream.peer->finished() == absl::OkStatus());
    CHECK(hub.Presence().end_reason == "the collector ended");
    CHECK(hub.Count("streams_ended_total", {"code"}, "OK") == 1);
  }
  SECTION("an upstream collector ended it") {
    hub.Gone(stream);
    TestStream& upstream = hub.ConnectUpstream();
    upstream.stream->OnHalfClosed();
    hub.Run();
    CHECK(upstream.code() == StatusCode::kUnknown);
    CHECK(upstream.text() == "EOF");
    CHECK(hub.Presence().end_reason == "EOF");
  }
  SECTION("while the store was down, for up to 30 s") {
    hub.data.Fail(absl::UnavailableError("down"));
    hub.Gone(stream);
    CHECK(hub.pool->size() == 1);
    hub.Pass(20s);
    hub.data.Fail(absl::OkStatus());
    hub.Pass(6s);
    CHECK(hub.Presence().ended_at.has_value());
  }
  SECTION("while the hub stops, only for 5 s") {
    hub.data.Fail(absl::UnavailableError("down"));
    hub.Gone(stream);
    hub.Pass(1s);
    CHECK(!hub.pool->EndStreams(0ms));
    hub.Pass(4s);
    CHECK(hub.pool->EndStreams(0ms));
  }
  SECTION("not when the store stays down") {
    hub.data.Fail(absl::UnavailableError("down"));
    hub.Gone(stream);
    hub.Pass(31s);
    CHECK(!hub.Presence().ended_at.has_value());
  }
  CHECK(hub.pool->size() == 0);
}

TEST_CASE("a registration whose stream has ended takes nothing from anybody") {
  TestHub hub;
  TestStream& holder = hub.ConnectDelivery("inst-a", "10.0.0.1:4000");
  const std::uint64_t epoch = hub.State().epoch;
  const int calls = hub.data.calls();
  TestStream& stream = hub.Open("10.0.0.2:4000");
  REQUIRE(stream.peer->TakeRead());
  stream.stream->OnMessage(wire::Encode(DeliveryRegistration("inst-a")));
  // The session's step is done; its job waits.
  stream.stream->OnGone();
  hub.Run();
  CHECK(hub.State().epoch == epoch);
  CHECK(hub.data.calls() == calls);
  CHECK(!holder.ended());
  CHECK(hub.pool->size() == 1);
  CHECK(hub.Count("registrations_total", {"result"}, "withdrawn") == 1);
}

TEST_CASE("a credential that memory does not know of is verified, and the stream lives while it is good") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  hub.authenticator.SetRemembers(false);
  const int calls = hub.authenticator.calls();
  hub.pool->Recheck(kCluster);
  hub.Run();
  CHECK(hub.authenticator.calls() == calls + 1);
  CHECK(!stream.ended());
  SECTION("it is still good, every time") {
    hub.Pass(300s);
    CHECK(hub.authenticator.calls() == calls + 11);
    CHECK(!stream.ended());
  }
  SECTION("it cannot be told now") {
    hub.authenticator.Fail(absl::UnavailableError("down"));
    hub.Pass(300s);
    CHECK(!stream.ended());
    hub.authenticator.Fail(absl::OkStatus());
    hub.authenticator.Put(kCluster, "new");
    hub.Pass(31s);
    CHECK(stream.code() == StatusCode::kUnauthenticated);
  }
  SECTION("it was replaced") {
    hub.authenticator.Put(kCluster, "new");
    hub.Pass(31s);
    CHECK(stream.code() == StatusCode::kUnauthenticated);
    CHECK(stream.text() == "the credential was not accepted");
  }
  SECTION("it was replaced while the store is down") {
    hub.data.Fail(absl::UnavailableError("down"));
    hub.Send(stream, MakeBatch(1));
    hub.authenticator.Put(kCluster, "new");
    hub.Pass(36s);
    CHECK(stream.code() == StatusCode::kUnauthenticated);
  }
}

TEST_CASE("a job that throws ends its stream and no other") {
  TestHub hub;
  hub.AddCluster("other");
  TestStream& other = hub.Connect(DeliveryRegistration("inst-b", "other"));
  TestStream& stream = hub.Open();
  SECTION("the admission") {
    hub.data.ThrowNext();
    hub.Send(stream, DeliveryRegistration());
  }
  SECTION("the admission, at its end") {
    hub.data.OnPresence([&](const store::Presence&) {
      hub.data.OnPresence({});
      throw std::bad_alloc();
    });
    hub.Send(stream, DeliveryRegistration());
    CHECK(!hub.pool->Has(kCluster, hub.State().epoch));
  }
  SECTION("a batch") {
    hub.Send(stream, DeliveryRegistration());
    hub.data.ThrowNext();
    hub.Send(stream, MakeBatch(1));
    CHECK(hub.Presence().end_reason == "the hub failed");
  }
  CHECK(stream.code() == StatusCode::kInternal);
  CHECK(hub.pool->size() == 1);
  CHECK(!other.ended());
  hub.Send(hub.ConnectDelivery(), MakeBatch(1));
  CHECK(hub.Applied() == std::vector<std::uint64_t>{1});
}

TEST_CASE("a stream that ends while its registration is decided leaves nothing behind") {
  TestHub hub;
  TestStream& stream = hub.Open();
  bool gone = false;
  hub.data.OnPresence([&](const store::Presence&) {
    if (!std::exchange(gone, true)) stream.stream->OnGone();
  });
  hub.Send(stream, DeliveryRegistration());
  CHECK(gone);
  CHECK(hub.pool->size() == 0);
  CHECK(hub.Presence().ended_at.has_value());
  CHECK(!hub.pool->Has(kCluster, hub.Presence().epoch));
}

}  // namespace
}  // namespace clusterpulse::ingest
