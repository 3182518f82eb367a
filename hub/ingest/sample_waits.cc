#include "hub/ingest/sample_waits.h"

#include <algorithm>

namespace clusterpulse::ingest {
namespace {

using history::Ticket;
using std::chrono::milliseconds;

// Nobody waits for the news: they only free space. A look goes over all that wait.
constexpr milliseconds kBetweenLooks{500}, kLongestLook{5000};
// Batches that were accepted so soon after each other wait as one.
constexpr milliseconds kJoined{250};

// The longer something waits the less often is it asked for.
base::SteadyTime NextLook(base::SteadyTime since, base::SteadyTime now) {
  return now + std::clamp<base::SteadyTime::duration>((now - since) / 4, kBetweenLooks, kLongestLook);
}

}  // namespace

void SampleWaits::Add(std::uint64_t seq, base::SystemTime from, base::SystemTime to,
                      std::shared_ptr<const Ticket> ticket, base::SteadyTime now) {
  const bool is_settled = ticket->Get().state != Ticket::State::kWaiting;
  waits_.push_back(
      {.seqs = {seq, seq}, .from = from, .to = to, .ticket = std::move(ticket), .since = now, .first_since = now});
  next_look_ = std::min(next_look_, is_settled ? now : now + kBetweenLooks);
}

void SampleWaits::AddBeside(base::SystemTime from, base::SystemTime to, std::shared_ptr<const Ticket> ticket,
                            base::SteadyTime now) {
  Add(0, from, to, std::move(ticket), now);
  waits_.back().batches = 0;
}

void SampleWaits::AddHeld(const store::HeldSamples& held, std::shared_ptr<const Ticket> ticket, base::SteadyTime now) {
  Add(0, held.since, held.until, std::move(ticket), now);
  waits_.back().batches = held.batches;
}

store::HeldSamples SampleWaits::Held() const {
  store::HeldSamples held;
  for (const Wait& wait : waits_) held.Add({wait.from, wait.to, wait.batches});
  return held;
}

store::HeldSamples SampleWaits::HeldBefore() const {
  store::HeldSamples held;
  for (const Wait& wait : waits_) {
    if (wait.seqs.first == 0) held.Add({wait.from, wait.to, wait.batches});
  }
  return held;
}

std::vector<SampleWaits::News> SampleWaits::Step(base::SteadyTime now) {
  std::vector<News> news;
  if (now < next_look_) return news;
  next_look_ = base::SteadyTime::max();
  const auto look_at = [&](base::SteadyTime time) { next_look_ = std::min(next_look_, time); };
  const auto tell = [&news](Fate fate, const Wait& wait, std::string why = {}) {
    news.push_back({fate, wait.seqs, wait.from, wait.to, std::move(why)});
  };
  const model::DurableMark mark = writer_->Durable();
  const milliseconds durable_after = writer_->DurableAfter();
  std::size_t kept = 0;
  for (Wait& wait : waits_) {
    if (wait.ticket != nullptr) {
      Ticket::Outcome outcome = wait.ticket->Get();
      switch (outcome.state) {
        case Ticket::State::kWaiting:
          look_at(NextLook(wait.since, now));
          break;
        case Ticket::State::kAccepted:
          wait.ticket.reset();
          wait.since = wait.first_since = outcome.at;
          wait.continuity = outcome.continuity;
          break;
        case Ticket::State::kDropped:
          tell(Fate::kLost, wait);
          continue;
        case Ticket::State::kRefused:
          tell(Fate::kRefused, wait, std::move(outcome.why));
          continue;
      }
    }
    if (wait.ticket == nullptr) {
      if (wait.continuity != mark.continuity) {
        tell(Fate::kLost, wait);
        continue;
      }
      const base::SteadyTime due = wait.since + durable_after;
      if (due <= now && wait.since <= mark.until) {
        tell(Fate::kDurable, wait);
        continue;
      }
      look_at(due > now ? std::max(due, now + kBetweenLooks) : NextLook(due, now));
      Wait* const before = kept > 0 ? &waits_[kept - 1] : nullptr;
      // Those that are due wait for the same word of the store. What waits for it longer is settled first, so that
      // joining puts nothing off for ever.
      if (before != nullptr && before->ticket == nullptr && before->continuity == wait.continuity &&
          before->seqs.first != 0 && before->seqs.last + 1 == wait.seqs.first && before->since <= wait.since &&
          (wait.since - before->first_since <= kJoined || due <= now)) {
        before->seqs.last = wait.seqs.last;
        before->batches += wait.batches;
        before->from = std::min(before->from, wait.from);
        before->to = std::max(before->to, wait.to);
        before->since = wait.since;
        continue;
      }
    }
    if (&waits_[kept] != &wait) waits_[kept] = std::move(wait);
    ++kept;
  }
  waits_.erase(waits_.begin() + static_cast<std::ptrdiff_t>(kept), waits_.end());
  return news;
}

}  // namespace clusterpulse::ingest
