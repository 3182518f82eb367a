#include "common/survey/cluster_operator.h"

#include <utility>

#include "common/kube/object_meta.h"
#include "common/survey/condition.h"

namespace clusterpulse::survey {
namespace {

absl::Status ReadVersion(json::Cursor version, model::ClusterOperator::Version& out) {
  return version.ForEachMember([&](std::string_view key, json::Cursor value) {
    if (key == "name") {
      value.Get(out.name);
    } else if (key == "version") {
      value.Get(out.version);
    }
  });
}

absl::Status ReadRelatedObject(json::Cursor related, model::ClusterOperator::RelatedObject& out) {
  return related.ForEachMember([&](std::string_view key, json::Cursor value) {
    if (key == "group") {
      value.Get(out.group);
    } else if (key == "resource") {
      value.Get(out.resource);
    } else if (key == "namespace") {
      value.Get(out.ns);
    } else if (key == "name") {
      value.Get(out.name);
    }
  });
}

// Elements that are not objects are left out.
template <typename T>
absl::Status ReadList(json::Cursor list, absl::Status (*read)(json::Cursor, T&), std::vector<T>& out) {
  return list.ForEachElement([&](json::Cursor element) {
    if (!element.IsObject()) return absl::OkStatus();
    return read(element, out.emplace_back());
  });
}

void Judge(model::ClusterOperator& out) {
  for (const auto& condition : out.conditions) {
    const bool is_true = condition.status == "True";
    if (condition.last_transition && (!out.last_transition || *condition.last_transition > *out.last_transition)) {
      out.last_transition = condition.last_transition;
    }
    if (condition.type == "Available") {
      out.available = is_true;
      if (!is_true && !condition.message.empty()) {
        out.message = condition.message;
        out.reason = condition.reason;
      }
    } else if (condition.type == "Progressing") {
      out.progressing = is_true;
      if (is_true && out.message.empty()) out.message = condition.message;
    } else if (condition.type == "Degraded") {
      out.degraded = is_true;
      if (is_true && !condition.message.empty()) {
        out.message = condition.message;
        out.reason = condition.reason;
      }
    } else if (condition.type == "Upgradeable") {
      out.upgradeable = is_true;
    }
  }
  if (!out.versions.empty()) out.version = out.versions.front().version;
  for (const auto& entry : out.versions) {
    if (entry.name == "operator" || entry.name == out.name) out.version = entry.version;
  }
}

}  // namespace

absl::Status ReadClusterOperator(json::Cursor object, model::ClusterOperator& out) {
  out = {};
  RETURN_IF_ERROR(object.ForEachMember([&](std::string_view key, json::Cursor value) -> absl::Status {
    if (key == "metadata") {
      kube::ObjectMeta meta;
      RETURN_IF_ERROR(kube::ReadMeta(value, kube::MetaParts::kIdentity, meta));
      out.name = std::move(meta.name);
    } else if (key == "status") {
      return value.ForEachMember([&](std::string_view name, json::Cursor member) -> absl::Status {
        if (name == "conditions") return ReadConditions(member, out.conditions);
        if (name == "versions") return ReadList(member, ReadVersion, out.versions);
        if (name == "relatedObjects") return ReadList(member, ReadRelatedObject, out.related_objects);
        return absl::OkStatus();
      });
    }
    return absl::OkStatus();
  }));
  Judge(out);
  return absl::OkStatus();
}

}  // namespace clusterpulse::survey
