#pragma once

#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include <absl/status/statusor.h>

#include "common/app/health.h"
#include "common/app/process_metrics.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/random.h"
#include "common/base/stop_signal.h"
#include "common/kube/kube_api.h"
#include "common/kube/kube_config.h"
#include "common/kube/watch_cache.h"
#include "common/log/logger.h"
#include "common/telemetry/registry.h"
#include "hub/app/collector_hints.h"
#include "hub/app/command_line.h"
#include "hub/app/config.h"
#include "hub/app/history_part.h"
#include "hub/app/http_endpoint.h"
#include "hub/app/ingest_part.h"
#include "hub/app/monitor.h"
#include "hub/app/pass_watch.h"
#include "hub/app/source_part.h"
#include "hub/reconcile/cluster/cluster_reconciler.h"
#include "hub/runtime/aggregating_event_recorder.h"
#include "hub/runtime/controller.h"
#include "hub/runtime/leader_elector.h"
#include "hub/runtime/manager.h"
#include "hub/runtime/resync.h"
#include "hub/runtime/status_writer.h"
#include "hub/store/cluster_state.h"
#include "hub/store/collector_state.h"
#include "hub/store/metered_store.h"

namespace clusterpulse::app {

// What the hub is built on: the outside world. MakeDependencies makes the real one, tests bring fakes.
struct Dependencies {
  std::unique_ptr<telemetry::Registry> registry;  // first: the others count in it
  log::Logger log;
  const base::Clock* clock = &base::SystemClock();
  base::Random* random = &base::SystemRandom();
  std::unique_ptr<kube::KubeApi> hub;
  std::unique_ptr<store::StateStore> store;
  std::unique_ptr<reconcile::KubeClientFactory> clients;
  std::unique_ptr<history::VictoriaMetricsWriter> history;  // null: off
};

// Connects to nothing: an API server or a Redis that is away is waited for later. Errors: those of TLS files and
// credentials (kInvalidArgument, kNotFound), and of a data directory that cannot be used (kFailedPrecondition: another
// process has it).
absl::StatusOr<Dependencies> MakeDependencies(const Config& config, const kube::ConnectionConfig& hub, log::Logger log);

// For the commands that only talk to one API. `kubeconfig` empty: KUBECONFIG, in-cluster, ~/.kube/config; `context`
// empty: the current one.
absl::StatusOr<std::unique_ptr<kube::KubeApi>> ConnectHub(const std::string& kubeconfig, const std::string& context);

// The hub: all parts that Config::target names, composed. Order of start and stop: the Manager's
// (hub/runtime/manager.h) over what the constructor adds - probes, metrics, event recorder, monitor, watch caches,
// history, ingester, then the controllers under the lead. So probes answer from the first moment to the last, events of
// the last passes are still sent, and streams say that they end before anything they need does.
//
// Alive while its loops turn; ready once its caches have synced and while the store answers. Thread-safe: Run is called
// once, the rest from any thread.
class App {
 public:
  // Registers all metrics; starts nothing.
  static absl::StatusOr<std::unique_ptr<App>> Create(const Config& config, Dependencies dependencies);
  ~App();

  // Blocks until `stop`, or until something fails that a restart may mend. Errors: those of Manager::Run (after
  // kDeadlineExceeded threads still run: end the process without destroying anything); kFailedPrecondition: the store
  // is of a newer version.
  absl::Status Run(std::stop_token stop);

  telemetry::Registry& registry() { return *deps_.registry; }
  HealthChecks::Answer Alive() const { return alive_.Run(); }
  HealthChecks::Answer Ready() const { return ready_.Run(); }
  // Ports of the servers while Run runs; 0 when off. For tests.
  int ingester_port() { return ingest_ ? ingest_->ingester().port() : 0; }
  int probe_port() const { return probes_ ? probes_->port() : 0; }
  int metrics_port() const { return metrics_ ? metrics_->port() : 0; }

 private:
  App(const Config& config, Dependencies dependencies);
  void Compose();
  void ComposeCaches();
  void ComposeIngester();
  void ComposeControllers();
  void AddParts();
  void AddChecks();
  void WireHandlers();
  // Of the ClusterConnections there are, and of the clusters in the store: one whose object went while no hub looked
  // and no finalizer held it is removed by its pass.
  absl::StatusOr<std::vector<kube::ObjectKey>> AllKeys();
  void Fail(const absl::Status& why);

  bool CachesSynced() const;
  // As the watch caches have them.
  std::optional<std::string> SecretVersionOf(const kube::ObjectKey& key) const;
  std::optional<reconcile::TokenSecret> TokenSecretOf(const kube::ObjectKey& key) const;

  const Config config_;
  const Dependencies deps_;
  const std::string instance_;  // of this run of the program: host, pid, random

  base::StopSignal stop_;
  base::Mutex mu_;
  absl::Status failure_ ABSL_GUARDED_BY(mu_);

  // In order of construction; each borrows from those above.
  std::optional<ProcessMetrics> process_metrics_;
  std::optional<store::MeteredStore> store_;
  std::optional<store::ClusterState> state_;
  std::optional<store::CollectorState> collectors_;
  std::optional<runtime::StatusWriter> status_;
  std::optional<runtime::AggregatingEventRecorder> events_;
  std::optional<kube::WatchCache<reconcile::ClusterConnection>> connections_;
  std::optional<kube::WatchCache<reconcile::SecretVersion>> secrets_;
  std::optional<kube::WatchCache<reconcile::TokenSecret>> token_secrets_;
  std::optional<SourcePart> sources_;
  std::optional<Monitor> monitor_;
  std::optional<IngestPart> ingest_;  // when this process takes streams
  // When this process runs controllers.
  std::optional<reconcile::ClusterReconciler> reconciler_;
  std::optional<PassWatch> passes_;
  std::optional<runtime::Controller> controller_;
  std::optional<runtime::Resync> resync_;
  std::optional<CollectorHints> hints_;
  HealthChecks alive_, ready_;
  std::optional<HttpEndpoint> probes_, metrics_;
  std::vector<std::unique_ptr<runtime::Runnable>> cache_parts_;
  std::optional<runtime::LeaderElector> elector_;
  std::optional<runtime::Manager> manager_;
};

// The `run` command: first log line, signals, App, exit code. Does not return when parts hang at the stop.
int RunHub(const LoadedConfig& loaded, Process& process);

}  // namespace clusterpulse::app
