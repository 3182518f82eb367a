// Samples: where they go, and what that means for what is durable.
#include "tests/hub/ingest/harness.h"

namespace clusterpulse::ingest {
namespace {

using namespace std::chrono_literals;
using history::FakeHistoryWriter;
using Mode = FakeHistoryWriter::Mode;
using Ranges = std::vector<model::SeqRange>;
using Seqs = std::vector<std::uint64_t>;

// As MakeBatch, each collected at a time of its own.
model::Batch Sampled(std::uint64_t seq) {
  model::Batch batch = MakeBatch(seq);
  batch.collected_at += std::chrono::seconds(seq);
  return batch;
}
model::Batch SampledHistory(std::uint64_t seq) {
  model::Batch batch = Sampled(seq);
  batch.history_only = true;
  return batch;
}

Seqs Written(const TestHub& hub) {
  Seqs seqs;
  for (const model::Batch& batch : hub.history.written()) seqs.push_back(batch.seq);
  return seqs;
}

// All that was told since it was last asked for.
struct Told {
  Ranges applied;
  model::DurablePosition durable;
  std::vector<model::Rejection> rejected;
  std::optional<model::Credits> credits;
};
Told Take(TestStream& stream) {
  Told told;
  for (const model::DeliveryAck& ack : stream.Take<model::DeliveryAck>()) {
    told.applied.insert(told.applied.end(), ack.applied.begin(), ack.applied.end());
    told.durable = ack.durable;
    told.rejected.insert(told.rejected.end(), ack.rejected.begin(), ack.rejected.end());
    if (ack.credits.has_value()) told.credits = ack.credits;
  }
  return told;
}

TEST_CASE("a batch's samples are written beside its state, an older one's alone") {
  HistoryHub hub;
  TestStream& stream = hub.ConnectDelivery();
  hub.Send(stream, Sampled(5));
  hub.Send(stream, SampledHistory(3));
  hub.Send(stream, Sampled(4));  // its state is older than what is there
  hub.Send(stream, SampledHistory(7));
  CHECK(hub.Applied() == Seqs{5});
  CHECK(Written(hub) == Seqs{5, 3, 4, 7});
  CHECK(hub.history.written()[1].collected_at == Sampled(3).collected_at);
  CHECK(hub.Count("batches_total", {"result"}, "history") == 3);
}

TEST_CASE("samples of what is durable are not written again") {
  HistoryHub hub;
  TestStream& stream = hub.ConnectDelivery();
  hub.Send(stream, Sampled(1));
  hub.AdvanceBy(20ms);
  CHECK(Take(stream).durable.low == 1);
  hub.Send(stream, SampledHistory(1));
  hub.AdvanceBy(20ms);
  CHECK(Written(hub) == Seqs{1});
  CHECK(Take(stream).applied == Ranges{{1, 1}});
}

TEST_CASE("durable is what every store says is durable") {
  struct Case {
    std::string name;
    std::chrono::seconds state_after, history_after;
  };
  const Case c = GENERATE(values<Case>({{"both at once", 0s, 0s},
                                        {"the state store is slower", 5s, 2s},
                                        {"the history store is slower", 2s, 10s},
                                        {"only the history store waits", 0s, 10s}}));
  DYNAMIC_SECTION(c.name) {
    HistoryHub hub;
    hub.data.SetDurableAfter(c.state_after);
    hub.history.SetDurableAfter(c.history_after);
    TestStream& stream = hub.ConnectDelivery();
    hub.Send(stream, Sampled(1));
    const Told at_once = Take(stream);
    CHECK(at_once.applied == Ranges{{1, 1}});
    model::DurablePosition durable = at_once.durable;
    std::chrono::seconds waited{0};
    for (; waited < 30s && durable.low == 0; ++waited) {
      hub.AdvanceBy(1s);
      if (const Told told = Take(stream); told.durable.low > 0) durable = told.durable;
    }
    CHECK(durable.low == 1);
    const std::chrono::seconds longer = std::max(c.state_after, c.history_after);
    CHECK(waited >= longer);
    CHECK(waited <= longer + 2s);  // it is told once a second
    CHECK(stream.Take<model::Replay>().empty());
  }
}

// The message comes, and nothing else happens yet.
void Arrive(TestStream& stream, const model::Batch& batch) {
  REQUIRE(stream.peer->TakeRead());
  stream.stream->OnMessage(wire::Encode(batch));
}

TEST_CASE("what is live goes before history that waits, of its own stream and of others") {
  HistoryHub hub;
  hub.AddCluster("other");
  TestStream& stream = hub.ConnectDelivery();
  TestStream& other = hub.Connect(DeliveryRegistration("inst-b", "other"), "10.0.0.2:4000");
  Arrive(stream, SampledHistory(1));  // is being written
  Arrive(stream, SampledHistory(2));
  Arrive(stream, SampledHistory(3));
  Arrive(stream, Sampled(4));
  Arrive(stream, Sampled(5));
  model::Batch of_other = MakeBatch(1, {"n1"}, "other");
  Arrive(other, of_other);
  hub.Run();
  std::vector<std::pair<std::string, std::uint64_t>> order;
  for (const model::Batch& batch : hub.history.written()) order.emplace_back(batch.cluster, batch.seq);
  CHECK(order == std::vector<std::pair<std::string, std::uint64_t>>{
                     {"other", 1}, {kCluster, 1}, {kCluster, 4}, {kCluster, 5}, {kCluster, 2}, {kCluster, 3}});
  CHECK(hub.Applied() == Seqs{4, 5});
  hub.AdvanceBy(20ms);
  CHECK(Take(stream).durable.low == 5);
}

TEST_CASE("a live batch that the store does not take is tried again, and history after it") {
  HistoryHub hub;
  TestStream& stream = hub.ConnectDelivery();
  hub.data.FailApply(absl::UnavailableError("down"));
  hub.Send(stream, Sampled(2));
  hub.Send(stream, SampledHistory(1));
  hub.Send(stream, Sampled(3));
  CHECK(Written(hub).empty());
  hub.data.FailApply(absl::OkStatus());
  hub.Pass(6s);
  CHECK(Written(hub) == Seqs{2, 3, 1});
  CHECK(hub.Applied() == Seqs{2, 3});
}

model::Batch UpstreamSampled(int number) {
  model::Batch batch = Sampled(0);
  batch.id = "upstream-" + std::to_string(number);
  batch.collected_at += number * 30s;
  return batch;
}
base::SystemTime UpstreamTime(int number) { return UpstreamSampled(number).collected_at; }

TEST_CASE("with the state of an upstream collector it is written what only the hub holds") {
  HistoryHub hub;
  hub.history.SetDurableAfter(10s);
  TestStream& stream = hub.ConnectUpstream();
  for (int i = 1; i <= 3; ++i) {
    hub.Send(stream, UpstreamSampled(i));
    hub.Pass(30s);
  }
  // The one before is durable by then.
  CHECK(hub.State().held == store::HeldSamples{UpstreamTime(2), UpstreamTime(3), 1});
  hub.history.SetMode(Mode::kHang);
  for (int i = 4; i <= 6; ++i) {
    hub.Send(stream, UpstreamSampled(i));
    hub.Pass(30s);
  }
  CHECK(hub.State().held == store::HeldSamples{UpstreamTime(3), UpstreamTime(6), 3});
}

TEST_CASE("what a hub held of an upstream collector is looked for by the next stream") {
  struct Case {
    std::string name;
    bool is_there, is_ours;
  };
  const Case c = GENERATE(values<Case>({{"it is there", true, false},
                                        {"it is lost", false, false},
                                        {"it is there, and a collector of ours has come", true, true},
                                        {"it is lost, and a collector of ours has come", false, true}}));
  DYNAMIC_SECTION(c.name) {
    HistoryHub hub;
    TestStream& before = hub.ConnectUpstream();
    hub.Send(before, UpstreamSampled(1));
    hub.Pass(30s);
    if (!c.is_there) hub.history.SetMode(Mode::kHang);
    hub.Send(before, UpstreamSampled(2));
    hub.Send(before, UpstreamSampled(3));
    hub.Gone(before);
    if (!c.is_there) hub.history.ForgetWaiting();  // with the hub that had it

    TestStream& stream = c.is_ours ? hub.ConnectDelivery() : hub.ConnectUpstream("10.0.0.1:4001");
    REQUIRE(hub.history.sought().size() == 1);
    CHECK(hub.history.sought()[0].cluster == kCluster);
    CHECK(hub.history.sought()[0].after == UpstreamTime(c.is_there ? 2 : 1));
    CHECK(hub.history.sought()[0].until == UpstreamTime(3));
    CHECK(hub.history.sought()[0].batches == (c.is_there ? 1 : 2));
    hub.Pass(30s);
    const auto next = [&](int number) {
      hub.Send(stream, c.is_ours ? Sampled(static_cast<std::uint64_t>(number)) : UpstreamSampled(number));
      hub.Pass(30s);
    };
    next(4);
    // As long as that is not known it stays held, whoever writes.
    CHECK(hub.State().held.until == (c.is_ours && c.is_there ? base::SystemTime{} : UpstreamTime(c.is_ours ? 3 : 4)));
    hub.history.SetMode(Mode::kAccept);
    hub.history.Settle(Mode::kAccept);
    hub.Pass(30s);
    next(5);
    next(6);
    std::vector<store::KnownGap> lost;
    const store::GapLedger ledger = hub.State().gaps;
    for (const store::KnownGap& gap : ledger.gaps()) {
      if (gap.cause == model::GapCause::kStoreDown) lost.push_back(gap);
    }
    REQUIRE(lost.size() == (c.is_there ? 0 : 1));
    if (!c.is_there) {
      CHECK(lost[0].from == UpstreamTime(1));
      CHECK(lost[0].to == UpstreamTime(3));
      CHECK(lost[0].seqs == model::SeqRange{});
      CHECK_FALSE(lost[0].fillable);
    }
    CHECK(hub.State().held.batches == (c.is_ours ? 0 : 1));
  }
}

TEST_CASE("a loss that is not in the ledger yet stays held") {
  HistoryHub hub;
  TestStream& stream = hub.ConnectUpstream();
  hub.Send(stream, UpstreamSampled(1));
  hub.Pass(5s);
  hub.data.FailGaps(absl::UnavailableError("down"));
  hub.history.SetMode(Mode::kDrop);
  hub.Send(stream, UpstreamSampled(2));
  hub.Pass(5s);
  hub.history.SetMode(Mode::kAccept);
  hub.Send(stream, UpstreamSampled(3));
  hub.Pass(5s);
  CHECK(hub.State().gaps.gaps().empty());
  CHECK(hub.State().held.since == UpstreamTime(1));
  hub.data.FailGaps(absl::OkStatus());
  hub.Pass(10s);
  hub.Send(stream, UpstreamSampled(4));
  CHECK(hub.State().gaps.gaps().size() == 1);
  CHECK(hub.State().held == store::HeldSamples{UpstreamTime(3), UpstreamTime(4), 1});
}

TEST_CASE("without history nobody holds anything") {
  TestHub hub;
  TestStream& stream = hub.ConnectUpstream();
  hub.Send(stream, UpstreamSampled(1));
  CHECK(hub.State().held == store::HeldSamples{});
}

TEST_CASE("a history store that hangs delays no state, only what is durable") {
  HistoryHub hub;
  hub.history.SetMode(Mode::kHang);
  TestStream& stream = hub.ConnectDelivery();
  for (std::uint64_t seq = 1; seq <= 100; ++seq) {
    hub.Send(stream, Sampled(seq));
    hub.AdvanceBy(20ms);
    REQUIRE(Take(stream).applied == Ranges{{seq, seq}});
    hub.AdvanceBy(30s);
  }
  CHECK(hub.Applied().size() == 100);
  CHECK(Take(stream).durable == model::DurablePosition{});
  CHECK(stream.Take<model::Replay>().empty());
  hub.history.Settle(Mode::kAccept);
  hub.Pass(8s);
  CHECK(Take(stream).durable == model::DurablePosition{.low = 100});
}

TEST_CASE("waits end out of order") {
  HistoryHub hub;
  hub.history.SetMode(Mode::kHang);
  TestStream& stream = hub.ConnectDelivery();
  hub.Send(stream, Sampled(1));
  hub.history.SetMode(Mode::kAccept);
  hub.Send(stream, Sampled(2));
  hub.Pass(2s);
  CHECK(Take(stream).durable == model::DurablePosition{.low = 0, .ranges = {{2, 2}}});
  hub.history.Settle(Mode::kAccept);
  hub.Pass(8s);
  CHECK(Take(stream).durable == model::DurablePosition{.low = 2});
}

TEST_CASE("samples that were given up are asked for when there is room, and durable when they came again") {
  HistoryHub hub;
  TestStream& stream = hub.ConnectDelivery();
  hub.history.SetMode(Mode::kDrop);
  hub.history.SetRoom(false);
  for (std::uint64_t seq = 1; seq <= 40; ++seq) {
    hub.Send(stream, Sampled(seq));
    hub.AdvanceBy(5s);
  }
  CHECK(hub.Applied().size() == 40);
  CHECK(Take(stream).durable == model::DurablePosition{});
  CHECK(stream.Take<model::Replay>().empty());

  hub.history.SetMode(Mode::kAccept);
  hub.history.SetRoom(true);
  hub.Pass(2s);
  CHECK(Take(stream).credits == model::Credits{16, 4u << 20});
  const auto first = stream.Take<model::Replay>();
  CHECK(first == std::vector<model::Replay>{{"inst-a", {1, 16}}});
  hub.Pass(5s);
  CHECK(stream.Take<model::Replay>().empty());  // no more until these came
  std::uint64_t sent = 0;
  std::vector<model::Replay> asked = first;
  while (!asked.empty()) {
    for (const model::Replay& replay : asked) {
      CHECK(replay.range.first == sent + 1);  // the oldest that is missing
      for (std::uint64_t seq = replay.range.first; seq <= replay.range.last; ++seq) {
        hub.Send(stream, SampledHistory(seq));
        hub.AdvanceBy(20ms);
      }
      sent = replay.range.last;
    }
    asked = stream.Take<model::Replay>();
  }
  hub.Pass(2s);
  CHECK(Take(stream).durable == model::DurablePosition{.low = 40});
  CHECK(hub.history.stored().size() == 40);
  CHECK(hub.Applied().size() == 40);
}

TEST_CASE("what was accepted by a history store that was lost is asked for again") {
  HistoryHub hub;
  hub.history.SetDurableAfter(10s);
  TestStream& stream = hub.ConnectDelivery();
  hub.Send(stream, Sampled(1));
  hub.Send(stream, Sampled(2));
  hub.Pass(11s);
  CHECK(Take(stream).durable.low == 2);
  hub.Send(stream, Sampled(3));
  hub.Pass(3s);
  hub.history.Crash();
  hub.Pass(8s);
  CHECK(stream.Take<model::Replay>() == std::vector<model::Replay>{{"inst-a", {3, 3}}});
  hub.Send(stream, SampledHistory(3));
  hub.Pass(12s);
  CHECK(Take(stream).durable.low == 3);
  CHECK(hub.history.stored().size() == 3);
}

TEST_CASE("what is durable is not asked for beside what was lost with it") {
  HistoryHub hub;
  hub.history.SetDurableAfter(10s);
  TestStream& stream = hub.ConnectDelivery();
  hub.Send(stream, Sampled(1));
  hub.Send(stream, Sampled(2));
  hub.Pass(9s);
  // They come twice, and wait as one with the next.
  hub.Send(stream, SampledHistory(1));
  hub.Send(stream, SampledHistory(2));
  hub.Send(stream, Sampled(3));
  hub.Pass(3s);
  CHECK(Take(stream).durable.low == 2);
  hub.history.Crash();
  hub.Pass(10s);
  CHECK(stream.Take<model::Replay>() == std::vector<model::Replay>{{"inst-a", {3, 3}}});
}

TEST_CASE("a batch that comes again while its first samples wait") {
  HistoryHub hub;
  hub.history.SetMode(Mode::kHang);
  TestStream& stream = hub.ConnectDelivery();
  hub.Send(stream, Sampled(1));
  hub.Send(stream, SampledHistory(1));
  hub.AdvanceBy(20ms);
  CHECK(hub.history.waiting() == 2);
  SECTION("the first is dropped, the second taken") {
    hub.history.Settle(Mode::kDrop, 1);
    hub.history.Settle(Mode::kAccept);
    hub.Pass(2s);
    CHECK(Take(stream).durable.low == 1);
  }
  SECTION("the first is taken, the second dropped") {
    hub.history.Settle(Mode::kAccept, 1);
    hub.history.Settle(Mode::kDrop);
    hub.Pass(2s);
    CHECK(Take(stream).durable.low == 1);
    CHECK(stream.Take<model::Replay>().empty());
  }
  SECTION("over a new stream") {
    hub.Gone(stream);
    hub.history.SetMode(Mode::kAccept);
    TestStream& again = hub.Connect(DeliveryRegistration());
    CHECK(again.Take<model::Welcome>().at(0).durable == model::DurablePosition{});
    hub.Send(again, SampledHistory(1));
    hub.Pass(2s);
    CHECK(Take(again).durable.low == 1);
    hub.history.Settle(Mode::kAccept);
    CHECK(hub.history.stored().size() == 1);
  }
}

TEST_CASE("samples that are refused reject the batch, and its state stays") {
  HistoryHub hub;
  hub.history.SetMode(Mode::kRefuse, "a label that nobody takes");
  TestStream& stream = hub.ConnectDelivery();
  hub.Send(stream, Sampled(1));
  hub.Pass(2s);
  const Told told = Take(stream);
  CHECK(told.applied == Ranges{{1, 1}});
  REQUIRE(told.rejected.size() == 1);
  CHECK(told.rejected[0] == model::Rejection{1, "a label that nobody takes"});
  CHECK(hub.Applied() == Seqs{1});
  CHECK(hub.Count("rejected_total", {"kind"}, "history") == 1);
}

TEST_CASE("without room no history may be sent, and live state goes on") {
  HistoryHub hub;
  hub.history.SetRoom(false);
  TestStream& stream = hub.Connect(DeliveryRegistration());
  const auto welcome = stream.Take<model::Welcome>().at(0);
  CHECK(welcome.credits.batches == 0);
  CHECK(welcome.credits.bytes > 0);
  hub.Send(stream, Sampled(1));
  CHECK(hub.Applied() == Seqs{1});
  hub.history.SetRoom(true);
  hub.Pass(2s);
  CHECK(Take(stream).credits == model::Credits{16, 4u << 20});
  hub.history.SetRoom(false);
  hub.Send(stream, Sampled(2));
  hub.AdvanceBy(20ms);
  CHECK(Take(stream).credits->batches == 0);
  // What was sent before it heard of that is taken.
  for (std::uint64_t seq = 100; seq < 116; ++seq) hub.Send(stream, SampledHistory(seq));
  CHECK(!stream.ended());
}

TEST_CASE("a state store that fails is asked again, and its samples are written once") {
  HistoryHub hub;
  TestStream& stream = hub.ConnectDelivery();
  hub.data.FailApply(absl::UnavailableError("down"));
  hub.Send(stream, Sampled(1));
  hub.Pass(30s);
  CHECK(Written(hub).empty());
  hub.data.FailApply(absl::OkStatus());
  hub.Pass(6s);
  CHECK(Written(hub) == Seqs{1});
  CHECK(Take(stream).durable.low == 1);
}

TEST_CASE("state that was lost is asked for again although its samples are safe") {
  HistoryHub hub;
  hub.data.SetDurableAfter(2s);
  TestStream& stream = hub.ConnectDelivery();
  hub.Send(stream, Sampled(1));
  hub.data.BreakContinuity();
  hub.Pass(3s);
  CHECK(Take(stream).durable.low == 0);
  CHECK(stream.Take<model::Replay>() == std::vector<model::Replay>{{"inst-a", {1, 1}}});
  hub.Send(stream, SampledHistory(1));
  hub.Pass(3s);
  CHECK(Take(stream).durable.low == 1);
  CHECK(hub.history.stored().size() == 1);
}

TEST_CASE("a batch in parts is one batch of samples") {
  HistoryHub hub;
  TestStream& stream = hub.ConnectDelivery();
  hub.Send(stream, Part(1, 0, 2, {"a"}));
  CHECK(Written(hub).empty());
  hub.Send(stream, Part(1, 1, 2, {"b"}));
  REQUIRE(hub.history.written().size() == 1);
  CHECK(hub.history.written()[0].snapshot.nodes->size() == 2);
}

TEST_CASE("history that cannot be read is rejected and stops nothing") {
  HistoryHub hub;
  TestStream& stream = hub.ConnectDelivery();
  model::Batch broken = MakeBatch(1, {"no name!"});
  broken.history_only = true;
  hub.Send(stream, broken);
  hub.Send(stream, SampledHistory(2));
  hub.AdvanceBy(20ms);
  const Told told = Take(stream);
  REQUIRE(told.rejected.size() == 1);
  CHECK(told.rejected[0].seq == 1);
  CHECK(Written(hub) == Seqs{2});
}

}  // namespace
}  // namespace clusterpulse::ingest
