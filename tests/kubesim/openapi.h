#pragma once

#include <string>

#include "common/json/value.h"
#include "common/kube/testing/object_store.h"

namespace clusterpulse::kubesim {

// What GET /openapi/v2 answers: the schemas of the custom types, for `kubectl explain` and its validation before
// `apply`. Built-in types are left out, which kubectl takes as "do not validate".
json::Value OpenApiDocument(const kube::ObjectStore& store);
// The same as protobuf (gnostic's openapi.v2.Document), the only form kubectl asks for. What kubectl does not read is
// left out.
std::string OpenApiProto(const json::Value& document);

}  // namespace clusterpulse::kubesim
