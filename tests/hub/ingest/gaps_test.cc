// What a stream hears of holes, and what follows from it.
#include "tests/hub/ingest/harness.h"

namespace clusterpulse::ingest {
namespace {

using namespace std::chrono_literals;
using history::FakeHistoryWriter;
using model::Gap;
using model::GapCause;
using Mode = FakeHistoryWriter::Mode;

const base::SystemTime kStart{std::chrono::seconds(1933135000)};
base::SystemTime At(std::uint64_t seconds) { return kStart + std::chrono::seconds(seconds); }

model::Batch Collected(std::uint64_t seq) {
  model::Batch batch = MakeBatch(seq);
  batch.collected_at = At(seq);
  return batch;
}

Gap Numbered(std::uint64_t first, std::uint64_t last, GapCause cause = GapCause::kSpoolOverflow) {
  return {{first, last}, At(first), At(last), cause};
}

model::DurablePosition LastDurable(TestStream& stream) {
  const auto acks = stream.Take<model::DeliveryAck>();
  return acks.empty() ? model::DurablePosition{} : acks.back().durable;
}

std::vector<store::KnownGap> Gaps(const TestHub& hub) { return hub.State().gaps.gaps(); }

TEST_CASE("numbers that are lost are written down, and durable once that is") {
  TestHub hub;
  hub.data.SetDurableAfter(2s);
  model::Registration registration = DeliveryRegistration();
  registration.gaps = {Numbered(1, 3)};
  registration.held = {4, 5};
  TestStream& stream = hub.Connect(registration);
  CHECK(stream.Take<model::Welcome>().at(0).durable == model::DurablePosition{});
  REQUIRE(Gaps(hub).size() == 1);
  CHECK(Gaps(hub)[0].seqs == model::SeqRange{1, 3});
  CHECK(Gaps(hub)[0].instance == "inst-a");
  CHECK(Gaps(hub)[0].cause == GapCause::kSpoolOverflow);
  hub.AdvanceBy(1s);
  CHECK(LastDurable(stream).low == 0);
  hub.AdvanceBy(1s);
  CHECK(LastDurable(stream).low == 3);
  const int writes = hub.State().gap_writes;

  // A heartbeat tells it again, and another.
  model::Heartbeat heartbeat;
  heartbeat.cluster = kCluster;
  heartbeat.gaps = {Numbered(1, 3), Numbered(4, 4)};
  hub.Send(stream, heartbeat);
  hub.Send(stream, heartbeat);
  hub.Pass(3s);
  CHECK(LastDurable(stream).low == 4);
  CHECK(hub.State().gap_writes == writes + 1);
  CHECK(hub.State().gaps.Summary().count == 1);
}

TEST_CASE("what the store may have lost of them is written again") {
  TestHub hub;
  hub.data.SetDurableAfter(2s);
  model::Registration registration = DeliveryRegistration();
  registration.gaps = {Numbered(1, 3)};
  TestStream& stream = hub.Connect(registration);
  const int writes = hub.State().gap_writes;
  hub.data.BreakContinuity();
  hub.AdvanceBy(2s);
  CHECK(LastDurable(stream).low == 0);
  CHECK(hub.State().gap_writes == writes + 1);
  hub.AdvanceBy(2s);
  CHECK(LastDurable(stream).low == 3);
}

TEST_CASE("a ledger that cannot be written holds no batch up") {
  TestHub hub;
  hub.data.FailGaps(absl::FailedPreconditionError("the key holds another type"));
  model::Registration registration = DeliveryRegistration();
  registration.gaps = {Numbered(1, 1)};
  TestStream& stream = hub.Connect(registration);
  for (std::uint64_t seq = 2; seq < 20; ++seq) {
    hub.Send(stream, Collected(seq));
    CHECK(hub.Applied().back() == seq);
    hub.AdvanceBy(1s);
  }
  CHECK(LastDurable(stream) == model::DurablePosition{0, {{2, 19}}});
  hub.data.FailGaps(absl::OkStatus());
  hub.Pass(7s);
  CHECK(LastDurable(stream).low == 19);
}

TEST_CASE("a hole that a batch ends is written with it, and the batch is durable with both") {
  TestHub hub;
  hub.data.SetDurableAfter(2s);
  TestStream& stream = hub.ConnectDelivery();
  model::Batch batch = Collected(7);
  batch.gaps = {{{}, At(1), At(7), GapCause::kCollectorDown}};
  SECTION("as state") {
    hub.Send(stream, batch);
    CHECK(hub.Applied().size() == 1);
  }
  SECTION("as history") {
    batch.history_only = true;
    hub.Send(stream, batch);
    CHECK(hub.Applied().empty());
    hub.AdvanceBy(1s);
    CHECK(LastDurable(stream) == model::DurablePosition{});
  }
  SECTION("in parts") {
    batch.parts = 2;
    hub.Send(stream, batch);
    model::Batch rest = Part(7, 1, 2, {"n2"});
    hub.Send(stream, rest);
    CHECK(hub.Applied().size() == 1);
  }
  REQUIRE(Gaps(hub).size() == 1);
  CHECK(Gaps(hub)[0].cause == GapCause::kCollectorDown);
  CHECK(Gaps(hub)[0].from == At(1));
  CHECK(Gaps(hub)[0].to == At(7));
  hub.AdvanceBy(2s);
  CHECK(LastDurable(stream) == model::DurablePosition{0, {{7, 7}}});
  // It comes again.
  batch.history_only = true;
  batch.parts = 0;
  hub.Send(stream, batch);
  CHECK(Gaps(hub).size() == 1);
}

TEST_CASE("what is rejected is a hole, and does not hold up what is durable") {
  HistoryHub hub;
  TestStream& stream = hub.ConnectDelivery();
  hub.Send(stream, Collected(1));
  model::Batch broken = MakeBatch(2, {"no name!"});
  broken.collected_at = At(2);
  hub.Send(stream, broken);
  hub.Send(stream, Collected(3));
  hub.history.SetMode(Mode::kRefuse, "no");
  hub.Send(stream, Collected(4));
  hub.history.SetMode(Mode::kAccept);
  hub.Send(stream, Collected(5));
  hub.Pass(3s);
  CHECK(LastDurable(stream).low == 5);
  REQUIRE(Gaps(hub).size() == 2);
  CHECK(Gaps(hub)[0].seqs == model::SeqRange{2, 2});
  CHECK(Gaps(hub)[1].seqs == model::SeqRange{4, 4});
  for (const store::KnownGap& gap : Gaps(hub)) {
    CHECK(gap.cause == GapCause::kRejected);
    CHECK(gap.instance == "inst-a");
    CHECK(gap.from == At(gap.seqs.first));
  }
}

TEST_CASE("an instance that takes another's place tells what that one lost") {
  TestHub hub;
  hub.data.SetDurableAfter(2s);
  TestStream& stream = hub.ConnectDelivery("inst-a");
  for (const std::uint64_t seq : {1, 2, 4, 5}) hub.Send(stream, Collected(seq));
  hub.Pass(12s);  // 1, 2, 4 and 5 are durable, and remembered
  hub.Send(stream, Collected(8));
  hub.Gone(stream);
  hub.data.OpenLink(kCluster, At(8));
  TestStream& other = hub.ConnectDelivery("inst-b");
  CHECK(!other.ended());
  std::vector<model::SeqRange> lost;
  for (const store::KnownGap& gap : Gaps(hub)) {
    REQUIRE(gap.to.has_value());
    if (gap.cause != GapCause::kCollectorLost) continue;
    lost.push_back(gap.seqs);
    CHECK(gap.instance == "inst-a");
    CHECK(gap.from == At(5));  // the newest that is durable
    CHECK(*gap.to == hub.clock.Now());
  }
  CHECK(lost == std::vector<model::SeqRange>{{3, 3}, {6, 8}});
  CHECK(hub.State().gaps.open_link() == nullptr);
  CHECK(hub.State().gaps.Summary().count == 3);  // and the link, which was down
  // Once.
  hub.Gone(other);
  hub.ConnectDelivery("inst-b");
  CHECK(hub.State().gaps.Summary().count == 3);
}

TEST_CASE("a collector of another kind in the place of one that was lost") {
  TestHub hub;
  hub.data.SetDurableAfter(2s);
  SECTION("ours after upstream's: what that one did not make does not come") {
    TestStream& stream = hub.ConnectUpstream();
    hub.Send(stream, Collected(1));
    hub.Gone(stream);
    hub.data.OpenLink(kCluster, At(1));
    hub.ConnectDelivery("inst-a");
    hub.Run();
    CHECK(hub.State().gaps.open_link() == nullptr);
    REQUIRE(Gaps(hub).size() == 1);
    CHECK(Gaps(hub)[0].cause == GapCause::kLinkDown);
    CHECK(Gaps(hub)[0].from == At(1));
    CHECK(Gaps(hub)[0].to == hub.clock.Now());
  }
  SECTION("upstream's after ours: what that one kept does not come") {
    TestStream& stream = hub.ConnectDelivery("inst-a");
    hub.Send(stream, Collected(1));
    hub.Pass(12s);
    hub.Send(stream, Collected(2));
    hub.Gone(stream);
    hub.ConnectUpstream();
    REQUIRE(Gaps(hub).size() == 1);
    CHECK(Gaps(hub)[0].cause == GapCause::kCollectorLost);
    CHECK(Gaps(hub)[0].seqs == model::SeqRange{2, 2});
  }
}

TEST_CASE("an instance that lost nothing leaves no hole") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery("inst-a");
  hub.Send(stream, Collected(1));
  SECTION("long ago") { hub.Pass(12s); }
  SECTION("what it made last was only just durable") {}
  hub.Gone(stream);
  hub.ConnectDelivery("inst-b");
  CHECK(Gaps(hub).empty());
}

TEST_CASE("a lost link ends when all that was held has come") {
  TestHub hub;
  hub.data.OpenLink(kCluster, At(1));
  model::Registration registration = DeliveryRegistration();
  SECTION("nothing was") {
    hub.Connect(registration);
    CHECK(Gaps(hub).empty());
  }
  SECTION("some was") {
    registration.held = {1, 4};
    registration.gaps = {Numbered(2, 2)};
    TestStream& stream = hub.Connect(registration);
    hub.Send(stream, Collected(4));
    for (const std::uint64_t seq : {1, 3}) {
      hub.Pass(2s);
      CHECK(hub.State().gaps.open_link() != nullptr);
      model::Batch batch = Collected(seq);
      batch.history_only = true;
      hub.Send(stream, batch);
    }
    hub.Pass(2s);
    REQUIRE(Gaps(hub).size() == 1);
    CHECK(Gaps(hub)[0].cause == GapCause::kSpoolOverflow);
  }
  SECTION("of an upstream collector, which made nothing meanwhile, with its first batch") {
    TestStream& stream = hub.ConnectUpstream();
    CHECK(hub.State().gaps.open_link() != nullptr);
    hub.Send(stream, Collected(1));
    hub.Run();
    REQUIRE(Gaps(hub).size() == 1);
    CHECK(Gaps(hub)[0].cause == GapCause::kLinkDown);
    CHECK(Gaps(hub)[0].from == At(1));
    CHECK(Gaps(hub)[0].to == hub.clock.Now());
  }
}

TEST_CASE("a stream that was silent in the store for long ends its link once more") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  hub.Send(stream, Collected(1));
  hub.data.Fail(absl::UnavailableError("down"));
  hub.Pass(100s);
  // The leader, who can reach the store, calls it lost; then so can this replica.
  hub.data.Fail(absl::OkStatus());
  hub.data.OpenLink(kCluster, At(1));
  model::Heartbeat heartbeat;
  heartbeat.cluster = kCluster;
  heartbeat.last_seq = 2;
  hub.Send(stream, heartbeat);
  hub.Pass(10s);
  CHECK(hub.State().gaps.open_link() != nullptr);  // 2 is missing
  hub.Send(stream, Collected(2));
  hub.Pass(3s);
  CHECK(Gaps(hub).empty());
}

