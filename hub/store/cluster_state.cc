#include "hub/store/cluster_state.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <utility>

#include "common/base/status.h"
#include "common/base/time_format.h"
#include "hub/store/collector_documents.h"
#include "hub/store/documents.h"
#include "hub/store/keys.h"

namespace clusterpulse::store {
namespace {

constexpr int kSchemaVersion = 1;

// Upstream's fixed lives, and what a late run may take beyond three intervals before its data goes.
constexpr std::chrono::seconds kInfoTtl{3600};
constexpr std::chrono::seconds kMetricsTtl{300};
constexpr std::chrono::seconds kEventsTtl{24 * 3600};
constexpr std::chrono::seconds kSlack{60};
constexpr std::size_t kEventsKept = 100;

std::chrono::seconds LifeOf(std::chrono::seconds upstream, std::chrono::seconds interval) {
  return std::max(upstream, 3 * interval + kSlack);
}

void PutStatusWrites(const std::string& cluster, const ClusterStatus& status, const std::string& now,
                     std::vector<Write>& writes) {
  writes.push_back(SetAdd{std::string(keys::kClustersAll), {cluster}});
  writes.push_back(SetString{keys::Cluster(cluster, "status"), documents::Status(status, now), {}});
  writes.push_back(HashSet{keys::Cluster(cluster, "meta"), {{"last_update", now}}, {}});
}

void PutEvents(const std::string& cluster, const std::vector<ClusterEvent>& events, const std::string& now,
               std::vector<Write>& writes) {
  for (const ClusterEvent& event : events) {
    const std::string text = documents::Event(event.type, cluster, event.data_json, now);
    writes.push_back(ListPush{keys::Events(cluster), text, kEventsKept, kEventsTtl});
    writes.push_back(Publish{std::string(keys::kClusterEvents), text});
  }
}

void PutNodes(const std::string& cluster, const std::vector<model::Node>& nodes, const ClusterState::Options& options,
              std::chrono::seconds interval, base::SystemTime time, const std::string& time_text,
              std::vector<Write>& writes) {
  const std::chrono::seconds life = LifeOf(options.cache_ttl, interval);
  const auto score = static_cast<double>(base::UnixSeconds(time));
  const double trim_to = score - static_cast<double>(options.metrics_retention.count());
  SetReplace index{keys::Cluster(cluster, "nodes"), {}, {}, keys::NodePrefix(cluster), {}};
  index.members.reserve(nodes.size());
  index.member_key_suffixes = {"", std::string(keys::kNodeMetricsSuffix), std::string(keys::kNodeConditionsSuffix)};
  for (const model::Node& node : nodes) {
    index.members.push_back(node.name);
    writes.push_back(HashSet{keys::Node(cluster, node.name), documents::NodeHash(node, time_text), life});
    writes.push_back(SortedAdd{keys::NodeMetrics(cluster, node.name), score, documents::NodeSample(node, time_text),
                               trim_to, LifeOf(options.metrics_retention, interval)});
  }
  writes.push_back(std::move(index));
  writes.push_back(
      HashSet{keys::Cluster(cluster, "nodes:summary"), {{"data", documents::NodesSummary(nodes, time_text)}}, life});
}

void PutOperators(const std::string& cluster, const std::vector<model::OlmOperator>& operators,
                  std::chrono::seconds life, const std::string& time, std::vector<Write>& writes) {
  const std::string list = keys::Cluster(cluster, "operators");
  const std::string summary = keys::Cluster(cluster, "operators_summary");
  if (operators.empty()) {  // the contract has no document for an empty list
    writes.push_back(Delete{list});
    writes.push_back(Delete{summary});
    return;
  }
  writes.push_back(SetString{list, documents::Operators(operators, time), life});
  writes.push_back(SetString{summary, documents::OperatorsSummary(operators), life});
}

void PutClusterOperators(const std::string& cluster, const std::vector<model::ClusterOperator>& operators,
                         std::chrono::seconds life, const std::string& time, std::vector<Write>& writes) {
  const std::string list = keys::Cluster(cluster, "cluster_operators");
  const std::string summary = keys::Cluster(cluster, "cluster_operators_summary");
  const std::string prefix = keys::ClusterOperatorPrefix(cluster);
  SetReplace index{keys::ClusterOperatorIndex(cluster), {}, {}, prefix, {""}};
  for (const model::ClusterOperator& op : operators) {
    index.members.push_back(op.name);
    writes.push_back(SetString{prefix + op.name, documents::ClusterOperator(op, time), life});
  }
  writes.push_back(std::move(index));
  if (operators.empty()) {
    writes.push_back(Delete{list});
    writes.push_back(Delete{summary});
    return;
  }
  writes.push_back(SetString{list, documents::ClusterOperators(operators), life});
  writes.push_back(SetString{summary, documents::ClusterOperatorsSummary(operators, time), life});
}

}  // namespace

absl::Status ClusterState::CheckSchema() {
  const std::string key(keys::kSchema);
  ASSIGN_OR_RETURN(const auto stored, store_.Get(key), "reading the schema version");
  if (!stored.has_value()) {
    RETURN_IF_ERROR(store_.Commit({SetString{key, std::to_string(kSchemaVersion), {}}}));
    schema_checked_ = true;
    return absl::OkStatus();
  }
  int version = 0;
  const auto [end, error] = std::from_chars(stored->data(), stored->data() + stored->size(), version);
  if (error == std::errc() && end == stored->data() + stored->size() && version <= kSchemaVersion) {
    schema_checked_ = true;
    return absl::OkStatus();
  }
  return base::MakeStatus(absl::StatusCode::kFailedPrecondition,
                          "the state store was written by a newer version ({} is '{}', this program knows {})", key,
                          *stored, kSchemaVersion);
}

absl::Status ClusterState::EnsureSchema() { return schema_checked_ ? absl::OkStatus() : CheckSchema(); }

absl::StatusOr<ApplyResult> ClusterState::WriteAs(const WriterPosition& position, const std::vector<Write>& writes) {
  RETURN_IF_ERROR(EnsureSchema());
  ASSIGN_OR_RETURN(const ApplyResult result, store_.Apply(position, writes));
  if (result == ApplyResult::kFenced) schema_checked_ = false;  // perhaps the store lost its data: mark it again
  return result;
}

absl::StatusOr<ApplyResult> ClusterState::PutSpec(const WriterPosition& position, const ClusterSpec& spec) {
  const std::string& cluster = position.cluster;
  const std::string labels = keys::Cluster(cluster, "labels");
  std::vector<Write> writes;
  writes.push_back(SetString{keys::Cluster(cluster, "spec"), documents::Spec(spec), {}});
  if (spec.labels.empty()) {
    writes.push_back(Delete{labels});
  } else {
    writes.push_back(SetString{labels, documents::LabelsOf(spec.labels), {}});
  }
  writes.push_back(SetAdd{std::string(keys::kClustersAll), {cluster}});
  writes.push_back(SetAdd{keys::ClustersOfHub(options_.hub_namespace), {cluster}});
  return WriteAs(position, writes);
}

absl::StatusOr<ApplyResult> ClusterState::Apply(const WriterPosition& position, const model::ClusterSnapshot& snapshot,
                                                const ClusterStatus& status, const Cadence& cadence,
                                                const std::vector<ClusterEvent>& events, std::vector<Write> beside,
                                                std::optional<base::SystemTime> data_at) {
  const std::string& cluster = position.cluster;
  const base::SystemTime now = clock_.Now();
  const base::SystemTime data_time = std::min(data_at.value_or(now), now);
  const std::string data_text = base::FormatSeconds(data_time);
  const std::chrono::seconds cache_life = LifeOf(options_.cache_ttl, cadence.interval);
  const std::chrono::seconds operator_life =
      LifeOf(options_.cache_ttl, std::max(cadence.interval, cadence.operator_interval));

  std::vector<Write> writes;
  writes.reserve(32 + beside.size() + (snapshot.nodes.has_value() ? 2 * snapshot.nodes->size() : 0));
  if (snapshot.counts.has_value()) {
    documents::CarriedCounts carried;
    const std::string key = keys::Cluster(cluster, "metrics");
    if (!snapshot.counts->deployments.has_value() || !snapshot.namespaces.has_value()) {
      ASSIGN_OR_RETURN(const auto before, store_.Get(key));
      if (before.has_value()) carried = documents::ReadCarriedCounts(*before);
    }
    if (snapshot.namespaces.has_value()) carried.namespaces = static_cast<std::int64_t>(snapshot.namespaces->size());
    writes.push_back(SetString{key, documents::Metrics(*snapshot.counts, carried, data_text),
                               LifeOf(kMetricsTtl, cadence.interval)});
  }
  if (snapshot.namespaces.has_value()) {
    writes.push_back(SetString{keys::Cluster(cluster, "namespaces"),
                               documents::Namespaces(*snapshot.namespaces, data_text), cache_life});
    writes.push_back(
        SetReplace{keys::Cluster(cluster, "namespaces:set"), *snapshot.namespaces, cache_life, std::string(), {}});
  }
  if (snapshot.nodes.has_value()) {
    PutNodes(cluster, *snapshot.nodes, options_, cadence.interval, data_time, data_text, writes);
  }
  if (snapshot.info.has_value()) {
    writes.push_back(SetString{keys::Cluster(cluster, "info"), documents::Info(*snapshot.info),
                               LifeOf(kInfoTtl, std::max(cadence.interval, cadence.operator_interval))});
  }
  if (snapshot.operators.has_value()) PutOperators(cluster, *snapshot.operators, operator_life, data_text, writes);
  if (snapshot.cluster_operators.has_value()) {
    PutClusterOperators(cluster, *snapshot.cluster_operators, operator_life, data_text, writes);
  }
  const std::string now_text = base::FormatSeconds(now);
  PutStatusWrites(cluster, status, now_text, writes);
  PutEvents(cluster, events, now_text, writes);
  writes.insert(writes.end(), std::make_move_iterator(beside.begin()), std::make_move_iterator(beside.end()));
  return WriteAs(position, writes);
}

absl::StatusOr<ApplyResult> ClusterState::DropData(const WriterPosition& position) {
  const std::string& cluster = position.cluster;
  std::vector<Write> writes;
  // Empty lists prune what their indexes name.
  PutNodes(cluster, {}, options_, {}, {}, {}, writes);
  PutOperators(cluster, {}, {}, {}, writes);
  PutClusterOperators(cluster, {}, {}, {}, writes);
  for (const char* document : {"nodes:summary", "metrics", "namespaces", "namespaces:set", "info"}) {
    writes.push_back(Delete{keys::Cluster(cluster, document)});
  }
  writes.push_back(Delete{keys::Push(cluster)});
  writes.push_back(Delete{keys::Gaps(cluster)});
  writes.push_back(
      HashSet{keys::Writer(cluster, WriterRole::kData), {{std::string(keys::kWriterGapsRevision), "0"}}, {}});
  ASSIGN_OR_RETURN(const ApplyResult result, WriteAs(position, writes));
  // Of metric sources; which ones is not known here.
  if (result != ApplyResult::kFenced) RETURN_IF_ERROR(store_.DeletePrefix(keys::SourceResultsPrefix(cluster)));
  return result;
}

absl::StatusOr<std::optional<model::Health>> ClusterState::ReadHealth(const std::string& cluster) {
  ASSIGN_OR_RETURN(const auto text, store_.Get(keys::Cluster(cluster, "status")));
  return text.has_value() ? std::optional(documents::ReadHealth(*text)) : std::nullopt;
}

absl::Status ClusterState::Remove(const std::string& cluster) {
  // The writers go first, so that one still at it is fenced and cannot bring keys back while they are deleted.
  RETURN_IF_ERROR(
      store_.Commit({Delete{keys::Writer(cluster, WriterRole::kData)}, Delete{keys::Writer(cluster, WriterRole::kSpec)},
                     SetRemove{std::string(keys::kClustersAll), {cluster}}}));
  ASSIGN_OR_RETURN(const std::int64_t deleted, store_.DeletePrefix(keys::ClusterPrefix(cluster)));
  // Last: what was left half removed is found by Clusters.
  std::vector<Write> writes{SetRemove{keys::ClustersOfHub(options_.hub_namespace), {cluster}}};
  // A repeat is silent: it was said already.
  if (deleted > 0) PutEvents(cluster, {{"cluster.deleted", "null"}}, base::FormatSeconds(clock_.Now()), writes);
  return store_.Commit(writes);
}

absl::StatusOr<GapLedger> ClusterState::ReadGaps(const std::string& cluster) {
  ASSIGN_OR_RETURN(const auto text, store_.Get(keys::Gaps(cluster)));
  return text.has_value() ? GapLedger::Read(*text) : GapLedger();
}

void ClusterState::PutGaps(const std::string& cluster, GapLedger& ledger, std::vector<Write>& writes) const {
  ledger.Prune(clock_.Now());
  writes.push_back(SetString{keys::Gaps(cluster), ledger.Next(), {}});
  writes.push_back(HashSet{keys::Writer(cluster, WriterRole::kData),
                           {{std::string(keys::kWriterGapsRevision), std::to_string(ledger.revision())}},
                           {}});
}

void ClusterState::PutHeld(const std::string& cluster, const HeldSamples& held, std::vector<Write>& writes) {
  writes.push_back(HashSet{
      keys::Writer(cluster, WriterRole::kData), {{std::string(keys::kWriterHeld), documents::OfHeld(held)}}, {}});
}

absl::StatusOr<std::vector<std::string>> ClusterState::Clusters() {
  return store_.SetMembers(keys::ClustersOfHub(options_.hub_namespace));
}

absl::StatusOr<std::uint64_t> ClusterState::AcquireEpoch(const std::string& cluster, WriterRole role) {
  return store_.AcquireEpoch(cluster, role, base::UnixMillis(clock_.Now()));
}

}  // namespace clusterpulse::store
