#include "hub/store/gap_ledger.h"

#include <algorithm>
#include <utility>

#include "common/base/time_format.h"
#include "common/json/value.h"
#include "common/json/writer.h"

namespace clusterpulse::store {
namespace {

using base::SystemTime;
using model::GapCause;
using model::SeqRange;

bool HasNumbers(const SeqRange& seqs) { return seqs.first != 0; }

// When a batch that lies within the gap was collected, as far as that can be told.
SystemTime TimeWithin(const model::Gap& gap, std::uint64_t seq) {
  const double part = static_cast<double>(seq - gap.seqs.first) / static_cast<double>(gap.seqs.last - gap.seqs.first);
  return gap.from + std::chrono::duration_cast<SystemTime::duration>((gap.to - gap.from) * part);
}

// `added` takes the time and the count of an entry that is the same hole.
void Span(const KnownGap& known, KnownGap& added) {
  added.from = std::min(known.from, added.from);
  added.to = std::max(*known.to, *added.to);
  added.holes = std::max(known.holes, added.holes);
}

std::uint64_t Number(const json::Value& value) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(value.IntOr(), 0));
}

}  // namespace

GapLedger::Told GapLedger::Record(std::string_view instance, const model::Gap& gap) {
  return HasNumbers(gap.seqs) ? RecordNumbers(instance, gap) : RecordTimes(gap);
}

GapLedger::Told GapLedger::RecordNumbers(std::string_view instance, const model::Gap& gap) {
  // What no entry has yet.
  std::vector<SeqRange> left{gap.seqs};
  for (const KnownGap& known : gaps_) {
    if (!HasNumbers(known.seqs) || known.instance != instance) continue;
    std::vector<SeqRange> rest;
    for (const SeqRange& range : left) {
      if (known.seqs.last < range.first || range.last < known.seqs.first) {
        rest.push_back(range);
        continue;
      }
      if (range.first < known.seqs.first) rest.push_back({range.first, known.seqs.first - 1});
      if (known.seqs.last < range.last) rest.push_back({known.seqs.last + 1, range.last});
    }
    left = std::move(rest);
  }
  Told told = left.empty() ? Told::kKnown : Told::kGrown;
  for (const SeqRange& range : left) {
    KnownGap added{.from = range.first == gap.seqs.first ? gap.from : TimeWithin(gap, range.first),
                   .to = range.last == gap.seqs.last ? gap.to : TimeWithin(gap, range.last),
                   .cause = gap.cause,
                   .seqs = range,
                   .instance = std::string(instance)};
    // Those next to it are the same hole.
    bool grows = false;
    for (auto known = gaps_.begin(); known != gaps_.end();) {
      const bool is_next = HasNumbers(known->seqs) && known->instance == instance && known->cause == gap.cause &&
                           (known->seqs.last + 1 == added.seqs.first || added.seqs.last + 1 == known->seqs.first);
      if (!is_next) {
        ++known;
        continue;
      }
      added.seqs = {std::min(known->seqs.first, added.seqs.first), std::max(known->seqs.last, added.seqs.last)};
      Span(*known, added);
      grows = true;
      known = gaps_.erase(known);
    }
    if (!grows) {
      ++total_;
      told = Told::kNew;
    }
    Add(std::move(added));
  }
  return told;
}

GapLedger::Told GapLedger::RecordTimes(const model::Gap& gap) {
  KnownGap added{.from = gap.from, .to = gap.to, .cause = gap.cause};
  bool grows = false;
  for (auto known = gaps_.begin(); known != gaps_.end();) {
    const bool is_same = !HasNumbers(known->seqs) && known->cause == gap.cause && known->to.has_value() &&
                         known->from <= *added.to && added.from <= *known->to;
    if (!is_same) {
      ++known;
      continue;
    }
    if (known->from <= added.from && *added.to <= *known->to) return Told::kKnown;
    Span(*known, added);
    grows = true;
    known = gaps_.erase(known);
  }
  if (!grows) ++total_;
  Add(std::move(added));
  return grows ? Told::kGrown : Told::kNew;
}

bool GapLedger::OpenLink(SystemTime from, bool fillable, GapCause cause) {
  if (open_link() != nullptr) return false;
  ++total_;
  Add({.from = from, .cause = cause, .fillable = fillable});
  return true;
}

