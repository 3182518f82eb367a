#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/clock.h"
#include "common/metricsource/aggregate.h"
#include "common/metricsource/computed.h"
#include "common/metricsource/diagnostics.h"
#include "common/metricsource/projection.h"
#include "common/metricsource/spec.h"
#include "common/metricsource/types.h"

namespace clusterpulse::metricsource {

// How a source is collected from one cluster; spec/metricsource.md 2.6.
struct CollectionSettings {
  std::chrono::seconds interval{60};
  std::chrono::seconds timeout{30};  // for one run
  std::int64_t max_resources = 5000;
  int batch_size = 500;  // objects in one page
  int retry_attempts = 3;
  int parallelism = 3;  // namespaces listed at once
  bool operator==(const CollectionSettings&) const = default;
};

// A MetricSource ready to run: everything judged, typed and compiled. Immutable, so it is shared between threads.
struct Source {
  std::string ns, name;  // of the MetricSource object
  std::string id;        // "<ns>/<name>"
  Spec spec;             // as written; what is absent here has its default below

  std::string group, version;  // of spec.target.api_version
  // The plural that is used where the server cannot say: spec.target.resource, else by the rules of spelling.
  std::string resource;
  bool is_cluster_scoped = false;
  bool metadata_only = false;  // no field needs more of an object
  bool is_secret = false;      // Secrets, however they are spelled: values stay where they are

  std::vector<Column> columns;           // the fields, then the computed values
  std::optional<Projection> projection;  // fills the first columns; always there once compiled
  ComputedFields computed;               // fills the others
  std::vector<Aggregation> aggregations;
  CollectionSettings collection;
  bool filter_aggregations = true;
  // Names what was compiled: sources that would collect the same have the same, 16 hex digits.
  std::string hash;
};

// The whole of a MetricSource, or null when anything in it is wrong, also what reading the spec had found; all problems
// are in `diagnostics`, warnings too.
std::shared_ptr<const Source> Compile(std::string ns, std::string name, Spec spec, Diagnostics& diagnostics);

// What collectors are given and the store keeps of a source (spec/wire-and-store.md D.9), as JSON.
std::string Definition(const Source& source, base::SystemTime compiled_at);
// The same source out of its definition, as the hub made it: one of ours or an upstream one.
std::shared_ptr<const Source> CompileDefinition(std::string_view json, Diagnostics& diagnostics);

// The plural of a kind by the rules of spelling, as upstream guesses it; exact for what Kubernetes itself has.
std::string GuessResource(std::string_view kind);

// Whether objects of `ns` belong to a source: not excluded, and included when anything is; those without always do.
bool TakesNamespace(const Source& source, std::string_view ns);

}  // namespace clusterpulse::metricsource
