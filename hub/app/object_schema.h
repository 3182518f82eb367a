#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

#include "common/json/value.h"
#include "common/metricsource/diagnostics.h"

namespace clusterpulse::app {

// Judges objects as an API server does, by the schema of their definition (OpenAPI v3, structural): what stands in a
// file can be refused before a server sees it. Of the schema language it knows what our definitions use; members that a
// schema does not name are pruned by a server and left alone here.

// schema of `spec` in the definition of that kind, one of the compiled-in ones (crds.h). kInternal: there is none.
absl::StatusOr<json::Value> EmbeddedSpecSchema(std::string_view kind);

// schema of `metadata`, as far as people write it: texts where a server takes nothing else.
json::Value MetadataSchema();

// How the message about a value ends that had to be a text; the whole message about a member that is absent.
inline constexpr std::string_view kIsNoText = " is no text", kIsRequired = "is required";

// Every error of `value`, under its path ("spec.collection.intervalSeconds", "metadata.labels[app]"), in the order of
// the schema. null counts as absent where the schema is not nullable, as it does for a server.
void ValidateBySchema(const json::Value& schema, const json::Value& value, const std::string& path,
                      metricsource::Diagnostics& diagnostics);

// What of `schema` ValidateBySchema does not know, each as "spec.collection: multipleOf"; `path` is that of the schema.
std::vector<std::string> UnknownKeywords(const json::Value& schema, const std::string& path);

}  // namespace clusterpulse::app
