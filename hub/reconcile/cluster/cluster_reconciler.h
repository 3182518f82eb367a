#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <absl/functional/function_ref.h>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/random.h"
#include "common/kube/kube_api.h"
#include "common/log/logger.h"
#include "common/telemetry/registry.h"
#include "hub/history/history_writer.h"
#include "hub/reconcile/cluster/client_pool.h"
#include "hub/reconcile/cluster/cluster_connection.h"
#include "hub/reconcile/cluster/cluster_status.h"
#include "hub/reconcile/cluster/gap_counter.h"
#include "hub/reconcile/cluster/pull.h"
#include "hub/reconcile/cluster/push.h"
#include "hub/reconcile/cluster/reached_clusters.h"
#include "hub/reconcile/cluster/token_secret.h"
#include "hub/runtime/event_recorder.h"
#include "hub/runtime/reconciler.h"
#include "hub/runtime/status_writer.h"
#include "hub/store/cluster_state.h"
#include "hub/store/collector_state.h"

namespace clusterpulse::reconcile {

// The last seen state of the hub's own objects; all are answered from watch caches that have synced.
struct HubObjects {
  // Nullopt: there is no such object.
  std::function<std::optional<ClusterConnection>(const kube::ObjectKey&)> connection;
  // resourceVersion of a Secret of the watched namespace; nullopt: not watched or not there (then it is read each
  // pass).
  std::function<std::optional<std::string>(const kube::ObjectKey&)> secret_version;
  TokenSecretLookup token_secret;
};

// Our own metrics of pulls. Per-cluster series go with the object.
struct PullMetrics {
  PullMetrics() = default;
  explicit PullMetrics(telemetry::Registry& registry);

  telemetry::Histogram seconds;
  telemetry::Registry::CounterFamily pulls;        // by result
  telemetry::Registry::GaugeFamily last_success;   // by cluster, unix seconds
  telemetry::Registry::GaugeFamily last_duration;  // by cluster, seconds
  telemetry::Registry::GaugeFamily breaker_state;  // by cluster: 0 closed, 1 half-open, 2 open
  GapCounter gaps;
};

// Brings one ClusterConnection to life: judges its spec, reads its Secret, reads the cluster (pull mode), writes what
// it found to the store as that cluster's writer and the truth about it to the object's status, its conditions and
// Events. Removes all of it when the object goes (finalizer clusterpulse.io/cleanup).
//
// In push mode a collector's stream, on whichever replica, writes the data. A pass makes the collector's token, reads
// what the streams left in the store (store::CollectorState), reports it, and speaks for a cluster whose collector does
// not. Three intervals after the collector was lost it reads the cluster itself, as its writer, until a stream takes
// that back. What the store cannot tell changes nothing: no collector is declared lost because the store was away.
//
// Every pass ends with a requeue: the interval after success, min(interval, 60 s) after failure, the time until the
// circuit breaker lets a call pass when it is open, 10 s at most when the store or the hub's API server refused
// something, in push mode no later than something would change without being heard of. No pass outlasts PassLimit
// (pull.h) by more than the limits of its calls to the hub's own servers. What is wrong with a cluster, its Secret or
// the store is no error of the pass: it is reported on the object, and the next pass comes anyway.
//
// Documents are keyed by the object's name alone (contract): one hub watches one namespace, so names are unique.
// Objects with equal display names are separate: nothing is keyed by display names.
//
// Threads: as Reconciler says (several threads, one at a time per key); UsersOf from any thread. What a cluster's
// passes remember is lost with the process and rebuilt: the object's status holds what must survive.
class ClusterReconciler final : public runtime::Reconciler {
 public:
  struct Options {
    std::string hub_namespace;                    // the watched one, for messages
    std::string instance;                         // random id of this process: numbers its writes (delivery.md 2)
    Timing defaults;                              // RECONCILIATION_INTERVAL, CONNECT_TIMEOUT
    std::chrono::seconds operator_interval{300};  // OPERATOR_SCAN_INTERVAL: OLM operators, version and platform
    std::chrono::milliseconds call_timeout{30000};
    std::chrono::milliseconds longest_pass{300000};  // shortens PassLimit
    int parallel_reads = 3;                          // of one cluster; times the runtime's workers bounds the whole hub
    bool push_enabled = false;                       // false: clusters in push mode are pulled
    std::string ingester_address;                    // INGESTER_PUBLIC_ADDRESS: where spec.ingesterAddress is absent
  };
  // All borrowed; must outlive this.
  struct Dependencies {
    kube::KubeApi& hub;
    KubeClientFactory& clients;
    store::ClusterState& store;
    store::CollectorState& collectors;
    runtime::StatusWriter& status;
    runtime::EventRecorder& events;
    const base::Clock& clock;
    base::Random& random;
    // For how long the store has answered without a break, as far as known.
    std::function<std::chrono::nanoseconds()> store_up_for;
    history::HistoryWriter* history = nullptr;  // null: off
    ReachedClusters* reached = nullptr;         // told of each pass; null: nobody asks
  };

  ClusterReconciler(Dependencies dependencies, HubObjects objects, Options options, ClientPool::Options pool = {},
                    PullMetrics metrics = {}, log::Logger log = {});
  ~ClusterReconciler() override;

  absl::StatusOr<runtime::Result> Reconcile(const kube::ObjectKey& key, std::stop_token stop) override;

