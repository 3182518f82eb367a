// The spool against a count that is kept beside it, over restarts, kill -9, loss of power at every moment, disks that
// are full and disks that fail:
// - what Append returned ok for is durable, kept, or in a gap that has a reason;
// - numbers are never given twice;
// - all that was produced is durable + kept + gaps with numbers, and nothing is two of it.
#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <set>

#include <catch2/catch.hpp>

#include "common/model/seq_set.h"
#include "tests/collector/spool/spool_rig.h"

namespace clusterpulse::spool {
namespace {

using namespace std::chrono_literals;
using model::GapCause;

class Model {
 public:
  explicit Model(SpoolRig& rig) : rig_(rig) {}

  void Append(std::size_t bytes) {
    const std::uint64_t seq = rig_.spool->next_seq();
    Require(given_.empty() || seq > *given_.rbegin(), "a number is given twice");
    in_flight_ = {seq, seq};
    const absl::Status status = rig_.Append(bytes);
    if (rig_.files.is_stopped()) return;
    in_flight_ = {};
    given_.insert(seq);
    if (status.ok()) {
      appended_.insert(seq);
    } else {
      refused_.insert(seq);
      Require(absl::IsResourceExhausted(status) || absl::IsUnavailable(status), status.ToString());
    }
    failed_ = !status.ok();
  }
  // Whether the last Append failed.
  bool failed() const { return failed_; }

  void SetDurable(const model::DurablePosition& position) {
    durable_.AddUpTo(std::min(position.low, rig_.spool->next_seq() - 1));
    for (const model::SeqRange& range : position.ranges) durable_.Add(range);
    rig_.spool->SetDurable(position);
  }
  void GiveUp(std::uint64_t seq) {
    given_up_.insert(seq);
    rig_.spool->GiveUp(seq, GapCause::kRejected);
  }
  void NoteGap(std::uint64_t first, std::uint64_t last) {
    in_flight_ = {first, last};
    rig_.spool->NoteGap({{first, last}, rig_.clock.Now(), rig_.clock.Now(), GapCause::kSpoolOverflow});
    if (rig_.files.is_stopped()) return;
    in_flight_ = {};
    for (std::uint64_t seq = first; seq <= last; ++seq) given_.insert(seq);
  }

  // Of a process that lives.
  void Check() {
    const auto gaps = GapNumbers();
    lost_ = gaps;
    const auto kept = rig_.Kept();
    const std::set<std::uint64_t> kept_set(kept.begin(), kept.end());
    Require(std::is_sorted(kept.begin(), kept.end()) && kept_set.size() == kept.size(), "numbers are not in order");
    const model::SeqSet durable(rig_.spool->durable());
    for (const std::uint64_t seq : kept) {
      Require(given_.contains(seq), "a number that was never given is kept");
      Require(!durable.Contains(seq), "a durable number is kept");
      Require(!gaps.contains(seq), "a number is kept and lost");
    }
    for (const std::uint64_t seq : appended_) {
      Require(durable.Contains(seq) || kept_set.contains(seq) || gaps.contains(seq), "a record is gone without a gap");
    }
    for (const auto& [seq, cause] : gaps) Require(given_.contains(seq), "a number that was never given is lost");
    Require(rig_.spool->gaps().size() <= Spool::kMostGaps, "too many gaps");
    // What stands between neighbouring gaps that became one may be durable; the ends of a gap never are.
    for (const model::Gap& gap : rig_.spool->gaps()) {
      Require(!durable.Contains(gap.seqs.first) && !durable.Contains(gap.seqs.last), "a gap is durable");
      Require(gap.from <= gap.to, "a gap ends before it begins");
    }
    for (const model::SeqRange& range : durable.Ranges()) {
      Require(durable_.Contains(range.first) && durable_.Contains(range.last), "more is durable than was said");
    }
    // A segment that could neither be finished nor removed, with its name or before it had one, is there until the next
    // one takes its place.
    const std::uint64_t stray = had_fault_ ? 2 * rig_.options.segment_bytes : 0;
    Require(rig_.spool->bytes() <= rig_.BytesOnDisk() && rig_.BytesOnDisk() <= rig_.spool->bytes() + stray,
            fmt::format("it says {} bytes, the disk {}", rig_.spool->bytes(), rig_.BytesOnDisk()));
    Require(rig_.spool->bytes() <= rig_.options.max_bytes, "more bytes than allowed");
  }

