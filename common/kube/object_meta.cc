#include "common/kube/object_meta.h"

#include <string_view>

namespace clusterpulse::kube {

absl::Status ReadMeta(json::Cursor metadata, MetaParts parts, ObjectMeta& out) {
  const bool all = parts == MetaParts::kAll;
  out.ns.clear();
  out.name.clear();
  out.resource_version.clear();
  if (all) out = ObjectMeta();
  return metadata.ForEachMember([&](std::string_view key, json::Cursor value) -> absl::Status {
    if (key == "name") {
      value.Get(out.name);
    } else if (key == "namespace") {
      value.Get(out.ns);
    } else if (key == "resourceVersion") {
      value.Get(out.resource_version);
    } else if (!all) {
      return absl::OkStatus();
    } else if (key == "uid") {
      value.Get(out.uid);
    } else if (key == "generation") {
      value.Get(out.generation);
    } else if (key == "creationTimestamp") {
      value.Get(out.creation_timestamp);
    } else if (key == "deletionTimestamp") {
      value.Get(out.deletion_timestamp);
    } else if (key == "labels") {
      return ReadLabels(value, out.labels);
    } else if (key == "annotations") {
      return ReadLabels(value, out.annotations);
    } else if (key == "finalizers") {
      return value.ForEachElement([&](json::Cursor element) {
        std::string finalizer;
        if (element.Get(finalizer)) out.finalizers.push_back(std::move(finalizer));
      });
    }
    return absl::OkStatus();
  });
}

absl::Status ReadLabels(json::Cursor object, model::Labels& out) {
  model::LabelsBuilder labels;
  absl::Status status = object.ForEachMember([&](std::string_view key, json::Cursor value) {
    std::string_view text;
    if (value.Get(text)) labels.Add(key, text);
  });
  out = labels.Build();
  return status;
}

}  // namespace clusterpulse::kube
