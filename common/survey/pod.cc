#include "common/survey/pod.h"

#include <algorithm>
#include <optional>

#include <absl/container/inlined_vector.h>

namespace clusterpulse::survey {
namespace {

constexpr std::string_view kInfeasible = "Infeasible";

Requests Max(const Requests& a, const Requests& b) { return {std::max(a.cpu, b.cpu), std::max(a.memory, b.memory)}; }

struct NamedRequests {
  std::optional<kube::Quantity> cpu, memory;

  Requests OrZero() const { return {cpu.value_or(kube::Quantity()), memory.value_or(kube::Quantity())}; }
};

// {"cpu": "250m", "memory": "1Gi", ...}
absl::Status ReadAmounts(json::Cursor list, NamedRequests& out, Unreadable& unreadable) {
  return list.ForEachMember([&](std::string_view key, json::Cursor value) {
    if (key == "cpu") {
      out.cpu = ReadQuantity(value, unreadable);
    } else if (key == "memory") {
      out.memory = ReadQuantity(value, unreadable);
    }
  });
}

// {"limits": {...}, "requests": {...}}
absl::Status ReadResources(json::Cursor resources, NamedRequests& out, Unreadable& unreadable) {
  return resources.ForEachMember([&](std::string_view key, json::Cursor value) {
    return key == "requests" ? ReadAmounts(value, out, unreadable) : absl::OkStatus();
  });
}

// What a pod says, to be added up when spec and status were both read. Names live as long as the page.
struct Parts {
  struct Container {
    std::string_view name;
    Requests requests;
    bool is_init = false, restarts_always = false;
  };
  // What the kubelet says a container holds; nodes without in-place resize say nothing.
  struct Held {
    std::string_view name;
    Requests requests;  // the larger of what is in force and what is allocated
  };
  absl::InlinedVector<Container, 8> containers;
  absl::InlinedVector<Held, 8> held;
  bool resize_infeasible = false;
  NamedRequests pod_level, overhead;
};

absl::Status ReadContainer(json::Cursor container, Parts::Container& out, Unreadable& unreadable) {
  NamedRequests named;
  RETURN_IF_ERROR(container.ForEachMember([&](std::string_view key, json::Cursor value) {
    if (key == "name") {
      value.Get(out.name);
    } else if (key == "resources") {
      return ReadResources(value, named, unreadable);
    } else if (key == "restartPolicy") {
      std::string_view policy;
      out.restarts_always = value.Get(policy) && policy == "Always";
    }
    return absl::OkStatus();
  }));
  out.requests = named.OrZero();
  return absl::OkStatus();
}

absl::Status ReadSpec(json::Cursor spec, PodRecord& out, Parts& parts, Unreadable& unreadable) {
  return spec.ForEachMember([&](std::string_view key, json::Cursor value) -> absl::Status {
    if (key == "containers" || key == "initContainers") {
      const bool is_init = key == "initContainers";
      return value.ForEachElement([&](json::Cursor element) {
        Parts::Container& container = parts.containers.emplace_back();
        container.is_init = is_init;
        return ReadContainer(element, container, unreadable);
      });
    }
    if (key == "nodeName") {
      value.Get(out.node);
    } else if (key == "overhead") {
      return ReadAmounts(value, parts.overhead, unreadable);
    } else if (key == "resources") {
      return ReadResources(value, parts.pod_level, unreadable);
    }
    return absl::OkStatus();
  });
}

absl::Status ReadContainerStatus(json::Cursor status, Parts& parts, Unreadable& unreadable) {
  std::string_view name;
  bool has_resources = false;
  NamedRequests in_force, allocated;
  RETURN_IF_ERROR(status.ForEachMember([&](std::string_view key, json::Cursor value) -> absl::Status {
    if (key == "name") {
      value.Get(name);
    } else if (key == "resources") {
      has_resources = value.IsObject();
      return ReadResources(value, in_force, unreadable);
    } else if (key == "allocatedResources") {
      return ReadAmounts(value, allocated, unreadable);
    }
    return absl::OkStatus();
  }));
  if (has_resources) parts.held.push_back({name, Max(in_force.OrZero(), allocated.OrZero())});
  return absl::OkStatus();
}

// A resize that the node can never grant: condition PodResizePending, or the word of servers before 1.33.
absl::Status ReadResizeCondition(json::Cursor condition, Parts& parts) {
  std::string_view type, reason;
  RETURN_IF_ERROR(condition.ForEachMember([&](std::string_view key, json::Cursor value) {
    if (key == "type") {
      value.Get(type);
    } else if (key == "reason") {
      value.Get(reason);
    }
  }));
  if (type == "PodResizePending" && reason == kInfeasible) parts.resize_infeasible = true;
  return absl::OkStatus();
}

absl::Status ReadStatus(json::Cursor status, PodRecord& out, Parts& parts, Unreadable& unreadable) {
  return status.ForEachMember([&](std::string_view key, json::Cursor value) -> absl::Status {
    std::string_view word;
    if (key == "phase") {
      if (value.Get(word)) out.phase = ParsePodPhase(word);
    } else if (key == "containerStatuses" || key == "initContainerStatuses") {
      return value.ForEachElement(
          [&](json::Cursor element) { return ReadContainerStatus(element, parts, unreadable); });
    } else if (key == "conditions") {
      return value.ForEachElement([&](json::Cursor element) { return ReadResizeCondition(element, parts); });
    } else if (key == "resize") {
      if (value.Get(word) && word == kInfeasible) parts.resize_infeasible = true;
    }
    return absl::OkStatus();
  });
}

// While a container is resized, the node holds the larger of what it had and what is asked for now; what it will never
// grant does not count. REQUIRES: `held` is sorted by name.
Requests RequestsOf(const Parts::Container& container, const Parts& parts) {
  const auto held = std::ranges::lower_bound(parts.held, container.name, {}, &Parts::Held::name);
  if (held == parts.held.end() || held->name != container.name) return container.requests;
  return parts.resize_infeasible ? held->requests : Max(container.requests, held->requests);
}

Requests AddUp(Parts& parts) {
  std::ranges::sort(parts.held, {}, &Parts::Held::name);
  Requests containers;  // of the ordinary ones
  Requests sidecars;
  Requests init_peak;  // the most any moment of initialisation takes
  for (const Parts::Container& container : parts.containers) {
    if (!container.is_init) {
      containers += RequestsOf(container, parts);
    } else if (container.restarts_always) {
      sidecars += RequestsOf(container, parts);
      init_peak = Max(init_peak, sidecars);
    } else {
      Requests peak = container.requests;
      peak += sidecars;
      init_peak = Max(init_peak, peak);
    }
  }
  containers += sidecars;
  Requests sum = Max(containers, init_peak);
  if (parts.pod_level.cpu) sum.cpu = *parts.pod_level.cpu;
  if (parts.pod_level.memory) sum.memory = *parts.pod_level.memory;
  sum += parts.overhead.OrZero();
  return sum;
}

// Without `meta` the metadata, a good part of a pod, is skipped unread.
absl::Status ReadPodObject(json::Cursor object, kube::ObjectMeta* meta, PodRecord& out, Unreadable& unreadable) {
  out.node.clear();
  out.phase = PodPhase::kUnknown;
  Parts parts;
  RETURN_IF_ERROR(object.ForEachMember([&](std::string_view key, json::Cursor value) -> absl::Status {
    if (key == "spec") return ReadSpec(value, out, parts, unreadable);
    if (key == "status") return ReadStatus(value, out, parts, unreadable);
    if (key == "metadata" && meta != nullptr) return kube::ReadMeta(value, kube::MetaParts::kIdentity, *meta);
    return absl::OkStatus();
  }));
  out.requests = AddUp(parts);
  return absl::OkStatus();
}

}  // namespace

PodPhase ParsePodPhase(std::string_view word) {
  if (word == "Running") return PodPhase::kRunning;
  if (word == "Pending") return PodPhase::kPending;
  if (word == "Succeeded") return PodPhase::kSucceeded;
  if (word == "Failed") return PodPhase::kFailed;
  return PodPhase::kUnknown;
}

absl::Status ReadPod(json::Cursor object, PodRecord& out, Unreadable& unreadable) {
  return ReadPodObject(object, nullptr, out, unreadable);
}

absl::Status ReadPod(json::Cursor object, kube::ObjectMeta& meta, PodRecord& out, Unreadable& unreadable) {
  return ReadPodObject(object, &meta, out, unreadable);
}

}  // namespace clusterpulse::survey
