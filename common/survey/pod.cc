#include "common/survey/pod.h"

#include <algorithm>
#include <optional>

namespace clusterpulse::survey {
namespace {

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

struct Container {
  Requests requests;
  bool restarts_always = false;
};

absl::Status ReadContainer(json::Cursor container, Container& out, Unreadable& unreadable) {
  NamedRequests named;
  RETURN_IF_ERROR(container.ForEachMember([&](std::string_view key, json::Cursor value) {
    if (key == "resources") return ReadResources(value, named, unreadable);
    if (key == "restartPolicy") {
      std::string_view policy;
      out.restarts_always = value.Get(policy) && policy == "Always";
    }
    return absl::OkStatus();
  }));
  out.requests = named.OrZero();
  return absl::OkStatus();
}

absl::Status ReadSpec(json::Cursor spec, PodRecord& out, Unreadable& unreadable) {
  Requests containers;  // of the ordinary ones
  Requests sidecars;
  Requests init_peak;  // the most any moment of initialisation takes
  NamedRequests pod_level, overhead;
  RETURN_IF_ERROR(spec.ForEachMember([&](std::string_view key, json::Cursor value) -> absl::Status {
    if (key == "containers") {
      return value.ForEachElement([&](json::Cursor element) -> absl::Status {
        Container container;
        RETURN_IF_ERROR(ReadContainer(element, container, unreadable));
        containers += container.requests;
        return absl::OkStatus();
      });
    }
    if (key == "initContainers") {
      return value.ForEachElement([&](json::Cursor element) -> absl::Status {
        Container container;
        RETURN_IF_ERROR(ReadContainer(element, container, unreadable));
        if (container.restarts_always) {
          sidecars += container.requests;
          init_peak = Max(init_peak, sidecars);
        } else {
          container.requests += sidecars;
          init_peak = Max(init_peak, container.requests);
        }
        return absl::OkStatus();
      });
    }
    if (key == "nodeName") {
      value.Get(out.node);
    } else if (key == "overhead") {
      return ReadAmounts(value, overhead, unreadable);
    } else if (key == "resources") {
      return ReadResources(value, pod_level, unreadable);
    }
    return absl::OkStatus();
  }));
  containers += sidecars;
  out.requests = Max(containers, init_peak);
  if (pod_level.cpu) out.requests.cpu = *pod_level.cpu;
  if (pod_level.memory) out.requests.memory = *pod_level.memory;
  out.requests += overhead.OrZero();
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
  out.node.clear();
  out.requests = {};
  out.phase = PodPhase::kUnknown;
  return object.ForEachMember([&](std::string_view key, json::Cursor value) -> absl::Status {
    if (key == "spec") return ReadSpec(value, out, unreadable);
    if (key == "status") {
      return value.ForEachMember([&](std::string_view name, json::Cursor member) {
        std::string_view word;
        if (name == "phase" && member.Get(word)) out.phase = ParsePodPhase(word);
      });
    }
    return absl::OkStatus();
  });
}

}  // namespace clusterpulse::survey
