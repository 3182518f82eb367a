#include "hub/reconcile/cluster/cluster_reconciler.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "common/base/status.h"
#include "common/base/time_format.h"
#include "common/json/writer.h"
#include "hub/runtime/finalizers.h"

namespace clusterpulse::reconcile {
namespace {

constexpr std::chrono::seconds kHubCallTimeout{10};
constexpr std::chrono::seconds kLongestRetry{60};  // after a failure, however long the interval
constexpr std::chrono::seconds kHubTrouble{10};    // store or hub API failed: come back soon
constexpr double kJitter = 0.05;                   // of the wait, so that a fleet does not pull in step

using Reported = std::pair<model::Phase, model::Health>;

kube::CallOptions HubCall(std::stop_token stop) { return {kHubCallTimeout, stop}; }

std::optional<Reported> ReportedIn(const json::Value& status) {
  constexpr model::Phase kPhases[] = {model::Phase::kConnecting, model::Phase::kConnected, model::Phase::kDegraded,
                                      model::Phase::kDisconnected, model::Phase::kError};
  constexpr model::Health kHealths[] = {model::Health::kUnknown, model::Health::kHealthy, model::Health::kDegraded,
                                        model::Health::kUnhealthy};
  for (const model::Phase phase : kPhases) {
    for (const model::Health health : kHealths) {
      if (status["phase"].StringOr() == model::ToString(phase) &&
          status["health"].StringOr() == model::ToString(health)) {
        return Reported(phase, health);
      }
    }
  }
  return std::nullopt;
}

bool WasReached(const json::Value& status) {
  const std::string_view phase = status["phase"].StringOr();
  return !status["lastSyncTime"].StringOr().empty() || phase == model::ToString(model::Phase::kConnected) ||
         phase == model::ToString(model::Phase::kDegraded) || phase == model::ToString(model::Phase::kDisconnected);
}

std::string JoinProblems(const std::vector<std::string>& problems) {
  std::string text;
  for (const std::string& problem : problems) text += (text.empty() ? "" : "; ") + problem;
  return text;
}

double BreakerValue(base::CircuitBreaker::State state) {
  switch (state) {
    case base::CircuitBreaker::State::kClosed:
      return 0;
    case base::CircuitBreaker::State::kHalfOpen:
      return 1;
    case base::CircuitBreaker::State::kOpen:
      return 2;
  }
  return 0;
}

double UnixSecondsOf(base::SystemTime t) { return static_cast<double>(base::UnixMillis(t)) / 1000; }

}  // namespace

PullMetrics::PullMetrics(telemetry::Registry& registry)
    : seconds(registry
                  .Histograms("clusterpulse_hub_pull_seconds",
                              "Time to read one managed cluster, failed reads included", telemetry::LatencyBuckets())
                  .With({})),
      pulls(registry.Counters("clusterpulse_hub_pulls_total", "Reads of managed clusters by result", {"result"})),
      last_success(registry.Gauges("clusterpulse_hub_pull_last_success_timestamp_seconds",
                                   "When the cluster was last read and stored", {"cluster"})),
      last_duration(registry.Gauges("clusterpulse_hub_pull_last_duration_seconds",
                                    "How long the cluster's last read took", {"cluster"})),
      breaker_state(registry.Gauges("clusterpulse_hub_pull_breaker_state",
                                    "Circuit breaker of the cluster: 0 closed, 1 half-open, 2 open", {"cluster"})) {}

// Confined to the passes of its key, of which there is one at a time.
struct ClusterReconciler::Cluster {
  std::string uid;
  std::string endpoint;            // what is known below is of; empty: nothing is known yet
  std::string stored_endpoint;     // what the store holds is of, and the status says so; empty: not known
  bool status_is_foreign = false;  // the object's status still tells what was read at another endpoint
  // The writers' positions (delivery.md 2), by role; epoch 0: to be acquired.
  struct Writer {
    std::uint64_t epoch = 0, seq = 0;
  };
  std::map<store::WriterRole, Writer> writers;
  // When what is read rarely was last read and stored.
  std::optional<base::SteadyTime> info_stored, operators_stored;
  // The Secret as last read.
  kube::ObjectKey secret;
  std::optional<SecretContent> secret_content;

