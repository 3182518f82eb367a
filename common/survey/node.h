#pragma once

#include <absl/status/status.h>

#include "common/json/cursor.h"
#include "common/kube/object_meta.h"
#include "common/model/cluster.h"
#include "common/survey/amount.h"

namespace clusterpulse::survey {

// Reads one Node object into `out` (made empty first); what its pods add up to stays zero for SetPods. A field of a
// wrong type counts as absent, a quantity that does not parse as 0 (and in `unreadable`). An object without a name
// leaves out.name empty. kDataLoss: broken JSON.
//
// The status word: Ready and NotReady by the condition Ready (NotReady: any other value than True), Unknown without
// one. A cordoned node is SchedulingDisabled unless it is NotReady: a failure is never hidden by a cordon.
absl::Status ReadNode(json::Cursor object, model::Node& out, Unreadable& unreadable);
// The same for a watch cache: `meta` is the object's identity, the name included.
absl::Status ReadNode(json::Cursor object, kube::ObjectMeta& meta, model::Node& out, Unreadable& unreadable);

// Sets the totals and the shares of the allocatable amounts that they take.
void SetPods(const model::PodTotals& pods, model::Node& node);

}  // namespace clusterpulse::survey
