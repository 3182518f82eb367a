#include "common/survey/node.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "common/survey/condition.h"

namespace clusterpulse::survey {
namespace {

constexpr std::string_view kRolePrefix = "node-role.kubernetes.io/";

absl::Status ReadTaint(json::Cursor taint, model::Taint& out) {
  return taint.ForEachMember([&](std::string_view key, json::Cursor value) {
    if (key == "key") {
      value.Get(out.key);
    } else if (key == "value") {
      value.Get(out.value);
    } else if (key == "effect") {
      value.Get(out.effect);
    }
  });
}

// status.addresses holds several of a type on dual-stack nodes; the last one is the one shown.
absl::Status ReadAddress(json::Cursor address, model::Node& out) {
  std::string type, text;
  RETURN_IF_ERROR(address.ForEachMember([&](std::string_view key, json::Cursor value) {
    if (key == "type") {
      value.Get(type);
    } else if (key == "address") {
      value.Get(text);
    }
  }));
  if (type == "InternalIP") {
    out.internal_ip = std::move(text);
  } else if (type == "ExternalIP") {
    out.external_ip = std::move(text);
  } else if (type == "Hostname") {
    out.hostname = std::move(text);
  }
  return absl::OkStatus();
}

struct Amounts {
  double cpu = 0;
  std::int64_t memory = 0, storage = 0;
  std::int32_t pods = 0;
};

absl::Status ReadAmounts(json::Cursor list, Amounts& out, Unreadable& unreadable) {
  return list.ForEachMember([&](std::string_view key, json::Cursor value) {
    if (key == "cpu") {
      out.cpu = std::max(ReadQuantity(value, unreadable).AsDouble(), 0.0);
    } else if (key == "memory") {
      out.memory = std::max<std::int64_t>(ReadQuantity(value, unreadable).Value(), 0);
    } else if (key == "ephemeral-storage") {
      out.storage = std::max<std::int64_t>(ReadQuantity(value, unreadable).Value(), 0);
    } else if (key == "pods") {
      out.pods = static_cast<std::int32_t>(std::clamp<std::int64_t>(ReadQuantity(value, unreadable).Value(), 0,
                                                                    std::numeric_limits<std::int32_t>::max()));
    }
  });
}

absl::Status ReadNodeInfo(json::Cursor info, model::Node& out) {
  return info.ForEachMember([&](std::string_view key, json::Cursor value) {
    if (key == "kernelVersion") {
      value.Get(out.kernel_version);
    } else if (key == "osImage") {
      value.Get(out.os_image);
    } else if (key == "containerRuntimeVersion") {
      value.Get(out.container_runtime);
    } else if (key == "kubeletVersion") {
      value.Get(out.kubelet_version);
    } else if (key == "architecture") {
      value.Get(out.architecture);
    }
  });
}

absl::Status CountElements(json::Cursor array, std::int32_t& out) {
  out = 0;
  return array.ForEachElement([&](json::Cursor) { ++out; });
}

absl::Status ReadStatus(json::Cursor status, model::Node& out, Unreadable& unreadable) {
  return status.ForEachMember([&](std::string_view key, json::Cursor value) -> absl::Status {
    if (key == "capacity") {
      Amounts amounts;
      RETURN_IF_ERROR(ReadAmounts(value, amounts, unreadable));
      out.cpu_capacity = amounts.cpu;
      out.memory_capacity = amounts.memory;
      out.storage_capacity = amounts.storage;
      out.pods_capacity = amounts.pods;
    } else if (key == "allocatable") {
      Amounts amounts;
      RETURN_IF_ERROR(ReadAmounts(value, amounts, unreadable));
      out.cpu_allocatable = amounts.cpu;
      out.memory_allocatable = amounts.memory;
      out.storage_allocatable = amounts.storage;
      out.pods_allocatable = amounts.pods;
    } else if (key == "conditions") {
      return ReadConditions(value, out.conditions);
    } else if (key == "addresses") {
      return value.ForEachElement([&](json::Cursor element) { return ReadAddress(element, out); });
    } else if (key == "nodeInfo") {
      return ReadNodeInfo(value, out);
    } else if (key == "images") {
      return CountElements(value, out.images_count);
    } else if (key == "volumesAttached") {
      return CountElements(value, out.volumes_attached);
    }
    return absl::OkStatus();
  });
}

model::NodeStatus StatusWord(const model::Node& node, bool cordoned) {
  auto word = model::NodeStatus::kUnknown;
  for (const auto& condition : node.conditions) {
    if (condition.type != "Ready") continue;
    word = condition.status == "True" ? model::NodeStatus::kReady : model::NodeStatus::kNotReady;
  }
  return cordoned && word != model::NodeStatus::kNotReady ? model::NodeStatus::kSchedulingDisabled : word;
}

}  // namespace

absl::Status ReadNode(json::Cursor object, model::Node& out, Unreadable& unreadable) {
  kube::ObjectMeta meta;
  return ReadNode(object, meta, out, unreadable);
}

absl::Status ReadNode(json::Cursor object, kube::ObjectMeta& meta, model::Node& out, Unreadable& unreadable) {
  out = {};
  bool cordoned = false;
  RETURN_IF_ERROR(object.ForEachMember([&](std::string_view key, json::Cursor value) -> absl::Status {
    if (key == "metadata") {
      RETURN_IF_ERROR(kube::ReadMeta(value, kube::MetaParts::kAll, meta));
      out.name = meta.name;
      out.labels = std::move(meta.labels);
      out.annotations = std::move(meta.annotations);
    } else if (key == "spec") {
      return value.ForEachMember([&](std::string_view name, json::Cursor member) -> absl::Status {
        if (name == "unschedulable") {
          member.Get(cordoned);
        } else if (name == "taints") {
          return member.ForEachElement([&](json::Cursor element) {
            if (!element.IsObject()) return absl::OkStatus();
            return ReadTaint(element, out.taints.emplace_back());
          });
        }
        return absl::OkStatus();
      });
    } else if (key == "status") {
      return ReadStatus(value, out, unreadable);
    }
    return absl::OkStatus();
  }));
  for (const auto& [key, value] : out.labels) {
    if (key.starts_with(kRolePrefix)) out.roles.emplace_back(key.substr(kRolePrefix.size()));
  }
  out.status = StatusWord(out, cordoned);
  return absl::OkStatus();
}

void SetPods(const model::PodTotals& pods, model::Node& node) {
  node.pods = pods;
  node.cpu_usage_percent = node.cpu_allocatable > 0 ? pods.cpu_requested / node.cpu_allocatable * 100 : 0;
  node.memory_usage_percent = node.memory_allocatable > 0 ? static_cast<double>(pods.memory_requested) /
                                                                static_cast<double>(node.memory_allocatable) * 100
                                                          : 0;
}

}  // namespace clusterpulse::survey
