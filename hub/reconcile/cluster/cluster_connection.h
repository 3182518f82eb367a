#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

#include "common/json/cursor.h"
#include "common/json/value.h"
#include "common/kube/object_meta.h"
#include "common/kube/resource.h"
#include "common/model/cluster.h"
#include "common/model/health.h"

namespace clusterpulse::reconcile {

inline constexpr std::string_view kCleanupFinalizer = "clusterpulse.io/cleanup";
// "true": the hub does nothing with the cluster.
inline constexpr std::string_view kPausedAnnotation = "clusterpulse.io/paused";
// A changed value starts a full pass at once, even while the circuit breaker is open.
inline constexpr std::string_view kSyncNowAnnotation = "clusterpulse.io/sync-now";
// Any value but "false": the object is not held back for the removal of its data.
inline constexpr std::string_view kSkipCleanupAnnotation = "clusterpulse.io/skip-cleanup";

// spec of a ClusterConnection, as written: the schema lets nearly everything through (architecture.md section 2), so
// nothing here is to be trusted before JudgeSpec found no problem.
struct ClusterConnectionSpec {
  std::string display_name, endpoint;
  std::string credentials_name, credentials_namespace;  // namespace may be empty: that of the object
  model::Labels labels;
  std::int64_t interval_seconds = 0, timeout_seconds = 0;  // 0 when absent
  std::string collection_mode, ingester_address, collector_version;
  bool operator==(const ClusterConnectionSpec&) const = default;
};

// Projection of the object for the watch cache.
struct ClusterConnection {
  kube::ObjectMeta meta;
  ClusterConnectionSpec spec;
  json::Value status;  // small: kept whole, so that what was written before is known

  kube::ObjectKey key() const { return meta.key(); }
  kube::ObjectKey secret() const {
    return {spec.credentials_namespace.empty() ? meta.ns : spec.credentials_namespace, spec.credentials_name};
  }
};

// Project of a kube::WatchCache<ClusterConnection>. Members of unexpected types count as absent; `meta` equals
// out.meta.
absl::Status ReadClusterConnection(json::Cursor object, kube::ObjectMeta& meta, ClusterConnection& out);

// The annotation's value; empty when absent.
std::string_view Annotation(const ClusterConnection& connection, std::string_view name);
bool IsPaused(const ClusterConnection& connection);
bool SkipsCleanup(const ClusterConnection& connection);

struct Timing {
  std::chrono::seconds interval{30};
  std::chrono::seconds timeout{10};  // of the connection test
};

// What the spec asks for, made usable.
struct Judgement {
  // Everything that is wrong with the spec, for an operator to read; empty: the members below hold.
  std::vector<std::string> problems;
  std::string endpoint;  // with scheme, without a slash at the end
  Timing timing;         // always set
  model::CollectionMode mode = model::CollectionMode::kPull;
};

// `defaults` stand in for an absent or not positive interval and timeout; intervals below 30 s run as 30 s,
// timeouts above 30 s as 30 s.
Judgement JudgeSpec(const ClusterConnectionSpec& spec, const Timing& defaults);

// https://host[:port][/path] out of what upstream accepts (a missing scheme is https). kInvalidArgument says what is
// wrong.
absl::StatusOr<std::string> NormalizeEndpoint(std::string_view endpoint);

}  // namespace clusterpulse::reconcile
