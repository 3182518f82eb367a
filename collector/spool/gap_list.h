#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/clock.h"
#include "common/model/delivery.h"

namespace clusterpulse::spool {

// The numbers that are lost, as gaps that ascend and do not overlap. Gaps of one cause that touch are one. A plain
// value.
class GapList {
 public:
  const std::vector<model::Gap>& all() const { return gaps_; }
  bool Contains(std::uint64_t seq) const;

  // Adds what of `gap` is in no gap yet: the first cause that is told stays. True when that is anything.
  // REQUIRES: 1 <= first <= last <= kMostSeq.
  bool Add(const model::Gap& gap);
  // Forgets gaps, and their ends, as far as `position` covers them. What it covers in the middle of a gap stays in it,
  // so that what Merge joined stays one. True when anything went.
  bool Forget(const model::DurablePosition& position);
  // Numbers above `after` are higher by `by`; a gap that holds both sides of it becomes two. REQUIRES: the highest
  // stays
  // <= kMostSeq.
  void Shift(std::uint64_t after, std::uint64_t by);
  // Joins neighbours until there are at most `most`: the two oldest of one cause between which nothing is kept, then
  // any two, then the two oldest with what is between them, which is returned. `kept`: whether there is a record in
  // that range.
  std::vector<model::SeqRange> Merge(std::size_t most, const std::function<bool(model::SeqRange)>& kept);

  // The payload of a record of gaps.
  std::string Encode() const;
  static std::optional<GapList> Decode(std::string_view bytes);

  bool operator==(const GapList&) const = default;

 private:
  std::vector<model::Gap> gaps_;
};

// Joins gaps without numbers until there are at most `most`: the two of one cause that come first, again and again.
// REQUIRES: `most` is not less than there are causes.
void JoinSameCauses(std::size_t most, std::vector<model::Gap>& gaps);

// A number and when its batch was collected.
struct SeqTime {
  std::uint64_t seq = 0;
  base::SystemTime time{};
};
// When `seq` was collected, by what is known of one below and one above it: on the line between them.
base::SystemTime Interpolate(const SeqTime& below, const SeqTime& above, std::uint64_t seq);

}  // namespace clusterpulse::spool