  // The connections whose last pass used this Secret: what a watch of Secrets enqueues.
  std::vector<kube::ObjectKey> UsersOf(const kube::ObjectKey& secret) const;

 private:
  // What the passes of one object remember.
  struct Cluster;
  // What one pass carries from step to step.
  struct Pass;

  std::shared_ptr<Cluster> Remember(const ClusterConnection& connection);
  void Forget(const kube::ObjectKey& key);

  // Our cache has no such object.
  absl::StatusOr<runtime::Result> Gone(const kube::ObjectKey& key, std::stop_token stop);
  absl::StatusOr<runtime::Result> Deleting(const ClusterConnection& connection, std::stop_token stop);
  // The finalizer cannot be changed: says so on the object; nothing else can be done for it.
  absl::StatusOr<runtime::Result> FinalizerRefused(const ClusterConnection& connection, const absl::Status& status,
                                                   std::stop_token stop);
  absl::Status KeepFinalizer(const ClusterConnection& connection, std::stop_token stop);
  absl::StatusOr<runtime::Result> Paused(Pass& pass);
  void TellReached(const Pass& pass) const;
  // The spec, the token of sync-now.
  void BeginLive(Pass& pass);
  absl::StatusOr<runtime::Result> LivePull(Pass& pass);
  absl::StatusOr<runtime::Result> LivePush(Pass& pass);
  // What both modes find alike.
  Findings FindingsOf(const Pass& pass) const;
  // The status from the findings. False: it was not written, come back soon.
  bool Report(Pass& pass, const Findings& findings);

  // push_pass.cc
  absl::Status LookAtCollector(Pass& pass);
  CollectorFindings FindCollector(Pass& pass);
  std::optional<base::SystemTime> FallbackDue(const Pass& pass) const;
  void FallBack(Pass& pass, CollectorFindings& found);
  Evidence PushEvidence(const Pass& pass, const CollectorFindings& found) const;
  bool StreamSpeaks(const Pass& pass) const;
  absl::Status StoreVerdict(Pass& pass);
  // The collector is lost, and the ledger does not say so yet.
  bool LosesLink(const Pass& pass) const;
  bool OpenLink(const Pass& pass, store::GapLedger& ledger) const;
  // Of either mode: what the object's status tells of holes, and what is to be said of them now.
  static const json::Value& SaidGaps(const Pass& pass);
  void AnnounceGaps(const Pass& pass);
  std::chrono::milliseconds NextPushRun(const Pass& pass) const;

  // pull_pass.cc
  std::optional<Failure> Observe(Pass& pass);
  Evidence PullEvidence(const Pass& pass) const;
  std::optional<Failure> ReadCredentials(Pass& pass);
  std::optional<Failure> CallCluster(Pass& pass, const ClientPool::Client& client);
  // Writes as the cluster's writer in that role; a newer writer is replaced only while the object is still ours to
  // serve.
  using FencedWrite = absl::FunctionRef<absl::StatusOr<store::ApplyResult>(const store::WriterPosition& position)>;
  absl::Status WriteAs(Pass& pass, store::WriterRole role, FencedWrite write);
  // The object is at the API server as the pass knows it, and not being deleted.
  absl::StatusOr<bool> StillOurs(const Pass& pass) const;
  // Spec and labels; drops what is stored of another endpoint first.
  absl::Status StoreSpec(Pass& pass);
  // Status and events, with what `snapshot` holds.
  absl::Status StoreSnapshot(Pass& pass, const model::ClusterSnapshot& snapshot);
  absl::Status StoreData(Pass& pass);
  // What was read becomes samples, without waiting for them.
  void WriteSamples(Pass& pass);
  // What the store tells of samples and holes from before. Once, as long as nobody else writes the data; behind the
  // fence of the pass.
  absl::Status LookAtSamples(Pass& pass);
  // What became of earlier ones, and what this pass could not read: holes, if any.
  void FindGaps(Pass& pass);
  // What only the hub has, with what this pass is about to write.
  store::HeldSamples HeldNow(const Pass& pass) const;
  // The writes by which the ledger gets them, as whoever holds the position; empty: it lacks nothing.
  struct GapWrite {
    std::vector<store::Write> writes;
    bool changed = false;               // the ledger
    store::GapLedger ledger;            // what it is then
    std::vector<model::GapCause> told;  // of holes that are new
  };
  absl::StatusOr<GapWrite> GapWrites(Pass& pass);
  // A cluster that cannot be read and is not yet said to be, or the other way round.
  bool LacksOutage(const Pass& pass) const;
  absl::Status StoreFailure(Pass& pass);
  std::vector<store::ClusterEvent> EventsOf(const Pass& pass) const;
  // False: the write failed, come back soon.
  bool Publish(Pass& pass, json::Value desired, std::vector<runtime::Condition> conditions);
  std::chrono::milliseconds NextRun(const Pass& pass);

  const Dependencies deps_;
  const HubObjects objects_;
  const Options options_;
  ClientPool pool_;
  const PullMetrics metrics_;
  const log::Logger log_;

  mutable base::Mutex mu_;
  std::map<kube::ObjectKey, std::shared_ptr<Cluster>> clusters_ ABSL_GUARDED_BY(mu_);
  std::map<kube::ObjectKey, kube::ObjectKey> secrets_ ABSL_GUARDED_BY(mu_);  // connection -> Secret
};

}  // namespace clusterpulse::reconcile
