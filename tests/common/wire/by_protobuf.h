#pragma once

#include <string>
#include <string_view>
#include <variant>

#include <fmt/format.h>

#include "clusterpulse/collector/v1/collector.pb.h"
#include "common/wire/batch_codec.h"
#include "common/wire/fields.h"
#include "common/wire/messages.h"
#include "common/wire/names.h"
#include "common/wire/node_reader.h"

// What protobuf's own parser makes of bytes, to hold what is read by hand against. Each function returns what differs;
// empty: nothing does.
namespace clusterpulse::wire {

inline absl::Status NodeByProtobuf(const v1::NodeMetrics& from, model::Node& to) {
  absl::Status fault;
  Checker check(fault);
  if (!IsDnsSubdomain(from.name())) check.Fail("name", "is not the name of a node");
  to.name = from.name();
  for (const auto status :
       {model::NodeStatus::kReady, model::NodeStatus::kNotReady, model::NodeStatus::kSchedulingDisabled}) {
    if (from.status() == model::ToString(status)) to.status = status;
  }
  to.roles = Strings(from.roles());
  to.cpu_capacity = check.Amount("cpu_capacity", from.cpu_capacity());
  to.memory_capacity = check.Count("memory_capacity", from.memory_capacity());
  to.storage_capacity = check.Count("storage_capacity", from.storage_capacity());
  to.pods_capacity = check.Count("pods_capacity", from.pods_capacity());
  to.cpu_allocatable = check.Amount("cpu_allocatable", from.cpu_allocatable());
  to.memory_allocatable = check.Count("memory_allocatable", from.memory_allocatable());
  to.storage_allocatable = check.Count("storage_allocatable", from.storage_allocatable());
  to.pods_allocatable = check.Count("pods_allocatable", from.pods_allocatable());
  to.pods.cpu_requested = check.Amount("cpu_requested", from.cpu_requested());
  to.pods.memory_requested = check.Count("memory_requested", from.memory_requested());
  to.cpu_usage_percent = check.Amount("cpu_usage_percent", from.cpu_usage_percent());
  to.memory_usage_percent = check.Amount("memory_usage_percent", from.memory_usage_percent());
  to.pods.running = check.Count("pods_running", from.pods_running());
  to.pods.pending = check.Count("pods_pending", from.pods_pending());
  to.pods.failed = check.Count("pods_failed", from.pods_failed());
  to.pods.succeeded = check.Count("pods_succeeded", from.pods_succeeded());
  to.pods.total = check.Count("pods_total", from.pods_total());
  to.images_count = check.Count("images_count", from.images_count());
  to.volumes_attached = check.Count("volumes_attached", from.volumes_attached());
  to.kernel_version = from.kernel_version();
  to.os_image = from.os_image();
  to.container_runtime = from.container_runtime();
  to.kubelet_version = from.kubelet_version();
  to.architecture = from.architecture();
  to.labels = Map<model::Labels>(from.labels());
  to.annotations = Map<model::Labels>(from.annotations());
  to.internal_ip = from.internal_ip();
  to.external_ip = from.external_ip();
  to.hostname = from.hostname();
  for (const v1::Taint& taint : from.taints()) to.taints.push_back({taint.key(), taint.value(), taint.effect()});
  RETURN_IF_ERROR(fault);
  for (const v1::Condition& condition : from.conditions()) {
    const std::string place = fmt::format("conditions[{}]", to.conditions.size());
    to.conditions.push_back({condition.type(), condition.status(), condition.reason(), condition.message(), {}});
    if (!condition.has_last_transition()) continue;
    ASSIGN_OR_RETURN(to.conditions.back().last_transition, DecodeTime("last_transition", condition.last_transition()),
                     place);
  }
  return absl::OkStatus();
}

inline std::string NodeDifference(std::string_view bytes) {
  v1::NodeMetrics message;
  const bool is_message = message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
  model::Node read, want;
  const absl::Status status = ReadNode(bytes, read);
  const absl::Status want_status = is_message ? NodeByProtobuf(message, want) : absl::DataLossError("");
  if (status.code() == absl::StatusCode::kDataLoss) {
    // Left to protobuf, and what it writes of it is understood.
    if (!is_message) return "";
    message.DiscardUnknownFields();
    read = {};
    const absl::Status again = ReadNode(message.SerializeAsString(), read);
    if (again != want_status)
      return fmt::format("{} written anew, {} by protobuf", again.ToString(), want_status.ToString());
  } else if (status != want_status) {
    return fmt::format("{} by hand, {} by protobuf", status.ToString(), want_status.ToString());
  }
  return want_status.ok() && read != want ? "another node" : "";
}

inline std::string BatchDifference(std::string_view bytes) {
  const absl::StatusOr<FromCollector> decoded = DecodeFromCollector(bytes);
  v1::ConnectRequest message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return decoded.status().code() == absl::StatusCode::kDataLoss ? "" : "read what protobuf refuses";
  }
  if (decoded.status().code() == absl::StatusCode::kDataLoss) return "refused what protobuf reads";
  if (!message.has_metrics()) {
    return decoded.ok() && std::holds_alternative<model::Batch>(*decoded) ? "a batch where there is none" : "";
  }
  if (!decoded.ok()) return decoded.status().ToString();
  const absl::StatusOr<model::Batch> want = Decode(message.metrics());
  if (const auto* bad = std::get_if<BadBatch>(&*decoded)) {
    if (message.metrics().batch_id().size() > 256) return "";
    return bad->reason == want.status() ? "" : "another fault";
  }
  if (!std::holds_alternative<model::Batch>(*decoded)) return "no batch";
  const auto& batch = std::get<model::Batch>(*decoded);
  if (!want.ok()) return fmt::format("took what breaks a rule: {}", want.status().ToString());
  if (batch != *want) return "another batch";
  if (!batch.snapshot.nodes.has_value()) return "";
  for (int i = 0; i < message.metrics().node_metrics_size(); ++i) {
    model::Node node;
    const absl::Status status = NodeByProtobuf(message.metrics().node_metrics(i), node);
    if (!status.ok() || batch.snapshot.nodes->at(static_cast<std::size_t>(i)) != node) return "another node";
  }
  return "";
}

}  // namespace clusterpulse::wire
