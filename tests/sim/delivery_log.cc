#include "tests/sim/delivery_log.h"

#include <algorithm>

namespace clusterpulse::sim {

void DeliveryLog::AddMade(const std::string& cluster, const std::string& instance, Made made) {
  Instance& at = instances_[instance];
  at.cluster = cluster;
  at.made.push_back(std::move(made));
  newest_[cluster] = instance;
  ++batches_;
}

void DeliveryLog::AddDurable(const std::string& instance, const model::DurablePosition& position) {
  Instance& at = instances_[instance];
  at.durable.AddUpTo(position.low);
  for (const model::SeqRange& range : position.ranges) at.durable.Add(range);
  AddSeen(instance, position.ranges.empty() ? position.low : position.ranges.back().last);
}

void DeliveryLog::AddSeen(const std::string& instance, std::uint64_t seq) {
  std::uint64_t& seen = instances_[instance].seen;
  seen = std::max(seen, seq);
}

void DeliveryLog::AddGap(const std::string& instance, const model::Gap& gap) {
  std::vector<model::Gap>& gaps = instances_[instance].gaps;
  if (std::find(gaps.begin(), gaps.end(), gap) == gaps.end()) gaps.push_back(gap);
}

std::string DeliveryLog::NewestInstance(const std::string& cluster) const {
  const auto found = newest_.find(cluster);
  return found == newest_.end() ? std::string() : found->second;
}

}  // namespace clusterpulse::sim
