#include "collector/app/app.h"

#include <algorithm>
#include <utility>

#include "collector/link/grpc_transport.h"
#include "common/app/routes.h"
#include "common/app/signals.h"
#include "common/app/version.h"
#include "common/base/status.h"
#include "common/base/stop_signal.h"
#include "common/base/time_format.h"
#include "common/kube/http_kube_api.h"

namespace clusterpulse::collector {
namespace {

constexpr const char* kPrefix = "clusterpulse_collector";
// The batcher comes around every 10 s and makes a batch in milliseconds.
constexpr auto kBatcherSilence = std::chrono::seconds(120);
// One request for each operator, of up to 30 s: some hundred slow answers of a server in trouble, which a restart of
// ours would only load more.
constexpr auto kInventorySilence = std::chrono::seconds(7200);
// Beyond the time that a run has: its calls end by themselves soon after.
constexpr auto kSourceSilence = std::chrono::seconds(300);
// The link comes around every minute; a token file may be slow to read.
constexpr auto kLinkSilence = std::chrono::seconds(300);

// What the hub asks for, or else the collector's own, within bounds. 0: the hub does not ask.
std::chrono::seconds Bounded(std::string_view name, std::chrono::seconds wanted, std::chrono::seconds own,
                             std::chrono::seconds least, std::vector<std::string>& problems) {
  if (wanted.count() <= 0) return own;
  const std::chrono::seconds used = std::clamp(wanted, least, kMostInterval);
  if (used != wanted) problems.push_back(fmt::format("{} of {} s runs as {} s", name, wanted.count(), used.count()));
  return used;
}

}  // namespace

absl::StatusOr<Dependencies> MakeDependencies(const Config& config, const kube::ConnectionConfig& cluster,
                                              log::Logger log) {
  Dependencies deps;
  deps.registry = std::make_unique<telemetry::Registry>();
  ASSIGN_OR_RETURN(
      deps.api,
      kube::HttpKubeApi::Create(cluster, {.user_agent = fmt::format("clusterpulse-collector/{}", app::kVersion),
                                          .cluster = config.cluster,
                                          .metrics = kube::ApiMetrics::Make(*deps.registry, kPrefix)}),
      fmt::format("cluster ({})", cluster.source));
  deps.log = std::move(log);
  return deps;
}

App::App(const Config& config, Dependencies dependencies)
    : config_(config),
      deps_(std::move(dependencies)),
      start_(deps_.clock->Steady()),
      process_metrics_(*deps_.registry, kPrefix),
      outbox_(MakeOutboxOptions(), RandomUuid(*deps_.random), *deps_.clock, deps_.log, deps_.registry.get()),
      spool_thread_([this] {
        outbox_.WorkOnDisk();
        link_->BatchAdded();
      }) {
  observer_.emplace(*deps_.api, observe::ClusterObserver::Options{.operator_interval = config_.operator_interval,
                                                                  .on_news = [this] { batcher_->News(); },
                                                                  .log = deps_.log,
                                                                  .registry = deps_.registry.get(),
                                                                  .clock = deps_.clock,
                                                                  .random = deps_.random});
  sources_.emplace(*deps_.api, MakeSourceOptions());
  batcher_.emplace(Batcher::Options{.cluster = config_.cluster, .interval = config_.interval},
                   Batcher::Ports{.is_current = [this] { return observer_->Status().ok(); },
                                  .is_connected =
                                      [this] {
                                        const link::LinkState state = link_->status().state;
                                        return state == link::LinkState::kStreaming ||
                                               state == link::LinkState::kWaiting;
                                      },
                                  .is_pending = [this] { return outbox_.IsNewestPending(); },
                                  .observe = [this](bool full) { return observer_->Observe(full); },
                                  .sources =
                                      [this](bool full, base::SystemTime collected_at) {
                                        const link::LinkStatus hub = link_->status();
                                        // One that may be an upstream hub takes a failure for a source without rows.
                                        const bool is_ours = !hub.upstream && hub.state != link::LinkState::kWaiting;
                                        return sources_->Take(full, is_ours, collected_at);
                                      },
                                  .deliver =
                                      [this](model::Batch batch, std::vector<model::RowStream> streams, bool full) {
                                        outbox_.Add(std::move(batch), full, std::move(streams));
                                        link_->BatchAdded();
                                      }},
                   *deps_.clock, *deps_.random);
  link::LinkOptions options = MakeLinkOptions();
  if (deps_.transport == nullptr) deps_.transport = link::MakeGrpcTransport(options);
  link_.emplace(
      std::move(options),
      link::LinkCallbacks{.on_full_batch = [this] { batcher_->Connected(); },
                          .on_config = [this](const model::CollectorConfig& wanted) { return Configure(wanted); },
                          .heartbeat = [this] { return MakeHeartbeat(); }},
      outbox_, std::move(deps_.transport), *deps_.clock, *deps_.random, deps_.log, deps_.registry.get());
  AddChecks();
}

App::~App() { spool_thread_.Stop(); }

link::LinkOptions App::MakeLinkOptions() const {
  link::LinkOptions options;
  options.address = config_.address;
  options.cluster = config_.cluster;
  options.token = [this] { return ReadToken(config_); };
  options.version = app::kVersion;
  options.tls = config_.tls;
  options.tls_ca = config_.tls_ca;
  options.tls_server_name = config_.tls_server_name;
  return options;
}

link::Outbox::Options App::MakeOutboxOptions() {
  link::Outbox::Options options{.max_batches = static_cast<std::size_t>(config_.buffer_size)};
  if (config_.spool_dir.empty()) {
    deps_.log.Warn(
        "batches are kept in memory only: a restart loses what the hub has not safe; set SPOOL_DIR or DATA_DIR");
    return options;
  }
  options.on_disk_work = [this] { spool_thread_.Wake(); };
  options.open_spool = [this] {
    return spool::Spool::Open(
        {.dir = config_.spool_dir, .max_bytes = config_.spool_max_bytes, .max_age = config_.spool_max_age},
        *deps_.files, *deps_.clock, *deps_.random, deps_.log);
  };
  return options;
}

sources::SourceRunner::Options App::MakeSourceOptions() {
  return {.path = config_.data_dir.empty() ? "" : config_.data_dir + "/metric-sources",
          .files = deps_.files,
          .on_result =
              [this](bool is_news, std::chrono::seconds interval) {
                // What would be replaced before the next batch would be missing in the history.
                if (is_news || batcher_->status().next_tick - deps_.clock->Steady() > interval) batcher_->News();
              },
          .log = deps_.log,
          .registry = deps_.registry.get(),
          .clock = deps_.clock,
          .random = deps_.random};
}

void App::AddChecks() {
  const auto add = [this](const char* name, std::chrono::seconds silence, std::function<base::SteadyTime()> last_turn) {
    alive_.Add(name, [this, silence, last_turn = std::move(last_turn)] {
      return app::CheckTurn(last_turn(), deps_.clock->Steady(), silence);
    });
  };
  add("batches", kBatcherSilence, [this] { return batcher_->status().last_turn; });
  add("inventory", kInventorySilence, [this] { return observer_->last_inventory_turn(); });
  add("sources", kSourceSilence, [this] { return sources_->last_turn(); });
  add("link", kLinkSilence, [this] { return link_->status().last_turn; });
  ready_.Add("cluster", [this] { return observer_->Status(); });
  ready_.AddNote("hub", [this] { return DescribeLink(); });
  ready_.AddNote("spool", [this] { return DescribeSpool(); });
  ready_.AddNote("degraded", [this] {
    const std::string degraded = Degraded();
    return degraded.empty() ? "nothing" : degraded;
  });
}

std::string App::DescribeLink() const {
  const link::LinkStatus status = link_->status();
  std::string text = fmt::format("{} since {}", link::ToString(status.state), base::FormatSeconds(status.since));
  if (status.state == link::LinkState::kStreaming) {
    text += status.upstream ? " with an upstream hub" : " with " + status.hub;
  } else if (!status.last_error.ok()) {
    text += "; " + log::ToText(status.last_error);
  }
  return text;
}

std::string App::DescribeSpool() const {
  if (config_.spool_dir.empty()) return "none: batches are kept in memory only";
  const absl::Status trouble = outbox_.SpoolTrouble();
  if (!trouble.ok()) return "batches are kept in memory only; " + log::ToText(trouble);
  return fmt::format("{} batches wait in {}", outbox_.stats().spooled, config_.spool_dir);
}

std::string App::Degraded() const {
  std::string degraded = observer_->Degraded();
  if (const absl::Status trouble = outbox_.SpoolTrouble(); !trouble.ok()) {
    if (!degraded.empty()) degraded += "; ";
    degraded += "spool: batches are kept in memory only: " + log::ToText(trouble);
  }
  return degraded;
}

std::vector<std::string> App::Configure(const model::CollectorConfig& wanted) {
  std::vector<std::string> problems;
  batcher_->SetInterval(Bounded("interval", wanted.interval, config_.interval, kLeastInterval, problems));
  observer_->SetOperatorInterval(Bounded("operator interval", wanted.operator_interval, config_.operator_interval,
                                         kLeastOperatorInterval, problems));
  for (std::string& problem : sources_->Apply(wanted.metric_sources)) problems.push_back(std::move(problem));
  return problems;
}

model::Heartbeat App::MakeHeartbeat() const {
  const Batcher::Status batches = batcher_->status();
  model::Heartbeat heartbeat;
  heartbeat.uptime = std::chrono::duration_cast<std::chrono::seconds>(deps_.clock->Steady() - start_);
  heartbeat.last_collection = batches.last_collection;
  heartbeat.degraded = Degraded();
  heartbeat.interval = batches.interval;
  return heartbeat;
}

absl::Status App::Serve() {
  if (!app::IsDisabled(config_.probe_address)) {
    ASSIGN_OR_RETURN(probes_,
                     http::Server::Start({.name = "probes", .address = config_.probe_address, .threads = 2},
                                         app::ProbeRoutes(alive_, ready_)),
                     "serving probes on " + config_.probe_address);
  }
  if (!app::IsDisabled(config_.metrics_address)) {
    ASSIGN_OR_RETURN(metrics_,
                     http::Server::Start({.name = "metrics", .address = config_.metrics_address, .threads = 2},
                                         app::MetricsRoutes(*deps_.registry)),
                     "serving metrics on " + config_.metrics_address);
  }
  return absl::OkStatus();
}

absl::Status App::Run(std::stop_token stop) {
  base::StopSignal stopped(std::move(stop));
  RETURN_IF_ERROR(Serve());
  observer_->Start();
  sources_->Start();
  spool_thread_.Start();
  link_->Start();
  batcher_->Start();
  stopped.Wait();
  batcher_->Stop();
  if (!link_->Stop(config_.shutdown_timeout)) deps_.log.Warn("the stream to the hub did not end in time");
  spool_thread_.Stop();
  sources_->Stop();
  observer_->Stop();
  probes_.reset();
  metrics_.reset();
  return absl::OkStatus();
}

int RunCollector(const LoadedConfig& loaded) {
  Config config = loaded.config;
  const log::Logger log = app::StartLog(config, "clusterpulse-collector", ConfigOptions(config), loaded.warnings);
  const auto fail = [&log](const absl::Status& status) {
    log.Error("clusterpulse-collector failed", {{"error", log::ToText(status)}});
    return 1;
  };
  base::StopSignal stop;
  const auto signals = app::SignalHandler::Start(
      stop, {.limit = config.shutdown_timeout + std::chrono::seconds(1), .on_abrupt_end = [&log](const char* reason) {
               log.Error("ends at once", {{"reason", reason}});
             }});
  if (!signals.ok()) return fail(signals.status());
  const auto connection = kube::LoadConnectionConfig({.kubeconfig = config.kubeconfig});
  if (!connection.ok()) return fail(connection.status());
  absl::StatusOr<Dependencies> dependencies = MakeDependencies(config, *connection, log);
  if (!dependencies.ok()) return fail(dependencies.status());
  App app(config, *std::move(dependencies));
  if (const absl::Status status = app.Run(stop.token()); !status.ok()) return fail(status);
  log.Info("clusterpulse-collector ended");
  return 0;
}

}  // namespace clusterpulse::collector
