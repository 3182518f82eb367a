#include "hub/reconcile/cluster/cluster_reconciler.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "common/base/status.h"
#include "common/base/time_format.h"
#include "common/json/writer.h"
#include "hub/reconcile/cluster/cluster_pass.h"
#include "hub/runtime/finalizers.h"

namespace clusterpulse::reconcile {
namespace {

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

// What is stored came from a collector, as last said.
bool HasCollectorsData(const std::vector<runtime::Condition>& conditions) {
  const runtime::Condition* collector = runtime::FindCondition(conditions, kCollectorConnected);
  return collector != nullptr && collector->reason != kWaitingForCollector &&
         !runtime::IsConditionTrue(conditions, kPullFallback);
}

}  // namespace

ClusterReconciler::ClusterReconciler(Dependencies dependencies, HubObjects objects, Options options,
                                     ClientPool::Options pool, PullMetrics metrics, log::Logger log)
    : deps_(std::move(dependencies)),
      objects_(std::move(objects)),
      options_(std::move(options)),
      pool_(deps_.clients, deps_.clock, pool),
      metrics_(metrics),
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
  cluster->samples.waits = ingest::SampleWaits(deps_.history);
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
  if (deps_.reached != nullptr) deps_.reached->Forget(key.name);
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
  // The clock was set back: what is to come would look fresh until it came.
  if (cluster->last_sync > pass.now) cluster->last_sync = pass.now;
  pass.is_push = options_.push_enabled && pass.judgement.mode == model::CollectionMode::kPush;
  if (!pass.judgement.endpoint.empty() && cluster->endpoint != pass.judgement.endpoint) {
    if (pass.is_push && HasCollectorsData(cluster->conditions)) {
      // A collector sends of the cluster it runs in, wherever the hub would find that cluster's API server.
      cluster->stored_endpoint = pass.judgement.endpoint;
      cluster->facts.reset();
      cluster->facts_read.reset();
    } else if (!cluster->endpoint.empty()) {
      // Another cluster: what is known and stored says nothing about it.
      cluster->ever_reached = false;
      cluster->last_sync.reset();
      cluster->facts.reset();
      cluster->facts_read.reset();
      cluster->status_is_foreign = true;
    }
    cluster->endpoint = pass.judgement.endpoint;
  }
  absl::StatusOr<runtime::Result> result = IsPaused(*connection) ? Paused(pass)
                                           : pass.is_push        ? LivePush(pass)
                                                                 : LivePull(pass);
  TellReached(pass);
  return result;
}

void ClusterReconciler::TellReached(const Pass& pass) const {
  if (deps_.reached == nullptr) return;
  if (pass.has_data() && pass.store.ok() && !pass.superseded && !pass.stream_came) {
    deps_.reached->Reached(pass.name(), pass.client, pass.cluster.writers[store::WriterRole::kData].epoch);
  } else {
    deps_.reached->Lost(pass.name());
  }
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
  SetCollectorConditions(conditions, nullptr, 0, pass.now);  // no stream is taken

  json::Value desired;
  if (json::Value collector = pass.connection.status["collectorStatus"]; collector.IsObject()) {
    collector.Mutable("connected") = false;
    desired.Mutable("collectorStatus") = std::move(collector);
  }
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

void ClusterReconciler::BeginLive(Pass& pass) {
  const std::string sync_now(Annotation(pass.connection, kSyncNowAnnotation));
  pass.forced = !sync_now.empty() && sync_now != pass.cluster.sync_now;
  pass.store = StoreSpec(pass);
  if (!pass.superseded) pass.cluster.sync_now = sync_now;
}

Findings ClusterReconciler::FindingsOf(const Pass& pass) const {
  const Cluster& cluster = pass.cluster;
  Findings findings;
  findings.verdict = pass.verdict;
  findings.store = pass.store;
  findings.last_sync = cluster.last_sync;
  findings.last_attempt = cluster.last_attempt;
  findings.interval = pass.judgement.timing.interval;
  findings.generation = pass.connection.meta.generation;
  findings.endpoint = cluster.stored_endpoint;
  findings.forget_old = cluster.status_is_foreign;
  if (pass.has_data()) findings.snapshot = &pass.pull.snapshot;
  return findings;
}

bool ClusterReconciler::Report(Pass& pass, const Findings& findings) {
  Cluster& cluster = pass.cluster;
  auto conditions = NextConditions(cluster.conditions, findings, deps_.clock.Now());
  json::Value desired = BuildStatus(findings, conditions);
  if (pass.store.ok()) cluster.reported = pass.to_report();  // otherwise the event is still owed
  if (!Publish(pass, std::move(desired), std::move(conditions))) return false;
  cluster.status_is_foreign = false;
  return true;
}

absl::Status ClusterReconciler::WriteAs(Pass& pass, store::WriterRole role, FencedWrite write) {
  Cluster::Writer& writer = pass.cluster.writers[role];
  // Beside a stream the position stays that of its collector, and a stream that comes back has its cluster.
  const bool beside_stream = pass.is_push && role == store::WriterRole::kData;
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (writer.epoch == 0) {
      ASSIGN_OR_RETURN(writer.epoch, deps_.store.AcquireEpoch(pass.name(), role));
    }
    const std::uint64_t seq = beside_stream ? 0 : ++writer.seq;
    ASSIGN_OR_RETURN(const store::ApplyResult applied,
                     write({pass.name(), writer.epoch, options_.instance, seq, role}));
    if (applied != store::ApplyResult::kFenced) return absl::OkStatus();
    if (beside_stream) {
      writer.epoch = 0;
      pass.stream_came = true;
      return absl::AbortedError("a collector has taken the cluster over");
    }
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
    pass.cluster.samples.looked = false;
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
    cluster.samples.ledger = {};
    cluster.samples.outage.reset();
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
  GapWrite gaps;
  RETURN_IF_ERROR(WriteAs(pass, store::WriterRole::kData,
                          [&](const store::WriterPosition& position) -> absl::StatusOr<store::ApplyResult> {
                            ASSIGN_OR_RETURN(gaps, GapWrites(pass));
                            return deps_.store.Apply(position, snapshot, status, cadence, EventsOf(pass), gaps.writes);
                          }));
  Cluster::Samples& samples = pass.cluster.samples;
  samples.gaps.clear();
  samples.link_ended = false;
  if (gaps.changed) samples.ledger = std::move(gaps.ledger);
  for (const model::GapCause cause : gaps.told) metrics_.gaps.Add(cause);
  pass.cluster.stored = pass.to_report();
  return absl::OkStatus();
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
  // What was announced is not announced again by another leader.
  if (!pass.gap_news.empty()) {
    std::erase_if(update.routine, [](std::string_view m) { return m == "collectorStatus" || m == "gaps"; });
  }
  update.routine_interval = pass.judgement.timing.interval;
  const absl::Status status = deps_.status.Write(update, pass.stop);
  if (!status.ok() && !absl::IsCancelled(status)) {
    log_.Warn("status of a cluster cannot be written", {{"cluster", pass.name()}, {"error", log::ToText(status)}});
  }
  return status.ok();
}

}  // namespace clusterpulse::reconcile
