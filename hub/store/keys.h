#pragma once

#include <string>
#include <string_view>

#include "hub/store/state_store.h"

// Every key of the store, under the names of spec/wire-and-store.md D.2 ("ours" are additions). Cluster names come from
// Kubernetes and never hold a colon.
namespace clusterpulse::store::keys {

inline constexpr std::string_view kSchema = "clusterpulse:schema";  // ours: version of this layout, decimal text
inline constexpr std::string_view kClustersAll = "clusters:all";
inline constexpr std::string_view kClusterEvents = "cluster-events";  // a channel

// "cluster:C:", in front of everything of the cluster except its events.
std::string ClusterPrefix(std::string_view cluster);
// "cluster:C:<document>", for example Cluster("a", "status").
std::string Cluster(std::string_view cluster, std::string_view document);

// "cluster:C:node:N": the hash; with "node:" and a suffix the index of nodes names these.
std::string NodePrefix(std::string_view cluster);
std::string Node(std::string_view cluster, std::string_view node);
std::string NodeMetrics(std::string_view cluster, std::string_view node);
inline constexpr std::string_view kNodeMetricsSuffix = ":metrics";
inline constexpr std::string_view kNodeConditionsSuffix = ":conditions";  // read by upstream's API, written by nobody

std::string ClusterOperatorPrefix(std::string_view cluster);
// Ours: names that have a cluster_operator document, so that vanished ones are pruned.
std::string ClusterOperatorIndex(std::string_view cluster);

// Ours: hash {epoch, instance, state_seq, durable, durable_at, held, gaps_revision} of the cluster's writer in that
// role.
std::string Writer(std::string_view cluster, WriterRole role);
inline constexpr std::string_view kWriterDurable = "durable";
inline constexpr std::string_view kWriterDurableAt = "durable_at";        // DurableBatches::newest
inline constexpr std::string_view kWriterHeld = "held";                   // HeldSamples
inline constexpr std::string_view kWriterGapsRevision = "gaps_revision";  // of the document of gaps, as it is stored

// Ours, of push clusters: Presence, the rival that was kept out last, PushRecord.
std::string Collector(std::string_view cluster);
std::string CollectorRefused(std::string_view cluster);
std::string Push(std::string_view cluster);
// Ours: GapLedger.
std::string Gaps(std::string_view cluster);
// Ours, a channel: names of clusters whose collector or verdict changed.
std::string CollectorHints(std::string_view hub_namespace);

// Ours: set of the clusters that the hub of this namespace has written.
std::string ClustersOfHub(std::string_view hub_namespace);

// MetricSources: "metricsource:NS:M" and what goes with it.
std::string Source(std::string_view ns, std::string_view name);
std::string SourceMeta(std::string_view ns, std::string_view name);
inline constexpr std::string_view kSourcesAll = "metricsources:all";
inline constexpr std::string_view kSourcesEnabled = "metricsources:enabled";
std::string SourcesByType(std::string_view resource_type);
inline constexpr std::string_view kSourceEvents = "metricsource-events";  // a channel
// "cluster:C:custom:NS/M:<document>": what the source "NS/M" gave.
std::string SourceResultsPrefix(std::string_view cluster);
std::string SourceResult(std::string_view cluster, std::string_view source, std::string_view document);

std::string Events(std::string_view name);
// Ours.
std::string Lease(std::string_view name);

}  // namespace clusterpulse::store::keys
