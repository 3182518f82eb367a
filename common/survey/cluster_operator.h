#pragma once

#include <absl/status/status.h>

#include "common/json/cursor.h"
#include "common/model/cluster.h"

namespace clusterpulse::survey {

// Reads one OpenShift ClusterOperator into `out` (made empty first). Fields of a wrong type count as absent; an object
// without a name leaves out.name empty. kDataLoss: broken JSON.
//
// message and reason tell what is wrong: of Available when it is not True and says something; else the message of
// Progressing when True; and those of Degraded, when True, over both. version: the last entry of status.versions named
// "operator" or like the object, else the first one.
absl::Status ReadClusterOperator(json::Cursor object, model::ClusterOperator& out);

}  // namespace clusterpulse::survey
