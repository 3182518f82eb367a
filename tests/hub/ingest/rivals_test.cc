// Who has a cluster when several streams want it.
#include "tests/hub/ingest/harness.h"

namespace clusterpulse::ingest {
namespace {

using namespace std::chrono_literals;
using absl::StatusCode;
using Catch::Matchers::Contains;

TEST_CASE("the newest stream wins, and the one before ends without another write") {
  TestHub hub;
  TestStream& first = hub.ConnectDelivery("inst-a", "10.0.0.1:4000");
  hub.Send(first, MakeBatch(1));
  TestStream& second = hub.ConnectDelivery("inst-b", "10.0.0.2:4000");
  CHECK(first.code() == StatusCode::kAborted);
  CHECK_THAT(first.text(), Contains("superseded by collector inst-b from 10.0.0.2:4000"));
  CHECK(!second.ended());

  const store::Presence presence = hub.Presence();
  CHECK(presence.instance == "inst-b");
  CHECK(!presence.ended_at.has_value());
  REQUIRE(presence.superseded.has_value());
  CHECK(presence.superseded->instance == "inst-a");
  CHECK(presence.superseded->peer == "10.0.0.1:4000");
  CHECK(hub.pool->size() == 1);
}

TEST_CASE("the winner is protected for five minutes while it lives") {
  TestHub hub;
  hub.ConnectDelivery("inst-a", "10.0.0.1:4000");
  TestStream& winner = hub.ConnectDelivery("inst-b", "10.0.0.2:4000");

  SECTION("another collector is kept out, and noted") {
    hub.Send(winner, model::Heartbeat{});
    TestStream& back = hub.Connect(DeliveryRegistration("inst-a"), "10.0.0.1:4001");
    CHECK(back.code() == StatusCode::kAlreadyExists);
    CHECK_THAT(back.text(), Contains("inst-b from 10.0.0.2:4000"));
    REQUIRE(hub.State().refused.has_value());
    CHECK(hub.State().refused->instance == "inst-a");
    CHECK(hub.State().refused->peer == "10.0.0.1:4001");
    CHECK(!winner.ended());
    CHECK(hub.Presence().instance == "inst-b");
  }
  SECTION("the same collector always wins, and stays protected until the five minutes are over") {
    TestStream& again = hub.ConnectDelivery("inst-b", "10.0.0.2:4001");
    CHECK(winner.code() == StatusCode::kAborted);
    CHECK(!again.ended());
    CHECK(hub.Connect(DeliveryRegistration("inst-a")).code() == StatusCode::kAlreadyExists);
    for (int i = 0; i < 10; ++i) {
      hub.Pass(30s);
      hub.Send(again, model::Heartbeat{});
    }
    CHECK(!hub.Connect(DeliveryRegistration("inst-a")).ended());
    CHECK(again.code() == StatusCode::kAborted);
  }
  SECTION("when it has ended, anybody may come") {
    hub.Gone(winner);
    CHECK(!hub.Connect(DeliveryRegistration("inst-a")).ended());
    CHECK(!hub.Presence().superseded.has_value());
  }
  SECTION("when it is silent for 90 s, anybody may come") {
    hub.Pass(80s);
    CHECK(hub.Connect(DeliveryRegistration("inst-a")).code() == StatusCode::kAlreadyExists);
    hub.Pass(15s);
    CHECK(!hub.Connect(DeliveryRegistration("inst-a")).ended());
  }
}

TEST_CASE("whether a stream lives that another replica, or this one before a restart, wrote of") {
  struct Case {
    std::string name, hub;
    std::chrono::seconds silent;
    bool ended, is_protected;
    StatusCode code;
    bool superseded;
    std::chrono::seconds protected_at = -60s;  // from now
  };
  const std::vector<Case> cases = {
      {"alive there", "hub-2", 10s, false, false, StatusCode::kOk, true},
      {"alive and protected there", "hub-2", 10s, false, true, StatusCode::kAlreadyExists, false},
      {"clock of that replica ahead", "hub-2", -20s, false, true, StatusCode::kAlreadyExists, false},
      {"protected by a clock that is a bit ahead", "hub-2", 10s, false, true, StatusCode::kAlreadyExists, false, 60s},
      {"protected by a clock that is far ahead", "hub-2", 10s, false, true, StatusCode::kOk, true, 1h},
      {"silent there", "hub-2", 91s, false, true, StatusCode::kOk, false},
      {"ended there", "hub-2", 10s, true, true, StatusCode::kOk, false},
      {"said to be here, and is not", "hub-1", 10s, false, true, StatusCode::kOk, false},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      TestHub hub;
      store::Presence other;
      other.hub = c.hub;
      other.instance = "inst-b";
      other.peer = "10.0.0.2:4000";
      other.epoch = 77;
      other.last_message = hub.clock.Now() - c.silent;
      if (c.ended) other.ended_at = hub.clock.Now();
      if (c.is_protected) other.superseded = store::Presence::Rival{"inst-a", "x:1", hub.clock.Now() + c.protected_at};
      hub.data.SetPresence(kCluster, other);
      TestStream& stream = hub.Connect(DeliveryRegistration("inst-a"));
      if (c.code == StatusCode::kOk) {
        REQUIRE(!stream.ended());
        CHECK(hub.Presence().superseded.has_value() == c.superseded);
      } else {
        CHECK(stream.code() == c.code);
        CHECK(hub.State().epoch == 77);  // nobody was fenced
      }
    }
  }
}

TEST_CASE("an upstream collector is known again by its address") {
  TestHub hub;
  TestStream& first = hub.ConnectUpstream("10.0.0.1:4000");
  TestStream& second = hub.ConnectUpstream("10.0.0.2:4000");
  CHECK(first.code() == StatusCode::kAborted);
  CHECK(hub.Connect(UpstreamRegistration(), "10.0.0.1:4001").code() == StatusCode::kAlreadyExists);
  CHECK(!second.ended());
  CHECK(!hub.Connect(UpstreamRegistration(), "10.0.0.2:4001").ended());
  CHECK(second.code() == StatusCode::kAborted);
}

TEST_CASE("instances of an upstream collector's streams differ, so that its numbers begin anew") {
  TestHub hub;
  TestStream& first = hub.ConnectUpstream("10.0.0.1:4000");
  model::Batch batch = MakeBatch(0);
  hub.Send(first, batch);
  TestStream& second = hub.ConnectUpstream("10.0.0.1:4001");
  hub.Send(second, batch);
  CHECK(hub.State().applied.size() == 2);
  CHECK(second.Take<model::UpstreamAck>().size() == 1);
}

TEST_CASE("a stream that another replica superseded finds out within 30 s, ends and writes nothing") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery("inst-a");
  store::Presence other = hub.Presence();
  other.hub = "hub-2";
  other.instance = "inst-b";
  other.epoch = hub.State().epoch + 1;
  hub.data.SetPresence(kCluster, other);
  hub.Pass(31s);
  CHECK(stream.code() == StatusCode::kAborted);
  CHECK_THAT(stream.text(), Contains("superseded by collector inst-b"));
  CHECK(hub.Presence().instance == "inst-b");
  CHECK(!hub.Presence().ended_at.has_value());
}

