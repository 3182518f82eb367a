#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include <absl/status/statusor.h>

#include "collector/app/batcher.h"
#include "collector/app/config.h"
#include "collector/link/hub_link.h"
#include "collector/link/outbox.h"
#include "collector/link/spool_thread.h"
#include "collector/observe/cluster_observer.h"
#include "collector/sources/source_runner.h"
#include "collector/spool/posix_file_system.h"
#include "common/app/health.h"
#include "common/app/process_metrics.h"
#include "common/base/clock.h"
#include "common/base/random.h"
#include "common/http/server.h"
#include "common/kube/kube_api.h"
#include "common/kube/kube_config.h"
#include "common/log/logger.h"
#include "common/telemetry/registry.h"

namespace clusterpulse::collector {

// What the collector is built on: the outside world. MakeDependencies makes the real one, tests bring fakes.
struct Dependencies {
  std::unique_ptr<telemetry::Registry> registry;  // first: the others count in it
  log::Logger log;
  const base::Clock* clock = &base::SystemClock();
  base::Random* random = &base::SystemRandom();
  spool::FileSystem* files = &spool::PosixFileSystem();
  std::unique_ptr<kube::KubeApi> api;  // of the cluster that is watched
  std::unique_ptr<link::HubTransport> transport;
};

// Connects to nothing: an API server or a hub that is away is waited for later. Errors: those of TLS files and
// credentials of the cluster (kInvalidArgument, kNotFound).
absl::StatusOr<Dependencies> MakeDependencies(const Config& config, const kube::ConnectionConfig& cluster,
                                              log::Logger log);

// The collector: observer, sources, batcher, outbox and link, composed.
//
//   ClusterObserver --observation--> Batcher --batch--> Outbox <--> HubLink <--> hub
//          '--------- news ----------^ ^ ^------------ connected, interval ---------|
//   SourceRunner -------- results, news '                                           |
//          ^-------------------------------------------- definitions ---------------'
//
// Started in the order probes, metrics, observer, sources, link, batcher; stopped the other way round, so that probes
// answer from the first moment to the last and what is kept can still be sent and acknowledged. Alive while its loops
// turn; ready while the cluster can be read. A hub that is away is told by /readyz, and makes nothing unready.
//
// Thread-safe: Run is called once, the rest from any thread.
class App {
 public:
  // Registers all metrics; starts nothing.
  App(const Config& config, Dependencies dependencies);
  ~App();
  App(const App&) = delete;
  App& operator=(const App&) = delete;

  // Blocks until `stop`; everything has stopped when it returns. Errors: kInvalidArgument, kUnavailable: an address
  // cannot be served on.
  absl::Status Run(std::stop_token stop);

  telemetry::Registry& registry() { return *deps_.registry; }
  app::HealthChecks::Answer Alive() const { return alive_.Run(); }
  app::HealthChecks::Answer Ready() const { return ready_.Run(); }

 private:
  link::LinkOptions MakeLinkOptions() const;
  link::Outbox::Options MakeOutboxOptions();
  sources::SourceRunner::Options MakeSourceOptions();
  void AddChecks();
  absl::Status Serve();
  // The link's callback: puts the hub's wishes into force.
  std::vector<std::string> Configure(const model::CollectorConfig& wanted);
  model::Heartbeat MakeHeartbeat() const;
  std::string DescribeLink() const;
  std::string DescribeSpool() const;
  // What is not as it should be, for a person; empty: nothing.
  std::string Degraded() const;

  const Config config_;
  Dependencies deps_;
  const base::SteadyTime start_;

  // In order of construction; each borrows from those above.
  app::ProcessMetrics process_metrics_;
  link::Outbox outbox_;
  link::SpoolThread spool_thread_;  // borrows outbox_ and, while it runs, link_
  std::optional<observe::ClusterObserver> observer_;
  std::optional<sources::SourceRunner> sources_;
  std::optional<Batcher> batcher_;
  std::optional<link::HubLink> link_;
  app::HealthChecks alive_, ready_;
  std::unique_ptr<http::Server> probes_, metrics_;
};

// The `run` command: first log line, signals, App, exit code.
int RunCollector(const LoadedConfig& loaded);

}  // namespace clusterpulse::collector
