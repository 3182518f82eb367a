#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include <absl/container/flat_hash_map.h>
#include <absl/status/status.h>

#include "collector/observe/inventory_scan.h"
#include "common/base/backoff.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/random.h"
#include "common/kube/kube_api.h"
#include "common/kube/watch_cache.h"
#include "common/log/logger.h"
#include "common/model/cluster.h"
#include "common/survey/pod.h"
#include "common/telemetry/registry.h"

namespace clusterpulse::observe {

// One cluster at one moment, as the collector knows it.
struct Observation {
  // As common/survey would read it now. Scopes that are not known are absent, never empty: those that were never read
  // (completely), those whose watch can no longer vouch for them, and the inventory when it is not asked for.
  // Namespaces come only together with counts: an upstream hub takes them for one.
  model::ClusterSnapshot snapshot;
  // Everything that was ever known is in it.
  bool is_complete = true;
};

// Keeps the state of the cluster it runs in: a watch cache each for nodes, pods, namespaces and deployments, of which
// it keeps only what the survey needs (some 300 bytes a pod), so that an observation costs the cluster nothing; and
// an InventoryScan for the rest.
//
// Construct, Start, Stop (the destructor does). Thread-safe. `api` and what the options point to is borrowed and must
// outlive this.
class ClusterObserver {
 public:
  struct Options {
    std::chrono::seconds operator_interval{300};
    // A watch that keeps failing for longer than this no longer vouches for what it knows.
    std::chrono::seconds stale_after{60};
    // Nor does one that stopped getting the bookmarks it got, which servers send about each minute. (They send none for
    // what did not change since they started: silence from the beginning means nothing.)
    std::chrono::seconds silent_after{180};
    int page_size = 500;               // of the lists at the start
    base::Backoff::Options backoff{};  // of lists and watches that fail
    // There is something that should not wait for the next batch: the status of a node changed (its Ready condition or
    // its status word; or it came, or went), or a part of the inventory was read for the first time. Called on threads
    // of the observer, without locks; must not block. Not called for what the first list brings.
    std::function<void()> on_news;
    log::Logger log;
    telemetry::Registry* registry = nullptr;
    const base::Clock* clock = &base::SystemClock();
    base::Random* random = &base::SystemRandom();
  };
  ClusterObserver(kube::KubeApi& api, Options options);
  ~ClusterObserver();
  ClusterObserver(const ClusterObserver&) = delete;
  ClusterObserver& operator=(const ClusterObserver&) = delete;

  void Start();
  // Returns when the threads have ended: their calls end at once.
  void Stop();
  void SetOperatorInterval(std::chrono::seconds interval) { inventory_.SetInterval(interval); }

  // True once nodes, pods, namespaces and deployments have been listed.
  bool HasSynced() const;
  // Ok while all four are known as they are now; else which is not, and why.
  absl::Status Status() const;
  // What of the cluster cannot be read now, and why, for a person: "pods: FORBIDDEN: ...; operators: ...". Printable
  // ASCII, at most 2048 bytes; empty: nothing.
  std::string Degraded() const;

  // With `full` the whole inventory, else what of it was read since the last call. Takes a millisecond or two for
  // thousands of pods; does not wait for the API server.
  Observation Observe(bool full);

  // Of the thread of the inventory, for liveness.
  base::SteadyTime last_inventory_turn() const { return inventory_.last_turn(); }

 private:
  struct Present {  // of objects that are only counted or named
    bool operator==(const Present&) const = default;
  };
  // What makes a change of a node news.
  struct NodeSign {
    model::NodeStatus status;
    std::string ready;  // status of the condition; a node that turns from False to Unknown is NotReady both times
    bool operator==(const NodeSign&) const = default;
  };
  // Whether what a cache knows may be told; if not, why.
  enum class Trust { kCurrent, kStale, kUnknown };
  struct Verdict {
    Trust trust = Trust::kCurrent;
    absl::Status why;
  };
  // A cache's watch at the last look.
  struct Look {
    std::uint64_t watch = 0, bookmarks = 0;  // which one it was; ever seen by the cache
    bool gets_bookmarks = false;
  };
  struct Metrics {
    telemetry::Registry::GaugeFamily objects;
    telemetry::Registry::CounterFamily lists, events, failures;
    telemetry::Counter unreadable;
  };

  kube::Reflector::Options ReflectorOptions(const kube::ResourceType& resource, bool metadata_only) const;
  static absl::Status ReadPresent(json::Cursor object, kube::ObjectMeta& meta, Present& out);
  template <typename Self, typename F>
  static void ForEachCache(Self& self, F&& f);
  template <typename T>
  Verdict Judge(std::string_view name, const kube::WatchCache<T>& cache) const;
  bool GetsBookmarks(std::string_view name, const kube::ReflectorStats& stats) const;
  void OnNode(const kube::ObjectKey& key);
  void ExportMetrics();

  // Constant after construction.
  const Options options_;
  Metrics metrics_;
  int collector_ = 0;

  absl::flat_hash_map<std::string, NodeSign> node_signs_;  // confined to the thread of nodes_

  mutable base::Mutex looks_mu_;
  mutable absl::flat_hash_map<std::string_view, Look> looks_ ABSL_GUARDED_BY(looks_mu_);

  kube::WatchCache<model::Node> nodes_;
  kube::WatchCache<survey::PodRecord> pods_;
  kube::WatchCache<Present> namespaces_, deployments_;
  InventoryScan inventory_;
};

}  // namespace clusterpulse::observe
