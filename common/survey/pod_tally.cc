#include "common/survey/pod_tally.h"

namespace clusterpulse::survey {

void PodTally::Sum::Add(const PodRecord& pod) {
  ++total;
  bool holds_requests = false;
  switch (pod.phase) {
    case PodPhase::kRunning:
      ++running;
      holds_requests = true;
      break;
    case PodPhase::kPending:
      ++pending;
      holds_requests = true;
      break;
    case PodPhase::kSucceeded:
      ++succeeded;
      break;
    case PodPhase::kFailed:
      ++failed;
      break;
    case PodPhase::kUnknown:
      break;
  }
  if (holds_requests) requested += pod.requests;
}

model::PodTotals PodTally::Sum::Totals() const {
  return {.running = running,
          .pending = pending,
          .failed = failed,
          .succeeded = succeeded,
          .total = total,
          .cpu_requested = requested.cpu.AsDouble(),
          .memory_requested = requested.memory.Value()};
}

void PodTally::Add(const PodRecord& pod) {
  all_.Add(pod);
  if (!pod.node.empty()) nodes_[pod.node].Add(pod);
}

void PodTally::Clear() {
  nodes_.clear();
  all_ = {};
}

model::PodTotals PodTally::On(const std::string& node) const {
  const auto it = nodes_.find(node);
  return it == nodes_.end() ? model::PodTotals{} : it->second.Totals();
}

model::PodTotals PodTally::All() const { return all_.Totals(); }

}  // namespace clusterpulse::survey
