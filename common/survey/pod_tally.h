#pragma once

#include <cstdint>
#include <string>

#include <absl/container/flat_hash_map.h>

#include "common/model/cluster.h"
#include "common/survey/pod.h"

namespace clusterpulse::survey {

// Adds pods up per node and for the cluster while their list is being decoded, in any order: memory is O(nodes). Sums
// are exact; memory is rounded up to bytes at the end. Confined to one thread.
class PodTally {
 public:
  void Add(const PodRecord& pod);
  // Forgets everything: the list starts again.
  void Clear();

  // Pods whose spec.nodeName is this; zeros when there are none.
  model::PodTotals On(const std::string& node) const;
  // All pods, also those on no node or on one that is not listed.
  model::PodTotals All() const;

 private:
  struct Sum {
    void Add(const PodRecord& pod);
    model::PodTotals Totals() const;

    std::int32_t running = 0, pending = 0, failed = 0, succeeded = 0, total = 0;
    Requests requested;
  };

  absl::flat_hash_map<std::string, Sum> nodes_;
  Sum all_;
};

}  // namespace clusterpulse::survey
