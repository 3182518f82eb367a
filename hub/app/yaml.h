#pragma once

#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

#include "common/json/value.h"

namespace clusterpulse::app {

// Every document of a YAML text as JSON, by the core schema: plain null, true, numbers become those, everything quoted
// a string. Empty documents are left out. Aliases are followed, up to a bound. kInvalidArgument names line and column:
// broken YAML, a member that is there twice, values nested deeper than 100, more than two million of them.
absl::StatusOr<std::vector<json::Value>> YamlToJson(std::string_view text);

// The line, from 1, at which the value at `path` ("spec.fields[2].path") begins in the document of that number (from 0,
// as YamlToJson counts); of what is not there, the line of the nearest value above it. 0: there is no such document.
int YamlLine(std::string_view text, std::size_t document, std::string_view path);

}  // namespace clusterpulse::app
