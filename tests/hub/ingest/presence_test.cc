// What a replica tells the others about its streams.
#include "tests/hub/ingest/harness.h"

namespace clusterpulse::ingest {
namespace {

using namespace std::chrono_literals;

TEST_CASE("a collector is told of before it is welcomed") {
  TestHub hub;
  const base::SystemTime now = hub.clock.Now();
  TestStream& stream = hub.Open("10.0.0.1:4000");
  int written = 0;
  hub.data.OnPresence([&](const store::Presence&) {
    ++written;
    CHECK(!stream.peer->sending());
  });
  hub.Send(stream, DeliveryRegistration());
  CHECK(written == 1);
  CHECK(stream.Take<model::Welcome>().size() == 1);
  const store::Presence presence = hub.Presence();
  CHECK(presence.hub == "hub-1");
  CHECK(presence.instance == "inst-a");
  CHECK(presence.peer == "10.0.0.1:4000");
  CHECK(presence.version == "1.2.3");
  CHECK(!presence.upstream);
  CHECK(presence.epoch == hub.State().epoch);
  CHECK(presence.connected_at == now);
  CHECK(presence.last_message == now);
  CHECK(presence.interval == 30s);
  CHECK(!presence.ended_at.has_value());
}

TEST_CASE("a heartbeat is written, at most every 25 s") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  hub.Pass(24s);
  hub.Send(stream, model::Heartbeat{.buffered_batches = 1});
  CHECK(hub.State().presence_writes == 1);
  hub.Pass(1s);
  CHECK(hub.State().presence_writes == 2);
  model::Heartbeat heartbeat{.buffered_batches = 3, .buffered_bytes = 99};
  heartbeat.oldest_buffered = hub.clock.Now() - 40s;
  for (int i = 0; i < 10; ++i) hub.Send(stream, heartbeat);
  CHECK(hub.State().presence_writes == 2);
  hub.Pass(25s);
  hub.Send(stream, heartbeat);
  const store::Presence presence = hub.Presence();
  CHECK(presence.buffered_batches == 3);
  CHECK(presence.buffered_bytes == 99);
  CHECK(presence.oldest_buffered == heartbeat.oldest_buffered);
}

TEST_CASE("a stream that is silent says so, but goes on asking whether it is still the one") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  const base::SystemTime last = hub.clock.Now();
  hub.Pass(300s);
  CHECK(!stream.ended());
  CHECK(hub.Presence().last_message == last);
  CHECK(hub.State().presence_writes >= 10);
}

TEST_CASE("what people wait for is written at once, at most every second") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  hub.Pass(5s);
  hub.Send(stream, model::ConfigReport{"h1", {"source a: no such field"}});
  CHECK(hub.Presence().config_hash == "h1");
  CHECK(hub.Presence().config_problems == std::vector<std::string>{"source a: no such field"});
  const int writes = hub.State().presence_writes;
  for (int i = 0; i < 20; ++i) hub.Send(stream, model::ConfigReport{"h" + std::to_string(i), {}});
  CHECK(hub.State().presence_writes == writes);
  hub.AdvanceBy(1s);
  CHECK(hub.State().presence_writes == writes + 1);
  CHECK(hub.Presence().config_hash == "h19");

  hub.Send(stream, model::ConfigReport{"h19", {}});
  hub.Pass(3s);
  CHECK(hub.State().presence_writes == writes + 1);  // nothing new

  hub.Send(stream, model::Heartbeat{.degraded = "cannot list pods"});
  hub.Pass(1s);
  CHECK(hub.Presence().degraded == "cannot list pods");

  // What a collector cannot read does not become readable by connecting again.
  TestStream& again = hub.ConnectDelivery();
  CHECK(hub.Presence().degraded == "cannot list pods");
  hub.Send(again, model::Heartbeat{});
  hub.Pass(3s);
  CHECK(hub.Presence().degraded.empty());
  hub.ConnectDelivery("inst-b");
  CHECK(hub.Presence().degraded.empty());
}

TEST_CASE("the interval is what the collector said last") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  model::Batch batch = MakeBatch(1);
  batch.interval = 15s;
  hub.Send(stream, batch);
  hub.Send(stream, model::Heartbeat{});  // says nothing about it
  hub.Pass(2s);
  CHECK(hub.Presence().interval == 15s);
}

TEST_CASE("texts of a collector are cut") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  model::ConfigReport report{"h1", std::vector<std::string>(100, std::string(2000, 'p'))};
  hub.Send(stream, report);
  hub.Send(stream, model::Heartbeat{.degraded = std::string(4000, 'd')});
  hub.Pass(2s);
  CHECK(hub.Presence().config_problems.size() == 20);
  CHECK(hub.Presence().config_problems[0].size() == 512);
  CHECK(hub.Presence().degraded.size() == 512);
}

TEST_CASE("a presence that could not be written is written as soon as it can") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  hub.Pass(5s);
  hub.data.Fail(absl::UnavailableError("down"));
  hub.Send(stream, model::ConfigReport{"h1", {}});
  hub.Send(stream, MakeBatch(1));
  hub.Pass(60s);
  hub.data.Fail(absl::OkStatus());
  hub.Pass(6s);
  CHECK(hub.Presence().config_hash == "h1");
  CHECK(hub.Applied().size() == 1);
}

TEST_CASE("presence and batches do not wait for each other when one keeps failing") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  hub.data.FailApply(absl::PermissionDeniedError("no"));
  hub.Send(stream, MakeBatch(1));
  hub.Pass(5s);
  hub.Send(stream, model::ConfigReport{"h1", {}});
  hub.Pass(11s);
  CHECK(hub.Presence().config_hash == "h1");
}

}  // namespace
}  // namespace clusterpulse::ingest
