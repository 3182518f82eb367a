#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/model/delivery.h"

namespace clusterpulse::model {

// REQUIRES: the ranges ascend and do not overlap.
bool Contains(const std::vector<SeqRange>& ranges, std::uint64_t seq);

// Sequence numbers of one instance, which come mostly in order: everything up to position().low, and ranges above it.
// Used for what is applied, durable or in flight. A plain value, confined to one thread.
class SeqSet {
 public:
  // Ranges beyond this are forgotten, the highest first: whoever relies on one sends the batch again, which is
  // harmless.
  static constexpr std::size_t kMostRanges = 1024;

  SeqSet() = default;
  // Takes any position, also one that is not in normal form.
  explicit SeqSet(const DurablePosition& position);

  // True when anything was new. 0 is no sequence number and is never in the set. REQUIRES: range.first <= range.last.
  bool Add(SeqRange range);
  bool Add(std::uint64_t seq) { return Add(SeqRange{seq, seq}); }
  // All numbers up to `seq`.
  bool AddUpTo(std::uint64_t seq) { return seq > 0 && Add(SeqRange{1, seq}); }
  bool Contains(std::uint64_t seq) const;

  const DurablePosition& position() const { return position_; }
  // The set as ranges, the one up to `low` included.
  std::vector<SeqRange> Ranges() const;
  bool empty() const { return position_.low == 0 && position_.ranges.empty(); }
  bool operator==(const SeqSet&) const = default;

 private:
  DurablePosition position_;  // in normal form: ranges ascend, do not touch, and lie above low + 1
};

}  // namespace clusterpulse::model
