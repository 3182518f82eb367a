#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/json/value.h"
#include "hub/reconcile/cluster/cluster_status.h"
#include "hub/store/gap_ledger.h"

namespace clusterpulse::reconcile {

// Which holes of a cluster's history were announced: GapOpened when the link to its collector is lost, or when the hub,
// who reads it itself, cannot; GapClosed when that is over, or when a hole is told that is. Each once, also across
// leaders: a new one goes by what the object's status says. A plain value, confined to one thread.
class GapWatch {
 public:
  enum class Reader { kCollector, kHub };
  // What is to be announced now, given what the object's status said of holes (`said`: GapStatus) when this process saw
  // it first, and the ledger.
  std::vector<Announcement> Look(const json::Value& said, const store::GapLedger& ledger, Reader reader);

 private:
  bool looked_ = false;
  std::optional<store::KnownGap> open_;
  std::vector<store::KnownGap> over_;
  std::uint64_t total_ = 0;
};

}  // namespace clusterpulse::reconcile
