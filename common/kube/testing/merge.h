#pragma once

#include "common/json/value.h"

namespace clusterpulse::kube {

// A strategic merge patch as kubectl sends it for built-in types. Lists of objects are merged by the first of name,
// type, key, uid, ip, containerPort that every element has; `$patch: delete|replace` and `$deleteFromPrimitiveList` are
// obeyed; element order and `$retainKeys` are ignored. Real servers take the merge key of each list from their Go
// types.
void StrategicMergePatch(json::Value& target, const json::Value& patch);

}  // namespace clusterpulse::kube
