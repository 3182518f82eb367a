#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/json/value.h"
#include "common/kube/resource.h"

namespace clusterpulse::kube {

// A column of `kubectl get`, as a CustomResourceDefinition states it.
struct PrinterColumn {
  std::string name, type, json_path;
  int priority = 0;  // above 0: only with -o wide
};

// A resource type as one API server serves it.
struct ServedType {
  ResourceType resource;
  std::string singular;
  std::vector<std::string> short_names;
  bool has_status = false;  // a status subresource: writes of the object leave its status alone and the other way round
  bool has_generation = false;                // metadata.generation counts changes of anything but metadata and status
  std::vector<std::string> fields;            // field selectors beyond metadata.name and metadata.namespace
  bool custom = false;                        // comes from a CustomResourceDefinition
  std::vector<PrinterColumn> columns;         // custom types only
  std::shared_ptr<const json::Value> schema;  // null: objects are kept as written

  // "pods" or "deployments.apps", as error messages have it.
  std::string QualifiedName() const {
    return resource.group.empty() ? resource.plural : resource.plural + "." + resource.group;
  }
};

// What a plain Kubernetes 1.20 server serves, as far as the programs and kubectl need it.
const std::vector<ServedType>& BuiltInTypes();
// What OpenShift and the Operator Lifecycle Manager add. These are kept as written, without a schema.
const std::vector<ServedType>& OpenShiftTypes();
const std::vector<ServedType>& OperatorLifecycleTypes();

}  // namespace clusterpulse::kube
