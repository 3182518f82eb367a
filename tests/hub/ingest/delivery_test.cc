// A stream of a collector with capability "delivery".
#include "tests/hub/ingest/harness.h"

namespace clusterpulse::ingest {
namespace {

using namespace std::chrono_literals;
using absl::StatusCode;
using Seqs = std::vector<std::uint64_t>;
using Ranges = std::vector<model::SeqRange>;

TEST_CASE("Welcome comes first and says all there is to know") {
  TestHub hub;
  TestStream& stream = hub.Connect(DeliveryRegistration());
  stream.Collect();
  REQUIRE(stream.inbox.size() == 1);
  const auto& welcome = std::get<model::Welcome>(stream.inbox[0]);
  CHECK(welcome.hub == "hub-1");
  CHECK(welcome.version == "9.9");
  CHECK(welcome.epoch == hub.State().epoch);
  CHECK(welcome.durable == model::DurablePosition{});
  CHECK(welcome.credits == model::Credits{16, 4u << 20});
  CHECK(welcome.capabilities == model::Capabilities{true, true, true});
  CHECK(welcome.max_message_bytes == 4u << 20);
  CHECK(welcome.max_batch_bytes == 32u << 20);
  CHECK(welcome.last_seq == 0);
  CHECK(welcome.config.interval == 30s);
  CHECK(welcome.config.hash == "h1");
  CHECK(stream.reading());
}

TEST_CASE("an instance continues where it stood, another one starts anew") {
  TestHub hub;
  hub.data.SetDurableAfter(2s);
  TestStream& first = hub.ConnectDelivery("inst-a");
  for (std::uint64_t seq = 1; seq <= 3; ++seq) hub.Send(first, MakeBatch(seq));
  hub.AdvanceBy(2s);
  hub.Send(first, MakeBatch(4));  // remembers 1..3 as durable
  hub.Gone(first);

  model::Registration registration = DeliveryRegistration("inst-a");
  SECTION("the same") {
    TestStream& again = hub.Connect(registration);
    const model::Welcome welcome = again.Take<model::Welcome>().at(0);
    CHECK(welcome.durable == model::DurablePosition{.low = 3});
    CHECK(welcome.last_seq == 4);
    hub.Send(again, MakeBatch(4));  // its state is there
    CHECK(hub.Applied() == Seqs{1, 2, 3, 4});
    hub.AdvanceBy(20ms);
    CHECK(again.Take<model::DeliveryAck>().at(0).applied == Ranges{{4, 4}});
  }
  SECTION("the same, that was told more than the store remembers") {
    registration.durable_low = 9;
    registration.durable = {{12, 14}};
    TestStream& again = hub.Connect(registration);
    CHECK(again.Take<model::Welcome>().at(0).durable == model::DurablePosition{.low = 9, .ranges = {{12, 14}}});
  }
  SECTION("another") {
    TestStream& other = hub.Connect(DeliveryRegistration("inst-b"));
    const model::Welcome welcome = other.Take<model::Welcome>().at(0);
    CHECK(welcome.durable == model::DurablePosition{});
    CHECK(welcome.last_seq == 0);
    hub.Send(other, MakeBatch(1));
    CHECK(hub.Applied() == Seqs{1, 2, 3, 4, 1});
  }
}

TEST_CASE("batches are acknowledged together, at most each 20 ms, and never by an upstream Ack") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  hub.Send(stream, MakeBatch(1));
  hub.Send(stream, MakeBatch(2));
  hub.Send(stream, MakeBatch(3));
  auto acks = stream.Take<model::DeliveryAck>();
  REQUIRE(acks.size() == 1);
  CHECK(acks[0].applied == Ranges{{1, 1}});
  CHECK(acks[0].durable.low == 1);
  hub.AdvanceBy(19ms);
  CHECK(stream.Take<model::DeliveryAck>().empty());
  hub.AdvanceBy(1ms);
  acks = stream.Take<model::DeliveryAck>();
  REQUIRE(acks.size() == 1);
  CHECK(acks[0].applied == Ranges{{2, 3}});
  CHECK(acks[0].durable == model::DurablePosition{.low = 3});
  CHECK(stream.Take<model::UpstreamAck>().empty());
  CHECK(hub.Applied() == Seqs{1, 2, 3});
}

TEST_CASE("while a write is not done the next ack waits and grows") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  stream.takes_messages = false;
  hub.Send(stream, MakeBatch(1));
  for (std::uint64_t seq = 2; seq <= 10; ++seq) {
    hub.AdvanceBy(1s);
    hub.Send(stream, MakeBatch(seq));
  }
  CHECK(stream.Take<model::DeliveryAck>().size() == 1);
  stream.takes_messages = true;
  hub.Run();
  const auto acks = stream.Take<model::DeliveryAck>();
  REQUIRE(acks.size() == 1);
  CHECK(acks[0].applied == Ranges{{2, 10}});
}

