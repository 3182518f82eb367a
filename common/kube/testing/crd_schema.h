#pragma once

#include <string>
#include <vector>

#include "common/json/value.h"

namespace clusterpulse::kube {

// What an API server does with an object of a CustomResourceDefinition, given its openAPIV3Schema, in the server's
// order. apiVersion, kind and metadata of the root are left alone. Not imitated: pattern, format, allOf/anyOf/not, list
// and map types, embedded resources.

// Drops members the schema does not name.
void PruneUnknown(const json::Value& schema, json::Value& object);
// Fills in `default` where the parent object is present; a null that may not be null becomes its default.
void ApplyDefaults(const json::Value& schema, json::Value& object);
// Complaints in the server's words ("spec.endpoint: Required value"); empty: valid. Checked: type, required, enum,
// bounds of numbers, lengths of text and lists.
std::vector<std::string> Validate(const json::Value& schema, const json::Value& object);

}  // namespace clusterpulse::kube