bool GapLedger::EndLink(LinkEnd end, SystemTime to) {
  const auto open = std::find_if(gaps_.begin(), gaps_.end(), [](const KnownGap& gap) { return !gap.to.has_value(); });
  if (open == gaps_.end()) return false;
  const model::Gap ended{.from = open->from, .to = std::max(to, open->from), .cause = open->cause};
  const bool is_filled = end == LinkEnd::kFilled && open->fillable;
  gaps_.erase(open);
  if (is_filled) {
    --total_;
    return true;
  }
  const std::uint64_t total = total_;
  RecordTimes(ended);
  total_ = total;  // it is the same hole
  return true;
}

bool GapLedger::Prune(SystemTime now) {
  return std::erase_if(gaps_, [now](const KnownGap& gap) { return gap.to.has_value() && *gap.to < now - kKept; }) > 0;
}

void GapLedger::Add(KnownGap gap) {
  const auto at = std::upper_bound(gaps_.begin(), gaps_.end(), gap.from,
                                   [](SystemTime from, const KnownGap& other) { return from < other.from; });
  gaps_.insert(at, std::move(gap));
  if (gaps_.size() > kMostEntries) JoinOldest();
}

void GapLedger::JoinOldest() {
  const auto is_over = [](const KnownGap& gap) { return gap.to.has_value(); };
  const auto first = std::find_if(gaps_.begin(), gaps_.end(), is_over);
  const auto second = std::find_if(std::next(first), gaps_.end(), is_over);
  first->to = std::max(*first->to, *second->to);
  first->holes += second->holes;
  // Numbers between the two may be no gap.
  first->seqs = {};
  first->instance.clear();
  first->fillable = false;
  gaps_.erase(second);
}

const KnownGap* GapLedger::open_link() const {
  const auto open = std::find_if(gaps_.begin(), gaps_.end(), [](const KnownGap& gap) { return !gap.to.has_value(); });
  return open == gaps_.end() ? nullptr : &*open;
}

GapSummary GapLedger::Summary() const {
  GapSummary summary;
  if (!gaps_.empty()) summary.oldest = gaps_.front().from;
  for (const KnownGap& gap : gaps_) {
    summary.count += gap.holes;
    if (!gap.to.has_value()) ++summary.open;
  }
  return summary;
}

std::string GapLedger::Next() {
  ++revision_;
  std::string out;
  json::Writer w(out);
  w.BeginObject();
  w.Member("revision", static_cast<std::int64_t>(revision_)).Member("total", static_cast<std::int64_t>(total_));
  w.Key("gaps").BeginArray();
  for (const KnownGap& gap : gaps_) {
    w.BeginObject().Member("from", base::FormatNanos(gap.from));
    if (gap.to.has_value()) w.Member("to", base::FormatNanos(*gap.to));
    w.Member("cause", model::ToString(gap.cause));
    if (HasNumbers(gap.seqs)) {
      w.Member("firstSeq", static_cast<std::int64_t>(gap.seqs.first));
      w.Member("lastSeq", static_cast<std::int64_t>(gap.seqs.last));
      w.Member("instance", gap.instance);
    }
    w.Member("fillable", gap.fillable);
    if (gap.holes > 1) w.Member("holes", static_cast<std::int64_t>(gap.holes));
    w.EndObject();
  }
  w.EndArray().EndObject();
  return out;
}

GapLedger GapLedger::Read(std::string_view json) {
  GapLedger ledger;
  const auto document = json::Value::Parse(json);
  if (!document.ok()) return ledger;
  ledger.revision_ = Number((*document)["revision"]);
  ledger.total_ = Number((*document)["total"]);
  for (const json::Value& item : (*document)["gaps"].items()) {
    const auto from = base::ParseRfc3339(item["from"].StringOr());
    // A later version's cause: something is missing, and nobody here can know why.
    const GapCause cause = model::ParseGapCause(item["cause"].StringOr()).value_or(GapCause::kCollectorLost);
    if (!from.has_value()) continue;
    KnownGap gap{.from = *from, .to = base::ParseRfc3339(item["to"].StringOr()), .cause = cause};
    const SeqRange seqs{Number(item["firstSeq"]), Number(item["lastSeq"])};
    if (HasNumbers(seqs) && seqs.first <= seqs.last && gap.to.has_value()) {
      gap.seqs = seqs;
      gap.instance = item["instance"].StringOr();
    }
    gap.fillable = item["fillable"].BoolOr();
    gap.holes = std::max<std::uint64_t>(Number(item["holes"]), 1);
    ledger.gaps_.push_back(std::move(gap));
  }
  std::stable_sort(ledger.gaps_.begin(), ledger.gaps_.end(),
                   [](const KnownGap& a, const KnownGap& b) { return a.from < b.from; });
  return ledger;
}

}  // namespace clusterpulse::store
