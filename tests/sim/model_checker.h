#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/model/delivery.h"
#include "tests/sim/delivery_log.h"

namespace clusterpulse::sim {

// What a cluster's stores hold at the end, as readers get it.
struct Stored {
  // All samples of the cluster, after the store's own removal of equal ones (dedup). Nullopt: history is off.
  std::optional<std::vector<Sample>> history;
  std::string state;  // what readers see; as Made::state
  // The hub's position, and the numbered entries of its gap ledger.
  std::string instance;
  model::DurablePosition durable;
  struct LedgerGap {
    std::string instance;
    model::SeqRange seqs;
    std::int64_t from_ms = 0, to_ms = 0;
  };
  std::vector<LedgerGap> ledger;
};

struct Contents {
  std::map<std::string, Stored> clusters;
  // By instance, of those collectors that still have their numbers: a process that lives, a spool on a disk. Others are
  // gone: what they had not delivered is known only as far as the hub had heard of it.
  std::map<std::string, Kept> kept;
};

enum class Breach {
  kLost,         // told durable, or durable by the hub's position, and its samples are not there
  kDoubled,      // one sample comes twice
  kMisstamped,   // a value stands at another time than that of its batch
  kForeign,      // a sample that nobody made
  kStale,        // readers do not see the newest state
  kUnaccounted,  // a number is neither durable nor kept nor in a gap
  kBothWays,     // a number is kept and in a gap
  kNeverMade,    // told durable, and never made
  kUnsettled,    // after everything was healed and had time, something is still not durable
  kHiddenGap,    // a gap that the collector told is not in the ledger
};
std::string_view ToString(Breach breach);

struct Violation {
  Breach breach;
  std::string text;  // which cluster, instance, number
};

struct CheckOptions {
  // All was healed and left alone for long enough: nothing may be outstanding any more.
  bool is_settled = true;
  // The hub keeps a gap ledger.
  bool has_ledger = true;
  // The hub's store never lost what it had not made durable, so that the hub knows of every number that it answered.
  bool remembers_all = true;
};

// Proves what delivery.md promises about one run, from what was recorded and what the stores hold in the end: no
// durable batch is lost, no sample is doubled or mis-stamped, the newest state is what readers see, and produced =
// durable + kept + gaps with numbers. Empty: it holds. Of one kind and instance only the first few are named.
std::vector<Violation> Check(const DeliveryLog& log, const Contents& contents, const CheckOptions& options);

}  // namespace clusterpulse::sim
