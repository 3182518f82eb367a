#include "hub/ingest/sample_waits.h"

#include <catch2/catch.hpp>

#include "common/base/testing/manual_clock.h"
#include "hub/history/testing/fake_history.h"

namespace clusterpulse::ingest {
namespace {

using namespace std::chrono_literals;
using history::FakeHistoryWriter;
using Fate = SampleWaits::Fate;
using Mode = FakeHistoryWriter::Mode;

class Rig {
 public:
  Rig() { writer.SetDurableAfter(10s); }

  void Add(std::uint64_t seq) {
    model::Batch batch;
    batch.cluster = "c";
    batch.seq = seq;
    batch.collected_at = At(seq);
    waits.Add(seq, batch.collected_at, batch.collected_at, writer.Write(batch), clock.Steady());
  }
  static base::SystemTime At(std::uint64_t seq) { return base::SystemTime(std::chrono::seconds(1000 + seq)); }
  std::vector<SampleWaits::News> Step() { return waits.Step(clock.Steady()); }
  // Of this fate, in the time that passes, as numbers.
  std::vector<std::uint64_t> Pass(std::chrono::seconds time, Fate fate) {
    std::vector<std::uint64_t> seqs;
    for (std::chrono::milliseconds left = time; left >= 0ms; left -= 250ms) {
      for (const SampleWaits::News& news : Step()) {
        CHECK(news.fate == fate);
        CHECK(news.from == At(news.seqs.first));
        CHECK(news.to == At(news.seqs.last));
        for (std::uint64_t seq = news.seqs.first; seq <= news.seqs.last; ++seq) seqs.push_back(seq);
      }
      if (left > 0ms) clock.AdvanceBy(250ms);
    }
    return seqs;
  }

  base::ManualClock clock;
  FakeHistoryWriter writer{clock};
  SampleWaits waits{&writer};
};

using Seqs = std::vector<std::uint64_t>;

TEST_CASE("samples are durable so long after they were accepted, not after they were written") {
  Rig rig;
  rig.writer.SetMode(Mode::kHang);
  rig.Add(1);
  CHECK(rig.Pass(20s, Fate::kDurable).empty());
  rig.writer.Settle(Mode::kAccept);
  CHECK(rig.Pass(9s, Fate::kDurable).empty());
  CHECK(rig.Pass(2s, Fate::kDurable) == Seqs{1});
  CHECK(rig.waits.empty());
  CHECK(rig.waits.next_look() == base::SteadyTime::max());
}

TEST_CASE("they may become durable, and be lost, out of order") {
  Rig rig;
  rig.writer.SetMode(Mode::kHang);
  rig.Add(1);
  rig.writer.SetMode(Mode::kAccept);
  rig.Add(2);
  rig.writer.SetMode(Mode::kDrop);
  rig.Add(3);
  CHECK(rig.Pass(1s, Fate::kLost) == Seqs{3});
  CHECK(rig.Pass(10s, Fate::kDurable) == Seqs{2});
  rig.writer.Settle(Mode::kDrop);
  CHECK(rig.Pass(6s, Fate::kLost) == Seqs{1});
}

TEST_CASE("a refusal says why") {
  Rig rig;
  rig.writer.SetMode(Mode::kRefuse, "no such label");
  rig.Add(7);
  const auto news = rig.Step();
  REQUIRE(news.size() == 1);
  CHECK(news[0].fate == Fate::kRefused);
  CHECK(news[0].seqs == model::SeqRange{7, 7});
  CHECK(news[0].why == "no such label");
}

TEST_CASE("what was accepted before the store was lost is lost, unless it was durable") {
  Rig rig;
  rig.Add(1);
  CHECK(rig.Pass(10s, Fate::kDurable) == Seqs{1});
  rig.Add(2);
  rig.clock.AdvanceBy(1s);
  rig.writer.Crash();
  rig.Add(3);
  CHECK(rig.Pass(1s, Fate::kLost) == Seqs{2});
  CHECK(rig.Pass(10s, Fate::kDurable) == Seqs{3});
}

TEST_CASE("nothing is durable on the word of a store that fell silent, and what waits for it stays small") {
  Rig rig;
  rig.writer.SetSilent(true);
  for (std::uint64_t seq = 1; seq <= 5000; ++seq) {
    rig.Add(seq);
    REQUIRE(rig.Step().empty());
    rig.clock.AdvanceBy(1s);
  }
  CHECK(rig.waits.size() <= 32);
  rig.writer.SetSilent(false);
  Seqs durable = rig.Pass(5s, Fate::kDurable);
  REQUIRE(durable.size() >= 4990);
  for (std::size_t i = 0; i < durable.size(); ++i) REQUIRE(durable[i] == i + 1);
  CHECK(rig.Pass(15s, Fate::kDurable).back() == 5000);
}

TEST_CASE("what is accepted all the time becomes durable all the time") {
  Rig rig;
  std::size_t durable = 0;
  for (std::uint64_t seq = 1; seq <= 2000; ++seq) {
    rig.Add(seq);
    for (const SampleWaits::News& news : rig.Step()) {
      REQUIRE(news.fate == Fate::kDurable);
      durable += news.seqs.last - news.seqs.first + 1;
    }
    rig.clock.AdvanceBy(20ms);
    if (seq > 600) REQUIRE(durable + 560 >= seq);
  }
  CHECK(rig.waits.size() <= 64);
}

TEST_CASE("numbers that are apart stay apart") {
  Rig rig;
  for (const std::uint64_t seq : {5, 1, 2, 9, 3}) rig.Add(seq);
  rig.Step();
  CHECK(rig.waits.size() == 4);
  Seqs durable = rig.Pass(11s, Fate::kDurable);
  CHECK(durable == Seqs{5, 1, 2, 9, 3});
}

TEST_CASE("what waits long is asked for less often") {
  Rig rig;
  rig.writer.SetMode(Mode::kHang);
  rig.Add(1);
  CHECK(rig.waits.next_look() == rig.clock.Steady() + 500ms);
  rig.clock.AdvanceBy(10s);
  rig.Step();
  CHECK(rig.waits.next_look() == rig.clock.Steady() + 2500ms);
  rig.clock.AdvanceBy(1h);
  rig.Step();
  CHECK(rig.waits.next_look() == rig.clock.Steady() + 5s);
}

}  // namespace
}  // namespace clusterpulse::ingest
