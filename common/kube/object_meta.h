#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/json/cursor.h"
#include "common/kube/resource.h"
#include "common/model/cluster.h"

namespace clusterpulse::kube {

// The part of an object's metadata that projections use.
struct ObjectMeta {
  std::string ns, name, uid, resource_version;
  std::int64_t generation = 0;
  std::string creation_timestamp;  // as written
  std::string deletion_timestamp;  // empty: not being deleted
  model::Labels labels, annotations;
  std::vector<std::string> finalizers;

  ObjectKey key() const { return {ns, name}; }
  bool deleting() const { return !deletion_timestamp.empty(); }
};

enum class MetaParts {
  kIdentity,  // ns, name, resource_version only: what large caches need
  kAll,
};

// Reads the value of an object's "metadata" member.
absl::Status ReadMeta(json::Cursor metadata, MetaParts parts, ObjectMeta& out);

// Reads an object of strings into a map; members of other types are left out.
absl::Status ReadLabels(json::Cursor object, model::Labels& out);

}  // namespace clusterpulse::kube
