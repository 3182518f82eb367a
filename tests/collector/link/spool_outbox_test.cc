#include <algorithm>
#include <set>
#include <thread>

#include <malloc.h>

#include "collector/link/history_part.h"
#include "collector/spool/posix_file_system.h"
#include "tests/collector/link/spool_rig.h"
#include "tests/support/process.h"

namespace clusterpulse::link {
namespace {

using namespace std::chrono_literals;
using model::GapCause;

using Sent = std::vector<std::string>;

std::vector<std::uint64_t> Seqs(const std::vector<model::Batch>& batches) {
  std::vector<std::uint64_t> seqs;
  for (const model::Batch& batch : batches) seqs.push_back(batch.seq);
  return seqs;
}

TEST_CASE("what a process had on disk the next one has, with the same numbers") {
  SpoolRig rig;
  rig.Start();
  const std::string instance = rig.Connect().instance;
  CHECK(instance.size() >= 32);
  for (int i = 0; i < 3; ++i) rig.AddNodes(/*full=*/true);
  CHECK(rig.Send() == Sent{"3", "h1", "h2"});
  rig.Applied(1, 3);
  rig.outbox->Durable({1, {}});

  rig.Restart();
  CHECK(rig.outbox->stats().batches == 2);
  CHECK(rig.outbox->stats().spooled == 2);
  CHECK(rig.AddNodes(true) == 4);
  const model::Registration registration = rig.Connect();
  CHECK(registration.instance == instance);
  CHECK(registration.held == model::SeqRange{2, 4});
  CHECK(registration.durable_low == 1);
  CHECK(registration.gaps.empty());
  CHECK(rig.Send() == Sent{"4", "h2", "h3"});
  rig.Applied(2, 4);
  rig.outbox->Durable({4, {}});
  CHECK(rig.outbox->stats().batches == 0);
  rig.Restart();
  CHECK(rig.outbox->stats().batches == 0);
  CHECK(rig.Describe().durable_low == 4);
  CHECK(rig.AddNodes() == 5);
}

TEST_CASE("a batch is on disk before it is sent, whatever the process does then") {
  SpoolRig rig;
  rig.Start();
  rig.Connect();
  for (int i = 1; i <= 20; ++i) {
    const std::uint64_t seq = rig.AddNodes(i % 3 == 0);
    REQUIRE_FALSE(rig.Drain().empty());
    if (i % 4 == 0) {
      rig.files.LosePower();
      rig.outbox.reset();
      rig.Start();
      rig.Connect();
    }
    const auto held = rig.Describe().held;
    CHECK(held == model::SeqRange{1, seq});
  }
}

TEST_CASE("history is what the hub makes samples of, and the same late as live") {
  SpoolRig rig;
  rig.Start();
  rig.Connect();
  model::Batch batch = NodeBatch("one", 3, 500);
  batch.snapshot.namespaces = {"a", "b"};
  batch.snapshot.info = model::ClusterInfo{.version = "1.29"};
  batch.snapshot.operators = std::vector{model::OlmOperator{.name = "op.v1", .display_name = "Op"}};
  batch.snapshot.cluster_operators =
      std::vector{model::ClusterOperator{.name = "dns", .message = "x", .available = true}};
  batch.sources = {SampleSource("a", 5), SampleSource("b", 2)};
  batch.sources[1].aggregations.clear();
  const std::uint64_t seq = rig.Add(batch, true);
  const model::Batch live = rig.Take().at(0);
  CHECK(live.snapshot == batch.snapshot);
  rig.Restart();
  rig.Connect();
  const model::Batch late = rig.Take().at(0);
  CHECK(late.history_only);
  CHECK(late.seq == seq);
  CHECK(late.id == live.id);
  CHECK(late.collected_at == live.collected_at);
  CHECK(late.interval == live.interval);
  CHECK(late.age == 5s);
  CHECK(late.snapshot == HistoryPart(live).snapshot);
  CHECK(late.sources == HistoryPart(live).sources);
  CHECK(late.snapshot.counts->namespaces == 2);
  CHECK_FALSE(late.snapshot.namespaces.has_value());
  CHECK_FALSE(late.snapshot.info.has_value());
  CHECK(late.snapshot.nodes->at(0).labels.empty());
  CHECK(late.sources.size() == 1);
}

TEST_CASE("a batch without history has its number and its record") {
  SpoolRig rig;
  rig.Start();
  model::Batch batch = NodeBatch("info");
  batch.snapshot = {};
  batch.snapshot.info = model::ClusterInfo{.version = "1.29"};
  CHECK(rig.Add(batch) == 1);
  CHECK(rig.AddNodes() == 2);
  rig.Restart();
  rig.Connect();
  const std::vector<model::Batch> batches = rig.Drain();
  CHECK(Seqs(batches) == std::vector<std::uint64_t>{1, 2});
  CHECK(batches[0].snapshot == model::ClusterSnapshot());
}

TEST_CASE("memory holds newest state; the backlog is on disk and drains from there, oldest first") {
  SpoolRig rig;
  rig.options.max_batches = 2;  // of no effect while the disk works
  rig.Start();
  constexpr std::uint64_t kBacklog = 3000;
  rig.AddSource("a");
  for (std::uint64_t i = 2; i <= kBacklog; ++i) rig.AddNodes();
  CHECK(rig.outbox->stats().batches == kBacklog);
  CHECK(rig.outbox->stats().spooled == kBacklog);
  CHECK(rig.outbox->stats().lost == 0);
  rig.Connect();
  const std::vector<model::Batch> batches = rig.Drain();
  REQUIRE(batches.size() == kBacklog);
  CHECK(Seqs({batches[0], batches[1], batches[2]}) == std::vector<std::uint64_t>{1, kBacklog, 2});
  CHECK_FALSE(batches[0].history_only);  // the newest of its source
  CHECK(std::is_sorted(batches.begin() + 2, batches.end(),
                       [](const model::Batch& a, const model::Batch& b) { return a.seq < b.seq; }));
  rig.outbox->Durable({kBacklog, {}});
  CHECK(rig.outbox->stats().batches == 0);
  CHECK(rig.files.TotalBytes() < (std::uint64_t{1} << 20));
}

TEST_CASE("memory does not grow with the backlog, on a real disk") {
  testing::TempDir dir;
  base::SeededRandom random(1);
  constexpr std::size_t kBacklog = 400, kPadding = 100'000;
  const auto in_use = [] { return mallinfo2().uordblks + mallinfo2().hblkhd; };
  Outbox outbox({.max_batches = 10,
                 .open_spool =
                     [&] {
                       return spool::Spool::Open({.dir = dir.File("spool")}, spool::PosixFileSystem(),
                                                 base::SystemClock(), random, {});
                     }},
                "memory", base::SystemClock());
  outbox.Add(NodeBatch("first", 1, kPadding), true);
  const std::size_t before = in_use();
  for (std::size_t i = 1; i < kBacklog; ++i) outbox.Add(NodeBatch("b", 1, kPadding), i % 10 == 0);
  CHECK(outbox.stats().spooled == kBacklog);
  CHECK(in_use() < before + kPadding * 20);  // of 40 MB
  outbox.SetPeer(SpoolRig::kOurs);
  std::size_t sent = 0;
  while (const auto message = outbox.Next()) {
    ++sent;
    const std::uint64_t seq = ReadBatch(*message).seq;
    outbox.Applied({{seq, seq}});
  }
  CHECK(sent == kBacklog);
  CHECK(in_use() < before + kPadding * 20);
}

TEST_CASE("after a restart one fresh state goes first, then what is left, oldest first") {
  SpoolRig rig;
  rig.Start();
  for (int i = 0; i < 5; ++i) rig.AddNodes();
  rig.Restart();
  rig.Connect();
  rig.AddNodes(/*full=*/true);
  CHECK(Seqs(rig.Drain()) == std::vector<std::uint64_t>{6, 1, 2, 3, 4, 5});
}

TEST_CASE("replay is answered from the disk, what is gone there becomes a gap") {
  SpoolRig rig;
  rig.Start();
  rig.Connect();
  for (int i = 0; i < 6; ++i) {
    rig.AddNodes();
    rig.Drain();
  }
  rig.outbox->Durable({2, {}});
  const std::string instance = rig.Describe().instance;
  CHECK_FALSE(rig.outbox->Replay({"another", {3, 4}}));
  CHECK(rig.Send().empty());
  CHECK_FALSE(rig.outbox->Replay({instance, {3, 4}}));
  CHECK(rig.Send() == Sent{"h3", "h4"});
  rig.Applied(3, 4);
  CHECK(rig.outbox->Replay({instance, {6, 100}}));  // it was the newest state
  CHECK(rig.Send() == Sent{"h6"});
  CHECK(rig.Gaps().empty());
  // Told durable and deleted; the hub does not have them after all.
  rig.outbox->Replay({instance, {1, 3}});
  CHECK(rig.Gaps() == "1-2 collector_lost");
  CHECK(rig.Describe().gaps.size() == 1);
  CHECK(rig.Send() == Sent{"h3"});
  rig.outbox->Durable({0, {{4, 4}}});
  CHECK(rig.Gaps() == "1-2 collector_lost");
  rig.outbox->Durable({2, {{4, 4}}});
  CHECK(rig.Gaps().empty());
}

TEST_CASE("a rejected batch is a gap until the hub counts it as durable, over restarts") {
  SpoolRig rig;
  rig.Start();
  rig.Connect();
  for (int i = 0; i < 3; ++i) rig.AddNodes();
  CHECK(rig.Send() == Sent{"3", "h1", "h2"});
  rig.outbox->Rejected({{2, "too large"}});
  CHECK(rig.Gaps() == "2-2 rejected");
  rig.Restart();
  CHECK(rig.Gaps() == "2-2 rejected");
  const model::Registration registration = rig.Connect();
  REQUIRE(registration.gaps.size() == 1);
  CHECK(registration.gaps[0].seqs == model::SeqRange{2, 2});
  CHECK(registration.gaps[0].from == registration.gaps[0].to);
  CHECK(Seqs(rig.Drain()) == std::vector<std::uint64_t>{1, 3});
  rig.outbox->Durable({3, {}});
  CHECK(rig.Gaps().empty());
  rig.Restart();
  CHECK(rig.Gaps().empty());
  CHECK(rig.AddNodes() == 4);
}

TEST_CASE("a spool that is too small loses the oldest, and says which") {
  SpoolRig rig;
  rig.spool_options.max_bytes = 64 << 10;
  rig.spool_options.segment_bytes = 16 << 10;
  rig.Start();
  constexpr std::uint64_t kMade = 600;
  for (std::uint64_t i = 0; i < kMade; ++i) rig.AddNodes();
  CHECK(rig.files.TotalBytes() <= 64 << 10);
  const auto gaps = rig.outbox->gaps();
  REQUIRE(gaps.size() == 1);
  CHECK(gaps[0].cause == GapCause::kSpoolOverflow);
  CHECK(gaps[0].seqs.first == 1);
  CHECK(gaps[0].from < gaps[0].to);
  const std::uint64_t lost = gaps[0].seqs.last;
  CHECK(rig.outbox->stats().lost == lost);
  CHECK(rig.outbox->stats().batches == kMade - lost);
  CHECK(rig.outbox->stats().lost < kMade);
  rig.Connect();
  CHECK(rig.Drain().size() == kMade - lost);
  rig.registry.Render();
  CHECK(rig.registry.Gauges("clusterpulse_collector_gaps", "", {"cause"}).With({"spool_overflow"}).Value() == 1);
}

TEST_CASE("state whose record fell out of the spool is still told") {
  SpoolRig rig;
  rig.spool_options.max_bytes = 64 << 10;
  rig.spool_options.segment_bytes = 16 << 10;
  rig.Start();
  rig.AddSource("a");
  for (int i = 0; i < 600; ++i) rig.AddNodes();
  rig.Connect();
  const std::vector<model::Batch> batches = rig.Take(2);
  REQUIRE(batches.size() == 2);
  CHECK(batches[0].seq == 1);
  CHECK_FALSE(batches[0].history_only);
  CHECK(batches[0].sources.at(0).rows.size() == 3);
  CHECK(batches[1].seq == 601);
}

TEST_CASE("a disk that fails: memory within BUFFER_SIZE, and back when it works") {
  SpoolRig rig;
  rig.options.max_batches = 3;
  rig.Start();
  CHECK(rig.Gauge("clusterpulse_collector_memory_only") == 0);
  rig.AddNodes();
  rig.AddNodes();
  const auto why = GENERATE(absl::ResourceExhaustedError("disk full"), absl::UnavailableError("EIO"));
  rig.BreakDisk(why);
  for (int i = 0; i < 5; ++i) rig.AddNodes();
  CHECK(rig.outbox->SpoolTrouble() == why);
  CHECK(rig.Logged("the spool does not work: batches are kept in memory only"));
  CHECK(rig.Gauge("clusterpulse_collector_memory_only") == 1);
  CHECK(rig.outbox->stats().spooled == 2);
  CHECK(rig.outbox->stats().batches == 5);
  CHECK(rig.Gaps() == "3-4 spool_overflow");
  // The hub gets all the same what there is.
  rig.Connect();
  CHECK(Seqs(rig.Drain()) == std::vector<std::uint64_t>{7, 1, 2, 5, 6});
  SECTION("it works again") {
    rig.RepairDisk();
    rig.AddNodes();
    CHECK(rig.outbox->SpoolTrouble().ok());
    CHECK(rig.Logged("the spool works again"));
    CHECK(rig.outbox->stats().spooled == 6);
    CHECK(rig.Gauge("clusterpulse_collector_memory_only") == 0);
    CHECK(rig.Gaps() == "3-4 spool_overflow");
    rig.Restart();
    CHECK(rig.Gaps() == "3-4 spool_overflow");
    rig.Connect();
    CHECK(Seqs(rig.Drain()) == std::vector<std::uint64_t>{1, 2, 5, 6, 7, 8});
    rig.outbox->Durable({8, {}});
    CHECK(rig.Gaps().empty());
  }
  SECTION("the process ends first: what was only in memory is lost, and known to be") {
    rig.Kill();
    rig.RepairDisk();
    rig.Start();
    rig.outbox->Add(NodeBatch("next"), true);
    const model::Registration registration = rig.Connect({}, 7);
    std::set<std::uint64_t> lost;
    for (const model::Gap& gap : rig.outbox->gaps()) {
      for (std::uint64_t seq = gap.seqs.first; seq <= gap.seqs.last; ++seq) lost.insert(seq);
    }
    CHECK(lost == std::set<std::uint64_t>{3, 4, 5, 6, 7});
    CHECK(Seqs(rig.Drain()) == std::vector<std::uint64_t>{8, 1, 2});
  }
}

TEST_CASE("a disk that fails is tried again, and not with each batch") {
  SpoolRig rig;
  rig.Start();
  rig.AddNodes();
  int tries = 0;
  rig.files.SetFault([&tries](spool::FakeFileSystem::Call call, const std::string&) {
    if (call == spool::FakeFileSystem::Call::kRead) return absl::OkStatus();
    ++tries;
    return absl::UnavailableError("EIO");
  });
  rig.AddNodes();
  const int first = tries;
  CHECK(first > 0);
  rig.outbox->Add(NodeBatch("at the same time"), false);
  CHECK(tries == first);
  rig.AddNodes();  // 30 s later
  CHECK(tries > first);
}

TEST_CASE("a full disk remembers the numbers of batches that it has no room for, and when they were made") {
  SpoolRig rig;
  rig.Start();
  rig.AddNodes();
  rig.FillDisk();
  rig.AddNodes();
  // What follows at once does not try again, and is numbered all the same.
  CHECK(rig.outbox->SpoolTrouble().code() == absl::StatusCode::kResourceExhausted);
  for (int i = 0; i < 3; ++i) {
    rig.outbox->Add(NodeBatch("at the same time"), false);
    rig.clock.AdvanceBy(100ms);
  }
  const std::uint64_t last = rig.outbox->stats().last_seq;
  SECTION("the next process gives others") {
    rig.Kill();
    rig.RepairDisk();
    rig.Start();
    CHECK(rig.AddNodes() == last + 1);
  }
  SECTION("and does not say that nobody watched") {
    for (int i = 0; i < 10; ++i) rig.AddNodes();
    rig.Kill();
    rig.RepairDisk();
    rig.Start();
    rig.AddNodes(true);
    rig.Connect();
    for (const model::Batch& batch : rig.Drain()) CHECK(batch.gaps.empty());
  }
}

TEST_CASE("numbers that the disk forgot are not given twice") {
  SpoolRig rig;
  rig.Start();
  rig.Connect();
  rig.AddNodes();
  rig.AddNodes();
  rig.Drain();
  // Nothing can be written, not even that numbers were given.
  const auto before = rig.Contents();
  rig.BreakDisk(absl::UnavailableError("EIO"));
  for (int i = 0; i < 3; ++i) {
    rig.AddNodes();
    rig.Drain();
  }
  rig.Kill();
  rig.RepairDisk();
  rig.Revert(before);
  rig.Start();
  // The new process does not know yet.
  rig.AddNodes(true);
  rig.AddNodes();
  CHECK(rig.outbox->stats().last_seq == 4);
  // The hub does: it has the state of 5, and of these 1 to 4 durable.
  const std::uint64_t hub_knows = 5;
  rig.outbox->Disconnected();
  rig.Describe();
  rig.outbox->Welcomed(hub_knows);
  rig.outbox->Durable({4, {}});
  rig.outbox->SetPeer(SpoolRig::kOurs);
  CHECK(rig.outbox->stats().last_seq == 7);
  CHECK(rig.Gaps() == "5-5 collector_lost");
  CHECK(rig.Logged("the spool forgot numbers"));
  const std::vector<model::Batch> batches = rig.Drain();
  CHECK(Seqs(batches) == std::vector<std::uint64_t>{7, 6});
  CHECK(batches[0].id == "b7");
  CHECK(batches[1].id == "b6");
  rig.outbox->Durable({7, {}});
  CHECK(rig.outbox->stats().batches == 0);
  CHECK(rig.Gaps().empty());
  // And once is enough.
  CHECK(rig.AddNodes() == 8);
  rig.Connect({7, {}}, 7);
  CHECK(rig.Send() == Sent{"8"});
}

TEST_CASE("numbers that the disk forgot and a process that met no hub gave again are not taken for sent") {
  SpoolRig rig;
  rig.Start();
  rig.Connect();
  rig.AddNodes();
  rig.AddNodes();
  rig.Drain();
  rig.outbox->Durable({2, {}});
  // From memory alone: 3 to 5.
  const auto before = rig.Contents();
  rig.BreakDisk(absl::UnavailableError("EIO"));
  for (int i = 0; i < 3; ++i) rig.AddNodes();
  rig.Drain();
  rig.Kill();
  rig.RepairDisk();
  rig.Revert(before);
  // The next one gives 3 and 4 again, to batches on disk, and loses 5.
  rig.Start();
  CHECK(rig.AddNodes() == 3);
  CHECK(rig.AddNodes() == 4);
  rig.FillDisk();
  CHECK(rig.AddNodes() == 5);
  const bool loses_power = GENERATE(false, true);
  if (loses_power) {
    rig.files.LosePower();
    rig.outbox.reset();
  } else {
    rig.Kill();
  }
  rig.RepairDisk();
  rig.clock.AdvanceBy(5s);
  rig.Start();
  CHECK(rig.AddNodes() == 6);
  const std::string lost = rig.Gaps();
  CHECK(lost == "5-5 collector_lost");
  SECTION("a hub that has the forgotten ones") {
    // What a gap's number means to the hub is not known before it spoke.
    const model::Registration registration = rig.Connect({5, {}}, 5);
    CHECK(registration.gaps.empty());
    CHECK(rig.Gaps() == "6-6 collector_lost, 9-9 collector_lost");
    CHECK(rig.outbox->TellGaps() == rig.outbox->gaps());
    CHECK(Seqs(rig.Drain()) == std::vector<std::uint64_t>{10, 7, 8});
    // The new numbers hold, and are of no other batches.
    rig.Restart();
    CHECK(rig.Gaps() == "6-6 collector_lost, 9-9 collector_lost");
    rig.AddNodes(true);
    rig.Connect({8, {}}, 10);
    CHECK(rig.Gaps() == "9-9 collector_lost");
    CHECK(Seqs(rig.Drain()) == std::vector<std::uint64_t>{11, 10});
  }
  SECTION("a hub that has none of them") {
    rig.Connect({2, {}}, 2);
    CHECK(rig.Gaps() == lost);
    CHECK(rig.outbox->TellGaps() == rig.outbox->gaps());
    CHECK(Seqs(rig.Drain()) == std::vector<std::uint64_t>{6, 3, 4});
    rig.Restart();
    rig.AddNodes(true);
    rig.Connect({2, {}}, 6);
    CHECK(Seqs(rig.Drain()) == std::vector<std::uint64_t>{7, 3, 4, 6});
  }
}

TEST_CASE("numbers get others while the disk is full, and keep them when it is not") {
  SpoolRig rig;
  rig.Start();
  rig.Connect();
  rig.AddNodes();
  const auto before = rig.Contents();
  rig.BreakDisk(absl::UnavailableError("EIO"));
  rig.AddNodes();
  rig.AddNodes();
  rig.Drain();
  rig.Kill();
  rig.RepairDisk();
  rig.Revert(before);
  rig.Start();
  CHECK(rig.AddNodes() == 2);
  const auto unshifted = rig.Contents();
  rig.BreakDisk();
  rig.Connect({3, {}}, 3);
  CHECK(Seqs(rig.Drain()) == std::vector<std::uint64_t>{4});
  CHECK(rig.outbox->stats().spooled == 1);
  SECTION("the process ends before there is room") {
    rig.Kill();
    rig.RepairDisk();
    rig.Revert(unshifted);
    rig.Start();
    CHECK(rig.Gaps().empty());
    rig.Connect({3, {}}, 4);
    CHECK(Seqs(rig.Drain()) == std::vector<std::uint64_t>{5});
    CHECK(rig.Gaps() == "4-4 collector_lost");
  }
  SECTION("there is room again") {
    rig.RepairDisk();
    rig.AddNodes();
    rig.Restart();
    rig.Connect({3, {}}, 5);
    CHECK(Seqs(rig.Drain()) == std::vector<std::uint64_t>{4, 5});
    CHECK(rig.Gaps().empty());
  }
}

TEST_CASE("what was offered before gets its number only when the disk has time, and that is late enough") {
  SpoolRig rig;
  bool is_asked = false;
  rig.options.on_disk_work = [&is_asked] { is_asked = true; };
  rig.Start();
  for (int i = 0; i < 3; ++i) rig.AddNodes();
  rig.Restart();
  CHECK(rig.AddNodes(true) == 4);
  rig.outbox->Disconnected();
  rig.Describe();
  rig.outbox->SetPeer({.upstream = true});
  CHECK(rig.Send() == Sent{"4"});
  rig.Connect({4, {}}, 4);
  CHECK(is_asked);
  CHECK(rig.Send().empty());
  CHECK(rig.AddNodes(true) == 6);
  CHECK(Seqs(rig.Drain()) == std::vector<std::uint64_t>{6, 5});
  CHECK(rig.Gaps().empty());
}

TEST_CASE("what was offered by a process whose numbers are known to be its own keeps them") {
  SpoolRig rig;
  rig.Start();
  rig.Connect();
  rig.AddNodes();
  rig.Drain();
  rig.outbox->Disconnected();
  rig.Describe();
  rig.outbox->SetPeer({.upstream = true});
  rig.AddNodes(true);
  CHECK(rig.Send() == Sent{"2"});
  // The hub was slow and has it, and the stream broke before it could say so.
  rig.Connect({1, {}}, 2);
  CHECK(Seqs(rig.Drain()) == std::vector<std::uint64_t>{2});
  CHECK(rig.Gaps().empty());
}

TEST_CASE("gaps that the hub was told are no numbers that were forgotten") {
  SpoolRig rig;
  rig.options.max_batches = 2;
  rig.Start();
  rig.Connect();
  rig.AddNodes();
  rig.Drain();
  rig.BreakDisk();
  rig.outbox->Disconnected();
  for (int i = 0; i < 5; ++i) rig.AddNodes();
  const model::Registration registration = rig.Describe();
  REQUIRE(registration.gaps.size() == 1);
  CHECK(registration.gaps[0].seqs == model::SeqRange{2, 4});
  rig.Connect({4, {}}, 1);
  rig.Connect({4, {}}, 4);
  CHECK(rig.Gaps().empty());
  CHECK(Seqs(rig.Drain()) == std::vector<std::uint64_t>{6, 5});
}

TEST_CASE("the link never writes to the disk") {
  SpoolRig rig;
  int asked = 0;
  rig.options.on_disk_work = [&asked] { ++asked; };
  rig.Start();
  const auto is_unwritten = [&](const auto& call) {
    const std::uint64_t before = rig.files.changes();
    const int asked_before = asked;
    call();
    CHECK(asked > asked_before);
    CHECK(rig.files.changes() == before);
    rig.outbox->WorkOnDisk();
    CHECK(rig.files.changes() > before);
    const std::uint64_t after = rig.files.changes();
    rig.outbox->WorkOnDisk();
    CHECK(rig.files.changes() == after);
  };
  for (int i = 0; i < 6; ++i) rig.AddNodes();
  rig.Connect();
  rig.Drain();
  is_unwritten([&] { rig.outbox->Durable({2, {}}); });
  is_unwritten([&] { rig.outbox->Rejected({{3, "no"}}); });
  rig.Restart();
  is_unwritten([&] { rig.Connect({2, {}}, 4); });
  SECTION("what is read is broken") {
    for (const std::string& path : rig.Files()) {
      std::string content = rig.files.Content(path);
      if (path.ends_with(".seg")) content.resize(200);
      rig.files.SetContent(path, content);
    }
    is_unwritten([&] { rig.Drain(); });
    CHECK(rig.Gaps() == "3-3 rejected, 4-6 collector_lost");
  }
  SECTION("numbers get others: nothing is sent meanwhile, and what the hub says is kept") {
    rig.Restart();
    rig.AddNodes();
    is_unwritten([&] {
      rig.Connect({4, {{7, 7}}}, 9);
      CHECK(rig.Send().empty());
      CHECK_FALSE(rig.outbox->Replay({rig.Describe().instance, {5, 6}}));
      rig.outbox->Rejected({{7, "no"}});
    });
    CHECK(rig.Gaps() == "8-9 collector_lost");
    CHECK(Seqs(rig.Drain()) == std::vector<std::uint64_t>{10, 5, 6});
  }
  SECTION("an upstream hub") {
    rig.outbox->Disconnected();
    rig.Describe();
    rig.outbox->SetPeer({.upstream = true});
    rig.AddNodes(true);
    const std::vector<model::Batch> batches = rig.Take();
    REQUIRE(batches.size() == 1);
    is_unwritten([&] { rig.outbox->UpstreamAcked({.batch_id = batches[0].id}); });
  }
}

TEST_CASE("what was offered to a hub that never said what it knows is not taken for sent") {
  SpoolRig rig;
  rig.Start();
  for (int i = 0; i < 6; ++i) rig.AddNodes();
  rig.Connect();
  rig.Drain();
  rig.outbox->Durable({6, {}});
  rig.Restart();
  rig.AddNodes(true);
  rig.AddNodes(true);
  // It may be one of ours that is slow.
  rig.outbox->Disconnected();
  rig.Describe();
  rig.outbox->SetPeer({.upstream = true});
  CHECK(rig.Send() == Sent{"8"});
  SECTION("and the stream ended") { rig.Connect({11, {}}, 11); }
  SECTION("and it says so now") {
    rig.outbox->Welcomed(11);
    rig.outbox->Durable({11, {}});
    rig.outbox->SetPeer(SpoolRig::kOurs);
  }
  const std::vector<model::Batch> batches = rig.Drain();
  CHECK(Seqs(batches) == std::vector<std::uint64_t>{13, 12});
  CHECK(batches[0].id == "b8");
  CHECK(batches[1].id == "b7");
  CHECK(rig.outbox->stats().durable == 0);
}

TEST_CASE("a spool that cannot be opened at the start: memory only, and its numbers once it can") {
  SpoolRig rig;
  rig.Start();
  rig.AddNodes();
  rig.AddNodes();
  const std::string instance = rig.Describe().instance;
  rig.Kill();
  rig.BreakDisk(absl::PermissionDeniedError("no access"));
  rig.Start();
  CHECK(rig.outbox->SpoolTrouble().code() == absl::StatusCode::kPermissionDenied);
  CHECK(rig.AddNodes(true) == 1);
  const bool is_connected = GENERATE(false, true);
  if (is_connected) {
    CHECK(rig.Connect().instance == "memory-2");
    CHECK(rig.Send() == Sent{"1"});
  }
  rig.RepairDisk();
  rig.AddNodes();
  if (is_connected) {
    // The hub knows these numbers: what it has not safe it must not lose.
    CHECK(rig.outbox->stats().last_seq == 2);
    CHECK_FALSE(rig.outbox->WantsNewStream());
    CHECK_FALSE(rig.outbox->SpoolTrouble().ok());
    rig.Applied(1, 1);
    rig.outbox->Durable({1, {}});
    CHECK(rig.outbox->WantsNewStream());
    rig.Connect();
  }
  CHECK(rig.Describe().instance == instance);
  CHECK_FALSE(rig.outbox->WantsNewStream());
  rig.AddNodes();
  rig.Connect();
  CHECK(Seqs(rig.Drain()) ==
        (is_connected ? std::vector<std::uint64_t>{4, 1, 2, 3} : std::vector<std::uint64_t>{5, 1, 2, 3, 4}));
  CHECK(rig.outbox->stats().spooled == rig.outbox->stats().batches);
}

TEST_CASE("a spool that can be opened later is used even when nothing ever becomes safe") {
  SpoolRig rig;
  rig.BreakDisk();
  rig.Start();
  rig.AddNodes();
  rig.Connect();
  CHECK(rig.Send() == Sent{"1"});
  rig.RepairDisk();
  rig.AddNodes();
  CHECK_FALSE(rig.outbox->WantsNewStream());
  rig.clock.AdvanceBy(30s);
  CHECK(rig.outbox->WantsNewStream());
}

TEST_CASE("a spool that can be opened later is used at once before a batch is pushed out of memory") {
  SpoolRig rig;
  rig.options.max_batches = 3;
  rig.BreakDisk();
  rig.Start();
  rig.AddNodes();
  rig.Connect();
  CHECK(rig.Send() == Sent{"1"});
  rig.RepairDisk();
  rig.AddNodes();
  CHECK_FALSE(rig.outbox->WantsNewStream());
  rig.outbox->Add(NodeBatch("at the same time"), false);
  CHECK(rig.outbox->WantsNewStream());
  rig.outbox->Disconnected();
  rig.Describe();
  rig.AddNodes();
  CHECK(rig.outbox->stats().spooled == 4);
  CHECK(rig.Gaps().empty());
}

TEST_CASE("what was lost in memory before there were numbers for it is told by the next batch") {
  SpoolRig rig;
  rig.options.max_batches = 2;
  rig.BreakDisk();
  rig.Start();
  for (int i = 0; i < 5; ++i) rig.AddNodes();
  CHECK(rig.Gaps() == "1-3 spool_overflow");
  rig.RepairDisk();
  rig.AddNodes();
  CHECK(rig.Gaps().empty());
  rig.Connect();
  const std::vector<model::Batch> batches = rig.Drain();
  CHECK(Seqs(batches) == std::vector<std::uint64_t>{3, 1, 2});
  REQUIRE(batches[0].gaps.size() == 1);
  CHECK(batches[0].gaps[0].cause == GapCause::kSpoolOverflow);
  CHECK(batches[0].gaps[0].seqs == model::SeqRange{});
  CHECK(batches[0].gaps[0].to - batches[0].gaps[0].from == 60s);
}

TEST_CASE("the first batch tells how long nobody watched") {
  struct Case {
    const char* name;
    std::chrono::seconds after;
    bool is_told;
  };
  for (const Case& c : {Case{"a restart", 5s, false}, {"two intervals", 30s, false}, {"longer", 31s, true}}) {
    DYNAMIC_SECTION(c.name) {
      SpoolRig rig;
      rig.Start();
      rig.AddNodes();
      const base::SystemTime last = rig.clock.Now();
      rig.Restart(c.after);
      rig.AddNodes();  // 30 s later, at an interval of 30 s
      const base::SystemTime first = rig.clock.Now();
      rig.AddNodes();
      rig.Restart();  // it is on disk
      rig.Connect();
      const std::vector<model::Batch> batches = rig.Drain();
      REQUIRE(batches.size() == 3);
      CHECK(batches[1].gaps == (c.is_told ? std::vector<model::Gap>{{{}, last, first, GapCause::kCollectorDown}}
                                          : std::vector<model::Gap>{}));
      CHECK(batches[0].gaps.empty());
      CHECK(batches[2].gaps.empty());
    }
  }
}

TEST_CASE("a clock that was set back tells of no hole") {
  SpoolRig rig;
  rig.Start();
  rig.AddNodes();
  rig.clock.SetSystem(rig.clock.Now() - 1h);
  rig.Restart();
  rig.AddNodes();
  rig.Connect();
  for (const model::Batch& batch : rig.Drain()) {
    CHECK(batch.gaps.empty());
    CHECK(batch.age < 10min);
  }
}

TEST_CASE("when the process ends only what is not on disk is waited for") {
  SpoolRig rig;
  rig.Start();
  for (int i = 0; i < 10; ++i) rig.AddNodes();
  rig.Connect();
  CHECK(rig.Send() == Sent{"10", "h1", "h2"});
  rig.outbox->Drain();
  CHECK_FALSE(rig.outbox->HasWaiting());
  rig.Applied(1, 10);
  CHECK(rig.Send().empty());
  CHECK(rig.outbox->stats().in_flight == 0);
  rig.AddNodes();
  CHECK(rig.outbox->HasWaiting());
  CHECK(rig.Send() == Sent{"11"});
  rig.BreakDisk();
  rig.AddNodes();
  rig.AddNodes();
  rig.Applied(11, 11);
  CHECK(rig.Send() == Sent{"13", "h12"});
}

TEST_CASE("an upstream hub gets nothing from the disk, and all it acknowledges is over") {
  SpoolRig rig;
  rig.Start();
  for (int i = 0; i < 4; ++i) rig.AddNodes();
  rig.Restart();
  rig.Describe();
  rig.outbox->SetPeer({.upstream = true});
  CHECK(rig.Send().empty());
  rig.AddNodes(true);
  const std::vector<model::Batch> batches = rig.Take();
  REQUIRE(batches.size() == 1);
  CHECK(batches[0].seq == 5);
  CHECK_FALSE(batches[0].history_only);
  CHECK(batches[0].snapshot.nodes->at(0).labels.size() == 1);
  rig.outbox->UpstreamAcked({.batch_id = batches[0].id});
  CHECK(rig.outbox->stats().batches == 0);
  CHECK(rig.outbox->stats().durable == 1);
  CHECK(rig.outbox->stats().lost == 4);
  rig.Restart();
  CHECK(rig.outbox->stats().batches == 0);
  CHECK(rig.AddNodes() == 6);
  // A hub of ours that comes later is told what the other one never got.
  rig.Describe();
  CHECK(rig.Gaps() == "1-4 link_down");
  CHECK(rig.Connect().durable == std::vector<model::SeqRange>{{5, 5}});
  CHECK(rig.outbox->TellGaps() == rig.outbox->gaps());
  rig.outbox->Durable({5, {}});
  CHECK(rig.Gaps().empty());
}

TEST_CASE("a collector that an upstream hub leaves again and again remembers what it got, within bounds") {
  SpoolRig rig;
  rig.Start();
  std::set<std::uint64_t> taken;
  std::uint64_t last = 0;
  for (int i = 0; i < 1100; ++i) {
    rig.AddNodes(true);
    rig.AddNodes(true);
    rig.outbox->Disconnected();
    rig.Describe();
    rig.outbox->SetPeer({.upstream = true});
    const std::vector<model::Batch> batches = rig.Take();
    REQUIRE(batches.size() == 1);
    rig.outbox->UpstreamAcked({.batch_id = batches[0].id});
    last = batches[0].seq;
    taken.insert(last);
  }
  CHECK(rig.outbox->gaps().size() <= DeliveryQueue::kMostGaps);
  rig.Restart();
  const std::vector<model::Gap> gaps = rig.outbox->gaps();
  CHECK(gaps.size() <= DeliveryQueue::kMostGaps);
  std::set<std::uint64_t> lost;
  for (const model::Gap& gap : gaps) {
    CHECK(gap.cause == GapCause::kLinkDown);
    for (std::uint64_t seq = gap.seqs.first; seq <= gap.seqs.last; ++seq) lost.insert(seq);
  }
  for (std::uint64_t seq = 1; seq <= last; ++seq) CHECK((lost.contains(seq) || taken.contains(seq)));
}

TEST_CASE("history that is too large for one message goes in parts, from the disk too") {
  SpoolRig rig;
  rig.Start();
  model::Batch big = NodeBatch("big", 12'000);
  for (model::Node& node : *big.snapshot.nodes) {
    node.memory_capacity = node.memory_allocatable = node.storage_capacity = node.storage_allocatable = 1LL << 40;
    node.cpu_allocatable = node.cpu_usage_percent = node.memory_usage_percent = node.pods.cpu_requested = 1.5;
    node.pods.running = node.pods.total = node.pods_capacity = node.pods_allocatable = 250;
  }
  rig.Add(big, true);
  rig.AddNodes(true);
  rig.Connect();
  const std::vector<model::Batch> batches = rig.Take();
  REQUIRE(batches.size() >= 3);
  CHECK(SpoolRig::Text(batches[0]) == "2");
  CHECK(batches[1].parts == batches.size() - 1);
  std::size_t nodes = 0;
  for (std::size_t i = 1; i < batches.size(); ++i) {
    CHECK(batches[i].history_only);
    CHECK(batches[i].seq == 1);
    nodes += batches[i].snapshot.nodes->size();
  }
  CHECK(nodes == 12'000);
  CHECK(batches[1].snapshot.counts.has_value());
}

TEST_CASE("a record that the disk broke is a gap, and the rest goes on") {
  SpoolRig rig;
  rig.Start();
  for (int i = 0; i < 3; ++i) rig.AddNodes();
  for (const std::string& path : rig.Files()) {
    if (path.find(".seg") == std::string::npos) continue;
    std::string content = rig.files.Content(path);
    const std::size_t at = content.find("b2");
    REQUIRE(at != std::string::npos);
    content[at] ^= 1;
    rig.files.SetContent(path, content);
  }
  rig.Connect();
  CHECK(Seqs(rig.Drain()) == std::vector<std::uint64_t>{3, 1});
  CHECK(rig.Gaps() == "2-2 collector_lost");
  CHECK(rig.outbox->stats().lost == 1);
}

TEST_CASE("a disk that cannot be read for now is asked again a little later") {
  SpoolRig rig;
  rig.Start();
  for (int i = 0; i < 3; ++i) rig.AddNodes();
  int reads = 0;
  rig.files.SetFault([&reads](spool::FakeFileSystem::Call call, const std::string&) {
    if (call != spool::FakeFileSystem::Call::kRead) return absl::OkStatus();
    ++reads;
    return absl::UnavailableError("EIO");
  });
  rig.Connect();
  CHECK(rig.Send() == Sent{"3"});
  CHECK(rig.Send().empty());
  CHECK(reads == 1);
  rig.registry.Render();
  CHECK(rig.registry.Counters("clusterpulse_collector_spool_errors_total", "").With({}).Value() == 1);
  rig.RepairDisk();
  CHECK(rig.Send().empty());
  rig.clock.AdvanceBy(DeliveryQueue::kDiskPause);
  CHECK(rig.Send() == Sent{"h1", "h2"});
  CHECK(rig.Gaps().empty());
}

TEST_CASE("batches may be written while others are read, sent and acknowledged") {
  SpoolRig rig;
  rig.options.max_batches = 1000;
  rig.Start();
  rig.Connect();
  constexpr std::uint64_t kBatches = 300;
  Outbox& outbox = *rig.outbox;
  std::jthread owner([&] {
    for (std::uint64_t i = 0; i < kBatches; ++i) outbox.Add(NodeBatch("b"), i % 3 == 0);
  });
  std::jthread reader([&] {
    for (int i = 0; i < 50; ++i) rig.registry.Render();
  });
  std::uint64_t broken = 0;
  while (outbox.stats().last_seq < kBatches || outbox.stats().batches > 0) {
    const auto message = outbox.Next();
    if (!message.has_value()) continue;
    const auto decoded = wire::DecodeFromCollector(*message);
    const auto* const batch = decoded.ok() ? std::get_if<model::Batch>(&*decoded) : nullptr;
    if (batch == nullptr) {
      ++broken;
      break;
    }
    outbox.Applied({{batch->seq, batch->seq}});
    outbox.Durable({0, {{batch->seq, batch->seq}}});
  }
  owner.join();
  reader.join();
  CHECK(broken == 0);
  CHECK(outbox.stats().durable == kBatches);
  CHECK(outbox.gaps().empty());
  // A process that stops has told the disk all that it was told.
  rig.outbox.reset();
  rig.Start();
  CHECK(rig.outbox->stats().batches == 0);
}

// Processes that end at any moment, disks that fail and lose power, a hub that dies: at the end each number that was
// given is durable, kept, or in a gap.
TEST_CASE("every number is durable, kept or in a gap, whatever happens") {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    SpoolRig rig(seed);
    const auto chance = [&](int percent) { return static_cast<int>(rig.random.Next() % 100) < percent; };
    rig.options.max_batches = 1 + rig.random.Next() % 4;
    if (chance(30)) {
      rig.spool_options.max_bytes = 64 << 10;
      rig.spool_options.segment_bytes = 16 << 10;
    }
    rig.Start();
    std::map<std::uint64_t, std::string> given;  // what the hub saw under each number
    std::set<std::uint64_t> durable;
    std::uint64_t state_seq = 0;
    std::string instance;
    bool is_up = false, is_broken = false;
    const auto position = [&] {
      model::DurablePosition out;
      while (durable.count(out.low + 1) > 0) ++out.low;
      for (const std::uint64_t seq : durable) {
        if (seq > out.low + 1) out.ranges.push_back({seq, seq});
      }
      return out;
    };
    const auto learn = [&](const std::vector<model::Gap>& gaps) {
      for (const model::Gap& gap : gaps) {
        for (std::uint64_t seq = gap.seqs.first; seq <= gap.seqs.last; ++seq) durable.insert(seq);
      }
    };
    const auto connect = [&] {
      rig.outbox->Disconnected();
      const std::string named = rig.Describe().instance;
      if (named != instance) {  // another spool, or none: its numbers are others
        given.clear();
        durable.clear();
        state_seq = 0;
        instance = named;
      }
      const model::Registration registration = rig.Describe();
      for (std::uint64_t seq = 1; seq <= registration.durable_low; ++seq) durable.insert(seq);
      for (const model::SeqRange& range : registration.durable) {
        for (std::uint64_t seq = range.first; seq <= range.last; ++seq) durable.insert(seq);
      }
      learn(registration.gaps);
      rig.Connect(position(), state_seq);
      is_up = true;
    };
    for (int step = 0; step < 150; ++step) {
      if (chance(40)) chance(70) ? rig.AddNodes(chance(20), chance(20) ? 2000 : 0) : rig.AddSource("s");
      if (!is_up && chance(30)) connect();
      if (is_up) {
        for (const model::Batch& batch : rig.Take(rig.random.Next() % 4)) {
          const auto [it, is_new] = given.try_emplace(batch.seq, batch.id);
          REQUIRE(it->second == batch.id);  // a number is given once
          if (!batch.history_only) state_seq = std::max(state_seq, batch.seq);
          if (chance(80)) rig.outbox->Applied({{batch.seq, batch.seq}});
        }
        if (chance(15)) {
          for (const auto& [seq, id] : given) {
            if (chance(60)) durable.insert(seq);
          }
          rig.outbox->Durable(position());
        }
        if (chance(5)) learn(rig.outbox->gaps());
        if (chance(3) && !given.empty()) rig.outbox->Rejected({{given.rbegin()->first, "no"}});
        if (chance(3)) rig.outbox->Replay({instance, {1, 1 + rig.random.Next() % 50}});
      }
      if (chance(5)) is_up = false;
      if (chance(4)) {
        is_broken = !is_broken;
        is_broken ? rig.BreakDisk(chance(50) ? absl::UnavailableError("EIO") : absl::ResourceExhaustedError("full"))
                  : rig.RepairDisk();
      }
      if (chance(4)) {
        if (chance(50)) {
          rig.Kill();
        } else {
          rig.files.LosePower();
          rig.outbox.reset();
        }
        rig.Start();
        is_up = false;
      }
      if (!is_up) rig.outbox->Disconnected();
    }
    // Peace.
    rig.RepairDisk();
    rig.AddNodes(true);
    rig.AddNodes(true);
    for (int round = 0; round < 3; ++round) {
      connect();
      for (const model::Batch& batch : rig.Drain()) {
        const auto [it, is_new] = given.try_emplace(batch.seq, batch.id);
        REQUIRE(it->second == batch.id);
        durable.insert(batch.seq);
      }
      learn(rig.outbox->gaps());
      rig.outbox->Durable(position());
    }
    const auto stats = rig.outbox->stats();
    for (std::uint64_t seq = 1; seq <= stats.last_seq; ++seq) {
      CAPTURE(seq, given.count(seq));
      CHECK(durable.count(seq) == 1);
    }
    CHECK(stats.batches == 0);
    CHECK(stats.in_flight == 0);
    CHECK(rig.outbox->gaps().empty());
    CHECK(position() == model::DurablePosition{stats.last_seq, {}});
    CHECK(stats.durable_low == stats.last_seq);
  }
}

}  // namespace
}  // namespace clusterpulse::link
