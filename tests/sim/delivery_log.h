#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/model/delivery.h"
#include "common/model/seq_set.h"

namespace clusterpulse::sim {

// One value of one series. `series` is any text that names it, the same in what was made and in what is stored.
struct Sample {
  std::string series;
  std::int64_t time_ms = 0;
  double value = 0;
  bool operator==(const Sample&) const = default;
};

// A batch as its collector numbered it. It is known by its cluster and the time of its collection: a collector whose
// disk failed may give it another number. A value of some series that differs from batch to batch traces what is found
// at a wrong time to the batch that made it.
struct Made {
  std::uint64_t seq = 0;
  std::int64_t collected_ms = 0;
  std::vector<std::pair<std::string, double>> samples;  // series, value; all stamped `collected_ms`
  std::string state;                                    // what readers shall see of it
  bool was_sent = false;                                // under this number
  bool is_offered = false;                              // but only before the hub had said which numbers it knows
  bool is_volatile = false;                             // its collector said that it keeps it in memory only
  bool is_gone = false;                                 // and took it along
  bool is_durable = false;                              // told after it was sent under this number
};

// What a collector holds at the end, of the numbers it gave.
struct Kept {
  std::vector<std::uint64_t> seqs;      // in the spool, or in memory
  std::set<std::int64_t> collected_ms;  // of these, as far as it is known: they may have other numbers by now
  std::vector<model::Gap> gaps;         // with numbers, not yet known to be durable
};

// What happened on the way of batches, as seen from outside: what each collector made, what it was told, and what it
// told. The recorder's half of the model checker (model_checker.h); a simulation feeds it, or a test over real
// processes. Not thread-safe.
class DeliveryLog {
 public:
  struct Instance {
    std::string cluster;
    std::vector<Made> made;
    model::SeqSet durable;         // what the hub told
    std::vector<model::Gap> gaps;  // what the collector told the hub, and rejections
    std::uint64_t seen = 0;        // highest number the hub has acknowledged in any way
  };

  void AddMade(const std::string& cluster, const std::string& instance, Made made);
  // It goes to the hub under that number, which may be another one than it was made with.
  // `offered`: which has not said yet which numbers it knows.
  void AddSent(const std::string& cluster, std::int64_t collected_ms, const std::string& instance, std::uint64_t seq,
               bool offered = false);
  // A hub says which numbers it knows: what was offered under one of them, and is not the only batch that was sent
  // under it, is not meant, and will get another.
  void AddKnown(const std::string& instance, std::uint64_t last_seq);
  void AddDurable(const std::string& instance, const model::DurablePosition& position);
  // A process of that cluster's collector ended, and what was in its memory went.
  void AddEnd(const std::string& cluster);
  void AddSeen(const std::string& instance, std::uint64_t seq);
  void AddGap(const std::string& instance, const model::Gap& gap);

  const std::map<std::string, Instance>& instances() const { return instances_; }
  // What the cluster's newest batch says; empty: there is none.
  const std::string& NewestState(const std::string& cluster) const;
  std::uint64_t batches() const { return batches_; }

 private:
  std::map<std::string, Instance> instances_;
  std::map<std::pair<std::string, std::int64_t>, std::string> numbered_by_;  // cluster, collected_ms -> instance
  std::map<std::string, std::string> newest_;                                // cluster -> state
  std::uint64_t batches_ = 0;
};

}  // namespace clusterpulse::sim
