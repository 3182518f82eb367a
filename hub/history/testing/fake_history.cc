#include "hub/history/testing/fake_history.h"

#include <algorithm>

namespace clusterpulse::history {

using base::MutexLock;

std::shared_ptr<const Ticket> FakeHistoryWriter::Write(const model::Batch& batch) {
  MutexLock lock(mu_);
  written_.push_back(batch);
  const Waiting waiting{{batch.cluster, batch.collected_at}, std::make_shared<Ticket>()};
  if (mode_ == Mode::kHang) {
    waiting_.push_back(waiting);
  } else {
    SettleLocked(waiting, mode_);
  }
  return waiting.ticket;
}

std::shared_ptr<const Ticket> FakeHistoryWriter::Find(const Sought& sought) {
  MutexLock lock(mu_);
  sought_.push_back(sought);
  const Finding finding{sought, std::make_shared<Ticket>()};
  if (mode_ == Mode::kHang) {
    findings_.push_back(finding);
  } else {
    AnswerLocked(finding);
  }
  return finding.ticket;
}

void FakeHistoryWriter::AnswerLocked(const Finding& finding) {
  const auto ms = [](base::SystemTime at) {
    return std::chrono::floor<std::chrono::milliseconds>(at.time_since_epoch()).count();
  };
  const Sought& sought = finding.sought;
  const std::int64_t until = ms(sought.until), from = std::min(ms(sought.after) + 1, until);
  std::uint64_t found = 0;
  for (const auto& [key, kept] : stored_) {
    if (key.first == sought.cluster && from <= ms(key.second) && ms(key.second) <= until) ++found;
  }
  if (found >= sought.batches) {
    finding.ticket->Settle({Ticket::State::kAccepted, clock_.Steady(), continuity_, {}});
  } else {
    finding.ticket->Settle({Ticket::State::kDropped, {}, 0, {}});
  }
}

void FakeHistoryWriter::SettleLocked(const Waiting& waiting, Mode mode) {
  switch (mode) {
    case Mode::kAccept: {
      const base::SteadyTime now = clock_.Steady();
      Kept& kept = stored_.try_emplace(waiting.key, Kept{0, now}).first->second;
      ++kept.times;
      waiting.ticket->Settle({Ticket::State::kAccepted, now, continuity_, {}});
      break;
    }
    case Mode::kDrop:
      waiting.ticket->Settle({Ticket::State::kDropped, {}, 0, {}});
      break;
    case Mode::kRefuse:
      waiting.ticket->Settle({Ticket::State::kRefused, {}, 0, why_});
      break;
    case Mode::kHang:
      break;
  }
}

std::chrono::milliseconds FakeHistoryWriter::DurableAfter() const {
  MutexLock lock(mu_);
  return durable_after_;
}

model::DurableMark FakeHistoryWriter::Durable() const {
  MutexLock lock(mu_);
  return {continuity_, silent_since_.value_or(clock_.Steady()) - durable_after_};
}

bool FakeHistoryWriter::HasRoom() const {
  MutexLock lock(mu_);
  return room_;
}

void FakeHistoryWriter::SetMode(Mode mode, std::string why) {
  MutexLock lock(mu_);
  mode_ = mode;
  why_ = std::move(why);
  if (mode_ == Mode::kHang) return;
  for (const Finding& finding : findings_) AnswerLocked(finding);
  findings_.clear();
}

void FakeHistoryWriter::Settle(Mode mode, std::size_t count) {
  MutexLock lock(mu_);
  count = std::min(count, waiting_.size());
  for (std::size_t i = 0; i < count; ++i) SettleLocked(waiting_[i], mode);
  waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(count));
  for (const Finding& finding : findings_) AnswerLocked(finding);
  findings_.clear();
}

void FakeHistoryWriter::SetRoom(bool room) {
  MutexLock lock(mu_);
  room_ = room;
}

void FakeHistoryWriter::SetDurableAfter(std::chrono::milliseconds after) {
  MutexLock lock(mu_);
  durable_after_ = after;
}

void FakeHistoryWriter::SetSilent(bool silent) {
  MutexLock lock(mu_);
  silent_since_ = silent ? std::optional(clock_.Steady()) : std::nullopt;
}

void FakeHistoryWriter::Crash() {
  MutexLock lock(mu_);
  ++continuity_;
  const base::SteadyTime safe = clock_.Steady() - durable_after_;
  std::erase_if(stored_, [safe](const auto& entry) { return entry.second.first_at > safe; });
}

void FakeHistoryWriter::ForgetWaiting() {
  MutexLock lock(mu_);
  waiting_.clear();
  findings_.clear();
}

std::vector<Sought> FakeHistoryWriter::sought() const {
  MutexLock lock(mu_);
  return sought_;
}

std::vector<model::Batch> FakeHistoryWriter::written() const {
  MutexLock lock(mu_);
  return written_;
}

std::size_t FakeHistoryWriter::waiting() const {
  MutexLock lock(mu_);
  return waiting_.size();
}

std::map<FakeHistoryWriter::Key, int> FakeHistoryWriter::stored() const {
  MutexLock lock(mu_);
  std::map<Key, int> out;
  for (const auto& [key, kept] : stored_) out.emplace(key, kept.times);
  return out;
}

}  // namespace clusterpulse::history
