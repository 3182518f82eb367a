#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/model/labels.h"

// What a cluster is made of, as both modes deliver it and the store keeps it: plain values, no protobuf, no JSON, no
// I/O. CPU is in cores, memory and storage in bytes. Field meanings and formulas: common/survey; contract documents
// made from these: hub/store/documents.h.
namespace clusterpulse::model {

enum class NodeStatus { kUnknown, kReady, kNotReady, kSchedulingDisabled };
// The contract's word: Unknown, Ready, NotReady, SchedulingDisabled.
std::string_view ToString(NodeStatus status);

// An entry of status.conditions.
struct Condition {
  std::string type, status, reason, message;
  std::optional<base::SystemTime> last_transition;
  bool operator==(const Condition&) const = default;
};

struct Taint {
  std::string key, value, effect;
  bool operator==(const Taint&) const = default;
};

// What the pods on one node (or on none) add up to.
struct PodTotals {
  std::int32_t running = 0, pending = 0, failed = 0, succeeded = 0, total = 0;
  double cpu_requested = 0;           // cores, of Running and Pending pods
  std::int64_t memory_requested = 0;  // bytes, the same
  bool operator==(const PodTotals&) const = default;
};

struct Node {
  std::string name;
  NodeStatus status = NodeStatus::kUnknown;
  std::vector<std::string> roles;
  std::vector<Condition> conditions;
  std::vector<Taint> taints;
  Labels labels, annotations;
  double cpu_capacity = 0, cpu_allocatable = 0;
  std::int64_t memory_capacity = 0, memory_allocatable = 0;
  std::int64_t storage_capacity = 0, storage_allocatable = 0;
  std::int32_t pods_capacity = 0, pods_allocatable = 0;
  PodTotals pods;
  double cpu_usage_percent = 0, memory_usage_percent = 0;  // requested / allocatable, not real use
  std::string kernel_version, os_image, container_runtime, kubelet_version, architecture;
  std::string internal_ip, external_ip, hostname;
  std::int32_t images_count = 0, volumes_attached = 0;
  bool operator==(const Node&) const = default;
};

struct ClusterCounts {
  std::int32_t nodes = 0, nodes_ready = 0;
  std::int32_t pods = 0, pods_running = 0;  // unscheduled pods included
  double cpu_capacity = 0;
  std::int64_t memory_capacity = 0;
  // Absent: the list failed and what was known stays.
  std::optional<std::int32_t> deployments;
  // Only in what is kept for history, where the list of them is not; absent beside that.
  std::optional<std::int32_t> namespaces = std::nullopt;
  bool operator==(const ClusterCounts&) const = default;
};

struct ClusterInfo {
  std::string api_url, version, platform, console_url, channel, cluster_id, image;
  bool is_openshift = false;
  bool update_available = false;
  std::string available_update_version;
  std::string version_state, version_started_time, version_completion_time;
  std::vector<Condition> conditions;
  bool is_progressing = false, is_degraded = false, is_available = false;
  bool operator==(const ClusterInfo&) const = default;
};

// An operator installed by OLM.
struct OlmOperator {
  std::string name, display_name, version, status, installed_namespace, install_mode, provider;
  std::vector<std::string> install_modes;
  bool is_cluster_wide = false;
  std::vector<std::string> available_in_namespaces;  // ["*"] when cluster-wide; never cut
  std::string created_at, updated_at;                // RFC 3339 as the cluster wrote them; empty when unknown
  Labels subscription;
  bool operator==(const OlmOperator&) const = default;
};

struct ClusterOperator {
  struct Version {
    std::string name, version;
    bool operator==(const Version&) const = default;
  };
  struct RelatedObject {
    std::string group, resource, ns, name;
    bool operator==(const RelatedObject&) const = default;
  };
  std::string name, version, message, reason;
  bool available = false, progressing = false, degraded = false, upgradeable = false;
  std::optional<base::SystemTime> last_transition;
  std::vector<Condition> conditions;
  std::vector<Version> versions;
  std::vector<RelatedObject> related_objects;
  bool operator==(const ClusterOperator&) const = default;
};

// What one pass over a cluster, or one batch from its collector, says. Each member is a scope that replaces what is
// stored; an absent one was not read (not due, or its list failed) and leaves the stored one alone.
struct ClusterSnapshot {
  std::optional<std::vector<Node>> nodes;
  std::optional<ClusterCounts> counts;
  std::optional<std::vector<std::string>> namespaces;
  std::optional<ClusterInfo> info;
  std::optional<std::vector<OlmOperator>> operators;
  std::optional<std::vector<ClusterOperator>> cluster_operators;
  bool operator==(const ClusterSnapshot&) const = default;
};

}  // namespace clusterpulse::model
