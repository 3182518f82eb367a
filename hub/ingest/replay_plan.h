#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "common/base/clock.h"
#include "common/model/delivery.h"

namespace clusterpulse::ingest {

// Which batches of a stream must come again, since a store lost or dropped them, and which of them were asked for and
// have not come yet. Oldest first, a few at a time; what does not come is asked for again after the others. A plain
// value, confined to one thread; time is an argument. Bounded: of too many ranges the closest are joined, and so more
// comes again than had to.
class ReplayPlan {
 public:
  static constexpr std::size_t kMostRanges = 1024;
  static constexpr std::uint64_t kMostAsked = 16;       // batches at once
  static constexpr std::chrono::seconds kAskAgain{30};  // what did not come for so long

  void Lost(model::SeqRange seqs);
  // They came, or need not come any more.
  void Settled(model::SeqRange seqs);
  // The next range to ask for, so that no more than `most` batches are asked for at once; nullopt: none now.
  std::optional<model::SeqRange> Next(std::uint64_t most, base::SteadyTime now);
  // When Next has one; max(): not before something changes.
  base::SteadyTime next_due(std::uint64_t most) const;
  // Nothing is left to be asked for.
  bool empty() const { return lost_.empty(); }
  const std::vector<model::SeqRange>& lost() const { return lost_; }

 private:
  struct Asked {
    model::SeqRange seqs;
    base::SteadyTime again_at{};
  };
  std::uint64_t asked_count() const;

  std::vector<model::SeqRange> lost_;  // ascending and apart
  std::vector<Asked> asked_;
  std::uint64_t from_ = 0;  // those before did not come when they were asked for
};

}  // namespace clusterpulse::ingest