  std::optional<Facts> facts;
  std::optional<base::SteadyTime> facts_read, cluster_operators_read;
  std::optional<base::SystemTime> last_sync, last_attempt;
  std::optional<Failure> last_failure;  // of the last call to the cluster; said again while the breaker is open
  bool ever_reached = false;
  std::string sync_now;  // the annotation's value that was acted on

  std::vector<runtime::Condition> conditions;  // as last decided
  std::optional<Reported> reported;            // in the status; a change is an event
  std::optional<Reported> stored;              // in the store, by this process
  bool passed_before = false;
};

struct ClusterReconciler::Pass {
  const ClusterConnection& connection;
  Cluster& cluster;
  std::stop_token stop;
  base::SystemTime now;
  Judgement judgement;

  bool forced = false;     // sync-now
  bool attempted = false;  // the cluster was called
  PullResult pull;         // when attempted
  std::optional<Failure> failure;
  std::optional<std::chrono::nanoseconds> breaker_opens_in;
  Verdict verdict;
  absl::Status store;
  bool superseded = false;  // the object went while the pass ran: nothing may be said or written any more

  const std::string& name() const { return connection.meta.name; }
  bool has_data() const { return attempted && !failure.has_value(); }
  Reported to_report() const { return {verdict.phase, verdict.health}; }
};

ClusterReconciler::ClusterReconciler(Dependencies dependencies, HubObjects objects, Options options,
                                     ClientPool::Options pool, PullMetrics metrics, log::Logger log)
    : deps_(dependencies),
      objects_(std::move(objects)),
      options_(std::move(options)),
      pool_(dependencies.clients, dependencies.clock, pool),
      metrics_(std::move(metrics)),
      log_(std::move(log)) {}

ClusterReconciler::~ClusterReconciler() = default;

std::vector<kube::ObjectKey> ClusterReconciler::UsersOf(const kube::ObjectKey& secret) const {
  std::vector<kube::ObjectKey> users;
  base::MutexLock lock(mu_);
  for (const auto& [connection, used] : secrets_) {
    if (used == secret) users.push_back(connection);
  }
  return users;
}

std::shared_ptr<ClusterReconciler::Cluster> ClusterReconciler::Remember(const ClusterConnection& connection) {
  base::MutexLock lock(mu_);
  secrets_[connection.key()] = connection.secret();
  std::shared_ptr<Cluster>& cluster = clusters_[connection.key()];
  if (cluster != nullptr && cluster->uid == connection.meta.uid) return cluster;
  // New to this process, or another object of the same name: the status tells what an earlier process knew.
  cluster = std::make_shared<Cluster>();
  cluster->uid = connection.meta.uid;
  cluster->endpoint = cluster->stored_endpoint = connection.status["endpoint"].StringOr();
  cluster->last_sync = base::ParseRfc3339(connection.status["lastSyncTime"].StringOr());
  // A time to come (the clock was set back, or somebody wrote it) would look fresh for ever.
  if (cluster->last_sync > deps_.clock.Now()) cluster->last_sync.reset();
  cluster->last_attempt = base::ParseRfc3339(connection.status["lastAttemptTime"].StringOr());
  cluster->ever_reached = WasReached(connection.status);
  cluster->conditions = ConditionsFromJson(connection.status["conditions"]);
  cluster->reported = ReportedIn(connection.status);
  cluster->sync_now = Annotation(connection, kSyncNowAnnotation);
  return cluster;
}

void ClusterReconciler::Forget(const kube::ObjectKey& key) {
  {
    base::MutexLock lock(mu_);
    clusters_.erase(key);
    secrets_.erase(key);
  }
  pool_.Forget(key);
  deps_.status.Forget(kube::kClusterConnections, key);
  metrics_.last_success.Remove({key.name});
  metrics_.last_duration.Remove({key.name});
  metrics_.breaker_state.Remove({key.name});
}

absl::StatusOr<runtime::Result> ClusterReconciler::Reconcile(const kube::ObjectKey& key, std::stop_token stop) {
  pool_.DropIdle();
  const std::optional<ClusterConnection> connection = objects_.connection(key);
  if (!connection.has_value()) return Gone(key, stop);
  if (connection->meta.deleting()) return Deleting(*connection, stop);
  if (const absl::Status kept = KeepFinalizer(*connection, stop); !kept.ok()) {
    return FinalizerRefused(*connection, kept, stop);
  }

  const std::shared_ptr<Cluster> cluster = Remember(*connection);
  Pass pass{*connection, *cluster, stop, deps_.clock.Now(), JudgeSpec(connection->spec, options_.defaults)};
  if (!pass.judgement.endpoint.empty() && cluster->endpoint != pass.judgement.endpoint) {
    if (!cluster->endpoint.empty()) {
      // Another cluster: what is known and stored says nothing about it.
      cluster->ever_reached = false;
      cluster->last_sync.reset();
      cluster->facts.reset();
      cluster->facts_read.reset();
      cluster->status_is_foreign = true;
    }
    cluster->endpoint = pass.judgement.endpoint;
  }
  return IsPaused(*connection) ? Paused(pass) : Live(pass);
}

absl::StatusOr<runtime::Result> ClusterReconciler::Gone(const kube::ObjectKey& key, std::stop_token stop) {
  // The key may come from the store, where another replica put the cluster of an object our cache has not seen yet.
  const auto object = deps_.hub.Get(kube::kClusterConnections, key, HubCall(stop));
  if (object.ok()) return runtime::Result{kHubTrouble};
  if (!kube::IsNotFound(object.status())) return base::Annotate(object.status(), "making sure that the object is gone");
  if (const absl::Status status = deps_.store.Remove(key.name); !status.ok()) {
    log_.Warn("data of a deleted cluster cannot be removed yet",
              {{"cluster", key.name}, {"error", log::ToText(status)}});
    return runtime::Result{kHubTrouble};
  }
  log_.Info("cluster removed", {{"cluster", key.name}});
  Forget(key);
  return runtime::Result{};
}

absl::StatusOr<runtime::Result> ClusterReconciler::Deleting(const ClusterConnection& connection, std::stop_token stop) {
  const std::shared_ptr<Cluster> cluster = Remember(connection);
  if (!runtime::HasFinalizer(connection.meta, kCleanupFinalizer)) return runtime::Result{};  // others hold it
  if (!SkipsCleanup(connection)) {
    if (const absl::Status status = deps_.store.Remove(connection.meta.name); !status.ok()) {
      log_.Warn("data of a deleted cluster cannot be removed yet",
                {{"cluster", connection.meta.name}, {"error", log::ToText(status)}});
      Pass pass{connection, *cluster, stop, deps_.clock.Now(), JudgeSpec(connection.spec, options_.defaults)};
      const std::string message = fmt::format(
          "the cluster's data cannot be removed from the state store ({}): trying again; to delete the object "
          "without it, set the annotation {}=true",
          Cut(base::Message(status), 300), kSkipCleanupAnnotation);
      std::vector<runtime::Condition> conditions = cluster->conditions;
      runtime::SetCondition(conditions,
                            {std::string(kReady), "False", connection.meta.generation, "", "CleanupFailed", message},
                            pass.now);
      json::Value desired;
      desired.Mutable("message") = message;
      desired.Mutable("conditions") = ConditionsToJson(conditions);
      Publish(pass, std::move(desired), std::move(conditions));
      return runtime::Result{kHubTrouble};
    }
  }
  const auto removed =
      runtime::RemoveFinalizer(deps_.hub, kube::kClusterConnections, connection.meta, kCleanupFinalizer, HubCall(stop));
  if (!removed.ok()) return FinalizerRefused(connection, removed.status(), stop);
  return runtime::Result{};
}

absl::StatusOr<runtime::Result> ClusterReconciler::FinalizerRefused(const ClusterConnection& connection,
                                                                    const absl::Status& status, std::stop_token stop) {
  // No answer or a lost race: it passes, and a status could not be written either.
  if (!kube::GetApiError(status).has_value() || kube::IsConflict(status)) return status;
  const std::shared_ptr<Cluster> cluster = Remember(connection);
  Pass pass{connection, *cluster, stop, deps_.clock.Now(), JudgeSpec(connection.spec, options_.defaults)};
  const Failure failure{true, "FinalizerRefused",
                        fmt::format("the hub's API server refuses to change the finalizer {} of this object, so the "
                                    "hub leaves the cluster alone ({}): check the hub's permissions and admission "
                                    "webhooks; trying again",
                                    kCleanupFinalizer, Cut(base::Message(status), 300))};
  auto conditions = HeldConditions(cluster->conditions, failure, connection.meta.generation, pass.now);
  json::Value desired;
  desired.Mutable("phase") = model::ToString(model::Phase::kError);
  desired.Mutable("health") = model::ToString(model::Health::kUnknown);
  desired.Mutable("message") = failure.message;
  desired.Mutable("observedGeneration") = connection.meta.generation;
  desired.Mutable("conditions") = ConditionsToJson(conditions);
  Publish(pass, std::move(desired), std::move(conditions));
  return runtime::Result{kHubTrouble};
}

absl::Status ClusterReconciler::KeepFinalizer(const ClusterConnection& connection, std::stop_token stop) {
  const bool has = runtime::HasFinalizer(connection.meta, kCleanupFinalizer);
  const bool wanted = !SkipsCleanup(connection);
  if (has == wanted) return absl::OkStatus();
  const auto change = wanted ? runtime::AddFinalizer : runtime::RemoveFinalizer;
  const absl::StatusOr<bool> changed =
      change(deps_.hub, kube::kClusterConnections, connection.meta, kCleanupFinalizer, HubCall(stop));
  // Without the finalizer nothing may be written to the store: a deletion we do not see would leave it there.
  if (!changed.ok() && !kube::IsNotFound(changed.status())) {
    return base::Annotate(changed.status(), "changing the finalizer");
  }
  return absl::OkStatus();
}

absl::StatusOr<runtime::Result> ClusterReconciler::Paused(Pass& pass) {
  Cluster& cluster = pass.cluster;
  cluster.sync_now = Annotation(pass.connection, kSyncNowAnnotation);  // not made up for after the pause
  std::optional<std::chrono::nanoseconds> age;
  if (cluster.last_sync.has_value()) age = pass.now - *cluster.last_sync;
  const auto interval = pass.judgement.timing.interval;
  const bool stale = IsStale(age, interval);
  auto conditions = PausedConditions(cluster.conditions, stale, pass.connection.meta.generation, pass.now);

  json::Value desired;
  desired.Mutable("observedGeneration") = pass.connection.meta.generation;
  desired.Mutable("conditions") = ConditionsToJson(conditions);
  bool stored = true;
  if (stale) {
    const model::Phase phase = cluster.reported.has_value() ? cluster.reported->first : model::Phase::kConnecting;
    const std::string message = "paused by the annotation clusterpulse.io/paused: the cluster's state is not known";
    desired.Mutable("phase") = model::ToString(phase);
    desired.Mutable("health") = model::ToString(model::Health::kUnknown);
    desired.Mutable("message") = message;
    pass.verdict.phase = phase;
    pass.verdict.health = model::Health::kUnknown;
    if (cluster.stored != pass.to_report()) {
      pass.store = StoreSpec(pass);
      if (pass.store.ok()) {
        pass.verdict.message = message;
        pass.store = StoreFailure(pass);
      }
      if (pass.superseded) return runtime::Result{kHubTrouble};
      stored = pass.store.ok();
      if (stored) cluster.stored = pass.to_report();
    }
    if (stored) cluster.reported = pass.to_report();
  }
  const bool published = Publish(pass, std::move(desired), std::move(conditions));
  if (!published || !stored) return runtime::Result{kHubTrouble};
  if (stale) return runtime::Result{interval};
  const auto stale_in = kFreshIntervals * interval - *age + std::chrono::seconds(1);
  return runtime::Result{std::chrono::duration_cast<std::chrono::milliseconds>(stale_in)};
}

absl::StatusOr<runtime::Result> ClusterReconciler::Live(Pass& pass) {
  Cluster& cluster = pass.cluster;
  const std::string sync_now(Annotation(pass.connection, kSyncNowAnnotation));
  pass.forced = !sync_now.empty() && sync_now != cluster.sync_now;

  pass.store = StoreSpec(pass);
  if (pass.superseded) return runtime::Result{kHubTrouble};
  cluster.sync_now = sync_now;
  pass.failure = Observe(pass);
  if (pass.stop.stop_requested()) return absl::CancelledError("the hub is stopping");

  Evidence evidence;
  evidence.failure = pass.failure;
  evidence.facts = cluster.facts;
  if (cluster.facts_read.has_value()) evidence.age = deps_.clock.Steady() - *cluster.facts_read;
  evidence.interval = pass.judgement.timing.interval;
  evidence.failed_lists = pass.pull.failed_lists;
  evidence.ever_reached = cluster.ever_reached;
  pass.verdict = JudgeHealth(evidence);

  if (pass.store.ok()) pass.store = pass.has_data() ? StoreData(pass) : StoreFailure(pass);
  if (absl::IsCancelled(pass.store) && pass.stop.stop_requested()) return pass.store;
  if (pass.superseded) return runtime::Result{kHubTrouble};

  Findings findings;
  findings.verdict = pass.verdict;
  findings.store = pass.store;
  findings.push_unavailable = pass.judgement.mode == model::CollectionMode::kPush;
  findings.last_sync = cluster.last_sync;
  findings.last_attempt = cluster.last_attempt;
  findings.interval = pass.judgement.timing.interval;
  findings.generation = pass.connection.meta.generation;
  findings.endpoint = cluster.stored_endpoint;
  findings.forget_old = cluster.status_is_foreign;
  if (pass.has_data()) findings.snapshot = &pass.pull.snapshot;
  auto conditions = NextConditions(cluster.conditions, findings, deps_.clock.Now());
  json::Value desired = BuildStatus(findings, conditions);
  if (pass.store.ok()) cluster.reported = pass.to_report();  // otherwise the event is still owed
  const bool published = Publish(pass, std::move(desired), std::move(conditions));
  if (published) cluster.status_is_foreign = false;

  const std::chrono::milliseconds next = NextRun(pass);
  cluster.passed_before = true;
  if (published && pass.store.ok()) return runtime::Result{next};
  return runtime::Result{std::min<std::chrono::milliseconds>(next, kHubTrouble)};
}

// From the spec to data in pass.pull; a failure says what stood in the way.
std::optional<Failure> ClusterReconciler::Observe(Pass& pass) {
  Cluster& cluster = pass.cluster;
  if (!pass.judgement.problems.empty()) return Failure{true, "InvalidSpec", JoinProblems(pass.judgement.problems)};
  if (auto failure = ReadCredentials(pass); failure.has_value()) return failure;

  const std::string secret = cluster.secret.ToString();
  const auto client = pool_.Get(pass.connection.key(), {pass.judgement.endpoint, cluster.secret_content->credentials});
  if (!client.ok()) {
    return ClassifyClusterFailure(Step::kConnectionTest, client.status(), pass.judgement.endpoint, secret);
  }
  if (client->is_new_target) {
    // Perhaps another cluster: nothing that is read rarely may be kept from the old one.
    cluster.info_stored.reset();
    cluster.operators_stored.reset();
    cluster.cluster_operators_read.reset();
    cluster.last_failure.reset();
  }
  std::optional<Failure> failure;
  if (client->breaker->Allow(deps_.clock.Steady()) || pass.forced) {
    failure = CallCluster(pass, *client);
  } else {
    failure = cluster.last_failure;
  }
  metrics_.breaker_state.With({pass.name()}).Set(BreakerValue(client->breaker->state()));
  if (failure.has_value() && client->breaker->state() == base::CircuitBreaker::State::kOpen) {
    pass.breaker_opens_in = client->breaker->RetryIn(deps_.clock.Steady());
    failure->message +=
        "; after repeated failures the cluster is tried once a minute, at once with a new value of the "
        "annotation clusterpulse.io/sync-now";
  }
  return failure;
}

std::optional<Failure> ClusterReconciler::ReadCredentials(Pass& pass) {
  Cluster& cluster = pass.cluster;
  const kube::ObjectKey key = pass.connection.secret();
  if (cluster.secret != key) {
    cluster.secret = key;
    cluster.secret_content.reset();
  }
  const std::optional<std::string> version = objects_.secret_version(key);
  if (version.has_value() && cluster.secret_content.has_value() &&
      cluster.secret_content->resource_version == *version) {
    return std::nullopt;
  }
  auto content = ReadSecret(deps_.hub, key, HubCall(pass.stop));
  if (content.ok()) {
    cluster.secret_content = *std::move(content);
    return std::nullopt;
  }
  Failure failure = ClassifySecretFailure(content.status(), key.ToString(), options_.hub_namespace);
  // The hub's own API server being away says nothing about the cluster: what was read before still serves.
  if (!failure.needs_person && cluster.secret_content.has_value()) return std::nullopt;
  cluster.secret_content.reset();
  return failure;
}

std::optional<Failure> ClusterReconciler::CallCluster(Pass& pass, const ClientPool::Client& client) {
  Cluster& cluster = pass.cluster;
  const base::SteadyTime started = deps_.clock.Steady();
  const auto due = [&](const std::optional<base::SteadyTime>& stored) {
    return pass.forced || !stored.has_value() || started - *stored >= options_.operator_interval;
  };
  PullRequest request;
  request.endpoint = pass.judgement.endpoint;
  request.test_timeout = pass.judgement.timing.timeout;
  request.call_timeout = options_.call_timeout;
  request.limit = std::min(PassLimit(pass.judgement.timing.interval), options_.longest_pass);
  request.parallel_reads = options_.parallel_reads;
  request.read_info = due(cluster.info_stored);
  request.read_operators = due(cluster.operators_stored);
  pass.pull = Pull(*client.api, request, pass.stop);
  if (pass.stop.stop_requested()) {
    client.breaker->OnAbandoned();
    return std::nullopt;  // the pass ends without a verdict
  }
  pass.attempted = true;
  cluster.last_attempt = pass.now;
  const base::SteadyTime ended = deps_.clock.Steady();
  const double seconds = std::chrono::duration<double>(ended - started).count();
  metrics_.seconds.Observe(seconds);
  metrics_.last_duration.With({pass.name()}).Set(seconds);

  if (!pass.pull.status.ok()) {
    client.breaker->OnFailure(ended);
    cluster.last_failure =
        ClassifyClusterFailure(pass.pull.failed_at, pass.pull.status, request.endpoint, cluster.secret.ToString());
    metrics_.pulls.With({cluster.last_failure->reason}).Add();
    return cluster.last_failure;
  }
  client.breaker->OnSuccess();
  cluster.last_failure.reset();
  cluster.ever_reached = true;
  metrics_.pulls.With({pass.pull.failed_lists.empty() ? "Complete" : "Partial"}).Add();

  const model::ClusterSnapshot& snapshot = pass.pull.snapshot;
  static const std::vector<model::ClusterOperator> kNone;
  Facts facts = Summarize(*snapshot.nodes, snapshot.cluster_operators.value_or(kNone));
  if (snapshot.cluster_operators.has_value()) {
    cluster.cluster_operators_read = ended;
  } else if (cluster.facts.has_value() && cluster.cluster_operators_read.has_value() &&
             !IsStale(ended - *cluster.cluster_operators_read, pass.judgement.timing.interval)) {
    // One failed list does not make an operator well again.
    facts.cluster_operators = cluster.facts->cluster_operators;
  }
  cluster.facts = std::move(facts);
  cluster.facts_read = ended;
  return std::nullopt;
}

std::vector<store::ClusterEvent> ClusterReconciler::EventsOf(const Pass& pass) const {
  if (pass.cluster.reported == pass.to_report()) return {};
  std::string data;
  json::Writer(data)
      .BeginObject()
      .Member("display_name", pass.connection.spec.display_name)
      .Member("health", model::ToString(pass.verdict.health))
      .EndObject();
  return {{"cluster.reconciled", std::move(data)}};
}

absl::StatusOr<bool> ClusterReconciler::StillOurs(const Pass& pass) const {
  const auto object = deps_.hub.Get(kube::kClusterConnections, pass.connection.key(), HubCall(pass.stop));
  if (kube::IsNotFound(object.status())) return false;
  if (!object.ok()) return base::Annotate(object.status(), "another writer was at the data, reading the object again");
  kube::ObjectMeta meta;
  ClusterConnection now;
  RETURN_IF_ERROR(
      json::Parser().Parse(*object, [&](json::Cursor root) { return ReadClusterConnection(root, meta, now); }));
  const kube::ObjectMeta& known = pass.connection.meta;
  return meta.uid == known.uid && meta.generation == known.generation && !meta.deleting();
}

absl::Status ClusterReconciler::WriteAs(Pass& pass, store::WriterRole role, FencedWrite write) {
  Cluster::Writer& writer = pass.cluster.writers[role];
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (writer.epoch == 0) {
      ASSIGN_OR_RETURN(writer.epoch, deps_.store.AcquireEpoch(pass.name(), role));
    }
    ASSIGN_OR_RETURN(const store::ApplyResult applied,
                     write({pass.name(), writer.epoch, options_.instance, ++writer.seq, role}));
    if (applied != store::ApplyResult::kFenced) return absl::OkStatus();
    // Another writer came in between, the cluster was removed, or the store lost what it knew. A hub that is no longer
    // the leader is being stopped; the leader takes over again, and reads all anew. The epoch stays until the API
    // server, not our cache, said that the object is there as this pass knows it.
    if (pass.stop.stop_requested()) return absl::CancelledError("the hub is stopping");
    ASSIGN_OR_RETURN(const bool ours, StillOurs(pass));
    if (!ours) {
      pass.superseded = true;
      return absl::AbortedError("the object has changed, is gone or being deleted");
    }
    log_.Warn("another writer was at the cluster's data, taking over", {{"cluster", pass.name()}});
    writer.epoch = 0;
    pass.cluster.info_stored.reset();
    pass.cluster.operators_stored.reset();
  }
  return absl::AbortedError("another hub keeps writing this cluster's data: check that only one hub uses the store");
}

