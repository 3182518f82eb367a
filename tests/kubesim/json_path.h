#pragma once

#include <string_view>
#include <vector>

#include "common/json/value.h"

namespace clusterpulse::kubesim {

// The values a JSONPath of a printer column finds: .a.b, .a['b'], .a[0], .a[*], .a[?(@.type=="Ready")].status, and
// backslash before a dot inside a name. A path that cannot be read finds nothing. The pointers live as long as
// `object`.
std::vector<const json::Value*> EvaluatePath(std::string_view path, const json::Value& object);

}  // namespace clusterpulse::kubesim
