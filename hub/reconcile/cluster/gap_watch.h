#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/json/value.h"
#include "hub/reconcile/cluster/cluster_status.h"
#include "hub/store/gap_ledger.h"

namespace clusterpulse::reconcile {

// Which holes of a cluster's history were announced: GapOpened when the link is lost, GapClosed when it is back or when
// a hole is told that is over. Each once, also across leaders: a new one goes by what the object's status says. A plain
// value, confined to one thread.
class GapWatch {
 public:
  // What is to be announced now, given what the object's status said when this process saw it first, and the ledger.
  std::vector<Announcement> Look(const json::Value& collector_status, const store::GapLedger& ledger);

 private:
  bool looked_ = false;
  std::optional<store::KnownGap> open_;
  std::vector<store::KnownGap> over_;
  std::uint64_t total_ = 0;
};

}  // namespace clusterpulse::reconcile
