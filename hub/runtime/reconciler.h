#pragma once

#include <chrono>
#include <optional>
#include <stop_token>
#include <string_view>

#include <absl/status/statusor.h>

#include "common/kube/resource.h"

namespace clusterpulse::runtime {

// What one pass asks for next. Times count from the end of the pass.
struct Result {
  // Run again after this time, whether or not anything changed; zero: as soon as the backoff of failures allows.
  // Absent: only when something changes.
  std::optional<std::chrono::milliseconds> requeue_after;
};

// Brings the world in line with one object. Told only *which* object to look at: it reads the present state itself, so
// lost, repeated and reordered calls cost nothing. A pass with no change of the world writes nothing.
class Reconciler {
 public:
  virtual ~Reconciler() = default;

  // Called from several threads, never twice at once for the same key. `stop` is requested when the program ends:
  // return soon. An error is retried with backoff; kInvalidArgument that no API server gave is terminal: reported,
  // counted, not retried until the object changes. An exception counts as an error.
  virtual absl::StatusOr<Result> Reconcile(const kube::ObjectKey& key, std::stop_token stop) = 0;
};

// The id of the pass the calling thread is in, for the log context; empty outside of one. The view lives as long as the
// pass.
std::string_view CurrentReconcileId();

}  // namespace clusterpulse::runtime
