// A collector that keeps to the protocol, over streams that break, towards stores that fail in every way there is: what
// was told durable is never lost, and in the end everything is durable, once in effect.
#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <set>

#include "common/model/seq_set.h"
#include "tests/hub/ingest/harness.h"

namespace clusterpulse::ingest {
namespace {

using namespace std::chrono_literals;
using Mode = history::FakeHistoryWriter::Mode;

class Model {
 public:
  explicit Model(unsigned seed) : random_(seed) {
    hub_.data.SetDurableAfter(2s);
    hub_.history.SetDurableAfter(10s);
  }

  void Step() {
    switch (Below(16)) {
      case 0:
        made_ += Below(3);
        break;
      case 1:
        if (Below(3) == 0) Disconnect();
        break;
      case 2:
        hub_.data.FailApply(Below(2) == 0 ? absl::UnavailableError("down") : absl::OkStatus());
        break;
      case 3:
        hub_.history.SetMode(static_cast<Mode>(Below(3)));  // accepts, hangs or drops
        break;
      case 4:
        hub_.history.SetRoom(Below(2) == 0);
        break;
      case 5:
        hub_.history.Settle(Below(4) == 0 ? Mode::kDrop : Mode::kAccept, Below(5));
        break;
      case 6:
        if (Below(4) == 0) hub_.history.Crash();
        break;
      case 7:
        if (Below(4) == 0) hub_.data.BreakContinuity();
        break;
      case 8:
        hub_.history.SetSilent(Below(3) == 0);
        hub_.data.SetSilent(Below(4) == 0);
        break;
      case 9:
        if (Below(3) == 0) gaps_.insert(PickUnsafe());  // its spool lost it
        gaps_.erase(0);
        break;
      case 10:
        if (stream_ != nullptr && stream_->reading()) Send(Heartbeat());
        break;
      default:
        Talk();
    }
    hub_.AdvanceBy(std::chrono::milliseconds(Below(3) == 0 ? Below(5000) : Below(50)));
    Listen();
    CheckSafe();
  }

  // Nothing fails any more.
  void Settle() {
    hub_.data.FailApply(absl::OkStatus());
    hub_.history.SetMode(Mode::kAccept);
    hub_.history.SetRoom(true);
    hub_.history.Settle(Mode::kAccept);
    hub_.history.SetSilent(false);
    hub_.data.SetSilent(false);
    for (int i = 0; i < 600 && durable_.position().low < made_; ++i) {
      Talk();
      if (i % 30 == 0 && stream_ != nullptr && stream_->reading()) Send(Heartbeat());
      hub_.AdvanceBy(500ms);
      Listen();
      CheckSafe();
    }
    CAPTURE(made_, durable_.position().ranges.size());
    CHECK(durable_.position().low == made_);
    // What is not lost is there; no number is both.
    std::set<std::uint64_t> in_ledger;
    const auto stored = hub_.history.stored();
    const store::GapLedger ledger = hub_.State().gaps;
    for (const store::KnownGap& gap : ledger.gaps()) {
      CHECK(gap.instance == "inst-a");
      for (std::uint64_t seq = gap.seqs.first; seq <= gap.seqs.last; ++seq) CHECK(in_ledger.insert(seq).second);
    }
    CHECK(stored.size() <= made_);
    for (std::uint64_t seq = 1; seq <= made_; ++seq) {
      CAPTURE(seq);
      // What its spool lost may have come before that.
      if (in_ledger.contains(seq)) {
        CHECK(gaps_.contains(seq));
      } else {
        REQUIRE(stored.contains({kCluster, Collected(seq)}));
      }
    }
    const std::vector<std::uint64_t> applied = hub_.Applied();
    CHECK(std::is_sorted(applied.begin(), applied.end()));
    CHECK(std::adjacent_find(applied.begin(), applied.end()) == applied.end());
  }

 private:
  std::uint64_t Below(std::uint64_t n) { return random_() % n; }
  static base::SystemTime Collected(std::uint64_t seq) {
    return base::SystemTime(std::chrono::seconds(1933135000 + seq));
  }
  // A number that may still be lost; 0: none.
  std::uint64_t PickUnsafe() {
    if (made_ == 0) return 0;
    const std::uint64_t seq = 1 + Below(made_);
    return durable_.Contains(seq) || seq == made_ ? 0 : seq;
  }
  std::vector<model::Gap> OpenGaps() const {
    std::vector<model::Gap> open;
    for (const std::uint64_t seq : gaps_) {
      if (durable_.Contains(seq)) continue;
      open.push_back({{seq, seq}, Collected(seq), Collected(seq), model::GapCause::kSpoolOverflow});
    }
    return open;
  }
  model::Heartbeat Heartbeat() const {
    model::Heartbeat heartbeat;
    heartbeat.cluster = kCluster;
    heartbeat.last_seq = made_;
    heartbeat.gaps = OpenGaps();
    return heartbeat;
  }

