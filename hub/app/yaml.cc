#include "hub/app/yaml.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>

#include <yaml-cpp/yaml.h>

#include "common/base/status.h"

namespace clusterpulse::app {
namespace {

json::Value Scalar(const YAML::Node& node) {
  const std::string& text = node.Scalar();
  if (node.Tag() == "!") return text;  // quoted
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return nullptr;
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  const char* end = text.data() + text.size();
  std::int64_t integer = 0;
  if (const auto [rest, error] = std::from_chars(text.data(), end, integer); error == std::errc() && rest == end) {
    return integer;
  }
  double number = 0;
  if (const auto [rest, error] = std::from_chars(text.data(), end, number);
      error == std::errc() && rest == end && std::isfinite(number)) {
    return number;
  }
  return text;
}

json::Value Convert(const YAML::Node& node) {
  switch (node.Type()) {
    case YAML::NodeType::Undefined:
    case YAML::NodeType::Null:
      return nullptr;
    case YAML::NodeType::Scalar:
      return Scalar(node);
    case YAML::NodeType::Sequence: {
      json::Value::Array array;
      for (const YAML::Node& item : node) array.push_back(Convert(item));
      return array;
    }
    case YAML::NodeType::Map: {
      json::Value::Object object;
      for (const auto& member : node) object[member.first.Scalar()] = Convert(member.second);
      return object;
    }
  }
  return nullptr;
}

// The child that `path` begins with, which is cut off it; an undefined node when there is none.
YAML::Node Step(const YAML::Node& node, std::string_view& path) {
  if (path.starts_with('[')) {
    const auto end = std::min(path.find(']'), path.size());
    std::size_t index = 0;
    std::from_chars(path.data() + 1, path.data() + end, index);
    path.remove_prefix(std::min(end + 1, path.size()));
    return node.IsSequence() && index < node.size() ? node[index] : YAML::Node(YAML::NodeType::Undefined);
  }
  if (path.starts_with('.')) path.remove_prefix(1);
  const std::string key(path.substr(0, path.find_first_of(".[")));
  path.remove_prefix(key.size());
  return node.IsMap() ? node[key] : YAML::Node(YAML::NodeType::Undefined);
}

int LineAt(const YAML::Node& node, std::string_view path) {
  if (path.empty()) return node.Mark().line + 1;
  const YAML::Node child = Step(node, path);
  return child.IsDefined() ? LineAt(child, path) : node.Mark().line + 1;
}

}  // namespace

int YamlLine(std::string_view text, std::size_t document, std::string_view path) {
  try {
    for (const YAML::Node& root : YAML::LoadAll(std::string(text))) {
      if (root.IsDefined() && !root.IsNull() && document-- == 0) return LineAt(root, path);
    }
  } catch (const YAML::Exception&) {  // YamlToJson says where
  }
  return 0;
}

absl::StatusOr<std::vector<json::Value>> YamlToJson(std::string_view text) {
  try {
    std::vector<json::Value> documents;
    for (const YAML::Node& document : YAML::LoadAll(std::string(text))) {
      if (json::Value value = Convert(document); !value.IsNull()) documents.push_back(std::move(value));
    }
    return documents;
  } catch (const YAML::Exception& e) {
    return base::InvalidArgument("reading YAML: line {}, column {}: {}", e.mark.line + 1, e.mark.column + 1, e.msg);
  }
}

}  // namespace clusterpulse::app
