#include "common/wire/node_reader.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "clusterpulse/collector/v1/collector.pb.h"
#include "common/wire/field_reader.h"
#include "common/wire/fields.h"
#include "common/wire/names.h"

namespace clusterpulse::wire {
namespace {

namespace v1 = ::clusterpulse::collector::v1;

constexpr int kKey = 1, kValue = 2;          // of a map's entry
constexpr std::size_t kUsualConditions = 5;  // the kubelet's four and the network's
constexpr std::size_t kUsualLabels = 24, kUsualLabelText = 1280;

// Adds an entry of a map<string, string>.
bool ReadEntry(const FieldReader& from, model::LabelsBuilder& to) {
  if (!from.is_text()) return true;
  std::string_view key, value;
  FieldReader fields(from.text());
  while (fields.Next()) {
    if (fields.number() == kKey) fields.Read(key);
    if (fields.number() == kValue) fields.Read(value);
  }
  to.Add(key, value);
  return fields.ok();
}

bool ReadTime(std::string_view bytes, google::protobuf::Timestamp& to) {
  FieldReader fields(bytes);
  std::int64_t seconds = to.seconds();
  std::int32_t nanos = to.nanos();
  while (fields.Next()) {
    if (fields.number() == google::protobuf::Timestamp::kSecondsFieldNumber) fields.Read(seconds);
    if (fields.number() == google::protobuf::Timestamp::kNanosFieldNumber) fields.Read(nanos);
  }
  to.set_seconds(seconds);
  to.set_nanos(nanos);
  return fields.ok();
}

// The first time that is none goes to `fault`.
bool ReadCondition(std::string_view bytes, std::vector<model::Condition>& conditions, absl::Status& fault) {
  if (conditions.empty()) conditions.reserve(kUsualConditions);
  model::Condition& to = conditions.emplace_back();
  std::optional<google::protobuf::Timestamp> last_transition;
  FieldReader fields(bytes);
  while (fields.Next()) {
    switch (fields.number()) {
      case v1::Condition::kTypeFieldNumber:
        fields.Read(to.type);
        break;
      case v1::Condition::kStatusFieldNumber:
        fields.Read(to.status);
        break;
      case v1::Condition::kReasonFieldNumber:
        fields.Read(to.reason);
        break;
      case v1::Condition::kMessageFieldNumber:
        fields.Read(to.message);
        break;
      case v1::Condition::kLastTransitionFieldNumber:
        if (!fields.is_text()) break;
        if (!last_transition.has_value()) last_transition.emplace();  // several are joined
        if (!ReadTime(fields.text(), *last_transition)) return false;
        break;
      default:
        break;
    }
  }
  if (last_transition.has_value()) {
    const auto time = DecodeTime("last_transition", *last_transition);
    if (time.ok()) {
      to.last_transition = *time;
    } else if (fault.ok()) {
      fault = base::Annotate(time.status(), fmt::format("conditions[{}]", conditions.size() - 1));
    }
  }
  return fields.ok();
}

bool ReadTaint(std::string_view bytes, model::Taint& to) {
  FieldReader fields(bytes);
  while (fields.Next()) {
    if (fields.number() == v1::Taint::kKeyFieldNumber) fields.Read(to.key);
    if (fields.number() == v1::Taint::kValueFieldNumber) fields.Read(to.value);
    if (fields.number() == v1::Taint::kEffectFieldNumber) fields.Read(to.effect);
  }
  return fields.ok();
}

model::NodeStatus ParseNodeStatus(std::string_view word) {
  for (const auto status :
       {model::NodeStatus::kReady, model::NodeStatus::kNotReady, model::NodeStatus::kSchedulingDisabled}) {
    if (word == model::ToString(status)) return status;
  }
  return model::NodeStatus::kUnknown;
}

// What has to be put together from several fields, or checked as they come.
struct Parts {
  std::string_view status;
  model::LabelsBuilder labels, annotations;
  absl::Status time_fault;
};

bool ReadField(FieldReader& field, model::Node& to, Parts& parts) {
  using Wire = v1::NodeMetrics;
  switch (field.number()) {
    case Wire::kNameFieldNumber:
      field.Read(to.name);
      break;
    case Wire::kStatusFieldNumber:
      field.Read(parts.status);
      break;
    case Wire::kRolesFieldNumber:
      if (field.is_text()) field.Read(to.roles.emplace_back());
      break;
    case Wire::kCpuCapacityFieldNumber:
      field.Read(to.cpu_capacity);
      break;
    case Wire::kMemoryCapacityFieldNumber:
      field.Read(to.memory_capacity);
      break;
    case Wire::kStorageCapacityFieldNumber:
      field.Read(to.storage_capacity);
      break;
    case Wire::kPodsCapacityFieldNumber:
      field.Read(to.pods_capacity);
      break;
    case Wire::kCpuAllocatableFieldNumber:
      field.Read(to.cpu_allocatable);
      break;
    case Wire::kMemoryAllocatableFieldNumber:
      field.Read(to.memory_allocatable);
      break;
    case Wire::kStorageAllocatableFieldNumber:
      field.Read(to.storage_allocatable);
      break;
    case Wire::kPodsAllocatableFieldNumber:
      field.Read(to.pods_allocatable);
      break;
    case Wire::kCpuRequestedFieldNumber:
      field.Read(to.pods.cpu_requested);
      break;
    case Wire::kMemoryRequestedFieldNumber:
      field.Read(to.pods.memory_requested);
      break;
    case Wire::kCpuUsagePercentFieldNumber:
      field.Read(to.cpu_usage_percent);
      break;
    case Wire::kMemoryUsagePercentFieldNumber:
      field.Read(to.memory_usage_percent);
      break;
    case Wire::kPodsRunningFieldNumber:
      field.Read(to.pods.running);
      break;
    case Wire::kPodsPendingFieldNumber:
      field.Read(to.pods.pending);
      break;
    case Wire::kPodsFailedFieldNumber:
      field.Read(to.pods.failed);
      break;
    case Wire::kPodsSucceededFieldNumber:
      field.Read(to.pods.succeeded);
      break;
    case Wire::kPodsTotalFieldNumber:
      field.Read(to.pods.total);
      break;
    case Wire::kKernelVersionFieldNumber:
      field.Read(to.kernel_version);
      break;
    case Wire::kOsImageFieldNumber:
      field.Read(to.os_image);
      break;
    case Wire::kContainerRuntimeFieldNumber:
      field.Read(to.container_runtime);
      break;
    case Wire::kKubeletVersionFieldNumber:
      field.Read(to.kubelet_version);
      break;
    case Wire::kArchitectureFieldNumber:
      field.Read(to.architecture);
      break;
    case Wire::kLabelsFieldNumber:
      return ReadEntry(field, parts.labels);
    case Wire::kInternalIpFieldNumber:
      field.Read(to.internal_ip);
      break;
    case Wire::kHostnameFieldNumber:
      field.Read(to.hostname);
      break;
    case Wire::kConditionsFieldNumber:
      return !field.is_text() || ReadCondition(field.text(), to.conditions, parts.time_fault);
    case Wire::kTaintsFieldNumber:
      return !field.is_text() || ReadTaint(field.text(), to.taints.emplace_back());
    case Wire::kAnnotationsFieldNumber:
      return ReadEntry(field, parts.annotations);
    case Wire::kExternalIpFieldNumber:
      field.Read(to.external_ip);
      break;
    case Wire::kImagesCountFieldNumber:
      field.Read(to.images_count);
      break;
    case Wire::kVolumesAttachedFieldNumber:
      field.Read(to.volumes_attached);
      break;
    default:
      break;  // of a later version
  }
  return field.ok();
}

absl::Status CheckNode(const model::Node& node) {
  absl::Status fault;
  Checker check(fault);
  if (!IsDnsSubdomain(node.name)) check.Fail("name", "is not the name of a node");
  check.Amount("cpu_capacity", node.cpu_capacity);
  check.Count("memory_capacity", node.memory_capacity);
  check.Count("storage_capacity", node.storage_capacity);
  check.Count("pods_capacity", node.pods_capacity);
  check.Amount("cpu_allocatable", node.cpu_allocatable);
  check.Count("memory_allocatable", node.memory_allocatable);
  check.Count("storage_allocatable", node.storage_allocatable);
  check.Count("pods_allocatable", node.pods_allocatable);
  check.Amount("cpu_requested", node.pods.cpu_requested);
  check.Count("memory_requested", node.pods.memory_requested);
  check.Amount("cpu_usage_percent", node.cpu_usage_percent);
  check.Amount("memory_usage_percent", node.memory_usage_percent);
  check.Count("pods_running", node.pods.running);
  check.Count("pods_pending", node.pods.pending);
  check.Count("pods_failed", node.pods.failed);
  check.Count("pods_succeeded", node.pods.succeeded);
  check.Count("pods_total", node.pods.total);
  check.Count("images_count", node.images_count);
  check.Count("volumes_attached", node.volumes_attached);
  return fault;
}

}  // namespace

absl::Status ReadNode(std::string_view bytes, model::Node& to) {
  Parts parts;
  // Not beyond what the bytes can hold: a message may have a great many small nodes.
  parts.labels =
      model::LabelsBuilder(std::min(kUsualLabels, bytes.size() / 8), std::min(kUsualLabelText, bytes.size()));
  FieldReader fields(bytes);
  while (fields.Next()) {
    if (!ReadField(fields, to, parts)) return absl::DataLossError("bytes of a node that only protobuf can judge");
  }
  if (!fields.ok()) return absl::DataLossError("bytes of a node that only protobuf can judge");
  to.status = ParseNodeStatus(parts.status);
  to.labels = parts.labels.Build();
  to.annotations = parts.annotations.Build();
  RETURN_IF_ERROR(CheckNode(to));
  return parts.time_fault;
}

}  // namespace clusterpulse::wire
