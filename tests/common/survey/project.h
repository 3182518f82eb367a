#pragma once

#include <string_view>

#include <absl/status/status.h>

#include "common/json/cursor.h"

namespace clusterpulse::survey {

// The projection of one object: Project(kNodeJson, [&](json::Cursor object) { return ReadNode(object, node, odd); }).
inline absl::Status Project(std::string_view json, absl::FunctionRef<absl::Status(json::Cursor)> read) {
  json::Parser parser;
  return parser.Parse(json, read);
}

}  // namespace clusterpulse::survey