TEST_CASE("state that is older than what is there is acknowledged and not written") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  hub.Send(stream, MakeBatch(5));
  hub.Send(stream, HistoryBatch(3));
  hub.Send(stream, MakeBatch(4));
  hub.Send(stream, HistoryBatch(7));  // history is never state, however new
  hub.Send(stream, MakeBatch(6));
  hub.AdvanceBy(20ms);
  CHECK(hub.Applied() == Seqs{5, 6});
  Ranges applied;
  for (const auto& ack : stream.Take<model::DeliveryAck>()) {
    applied.insert(applied.end(), ack.applied.begin(), ack.applied.end());
  }
  CHECK(applied == Ranges{{5, 5}, {3, 4}, {6, 7}});
  CHECK(hub.Count("batches_total", {"result"}, "history") == 3);
  CHECK(hub.Count("batches_total", {"result"}, "applied") == 2);
}

TEST_CASE("credits: what a collector may have in flight") {
  constexpr std::size_t kMiB = std::size_t{1} << 20;
  const auto history = [](model::Batch batch) {
    batch.history_only = true;
    return batch;
  };
  struct Case {
    std::string name;
    std::vector<model::Batch> allowed;
    model::Batch too_much;
  };
  std::vector<Case> cases = {
      {"history up to the bytes, and one live batch",
       {history(LargeBatch(1, 3 * kMiB)), LargeBatch(2, 2 * kMiB)},
       history(LargeBatch(3, 2 * kMiB))},
      {"live ones up to the bytes, and one more",
       {LargeBatch(1, 3 * kMiB), LargeBatch(2, 3 * kMiB)},
       LargeBatch(3, 3 * kMiB)},
      {"as many as there are credits, and one live batch", {}, HistoryBatch(18)},
  };
  for (std::uint64_t seq = 1; seq <= 16; ++seq) cases[2].allowed.push_back(HistoryBatch(seq));
  cases[2].allowed.push_back(MakeBatch(17));
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      TestHub hub;
      TestStream& stream = hub.ConnectDelivery();
      stream.takes_messages = false;  // what is not told stays in flight
      hub.ChangePolicy([](ClusterPolicy& policy) { policy.config.hash = "h2"; });
      hub.pool->Recheck(kCluster);
      hub.Run();
      for (const model::Batch& batch : c.allowed) {
        hub.Send(stream, batch);
        REQUIRE(!stream.ended());
      }
      hub.Send(stream, c.too_much);
      CHECK(stream.code() == StatusCode::kResourceExhausted);
    }
  }
}

TEST_CASE("who sends beyond the credits is ended") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  hub.data.FailApply(absl::UnavailableError("down"));
  int sent = 0;
  while (!stream.ended() && sent < 100) hub.Send(stream, MakeBatch(static_cast<std::uint64_t>(++sent)));
  CHECK(sent == 18);
  CHECK(stream.code() == StatusCode::kResourceExhausted);
  CHECK(hub.pool->size() == 1);  // its end cannot be written yet
}