  void Connect() {
    model::Registration registration = DeliveryRegistration();
    registration.durable_low = durable_.position().low;
    registration.gaps = OpenGaps();
    if (durable_.position().low < made_) registration.held = {durable_.position().low + 1, made_};
    stream_ = &hub_.Connect(registration);
    sent_ = {};
    in_flight_.clear();
    asked_.clear();
    welcomed_ = false;
    Listen();
  }
  void Disconnect() {
    if (stream_ != nullptr && !stream_->ended()) hub_.Gone(*stream_);
    stream_ = nullptr;
  }
  template <typename T>
  void Send(const T& message) {
    hub_.Send(*stream_, message);
  }
  // Sends one batch, if it may.
  void Talk() {
    if (stream_ != nullptr && stream_->ended()) stream_ = nullptr;
    if (stream_ == nullptr) Connect();
    if (!welcomed_ || !stream_->reading() || made_ == 0) return;
    const bool live_out = std::any_of(in_flight_.begin(), in_flight_.end(), [](const auto& f) { return f.second; });
    if (!sent_.Contains(made_) && !durable_.Contains(made_) && !live_out) return SendBatch(made_, true);
    if (in_flight_.size() >= credits_.batches) return;
    if (!asked_.empty()) {
      const std::uint64_t seq = asked_.front();
      asked_.pop_front();
      if (!gaps_.contains(seq)) SendBatch(seq, false);
      return;
    }
    for (std::uint64_t seq = durable_.position().low + 1; seq <= made_; ++seq) {
      if (durable_.Contains(seq) || sent_.Contains(seq) || gaps_.contains(seq)) continue;
      return SendBatch(seq, false);
    }
  }
  void SendBatch(std::uint64_t seq, bool live) {
    model::Batch batch = MakeBatch(seq);
    batch.collected_at = Collected(seq);
    batch.history_only = !live;
    sent_.Add(seq);
    in_flight_.emplace(seq, live);
    Send(batch);
  }
  void Listen() {
    if (stream_ == nullptr) return;
    for (const auto& welcome : stream_->Take<model::Welcome>()) {
      welcomed_ = true;
      credits_ = welcome.credits;
      for (const model::SeqRange& range : model::SeqSet(welcome.durable).Ranges()) Durable(range);
    }
    for (const auto& ack : stream_->Take<model::DeliveryAck>()) {
      for (const model::SeqRange& range : ack.applied) {
        for (std::uint64_t seq = range.first; seq <= range.last; ++seq) in_flight_.erase(seq);
      }
      CHECK(ack.rejected.empty());
      if (ack.credits) credits_ = *ack.credits;
      for (const model::SeqRange& range : model::SeqSet(ack.durable).Ranges()) Durable(range);
    }
    for (const auto& replay : stream_->Take<model::Replay>()) {
      CHECK(replay.instance == "inst-a");
      CHECK(replay.range.last <= made_);
      for (std::uint64_t seq = replay.range.first; seq <= replay.range.last; ++seq) {
        if (!durable_.Contains(seq)) asked_.push_back(seq);
      }
    }
  }
  void Durable(const model::SeqRange& range) {
    CHECK(range.last <= made_);
    durable_.Add(range);
  }
  // Whatever happens to the stores, what was told durable is there.
  void CheckSafe() {
    const auto stored = hub_.history.stored();
    std::set<std::uint64_t> in_ledger;
    const store::GapLedger ledger = hub_.State().gaps;
    for (const store::KnownGap& gap : ledger.gaps()) {
      for (std::uint64_t seq = gap.seqs.first; seq <= gap.seqs.last; ++seq) in_ledger.insert(seq);
    }
    for (const model::SeqRange& range : durable_.Ranges()) {
      for (std::uint64_t seq = range.first; seq <= range.last; ++seq) {
        CAPTURE(seq);
        REQUIRE((stored.contains({kCluster, Collected(seq)}) || in_ledger.contains(seq)));
      }
    }
  }

  std::mt19937 random_;
  HistoryHub hub_;
  TestStream* stream_ = nullptr;
  bool welcomed_ = false;
  model::Credits credits_;
  std::uint64_t made_ = 1;
  model::SeqSet sent_, durable_;             // on this stream; ever told
  std::map<std::uint64_t, bool> in_flight_;  // live or not
  std::deque<std::uint64_t> asked_;
  std::set<std::uint64_t> gaps_;
};

TEST_CASE("whatever fails in whatever order, each batch becomes durable once and is never lost after that") {
  for (unsigned seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    Model model(seed);
    for (int step = 0; step < 250; ++step) model.Step();
    model.Settle();
  }
}

}  // namespace
}  // namespace clusterpulse::ingest
