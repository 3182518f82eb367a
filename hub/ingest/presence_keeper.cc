#include "hub/ingest/presence_keeper.h"

#include <algorithm>
#include <utility>

#include "common/base/utf8.h"

namespace clusterpulse::ingest {
namespace {

constexpr std::chrono::seconds kBetweenChanges{1}, kBetweenHeartbeats{25}, kAtLeast{30};
// Of texts the collector made, for people.
constexpr std::size_t kLongestText = 512, kMostProblems = 20;

}  // namespace

PresenceKeeper::PresenceKeeper(store::Presence presence, base::SteadyTime now)
    : presence_(std::move(presence)), written_(now), heartbeat_written_(now) {}

void PresenceKeeper::OnHeartbeat(const model::Heartbeat& heartbeat) {
  heard_ = true;
  presence_.buffered_batches = heartbeat.buffered_batches;
  presence_.buffered_bytes = heartbeat.buffered_bytes;
  presence_.oldest_buffered = heartbeat.oldest_buffered;
  Change(presence_.degraded, base::CutUtf8(heartbeat.degraded, kLongestText));
  SetInterval(heartbeat.interval);
}

void PresenceKeeper::OnConfigReport(const model::ConfigReport& report) {
  Change(presence_.config_hash, report.hash);
  std::vector<std::string> problems;
  for (const std::string& problem : report.problems) {
    if (problems.size() == kMostProblems) break;
    problems.push_back(base::CutUtf8(problem, kLongestText));
  }
  Change(presence_.config_problems, std::move(problems));
}

void PresenceKeeper::SetInterval(std::chrono::seconds interval) {
  if (interval > std::chrono::seconds::zero()) Change(presence_.interval, interval);
}

void PresenceKeeper::SetLimited(std::string_view what) { Change(presence_.limited, std::string(what)); }

void PresenceKeeper::End(std::string_view reason, base::SystemTime at) {
  presence_.ended_at = at;
  presence_.end_reason = base::CutUtf8(reason, kLongestText);
  ended_ = changed_ = true;
}

base::SteadyTime PresenceKeeper::due() const {
  if (ended_) return changed_ ? base::SteadyTime::min() : base::SteadyTime::max();
  if (changed_) return written_ + kBetweenChanges;
  const base::SteadyTime at_least = written_ + kAtLeast;
  return heard_ ? std::min(at_least, heartbeat_written_ + kBetweenHeartbeats) : at_least;
}

store::Presence PresenceKeeper::Take(bool is_held, base::SystemTime now) {
  taken_changed_ = std::exchange(changed_, false);
  taken_heard_ = std::exchange(heard_, false);
  if (is_held) presence_.last_message = now;
  return presence_;
}

void PresenceKeeper::Written(base::SteadyTime now) {
  written_ = now;
  if (taken_heard_) heartbeat_written_ = now;
}

void PresenceKeeper::Failed() {
  changed_ |= taken_changed_;
  heard_ |= taken_heard_;
}

}  // namespace clusterpulse::ingest