absl::Status ClusterReconciler::StoreSpec(Pass& pass) {
  Cluster& cluster = pass.cluster;
  if (!cluster.stored_endpoint.empty() && cluster.stored_endpoint != cluster.endpoint) {
    RETURN_IF_ERROR(WriteAs(pass, store::WriterRole::kData,
                            [&](const store::WriterPosition& position) { return deps_.store.DropData(position); }));
  }
  const ClusterConnectionSpec& spec = pass.connection.spec;
  store::ClusterSpec out;
  out.display_name = spec.display_name;
  out.endpoint = spec.endpoint;
  out.credentials_name = spec.credentials_name;
  out.credentials_namespace = spec.credentials_namespace;
  out.labels = spec.labels;
  out.interval_seconds = spec.interval_seconds;
  out.timeout_seconds = spec.timeout_seconds;
  RETURN_IF_ERROR(WriteAs(pass, store::WriterRole::kSpec,
                          [&](const store::WriterPosition& position) { return deps_.store.PutSpec(position, out); }));
  cluster.stored_endpoint = cluster.endpoint;
  return absl::OkStatus();
}

absl::Status ClusterReconciler::StoreSnapshot(Pass& pass, const model::ClusterSnapshot& snapshot) {
  const std::chrono::seconds interval = pass.judgement.timing.interval;
  const store::Cadence cadence{interval, std::max(interval, options_.operator_interval)};
  const store::ClusterStatus status{pass.verdict.health, pass.verdict.message};
  RETURN_IF_ERROR(WriteAs(pass, store::WriterRole::kData, [&](const store::WriterPosition& position) {
    return deps_.store.Apply(position, snapshot, status, cadence, EventsOf(pass));
  }));
  pass.cluster.stored = pass.to_report();
  return absl::OkStatus();
}

