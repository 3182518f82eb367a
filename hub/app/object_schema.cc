#include "hub/app/object_schema.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <re2/re2.h>

#include "common/base/status.h"
#include "common/base/utf8.h"
#include "hub/app/crds.h"
#include "hub/app/yaml.h"

namespace clusterpulse::app {
namespace {

using metricsource::Diagnostics;

constexpr std::size_t kShown = 40;        // of a value, in a message
constexpr std::size_t kLongestKey = 200;  // in a path

std::string Shown(const json::Value& value) { return base::Shortened(value.Dump(), kShown); }

// "1 item", "2 items".
std::string Some(std::int64_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

std::size_t Characters(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

// Nothing: it is of the type.
std::optional<std::string> TypeError(const json::Value& schema, const json::Value& value) {
  const std::string_view type = schema["type"].StringOr();
  if (schema["x-kubernetes-int-or-string"].BoolOr()) {
    if (value.IsInt() || value.IsString()) return std::nullopt;
    return fmt::format("{} is neither an integer nor a text", Shown(value));
  }
  if (type == "string" && !value.IsString()) return fmt::format("{}{}", Shown(value), kIsNoText);
  if (type == "integer" && !value.IsInt()) return fmt::format("{} is no integer", Shown(value));
  if (type == "number" && !value.IsNumber()) return fmt::format("{} is no number", Shown(value));
  if (type == "boolean" && !value.IsBool()) return fmt::format("{} is neither true nor false", Shown(value));
  if (type == "array" && !value.IsArray()) return "is no list";
  if (type == "object" && !value.IsObject()) return "is no object";
  return std::nullopt;
}

class Validator {
 public:
  explicit Validator(Diagnostics& diagnostics) : diagnostics_(diagnostics) {}

  // REQUIRES: `value` is not a null that counts as absent.
  void Validate(const json::Value& schema, const json::Value& value, const std::string& path) {
    if (value.IsNull() && schema["nullable"].BoolOr()) return;
    if (const auto error = TypeError(schema, value)) {
      diagnostics_.Error(path, *error);
      return;
    }
    CheckEnum(schema, value, path);
    if (value.IsNumber()) CheckNumber(schema, value, path);
    if (value.IsString()) CheckText(schema, value.StringOr(), path);
    if (value.IsArray()) CheckList(schema, value, path);
    if (value.IsObject()) CheckObject(schema, value, path);
  }

 private:
  void CheckEnum(const json::Value& schema, const json::Value& value, const std::string& path) {
    const auto& allowed = schema["enum"].items();
    if (allowed.empty() || std::find(allowed.begin(), allowed.end(), value) != allowed.end()) return;
    std::string all;
    std::vector<std::string_view> words;
    for (const json::Value& one : allowed) {
      all += (all.empty() ? "" : ", ") + (one.IsString() ? std::string(one.StringOr()) : one.Dump());
      words.push_back(one.StringOr());
    }
    diagnostics_.Error(path, fmt::format("{} is none of {}", Shown(value), all),
                       metricsource::Nearest(value.StringOr(), words));
  }

  void CheckNumber(const json::Value& schema, const json::Value& value, const std::string& path) {
    if (const json::Value* least = schema.Find("minimum"); least != nullptr && value.DoubleOr() < least->DoubleOr()) {
      diagnostics_.Error(path,
                         fmt::format("{} is less than {}, the least that is allowed", Shown(value), least->Dump()));
    }
    if (const json::Value* most = schema.Find("maximum"); most != nullptr && value.DoubleOr() > most->DoubleOr()) {
      diagnostics_.Error(path, fmt::format("{} is more than {}, the most that is allowed", Shown(value), most->Dump()));
    }
    using Int32 = std::numeric_limits<std::int32_t>;
    if (schema["format"].StringOr() == "int32" && (value.IntOr() < Int32::min() || value.IntOr() > Int32::max())) {
      diagnostics_.Error(path, fmt::format("{} is no number of 32 bits", Shown(value)));
    }
  }

  void CheckText(const json::Value& schema, std::string_view text, const std::string& path) {
    CheckCount(schema, "minLength", "maxLength", Characters(text), "character", path);
    const std::string_view pattern = schema["pattern"].StringOr();
    if (pattern.empty() || RE2::PartialMatch(re2::StringPiece(text.data(), text.size()),
                                             RE2(re2::StringPiece(pattern.data(), pattern.size()), RE2::Quiet))) {
      return;
    }
    diagnostics_.Error(path, fmt::format("{} does not match {}", Shown(text), pattern));
  }

  void CheckList(const json::Value& schema, const json::Value& value, const std::string& path) {
    CheckCount(schema, "minItems", "maxItems", value.items().size(), "item", path);
    const json::Value* items = schema.Find("items");
    if (items == nullptr) return;
    std::size_t index = 0;
    for (const json::Value& item : value.items()) Validate(*items, item, fmt::format("{}[{}]", path, index++));
  }

  void CheckObject(const json::Value& schema, const json::Value& value, const std::string& path) {
    const json::Value& properties = schema["properties"];
    for (const json::Value& name : schema["required"].items()) {
      const json::Value& property = properties[name.StringOr()];
      const json::Value* member = value.Find(name.StringOr());
      const bool is_absent = member == nullptr || (member->IsNull() && !property["nullable"].BoolOr());
      if (is_absent && property.Find("default") == nullptr) {
        diagnostics_.Error(fmt::format("{}.{}", path, name.StringOr()), std::string(kIsRequired));
      }
    }
    for (const auto& [name, property] : properties.members()) {
      const json::Value* member = value.Find(name);
      if (member != nullptr && !member->IsNull()) Validate(property, *member, fmt::format("{}.{}", path, name));
    }
    const json::Value* additional = schema.Find("additionalProperties");
    if (additional == nullptr || !additional->IsObject()) return;
    for (const auto& [name, member] : value.members()) {
      if (!member.IsNull())
        Validate(*additional, member, fmt::format("{}[{}]", path, base::CutUtf8(name, kLongestKey)));
    }
  }

  void CheckCount(const json::Value& schema, std::string_view least_name, std::string_view most_name, std::size_t size,
                  std::string_view what, const std::string& path) {
    const auto count = static_cast<std::int64_t>(size);
    const std::int64_t least = schema[least_name].IntOr(0), most = schema[most_name].IntOr(count);
    if (count < least) diagnostics_.Error(path, fmt::format("has {}, fewer than {}", Some(count, what), least));
    if (count > most) diagnostics_.Error(path, fmt::format("has {}, more than {}", Some(count, what), most));
  }

  Diagnostics& diagnostics_;
};

// Keywords that judge nothing are known too: a server defaults and prunes by them, clients merge by them.
constexpr std::string_view kKeywords[] = {"additionalProperties",
                                          "default",
                                          "description",
                                          "enum",
                                          "items",
                                          "maxItems",
                                          "maxLength",
                                          "maximum",
                                          "minItems",
                                          "minLength",
                                          "minimum",
                                          "nullable",
                                          "properties",
                                          "required",
                                          "type",
                                          "x-kubernetes-int-or-string",
                                          "x-kubernetes-map-type",
                                          "x-kubernetes-preserve-unknown-fields"};

bool IsKnown(std::string_view keyword, const json::Value& value) {
  const std::string_view word = value.StringOr();
  if (keyword == "format") return word == "int32" || word == "int64";  // an integer that JSON can say has 64 bits
  if (keyword == "pattern") return RE2(re2::StringPiece(word.data(), word.size()), RE2::Quiet).ok();
  if (keyword == "x-kubernetes-list-type") return word == "atomic";  // the others have keys that must differ
  return std::find(std::begin(kKeywords), std::end(kKeywords), keyword) != std::end(kKeywords);
}

void FindUnknown(const json::Value& schema, const std::string& path, std::vector<std::string>& out) {
  for (const auto& [keyword, value] : schema.members()) {
    if (!IsKnown(keyword, value)) out.push_back(fmt::format("{}: {}", path, keyword));
  }
  for (const auto& [name, property] : schema["properties"].members()) {
    FindUnknown(property, fmt::format("{}.{}", path, name), out);
  }
  for (const char* keyword : {"items", "additionalProperties"}) {
    if (const json::Value* element = schema.Find(keyword); element != nullptr) FindUnknown(*element, path + "[]", out);
  }
}

}  // namespace

absl::StatusOr<json::Value> EmbeddedSpecSchema(std::string_view kind) {
  for (const EmbeddedCrd& file : EmbeddedCrds()) {
    ASSIGN_OR_RETURN(const std::vector<json::Value> documents, YamlToJson(file.yaml), file.file);
    for (const json::Value& crd : documents) {
      if (crd["spec"]["names"]["kind"].StringOr() != kind) continue;
      for (const json::Value& version : crd["spec"]["versions"].items()) {
        const json::Value& schema = version["schema"]["openAPIV3Schema"]["properties"]["spec"];
        if (version["storage"].BoolOr() && schema.IsObject()) return schema;
      }
    }
  }
  return base::Internal("no definition of {} is compiled in", kind);
}

json::Value MetadataSchema() {
  json::Value text, texts, list, out;
  text.Mutable("type") = "string";
  texts.Mutable("type") = "object";
  texts.Mutable("additionalProperties") = text;
  list.Mutable("type") = "array";
  list.Mutable("items") = text;
  out.Mutable("type") = "object";
  json::Value& properties = out.Mutable("properties");
  for (const char* name : {"name", "namespace", "generateName"}) properties.Mutable(name) = text;
  for (const char* name : {"labels", "annotations"}) properties.Mutable(name) = texts;
  properties.Mutable("finalizers") = list;
  return out;
}

void ValidateBySchema(const json::Value& schema, const json::Value& value, const std::string& path,
                      Diagnostics& diagnostics) {
  if (!value.IsNull()) Validator(diagnostics).Validate(schema, value, path);
}

std::vector<std::string> UnknownKeywords(const json::Value& schema, const std::string& path) {
  std::vector<std::string> out;
  FindUnknown(schema, path, out);
  return out;
}

}  // namespace clusterpulse::app
