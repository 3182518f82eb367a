#include "hub/history/durability_watch.h"

#include <algorithm>
#include <charconv>

namespace clusterpulse::history {

void DurabilityWatch::On(const Look& look) {
  switch (look.seen) {
    case Look::Seen::kStart:
      OnStart(look);
      return;
    case Look::Seen::kNoAnswer:
      gone_since_.reset();
      return;
    case Look::Seen::kNoStart:
      break;
  }
  if (by_time_) return;
  if (!gone_since_) gone_since_ = look.sent;
  if (!starts_.empty() && look.sent - *gone_since_ < kGoneFor) return;
  by_time_ = true;
  // What was sent before was to be judged by a start that cannot be seen any more.
  if (!starts_.empty()) ++continuity_;
}

void DurabilityWatch::OnStart(const Look& look) {
  gone_since_.reset();
  const auto known = std::find(starts_.begin(), starts_.end(), look.start);
  const bool is_new = known == starts_.end();
  if (is_new || by_time_) {
    // Whether the process is the one that took what was sent before is not known.
    ++continuity_;
    by_time_ = false;
    send_from_ = look.answered + kSettle;
  } else {
    until_ = std::max(until_, look.sent - durable_after_);
  }
  if (!is_new) starts_.erase(known);
  starts_.push_back(look.start);
  if (starts_.size() > kMostStarts) starts_.erase(starts_.begin());
}

std::optional<std::int64_t> ParseStart(std::string_view metrics) {
  // Of whoever stores samples, or hands them to who does.
  constexpr std::string_view kStores = "vm_rows_inserted_total", kStart = "process_start_time_seconds";
  std::optional<std::int64_t> start;
  bool stores = false;
  while (!metrics.empty()) {
    const std::size_t end = std::min(metrics.find('\n'), metrics.size());
    std::string_view line = metrics.substr(0, end);
    metrics.remove_prefix(std::min(end + 1, metrics.size()));
    stores = stores || line.starts_with(kStores);
    if (!line.starts_with(kStart) || line.size() <= kStart.size() || line[kStart.size()] != ' ') continue;
    line.remove_prefix(kStart.size() + 1);
    double seconds = 0;
    const auto [rest, error] = std::from_chars(line.data(), line.data() + line.size(), seconds);
    const bool is_sane = error == std::errc() && seconds >= 1 && seconds < 1e12;
    if (is_sane) start = static_cast<std::int64_t>(seconds);
  }
  return stores ? start : std::nullopt;
}

}  // namespace clusterpulse::history
