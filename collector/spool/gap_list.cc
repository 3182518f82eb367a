#include "collector/spool/gap_list.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

#include "collector/spool/encoding.h"
#include "common/model/seq_set.h"

namespace clusterpulse::spool {
namespace {

// The part of a gap, with its times.
model::Gap Part(const model::Gap& gap, std::uint64_t first, std::uint64_t last) {
  const SeqTime below{gap.seqs.first, gap.from}, above{gap.seqs.last, gap.to};
  model::Gap part = gap;
  part.seqs = {first, last};
  part.from = Interpolate(below, above, first);
  part.to = Interpolate(below, above, last);
  return part;
}

bool Touch(const model::Gap& a, const model::Gap& b) { return a.cause == b.cause && a.seqs.last + 1 == b.seqs.first; }

// Takes the second into the first.
void Join(model::Gap& a, const model::Gap& b) {
  a.seqs.last = b.seqs.last;
  a.from = std::min(a.from, b.from);
  a.to = std::max(a.to, b.to);
}

}  // namespace

base::SystemTime Interpolate(const SeqTime& below, const SeqTime& above, std::uint64_t seq) {
  if (seq <= below.seq || above.seq <= below.seq) return below.time;
  if (seq >= above.seq) return above.time;
  const double share = static_cast<double>(seq - below.seq) / static_cast<double>(above.seq - below.seq);
  // In floating point also the distance: times of a broken clock may be further apart than a duration holds.
  const double distance =
      std::chrono::duration<double, base::SystemTime::period>(above.time.time_since_epoch()).count() -
      std::chrono::duration<double, base::SystemTime::period>(below.time.time_since_epoch()).count();
  constexpr double kLimit = 9.0e18;
  const auto offset = static_cast<base::SystemTime::rep>(std::clamp(share * distance, -kLimit, kLimit));
  base::SystemTime::rep time = 0;
  if (__builtin_add_overflow(below.time.time_since_epoch().count(), offset, &time)) return above.time;
  return base::SystemTime(base::SystemTime::duration(time));
}

bool GapList::Contains(std::uint64_t seq) const {
  const auto gap = std::lower_bound(gaps_.begin(), gaps_.end(), seq,
                                    [](const model::Gap& g, std::uint64_t s) { return g.seqs.last < s; });
  return gap != gaps_.end() && gap->seqs.first <= seq;
}

bool GapList::Add(const model::Gap& gap) {
  std::vector<model::Gap> parts;
  std::uint64_t next = gap.seqs.first;
  bool done = false;
  for (const model::Gap& there : gaps_) {
    if (there.seqs.last < next) continue;
    if (there.seqs.first > gap.seqs.last) break;
    if (there.seqs.first > next) parts.push_back(Part(gap, next, there.seqs.first - 1));
    done = there.seqs.last >= gap.seqs.last;
    if (done) break;
    next = there.seqs.last + 1;
  }
  if (!done) parts.push_back(Part(gap, next, gap.seqs.last));
  for (const model::Gap& part : parts) {
    const auto above = std::lower_bound(gaps_.begin(), gaps_.end(), part.seqs.first,
                                        [](const model::Gap& g, std::uint64_t s) { return g.seqs.last < s; });
    auto at = gaps_.insert(above, part);
    if (const auto next_one = std::next(at); next_one != gaps_.end() && Touch(*at, *next_one)) {
      Join(*at, *next_one);
      gaps_.erase(next_one);
    }
    if (at != gaps_.begin() && Touch(*std::prev(at), *at)) {
      Join(*std::prev(at), *at);
      gaps_.erase(at);
    }
  }
  return !parts.empty();
}

bool GapList::Forget(const model::DurablePosition& position) {
  const model::SeqSet durable(position);
  const std::vector<model::SeqRange> ranges = durable.Ranges();
  if (ranges.empty()) return false;
  std::vector<model::Gap> left;
  bool changed = false;
  for (const model::Gap& gap : gaps_) {
    std::uint64_t first = gap.seqs.first, last = gap.seqs.last;
    // At most one range covers each end, for ranges do not touch.
    for (const model::SeqRange& range : ranges) {
      if (range.first <= first && first <= range.last) first = std::min(range.last, last) + 1;
      if (first > last) break;
      if (range.first <= last && last <= range.last) last = range.first - 1;
    }
    if (first > last) {
      changed = true;
      continue;
    }
    if (first == gap.seqs.first && last == gap.seqs.last) {
      left.push_back(gap);
    } else {
      changed = true;
      left.push_back(Part(gap, first, last));
    }
  }
  if (changed) gaps_ = std::move(left);
  return changed;
}

void GapList::Shift(std::uint64_t after, std::uint64_t by) {
  std::vector<model::Gap> shifted;
  for (const model::Gap& gap : gaps_) {
    if (gap.seqs.first <= after) shifted.push_back(Part(gap, gap.seqs.first, std::min(gap.seqs.last, after)));
    if (gap.seqs.last <= after) continue;
    model::Gap& above = shifted.emplace_back(Part(gap, std::max(gap.seqs.first, after + 1), gap.seqs.last));
    above.seqs = {above.seqs.first + by, above.seqs.last + by};
  }
  gaps_ = std::move(shifted);
}

std::vector<model::SeqRange> GapList::Merge(std::size_t most, const std::function<bool(model::SeqRange)>& kept) {
  std::vector<model::SeqRange> given_up;
  while (gaps_.size() > most && gaps_.size() > 1) {
    const auto between = [this](std::size_t i) {
      return model::SeqRange{gaps_[i].seqs.last + 1, gaps_[i + 1].seqs.first - 1};
    };
    std::optional<std::size_t> same, any;
    for (std::size_t i = 0; i + 1 < gaps_.size() && !same; ++i) {
      const model::SeqRange range = between(i);
      if (range.first <= range.last && kept(range)) continue;
      if (!any) any = i;
      if (gaps_[i].cause == gaps_[i + 1].cause) same = i;
    }
    const std::size_t at = same ? *same : any.value_or(0);
    if (!same && !any) given_up.push_back(between(at));
    Join(gaps_[at], gaps_[at + 1]);
    gaps_.erase(gaps_.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
  return given_up;
}

void JoinSameCauses(std::size_t most, std::vector<model::Gap>& gaps) {
  while (gaps.size() > most) {
    const auto has_partner = [&](const model::Gap& gap) {
      return std::any_of(gaps.begin(), gaps.end(),
                         [&gap](const model::Gap& g) { return &g != &gap && g.cause == gap.cause; });
    };
    const auto first = std::find_if(gaps.begin(), gaps.end(), has_partner);
    if (first == gaps.end()) return;
    const auto next =
        std::find_if(std::next(first), gaps.end(), [&](const model::Gap& gap) { return gap.cause == first->cause; });
    first->from = std::min(first->from, next->from);
    first->to = std::max(first->to, next->to);
    gaps.erase(next);
  }
}

std::string GapList::Encode() const {
  std::string out;
  PutU32(out, static_cast<std::uint32_t>(gaps_.size()));
  for (const model::Gap& gap : gaps_) {
    PutU64(out, gap.seqs.first);
    PutU64(out, gap.seqs.last);
    PutTime(out, gap.from);
    PutTime(out, gap.to);
    const std::string_view cause = model::ToString(gap.cause);
    out.push_back(static_cast<char>(cause.size()));
    out += cause;
  }
  return out;
}

std::optional<GapList> GapList::Decode(std::string_view bytes) {
  if (bytes.size() < 4) return std::nullopt;
  const std::uint32_t count = GetU32(bytes, 0);
  bytes.remove_prefix(4);
  GapList list;
  std::uint64_t above = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    constexpr std::size_t kFixed = 33;
    if (bytes.size() < kFixed) return std::nullopt;
    const std::size_t length = static_cast<std::uint8_t>(bytes[kFixed - 1]);
    if (bytes.size() < kFixed + length) return std::nullopt;
    const auto cause = model::ParseGapCause(bytes.substr(kFixed, length));
    const auto from = GetTime(bytes, 16), to = GetTime(bytes, 24);
    const model::SeqRange seqs{GetU64(bytes, 0), GetU64(bytes, 8)};
    if (!cause || !from || !to || seqs.first <= above || seqs.first > seqs.last || seqs.last > kMostSeq) {
      return std::nullopt;
    }
    list.gaps_.push_back({seqs, *from, *to, *cause});
    above = seqs.last;
    bytes.remove_prefix(kFixed + length);
  }
  if (!bytes.empty()) return std::nullopt;
  return list;
}

}  // namespace clusterpulse::spool
