#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <absl/status/status.h>

#include "common/json/cursor.h"
#include "common/kube/object_meta.h"
#include "common/kube/quantity.h"
#include "common/survey/amount.h"

namespace clusterpulse::survey {

enum class PodPhase : std::uint8_t { kUnknown, kPending, kRunning, kSucceeded, kFailed };
// kUnknown for any other word.
PodPhase ParsePodPhase(std::string_view word);

// CPU (cores) and memory (bytes) that something asks for.
struct Requests {
  kube::Quantity cpu, memory;

  Requests& operator+=(const Requests& more) {
    cpu += more.cpu;
    memory += more.memory;
    return *this;
  }
  bool operator==(const Requests&) const = default;
};

// What the survey keeps of a pod: some 120 bytes for each of tens of thousands in a watch cache. A plain value.
struct PodRecord {
  std::string node;  // empty: not scheduled
  Requests requests;
  PodPhase phase = PodPhase::kUnknown;
  bool operator==(const PodRecord&) const = default;
};

// Reads one Pod object into `out`, reusing its memory. Requests are what the scheduler reserves: the larger of
//   - all containers and sidecars (init containers with restartPolicy Always) together, and
//   - each ordinary init container with the sidecars started before it;
// pod-level spec.resources.requests take the place of that sum for each resource they name; spec.overhead comes on top.
// A container or sidecar that is being resized in place (its status has resources) counts with the larger of what it
// asks for, what is in force and what is allocated; with the latter two alone when the resize is infeasible. (A resize
// of pod-level requests, an alpha feature, counts as asked for.) A field of a wrong type counts as absent, a quantity
// that does not parse as 0 (and in `unreadable`). kDataLoss: broken JSON; `out` is then unspecified.
absl::Status ReadPod(json::Cursor object, PodRecord& out, Unreadable& unreadable);
// The same for a watch cache: `meta` is the object's identity.
absl::Status ReadPod(json::Cursor object, kube::ObjectMeta& meta, PodRecord& out, Unreadable& unreadable);

}  // namespace clusterpulse::survey
