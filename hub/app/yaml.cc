#include "hub/app/yaml.h"

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

}  // namespace

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