TEST_CASE("a fenced writer says why: the policy, a newer stream, or state that was lost") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  hub.Send(stream, MakeBatch(1));
  std::uint64_t epoch = 0;
  StatusCode expected = StatusCode::kUnavailable;
  std::string text = "state lost, send it again";
  SECTION("the store lost it") { hub.data.Lose(kCluster); }
  SECTION("the puller had it") { REQUIRE(hub.data.TakeOver(kCluster, epoch).ok()); }
  SECTION("no collector is wanted any more") {
    REQUIRE(hub.data.TakeOver(kCluster, epoch).ok());
    hub.ChangePolicy([](ClusterPolicy& policy) { policy.refusal = "is in pull mode"; });
    expected = StatusCode::kFailedPrecondition;
    text = "cluster harbour-7 is in pull mode";
  }
  SECTION("it was deleted") {
    hub.data.Lose(kCluster);
    hub.clusters.Erase(kCluster);
    expected = StatusCode::kUnauthenticated;
    text = "the credential was not accepted";
  }
  hub.Send(stream, MakeBatch(2));
  hub.Pass(4s);  // another stream would have said so by then
  CHECK(stream.code() == expected);
  CHECK(stream.text() == text);
  CHECK(hub.State().applied.size() <= 1);
  CHECK((!hub.State().presence || !hub.State().presence->ended_at));
}

TEST_CASE("a collector whose state was lost comes back with all of it") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  hub.Send(stream, MakeBatch(1));
  hub.data.Lose(kCluster);
  hub.Send(stream, MakeBatch(2));
  REQUIRE(stream.code() == StatusCode::kUnavailable);
  TestStream& again = hub.ConnectDelivery();
  hub.Send(again, MakeBatch(3));
  CHECK(hub.Applied() == std::vector<std::uint64_t>{3});
}

TEST_CASE("a presence that can be read is of a stream that can be found") {
  TestHub hub;
  bool seen = false, found = false;
  hub.data.OnPresence([&](const store::Presence& presence) {
    seen = true;
    found = hub.pool->Has(kCluster, presence.epoch);
  });
  hub.ConnectDelivery();
  CHECK(seen);
  CHECK(found);
}

TEST_CASE("who could not be announced holds nothing") {
  TestHub hub;
  hub.data.OnPresence([&](const store::Presence&) { hub.data.Fail(absl::UnavailableError("down")); });
  TestStream& stream = hub.Connect(DeliveryRegistration());
  hub.Pass(2s);
  CHECK(stream.code() == StatusCode::kUnavailable);
  CHECK(!hub.pool->Has(kCluster, hub.State().epoch));
  CHECK(hub.pool->size() == 0);
}

TEST_CASE("of two that register at once one gets the cluster") {
  TestHub hub;
  TestStream& first = hub.Open("10.0.0.1:4000");
  TestStream& second = hub.Open("10.0.0.2:4000");
  REQUIRE(first.peer->TakeRead());
  REQUIRE(second.peer->TakeRead());
  first.stream->OnMessage(wire::Encode(DeliveryRegistration("inst-a")));
  second.stream->OnMessage(wire::Encode(DeliveryRegistration("inst-b")));
  hub.Run();
  CHECK(first.ended() != second.ended());
  CHECK(hub.pool->size() == 1);
}

}  // namespace
}  // namespace clusterpulse::ingest