  // After the spool was opened again, whatever ended the process before.
  void CheckReopened() {
    const std::uint64_t next = rig_.spool->next_seq();
    Require(given_.empty() || next > *given_.rbegin(), "a number would be given twice");
    // A number that was just being told may be there, lost, or never have been.
    for (std::uint64_t seq = in_flight_.first; seq > 0 && seq <= in_flight_.last && seq < next; ++seq) {
      given_.insert(seq);
      if (had_fault_) refused_.insert(seq);
    }
    Require(given_.empty() || next == *given_.rbegin() + 1, "a number was never given");
    const auto gaps = GapNumbers();
    const auto kept = rig_.Kept();
    const std::set<std::uint64_t> kept_set(kept.begin(), kept.end());
    const model::SeqSet durable(rig_.spool->durable());
    // The invariant: as many as were produced, each in one place.
    std::uint64_t count = 0;
    for (std::uint64_t seq = 1; seq < next; ++seq) {
      const bool is_durable = durable.Contains(seq), is_kept = kept_set.contains(seq), is_lost = gaps.contains(seq);
      Require(is_durable || is_kept || is_lost, "a number is nowhere");
      Require(!(is_kept && (is_durable || is_lost)), "a number is in two places");
      ++count;
      // A disk with faults may not have taken down why something is lost.
      if (!is_lost || had_fault_) continue;
      const auto before = lost_.find(seq);
      if (before != lost_.end()) {
        if (unsure_.contains(seq)) continue;
        Require(gaps.at(seq) == before->second, "a gap has another cause than before");
      } else if (appended_.contains(seq)) {
        const bool may_be = gaps.at(seq) == GapCause::kSpoolOverflow || given_up_.contains(seq);
        Require(may_be, "what was safely there is lost, whether durable or not");
      }
    }
    Require(count == given_.size(), "not all that was produced is accounted for");
    for (const Spool::Entry& entry : rig_.spool->entries()) {
      const auto payload = rig_.spool->Read(entry.seq);
      Require(payload.ok(), payload.status().ToString());
      Require(*payload == SpoolRig::PayloadOf(entry.seq, entry.bytes), "wrong content");
      // One that was being appended is there. One that failed may be there too, until power goes: a disk that refused
      // to sync it says no more about it.
      if (!refused_.contains(entry.seq)) appended_.insert(entry.seq);
    }
    // Why they are lost may be told by a list that the disk refused to sync, until power goes.
    if (had_fault_) {
      for (const auto& [seq, cause] : gaps) unsure_.insert(seq);
    }
    in_flight_ = {};
    failed_ = had_fault_ = false;
    Check();
  }

  // From now on until it is opened again without one.
  void HasFault() { had_fault_ = true; }

  std::size_t produced() const { return given_.size(); }
  std::size_t lost() const { return lost_.size(); }

 private:
  void Require(bool ok, const std::string& what) {
    if (ok) return;
    CAPTURE(rig_.Kept(), rig_.Gaps(), rig_.spool->durable().low, rig_.spool->next_seq(), in_flight_.first,
            in_flight_.last);
    FAIL(what);
  }
  std::map<std::uint64_t, GapCause> GapNumbers() const {
    std::map<std::uint64_t, GapCause> numbers;
    for (const model::Gap& gap : rig_.spool->gaps()) {
      for (std::uint64_t seq = gap.seqs.first; seq <= gap.seqs.last; ++seq) numbers[seq] = gap.cause;
    }
    return numbers;
  }