TEST_CASE("what is rejected of an upstream collector is a hole from what came before") {
  TestHub hub;
  TestStream& stream = hub.ConnectUpstream();
  const auto send = [&](int at, const char* node) {
    model::Batch batch = MakeBatch(0, {node});
    batch.collected_at = At(static_cast<std::uint64_t>(at));
    hub.Send(stream, batch);
    hub.AdvanceBy(60s);
  };
  send(60, "n1");
  for (int i = 2; i <= 6; ++i) send(60 * i, "no name!");
  send(420, "n1");
  REQUIRE(Gaps(hub).size() == 1);
  CHECK(Gaps(hub)[0].cause == GapCause::kRejected);
  CHECK(Gaps(hub)[0].from == At(60));
  CHECK(Gaps(hub)[0].to == At(360));
}

TEST_CASE("samples of an upstream collector are best effort, and what is lost of them is known") {
  HistoryHub hub;
  TestStream& stream = hub.ConnectUpstream();
  std::uint64_t at = 0;
  const auto send = [&](int count) {
    for (int i = 0; i < count; ++i) {
      model::Batch batch = Collected(0);
      batch.collected_at = At(at += 60);
      hub.Send(stream, batch);
      hub.AdvanceBy(60s);
    }
  };
  send(2);
  hub.history.SetMode(Mode::kDrop);
  hub.history.SetRoom(false);
  send(100);
  hub.history.SetMode(Mode::kAccept);
  hub.history.SetRoom(true);
  send(2);
  hub.Pass(10s);
  CHECK(stream.Take<model::UpstreamAck>().size() == 104);
  CHECK(hub.Applied().size() == 104);
  CHECK(hub.history.stored().size() == 4);
  REQUIRE(Gaps(hub).size() == 1);
  CHECK(Gaps(hub)[0].cause == GapCause::kStoreDown);
  CHECK(Gaps(hub)[0].seqs == model::SeqRange{});
  CHECK(Gaps(hub)[0].from == At(120));  // what came last before
  CHECK(Gaps(hub)[0].to == At(102 * 60));
}

TEST_CASE("the time of the newest durable batch is remembered") {
  HistoryHub hub;
  hub.history.SetMode(Mode::kHang);
  TestStream& stream = hub.ConnectDelivery();
  hub.Send(stream, Collected(5));
  hub.Pass(12s);
  CHECK(hub.State().newest_durable == base::SystemTime{});
  hub.history.Settle(Mode::kAccept);
  hub.Pass(16s);
  CHECK(hub.State().newest_durable == At(5));
  hub.history.SetMode(Mode::kAccept);
  model::Batch older = Collected(4);
  older.history_only = true;
  hub.Send(stream, older);
  hub.Pass(12s);
  CHECK(hub.State().newest_durable == At(5));
  hub.Gone(stream);
  TestStream& again = hub.ConnectDelivery();
  hub.Send(again, Collected(6));
  hub.Send(again, Collected(7));
  CHECK(hub.State().newest_durable >= At(5));
}

}  // namespace
}  // namespace clusterpulse::ingest
