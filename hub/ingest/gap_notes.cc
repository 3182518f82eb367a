#include "hub/ingest/gap_notes.h"

#include <algorithm>
#include <utility>

namespace clusterpulse::ingest {
namespace {

// The store has not spoken since: it does every second while it lives.
constexpr std::chrono::milliseconds kNextLook{250};

bool HasNumbers(const model::Gap& gap) { return gap.seqs.first != 0; }

bool Covers(const model::Gap& known, const model::Gap& gap) {
  if (known.cause != gap.cause || HasNumbers(known) != HasNumbers(gap)) return false;
  if (HasNumbers(gap)) return known.seqs.first <= gap.seqs.first && gap.seqs.last <= known.seqs.last;
  return known.from <= gap.from && gap.to <= known.to;
}

// `gap` begins where `known` ends.
bool Continues(const model::Gap& known, const model::Gap& gap) {
  if (known.cause != gap.cause || HasNumbers(known) != HasNumbers(gap)) return false;
  if (HasNumbers(gap)) return known.seqs.last + 1 == gap.seqs.first;
  return known.from <= gap.from && gap.from <= known.to;
}

}  // namespace

void GapNotes::Add(const model::Gap& gap) {
  for (Note& note : notes_) {
    if (note.gap.has_value() && Covers(*note.gap, gap)) return;
  }
  for (Note& note : notes_) {
    if (note.stage != Stage::kNew || !note.gap.has_value() || !Continues(*note.gap, gap)) continue;
    note.gap->seqs.last = gap.seqs.last;
    note.gap->to = std::max(note.gap->to, gap.to);
    return;
  }
  if (notes_.size() < kMost) notes_.push_back({.gap = gap});
}

void GapNotes::EndLink(store::GapLedger::LinkEnd end, base::SystemTime at) {
  if (std::exchange(link_ended_, true)) return;
  link_end_ = end;
  link_ended_at_ = at;
  std::erase_if(notes_, [](const Note& note) { return !note.gap.has_value() && note.stage != Stage::kTaken; });
  notes_.emplace_back();
}

bool GapNotes::has_news() const {
  return std::any_of(notes_.begin(), notes_.end(), [](const Note& note) { return note.stage == Stage::kNew; });
}

bool GapNotes::all_written() const {
  return std::all_of(notes_.begin(), notes_.end(), [](const Note& note) { return note.stage == Stage::kWritten; });
}

GapNews GapNotes::Take() {
  GapNews news{.instance = instance_};
  for (Note& note : notes_) {
    if (note.stage != Stage::kNew) continue;
    note.stage = Stage::kTaken;
    if (note.gap.has_value()) {
      news.gaps.push_back(*note.gap);
    } else {
      news.link = link_end_;
      news.at = link_ended_at_;
    }
  }
  return news;
}

void GapNotes::Written(base::SteadyTime now, std::chrono::milliseconds durable_after, std::uint64_t continuity) {
  for (Note& note : notes_) {
    if (note.stage != Stage::kTaken) continue;
    note.stage = Stage::kWritten;
    note.since = now;
    note.look_at = now + durable_after;
    note.continuity = continuity;
  }
}

void GapNotes::Failed() {
  for (Note& note : notes_) {
    if (note.stage == Stage::kTaken) note.stage = Stage::kNew;
  }
}

base::SteadyTime GapNotes::next_look() const {
  base::SteadyTime next = base::SteadyTime::max();
  for (const Note& note : notes_) {
    if (note.stage == Stage::kWritten) next = std::min(next, note.look_at);
  }
  return next;
}

std::vector<model::SeqRange> GapNotes::Step(base::SteadyTime now, const model::DurableMark& durable) {
  std::vector<model::SeqRange> known;
  std::erase_if(notes_, [&](Note& note) {
    if (note.stage != Stage::kWritten || note.look_at > now) return false;
    if (note.continuity != durable.continuity) {
      note.stage = Stage::kNew;
      return false;
    }
    if (note.since > durable.until) {
      note.look_at = now + kNextLook;
      return false;
    }
    if (note.gap.has_value() && HasNumbers(*note.gap)) known.push_back(note.gap->seqs);
    return true;
  });
  return known;
}

}  // namespace clusterpulse::ingest
