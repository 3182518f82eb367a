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

// What DecodeEnvelope and DecodeBatch make of bytes, against what DecodeFromCollector does.
inline std::string EnvelopeDifference(std::string_view bytes) {
  const absl::StatusOr<FromCollector> whole = DecodeFromCollector(bytes);
  const absl::StatusOr<EnvelopeFromCollector> envelope = DecodeEnvelope(bytes);
  const absl::StatusOr<model::Batch> batch = DecodeBatch(bytes);
  const BatchHead* const head = envelope.ok() ? std::get_if<BatchHead>(&*envelope) : nullptr;
  if (!whole.ok()) {
    if (batch.ok()) return "a batch in what is no message";
    // The head may be whole where the rest is not.
    const bool may_be_head = whole.status().code() == absl::StatusCode::kDataLoss && envelope.ok() &&
                             (head != nullptr || std::holds_alternative<BadBatch>(*envelope));
    return may_be_head || envelope.status() == whole.status() ? "" : "an envelope of what is no message";
  }
  if (!envelope.ok()) return "no envelope of a message";
  if (const auto* const want = std::get_if<model::Batch>(&*whole)) {
    if (!batch.ok() || *batch != *want) return "another batch";
    if (head == nullptr) return "no head of a batch";
    model::Batch without = *want;
    without.snapshot = {};
    without.sources.clear();
    std::size_t rows = 0;
    for (const model::SourceResult& source : want->sources) rows += source.rows.size();
    if (head->batch != without) return "another head";
    if (head->sources != want->sources.size() || head->rows != rows) return "other counts";
    return want->snapshot.nodes && head->nodes != want->snapshot.nodes->size() ? "another count of nodes" : "";
  }
  if (const auto* const bad = std::get_if<BadBatch>(&*whole)) {
    if (batch.status() != bad->reason) return "another reason";
    const auto* const bad_head = std::get_if<BadBatch>(&*envelope);
    if (head == nullptr && bad_head == nullptr) return "neither head nor fault";
    const auto is_same = [&](const auto& of) {
      return of.cluster == bad->cluster && of.id == bad->id && of.seq == bad->seq;
    };
    return (head != nullptr ? is_same(head->batch) : is_same(*bad_head)) ? "" : "a fault of another batch";
  }
  if (batch.ok()) return "a batch in another message";
  return whole->index() == envelope->index() ? "" : "another kind of message";
}

inline std::string BatchDifference(std::string_view bytes) {
  if (const std::string difference = EnvelopeDifference(bytes); !difference.empty()) return difference;
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