  SpoolRig& rig_;
  std::set<std::uint64_t> given_, appended_, refused_, given_up_, unsure_;
  std::map<std::uint64_t, GapCause> lost_;  // as last seen
  model::SeqSet durable_;
  model::SeqRange in_flight_;
  bool failed_ = false, had_fault_ = false;
};

// Everything a spool does, in few steps: segments that fill up, one that goes because it is durable, one because it is
// too old, one because the spool is full; gaps of several causes; restarts.
std::vector<std::function<void(SpoolRig&, Model&)>> Script() {
  std::vector<std::function<void(SpoolRig&, Model&)>> steps;
  const auto append = [&](int times, std::size_t bytes) {
    for (int i = 0; i < times; ++i) steps.push_back([bytes](SpoolRig&, Model& m) { m.Append(bytes); });
  };
  append(5, 5000);
  steps.push_back([](SpoolRig&, Model& m) { m.SetDurable({.low = 1, .ranges = {}}); });
  append(3, 5000);
  steps.push_back([](SpoolRig&, Model& m) { m.GiveUp(3); });
  steps.push_back([](SpoolRig&, Model& m) { m.SetDurable({.low = 2, .ranges = {{4, 4}, {6, 7}}}); });
  append(2, 600);
  steps.push_back([](SpoolRig& rig, Model& m) { m.NoteGap(rig.spool->next_seq(), rig.spool->next_seq() + 1); });
  append(1, 10'000);
  steps.push_back([](SpoolRig&, Model& m) { m.SetDurable({.low = 8, .ranges = {}}); });
  append(10, 6000);
  steps.push_back([](SpoolRig& rig, Model&) {
    rig.clock.AdvanceBy(20h);
    rig.spool->Expire();
  });
  append(3, 3000);
  steps.push_back([](SpoolRig& rig, Model&) {
    rig.clock.AdvanceBy(10h);
    rig.spool->Expire();
  });
  append(2, 100);
  return steps;
}

Spool::Options SmallOptions() { return {.dir = "/spool", .max_bytes = 96 << 10, .segment_bytes = 16 << 10}; }

TEST_CASE("the process may end in every single change of the disk") {
  const bool loses_power = GENERATE(false, true);
  const auto steps = Script();
  std::uint64_t changes = 0;
  {
    SpoolRig rig;
    rig.options = SmallOptions();
    rig.Reopen();
    Model model(rig);
    for (const auto& step : steps) {
      step(rig, model);
      model.Check();
    }
    changes = rig.files.changes();
    CHECK(model.lost() > 5);
  }
  CHECK(changes > 150);
  for (std::uint64_t stop = 1; stop <= changes; ++stop) {
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
      CAPTURE(loses_power, stop, seed);
      SpoolRig rig(seed);
      rig.options = SmallOptions();
      rig.files.StopAfter(stop);
      Model model(rig);
      if (rig.Open().ok()) {
        for (const auto& step : steps) {
          step(rig, model);
          if (rig.files.is_stopped()) break;
          model.Check();
        }
      }
      if (loses_power) {
        rig.files.LosePower();
      } else {
        rig.files.Restart();
      }
      rig.Reopen();
      model.CheckReopened();
      // It goes on as if nothing had been.
      model.Append(3000);
      REQUIRE_FALSE(model.failed());
      model.Check();
    }
  }
}

// One long life by chance.
void LiveRandomly(std::uint64_t seed, int steps) {
  CAPTURE(seed);
  SpoolRig rig(seed);
  rig.options = SmallOptions();
  if (seed % 3 == 0) rig.options.max_bytes = 400 << 10;
  rig.Reopen();
  Model model(rig);
  const auto chance = [&rig](std::uint64_t one_in) { return rig.random.Next() % one_in == 0; };
  bool has_fault = false;
  for (int step = 0; step < steps; ++step) {
    CAPTURE(step);
    switch (rig.random.Next() % 12) {
      case 0: {
        // What the hub says: some prefix, some ranges above it.
        const std::uint64_t given = rig.spool->next_seq() - 1;
        const auto kept = rig.Kept();
        if (given == 0) break;
        model::DurablePosition position{.low = kept.empty() || chance(2) ? rig.spool->durable().low : kept.front(),
                                        .ranges = {}};
        if (chance(8)) position.low = given - rig.random.Next() % std::min<std::uint64_t>(given, 10);
        std::uint64_t at = position.low + 2;
        while (at <= given && chance(2)) {
          const std::uint64_t last = std::min(given, at + rig.random.Next() % 5);
          position.ranges.push_back({at, last});
          at = last + 2 + rig.random.Next() % 4;
        }
        model.SetDurable(position);
        break;
      }
      case 1:
        if (const auto kept = rig.Kept(); !kept.empty()) model.GiveUp(kept[rig.random.Next() % kept.size()]);
        break;
      case 2:
        if (chance(3)) model.NoteGap(rig.spool->next_seq(), rig.spool->next_seq() + rig.random.Next() % 3);
        break;
      case 3:
        rig.clock.AdvanceBy(std::chrono::minutes(rig.random.Next() % 120));
        rig.spool->Expire();
        break;
      case 4: {
        if (!chance(3)) break;
        // The disk is full, or its segments cannot be written; HEAD, which needs no space, can.
        has_fault = true;
        model.HasFault();
        if (chance(2)) {
          rig.files.SetCapacity(rig.BytesOnDisk() + rig.random.Next() % 9000);
        } else {
          rig.files.SetFault([&rig](FakeFileSystem::Call call, const std::string& path) {
            if (path.ends_with("HEAD") || call == FakeFileSystem::Call::kRead) return absl::OkStatus();
            return rig.random.Next() % 3 == 0 ? absl::UnavailableError("EIO") : absl::OkStatus();
          });
        }
        break;
      }
      case 5:
        has_fault = false;
        rig.files.SetCapacity(~std::uint64_t{0});
        rig.files.SetFault(nullptr);
        break;
      case 6: {
        if (!chance(4)) break;
        // It ends, in one of three ways, perhaps in the middle of something. Faults end with it.
        const auto how = rig.random.Next() % 3;
        if (how > 0) {
          rig.files.StopAfter(1 + rig.random.Next() % 12);
          for (int i = 0; i < 12 && !rig.files.is_stopped(); ++i) {
            model.Append(1 + rig.random.Next() % 3000);
            if (!rig.files.is_stopped()) model.Check();
          }
        }
        if (how == 2) {
          rig.files.LosePower();
        } else {
          if (how == 0) rig.spool = nullptr;
          rig.files.Restart();
        }
        has_fault = false;
        rig.files.SetCapacity(~std::uint64_t{0});
        rig.files.SetFault(nullptr);
        rig.Reopen();
        model.CheckReopened();
        break;
      }
      default:
        model.Append(rig.random.Next() % (chance(10) ? 12'000 : 1500));
        if (!has_fault && model.failed()) FAIL("a disk without a fault failed");
        break;
    }
    model.Check();
  }
  CHECK(model.produced() > static_cast<std::size_t>(steps) / 4);
  rig.files.SetCapacity(~std::uint64_t{0});
  rig.files.SetFault(nullptr);
  rig.Reopen();
  model.CheckReopened();
}

TEST_CASE("what is produced is durable, kept or in a gap, over thousands of steps") {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) LiveRandomly(seed, 600);
}

}  // namespace
}  // namespace clusterpulse::spool