TEST_CASE("what was rejected counts against the credits until it is told") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  stream.takes_messages = false;
  int sent = 0;
  while (!stream.ended() && sent < 100) hub.Send(stream, MakeBatch(static_cast<std::uint64_t>(++sent), {"no name!"}));
  CHECK(sent == 19);  // one was told
  CHECK(stream.code() == StatusCode::kResourceExhausted);
}

TEST_CASE("with credits a collector is always read, whatever the store does") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  hub.data.FailApply(absl::UnavailableError("down"));
  hub.Send(stream, MakeBatch(1));
  for (int i = 0; i < 20; ++i) {
    hub.Pass(29s);
    hub.Send(stream, model::Heartbeat{.buffered_batches = i});
    const base::SystemTime heard = hub.clock.Now();
    hub.Pass(11s);  // of a store that takes nothing else
    CHECK(hub.Presence().buffered_batches == i);
    CHECK(hub.Presence().last_message == heard);
  }
}

TEST_CASE("credits shrink when there are many streams, and are told when they change") {
  TestHub hub(std::int64_t{1} << 20);
  TestStream& first = hub.Connect(DeliveryRegistration());
  CHECK(first.Take<model::Welcome>().at(0).credits.bytes == 1u << 20);
  for (int i = 0; i < 3; ++i) {
    const std::string name = "c" + std::to_string(i);
    hub.AddCluster(name);
    TestStream& other = hub.Connect(DeliveryRegistration("inst-x", name));
    CHECK(other.Take<model::Welcome>().at(0).credits.bytes == (1u << 20) / static_cast<unsigned>(i + 2));
  }
  hub.Send(first, MakeBatch(1));
  const auto acks = first.Take<model::DeliveryAck>();
  REQUIRE(acks.size() == 1);
  REQUIRE(acks[0].credits.has_value());
  CHECK(*acks[0].credits == model::Credits{16, (1u << 20) / 4});
  hub.AdvanceBy(1s);
  hub.Send(first, MakeBatch(2));
  CHECK(!first.Take<model::DeliveryAck>().at(0).credits.has_value());
}

TEST_CASE("beyond its credits a collector is not read while the hub's memory is full") {
  TestHub hub(100000);
  TestStream& stream = hub.ConnectDelivery();
  hub.data.FailApply(absl::UnavailableError("down"));
  hub.Send(stream, LargeBatch(1, 150000));
  CHECK(!stream.reading());
  hub.Pass(60s);
  CHECK(!stream.ended());
  CHECK(hub.Presence().last_message >= hub.clock.Now() - 30s);  // that is not its silence
  hub.data.FailApply(absl::OkStatus());
  hub.Pass(6s);
  CHECK(stream.reading());
  CHECK(hub.Applied() == Seqs{1});
}

TEST_CASE("a store that fails is asked again, ever more slowly, and nothing is lost") {
  const StatusCode code =
      GENERATE(StatusCode::kUnavailable, StatusCode::kDeadlineExceeded, StatusCode::kResourceExhausted);
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  hub.data.FailApply(absl::Status(code, "no"));
  for (std::uint64_t seq = 1; seq <= 5; ++seq) hub.Send(stream, MakeBatch(seq));
  hub.Pass(300s);
  CHECK(!stream.ended());
  CHECK(hub.Applied().empty());
  CHECK(hub.Count("store_errors_total") >= 60);  // 250 ms at first, 5 s at most
  CHECK(hub.Count("store_errors_total") <= 90);
  hub.data.FailApply(absl::OkStatus());
  hub.Pass(6s);
  CHECK(hub.Applied() == Seqs{1, 2, 3, 4, 5});
  CHECK(stream.Take<model::DeliveryAck>().back().durable.low == 5);
}

}  // namespace
}  // namespace clusterpulse::ingest
