#pragma once

#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

#include "common/json/value.h"

namespace clusterpulse::app {

// Every document of a YAML text as JSON, by the core schema: plain null, true, numbers become those, everything quoted
// a string. Empty documents are left out. For our own manifests: aliases are followed and sizes are not bounded.
// kInvalidArgument names line and column.
absl::StatusOr<std::vector<json::Value>> YamlToJson(std::string_view text);

}  // namespace clusterpulse::app
