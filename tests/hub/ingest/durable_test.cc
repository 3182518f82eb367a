// When a batch is said to be durable, and what happens when a store may have lost it.
#include "tests/hub/ingest/harness.h"

namespace clusterpulse::ingest {
namespace {

using namespace std::chrono_literals;
using Ranges = std::vector<model::SeqRange>;

model::DurablePosition LastDurable(TestStream& stream) {
  const auto acks = stream.Take<model::DeliveryAck>();
  return acks.empty() ? model::DurablePosition{} : acks.back().durable;
}

TEST_CASE("a batch is durable so long after it was applied") {
  TestHub hub;
  hub.data.SetDurableAfter(2s);
  TestStream& stream = hub.ConnectDelivery();
  hub.Send(stream, MakeBatch(1));
  hub.AdvanceBy(1s);
  hub.Send(stream, MakeBatch(2));
  CHECK(LastDurable(stream) == model::DurablePosition{});
  hub.AdvanceBy(1s);
  CHECK(LastDurable(stream) == model::DurablePosition{.low = 1});
  hub.AdvanceBy(1s);
  CHECK(LastDurable(stream) == model::DurablePosition{.low = 2});
}

TEST_CASE("what is durable is told with the next ack, or by itself once a second") {
  TestHub hub;
  hub.data.SetDurableAfter(2s);
  TestStream& stream = hub.ConnectDelivery();
  // A batch each 500 ms, and each is told by one ack: the durable ones before it go along.
  std::uint64_t acks = 0;
  model::DurablePosition durable;
  const auto take = [&] {
    for (const auto& ack : stream.Take<model::DeliveryAck>()) {
      ++acks;
      durable = ack.durable;
    }
  };
  for (std::uint64_t seq = 1; seq <= 10; ++seq) {
    hub.Send(stream, MakeBatch(seq));
    take();
    CHECK(acks == seq);
    CHECK(durable.low == (seq < 5 ? 0 : seq - 4));
    hub.AdvanceBy(500ms);
  }
  hub.AdvanceBy(499ms);
  take();
  CHECK(durable.low == 6);
  hub.AdvanceBy(1ms);
  take();
  CHECK(durable.low == 8);
  hub.AdvanceBy(999ms);
  take();
  CHECK(durable.low == 8);
  hub.AdvanceBy(1ms);
  take();
  CHECK(durable.low == 10);
  CHECK(acks == 12);
}

TEST_CASE("batches between which others are missing are durable as ranges") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  hub.Send(stream, MakeBatch(3));
  hub.Send(stream, MakeBatch(5));
  hub.AdvanceBy(20ms);
  CHECK(LastDurable(stream) == model::DurablePosition{.low = 0, .ranges = {{3, 3}, {5, 5}}});
}

TEST_CASE("a broken wait is void: the batches are asked for again, and durable when they came again") {
  TestHub hub;
  hub.data.SetDurableAfter(2s);
  TestStream& stream = hub.ConnectDelivery();
  for (std::uint64_t seq = 1; seq <= 3; ++seq) hub.Send(stream, MakeBatch(seq));
  hub.AdvanceBy(1s);
  hub.data.BreakContinuity();
  hub.Send(stream, MakeBatch(4));  // after the break: waits by itself
  hub.AdvanceBy(1s);
  CHECK(stream.Take<model::Replay>() == std::vector<model::Replay>{{"inst-a", {1, 3}}});
  CHECK(LastDurable(stream) == model::DurablePosition{});
  hub.AdvanceBy(1s);
  CHECK(LastDurable(stream) == model::DurablePosition{.low = 0, .ranges = {{4, 4}}});
  CHECK(stream.Take<model::Replay>().empty());

  for (std::uint64_t seq = 1; seq <= 3; ++seq) hub.Send(stream, HistoryBatch(seq));
  hub.AdvanceBy(2s);
  CHECK(LastDurable(stream) == model::DurablePosition{.low = 4});
  CHECK(hub.Applied().size() == 4);
}

TEST_CASE("nothing is durable on the word of a store that fell silent") {
  TestHub hub;
  hub.data.SetDurableAfter(2s);
  TestStream& stream = hub.ConnectDelivery();
  hub.Send(stream, MakeBatch(1));
  hub.AdvanceBy(1s);
  hub.data.SetSilent(true);
  hub.Pass(30s);
  CHECK(LastDurable(stream) == model::DurablePosition{});
  SECTION("it speaks again") {
    hub.data.SetSilent(false);
    hub.AdvanceBy(1s);
    CHECK(LastDurable(stream) == model::DurablePosition{.low = 1});
    CHECK(stream.Take<model::Replay>().empty());
  }
  SECTION("it turns out to be lost") {
    hub.data.BreakContinuity();
    hub.AdvanceBy(1s);
    CHECK(stream.Take<model::Replay>() == std::vector<model::Replay>{{"inst-a", {1, 1}}});
    CHECK(LastDurable(stream) == model::DurablePosition{});
  }
}

TEST_CASE("state that a stream before this one wrote is durable when the store says so, not at once") {
  TestHub hub;
  hub.data.SetDurableAfter(2s);
  TestStream& before = hub.ConnectDelivery();
  hub.Send(before, MakeBatch(1));
  hub.Gone(before);
  TestStream& stream = hub.ConnectDelivery();
  hub.Send(stream, MakeBatch(1));
  hub.AdvanceBy(20ms);
  const auto acks = stream.Take<model::DeliveryAck>();
  REQUIRE(acks.size() == 1);
  CHECK(acks[0].applied == Ranges{{1, 1}});
  CHECK(acks[0].durable == model::DurablePosition{});
  CHECK(hub.Applied() == std::vector<std::uint64_t>{1});
  SECTION("it survives") {
    hub.AdvanceBy(2s);
    CHECK(LastDurable(stream) == model::DurablePosition{.low = 1});
  }
  SECTION("the store may have lost it: as with any other batch") {
    hub.data.BreakContinuity();
    hub.AdvanceBy(2s);
    CHECK(LastDurable(stream) == model::DurablePosition{});
    CHECK(stream.Take<model::Replay>() == std::vector<model::Replay>{{"inst-a", {1, 1}}});
  }
}

TEST_CASE("several ranges are asked for one by one") {
  TestHub hub;
  hub.data.SetDurableAfter(2s);
  TestStream& stream = hub.ConnectDelivery();
  hub.Send(stream, MakeBatch(1));
  hub.Send(stream, MakeBatch(5));
  hub.data.BreakContinuity();
  hub.AdvanceBy(2s);
  CHECK(stream.Take<model::Replay>() == std::vector<model::Replay>{{"inst-a", {1, 1}}, {"inst-a", {5, 5}}});
}

TEST_CASE("what only the collector remembers to be durable gets into the store") {
  TestHub hub;
  model::Registration registration = DeliveryRegistration();
  registration.durable_low = 3;
  hub.Connect(registration);
  hub.Pass(10s);
  CHECK(hub.State().durable == model::DurablePosition{.low = 3});
  hub.Pass(60s);
  CHECK(hub.State().durable_writes == 1);
}

TEST_CASE("what is durable is remembered with the next batch, or by itself when none comes") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  hub.Send(stream, MakeBatch(1));
  CHECK(hub.State().durable == model::DurablePosition{});
  SECTION("with the next") {
    hub.Send(stream, MakeBatch(2));
    CHECK(hub.State().durable == model::DurablePosition{.low = 1});
    CHECK(hub.State().durable_writes == 0);
  }
  SECTION("alone, at most every 10 s") {
    hub.Pass(9s);
    CHECK(hub.State().durable_writes == 0);
    hub.Pass(1s);
    CHECK(hub.State().durable == model::DurablePosition{.low = 1});
    hub.Send(stream, HistoryBatch(2));
    hub.Send(stream, HistoryBatch(3));
    hub.Pass(11s);
    CHECK(hub.State().durable == model::DurablePosition{.low = 3});
    hub.Pass(60s);
    CHECK(hub.State().durable_writes == 2);
  }
  SECTION("when the stream ends") {
    hub.Gone(stream);
    CHECK(hub.State().durable == model::DurablePosition{.low = 1});
    CHECK(hub.Presence().ended_at.has_value());
  }
  SECTION("when it ends and the store is down, as soon as that is back") {
    hub.data.Fail(absl::UnavailableError("down"));
    hub.Gone(stream);
    hub.Pass(10s);
    CHECK(hub.State().durable == model::DurablePosition{});
    hub.data.Fail(absl::OkStatus());
    hub.Pass(6s);
    CHECK(hub.State().durable == model::DurablePosition{.low = 1});
    CHECK(hub.Presence().ended_at.has_value());
    CHECK(hub.pool->size() == 0);
  }
  SECTION("not while the store is down, and then again") {
    hub.data.Fail(absl::UnavailableError("down"));
    hub.Pass(20s);
    hub.data.Fail(absl::OkStatus());
    hub.Pass(6s);
    CHECK(hub.State().durable == model::DurablePosition{.low = 1});
  }
}

}  // namespace
}  // namespace clusterpulse::ingest
