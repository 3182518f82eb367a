#include "common/wire/batch_codec.h"

#include <algorithm>
#include <cmath>
#include <concepts>
#include <string>
#include <utility>

#include "common/base/status.h"
#include "common/wire/fields.h"
#include "common/wire/gap_codec.h"
#include "common/wire/names.h"
#include "common/wire/node_reader.h"

namespace clusterpulse::wire {
namespace {

constexpr std::uint32_t kMostParts = 4096;
// Room made for a list before any of it was looked at: an entry of two bytes becomes one of hundreds.
constexpr std::size_t kUsualList = 1024;
constexpr std::chrono::seconds kLongestInterval = std::chrono::hours(24);

// The encoding side of Checker: one value that Decode refuses would have the hub refuse every batch that holds it.
template <std::integral T>
T Count(T value) {
  return std::max<T>(value, 0);
}
double Amount(double value) { return std::isfinite(value) ? std::max(value, 0.0) : 0; }

absl::Status InElement(const absl::Status& status, std::string_view list, int index) {
  if (status.ok()) return status;
  return base::InvalidArgument("{}[{}].{}", list, index, base::Message(status));
}

template <typename Message>
absl::StatusOr<std::vector<model::Condition>> DecodeConditions(const Message& messages) {
  std::vector<model::Condition> out;
  out.reserve(static_cast<std::size_t>(messages.size()));
  for (int i = 0; i < messages.size(); ++i) {
    const auto& from = messages[i];
    model::Condition& to = out.emplace_back();
    to = {from.type(), from.status(), from.reason(), from.message(), std::nullopt};
    if (from.has_last_transition()) {
      ASSIGN_OR_RETURN(to.last_transition, DecodeTime("last_transition", from.last_transition()),
                       fmt::format("conditions[{}]", i));
    }
  }
  return out;
}

// Sets last_transition, if there is a time that Decode takes.
template <typename To>
void EncodeLastTransition(const std::optional<base::SystemTime>& from, To& out) {
  if (from.has_value() && IsWireTime(*from)) EncodeTime(*from, *out.mutable_last_transition());
}

template <typename To>
void EncodeConditions(const std::vector<model::Condition>& from, To& out) {
  out.Reserve(static_cast<int>(from.size()));
  for (const model::Condition& condition : from) {
    auto& to = *out.Add();
    to.set_type(condition.type);
    to.set_status(condition.status);
    to.set_reason(condition.reason);
    to.set_message(condition.message);
    EncodeLastTransition(condition.last_transition, to);
  }
}

void EncodeNode(const model::Node& from, v1::NodeMetrics& to) {
  to.set_name(from.name);
  to.set_status(std::string(model::ToString(from.status)));
  SetStrings(from.roles, *to.mutable_roles());
  to.set_cpu_capacity(Amount(from.cpu_capacity));
  to.set_memory_capacity(Count(from.memory_capacity));
  to.set_storage_capacity(Count(from.storage_capacity));
  to.set_pods_capacity(Count(from.pods_capacity));
  to.set_cpu_allocatable(Amount(from.cpu_allocatable));
  to.set_memory_allocatable(Count(from.memory_allocatable));
  to.set_storage_allocatable(Count(from.storage_allocatable));
  to.set_pods_allocatable(Count(from.pods_allocatable));
  to.set_cpu_requested(Amount(from.pods.cpu_requested));
  to.set_memory_requested(Count(from.pods.memory_requested));
  to.set_cpu_usage_percent(Amount(from.cpu_usage_percent));
  to.set_memory_usage_percent(Amount(from.memory_usage_percent));
  to.set_pods_running(Count(from.pods.running));
  to.set_pods_pending(Count(from.pods.pending));
  to.set_pods_failed(Count(from.pods.failed));
  to.set_pods_succeeded(Count(from.pods.succeeded));
  to.set_pods_total(Count(from.pods.total));
  to.set_images_count(Count(from.images_count));
  to.set_volumes_attached(Count(from.volumes_attached));
  to.set_kernel_version(from.kernel_version);
  to.set_os_image(from.os_image);
  to.set_container_runtime(from.container_runtime);
  to.set_kubelet_version(from.kubelet_version);
  to.set_architecture(from.architecture);
  SetMap(from.labels, *to.mutable_labels());
  SetMap(from.annotations, *to.mutable_annotations());
  to.set_internal_ip(from.internal_ip);
  to.set_external_ip(from.external_ip);
  to.set_hostname(from.hostname);
  for (const model::Taint& taint : from.taints) {
    v1::Taint& out = *to.add_taints();
    out.set_key(taint.key);
    out.set_value(taint.value);
    out.set_effect(taint.effect);
  }
  EncodeConditions(from.conditions, *to.mutable_conditions());
}

absl::Status DecodeCounts(const v1::ClusterMetrics& from, bool has_namespaces, model::ClusterCounts& to) {
  absl::Status fault;
  Checker check(fault);
  to.nodes = check.Count("nodes", from.nodes());
  to.nodes_ready = check.Count("nodes_ready", from.nodes_ready());
  to.pods = check.Count("pods", from.pods());
  to.pods_running = check.Count("pods_running", from.pods_running());
  to.cpu_capacity = check.Amount("cpu_capacity", from.cpu_capacity());
  to.memory_capacity = check.Count("memory_capacity", from.memory_capacity());
  check.Count("deployments", from.deployments());
  if (!from.deployments_unknown()) to.deployments = from.deployments();
  if (check.Count("namespaces", from.namespaces()) > 0 && !has_namespaces) to.namespaces = from.namespaces();
  return fault;
}

void EncodeCounts(const model::ClusterCounts& from, v1::ClusterMetrics& to) {
  to.set_nodes(Count(from.nodes));
  to.set_nodes_ready(Count(from.nodes_ready));
  to.set_pods(Count(from.pods));
  to.set_pods_running(Count(from.pods_running));
  to.set_cpu_capacity(Amount(from.cpu_capacity));
  to.set_memory_capacity(Count(from.memory_capacity));
  to.set_deployments(Count(from.deployments.value_or(0)));
  to.set_deployments_unknown(!from.deployments.has_value());
  to.set_namespaces(Count(from.namespaces.value_or(0)));
}

absl::StatusOr<std::vector<std::string>> DecodeNamespaces(const v1::ClusterMetrics& from) {
  std::vector<std::string> names = Strings(from.namespace_list());
  for (const std::string& name : names) {
    if (!IsDnsLabel(name)) return base::InvalidArgument("cluster_metrics.namespace_list has a name that is none");
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

absl::Status DecodeOperator(const v1::OperatorInfo& from, model::OlmOperator& to) {
  if (from.name().empty()) return base::InvalidArgument("name is empty");
  if (!IsName(from.name())) return base::InvalidArgument("name is not the name of an operator");
  to.name = from.name();
  to.display_name = from.display_name();
  to.version = from.version();
  to.status = from.status();
  to.installed_namespace = from.installed_namespace();
  to.install_mode = from.install_mode();
  to.provider = from.provider();
  to.is_cluster_wide = from.is_cluster_wide();
  to.install_modes = Strings(from.install_modes());
  to.available_in_namespaces = Strings(from.available_in_namespaces());
  to.subscription = Map<model::Labels>(from.subscription());
  to.created_at = from.created_at();
  to.updated_at = from.updated_at();
  return absl::OkStatus();
}

void EncodeOperator(const model::OlmOperator& from, v1::OperatorInfo& to) {
  to.set_name(from.name);
  to.set_display_name(from.display_name);
  to.set_version(from.version);
  to.set_status(from.status);
  to.set_installed_namespace(from.installed_namespace);
  to.set_install_mode(from.install_mode);
  to.set_provider(from.provider);
  to.set_is_cluster_wide(from.is_cluster_wide);
  SetStrings(from.install_modes, *to.mutable_install_modes());
  SetStrings(from.available_in_namespaces, *to.mutable_available_in_namespaces());
  to.set_available_count(static_cast<std::int32_t>(from.available_in_namespaces.size()));
  SetMap(from.subscription, *to.mutable_subscription());
  to.set_created_at(from.created_at);
  to.set_updated_at(from.updated_at);
}

absl::Status DecodeClusterOperator(const v1::ClusterOperatorInfo& from, model::ClusterOperator& to) {
  if (!IsDnsSubdomain(from.name())) return base::InvalidArgument("name is not the name of a ClusterOperator");
  to.name = from.name();
  to.version = from.version();
  to.message = from.message();
  to.reason = from.reason();
  to.available = from.available();
  to.progressing = from.progressing();
  to.degraded = from.degraded();
  to.upgradeable = from.upgradeable();
  if (from.has_last_transition()) {
    ASSIGN_OR_RETURN(to.last_transition, DecodeTime("last_transition", from.last_transition()));
  }
  ASSIGN_OR_RETURN(to.conditions, DecodeConditions(from.conditions()));
  for (const auto& version : from.versions()) to.versions.push_back({version.name(), version.version()});
  for (const auto& object : from.related_objects()) {
    to.related_objects.push_back({object.group(), object.resource(), object.namespace_(), object.name()});
  }
  return absl::OkStatus();
}

void EncodeClusterOperator(const model::ClusterOperator& from, v1::ClusterOperatorInfo& to) {
  to.set_name(from.name);
  to.set_version(from.version);
  to.set_message(from.message);
  to.set_reason(from.reason);
  to.set_available(from.available);
  to.set_progressing(from.progressing);
  to.set_degraded(from.degraded);
  to.set_upgradeable(from.upgradeable);
  EncodeLastTransition(from.last_transition, to);
  EncodeConditions(from.conditions, *to.mutable_conditions());
  for (const auto& version : from.versions) {
    v1::ClusterOperatorVersion& out = *to.add_versions();
    out.set_name(version.name);
    out.set_version(version.version);
  }
  for (const auto& object : from.related_objects) {
    v1::RelatedObject& out = *to.add_related_objects();
    out.set_group(object.group);
    out.set_resource(object.resource);
    out.set_namespace_(object.ns);
    out.set_name(object.name);
  }
}

absl::Status DecodeInfo(const v1::ClusterInfo& from, model::ClusterInfo& to) {
  to.api_url = from.api_url();
  to.version = from.version();
  to.platform = from.platform();
  to.console_url = from.console_url();
  to.channel = from.channel();
  to.cluster_id = from.cluster_id();
  to.is_openshift = from.is_openshift() || from.platform() == "OpenShift";  // upstream tells by the platform alone
  to.image = from.image();
  to.update_available = from.update_available();
  to.available_update_version = from.available_update_version();
  to.version_state = from.version_state();
  to.version_started_time = from.version_started_time();
  to.version_completion_time = from.version_completion_time();
  ASSIGN_OR_RETURN(to.conditions, DecodeConditions(from.conditions()));
  to.is_progressing = from.is_progressing();
  to.is_degraded = from.is_degraded();
  to.is_available = from.is_available();
  return absl::OkStatus();
}

void EncodeInfo(const model::ClusterInfo& from, v1::ClusterInfo& to) {
  to.set_api_url(from.api_url);
  to.set_version(from.version);
  to.set_platform(from.platform);
  to.set_console_url(from.console_url);
  to.set_channel(from.channel);
  to.set_cluster_id(from.cluster_id);
  to.set_is_openshift(from.is_openshift);
  to.set_image(from.image);
  to.set_update_available(from.update_available);
  to.set_available_update_version(from.available_update_version);
  to.set_version_state(from.version_state);
  to.set_version_started_time(from.version_started_time);
  to.set_version_completion_time(from.version_completion_time);
  EncodeConditions(from.conditions, *to.mutable_conditions());
  to.set_is_progressing(from.is_progressing);
  to.set_is_degraded(from.is_degraded);
  to.set_is_available(from.is_available);
}

bool IsSourceId(std::string_view id) {
  const std::size_t slash = id.find('/');
  return slash != std::string_view::npos && IsDnsLabel(id.substr(0, slash)) && IsDnsSubdomain(id.substr(slash + 1));
}

absl::Status DecodeSource(const v1::CustomResourceBatch& from, model::SourceResult& to) {
  absl::Status fault;
  Checker check(fault);
  if (!IsSourceId(from.source_id())) check.Fail("source_id", "is not <namespace>/<name>");
  to.source = from.source_id();
  to.resource_count = check.Count("resource_count", from.resource_count());
  to.truncated = from.truncated();
  to.duration = std::chrono::milliseconds(check.Count("duration_ms", from.duration_ms()));
  to.rows.reserve(static_cast<std::size_t>(from.resources_size()));
  for (const auto& row : from.resources()) {
    if (!row.namespace_().empty() && !IsDnsLabel(row.namespace_()))
      check.Fail("resources", "has a namespace that is none");
    if (!row.name().empty() && !IsName(row.name())) check.Fail("resources", "has a name that is none");
    to.rows.push_back({row.id(), row.namespace_(), row.name(), Map<model::Labels>(row.labels()), row.values_json()});
  }
  // No series can have them: nothing else is lost for it.
  std::int32_t unfit = 0;
  for (const auto& [name, value] : from.aggregation_values()) {
    if (IsName(name) && std::isfinite(value)) {
      to.aggregations.emplace(name, value);
    } else {
      ++unfit;
    }
  }
  to.aggregations_json = from.aggregations_json();
  to.definition_hash = from.definition_hash();
  to.age = std::chrono::milliseconds(check.Count("age_ms", from.age_ms()));
  to.failure = from.failure();
  to.message = from.message();
  to.errors = check.Count("errors", from.errors());
  if (unfit > 0) {
    to.errors += unfit;
    to.message += fmt::format("{}{} aggregations are left out: their names or values are none",
                              to.message.empty() ? "" : "; ", unfit);
  }
  for (const auto& field : from.fields()) {
    to.fields.push_back({field.name(), field.matched(), field.empty(), field.failed()});
  }
  return fault;
}

void EncodeSource(const model::SourceResult& from, v1::CustomResourceBatch& to) {
  to.set_source_id(from.source);
  to.set_resource_count(Count(from.resource_count));
  to.set_truncated(from.truncated);
  to.set_duration_ms(Count(from.duration.count()));
  for (const model::SourceRow& row : from.rows) {
    v1::CustomCollectedResource& out = *to.add_resources();
    out.set_id(row.id);
    out.set_namespace_(row.ns);
    out.set_name(row.name);
    SetMap(row.labels, *out.mutable_labels());
    out.set_values_json(row.values_json);
  }
  for (const auto& [name, value] : from.aggregations) {
    if (std::isfinite(value)) to.mutable_aggregation_values()->insert({name, value});
  }
  to.set_aggregations_json(from.aggregations_json);
  to.set_definition_hash(from.definition_hash);
  to.set_age_ms(Count(from.age.count()));
  to.set_failure(from.failure);
  to.set_message(from.message);
  to.set_errors(Count(from.errors));
  for (const model::SourceField& field : from.fields) {
    v1::SourceField& out = *to.add_fields();
    out.set_name(field.name);
    out.set_matched(field.matched);
    out.set_empty(field.empty);
    out.set_failed(field.failed);
  }
}

// Decodes a list into the model; names must be unique where `name_of` tells one.
template <typename T, typename Messages, typename DecodeOne, typename NameOf>
absl::StatusOr<std::vector<T>> DecodeList(std::string_view field, const Messages& messages, DecodeOne decode,
                                          NameOf name_of) {
  const int count = static_cast<int>(messages.size());
  std::vector<T> out;
  out.reserve(std::min(static_cast<std::size_t>(count), kUsualList));
  for (int i = 0; i < count; ++i) RETURN_IF_ERROR(InElement(decode(messages[i], out.emplace_back()), field, i));
  std::vector<std::string_view> names;
  names.reserve(out.size());
  for (const T& item : out) names.push_back(name_of(item));
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end() && !twice->empty()) return base::InvalidArgument("{} has {} twice", field, *twice);
  return out;
}

struct Scopes {
  bool counts = false, nodes = false, namespaces = false, operators = false, cluster_operators = false, info = false;
};

absl::StatusOr<Scopes> ScopesOf(const v1::MetricsBatch& message, bool has_nodes) {
  Scopes scopes;
  if (message.scopes().empty() && message.seq() == 0) {
    scopes.counts = message.has_cluster_metrics();
    scopes.nodes = has_nodes;
    // Upstream sends an empty list when it could not read it.
    scopes.namespaces = message.has_cluster_metrics() && message.cluster_metrics().namespace_list_size() > 0;
    scopes.operators = message.operators_size() > 0;
    scopes.cluster_operators = message.cluster_operators_size() > 0;
    // Upstream sends an empty message when it could not read it.
    scopes.info = message.has_cluster_info() && !message.cluster_info().version().empty();
    return scopes;
  }
  for (const int scope : message.scopes()) {
    switch (scope) {
      case v1::SCOPE_CLUSTER_METRICS:
        scopes.counts = true;
        break;
      case v1::SCOPE_NODES:
        scopes.nodes = true;
        break;
      case v1::SCOPE_NAMESPACES:
        scopes.namespaces = true;
        break;
      case v1::SCOPE_OPERATORS:
        scopes.operators = true;
        break;
      case v1::SCOPE_CLUSTER_OPERATORS:
        scopes.cluster_operators = true;
        break;
      case v1::SCOPE_CLUSTER_INFO:
        scopes.info = true;
        break;
      default:
        break;  // of a later version
    }
  }
  if (scopes.counts && !message.has_cluster_metrics()) {
    return base::InvalidArgument("scopes lists cluster metrics, but cluster_metrics is absent");
  }
  if (scopes.info && !message.has_cluster_info()) {
    return base::InvalidArgument("scopes lists cluster info, but cluster_info is absent");
  }
  return scopes;
}

}  // namespace

absl::StatusOr<model::Batch> Decode(const v1::MetricsBatch& message) {
  // Written anew: what only protobuf reads, its parser has read.
  std::vector<std::string> written(static_cast<std::size_t>(message.node_metrics_size()));
  for (int i = 0; i < message.node_metrics_size(); ++i) {
    v1::NodeMetrics node = message.node_metrics(i);
    node.DiscardUnknownFields();
    node.SerializeToString(&written[static_cast<std::size_t>(i)]);
  }
  return Decode(message, {written.begin(), written.end()});
}

absl::Status DecodeHead(const v1::MetricsBatch& message, model::Batch& batch) {
  batch.cluster = message.cluster_name();
  batch.id = message.batch_id();
  batch.seq = message.seq();
  if (message.has_collected_at()) {
    ASSIGN_OR_RETURN(batch.collected_at, DecodeTime("collected_at", message.collected_at()));
  } else if (batch.seq != 0) {
    return base::InvalidArgument("collected_at is absent");
  }
  ASSIGN_OR_RETURN(batch.age, DecodeMillis("age_ms", message.age_ms()));
  ASSIGN_OR_RETURN(batch.interval, DecodeSeconds("interval_seconds", message.interval_seconds(), kLongestInterval));
  ASSIGN_OR_RETURN(batch.gaps, DecodeGaps("gaps", message.gaps(), GapNumbers::kAbsent));
  batch.history_only = message.lane() == v1::LANE_HISTORY;
  batch.part = message.part();
  batch.parts = message.parts();
  if (batch.parts > kMostParts) return base::InvalidArgument("parts is {}, more than {}", batch.parts, kMostParts);
  if (batch.parts > 0 && batch.part >= batch.parts) {
    return base::InvalidArgument("part {} of {} parts", batch.part, batch.parts);
  }
  if (batch.parts > 0 && batch.seq == 0) return base::InvalidArgument("a part without a seq");
  return absl::OkStatus();
}

absl::StatusOr<model::Batch> Decode(const v1::MetricsBatch& message, const std::vector<std::string_view>& nodes) {
  model::Batch batch;
  RETURN_IF_ERROR(DecodeHead(message, batch));
  ASSIGN_OR_RETURN(const Scopes scopes, ScopesOf(message, !nodes.empty()));
  model::ClusterSnapshot& snapshot = batch.snapshot;
  if (scopes.counts) {
    snapshot.counts.emplace();
    RETURN_IF_ERROR(base::Annotate(DecodeCounts(message.cluster_metrics(), scopes.namespaces, *snapshot.counts),
                                   "cluster_metrics"));
  }
  if (scopes.namespaces) {
    ASSIGN_OR_RETURN(snapshot.namespaces, DecodeNamespaces(message.cluster_metrics()));
  }
  if (scopes.nodes) {
    ASSIGN_OR_RETURN(snapshot.nodes,
                     DecodeList<model::Node>("node_metrics", nodes, ReadNode,
                                             [](const model::Node& node) { return std::string_view(node.name); }));
  }
  if (scopes.operators) {
    // One operator may be installed in several namespaces under one name.
    ASSIGN_OR_RETURN(snapshot.operators,
                     DecodeList<model::OlmOperator>("operators", message.operators(), DecodeOperator,
                                                    [](const model::OlmOperator&) { return std::string_view(); }));
  }
  if (scopes.cluster_operators) {
    ASSIGN_OR_RETURN(
        snapshot.cluster_operators,
        DecodeList<model::ClusterOperator>("cluster_operators", message.cluster_operators(), DecodeClusterOperator,
                                           [](const model::ClusterOperator& op) { return std::string_view(op.name); }));
  }
  if (scopes.info) {
    snapshot.info.emplace();
    RETURN_IF_ERROR(base::Annotate(DecodeInfo(message.cluster_info(), *snapshot.info), "cluster_info"));
  }
  ASSIGN_OR_RETURN(batch.sources, DecodeList<model::SourceResult>(
                                      "custom_resources", message.custom_resources(), DecodeSource,
                                      [](const model::SourceResult& s) { return std::string_view(s.source); }));
  return batch;
}

void Encode(const model::Batch& batch, v1::MetricsBatch& out) {
  out.Clear();
  out.set_cluster_name(batch.cluster);
  out.set_batch_id(batch.id);
  out.set_seq(batch.seq);
  EncodeTime(batch.collected_at, *out.mutable_collected_at());
  out.set_age_ms(EncodeMillis(batch.age));
  out.set_interval_seconds(static_cast<std::int32_t>(EncodeSeconds(batch.interval, kLongestInterval)));
  EncodeGaps(batch.gaps, *out.mutable_gaps());
  out.set_lane(batch.history_only ? v1::LANE_HISTORY : v1::LANE_LIVE);
  out.set_part(batch.part);
  out.set_parts(batch.parts);

  const model::ClusterSnapshot& snapshot = batch.snapshot;
  if (snapshot.counts.has_value()) {
    out.add_scopes(v1::SCOPE_CLUSTER_METRICS);
    EncodeCounts(*snapshot.counts, *out.mutable_cluster_metrics());
  }
  if (snapshot.namespaces.has_value()) {
    out.add_scopes(v1::SCOPE_NAMESPACES);
    SetStrings(*snapshot.namespaces, *out.mutable_cluster_metrics()->mutable_namespace_list());
    out.mutable_cluster_metrics()->set_namespaces(static_cast<std::int32_t>(snapshot.namespaces->size()));
  }
  if (snapshot.nodes.has_value()) {
    out.add_scopes(v1::SCOPE_NODES);
    for (const model::Node& node : *snapshot.nodes) EncodeNode(node, *out.add_node_metrics());
  }
  if (snapshot.operators.has_value()) {
    out.add_scopes(v1::SCOPE_OPERATORS);
    for (const model::OlmOperator& op : *snapshot.operators) EncodeOperator(op, *out.add_operators());
  }
  if (snapshot.cluster_operators.has_value()) {
    out.add_scopes(v1::SCOPE_CLUSTER_OPERATORS);
    for (const auto& op : *snapshot.cluster_operators) EncodeClusterOperator(op, *out.add_cluster_operators());
  }
  if (snapshot.info.has_value()) {
    out.add_scopes(v1::SCOPE_CLUSTER_INFO);
    EncodeInfo(*snapshot.info, *out.mutable_cluster_info());
  }
  for (const model::SourceResult& source : batch.sources) EncodeSource(source, *out.add_custom_resources());
}

}  // namespace clusterpulse::wire
