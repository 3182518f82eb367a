#include "hub/store/documents.h"

#include <algorithm>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "common/base/time_format.h"
#include "common/json/value.h"
#include "common/json/writer.h"

namespace clusterpulse::store::documents {
namespace {

using json::Writer;

constexpr std::size_t kShownNamespaces = 20;

std::string TimeOr(const std::optional<base::SystemTime>& time, std::string_view fallback) {
  return time.has_value() ? base::FormatSeconds(*time) : std::string(fallback);
}

void PutStrings(Writer& w, const std::vector<std::string>& strings) {
  w.BeginArray();
  for (const std::string& s : strings) w.String(s);
  w.EndArray();
}

void PutLabels(Writer& w, const model::Labels& labels) {
  w.BeginObject();
  for (const auto& [key, value] : labels) w.Member(key, value);
  w.EndObject();
}

void PutCounts(Writer& w, const std::map<std::string, std::int64_t>& counts) {
  w.BeginObject();
  for (const auto& [key, count] : counts) w.Member(key, count);
  w.EndObject();
}

void PutUnlessEmpty(Writer& w, std::string_view key, const std::string& value) {
  if (!value.empty()) w.Member(key, value);
}

void PutIfTrue(Writer& w, std::string_view key, bool value) {
  if (value) w.Member(key, true);
}

void PutConditions(Writer& w, const std::vector<model::Condition>& conditions) {
  w.BeginArray();
  for (const auto& c : conditions) {
    w.BeginObject()
        .Member("type", c.type)
        .Member("status", c.status)
        .Member("reason", c.reason)
        .Member("message", c.message)
        .Member("last_transition_time", TimeOr(c.last_transition, base::kZeroTime))
        .EndObject();
  }
  w.EndArray();
}

}  // namespace

std::string Spec(const ClusterSpec& spec) {
  std::string out;
  Writer w(out);
  w.BeginObject();
  w.Key("credentialsRef")
      .BeginObject()
      .Member("name", spec.credentials_name)
      .Member("namespace", spec.credentials_namespace)
      .EndObject();
  w.Member("displayName", spec.display_name).Member("endpoint", spec.endpoint);
  w.Key("labels");
  if (spec.labels.empty()) {
    w.Null();
  } else {
    PutLabels(w, spec.labels);
  }
  w.Key("monitoring")
      .BeginObject()
      .Member("interval", spec.interval_seconds)
      .Member("timeout", spec.timeout_seconds)
      .EndObject();
  w.EndObject();
  return out;
}

std::string LabelsOf(const model::Labels& labels) {
  std::string out;
  Writer w(out);
  PutLabels(w, labels);
  return out;
}

std::string Status(const ClusterStatus& status, std::string_view now) {
  std::string out;
  Writer(out)
      .BeginObject()
      .Member("health", model::ToString(status.health))
      .Member("last_check", now)
      .Member("message", status.message)
      .EndObject();
  return out;
}

model::Health HealthOf(std::string_view word) {
  for (const auto health : {model::Health::kHealthy, model::Health::kDegraded, model::Health::kUnhealthy}) {
    if (model::ToString(health) == word) return health;
  }
  return model::Health::kUnknown;
}

model::Health ReadHealth(std::string_view status_json) {
  const auto document = json::Value::Parse(status_json);
  return document.ok() ? HealthOf((*document)["health"].StringOr()) : model::Health::kUnknown;
}

std::string Info(const model::ClusterInfo& info) {
  std::string out;
  Writer w(out);
  w.BeginObject().Member("api_url", info.api_url);
  PutUnlessEmpty(w, "available_update_version", info.available_update_version);
  PutUnlessEmpty(w, "channel", info.channel);
  PutUnlessEmpty(w, "cluster_id", info.cluster_id);
  if (!info.conditions.empty()) {
    w.Key("conditions").BeginArray();
    for (const auto& c : info.conditions) {
      w.BeginObject()
          .Member("message", c.message)
          .Member("reason", c.reason)
          .Member("status", c.status)
          .Member("type", c.type)
          .EndObject();
    }
    w.EndArray();
  }
  PutUnlessEmpty(w, "console_url", info.console_url);
  PutUnlessEmpty(w, "image", info.image);
  PutIfTrue(w, "is_available", info.is_available);
  PutIfTrue(w, "is_degraded", info.is_degraded);
  PutIfTrue(w, "is_progressing", info.is_progressing);
  PutUnlessEmpty(w, "platform", info.platform);
  if (info.is_openshift) w.Member("update_available", info.update_available);
  PutUnlessEmpty(w, "version", info.version);
  PutUnlessEmpty(w, "version_completion_time", info.version_completion_time);
  PutUnlessEmpty(w, "version_started_time", info.version_started_time);
  PutUnlessEmpty(w, "version_state", info.version_state);
  w.EndObject();
  return out;
}

std::string Namespaces(const std::vector<std::string>& namespaces, std::string_view now) {
  std::string out;
  Writer w(out);
  w.BeginObject().Member("count", static_cast<std::int64_t>(namespaces.size())).Key("namespaces");
  PutStrings(w, namespaces);
  w.Member("timestamp", now).EndObject();
  return out;
}

std::string Metrics(const model::ClusterCounts& counts, const CarriedCounts& carried, std::string_view now) {
  std::optional<std::int64_t> deployments = carried.deployments;
  if (counts.deployments.has_value()) deployments = *counts.deployments;
  std::string out;
  Writer w(out);
  w.BeginObject().Member("cpu_capacity", counts.cpu_capacity);
  if (deployments.has_value()) w.Member("deployments", *deployments);
  w.Member("memory_capacity", counts.memory_capacity);
  if (carried.namespaces.has_value()) w.Member("namespaces", *carried.namespaces);
  w.Member("nodes", counts.nodes)
      .Member("nodes_ready", counts.nodes_ready)
      .Member("pods", counts.pods)
      .Member("pods_running", counts.pods_running)
      .Member("timestamp", now)
      .EndObject();
  return out;
}

CarriedCounts ReadCarriedCounts(std::string_view metrics_json) {
  const auto document = json::Value::Parse(metrics_json);
  if (!document.ok()) return {};  // a foreign or damaged document: it is about to be replaced
  const auto count = [&](std::string_view name) {
    const std::int64_t value = (*document)[name].IntOr(-1);
    return value < 0 ? std::nullopt : std::optional(value);
  };
  return {count("deployments"), count("namespaces")};
}

std::string NodeCurrent(const model::Node& node, std::string_view now) {
  std::string out;
  out.reserve(1024 + 64 * (node.labels.size() + node.annotations.size()) + 160 * node.conditions.size());
  Writer w(out);
  w.BeginObject().Member("name", node.name).Member("status", model::ToString(node.status)).Member("timestamp", now);
  w.Key("roles");
  PutStrings(w, node.roles);
  w.Key("conditions");
  PutConditions(w, node.conditions);
  w.Member("cpu_capacity", node.cpu_capacity)
      .Member("cpu_allocatable", node.cpu_allocatable)
      .Member("cpu_requested", node.pods.cpu_requested)
      .Member("cpu_usage_percent", node.cpu_usage_percent)
      .Member("memory_usage_percent", node.memory_usage_percent)
      .Member("memory_capacity", node.memory_capacity)
      .Member("storage_capacity", node.storage_capacity)
      .Member("memory_allocatable", node.memory_allocatable)
      .Member("storage_allocatable", node.storage_allocatable)
      .Member("memory_requested", node.pods.memory_requested)
      .Member("pods_capacity", node.pods_capacity)
      .Member("pods_allocatable", node.pods_allocatable)
      .Member("pods_running", node.pods.running)
      .Member("pods_pending", node.pods.pending)
      .Member("pods_failed", node.pods.failed)
      .Member("pods_succeeded", node.pods.succeeded)
      .Member("pods_total", node.pods.total)
      .Member("kernel_version", node.kernel_version)
      .Member("os_image", node.os_image)
      .Member("container_runtime", node.container_runtime)
      .Member("kubelet_version", node.kubelet_version)
      .Member("architecture", node.architecture);
  w.Key("labels");
  PutLabels(w, node.labels);
  w.Key("annotations");
  PutLabels(w, node.annotations);
  w.Key("taints").BeginArray();
  for (const model::Taint& taint : node.taints) {
    w.BeginObject().Member("key", taint.key).Member("value", taint.value).Member("effect", taint.effect).EndObject();
  }
  w.EndArray()
      .Member("internal_ip", node.internal_ip)
      .Member("hostname", node.hostname)
      .Member("external_ip", node.external_ip)
      .Member("images_count", node.images_count)
      .Member("volumes_attached", node.volumes_attached)
      .EndObject();
  return out;
}

Fields NodeHash(const model::Node& node, std::string_view now) {
  Fields fields;
  fields.reserve(6);
  fields.emplace_back("current", NodeCurrent(node, now));
  fields.emplace_back("last_update", now);
  fields.emplace_back("status", model::ToString(node.status));
  fields.emplace_back("cpu_usage", fmt::format("{:.2f}", node.cpu_usage_percent));
  fields.emplace_back("memory_usage", fmt::format("{:.2f}", node.memory_usage_percent));
  fields.emplace_back("pods_total", std::to_string(node.pods.total));
  return fields;
}

std::string NodeSample(const model::Node& node, std::string_view now) {
  std::string out;
  out.reserve(256);
  Writer(out)
      .BeginObject()
      .Member("cpu_requested", node.pods.cpu_requested)
      .Member("cpu_usage", node.cpu_usage_percent)
      .Member("memory_requested", node.pods.memory_requested)
      .Member("memory_usage", node.memory_usage_percent)
      .Member("pods_pending", node.pods.pending)
      .Member("pods_running", node.pods.running)
      .Member("pods_total", node.pods.total)
      .Member("timestamp", now)
      .EndObject();
  return out;
}

std::string NodesSummary(const std::vector<model::Node>& nodes, std::string_view now) {
  std::int64_t ready = 0, not_ready = 0, disabled = 0, memory = 0;
  double cpu = 0, cpu_usage = 0, memory_usage = 0;
  std::map<std::string, std::int64_t> by_role;
  for (const model::Node& node : nodes) {
    switch (node.status) {
      case model::NodeStatus::kReady:
        ++ready;
        break;
      case model::NodeStatus::kNotReady:
        ++not_ready;
        break;
      case model::NodeStatus::kSchedulingDisabled:
        ++disabled;
        break;
      case model::NodeStatus::kUnknown:  // counted nowhere, says the contract
        break;
    }
    for (const std::string& role : node.roles) ++by_role[role];
    cpu += node.cpu_capacity;
    memory += node.memory_capacity;
    cpu_usage += node.cpu_usage_percent;
    memory_usage += node.memory_usage_percent;
  }
  const double count = nodes.empty() ? 1 : static_cast<double>(nodes.size());
  std::string out;
  Writer w(out);
  w.BeginObject().Member("avg_cpu_usage", cpu_usage / count).Member("avg_memory_usage", memory_usage / count);
  w.Key("by_role");
  PutCounts(w, by_role);
  w.Member("not_ready", not_ready)
      .Member("ready", ready)
      .Member("scheduling_disabled", disabled)
      .Member("timestamp", now)
      .Member("total", static_cast<std::int64_t>(nodes.size()))
      .Member("total_cpu_capacity", cpu)
      .Member("total_memory_capacity", memory)
      .EndObject();
  return out;
}

std::string Operators(const std::vector<model::OlmOperator>& operators, std::string_view now) {
  std::string out;
  Writer w(out);
  w.BeginArray();
  for (const model::OlmOperator& op : operators) {
    const auto& all = op.available_in_namespaces;
    const bool is_long = all.size() > kShownNamespaces;
    std::string detail;
    if (op.is_cluster_wide || (all.size() == 1 && all.front() == "*")) {
      detail = "All namespaces";
    } else if (is_long) {
      detail = fmt::format("{} namespaces (showing first {})", all.size(), kShownNamespaces);
    } else {
      detail = fmt::format("{}", fmt::join(all, ", "));
    }
    w.BeginObject();
    if (is_long) {
      w.Key("all_available_namespaces");
      PutStrings(w, all);
    }
    w.Member("available_count", static_cast<std::int64_t>(all.size()));
    w.Key("available_in_namespaces").BeginArray();
    for (std::size_t i = 0; i < std::min(all.size(), kShownNamespaces); ++i) w.String(all[i]);
    w.EndArray();
    w.Member("available_namespaces_detail", detail)
        .Member("created_at", op.created_at.empty() ? now : std::string_view(op.created_at))
        .Member("display_name", op.display_name)
        .Member("install_mode", op.install_mode);
    w.Key("install_modes");
    PutStrings(w, op.install_modes);
    w.Member("installed_namespace", op.installed_namespace)
        .Member("is_cluster_wide", op.is_cluster_wide)
        .Member("name", op.name)
        .Member("namespace", op.installed_namespace)
        .Member("provider", op.provider)
        .Member("status", op.status)
        .Member("updated_at", op.updated_at.empty() ? now : std::string_view(op.updated_at))
        .Member("version", op.version)
        .EndObject();
  }
  w.EndArray();
  return out;
}

std::string OperatorsSummary(const std::vector<model::OlmOperator>& operators) {
  std::map<std::string, std::int64_t> by_status, by_namespace;
  std::int64_t cluster_wide = 0;
  for (const model::OlmOperator& op : operators) {
    ++by_status[op.status.empty() ? "Unknown" : op.status];
    if (op.is_cluster_wide) {
      ++cluster_wide;
    } else if (!op.installed_namespace.empty()) {
      ++by_namespace[op.installed_namespace];
    }
  }
  const auto total = static_cast<std::int64_t>(operators.size());
  std::string out;
  Writer w(out);
  w.BeginObject();
  w.Key("by_install_mode")
      .BeginObject()
      .Member("cluster_wide", cluster_wide)
      .Member("namespace_scoped", total - cluster_wide)
      .EndObject();
  w.Key("by_namespace");
  PutCounts(w, by_namespace);
  w.Key("by_status");
  PutCounts(w, by_status);
  w.Member("total", total).EndObject();
  return out;
}

std::string ClusterOperators(const std::vector<model::ClusterOperator>& operators) {
  std::string out;
  Writer w(out);
  w.BeginArray();
  for (const model::ClusterOperator& op : operators) {
    w.BeginObject()
        .Member("name", op.name)
        .Member("version", op.version)
        .Member("message", op.message)
        .Member("reason", op.reason)
        .Member("available", op.available)
        .Member("progressing", op.progressing)
        .Member("degraded", op.degraded)
        .Member("upgradeable", op.upgradeable)
        .Member("last_transition_time", TimeOr(op.last_transition, base::kZeroTime));
    w.Key("conditions").BeginArray();
    for (const auto& c : op.conditions) {
      w.BeginObject()
          .Member("type", c.type)
          .Member("status", c.status)
          .Member("last_transition_time", TimeOr(c.last_transition, base::kZeroTime))
          .Member("reason", c.reason)
          .Member("message", c.message)
          .EndObject();
    }
    w.EndArray().Key("versions").BeginArray();
    for (const auto& v : op.versions) w.BeginObject().Member("name", v.name).Member("version", v.version).EndObject();
    w.EndArray().Key("related_objects").BeginArray();
    for (const auto& o : op.related_objects) {
      w.BeginObject()
          .Member("group", o.group)
          .Member("resource", o.resource)
          .Member("namespace", o.ns)
          .Member("name", o.name)
          .EndObject();
    }
    w.EndArray().EndObject();
  }
  w.EndArray();
  return out;
}

std::string ClusterOperatorsSummary(const std::vector<model::ClusterOperator>& operators, std::string_view now) {
  std::int64_t available = 0, degraded = 0, progressing = 0, upgradeable = 0;
  std::vector<std::string> issues;
  for (const model::ClusterOperator& op : operators) {
    available += op.available;
    degraded += op.degraded;
    progressing += op.progressing;
    upgradeable += op.upgradeable;
    if (op.degraded) {
      issues.push_back(fmt::format("{}: degraded - {}", op.name, op.message));
    } else if (!op.available) {
      issues.push_back(fmt::format("{}: not available - {}", op.name, op.message));
    }
  }
  const auto total = static_cast<std::int64_t>(operators.size());
  std::string out;
  Writer w(out);
  w.BeginObject()
      .Member("all_healthy", available == total && degraded == 0)
      .Member("available", available)
      .Member("degraded", degraded)
      .Member("has_issues", degraded > 0 || available < total);
  if (!issues.empty()) {
    w.Key("issues");
    PutStrings(w, issues);
  }
  w.Member("progressing", progressing)
      .Member("timestamp", now)
      .Member("total", total)
      .Member("upgradeable", upgradeable)
      .EndObject();
  return out;
}

std::string ClusterOperator(const model::ClusterOperator& op, std::string_view now) {
  std::string out;
  Writer(out)
      .BeginObject()
      .Member("available", op.available)
      .Member("degraded", op.degraded)
      .Member("message", op.message)
      .Member("progressing", op.progressing)
      .Member("timestamp", now)
      .Member("version", op.version)
      .EndObject();
  return out;
}

std::string Event(std::string_view type, std::string_view cluster, std::string_view data_json, std::string_view now) {
  std::string out;
  Writer w(out);
  w.BeginObject().Member("cluster", cluster);
  w.Key("data").Raw(data_json.empty() ? "null" : data_json);
  w.Member("timestamp", now).Member("type", type).EndObject();
  return out;
}

}  // namespace clusterpulse::store::documents
