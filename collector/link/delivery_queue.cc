#include "collector/link/delivery_queue.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

namespace clusterpulse::link {
namespace {

// A hub may offer more; what is in flight is memory here.
constexpr std::uint32_t kMostCredits = 1024;
constexpr std::uint64_t kMostCreditBytes = std::uint64_t{64} << 20;
// Upstream offers none; a hub that never acknowledges must still not make us count for ever.
constexpr model::Credits kUpstreamCredits{64, std::numeric_limits<std::uint64_t>::max()};
// Batches that fell out of the buffer and may be durable all the same: some 200 bytes each.
constexpr std::size_t kMostUndecided = 1024;
// History in flight, whatever its size: less would spend a round trip on each.
constexpr std::size_t kFewHistory = 2;
// More of it only while it is small: a live batch waits behind all that was sent before. Half of the credits stay for
// live ones.
constexpr std::size_t kMostHistory = 8;
constexpr std::size_t kMostHistoryBytes = std::size_t{256} << 10;
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

bool IsIn(const model::DurablePosition& position, std::uint64_t seq) {
  return seq <= position.low || model::Contains(position.ranges, seq);
}

}  // namespace

std::uint64_t DeliveryQueue::Add(Made made) {
  for (auto it = live_.begin(); it != live_.end();) {
    Entry& older = *Find(*it++);
    auto& newest_of = older.memory->newest_of;
    if (made.full) {
      newest_of.clear();
    } else {
      newest_of.erase(std::string(kNewestBatch));
      for (const Piece& piece : made.pieces) {
        for (const std::string& scope : piece.scopes) newest_of.erase(scope);
      }
    }
    if (newest_of.empty()) Outdate(older);
  }
  const std::uint64_t first = stats_.last_seq + 1, last = stats_.last_seq + made.pieces.size();
  last_collected_at_ = made.collected_at;
  for (std::size_t i = 0; i < made.pieces.size(); ++i) {
    Piece& piece = made.pieces[i];
    Entry& entry = entries_.emplace_back();
    entry.seq = ++stats_.last_seq;
    entry.first_of_batch = first;
    entry.last_of_batch = last;
    entry.collected_at = made.collected_at;
    entry.collected = made.collected;
    entry.is_spooled = i < made.spooled;
    entry.bytes = entry.is_spooled ? piece.history.size() : piece.bytes;
    entry.memory = std::make_unique<Memory>();
    entry.memory->id = made.id;
    entry.memory->newest_of = {piece.scopes.begin(), piece.scopes.end()};
    entry.memory->newest_of.emplace(kNewestBatch);
    entry.memory->piece = std::make_shared<const Piece>(std::move(piece));
    live_.insert(entry.seq);
  }
  if (made.full) {
    ++stats_.full_batches;
    is_state_lost_ = false;
  }
  Evict();
  return last;
}

void DeliveryQueue::Outdate(Entry& entry) {
  entry.memory->newest_of.clear();
  live_.erase(entry.seq);
  history_from_ = std::min(history_from_, entry.seq);
  Shrink(entry);
}

void DeliveryQueue::Shrink(Entry& entry) {
  if (entry.memory == nullptr || entry.IsLive() || entry.state == State::kInFlight) return;
  if (entry.is_spooled) {
    entry.memory.reset();
  } else if (entry.HasPiece() && !entry.memory->is_history && !entry.memory->piece->history.empty()) {
    Piece rest;
    rest.history = entry.memory->piece->history;
    entry.bytes = rest.history.size() + wire::kMostStampBytes;
    entry.memory->piece = std::make_shared<const Piece>(std::move(rest));
    entry.memory->is_history = true;
  }
}

DeliveryQueue::InMemory DeliveryQueue::CountInMemory() const {
  InMemory count;
  std::uint64_t last_counted = 0;
  for (const Entry& entry : entries_) {
    if (entry.is_spooled || !entry.HasPiece()) continue;
    if (std::exchange(last_counted, entry.first_of_batch) != entry.first_of_batch) {
      ++count.calls;
      count.newest_bytes = 0;
    }
    count.bytes += entry.bytes;
    count.newest_bytes += entry.bytes;
  }
  return count;
}

bool DeliveryQueue::IsFull() const {
  const InMemory count = CountInMemory();
  return count.calls > 0 && (count.calls >= max_batches_ || count.bytes + count.newest_bytes > max_bytes_);
}

void DeliveryQueue::Evict() {
  auto [calls, bytes, newest_bytes] = CountInMemory();
  const std::uint64_t newest = entries_.back().first_of_batch;
  for (auto it = entries_.begin(); calls > max_batches_ || bytes > max_bytes_;) {
    const std::uint64_t oldest = it->first_of_batch;
    if (oldest == newest) break;
    bool was_kept = false;
    for (; it->first_of_batch == oldest; ++it) {
      if (it->is_spooled || !it->HasPiece()) continue;
      was_kept = true;
      bytes -= it->bytes;
      it->memory->piece = nullptr;
      has_fallen_ = true;
    }
    calls -= was_kept ? 1 : 0;
  }
  Forget();
}

void DeliveryQueue::Forget() {
  if (!has_fallen_) return;
  const auto is_undecided = [this](const Entry& entry) {
    const bool has_asked = entry.state == State::kInFlight || entry.state == State::kApplied;
    return !entry.IsKept() && (has_asked || (entry.was_sent && !peer_.has_value()));
  };
  auto undecided = static_cast<std::size_t>(std::count_if(entries_.begin(), entries_.end(), is_undecided));
  std::vector<model::Gap> lost;
  has_fallen_ = false;
  Erase([&](const Entry& entry) {
    if (entry.IsKept()) return false;
    if (is_undecided(entry)) {
      if (undecided <= kMostUndecided) {
        has_fallen_ = true;
        return false;
      }
      --undecided;
    }
    CountLost(entry, model::GapCause::kSpoolOverflow, lost);
    return true;
  });
  AddLost(lost);
}

template <typename Predicate>
void DeliveryQueue::Erase(Predicate is_over) {
  const auto settle = [&](Entry& entry) {
    if (!is_over(std::as_const(entry))) return false;
    Land(entry);
    live_.erase(entry.seq);
    return true;
  };
  entries_.erase(std::remove_if(entries_.begin(), entries_.end(), settle), entries_.end());
}

void DeliveryQueue::Launch(Entry& entry) {
  const std::size_t bytes = BytesToSend(entry);
  entry.state = State::kInFlight;
  entry.was_sent = true;
  last_offered_ = std::max(last_offered_, entry.seq);
  NoteSent();
  in_flight_.emplace(entry.seq, bytes);
  in_flight_bytes_ += bytes;
  if (!entry.as_history) return;
  ++history_in_flight_;
  history_in_flight_bytes_ += bytes;
}

void DeliveryQueue::Land(Entry& entry) {
  if (entry.state != State::kInFlight) return;
  const auto flight = in_flight_.find(entry.seq);
  in_flight_bytes_ -= flight->second;
  if (entry.as_history) {
    --history_in_flight_;
    history_in_flight_bytes_ -= flight->second;
  }
  in_flight_.erase(flight);
}

void DeliveryQueue::Settle(Entry& entry, State state) {
  Land(entry);
  entry.state = state;
  if (state == State::kWaiting) history_from_ = std::min(history_from_, entry.seq);
  Shrink(entry);
}

void DeliveryQueue::CountDurable(const Entry& entry) {
  ++stats_.durable;
  stats_.newest_durable = std::max(stats_.newest_durable.value_or(entry.collected), entry.collected);
}

void DeliveryQueue::NoteUntaken(const Entry& entry) {
  if (!peer_.has_value() || entry.state == State::kApplied || entry.memory == nullptr) return;  // or the next connect
  const auto& newest_of = entry.memory->newest_of;
  is_state_lost_ |= std::any_of(newest_of.begin(), newest_of.end(), [](auto& scope) { return !IsInEachBatch(scope); });
}

void DeliveryQueue::CountLost(const Entry& entry, model::GapCause cause, std::vector<model::Gap>& lost) {
  NoteUntaken(entry);
  ++stats_.lost;
  lost.push_back({{entry.seq, entry.seq}, entry.collected_at, entry.collected_at, cause});
}

void DeliveryQueue::AddLost(const std::vector<model::Gap>& lost) {
  for (const model::Gap& gap : lost) gaps_.Add(gap);
  if (gaps_.all().size() <= kMostGaps) return;
  for (const model::SeqRange& range : gaps_.Merge(kMostGaps, [this](model::SeqRange r) { return HasAny(r); })) {
    Erase([&](const Entry& entry) {
      if (entry.seq < range.first || entry.seq > range.last) return false;
      NoteUntaken(entry);
      ++stats_.lost;
      return true;
    });
  }
}

DeliveryQueue::Stats DeliveryQueue::stats() const {
  Stats stats = stats_;
  stats.in_flight = in_flight_.size();
  stats.durable_low = durable_.position().low;
  for (const Entry& entry : entries_) {
    if (!entry.IsKept()) continue;
    ++stats.batches;
    stats.spooled += entry.is_spooled ? 1 : 0;
    stats.bytes += entry.bytes;
    if (!stats.oldest.has_value()) stats.oldest = entry.collected_at;
  }
  return stats;
}

std::vector<model::Gap> DeliveryQueue::gaps() const {
  spool::GapList all;
  for (const model::Gap& gap : spool_gaps_) all.Add(gap);
  for (const model::Gap& gap : gaps_.all()) all.Add(gap);
  return all.all();
}

std::vector<model::Gap> DeliveryQueue::TellGaps() {
  std::vector<model::Gap> told;
  for (model::Gap& gap : gaps()) {
    if (!is_confirmed_) gap.seqs.last = std::min(gap.seqs.last, last_sent_);
    if (gap.seqs.first > gap.seqs.last) break;
    told.push_back(gap);
  }
  if (!told.empty()) last_told_ = std::max(last_told_, told.back().seqs.last);
  return told;
}

model::SeqRange DeliveryQueue::held() const {
  model::SeqRange held;
  for (const Entry& entry : entries_) {
    if (!entry.IsKept()) continue;
    if (held.first == 0) held.first = entry.seq;
    held.last = entry.seq;
  }
  return held;
}

bool DeliveryQueue::IsQuiet() const {
  return std::none_of(entries_.begin(), entries_.end(), [](const Entry& entry) { return entry.was_sent; });
}

// --- the spool ---

std::vector<model::Gap> DeliveryQueue::Adopt(const Left& left, base::SystemTime now, base::SteadyTime steady) {
  std::vector<model::Gap> lost = gaps_.all();
  gaps_ = {};
  for (model::Gap& gap : lost) gap.seqs = {};
  std::vector<model::Gap> fallen;
  Erase([&](const Entry& entry) {
    if (entry.IsKept()) return false;
    CountLost(entry, model::GapCause::kSpoolOverflow, fallen);
    return true;
  });
  for (model::Gap& gap : fallen) {
    gap.seqs = {};
    lost.push_back(gap);
  }
  for (Entry& entry : entries_) {
    Settle(entry, State::kWaiting);
    entry.was_sent = false;
  }
  has_fallen_ = false;
  for (auto it = left.entries.rbegin(); it != left.entries.rend(); ++it) {
    Entry& entry = entries_.emplace_front();
    entry.seq = entry.first_of_batch = entry.last_of_batch = it->seq;
    entry.collected_at = it->collected_at;
    entry.collected = steady - std::max<base::SystemTime::duration>(now - it->collected_at, {});
    entry.bytes = it->bytes;
    entry.is_spooled = entry.was_sent = true;
  }
  spool_gaps_ = left.gaps;
  verdicts_ = {};
  last_sent_ = last_offered_ = left.confirmed;
  last_told_ = 0;
  is_confirmed_ = left.is_confirmed;
  if (last_collected_at_ == base::SystemTime() && !left.entries.empty()) {
    last_collected_at_ = left.entries.back().collected_at;
  }
  durable_ = model::SeqSet(left.durable);
  GiveNumbers(left.entries.size(), left.last_seq);
  return lost;
}

void DeliveryQueue::NumbersChanged() {
  live_.clear();
  history_from_ = 0;
  wanted_.reset();
  from_disk_ = {};
  for (const Entry& entry : entries_) {
    if (entry.IsLive()) live_.insert(entry.seq);
  }
}

void DeliveryQueue::GiveNumbers(std::size_t from, std::uint64_t last) {
  std::uint64_t first_before = 0, first = 0;
  for (std::size_t i = from; i < entries_.size(); ++i) {
    Entry& entry = entries_[i];
    if (i == from || entry.first_of_batch != first_before) {
      first_before = entry.first_of_batch;
      first = last + 1;
    }
    entry.seq = ++last;
    entry.first_of_batch = first;
  }
  for (std::size_t i = entries_.size(); i-- > from;) {
    const bool is_last = i + 1 == entries_.size() || entries_[i + 1].first_of_batch != entries_[i].first_of_batch;
    entries_[i].last_of_batch = is_last ? entries_[i].seq : entries_[i + 1].last_of_batch;
  }
  stats_.last_seq = last;
  NumbersChanged();
}

std::vector<DeliveryQueue::Unspooled> DeliveryQueue::unspooled() const {
  std::vector<Unspooled> out;
  for (const Entry& entry : entries_) {
    const bool is_gap = std::any_of(spool_gaps_.begin(), spool_gaps_.end(), [&](const model::Gap& gap) {
      return gap.seqs.first <= entry.seq && entry.seq <= gap.seqs.last;
    });
    if (!entry.is_spooled && entry.HasPiece() && !is_gap)
      out.push_back({entry.seq, entry.collected_at, entry.memory->piece});
  }
  return out;
}

void DeliveryQueue::Spooled(std::uint64_t seq, std::size_t bytes) {
  Entry* const entry = Find(seq);
  if (entry == nullptr) return;  // it is over by now: the next word of the hub frees it there too
  entry->is_spooled = true;
  entry->bytes = bytes;
  Shrink(*entry);
}

void DeliveryQueue::OnDisk(const std::vector<spool::Spool::Entry>& kept, std::vector<model::Gap> gaps) {
  spool_gaps_ = std::move(gaps);
  auto next = kept.begin();
  const auto is_kept = [&](std::uint64_t seq) {
    while (next != kept.end() && next->seq < seq) ++next;
    return next != kept.end() && next->seq == seq;
  };
  for (Entry& entry : entries_) {
    if (!entry.is_spooled || is_kept(entry.seq)) continue;
    entry.is_spooled = false;
    if (!entry.HasPiece()) continue;
    entry.bytes = entry.memory->piece->bytes;  // still state: it is kept for that
    Shrink(entry);
  }
  Erase([&](const Entry& entry) {
    if (entry.IsKept() || entry.memory != nullptr) return false;
    ++stats_.lost;
    return true;
  });
}

std::vector<model::Gap> DeliveryQueue::TakeGaps() {
  std::vector<model::Gap> gaps = gaps_.all();
  gaps_ = {};
  return gaps;
}

// --- the hub ---

void DeliveryQueue::SetPeer(const Peer& peer) {
  peer_ = peer;
  peer_->credits = peer.upstream ? kUpstreamCredits : Clamped(peer.credits);
  NoteSent();
  for (Entry& entry : entries_) {
    if (entry.state == State::kRefused) entry.state = State::kWaiting;
  }
  history_from_ = 0;
  Forget();
}

void DeliveryQueue::SetCredits(model::Credits credits) {
  if (peer_.has_value() && !peer_->upstream) peer_->credits = Clamped(credits);
}

void DeliveryQueue::Disconnected() {
  peer_.reset();
  begun_.reset();
  wanted_.reset();
  is_state_lost_ = false;
  for (Entry& entry : entries_) {
    Settle(entry, State::kWaiting);
    entry.again = false;
  }
}

std::size_t DeliveryQueue::BytesToSend(const Entry& entry) const {
  return entry.is_spooled && entry.IsLive() ? entry.memory->piece->bytes : entry.bytes;
}

bool DeliveryQueue::HasCredit(const Entry& entry) const {
  const model::Credits& credits = peer_->credits;
  if (in_flight_.size() >= credits.batches) return false;
  return in_flight_.empty() || in_flight_bytes_ + BytesToSend(entry) <= credits.bytes;
}

bool DeliveryQueue::IsNewestPending() const {
  for (auto it = entries_.rbegin(); it != entries_.rend(); ++it) {
    if (it->first_of_batch != entries_.back().first_of_batch) break;
    const bool is_here = it->memory != nullptr;  // else: what an earlier process left
    if (is_here && (it->state == State::kWaiting || it->state == State::kInFlight)) return true;
  }
  return false;
}

bool DeliveryQueue::HasWaiting() const {
  if (!peer_.has_value()) return false;
  return std::any_of(entries_.begin(), entries_.end(), [this](const Entry& entry) {
    if (entry.state != State::kWaiting) return false;
    if (peer_->upstream) return entry.HasPiece() && entry.first_of_batch == entries_.back().first_of_batch;
    return entry.IsLive() ? entry.HasPiece() : entry.IsKept() && !(is_draining_ && entry.is_spooled);
  });
}

DeliveryQueue::Entry* DeliveryQueue::Choose(base::SteadyTime now) {
  if (entries_.empty()) return nullptr;
  if (peer_->upstream) {
    for (auto it = LowerBound(entries_.back().first_of_batch); it != entries_.end(); ++it) {
      const bool is_whole = it->HasPiece() && !it->memory->is_history;
      if (is_whole && it->state == State::kWaiting) return HasCredit(*it) ? &*it : nullptr;
    }
    return nullptr;
  }
  for (const std::uint64_t seq : live_) {
    Entry& entry = *Find(seq);
    if (!entry.HasPiece() || entry.state != State::kWaiting) continue;
    const bool is_only_live = in_flight_.size() == history_in_flight_;
    return is_only_live || HasCredit(entry) ? &entry : nullptr;
  }
  return ChooseHistory(now);
}

DeliveryQueue::Entry* DeliveryQueue::ChooseHistory(base::SteadyTime now) {
  const bool is_paused = now < disk_from_;
  const auto waits = [&](const Entry& entry) {
    const bool is_here = entry.is_spooled ? !is_draining_ && !is_paused : entry.HasPiece();
    return is_here && entry.state == State::kWaiting && !entry.IsLive();
  };
  const auto it = std::find_if(LowerBound(history_from_), entries_.end(), waits);
  if (!is_paused) history_from_ = it == entries_.end() ? stats_.last_seq + 1 : it->seq;
  if (it == entries_.end() || !HasCredit(*it)) return nullptr;
  if (history_in_flight_ < kFewHistory) return &*it;
  const std::size_t most = std::min<std::size_t>(kMostHistory, peer_->credits.batches / 2);
  const bool is_small = history_in_flight_bytes_ + BytesToSend(*it) <= kMostHistoryBytes;
  return history_in_flight_ < most && is_small ? &*it : nullptr;
}

std::shared_ptr<const Piece> DeliveryQueue::PieceOf(const Entry& entry) {
  if (entry.HasPiece()) {
    if (!entry.memory->is_history) return entry.memory->piece;
    absl::StatusOr<Piece> piece = HistoryPiece(entry.memory->piece->history);
    return std::make_shared<const Piece>(piece.ok() ? *std::move(piece) : Piece());
  }
  if (from_disk_.seq == entry.seq) return std::exchange(from_disk_, {}).piece;
  return nullptr;
}

std::optional<std::string> DeliveryQueue::Next(base::SteadyTime now, bool only_begun) {
  wanted_.reset();
  if (!peer_.has_value()) return std::nullopt;
  if (begun_.has_value()) return NextPart();
  if (only_begun) return std::nullopt;
  while (Entry* const entry = Choose(now)) {
    const std::shared_ptr<const Piece> piece = PieceOf(*entry);
    if (piece == nullptr) {
      wanted_ = entry->seq;
      return std::nullopt;
    }
    if (auto message = Begin(*entry, piece, now)) return message;
    RefuseForNow(*entry, "it is larger than what the hub reads");
  }
  return std::nullopt;
}

bool DeliveryQueue::Loaded(std::uint64_t seq, absl::StatusOr<std::string> history, base::SteadyTime now) {
  Entry* const entry = Find(seq);
  if (entry == nullptr || !entry->is_spooled) return true;
  const bool is_read = history.ok();
  absl::StatusOr<Piece> piece = history.ok() ? HistoryPiece(*std::move(history)) : history.status();
  if (piece.ok()) {
    from_disk_ = {seq, std::make_shared<const Piece>(*std::move(piece))};
    return true;
  }
  const absl::StatusCode code = piece.status().code();
  if (code != absl::StatusCode::kNotFound && code != absl::StatusCode::kDataLoss) {
    disk_from_ = now + kDiskPause;
    return true;
  }
  NoteUntaken(*entry);
  ++stats_.lost;
  Erase([seq](const Entry& e) { return e.seq == seq; });
  return !is_read;
}

std::optional<std::string> DeliveryQueue::Begin(Entry& entry, const std::shared_ptr<const Piece>& piece,
                                                base::SteadyTime now) {
  wire::Stamp stamp{.seq = entry.seq,
                    .age = std::chrono::duration_cast<std::chrono::milliseconds>(now - entry.collected),
                    .history_only = !peer_->upstream && !entry.IsLive()};
  const auto is_readable = [&](const std::string& body) {
    return body.size() + wire::kMostStampBytes <= peer_->max_message;
  };
  std::optional<std::string> message;
  if (piece->bodies.size() > 1 && peer_->parts && piece->bytes <= peer_->max_batch &&
      std::all_of(piece->bodies.begin(), piece->bodies.end(), is_readable)) {
    stamp.parts = static_cast<std::uint32_t>(piece->bodies.size());
    begun_ = Begun{piece, stamp};
    message = NextPart();
  } else if (piece->bodies.size() == 1 && is_readable(piece->bodies.front())) {
    message = wire::BatchMessage(piece->bodies.front(), stamp);
  } else if (const auto body = WholeBody(*piece, std::min(peer_->max_message, wire::kMaxUpstreamMessage))) {
    message = wire::BatchMessage(*body, stamp);
  } else {
    return std::nullopt;
  }
  entry.as_history = stamp.history_only;
  Launch(entry);
  ++(entry.as_history ? stats_.sent_history : stats_.sent_live);
  return message;
}

std::string DeliveryQueue::NextPart() {
  wire::Stamp& stamp = begun_->stamp;
  std::string message = wire::BatchMessage(begun_->piece->bodies[stamp.part], stamp);
  if (++stamp.part == stamp.parts) begun_.reset();
  return message;
}

DeliveryQueue::Entries::iterator DeliveryQueue::LowerBound(std::uint64_t seq) {
  return std::lower_bound(entries_.begin(), entries_.end(), seq,
                          [](const Entry& entry, std::uint64_t s) { return entry.seq < s; });
}
DeliveryQueue::Entries::const_iterator DeliveryQueue::LowerBound(std::uint64_t seq) const {
  return std::lower_bound(entries_.begin(), entries_.end(), seq,
                          [](const Entry& entry, std::uint64_t s) { return entry.seq < s; });
}

DeliveryQueue::Entry* DeliveryQueue::Find(std::uint64_t seq) {
  const auto it = LowerBound(seq);
  return it != entries_.end() && it->seq == seq ? &*it : nullptr;
}

bool DeliveryQueue::HasAny(model::SeqRange range) const {
  const auto it = LowerBound(range.first);
  return it != entries_.end() && it->seq <= range.last;
}

std::size_t DeliveryQueue::Applied(const std::vector<model::SeqRange>& ranges) {
  std::size_t count = 0;
  for (auto it = in_flight_.begin(); it != in_flight_.end();) {
    const std::uint64_t seq = (it++)->first;
    if (!model::Contains(ranges, seq)) continue;
    Entry& entry = *Find(seq);
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
  history_from_ = std::min(history_from_, entry.seq);
  if (entry.IsLive()) Outdate(entry);  // readers have seen it; by now there may be something newer
}

void DeliveryQueue::Durable(const model::DurablePosition& position) {
  const auto is_over = [&](const Entry& entry) { return entry.was_sent && IsIn(position, entry.seq); };
  const auto is_counted = [&](const Entry& entry) {
    if (!is_over(entry)) return false;
    CountDurable(entry);
    return true;
  };
  const bool is_any =
      HasAny({1, position.low}) || std::any_of(position.ranges.begin(), position.ranges.end(),
                                               [this](const model::SeqRange& range) { return HasAny(range); });
  if (is_any) Erase(is_counted);
  const std::uint64_t most = entries_.empty() ? stats_.last_seq : entries_.front().seq - 1;
  // Of what was never given, and of what was never sent, a hub cannot know.
  model::DurablePosition over{std::min(position.low, most), {}};
  for (model::SeqRange range : position.ranges) {
    range.last = std::min(range.last, stats_.last_seq);
    if (range.first <= range.last && !HasAny(range)) over.ranges.push_back(range);
  }
  durable_.AddUpTo(over.low);
  for (const model::SeqRange& range : over.ranges) durable_.Add(range);
  gaps_.Forget(over);                       // what broke off may have arrived all the same
  verdicts_.durable = durable_.position();  // all of it: what was said before may not be told yet
}

void DeliveryQueue::Rejected(const std::vector<model::Rejection>& rejected) {
  for (const model::Rejection& rejection : rejected) {
    const Entry* const entry = Find(rejection.seq);
    if (entry != nullptr && entry->was_sent) Reject(rejection.seq, rejection.reason);
  }
}

void DeliveryQueue::Reject(std::uint64_t seq, std::string_view reason) {
  const Entry& entry = *Find(seq);
  NoteUntaken(entry);
  const model::Gap gap{{seq, seq}, entry.collected_at, entry.collected_at, model::GapCause::kRejected};
  if (entry.is_spooled) {
    verdicts_.given_up.push_back({seq, gap.cause});
  } else {
    AddLost({gap});
  }
  Erase([seq](const Entry& e) { return e.seq == seq; });
  if (begun_.has_value() && begun_->stamp.seq == seq) begun_.reset();
  ++stats_.rejected;
  Refuse(seq, reason);
}

void DeliveryQueue::Refuse(std::uint64_t seq, std::string_view reason) {
  refusals_ = {refusals_.count + 1, seq, std::string(reason.substr(0, kLongestReason))};
}

bool DeliveryQueue::Replay(model::SeqRange range) {
  bool had_state = false;
  for (auto it = LowerBound(range.first); it != entries_.end() && it->seq <= range.last; ++it) {
    Entry& entry = *it;
    const bool was_taken = entry.state == State::kInFlight || entry.state == State::kApplied;
    had_state |= was_taken && entry.IsLive();
    if (entry.state == State::kInFlight) {
      entry.again = true;
    } else if (entry.state == State::kApplied) {
      SendAgain(entry);
    }
  }
  // What was told durable is gone; now the hub says that it does not have it after all. When it was made nobody knows
  // any more: before what is kept behind it.
  std::vector<model::Gap> lost;
  for (const model::SeqRange& run : Missing(range)) {
    const auto next = LowerBound(run.last);
    const base::SystemTime at = next == entries_.end() ? last_collected_at_ : next->collected_at;
    lost.push_back({run, at, at, model::GapCause::kCollectorLost});
  }
  AddLost(lost);
  Forget();
  return had_state;
}

std::vector<model::SeqRange> DeliveryQueue::Missing(model::SeqRange range) const {
  std::vector<model::SeqRange> known;
  for (auto it = LowerBound(range.first); it != entries_.end() && it->seq <= range.last; ++it) {
    known.push_back({it->seq, it->seq});
  }
  for (const model::Gap& gap : gaps()) known.push_back(gap.seqs);
  std::sort(known.begin(), known.end(),
            [](const model::SeqRange& a, const model::SeqRange& b) { return a.first < b.first; });
  std::vector<model::SeqRange> missing;
  std::uint64_t next = std::max<std::uint64_t>(range.first, 1);
  const std::uint64_t last = std::min(range.last, stats_.last_seq);
  known.push_back({last + 1, last + 1});
  for (const model::SeqRange& run : known) {
    if (next > last) break;
    if (next < run.first) missing.push_back({next, std::min(run.first - 1, last)});
    next = std::max(next, run.last + 1);
  }
  return missing;
}

bool DeliveryQueue::UpstreamAcked(const model::UpstreamAck& ack) {
  if (!peer_.has_value() || !peer_->upstream) return false;
  Entry* acked = nullptr;
  for (const auto& [seq, bytes] : in_flight_) {
    Entry* const entry = Find(seq);
    if (entry->memory != nullptr && entry->memory->id == ack.batch_id) {
      acked = entry;
      break;
    }
  }
  if (acked == nullptr) return false;
  if (!ack.success) {
    RefuseForNow(*acked, ack.error);
    return false;
  }
  const std::uint64_t first = acked->first_of_batch, last = acked->last_of_batch;
  Settle(*acked, State::kApplied);
  ++stats_.applied;
  FreeUpstream(first, last);
  return true;
}

void DeliveryQueue::RefuseForNow(Entry& entry, std::string_view reason) {
  const std::uint64_t first = entry.first_of_batch, last = entry.last_of_batch;
  NoteUntaken(entry);
  Refuse(entry.seq, reason);
  Settle(entry, State::kRefused);
  if (peer_->upstream) FreeUpstream(first, last);
}

void DeliveryQueue::FreeUpstream(std::uint64_t first_of_batch, std::uint64_t last_of_batch) {
  bool is_decided = true, is_taken = false;
  for (auto it = LowerBound(first_of_batch); it != entries_.end() && it->seq <= last_of_batch; ++it) {
    is_decided &= it->state == State::kApplied || it->state == State::kRefused;
    is_taken |= it->state == State::kApplied;
  }
  if (!is_decided || !is_taken) return;
  std::vector<model::Gap> lost;
  Erase([&](const Entry& entry) {
    if (entry.seq > last_of_batch) return false;
    if (entry.state == State::kApplied || entry.state == State::kInFlight) {
      CountDurable(entry);
      durable_.Add(entry.seq);
      return true;
    }
    // History is what there is because there was no link; this hub does not take it.
    CountLost(entry, entry.state == State::kRefused ? model::GapCause::kRejected : model::GapCause::kLinkDown, lost);
    if (entry.is_spooled) {
      verdicts_.given_up.push_back({entry.seq, lost.back().cause});
      lost.pop_back();
    }
    return true;
  });
  verdicts_.durable = durable_.position();
  AddLost(lost);
  // Of one that leaves again and again: what lies within a gap, which gaps that were joined stand for, need not be
  // told.
  if (durable_.position().ranges.size() <= kMostGaps) return;
  model::DurablePosition position = durable_.position();
  const std::vector<model::Gap> known = gaps();
  std::erase_if(position.ranges, [&known](const model::SeqRange& range) {
    return std::any_of(known.begin(), known.end(), [&range](const model::Gap& gap) {
      return gap.seqs.first < range.first && range.last < gap.seqs.last;
    });
  });
  durable_ = model::SeqSet(position);
}

// --- numbers that were forgotten ---

std::optional<std::uint64_t> DeliveryQueue::FirstForeign(std::uint64_t last_seq) const {
  if (last_seq <= std::max(last_sent_, last_told_)) return std::nullopt;
  // Which numbers an upstream hub took stays as it is.
  const model::DurablePosition& durable = durable_.position();
  const std::uint64_t known = std::max(last_sent_, durable.ranges.empty() ? durable.low : durable.ranges.back().last);
  if (last_seq <= known) return std::nullopt;
  return known + 1;
}

void DeliveryQueue::Renumber(model::SeqRange forgotten) {
  const spool::Shift shift{forgotten.first - 1, forgotten.last - forgotten.first + 1};
  for (Entry& entry : entries_) {
    if (entry.seq > shift.after) {
      Settle(entry, State::kWaiting);
      entry.was_sent = entry.again = false;
      if (begun_.has_value() && begun_->stamp.seq == entry.seq) begun_.reset();
    }
    for (std::uint64_t* const seq : {&entry.seq, &entry.first_of_batch, &entry.last_of_batch}) *seq = shift.Of(*seq);
  }
  for (spool::Spool::GivenUp& given_up : verdicts_.given_up) given_up.seq = shift.Of(given_up.seq);
  gaps_.Shift(shift.after, shift.by);
  stats_.last_seq = std::max(shift.Of(stats_.last_seq), forgotten.last);
  last_sent_ = last_offered_ = forgotten.last;
  NumbersChanged();
  Forget();
}

}  // namespace clusterpulse::link