absl::Status ClusterReconciler::StoreData(Pass& pass) {
  Cluster& cluster = pass.cluster;
  const model::ClusterSnapshot& snapshot = pass.pull.snapshot;
  RETURN_IF_ERROR(StoreSnapshot(pass, snapshot));
  if (snapshot.info.has_value()) cluster.info_stored = deps_.clock.Steady();
  if (snapshot.operators.has_value()) cluster.operators_stored = deps_.clock.Steady();
  cluster.last_sync = pass.now;
  metrics_.last_success.With({pass.name()}).Set(UnixSecondsOf(pass.now));
  return absl::OkStatus();
}

absl::Status ClusterReconciler::StoreFailure(Pass& pass) {
  Cluster& cluster = pass.cluster;
  // Without a new attempt there is nothing new to say.
  if (!pass.attempted && cluster.stored == pass.to_report() && pass.breaker_opens_in.has_value()) {
    return absl::OkStatus();
  }
  return StoreSnapshot(pass, model::ClusterSnapshot());  // an empty one: data stays as it is
}

bool ClusterReconciler::Publish(Pass& pass, json::Value desired, std::vector<runtime::Condition> conditions) {
  const kube::ObjectMeta& meta = pass.connection.meta;
  const runtime::ObjectRef about{kube::kClusterConnections.ApiVersion(), kube::kClusterConnections.kind, meta.key(),
                                 meta.uid};
  for (const Announcement& event : Announcements(pass.cluster.conditions, conditions)) {
    deps_.events.Record(about, event.type, event.reason, event.message);
    log_.Write(event.type == runtime::EventType::kNormal ? log::Level::kInfo : log::Level::kWarn,
               "cluster state changed",
               {{"cluster", pass.name()}, {"reason", event.reason}, {"message", event.message}});
  }
  pass.cluster.conditions = std::move(conditions);

  runtime::StatusUpdate update;
  update.resource = kube::kClusterConnections;
  update.key = meta.key();
  update.current = pass.connection.status;
  update.desired = std::move(desired);
  update.routine = RoutineMembers();
  update.routine_interval = pass.judgement.timing.interval;
  const absl::Status status = deps_.status.Write(update, pass.stop);
  if (!status.ok() && !absl::IsCancelled(status)) {
    log_.Warn("status of a cluster cannot be written", {{"cluster", pass.name()}, {"error", log::ToText(status)}});
  }
  return status.ok();
}

std::chrono::milliseconds ClusterReconciler::NextRun(const Pass& pass) {
  const double random = deps_.random.Uniform();
  std::chrono::duration<double> wait = pass.judgement.timing.interval;
  if (pass.breaker_opens_in.has_value()) {
    wait = *pass.breaker_opens_in + std::chrono::milliseconds(1);
  } else if (pass.failure.has_value()) {
    // The hub's own API server was in the way when nobody is needed and yet the cluster was not called.
    const bool hub_trouble = !pass.attempted && !pass.failure->needs_person;
    wait = std::min<std::chrono::duration<double>>(wait, hub_trouble ? kHubTrouble : kLongestRetry);
  } else if (!pass.cluster.passed_before) {
    // All clusters had their first pass at once, when the hub started: spread the second ones.
    return std::chrono::duration_cast<std::chrono::milliseconds>(wait * (0.5 + random / 2));
  }
  return std::chrono::duration_cast<std::chrono::milliseconds>(wait * (1 + kJitter * random));
}

}  // namespace clusterpulse::reconcile
