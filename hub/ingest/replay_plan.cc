#include "hub/ingest/replay_plan.h"

#include <algorithm>

namespace clusterpulse::ingest {
namespace {

using model::SeqRange;

void Join(std::vector<SeqRange>& ranges, SeqRange added) {
  const auto begin = std::lower_bound(ranges.begin(), ranges.end(), added.first,
                                      [](const SeqRange& r, std::uint64_t first) { return r.last < first - 1; });
  auto end = begin;
  for (; end != ranges.end() && end->first - 1 <= added.last; ++end) {
    added.first = std::min(added.first, end->first);
    added.last = std::max(added.last, end->last);
  }
  ranges.insert(ranges.erase(begin, end), added);
}

// What is left of `from` without `out`: nothing, one range or two.
template <typename Put>
void Cut(const SeqRange& from, const SeqRange& out, Put put) {
  if (out.last < from.first || from.last < out.first) return put(from);
  if (from.first < out.first) put(SeqRange{from.first, out.first - 1});
  if (out.last < from.last) put(SeqRange{out.last + 1, from.last});
}

}  // namespace

void ReplayPlan::Lost(SeqRange seqs) {
  Join(lost_, seqs);
  if (lost_.size() <= kMostRanges) return;
  auto closest = lost_.begin();
  for (auto at = lost_.begin(); std::next(at) != lost_.end(); ++at) {
    if (std::next(at)->first - at->last < std::next(closest)->first - closest->last) closest = at;
  }
  closest->last = std::next(closest)->last;
  lost_.erase(std::next(closest));
}

void ReplayPlan::Settled(SeqRange seqs) {
  const auto touches = [&seqs](const SeqRange& range) { return range.first <= seqs.last && seqs.first <= range.last; };
  if (std::any_of(lost_.begin(), lost_.end(), touches)) {
    std::vector<SeqRange> left;
    for (const SeqRange& range : lost_) Cut(range, seqs, [&left](const SeqRange& r) { left.push_back(r); });
    lost_ = std::move(left);
  }
  if (std::any_of(asked_.begin(), asked_.end(), [&](const Asked& asked) { return touches(asked.seqs); })) {
    std::vector<Asked> left;
    for (const Asked& asked : asked_) {
      Cut(asked.seqs, seqs, [&](const SeqRange& r) { left.push_back({r, asked.again_at}); });
    }
    asked_ = std::move(left);
  }
}

std::uint64_t ReplayPlan::asked_count() const {
  std::uint64_t count = 0;
  for (const Asked& asked : asked_) count += asked.seqs.last - asked.seqs.first + 1;
  return count;
}

std::optional<SeqRange> ReplayPlan::Next(std::uint64_t most, base::SteadyTime now) {
  for (const Asked& asked : asked_) {
    if (asked.again_at > now) continue;
    Join(lost_, asked.seqs);
    from_ = std::max(from_, asked.seqs.last + 1);
  }
  std::erase_if(asked_, [now](const Asked& asked) { return asked.again_at <= now; });
  most = std::min(most, kMostAsked);
  const std::uint64_t count = asked_count();
  if (lost_.empty() || count >= most) return std::nullopt;
  const auto range = std::find_if(lost_.begin(), lost_.end(), [this](const SeqRange& r) { return r.last >= from_; });
  if (range == lost_.end()) from_ = 0;
  SeqRange next = range == lost_.end() ? lost_.front() : *range;
  next.first = std::max(next.first, from_);
  next.last = std::min(next.last, next.first + (most - count) - 1);
  Settled(next);  // not twice
  asked_.push_back({next, now + kAskAgain});
  return next;
}

base::SteadyTime ReplayPlan::next_due(std::uint64_t most) const {
  base::SteadyTime due = base::SteadyTime::max();
  for (const Asked& asked : asked_) due = std::min(due, asked.again_at);
  if (!lost_.empty() && asked_count() < std::min(most, kMostAsked)) due = base::SteadyTime();
  return due;
}

}  // namespace clusterpulse::ingest
