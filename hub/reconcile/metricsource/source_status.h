#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/json/value.h"
#include "hub/reconcile/metricsource/source_catalog.h"
#include "hub/runtime/conditions.h"
#include "hub/store/source_state.h"

namespace clusterpulse::reconcile {

// A cluster that a source is for, and what is known of its last run there.
struct SourceCluster {
  std::string name;
  bool is_reached = true;  // the hub reads it, or its collector does; false: nobody can at present
  std::optional<store::SourceRun> run;
  bool is_left_out = false;  // its collector was given others, and there was no room for this one
};

// What the object's status should say.
struct SourceReport {
  json::Value status;                          // all members but the conditions, which are in `conditions`
  std::vector<runtime::Condition> conditions;  // one: Ready
  std::int64_t resources = 0, clusters = 0, errors = 0;
  std::optional<base::SystemTime> last_run;
};

// `namesakes`: SourceCatalog::Namesakes. `before`: the conditions as they are. A run counts for a cluster when it is of
// the source as it is now, did not fail, and is no older than three intervals and a minute.
SourceReport ReportOn(const CatalogEntry& entry, const std::vector<SourceCluster>& clusters,
                      std::vector<runtime::Condition> before, base::SystemTime now,
                      const std::vector<std::string>& namesakes = {});

// A duration as upstream writes it, to the millisecond: "0s", "250ms", "1.5s", "1m30.005s", "1h0m2s".
std::string DurationText(std::chrono::milliseconds duration);

}  // namespace clusterpulse::reconcile
