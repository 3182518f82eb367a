#pragma once

#include <vector>

#include <absl/status/status.h>

#include "common/json/cursor.h"
#include "common/model/cluster.h"

namespace clusterpulse::survey {

// Appends status.conditions of a Node, a ClusterOperator or a ClusterVersion to `out`. Elements that are not objects
// are left out; members of a wrong type, and times that cannot be read or lie outside 1970..2262, count as absent.
// kDataLoss: broken JSON.
absl::Status ReadConditions(json::Cursor list, std::vector<model::Condition>& out);

}  // namespace clusterpulse::survey
