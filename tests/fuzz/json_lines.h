#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "common/base/utf8.h"
#include "common/json/value.h"

namespace clusterpulse::fuzz {

// A JSON object that is written as lines of "PATH VALUE", which survive a change of a byte better than JSON does:
//
//   source.kind Pod
//   fields.+.name phase             "+": a new item of the list
//   fields.-.path .status.phase     "-": its last one
//   collection {"batchSize":50}     a value that is JSON is that, any other a text
//
// A text that begins with '{' is JSON as it stands; null if it is broken.
inline json::Value ReadLines(std::string_view text) {
  const auto json = [](std::string_view bytes) {
    auto value = json::Value::Parse(bytes);
    return value.ok() ? *std::move(value) : json::Value();
  };
  if (text.starts_with('{')) return json(text);
  const auto take = [](std::string_view& rest, char end) {
    const std::size_t at = rest.find(end);
    const std::string_view taken = rest.substr(0, at);
    rest.remove_prefix(at == std::string_view::npos ? rest.size() : at + 1);
    return taken;
  };
  const bool is_utf8 = base::IsUtf8(text);
  json::Value root;
  root.MutableObject();
  while (!text.empty()) {
    std::string_view value = take(text, '\n');
    std::string_view path = take(value, ' ');
    json::Value* at = &root;
    while (!path.empty()) {
      const std::string_view step = take(path, '.');
      if (step != "+" && step != "-") {
        at = &at->Mutable(step);
        continue;
      }
      json::Value::Array& list = at->MutableArray();
      if (step == "+" || list.empty()) list.emplace_back();
      at = &list.back();
    }
    if (at == &root) continue;
    const bool is_json = !value.empty() && std::string_view("{[\"-0123456789tfn").find(value[0]) != std::string::npos;
    json::Value read = is_json ? json(value) : json::Value();
    *at = read.IsNull() && value != "null" ? json::Value(value) : std::move(read);
  }
  return is_utf8 ? std::move(root) : json(root.Dump());  // as it would come from outside
}

}  // namespace clusterpulse::fuzz
