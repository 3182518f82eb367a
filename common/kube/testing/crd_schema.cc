#include "common/kube/testing/crd_schema.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string_view>

#include <fmt/format.h>

namespace clusterpulse::kube {
namespace {

using json::Value;

bool IsRootMember(std::string_view key) { return key == "apiVersion" || key == "kind" || key == "metadata"; }

void Prune(const Value& schema, Value& value, bool root) {
  if (value.IsArray()) {
    for (Value& item : value.MutableArray()) Prune(schema["items"], item, false);
    return;
  }
  if (!value.IsObject()) return;
  const bool keep_unknown = schema["x-kubernetes-preserve-unknown-fields"].BoolOr();
  const Value& properties = schema["properties"];
  const Value* additional = schema.Find("additionalProperties");
  auto& members = value.MutableObject();
  const auto stays = [&](std::string_view name, Value& member) {
    if (root && IsRootMember(name)) return true;
    if (const Value* property = properties.Find(name)) {
      Prune(*property, member, false);
      return true;
    }
    if (additional != nullptr && additional->IsObject()) {
      Prune(*additional, member, false);
      return true;
    }
    return keep_unknown || (additional != nullptr && additional->BoolOr());
  };
  for (auto it = members.begin(); it != members.end();) {
    it = stays(it->first, it->second) ? std::next(it) : members.erase(it);
  }
}

void Default(const Value& schema, Value& value, bool root) {
  if (value.IsArray()) {
    for (Value& item : value.MutableArray()) Default(schema["items"], item, false);
    return;
  }
  if (!value.IsObject()) return;
  for (const auto& [key, property] : schema["properties"].members()) {
    if (root && IsRootMember(key)) continue;
    const Value* fallback = property.Find("default");
    const Value* present = value.Find(key);
    const bool unwanted_null = present != nullptr && present->IsNull() && !property["nullable"].BoolOr();
    if (fallback != nullptr && (present == nullptr || unwanted_null)) value.Mutable(key) = *fallback;
    if (value.Find(key) != nullptr) Default(property, value.Mutable(key), false);
  }
  const Value& additional = schema["additionalProperties"];
  if (!additional.IsObject()) return;
  for (auto& [key, member] : value.MutableObject()) {
    if (schema["properties"].Find(key) == nullptr) Default(additional, member, false);
  }
}

class Validator {
 public:
  void Check(const Value& schema, const Value& value, const std::string& path, bool root) {
    if (value.IsNull() && schema["nullable"].BoolOr()) return;
    if (!CheckType(schema, value, path)) return;
    CheckEnum(schema, value, path);
    if (value.IsNumber()) CheckNumber(schema, value.DoubleOr(), path);
    if (value.IsString()) {
      CheckSize(schema, "minLength", "maxLength", value.StringOr().size(), path);
    } else if (value.IsArray()) {
      CheckSize(schema, "minItems", "maxItems", value.items().size(), path);
      for (std::size_t i = 0; i < value.items().size(); ++i) {
        Check(schema["items"], value.items()[i], fmt::format("{}[{}]", path, i), false);
      }
    } else if (value.IsObject()) {
      CheckMembers(schema, value, path, root);
    }
  }
  std::vector<std::string> Take() { return std::move(complaints_); }

 private:
  bool CheckType(const Value& schema, const Value& value, const std::string& path) {
    if (schema["x-kubernetes-int-or-string"].BoolOr()) {
      if (value.IsInt() || value.IsString()) return true;
      Complain(path, "Invalid value: must be an integer or a string");
      return false;
    }
    const std::string_view type = schema["type"].StringOr();
    const bool whole = value.IsInt() || (value.IsNumber() && value.DoubleOr() == std::floor(value.DoubleOr()));
    const bool good = type.empty() || (type == "object" && value.IsObject()) || (type == "array" && value.IsArray()) ||
                      (type == "string" && value.IsString()) || (type == "boolean" && value.IsBool()) ||
                      (type == "integer" && whole) || (type == "number" && value.IsNumber());
    if (!good) {
      Complain(path, fmt::format("Invalid value: \"{}\": {} in body must be of type {}: \"{}\"", TypeName(value), path,
                                 type, TypeName(value)));
    }
    return good;
  }

  void CheckEnum(const Value& schema, const Value& value, const std::string& path) {
    const auto& allowed = schema["enum"].items();
    if (allowed.empty() || std::find(allowed.begin(), allowed.end(), value) != allowed.end()) return;
    std::string list;
    for (const Value& one : allowed) list += (list.empty() ? "" : ", ") + one.Dump();
    Complain(path, fmt::format("Unsupported value: {}: supported values: {}", value.Dump(), list));
  }

  void CheckNumber(const Value& schema, double number, const std::string& path) {
    if (const Value* limit = schema.Find("minimum"); limit != nullptr && number < limit->DoubleOr()) {
      Complain(path,
               fmt::format("Invalid value: {}: should be greater than or equal to {}", number, limit->DoubleOr()));
    }
    if (const Value* limit = schema.Find("maximum"); limit != nullptr && number > limit->DoubleOr()) {
      Complain(path, fmt::format("Invalid value: {}: should be less than or equal to {}", number, limit->DoubleOr()));
    }
  }

  void CheckSize(const Value& schema, const char* min, const char* max, std::size_t size, const std::string& path) {
    const auto n = static_cast<std::int64_t>(size);
    if (const Value* limit = schema.Find(min); limit != nullptr && n < limit->IntOr()) {
      Complain(path, fmt::format("Invalid value: should be at least {} long", limit->IntOr()));
    }
    if (const Value* limit = schema.Find(max); limit != nullptr && n > limit->IntOr()) {
      Complain(path, fmt::format("Too long: must have at most {}", limit->IntOr()));
    }
  }

  void CheckMembers(const Value& schema, const Value& value, const std::string& path, bool root) {
    const auto at = [&path](std::string_view key) {
      return path.empty() ? std::string(key) : fmt::format("{}.{}", path, key);
    };
    for (const Value& name : schema["required"].items()) {
      if (value.Find(name.StringOr()) == nullptr) Complain(at(name.StringOr()), "Required value");
    }
    const Value& properties = schema["properties"];
    const Value& additional = schema["additionalProperties"];
    for (const auto& [key, member] : value.members()) {
      if (root && IsRootMember(key)) continue;
      if (const Value* property = properties.Find(key)) {
        Check(*property, member, at(key), false);
      } else if (additional.IsObject()) {
        Check(additional, member, at(key), false);
      }
    }
  }

  static std::string_view TypeName(const Value& value) {
    if (value.IsNull()) return "null";
    if (value.IsBool()) return "boolean";
    if (value.IsInt()) return "integer";
    if (value.IsNumber()) return "number";
    if (value.IsString()) return "string";
    return value.IsArray() ? "array" : "object";
  }

  void Complain(const std::string& path, std::string what) { complaints_.push_back(fmt::format("{}: {}", path, what)); }

  std::vector<std::string> complaints_;
};

}  // namespace

void PruneUnknown(const Value& schema, Value& object) { Prune(schema, object, true); }
void ApplyDefaults(const Value& schema, Value& object) { Default(schema, object, true); }

std::vector<std::string> Validate(const Value& schema, const Value& object) {
  Validator validator;
  validator.Check(schema, object, "", true);
  return validator.Take();
}

}  // namespace clusterpulse::kube
