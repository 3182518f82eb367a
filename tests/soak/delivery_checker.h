#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/model/delivery.h"

namespace clusterpulse::testing {

// What a cluster's collectors produced and what became of it, gathered from outside: spools, stores, ledger.
struct DeliveryRecord {
  // "name{node=\"n\"}" -> a small number, for the rest of this record.
  std::uint32_t SeriesId(const std::string& series);
  const std::string& SeriesName(std::uint32_t id) const { return names_[id]; }

  struct Batch {
    std::int64_t stamp_ms = 0;
    std::vector<std::pair<std::uint32_t, double>> samples;  // series, value
  };
  struct LedgerGap {
    std::string instance;
    model::SeqRange seqs;
    std::string cause;
  };
  struct Sample {
    std::int64_t stamp_ms = 0;
    double value = 0;
  };

  std::string cluster;
  std::map<std::string, std::map<std::uint64_t, Batch>> produced;  // by instance and number
  // As the hub's store has it: the instance it follows, what of it is durable, every known hole.
  std::string instance;
  model::DurablePosition durable;
  std::vector<LedgerGap> gaps;
  std::map<std::string, std::set<std::uint64_t>> in_spool;  // by instance
  std::map<std::uint32_t, std::vector<Sample>> stored;      // by series

 private:
  std::map<std::string, std::uint32_t, std::less<>> ids_;
  std::vector<std::string> names_;
};

// Whether the promise was kept (delivery.md):
//   - a batch that was said to be durable is in the history store with every sample; so is each one of a former
//     instance that is in no gap;
//   - no sample is stored twice, none at a time or with a value that no batch had;
//   - every number is durable, in the spool, or in a gap; there are no others.
struct DeliveryVerdict {
  enum class Breach {
    kLost,       // said to be durable, and a sample is missing
    kGone,       // neither stored nor in the spool nor in a gap
    kUnknown,    // a number that nobody has heard of
    kTwice,      // one sample stored twice
    kWrongTime,  // a sample at a time at which nobody produced it
    kWrongValue  // ... with another value than it was produced with
  };
  struct Violation {
    Breach breach;
    std::string text;  // for a person
  };
  struct Count {
    std::uint64_t produced = 0, durable = 0, in_spool = 0, in_gaps = 0;
    bool operator==(const Count&) const = default;
  };
  std::map<std::string, Count> counts;  // by instance; each number once: durable before in_spool before in_gaps
  std::uint64_t samples = 0;            // stored and right
  std::vector<Violation> violations;    // at most kMostViolations of each kind
  static constexpr int kMostViolations = 5;

  std::string ToString() const;
};
DeliveryVerdict CheckDelivery(const DeliveryRecord& record);

}  // namespace clusterpulse::testing
