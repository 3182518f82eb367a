#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/model/delivery.h"
#include "hub/ingest/ports.h"

namespace clusterpulse::ingest {

// What one stream has heard of holes in its cluster's history, on its way into the ledger: what is to be written next,
// and what was written and is not yet known to survive a crash of the store. A plain value, confined to one thread;
// time is an argument. Holds at most kMost; what is beyond is told again by whoever told it, or is of little use to
// anybody.
class GapNotes {
 public:
  static constexpr std::size_t kMost = 1000;

  // `instance`: whose numbers the gaps have.
  explicit GapNotes(std::string instance) : instance_(std::move(instance)) {}

  // Nothing when it is known already.
  void Add(const model::Gap& gap);
  // Only the first call counts.
  void EndLink(store::GapLedger::LinkEnd end, base::SystemTime at);
  bool link_ended() const { return link_ended_; }
  // It may have been called lost since: its end is to be told once more.
  void LinkMayBeLost() { link_ended_ = false; }

  // Something is to be written.
  bool has_news() const;
  // Nothing is to be written, nor being written.
  bool all_written() const;
  // What; Written or Failed says what came of it.
  GapNews Take();
  void Written(base::SteadyTime now, std::chrono::milliseconds durable_after, std::uint64_t continuity);
  void Failed();
  // When Step may have something; max(): nothing waits.
  base::SteadyTime next_look() const;
  // The numbers of gaps that are in the ledger for good. What the store may have lost is to be written again.
  std::vector<model::SeqRange> Step(base::SteadyTime now, const model::DurableMark& durable);

 private:
  enum class Stage { kNew, kTaken, kWritten };
  struct Note {
    std::optional<model::Gap> gap;  // absent: the end of the link
    Stage stage = Stage::kNew;
    base::SteadyTime since{}, look_at{};
    std::uint64_t continuity = 0;
  };

  const std::string instance_;
  std::vector<Note> notes_;
  bool link_ended_ = false;
  store::GapLedger::LinkEnd link_end_ = store::GapLedger::LinkEnd::kFilled;
  base::SystemTime link_ended_at_{};
};

}  // namespace clusterpulse::ingest
