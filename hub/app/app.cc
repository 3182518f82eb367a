#include "hub/app/app.h"

#include <cstdlib>
#include <utility>

#include <fmt/format.h>
#include <unistd.h>

#include "common/app/routes.h"
#include "common/app/version.h"
#include "common/base/status.h"
#include "common/kube/http_kube_api.h"
#include "common/tls/stream.h"
#include "hub/app/cache_part.h"
#include "hub/reconcile/cluster/kube_client_factory.h"
#include "hub/store/embedded_store.h"
#include "hub/store/redis_store.h"

namespace clusterpulse::app {
namespace {

constexpr std::string_view kLease = "cluster-controller.clusterpulse.io";
// Missing definitions, a missing API server: waited for, with probes that say so, for as long as it takes.
constexpr auto kReadyLimit = std::chrono::hours(24 * 365);
// A collector that comes back is told of twice, by its registration and its first batch: one pass shows both.
constexpr auto kHintDelay = std::chrono::milliseconds(250);
constexpr auto kReleaseLimit = std::chrono::milliseconds(2000);
// A look at the store has deadlines that add up to a quarter of this.
constexpr auto kMonitorSilence = std::chrono::seconds(120);
// Every call of a pass has a deadline; the pages of the largest clusters add up to minutes.
constexpr auto kLongestPass = std::chrono::seconds(1800);
constexpr std::string_view kMissingDefinition =
    "the ClusterConnection definition is not installed; run `clusterpulse-hub crds apply`";

std::string HostName() {
  char name[256] = {};
  if (::gethostname(name, sizeof(name) - 1) != 0 || name[0] == '\0') return "hub";
  return name;
}

std::string UserAgent() { return fmt::format("clusterpulse-hub/{}", kVersion); }

absl::StatusOr<std::unique_ptr<store::StateStore>> MakeStore(const Config& config, const log::Logger& log,
                                                             telemetry::Registry& registry) {
  if (config.embedded_store()) return store::EmbeddedStore::Open({.data_dir = config.data_dir});
  store::RedisStore::Options options{
      .address = {config.redis_host, static_cast<std::uint16_t>(config.redis_port)},
      .sentinel_master = config.redis_sentinel_master,
      .username = config.redis_username,
      .password = config.redis_password,
      .database = config.redis_db,
      .persistence = config.redis_persistence == "none" ? store::RedisStore::Persistence::kNone
                                                        : store::RedisStore::Persistence::kAof,
      .log = log,
      .registry = &registry,
  };
  for (const std::string& sentinel : config.redis_sentinels) {
    ASSIGN_OR_RETURN(tls::Endpoint endpoint, tls::ParseEndpoint(sentinel, kSentinelPort));
    options.sentinels.push_back(std::move(endpoint));
  }
  if (config.redis_tls) {
    options.tls = tls::ClientOptions{.ca_file = config.redis_tls_ca,
                                     .cert_file = config.redis_tls_cert,
                                     .key_file = config.redis_tls_key,
                                     .server_name = config.redis_tls_server_name};
  }
  return std::make_unique<store::RedisStore>(std::move(options));
}

}  // namespace

absl::StatusOr<std::unique_ptr<kube::KubeApi>> ConnectHub(const std::string& kubeconfig, const std::string& context) {
  ASSIGN_OR_RETURN(kube::ConnectionConfig connection,
                   kube::LoadConnectionConfig({.kubeconfig = kubeconfig, .context = context}));
  return kube::HttpKubeApi::Create(std::move(connection), {.user_agent = UserAgent()});
}

absl::StatusOr<Dependencies> MakeDependencies(const Config& config, const kube::ConnectionConfig& hub,
                                              log::Logger log) {
  Dependencies deps;
  deps.registry = std::make_unique<telemetry::Registry>();
  const kube::HttpKubeApi::Options http{.user_agent = UserAgent(),
                                        .metrics = kube::ApiMetrics::Make(*deps.registry, "clusterpulse_hub")};
  ASSIGN_OR_RETURN(deps.hub, kube::HttpKubeApi::Create(hub, http), fmt::format("hub cluster ({})", hub.source));
  ASSIGN_OR_RETURN(deps.store, MakeStore(config, log, *deps.registry), "state store");
  deps.clients = std::make_unique<reconcile::HttpKubeClientFactory>(http);
  ASSIGN_OR_RETURN(deps.history, MakeHistory(config, *deps.clock, *deps.random, *deps.registry, log));
  deps.log = std::move(log);
  return deps;
}

absl::StatusOr<std::unique_ptr<App>> App::Create(const Config& config, Dependencies dependencies) {
  std::unique_ptr<App> app(new App(config, std::move(dependencies)));
  app->Compose();
  app->AddChecks();
  app->WireHandlers();
  return app;
}

App::App(const Config& config, Dependencies dependencies)
    : config_(config),
      deps_(std::move(dependencies)),
      instance_(fmt::format("{}_{}_{:016x}", HostName(), ::getpid(), deps_.random->Next())) {}

App::~App() = default;

void App::Compose() {
  telemetry::Registry& registry = *deps_.registry;
  const base::Clock& clock = *deps_.clock;
  process_metrics_.emplace(registry, "clusterpulse_hub");
  store_.emplace(*deps_.store, registry);
  state_.emplace(
      *store_,
      store::ClusterState::Options{
          .cache_ttl = config_.cache_ttl, .metrics_retention = config_.metrics_retention, .hub_namespace = config_.ns},
      clock);
  collectors_.emplace(*store_, *state_, config_.ns);
  ComposeCaches();
  sources_.emplace(config_,
                   SourcePart::Dependencies{*deps_.hub, *connections_, *store_, *state_, clock, *deps_.random, registry,
                                            deps_.history.get()},
                   deps_.log);
  monitor_.emplace(Monitor::Options{.connections_error = [this] { return connections_->LastError(); },
                                    .on_fatal = [this](const absl::Status& why) { Fail(why); },
                                    .on_look =
                                        [this](const absl::Status& store) {
                                          if (ingest_) ingest_->ingester().SetServing(store.ok() && CachesSynced());
                                        }},
                   *store_, *state_, clock, deps_.log);
  if (config_.runs_ingester()) ComposeIngester();
  if (config_.runs_controllers()) ComposeControllers();
  if (!IsDisabled(config_.probe_address)) {
    probes_.emplace(http::Server::Options{.name = "probes", .address = config_.probe_address, .threads = 4},
                    ProbeRoutes(alive_, ready_));
  }
  if (!IsDisabled(config_.metrics_address)) {
    metrics_.emplace(http::Server::Options{.name = "metrics", .address = config_.metrics_address, .threads = 4},
                     MetricsRoutes(registry));
  }
  AddParts();
}

void App::ComposeCaches() {
  kube::Reflector::Options options{.resource = kube::kClusterConnections,
                                   .ns = config_.ns,
                                   .log = deps_.log,
                                   .clock = deps_.clock,
                                   .random = deps_.random};
  connections_.emplace(*deps_.hub, options, reconcile::ReadClusterConnection);
  cache_parts_.push_back(
      std::make_unique<CachePart<reconcile::ClusterConnection>>("watch of ClusterConnections", *connections_));
  options.resource = kube::kSecrets;
  if (config_.ingester_enabled) {
    // Only what is ours comes with its values, and of these only digests stay.
    options.label_selector = reconcile::kTokenSelector;
    token_secrets_.emplace(*deps_.hub, options, reconcile::ReadTokenSecret);
    cache_parts_.push_back(
        std::make_unique<CachePart<reconcile::TokenSecret>>("watch of token Secrets", *token_secrets_));
    options.label_selector.clear();
  }
  options.metadata_only = true;
  secrets_.emplace(*deps_.hub, options, reconcile::ReadSecretVersion);
  cache_parts_.push_back(std::make_unique<CachePart<reconcile::SecretVersion>>("watch of Secrets", *secrets_));
}

bool App::CachesSynced() const {
  return connections_->HasSynced() && secrets_->HasSynced() && (!token_secrets_ || token_secrets_->HasSynced()) &&
         sources_->IsSettled();
}

std::optional<std::string> App::SecretVersionOf(const kube::ObjectKey& key) const {
  const auto secret = secrets_->Get(key);
  return secret ? std::optional(secret->resource_version) : std::nullopt;
}

std::optional<reconcile::TokenSecret> App::TokenSecretOf(const kube::ObjectKey& key) const {
  return token_secrets_ ? token_secrets_->Get(key) : std::nullopt;
}

void App::ComposeIngester() {
  reconcile::CollectorTokens::Sources sources{
      .connection =
          [this](const std::string& cluster) {
            return connections_->Get({config_.ns, cluster});
          },
      .token_secret = [this](const kube::ObjectKey& key) { return TokenSecretOf(key); },
      .secret_version = [this](const kube::ObjectKey& key) { return SecretVersionOf(key); },
      .synced = [this] { return CachesSynced(); }};
  // Replicas on one machine differ in their ports.
  ingest_.emplace(config_, fmt::format("{}:{}", HostName(), config_.ingester_port),
                  IngestPart::Dependencies{*deps_.hub, *store_, *state_, *collectors_, *deps_.clock, *deps_.random,
                                           *deps_.registry, deps_.history.get(), &*sources_},
                  std::move(sources), deps_.log);
}

void App::ComposeControllers() {
  telemetry::Registry& registry = *deps_.registry;
  const base::Clock& clock = *deps_.clock;
  const log::Logger& log = deps_.log;
  status_.emplace(*deps_.hub, clock, runtime::StatusWriter::Options());
  events_.emplace(runtime::AggregatingEventRecorder::Options{.instance = HostName(), .registry = &registry}, *deps_.hub,
                  clock, *deps_.random, log);
  sources_->ComposeControllers(*status_, *events_);
  reconcile::HubObjects objects{.connection = [this](const kube::ObjectKey& key) { return connections_->Get(key); },
                                .secret_version = [this](const kube::ObjectKey& key) { return SecretVersionOf(key); },
                                .token_secret = [this](const kube::ObjectKey& key) { return TokenSecretOf(key); }};
  reconciler_.emplace(
      reconcile::ClusterReconciler::Dependencies{.hub = *deps_.hub,
                                                 .clients = *deps_.clients,
                                                 .store = *state_,
                                                 .collectors = *collectors_,
                                                 .status = *status_,
                                                 .events = *events_,
                                                 .clock = clock,
                                                 .random = *deps_.random,
                                                 .store_up_for = [this] { return monitor_->StoreUpFor(); },
                                                 .history = deps_.history.get(),
                                                 .reached = &sources_->reached()},
      std::move(objects),
      reconcile::ClusterReconciler::Options{
          .hub_namespace = config_.ns,
          .instance = instance_,
          .defaults = {.interval = config_.reconciliation_interval, .timeout = config_.connect_timeout},
          .operator_interval = config_.operator_scan_interval,
          .push_enabled = config_.ingester_enabled,
          .ingester_address = config_.ingester_public_address},
      reconcile::ClientPool::Options(), reconcile::PullMetrics(registry), log);
  passes_.emplace(*reconciler_, clock);
  controller_.emplace(
      runtime::Controller::Options{
          .name = "clusterconnection", .workers = config_.cluster_workers, .registry = &registry},
      *passes_, clock, log);
  resync_.emplace(
      runtime::Resync::Options(), *controller_, [this] { return AllKeys(); }, *deps_.random, log);
  if (config_.ingester_enabled) {
    hints_.emplace(
        *collectors_,
        [this](std::string_view hint) {
          if (sources_->ReportSoon(hint)) return;
          controller_->EnqueueAfter({config_.ns, std::string(hint)}, kHintDelay);
        },
        log);
  }
  if (config_.leader_elect) {
    elector_.emplace(
        runtime::LeaderElector::Options{
            .ns = config_.ns, .name = std::string(kLease), .identity = instance_, .registry = &registry},
        *deps_.hub, clock, *deps_.random, log);
  }
}

void App::AddParts() {
  manager_.emplace(
      runtime::Manager::Options{
          .ready_limit = kReadyLimit, .stop_limit = config_.shutdown_timeout, .release_limit = kReleaseLimit},
      elector_ ? &*elector_ : nullptr, deps_.log);
  if (probes_) manager_->Add(*probes_);
  if (metrics_) manager_->Add(*metrics_);
  if (events_) manager_->Add(*events_);
  manager_->Add(*monitor_);
  for (const auto& part : cache_parts_) manager_->Add(*part);
  sources_->AddCacheTo(*manager_);
  if (deps_.history != nullptr) manager_->Add(*deps_.history);
  if (ingest_) {
    manager_->Add(ingest_->token_marks());
    manager_->Add(ingest_->ingester());
  }
  if (!controller_) return;
  manager_->Add(*controller_);
  manager_->Add(*resync_);
  sources_->AddControllersTo(*manager_);
  if (hints_) manager_->Add(*hints_);
}

void App::AddChecks() {
  alive_.Add("monitor", [this] { return monitor_->heartbeat().Check(kMonitorSilence); });
  if (passes_) alive_.Add("passes", [this] { return passes_->Check(kLongestPass); });

  const auto synced = [](const auto& cache) -> absl::Status {
    if (cache.HasSynced()) return absl::OkStatus();
    const absl::Status error = cache.LastError();
    return error.ok() ? absl::UnavailableError("not listed yet") : error;
  };
  ready_.Add("running", [this]() -> absl::Status {
    return stop_.stop_requested() ? absl::UnavailableError("stopping") : absl::OkStatus();
  });
  ready_.Add("clusterconnections", [this, synced]() -> absl::Status {
    if (kube::IsNotFound(connections_->LastError())) {
      return base::MakeStatus(absl::StatusCode::kFailedPrecondition, "{}", kMissingDefinition);
    }
    return synced(*connections_);
  });
  ready_.Add("secrets", [this, synced] {
    const absl::Status secrets = synced(*secrets_);
    return secrets.ok() && token_secrets_ ? synced(*token_secrets_) : secrets;
  });
  if (ingest_) {
    ready_.Add("ingester", [this]() -> absl::Status {
      return ingester_port() != 0 ? absl::OkStatus() : absl::UnavailableError("not listening yet");
    });
  }
  ready_.Add("metricsources", [this] { return sources_->IsSettled() ? absl::OkStatus() : sources_->Trouble(); });
  ready_.Add("store", [this] { return monitor_->StoreStatus(); });
  // The hub serves without it.
  if (deps_.history != nullptr) {
    ready_.AddNote("history", [this]() -> std::string {
      const absl::Status status = deps_.history->Status();
      return status.ok() ? "ok" : log::ToText(status);
    });
  }
}

void App::WireHandlers() {
  const auto meta_of = [this](const kube::ObjectKey& key) -> std::optional<kube::ObjectMeta> {
    const auto connection = connections_->Get(key);
    return connection ? std::optional(connection->meta) : std::nullopt;
  };
  if (controller_) {
    connections_->AddHandler(runtime::EnqueueChanged(*controller_, meta_of));
    secrets_->AddHandler(runtime::EnqueueMapped(
        *controller_, [this](const kube::ObjectKey& secret) { return reconciler_->UsersOf(secret); }));
    if (token_secrets_) {
      token_secrets_->AddHandler(runtime::EnqueueMapped(*controller_, [](const kube::ObjectKey& secret) {
        const auto cluster = reconcile::ClusterOfTokenSecret(secret);
        return cluster ? std::vector{*cluster} : std::vector<kube::ObjectKey>();
      }));
    }
  }
  sources_->Wire([this] {
    if (!ingest_) return;
    connections_->ForEach([&](std::string_view, std::string_view name, const reconcile::ClusterConnection&) {
      ingest_->ingester().Recheck(std::string(name));
    });
  });
  if (!ingest_) return;
  connections_->AddHandler([this, meta_of](const kube::ObjectKey& key) {
    const auto meta = meta_of(key);
    ingest_->ConnectionChanged(key, meta ? &*meta : nullptr);
  });
  token_secrets_->AddHandler([this](const kube::ObjectKey& secret) {
    if (const auto cluster = reconcile::ClusterOfTokenSecret(secret)) ingest_->ingester().Recheck(cluster->name);
  });
  // Bootstrap tokens.
  secrets_->AddHandler([this](const kube::ObjectKey& secret) {
    connections_->ForEach([&](std::string_view, std::string_view name, const reconcile::ClusterConnection& connection) {
      if (connection.secret() == secret) ingest_->ingester().Recheck(std::string(name));
    });
  });
}

absl::StatusOr<std::vector<kube::ObjectKey>> App::AllKeys() {
  ASSIGN_OR_RETURN(const std::vector<std::string> stored, state_->Clusters());
  std::vector<kube::ObjectKey> keys;
  keys.reserve(stored.size());
  for (const std::string& name : stored) keys.push_back({config_.ns, name});
  connections_->ForEach([&](std::string_view ns, std::string_view name, const reconcile::ClusterConnection&) {
    keys.push_back({std::string(ns), std::string(name)});
  });
  return keys;
}

void App::Fail(const absl::Status& why) {
  {
    base::MutexLock lock(mu_);
    if (failure_.ok()) failure_ = why;
  }
  stop_.RequestStop();
}

absl::Status App::Run(std::stop_token stop) {
  std::stop_callback forward(stop, [this] { stop_.RequestStop(); });
  RETURN_IF_ERROR(manager_->Run(stop_.token()));
  base::MutexLock lock(mu_);
  return failure_;
}

int RunHub(const LoadedConfig& loaded, Process& process) {
  Config config = loaded.config;
  const log::Logger log = StartLog(config, "clusterpulse-hub", ConfigOptions(config), loaded.warnings);
  if (config.embedded_store() && config.data_dir.empty()) {
    log.Warn("the state is kept in memory only and read anew after a restart; set DATA_DIR or REDIS_HOST to keep it");
  }
  if (config.runs_ingester() && !config.ingester_tls) {
    log.Warn("INGESTER_TLS_ENABLED is not true: collectors send their tokens and data in clear text");
  }

  base::StopSignal stop;
  const auto signals =
      process.signals(stop, {.limit = config.shutdown_timeout + kReleaseLimit + std::chrono::seconds(1),
                             .on_abrupt_end = [&log](const char* reason) {
                               log.Error("ends at once", {{"reason", reason}});
                             }});
  const auto fail = [&log](const absl::Status& status) {
    log.Error("clusterpulse-hub failed", {{"error", log::ToText(status)}});
    return 1;
  };
  if (!signals.ok()) return fail(signals.status());

  const auto connection = kube::LoadConnectionConfig({.kubeconfig = config.kubeconfig});
  if (!connection.ok()) return fail(connection.status());
  absl::StatusOr<Dependencies> dependencies = MakeDependencies(config, *connection, log);
  if (!dependencies.ok()) return fail(dependencies.status());
  const auto app = App::Create(config, *std::move(dependencies));
  if (!app.ok()) return fail(app.status());

  const absl::Status status = (*app)->Run(stop.token());
  if (status.code() == absl::StatusCode::kDeadlineExceeded) {
    fail(status);
    std::_Exit(1);  // its threads still run: nothing may be destroyed
  }
  if (!status.ok() && !(stop.stop_requested() && status.code() == absl::StatusCode::kCancelled)) return fail(status);
  log.Info("clusterpulse-hub ended");
  return 0;
}

}  // namespace clusterpulse::app
