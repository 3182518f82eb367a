#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/model/cluster.h"
#include "common/model/delivery.h"

namespace clusterpulse::model {

// One object of a MetricSource.
struct SourceRow {
  std::string id, ns, name;
  Labels labels;
  std::string values_json;  // a JSON object; not parsed here
  bool operator==(const SourceRow&) const = default;
};

// How one field of a MetricSource fits the objects of a run.
struct SourceField {
  std::string name;
  std::uint64_t matched = 0, empty = 0, failed = 0;  // objects; empty: missing or null; failed: of a wrong type
  bool operator==(const SourceField&) const = default;
};

// What one MetricSource gave in one run.
struct SourceResult {
  std::string source;  // "<namespace>/<name>"
  std::int32_t resource_count = 0;
  bool truncated = false;
  std::chrono::milliseconds duration{0};
  std::vector<SourceRow> rows;
  std::map<std::string, double> aggregations;  // those that are one number: what becomes samples
  std::string aggregations_json;               // all of them, a JSON object; empty: an upstream collector's
  std::string definition_hash;                 // of what was run; empty: an upstream collector's
  std::chrono::milliseconds age{0};            // the run began so long before the batch was collected
  std::string failure, message;                // why there are no rows, in a word and for a person; empty: there are
  std::vector<SourceField> fields;
  std::int32_t errors = 0;  // calls that failed and cost some namespace
  bool operator==(const SourceResult&) const = default;
};

// What a collector sends each interval: its cluster at one moment. delivery.md 1 and 2.
struct Batch {
  std::string cluster;
  std::string id;         // unique; echoed to upstream collectors
  std::uint64_t seq = 0;  // dense from 1 within the collector's instance; 0: an upstream collector
  base::SystemTime collected_at{};
  std::chrono::milliseconds age{0};  // since collected_at, by the collector's steady clock, when it was sent
  std::chrono::seconds interval{0};  // between two batches; 0: not told
  bool history_only = false;         // sent late or again: the state is older than what was sent
  std::vector<Gap> gaps;             // without numbers, which this batch ends
  // This is part `part` (from 0) of `parts`, to be joined before use; 0 parts: whole.
  std::uint32_t part = 0, parts = 0;
  ClusterSnapshot snapshot;
  std::vector<SourceResult> sources;
  bool operator==(const Batch&) const = default;
};

}  // namespace clusterpulse::model
