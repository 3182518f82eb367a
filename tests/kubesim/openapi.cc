#include "tests/kubesim/openapi.h"

#include <functional>

#include <fmt/format.h>

namespace clusterpulse::kubesim {
namespace {

using json::Value;

constexpr std::string_view kGroupVersionKind = "x-kubernetes-group-version-kind";

// A CustomResourceDefinition's schema as servers publish it: what OpenAPI 2 cannot say is loosened, or kubectl would
// refuse objects that the server takes.
Value Published(const Value& schema) {
  Value published = schema;
  published.Erase("default");
  if (schema["nullable"].BoolOr() || schema["x-kubernetes-int-or-string"].BoolOr()) published.Erase("type");
  if (schema["nullable"].BoolOr() || schema["x-kubernetes-preserve-unknown-fields"].BoolOr()) {
    published.Erase("properties");
    published.Erase("items");
  }
  if (published.Find("properties") != nullptr) {
    for (auto& [name, property] : published.Mutable("properties").MutableObject()) property = Published(property);
  }
  for (const char* child : {"items", "additionalProperties"}) {
    if (published[child].IsObject()) published.Mutable(child) = Published(published[child]);
  }
  return published;
}

// --- protobuf ---

std::string Varint(std::uint64_t number) {
  std::string out;
  for (; number >= 0x80; number >>= 7) out.push_back(static_cast<char>(number | 0x80));
  out.push_back(static_cast<char>(number));
  return out;
}

// A string or message field.
std::string Field(unsigned number, std::string_view content) {
  return Varint(number << 3 | 2).append(Varint(content.size())).append(content);
}

// The fields of a message whose field 1 is repeated pairs of a name (1) and a value (2).
std::string Pairs(const Value::Object& members, const std::function<std::string(const Value&)>& encode) {
  std::string out;
  for (const auto& [name, value] : members) out += Field(1, Field(1, name) + Field(2, encode(value)));
  return out;
}

std::string SchemaProto(const Value& schema) {
  std::string out;
  const auto text = [&](unsigned number, std::string_view key) {
    if (schema[key].IsString()) out += Field(number, schema[key].StringOr());
  };
  text(2, "format");
  text(4, "description");
  for (const Value& name : schema["required"].items()) out += Field(19, name.StringOr());
  if (schema["additionalProperties"].IsObject()) {
    out += Field(21, Field(1, SchemaProto(schema["additionalProperties"])));
  }
  if (schema["type"].IsString()) out += Field(22, Field(1, schema["type"].StringOr()));
  if (schema["items"].IsObject()) out += Field(23, Field(1, SchemaProto(schema["items"])));
  if (schema["properties"].IsObject()) out += Field(25, Pairs(schema["properties"].members(), SchemaProto));
  if (const Value* kinds = schema.Find(kGroupVersionKind)) {
    out += Field(31, Field(1, kGroupVersionKind) + Field(2, Field(2, kinds->Dump())));  // JSON is YAML
  }
  return out;
}

}  // namespace

Value OpenApiDocument(const kube::ObjectStore& store) {
  Value::Object definitions;
  for (const auto& type : store.Types()) {
    if (type->schema == nullptr) continue;
    const kube::ResourceType& resource = type->resource;
    Value schema = Published(*type->schema);
    schema.Mutable(kGroupVersionKind) =
        Value::Array{Value::Object{{"group", resource.group}, {"version", resource.version}, {"kind", resource.kind}}};
    definitions.emplace(fmt::format("{}.{}.{}", resource.group, resource.version, resource.kind), std::move(schema));
  }
  return Value::Object{{"swagger", "2.0"},
                       {"info", Value::Object{{"title", "Kubernetes"}, {"version", "v1.20.2"}}},
                       {"paths", Value::Object()},
                       {"definitions", std::move(definitions)}};
}

std::string OpenApiProto(const Value& document) {
  return Field(1, document["swagger"].StringOr()) + Field(9, Pairs(document["definitions"].members(), SchemaProto));
}

}  // namespace clusterpulse::kubesim
