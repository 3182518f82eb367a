#include "hub/app/yaml.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>

#include <fmt/format.h>
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

// Far above what a manifest has. Aliases can make more of a short text, or a value that holds itself.
constexpr int kMaxDepth = 100;
constexpr std::size_t kMaxValues = 2'000'000;

absl::Status Refusal(const YAML::Mark& mark, std::string_view why) {
  return base::InvalidArgument("reading YAML: line {}, column {}: {}", mark.line + 1, mark.column + 1, why);
}

// `values` counts up.
absl::StatusOr<json::Value> Convert(const YAML::Node& node, int depth, std::size_t& values) {
  if (depth > kMaxDepth) return Refusal(node.Mark(), fmt::format("nested deeper than {}", kMaxDepth));
  if (++values > kMaxValues) return Refusal(node.Mark(), fmt::format("more than {} values", kMaxValues));
  switch (node.Type()) {
    case YAML::NodeType::Undefined:
    case YAML::NodeType::Null:
      return json::Value();
    case YAML::NodeType::Scalar:
      return Scalar(node);
    case YAML::NodeType::Sequence: {
      json::Value::Array array;
      for (const YAML::Node& item : node) {
        ASSIGN_OR_RETURN(array.emplace_back(), Convert(item, depth + 1, values));
      }
      return array;
    }
    case YAML::NodeType::Map: {
      json::Value::Object object;
      for (const auto& member : node) {
        const std::string& key = member.first.Scalar();
        const auto [at, is_new] = object.try_emplace(key);
        if (!is_new) return Refusal(member.first.Mark(), fmt::format("\"{}\" is there twice", key));
        ASSIGN_OR_RETURN(at->second, Convert(member.second, depth + 1, values));
      }
      return object;
    }
  }
  return json::Value();
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
    std::size_t values = 0;
    for (const YAML::Node& document : YAML::LoadAll(std::string(text))) {
      ASSIGN_OR_RETURN(json::Value value, Convert(document, 0, values));
      if (!value.IsNull()) documents.push_back(std::move(value));
    }
    return documents;
  } catch (const YAML::Exception& e) {
    return Refusal(e.mark, e.msg);
  }
}

}  // namespace clusterpulse::app
