#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/base/clock.h"
#include "common/kube/testing/object_store.h"

namespace clusterpulse::kubesim {

// How much of each object a row carries (includeObject=).
enum class RowObject { kNone, kMetadata, kObject };

// A meta.k8s.io/v1 Table of the objects, as `kubectl get` asks for it: the columns of a CustomResourceDefinition, or
// those of a few built-in types, otherwise name and age. `continue_token` may be empty.
std::string RenderTable(const kube::ServedType& type, const std::vector<kube::ObjectPtr>& objects, std::int64_t version,
                        std::string_view continue_token, RowObject row_object, base::SystemTime now);

}  // namespace clusterpulse::kubesim
