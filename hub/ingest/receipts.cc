#include "hub/ingest/receipts.h"

#include <algorithm>
#include <utility>

#include "common/base/utf8.h"
#include "common/wire/messages.h"
#include "hub/ingest/parts.h"

namespace clusterpulse::ingest {
namespace {

constexpr std::size_t kLongestReason = 512;
// The store has not spoken since: it does every second while it lives.
constexpr std::chrono::milliseconds kNextLook{250};
// Whether there is room again in a queue that was full.
constexpr std::chrono::milliseconds kBetweenReplays{500};

}  // namespace

Receipts::Receipts(std::string instance, const model::DurablePosition& durable, model::Credits credits,
                   const history::HistoryWriter* history, const Metrics& metrics)
    : metrics_(metrics),
      delivery_(true),
      instance_(std::move(instance)),
      history_(history),
      credits_(credits),
      most_credits_(credits),
      durable_(durable),
      samples_(history) {}

bool Receipts::Take(std::size_t bytes, bool history_only, bool begins) {
  if (!delivery_) return true;
  if (taken_.batches == 0) largest_live_ = largest_history_ = 0;
  if (begins) ++taken_.batches;
  taken_.bytes += bytes;
  std::uint64_t& current = history_only ? current_history_ : current_live_;
  std::uint64_t& largest = history_only ? largest_history_ : largest_live_;
  current = begins ? bytes : current + bytes;
  largest = std::max(largest, current);

  const std::uint64_t live = largest_live_ > 0 ? 1 : 0;
  const std::uint64_t batches = taken_.batches - std::min(taken_.batches, live);
  const std::uint64_t oversized = largest_history_ > most_credits_.bytes ? largest_history_ : 0;
  const std::uint64_t in_flight = taken_.bytes - std::min(taken_.bytes, largest_live_ + oversized);
  return batches <= most_credits_.batches && in_flight <= most_credits_.bytes + kByteSlack;
}

void Receipts::SetCredits(model::Credits credits) {
  if (!delivery_) return;
  const bool differs =
      credits.batches != credits_.batches || credits.bytes > 2 * credits_.bytes || 2 * credits.bytes < credits_.bytes;
  new_credits_ = differs ? std::optional(credits) : std::nullopt;
}

void Receipts::Settle(std::size_t bytes) {
  ++settled_.batches;
  settled_.bytes += bytes;
}

void Receipts::Applied(const BatchRef& batch, const Placed& placed) {
  has_applied_ = true;
  if (!delivery_) {
    acks_.push_back({.batch_id = batch.id});
    // Of upstream a hole is told by its times: it begins with the batch before.
    const bool is_first = last_collected_ == base::SystemTime{};
    const base::SystemTime before = std::exchange(last_collected_, batch.collected_at);
    const base::SystemTime from = is_first ? batch.collected_at : std::min(before, batch.collected_at);
    if (placed.samples != nullptr) {
      samples_.Add(batch.seq, from, batch.collected_at, placed.samples, placed.at);
    }
    return;
  }
  Settle(batch.bytes);
  applied_.Add(batch.seq);
  replay_.Settled({batch.seq, batch.seq});
  if (durable_.Contains(batch.seq)) return;
  Wait wait{batch.seq,         placed.at,          placed.at + placed.durable_after,
            placed.continuity, batch.collected_at, placed.samples};
  if (placed.state) {
    waits_.push_back(std::move(wait));
  } else {
    StateDurable(wait, placed.at);
  }
}

void Receipts::AddHeld(const store::HeldSamples& held, std::shared_ptr<const history::Ticket> ticket,
                       base::SteadyTime now) {
  was_held_ = true;
  samples_.AddHeld(held, std::move(ticket), now);
}

std::optional<store::HeldSamples> Receipts::HeldWith(const BatchRef& next) const {
  if (history_ == nullptr || (delivery_ && !was_held_)) return std::nullopt;
  // What waits of a collector of ours it holds itself.
  store::HeldSamples held = delivery_ ? samples_.HeldBefore() : samples_.Held();
  held.Add(lost_);
  if (!delivery_) {
    const bool is_first = last_collected_ == base::SystemTime{};
    held.Add({is_first ? next.collected_at : std::min(last_collected_, next.collected_at), next.collected_at, 1});
  }
  return held;
}

void Receipts::StateDurable(const Wait& wait, base::SteadyTime now) {
  if (wait.samples != nullptr) {
    samples_.Add(wait.seq, wait.collected_at, wait.collected_at, wait.samples, now);
  } else {
    AddDurable({wait.seq, wait.seq}, wait.collected_at);
  }
}

void Receipts::AddDurable(model::SeqRange seqs, std::optional<base::SystemTime> newest) {
  if (durable_.Add(seqs)) durable_news_ = true;
  if (newest.has_value()) newest_durable_ = std::max(newest_durable_, *newest);
  // So many ranges that the set forgot this one: by the time it comes again there are fewer.
  if (!durable_.Contains(seqs.first) || !durable_.Contains(seqs.last)) return replay_.Lost(seqs);
  replay_.Settled(seqs);
}

void Receipts::Rejected(const BatchRef& batch, std::string_view reason) {
  std::string text = base::CutUtf8(reason, kLongestReason);
  if (!delivery_) {
    acks_.push_back({.batch_id = batch.id, .success = false, .error = std::move(text)});
    return;
  }
  Settle(batch.bytes);
  replay_.Settled({batch.seq, batch.seq});
  rejected_.push_back({batch.seq, std::move(text)});
}

void Receipts::Dropped(std::size_t bytes) { settled_.bytes += bytes; }

std::vector<SampleWaits::News> Receipts::Step(base::SteadyTime now, const model::DurableMark& durable) {
  for (; !waits_.empty() && waits_.front().look_at <= now; waits_.pop_front()) {
    Wait& wait = waits_.front();
    if (wait.continuity != durable.continuity) {
      if (!durable_.Contains(wait.seq)) replay_.Lost({wait.seq, wait.seq});
    } else if (wait.since <= durable.until) {
      StateDurable(wait, now);
    } else {
      wait.look_at = now + kNextLook;  // those behind it came later
      break;
    }
  }
  std::vector<SampleWaits::News> given_up;
  if (samples_.next_look() > now) return given_up;
  for (SampleWaits::News& news : samples_.Step(now)) {
    if (!delivery_ || news.seqs.first == 0) {
      if (news.fate == SampleWaits::Fate::kDurable) continue;
      lost_.Add({news.from, news.to, 1});
      given_up.push_back(std::move(news));
      continue;
    }
    switch (news.fate) {
      case SampleWaits::Fate::kDurable:
        AddDurable(news.seqs, news.to);
        break;
      case SampleWaits::Fate::kLost:
        if (!durable_.Contains(news.seqs.first) || !durable_.Contains(news.seqs.last)) replay_.Lost(news.seqs);
        break;
      case SampleWaits::Fate::kRefused:
        for (std::uint64_t seq = news.seqs.first; seq <= news.seqs.last; ++seq) {
          rejected_.push_back({seq, base::CutUtf8(news.why, kLongestReason)});
        }
        given_up.push_back(std::move(news));
        break;
    }
  }
  return given_up;
}

bool Receipts::AreDurable(model::SeqRange seqs) const {
  const model::DurablePosition& durable = durable_.position();
  if (seqs.last <= durable.low) return true;
  seqs.first = std::max(seqs.first, durable.low + 1);
  return std::any_of(durable.ranges.begin(), durable.ranges.end(), [&seqs](const model::SeqRange& range) {
    return range.first <= seqs.first && seqs.last <= range.last;
  });
}

bool Receipts::has_urgent_news() const {
  return settled_.batches > 0 || settled_.bytes > 0 || !rejected_.empty() || new_credits_.has_value();
}

base::SteadyTime Receipts::ack_due() const {
  if (!has_urgent_news() && !durable_news_) return base::SteadyTime::max();
  if (!last_ack_) return base::SteadyTime();
  return *last_ack_ + (has_urgent_news() ? kAckInterval : kDurableInterval);
}

bool Receipts::all_told() const { return acks_.empty() && !has_urgent_news() && !durable_news_; }

std::optional<base::SteadyTime> Receipts::next_due(bool may_send, base::SteadyTime now) const {
  base::SteadyTime due = base::SteadyTime::max();
  // Not before it could be told.
  const base::SteadyTime told = last_ack_.value_or(base::SteadyTime()) + kDurableInterval;
  if (!waits_.empty()) due = std::max(waits_.front().look_at, told);
  if (!samples_.empty()) due = std::min(due, std::max(samples_.next_look(), told));
  if (may_send) due = std::min(due, ack_due());
  if (may_send && !acks_.empty()) due = base::SteadyTime();
  if (may_send) {
    const base::SteadyTime replay = replay_.next_due(credits_.batches);
    due = std::min(due, replay > now || has_room() ? replay : now + kBetweenReplays);
  }
  if (due == base::SteadyTime::max()) return std::nullopt;
  return due;
}

std::optional<std::string> Receipts::NextMessage(base::SteadyTime now) {
  if (!acks_.empty()) {
    const model::UpstreamAck ack = std::move(acks_.front());
    acks_.pop_front();
    metrics_.acks.Add({ack.success ? "upstream" : "upstream_failed"});
    return wire::Encode(ack);
  }
  if (!delivery_) return std::nullopt;
  if (ack_due() <= now) {
    last_ack_ = now;
    return TakeAck();
  }
  if (!may_replay(now)) return std::nullopt;
  // Ranges are lost, and joined, as wholes: what of them is durable is not kept any more where it would be asked for.
  for (const model::SeqRange& durable : durable_.Ranges()) replay_.Settled(durable);
  const std::optional<model::SeqRange> range = replay_.Next(credits_.batches, now);
  if (!range.has_value()) return std::nullopt;
  metrics_.replays.Add();
  metrics_.replay_batches.Add(static_cast<double>(range->last - range->first + 1));
  return wire::Encode(model::Replay{instance_, *range});
}

std::string Receipts::TakeAck() {
  model::DeliveryAck ack;
  ack.applied = std::exchange(applied_, {}).Ranges();
  ack.durable = durable_.position();
  ack.rejected = std::exchange(rejected_, {});
  if (new_credits_.has_value()) {
    ack.credits = credits_ = *std::exchange(new_credits_, std::nullopt);
    most_credits_ = {std::max(most_credits_.batches, credits_.batches), std::max(most_credits_.bytes, credits_.bytes)};
  }
  taken_.batches -= std::min(taken_.batches, settled_.batches);
  taken_.bytes -= std::min(taken_.bytes, settled_.bytes);
  settled_ = {};
  durable_news_ = false;
  metrics_.acks.Add({"delivery"});
  return wire::Encode(ack);
}

}  // namespace clusterpulse::ingest
