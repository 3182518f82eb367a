#include "collector/link/delivery_queue.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "common/model/seq_set.h"

namespace clusterpulse::link {
namespace {

// A hub may offer more; what is in flight is memory here.
constexpr std::uint32_t kMostCredits = 1024;
constexpr std::uint64_t kMostCreditBytes = std::uint64_t{64} << 20;
// Upstream offers none; a hub that never acknowledges must still not make us count for ever.
constexpr model::Credits kUpstreamCredits{64, std::numeric_limits<std::uint64_t>::max()};
// Batches that fell out of the buffer and may be durable all the same: some 200 bytes each.
constexpr std::size_t kMostUndecided = 1024;
// More would make a live batch wait longer, less would spend a round trip on each.
constexpr std::size_t kMostHistoryInFlight = 2;
// Every batch holds this scope, so that one that holds nothing else is live until the next.
constexpr std::string_view kNewestBatch;
constexpr std::size_t kLongestReason = 256;

model::Credits Clamped(model::Credits credits) {
  return {std::min(credits.batches, kMostCredits), std::min(credits.bytes, kMostCreditBytes)};
}

// Such a scope is in every batch, as far as it is known.
bool IsInEachBatch(std::string_view scope) {
  return scope == kNewestBatch || scope == "nodes" || scope == "counts" || scope == "namespaces";
}

}  // namespace

std::uint64_t DeliveryQueue::Add(Made made) {
  for (Entry& older : entries_) {
    if (made.full) {
      older.newest_of.clear();
      continue;
    }
    older.newest_of.erase(std::string(kNewestBatch));
    for (const Piece& piece : made.pieces) {
      for (const std::string& scope : piece.scopes) older.newest_of.erase(scope);
    }
  }
  const std::uint64_t first = stats_.last_seq + 1, last = stats_.last_seq + made.pieces.size();
  for (Piece& piece : made.pieces) {
    Entry& entry = entries_.emplace_back();
    entry.seq = ++stats_.last_seq;
    entry.first_of_batch = first;
    entry.last_of_batch = last;
    entry.id = made.id;
    entry.collected_at = made.collected_at;
    entry.collected = made.collected;
    entry.bytes = piece.bytes;
    entry.newest_of = {piece.scopes.begin(), piece.scopes.end()};
    entry.newest_of.emplace(kNewestBatch);
    entry.piece = std::make_shared<const Piece>(std::move(piece));
  }
  if (made.full) {
    ++stats_.full_batches;
    is_state_lost_ = false;
  }
  Evict();
  return last;
}

void DeliveryQueue::Evict() {
  std::size_t calls = 0, bytes = 0;
  std::uint64_t last_counted = 0;
  for (const Entry& entry : entries_) {
    if (entry.piece == nullptr) continue;
    bytes += entry.bytes;
    calls += entry.first_of_batch != last_counted ? 1 : 0;
    last_counted = entry.first_of_batch;
  }
  const std::uint64_t newest = entries_.back().first_of_batch;
  for (auto it = entries_.begin(); calls > max_batches_ || bytes > max_bytes_;) {
    const std::uint64_t oldest = it->first_of_batch;
    if (oldest == newest) break;
    bool was_kept = false;
    for (; it->first_of_batch == oldest; ++it) {
      if (it->piece == nullptr) continue;
      was_kept = true;
      bytes -= it->bytes;
      it->piece = nullptr;
    }
    calls -= was_kept ? 1 : 0;
  }
  Forget();
}

void DeliveryQueue::Forget() {
  const auto is_undecided = [this](const Entry& entry) {
    const bool has_asked = entry.state == State::kInFlight || entry.state == State::kApplied;
    return entry.piece == nullptr && (has_asked || (entry.was_sent && !peer_.has_value()));
  };
  auto undecided = static_cast<std::size_t>(std::count_if(entries_.begin(), entries_.end(), is_undecided));
  Erase([&](const Entry& entry) {
    if (entry.piece != nullptr) return false;
    if (is_undecided(entry)) {
      if (undecided <= kMostUndecided) return false;
      --undecided;
    }
    CountLost(entry);
    return true;
  });
}

template <typename Predicate>
void DeliveryQueue::Erase(Predicate is_over) {
  const auto settle = [&](Entry& entry) {
    if (!is_over(std::as_const(entry))) return false;
    Settle(entry, State::kApplied);
    return true;
  };
  entries_.erase(std::remove_if(entries_.begin(), entries_.end(), settle), entries_.end());
}

void DeliveryQueue::Settle(Entry& entry, State state) {
  if (entry.state == State::kInFlight) {
    --stats_.in_flight;
    in_flight_bytes_ -= entry.bytes;
    if (entry.as_history) --history_in_flight_;
  }
  entry.state = state;
}

void DeliveryQueue::CountDurable(const Entry& entry) {
  ++stats_.durable;
  stats_.newest_durable = std::max(stats_.newest_durable.value_or(entry.collected), entry.collected);
}

void DeliveryQueue::NoteUntaken(const Entry& entry) {
  if (!peer_.has_value() || entry.state == State::kApplied) return;  // the next connect brings all
  is_state_lost_ |=
      std::any_of(entry.newest_of.begin(), entry.newest_of.end(), [](auto& scope) { return !IsInEachBatch(scope); });
}

void DeliveryQueue::CountLost(const Entry& entry) {
  NoteUntaken(entry);
  ++stats_.lost;
  if (!lost_.empty() && lost_.back().seqs.last + 1 == entry.seq) {
    lost_.back().seqs.last = entry.seq;
    lost_.back().to = entry.collected_at;
    return;
  }
  if (lost_.size() == kMostLost) lost_.pop_front();
  lost_.push_back({{entry.seq, entry.seq}, entry.collected_at, entry.collected_at});
}

DeliveryQueue::Stats DeliveryQueue::stats() const {
  Stats stats = stats_;
  for (const Entry& entry : entries_) {
    if (entry.piece == nullptr) continue;
    ++stats.batches;
    stats.bytes += entry.bytes;
    if (!stats.oldest.has_value()) stats.oldest = entry.collected_at;
  }
  return stats;
}

model::SeqRange DeliveryQueue::held() const {
  model::SeqRange held;
  for (const Entry& entry : entries_) {
    if (entry.piece == nullptr) continue;
    if (held.first == 0) held.first = entry.seq;
    held.last = entry.seq;
  }
  return held;
}

void DeliveryQueue::SetPeer(const Peer& peer) {
  peer_ = peer;
  peer_->credits = peer.upstream ? kUpstreamCredits : Clamped(peer.credits);
  for (Entry& entry : entries_) {
    if (entry.state == State::kRefused) entry.state = State::kWaiting;
  }
  Forget();
}

void DeliveryQueue::SetCredits(model::Credits credits) {
  if (peer_.has_value() && !peer_->upstream) peer_->credits = Clamped(credits);
}

void DeliveryQueue::Disconnected() {
  peer_.reset();
  begun_.reset();
  is_state_lost_ = false;
  for (Entry& entry : entries_) {
    Settle(entry, State::kWaiting);
    entry.again = false;
  }
}

bool DeliveryQueue::HasCredit(const Entry& entry) const {
  const model::Credits& credits = peer_->credits;
  if (stats_.in_flight >= credits.batches) return false;
  return stats_.in_flight == 0 || in_flight_bytes_ + entry.bytes <= credits.bytes;
}

bool DeliveryQueue::IsNewestPending() const {
  return std::any_of(entries_.begin(), entries_.end(), [this](const Entry& entry) {
    return entry.first_of_batch == entries_.back().first_of_batch &&
           (entry.state == State::kWaiting || entry.state == State::kInFlight);
  });
}

bool DeliveryQueue::HasWaiting() const {
  if (!peer_.has_value()) return false;
  return std::any_of(entries_.begin(), entries_.end(), [this](const Entry& entry) {
    const bool is_for_peer = !peer_->upstream || entry.first_of_batch == entries_.back().first_of_batch;
    return is_for_peer && entry.piece != nullptr && entry.state == State::kWaiting;
  });
}

DeliveryQueue::Entry* DeliveryQueue::Choose() {
  const auto may_go = [](const Entry& entry) { return entry.piece != nullptr && entry.state == State::kWaiting; };
  if (entries_.empty()) return nullptr;
  if (peer_->upstream) {
    const std::uint64_t newest = entries_.back().first_of_batch;
    const auto it = std::find_if(entries_.begin(), entries_.end(),
                                 [&](const Entry& entry) { return entry.first_of_batch == newest && may_go(entry); });
    return it != entries_.end() && HasCredit(*it) ? &*it : nullptr;
  }
  Entry* history = nullptr;
  for (Entry& entry : entries_) {
    if (!may_go(entry)) continue;
    if (!entry.newest_of.empty()) {
      const bool is_only_live = stats_.in_flight == history_in_flight_;
      return is_only_live || HasCredit(entry) ? &entry : nullptr;
    }
    if (history == nullptr) history = &entry;
  }
  if (history == nullptr || history_in_flight_ >= kMostHistoryInFlight) return nullptr;
  return HasCredit(*history) ? history : nullptr;
}

std::optional<std::string> DeliveryQueue::Next(base::SteadyTime now, bool only_begun) {
  if (!peer_.has_value()) return std::nullopt;
  if (begun_.has_value()) return NextPart();
  if (only_begun) return std::nullopt;
  while (Entry* const entry = Choose()) {
    if (auto message = Begin(*entry, now)) return message;
    RefuseForNow(*entry, "it is larger than what the hub reads");
  }
  return std::nullopt;
}

std::optional<std::string> DeliveryQueue::Begin(Entry& entry, base::SteadyTime now) {
  const Piece& piece = *entry.piece;
  wire::Stamp stamp{.seq = entry.seq,
                    .age = std::chrono::duration_cast<std::chrono::milliseconds>(now - entry.collected),
                    .history_only = !peer_->upstream && entry.newest_of.empty()};
  const auto is_readable = [&](const std::string& body) {
    return body.size() + wire::kMostStampBytes <= peer_->max_message;
  };
  std::optional<std::string> message;
  if (piece.bodies.size() > 1 && peer_->parts && piece.bytes <= peer_->max_batch &&
      std::all_of(piece.bodies.begin(), piece.bodies.end(), is_readable)) {
    stamp.parts = static_cast<std::uint32_t>(piece.bodies.size());
    begun_ = Begun{entry.piece, stamp};
    message = NextPart();
  } else if (piece.bodies.size() == 1 && is_readable(piece.bodies.front())) {
    message = wire::BatchMessage(piece.bodies.front(), stamp);
  } else if (const auto body = WholeBody(piece, std::min(peer_->max_message, wire::kMaxUpstreamMessage))) {
    message = wire::BatchMessage(*body, stamp);
  } else {
    return std::nullopt;
  }
  entry.state = State::kInFlight;
  entry.was_sent = true;
  entry.as_history = stamp.history_only;
  ++stats_.in_flight;
  in_flight_bytes_ += entry.bytes;
  if (entry.as_history) ++history_in_flight_;
  ++(entry.as_history ? stats_.sent_history : stats_.sent_live);
  return message;
}

std::string DeliveryQueue::NextPart() {
  wire::Stamp& stamp = begun_->stamp;
  std::string message = wire::BatchMessage(begun_->piece->bodies[stamp.part], stamp);
  if (++stamp.part == stamp.parts) begun_.reset();
  return message;
}

DeliveryQueue::Entry* DeliveryQueue::Find(std::uint64_t seq) {
  const auto it = std::lower_bound(entries_.begin(), entries_.end(), seq,
                                   [](const Entry& entry, std::uint64_t s) { return entry.seq < s; });
  return it != entries_.end() && it->seq == seq ? &*it : nullptr;
}

std::size_t DeliveryQueue::Applied(const std::vector<model::SeqRange>& ranges) {
  std::size_t count = 0;
  for (Entry& entry : entries_) {
    if (entry.state != State::kInFlight || !model::Contains(ranges, entry.seq)) continue;
    ++count;
    Settle(entry, State::kApplied);
    if (std::exchange(entry.again, false)) SendAgain(entry);
  }
  stats_.applied += count;
  Forget();
  return count;
}

void DeliveryQueue::SendAgain(Entry& entry) {
  entry.state = State::kWaiting;
  entry.newest_of.clear();  // readers have seen it; by now there may be something newer
}

void DeliveryQueue::Durable(const model::DurablePosition& position) {
  Erase([&](const Entry& entry) {
    const bool is_durable = entry.seq <= position.low || model::Contains(position.ranges, entry.seq);
    if (!is_durable || !entry.was_sent) return false;
    CountDurable(entry);
    return true;
  });
  const std::uint64_t most = entries_.empty() ? stats_.last_seq : entries_.front().seq - 1;
  stats_.durable_low = std::max(stats_.durable_low, std::min(position.low, most));
  // What broke off may have arrived all the same.
  while (!lost_.empty() && lost_.front().seqs.last <= stats_.durable_low) lost_.pop_front();
  if (!lost_.empty()) lost_.front().seqs.first = std::max(lost_.front().seqs.first, stats_.durable_low + 1);
}

void DeliveryQueue::Rejected(const std::vector<model::Rejection>& rejected) {
  for (const model::Rejection& rejection : rejected) {
    const Entry* const entry = Find(rejection.seq);
    if (entry != nullptr && entry->was_sent) Reject(rejection.seq, rejection.reason);
  }
}

void DeliveryQueue::Reject(std::uint64_t seq, std::string_view reason) {
  if (const Entry* const entry = Find(seq)) NoteUntaken(*entry);
  Erase([seq](const Entry& entry) { return entry.seq == seq; });
  if (begun_.has_value() && begun_->stamp.seq == seq) begun_.reset();
  ++stats_.rejected;
  Refuse(seq, reason);
}

void DeliveryQueue::Refuse(std::uint64_t seq, std::string_view reason) {
  refusals_ = {refusals_.count + 1, seq, std::string(reason.substr(0, kLongestReason))};
}

bool DeliveryQueue::Replay(model::SeqRange range) {
  bool had_state = false;
  for (Entry& entry : entries_) {
    if (entry.seq < range.first || entry.seq > range.last) continue;
    const bool was_taken = entry.state == State::kInFlight || entry.state == State::kApplied;
    had_state |= was_taken && !entry.newest_of.empty();
    if (entry.state == State::kInFlight) {
      entry.again = true;
    } else if (entry.state == State::kApplied) {
      SendAgain(entry);
    }
  }
  Forget();
  return had_state;
}

void DeliveryQueue::UpstreamAcked(const model::UpstreamAck& ack) {
  if (!peer_.has_value() || !peer_->upstream) return;
  const auto acked = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return entry.state == State::kInFlight && entry.id == ack.batch_id;
  });
  if (acked == entries_.end()) return;
  if (!ack.success) return RefuseForNow(*acked, ack.error);
  Settle(*acked, State::kApplied);
  ++stats_.applied;
  FreeUpstream(acked->first_of_batch, acked->last_of_batch);
}

void DeliveryQueue::RefuseForNow(Entry& entry, std::string_view reason) {
  Settle(entry, State::kRefused);
  NoteUntaken(entry);
  Refuse(entry.seq, reason);
  if (peer_->upstream) FreeUpstream(entry.first_of_batch, entry.last_of_batch);
}

void DeliveryQueue::FreeUpstream(std::uint64_t first_of_batch, std::uint64_t last_of_batch) {
  bool is_decided = true, is_taken = false;
  for (const Entry& entry : entries_) {
    if (entry.first_of_batch != first_of_batch) continue;
    is_decided &= entry.state == State::kApplied || entry.state == State::kRefused;
    is_taken |= entry.state == State::kApplied;
  }
  if (!is_decided || !is_taken) return;
  Erase([&](const Entry& entry) {
    if (entry.seq > last_of_batch) return false;
    if (entry.state == State::kApplied || entry.state == State::kInFlight) {
      CountDurable(entry);
    } else {
      CountLost(entry);  // refused, or history, which this hub does not take
    }
    return true;
  });
  stats_.durable_low = std::max(stats_.durable_low, last_of_batch);
}

}  // namespace clusterpulse::link
