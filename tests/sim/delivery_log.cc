#include "tests/sim/delivery_log.h"

#include <algorithm>
#include <utility>

namespace clusterpulse::sim {

void DeliveryLog::AddMade(const std::string& cluster, const std::string& instance, Made made) {
  Instance& at = instances_[instance];
  at.cluster = cluster;
  newest_[cluster] = made.state;
  numbered_by_[{cluster, made.collected_ms}] = instance;
  at.made.push_back(std::move(made));
  ++batches_;
}

void DeliveryLog::AddSent(const std::string& cluster, std::int64_t collected_ms, const std::string& instance,
                          std::uint64_t seq, bool offered) {
  const auto known = instances_.find(instance);
  if (known != instances_.end()) {
    std::vector<Made>& made = known->second.made;
    const auto found = std::find_if(made.rbegin(), made.rend(), [&](const Made& batch) {
      return batch.seq == seq && batch.collected_ms == collected_ms;
    });
    if (found != made.rend()) {
      found->is_offered = offered && (!found->was_sent || found->is_offered);
      found->was_sent = true;
      return;
    }
  }
  const auto numbered_by = numbered_by_.find({cluster, collected_ms});
  if (numbered_by == numbered_by_.end()) return;  // made before the recording began
  std::vector<Made>& made = instances_[numbered_by->second].made;
  const auto is_it = [&](const Made& batch) { return batch.collected_ms == collected_ms; };
  const auto found = std::find_if(made.rbegin(), made.rend(), is_it);
  if (found == made.rend()) return;
  Made renumbered = *found;
  if (!found->was_sent) made.erase(std::next(found).base());  // that number was never of any meaning
  renumbered.seq = seq;
  renumbered.was_sent = true;
  renumbered.is_offered = offered;
  renumbered.is_durable = false;
  numbered_by->second = instance;
  instances_[instance].cluster = cluster;
  instances_[instance].made.push_back(std::move(renumbered));
}

void DeliveryLog::AddKnown(const std::string& instance, std::uint64_t last_seq) {
  std::vector<Made>& made = instances_[instance].made;
  for (Made& batch : made) {
    if (!std::exchange(batch.is_offered, false) || batch.seq > last_seq) continue;
    batch.was_sent = std::none_of(made.begin(), made.end(), [&batch](const Made& other) {
      return &other != &batch && other.seq == batch.seq && other.was_sent;
    });
  }
}

void DeliveryLog::AddDurable(const std::string& instance, const model::DurablePosition& position) {
  Instance& at = instances_[instance];
  at.durable.AddUpTo(position.low);
  for (const model::SeqRange& range : position.ranges) at.durable.Add(range);
  // Of two that were sent under one number the later one is meant: the first went with the memory it was in.
  model::SeqSet told;
  for (auto made = at.made.rbegin(); made != at.made.rend(); ++made) {
    if (!made->was_sent || made->is_gone || (made->seq > position.low && !model::Contains(position.ranges, made->seq)))
      continue;
    if (told.Add(made->seq)) made->is_durable = true;
  }
  AddSeen(instance, position.ranges.empty() ? position.low : position.ranges.back().last);
}

void DeliveryLog::AddEnd(const std::string& cluster) {
  for (auto& [name, instance] : instances_) {
    if (instance.cluster != cluster) continue;
    for (Made& made : instance.made) made.is_gone |= made.is_volatile && !made.is_durable;
  }
}

void DeliveryLog::AddSeen(const std::string& instance, std::uint64_t seq) {
  std::uint64_t& seen = instances_[instance].seen;
  seen = std::max(seen, seq);
}

void DeliveryLog::AddGap(const std::string& instance, const model::Gap& gap) {
  std::vector<model::Gap>& gaps = instances_[instance].gaps;
  if (std::find(gaps.begin(), gaps.end(), gap) == gaps.end()) gaps.push_back(gap);
}

const std::string& DeliveryLog::NewestState(const std::string& cluster) const {
  static const std::string kNone;
  const auto found = newest_.find(cluster);
  return found == newest_.end() ? kNone : found->second;
}

}  // namespace clusterpulse::sim
