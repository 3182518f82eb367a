#include "common/model/seq_set.h"

#include <algorithm>

namespace clusterpulse::model {

bool Contains(const std::vector<SeqRange>& ranges, std::uint64_t seq) {
  const auto range = std::lower_bound(ranges.begin(), ranges.end(), seq,
                                      [](const SeqRange& r, std::uint64_t s) { return r.last < s; });
  return range != ranges.end() && range->first <= seq;
}

SeqSet::SeqSet(const DurablePosition& position) {
  AddUpTo(position.low);
  for (const SeqRange& range : position.ranges) {
    if (range.first <= range.last) Add(range);
  }
}

bool SeqSet::Add(SeqRange range) {
  range.first = std::max<std::uint64_t>(range.first, 1);
  if (range.last <= position_.low) return false;
  std::vector<SeqRange>& ranges = position_.ranges;
  // The first range that ends at or beyond the one before `range`: everything from there that touches it is joined.
  const auto begin = std::lower_bound(ranges.begin(), ranges.end(), range.first,
                                      [](const SeqRange& r, std::uint64_t first) { return r.last < first - 1; });
  if (begin != ranges.end() && begin->first <= range.first && range.last <= begin->last) return false;
  auto end = begin;
  for (; end != ranges.end() && end->first - 1 <= range.last; ++end) {
    range.first = std::min(range.first, end->first);
    range.last = std::max(range.last, end->last);
  }
  const auto at = ranges.erase(begin, end);
  if (range.first - 1 <= position_.low) {
    position_.low = range.last;
  } else {
    ranges.insert(at, range);
    if (ranges.size() > kMostRanges) ranges.pop_back();
  }
  return true;
}

bool SeqSet::Contains(std::uint64_t seq) const {
  if (seq == 0) return false;
  return seq <= position_.low || model::Contains(position_.ranges, seq);
}

std::vector<SeqRange> SeqSet::Ranges() const {
  std::vector<SeqRange> all;
  if (position_.low > 0) all.push_back({1, position_.low});
  all.insert(all.end(), position_.ranges.begin(), position_.ranges.end());
  return all;
}

}  // namespace clusterpulse::model
