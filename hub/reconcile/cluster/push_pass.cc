#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "common/base/status.h"
#include "common/base/time_format.h"
#include "hub/reconcile/cluster/cluster_pass.h"

// ClusterReconciler: passes over clusters whose collector pushes.
namespace clusterpulse::reconcile {
namespace {

using State = CollectorVerdict::State;

constexpr std::chrono::milliseconds kStreamCame{1000};
constexpr std::chrono::milliseconds kSoonest{1000};

bool WasConnected(const std::vector<runtime::Condition>& conditions) {
  const runtime::Condition* connected = runtime::FindCondition(conditions, kCollectorConnected);
  return connected != nullptr && connected->status == "True";
}

// What a replica wrote of the stream; a change is a sign of life.
auto Signs(const store::CollectorState::Seen& seen) {
  static const store::Presence kNone;
  const store::Presence& presence = seen.presence.has_value() ? *seen.presence : kNone;
  return std::tuple(presence.epoch, presence.ended_at, seen.beat_at,
                    seen.record.has_value() ? seen.record->received_at : base::SystemTime());
}

base::SystemTime DataTime(const std::optional<store::PushRecord>& record) {
  return record.has_value() ? record->data_at : base::SystemTime{};
}

bool HasData(const std::optional<store::PushRecord>& record) { return DataTime(record) != base::SystemTime{}; }

}  // namespace

absl::StatusOr<runtime::Result> ClusterReconciler::LivePush(Pass& pass) {
  Cluster& cluster = pass.cluster;
  if (!cluster.push.falling_back) {
    cluster.writers.erase(store::WriterRole::kData);  // the stream's
    cluster.samples.looked = false;
  }
  cluster.samples.outage.reset();
  BeginLive(pass);
  if (pass.superseded) return runtime::Result{kHubTrouble};
  if (pass.store.ok()) pass.store = LookAtCollector(pass);
  CollectorFindings found = FindCollector(pass);
  if (!cluster.push.looked) {
    // Nothing is known yet of this cluster, and nothing can be: only that is said.
    auto conditions = StoreConditions(cluster.conditions, pass.store, pass.connection.meta.generation, pass.now);
    json::Value desired;
    desired.Mutable("conditions") = ConditionsToJson(conditions);
    Publish(pass, std::move(desired), std::move(conditions));
    return runtime::Result{kHubTrouble};
  }
  if (!pass.judgement.problems.empty()) {
    pass.failure = Failure{true, "InvalidSpec", fmt::format("{}", fmt::join(pass.judgement.problems, "; "))};
  } else if (const auto due = FallbackDue(pass); due.has_value() && pass.now >= *due && pass.store.ok()) {
    FallBack(pass, found);
  } else if (found.verdict.state == State::kConnected) {
    cluster.push.falling_back = false;
  }
  if (pass.stop.stop_requested()) return absl::CancelledError("the hub is stopping");

  if (pass.has_data()) {
    pass.verdict = JudgeHealth(PullEvidence(pass));
    // Reached, but not as it should be.
    pass.verdict.phase = model::Phase::kDegraded;
    pass.verdict.phase_reason = kPullFallback;
    pass.verdict.phase_message = found.fallback->message;
  } else {
    pass.verdict = JudgeHealth(PushEvidence(pass, found));
  }
  FindGaps(pass);
  if (pass.store.ok()) {
    if (pass.has_data()) {
      pass.store = StoreData(pass);
    } else if (!StreamSpeaks(pass)) {
      pass.store = StoreVerdict(pass);
    }
  }
  if (absl::IsCancelled(pass.store) && pass.stop.stop_requested()) return pass.store;
  if (pass.superseded) return runtime::Result{kHubTrouble};
  if (pass.has_data()) WriteSamples(pass);
  if (pass.stream_came) {
    cluster.push.falling_back = false;
    return runtime::Result{kStreamCame};
  }

  Findings findings = FindingsOf(pass);
  findings.collector = &found;
  // Not when the hub itself has read the cluster since.
  const base::SystemTime data_at = cluster.push.data_at;
  if (!pass.has_data() && cluster.push.seen.record.has_value() && data_at >= cluster.last_sync.value_or(data_at)) {
    findings.record = &*cluster.push.seen.record;
    findings.interval = findings.record->interval;
  }
  found.gaps = cluster.push.gaps.Summary();
  findings.gaps.emplace();  // the collector's status has them
  found.newest_durable = cluster.push.position.durable.newest;
  if (pass.store.ok()) {
    pass.gap_news = cluster.gap_watch.Look(SaidGaps(pass), cluster.push.gaps, GapWatch::Reader::kCollector);
  }
  const bool published = Report(pass, findings);
  AnnounceGaps(pass);
  cluster.passed_before = true;
  const std::chrono::milliseconds next = NextPushRun(pass);
  if (published && pass.store.ok() && found.token.ok()) return runtime::Result{next};
  return runtime::Result{std::min<std::chrono::milliseconds>(next, kHubTrouble)};
}

absl::Status ClusterReconciler::LookAtCollector(Pass& pass) {
  Cluster::Push& push = pass.cluster.push;
  // The writer first: what is then said counts only while nobody wrote since (StoreVerdict).
  ASSIGN_OR_RETURN(store::StoredPosition position, deps_.collectors.ReadPosition(pass.name()));
  ASSIGN_OR_RETURN(store::CollectorState::Seen seen, deps_.collectors.Read(pass.name()));
  const base::SteadyTime steady = deps_.clock.Steady();
  const bool moved = Signs(seen) != Signs(push.seen);
  if (!push.looked || moved) push.changed_at = steady;
  push.seen_to_change |= push.looked && moved;
  if (!push.looked || DataTime(seen.record) != DataTime(push.seen.record)) {
    push.data_at = DataTime(seen.record);
    push.data_seen_at = steady;
  }
  push.data_at = std::min(push.data_at, pass.now);  // data is never from the future
  push.was_known |=
      seen.presence.has_value() || !pass.connection.status["collectorStatus"]["lastHeartbeat"].StringOr().empty();
  if (seen.gaps != push.gaps_read) {
    push.gaps = store::GapLedger::Read(seen.gaps);
    push.gaps_read = seen.gaps;
  }
  push.position = std::move(position);
  push.seen = std::move(seen);
  push.looked = true;
  const CollectorVerdict before = std::exchange(
      push.verdict, JudgeCollector({push.seen.presence, pass.now, steady - push.changed_at, deps_.store_up_for(),
                                    WasConnected(pass.cluster.conditions), push.was_known, push.seen_to_change}));
  // A loss that was said keeps its time: two clocks never run quite alike, and the message holds it.
  if (!moved && before.state == State::kLost && before.lost_at <= pass.now) push.verdict.lost_at = before.lost_at;
  if (HasData(push.seen.record)) {
    pass.cluster.ever_reached = true;
    pass.cluster.last_sync = std::max(pass.cluster.last_sync.value_or(push.data_at), push.data_at);
  }
  return absl::OkStatus();
}

CollectorFindings ClusterReconciler::FindCollector(Pass& pass) {
  Cluster::Push& push = pass.cluster.push;
  CollectorFindings found;
  found.verdict = push.verdict;
  found.presence = push.seen.presence;
  const kube::ObjectKey key = TokenSecretKey(pass.connection.key());
  const std::optional<TokenSecret> secret = objects_.token_secret(key);
  push.own_token_used |= secret.has_value() && secret->used && secret->IsFor(pass.connection.meta.uid);
  found.token = EnsureTokenSecret(deps_.hub, pass.connection, secret, push.own_token_used, HubCall(pass.stop));
  if (found.token.ok()) found.token_secret = key.name;
  const std::string& told = pass.connection.spec.ingester_address;
  const std::string& address = told.empty() ? options_.ingester_address : told;
  found.how_to_connect = fmt::format(
      "run one in the cluster with CLUSTER_NAME={}, INGESTER_ADDRESS={} and COLLECTOR_TOKEN from the key token of "
      "Secret {}",
      pass.name(), address.empty() ? "host:port of the hub's ingester" : address, key.ToString());
  return found;
}

// When the hub starts to read the cluster in the collector's place; nullopt: not at all.
std::optional<base::SystemTime> ClusterReconciler::FallbackDue(const Pass& pass) const {
  const Cluster& cluster = pass.cluster;
  const std::optional<store::PushRecord>& record = cluster.push.seen.record;
  const std::chrono::seconds interval = record.has_value() ? record->interval : pass.judgement.timing.interval;
  switch (cluster.push.verdict.state) {
    case State::kConnected:
      return std::nullopt;
    case State::kLost:
      return cluster.push.verdict.lost_at + kFreshIntervals * interval;
    case State::kNever:
      // Was in pull mode before: its readers shall not wait for a collector.
      if (!cluster.last_sync.has_value()) return std::nullopt;
      return *cluster.last_sync + kFreshIntervals * interval;
  }
  return std::nullopt;
}

void ClusterReconciler::FallBack(Pass& pass, CollectorFindings& found) {
  const std::optional<Failure> failure = Observe(pass);
  if (pass.stop.stop_requested()) return;
  // Observe's failure is about the hub reading the cluster; the pass is about its collector.
  if (failure.has_value() || !pass.attempted) {
    pass.failure = FailureOf(found);
    if (!failure.has_value()) return;
    found.fallback = Fallback{false, failure->reason,
                              "the hub cannot read the cluster in the collector's place: " + failure->message};
    if (pass.failure.has_value()) pass.failure->message += "; " + found.fallback->message;
    return;
  }
  pass.cluster.push.falling_back = true;
  const Failure lost = *FailureOf(found);
  found.fallback = Fallback{true, lost.reason, lost.message + "; until it is back the hub reads the cluster itself"};
}

Evidence ClusterReconciler::PushEvidence(const Pass& pass, const CollectorFindings& found) const {
  const Cluster& cluster = pass.cluster;
  const std::optional<store::PushRecord>& record = cluster.push.seen.record;
  Evidence evidence = PullEvidence(pass);  // as last read by the hub itself, if at all
  evidence.failed_lists.clear();
  if (HasData(record)) {
    const std::chrono::nanoseconds age = cluster.push.DataAge(pass.now, deps_.clock.Steady());
    if (!evidence.age.has_value() || age <= *evidence.age) {
      evidence.interval = record->interval;
      evidence.facts = record->facts;
      evidence.age = age;
    }
  }
  if (!evidence.failure.has_value()) evidence.failure = FailureOf(found);
  const bool is_connected = found.verdict.state == State::kConnected;
  evidence.ever_reached = cluster.ever_reached || is_connected;
  if (is_connected && found.presence.has_value() && !found.presence->degraded.empty()) {
    evidence.failed_lists.push_back(found.presence->degraded);
  }
  return evidence;
}

// Whether the newest batch said what readers shall see.
bool ClusterReconciler::StreamSpeaks(const Pass& pass) const {
  const Cluster::Push& push = pass.cluster.push;
  return !pass.failure.has_value() && push.verdict.state == State::kConnected && HasData(push.seen.record) &&
         !IsStale(push.DataAge(pass.now, deps_.clock.Steady()), push.seen.record->interval);
}

// As decided from what was read: whoever wrote since knows better, be it a batch or a stream that registered.
absl::Status ClusterReconciler::StoreVerdict(Pass& pass) {
  Cluster& cluster = pass.cluster;
  const store::StoredPosition& read = cluster.push.position;
  const auto own = cluster.writers.find(store::WriterRole::kData);
  const bool is_own = own != cluster.writers.end() && own->second.epoch != 0;
  const store::WriterPosition position{.cluster = pass.name(),
                                       .epoch = is_own ? own->second.epoch : read.epoch,
                                       .instance = read.instance,
                                       .seq = read.state_seq,
                                       .as_read = true,
                                       .gaps_revision = read.gaps_revision};
  const std::chrono::seconds interval = pass.judgement.timing.interval;
  std::vector<store::Write> beside;
  store::GapLedger gaps = cluster.push.gaps;
  const bool opens_link = LosesLink(pass) && OpenLink(pass, gaps);
  if (opens_link) deps_.store.PutGaps(pass.name(), gaps, beside);
  ASSIGN_OR_RETURN(
      const store::ApplyResult result,
      deps_.store.Apply(position, {}, {pass.verdict.health, pass.verdict.message},
                        {interval, std::max(interval, options_.operator_interval)}, EventsOf(pass), std::move(beside)));
  pass.stream_came = result == store::ApplyResult::kFenced;
  if (opens_link && !pass.stream_came) {
    cluster.push.gaps = std::move(gaps);
    cluster.push.gaps_read.clear();  // not as read any more
    metrics_.gaps.Add(model::GapCause::kLinkDown);
  }
  return absl::OkStatus();
}

bool ClusterReconciler::LosesLink(const Pass& pass) const {
  const Cluster::Push& push = pass.cluster.push;
  return pass.is_push && push.verdict.state == State::kLost && push.gaps.open_link() == nullptr;
}

bool ClusterReconciler::OpenLink(const Pass& pass, store::GapLedger& ledger) const {
  const Cluster::Push& push = pass.cluster.push;
  const base::SystemTime from = HasData(push.seen.record) ? push.data_at : push.verdict.lost_at;
  // One of upstream makes nothing while it has no stream.
  return ledger.OpenLink(from, push.seen.presence.has_value() && !push.seen.presence->upstream);
}

const json::Value& ClusterReconciler::SaidGaps(const Pass& pass) {
  const json::Value& status = pass.connection.status;
  const json::Value& of_collector = status["collectorStatus"]["gaps"];
  return of_collector.IsObject() ? of_collector : status["gaps"];
}

void ClusterReconciler::AnnounceGaps(const Pass& pass) {
  const kube::ObjectMeta& meta = pass.connection.meta;
  const runtime::ObjectRef about{kube::kClusterConnections.ApiVersion(), kube::kClusterConnections.kind, meta.key(),
                                 meta.uid};
  for (const Announcement& event : pass.gap_news) {
    deps_.events.Record(about, event.type, event.reason, event.message);
    log_.Info("the history of a cluster has changed",
              {{"cluster", pass.name()}, {"reason", event.reason}, {"message", event.message}});
  }
}

std::chrono::milliseconds ClusterReconciler::NextPushRun(const Pass& pass) const {
  const Cluster::Push& push = pass.cluster.push;
  std::chrono::nanoseconds wait = pass.judgement.timing.interval;
  const auto no_later = [&wait](std::chrono::nanoseconds at) { wait = std::min(wait, at); };
  if (push.verdict.changes_in.has_value()) no_later(*push.verdict.changes_in);
  if (const auto due = FallbackDue(pass); due.has_value() && *due > pass.now) no_later(*due - pass.now);
  if (StreamSpeaks(pass)) {
    no_later(kFreshIntervals * push.seen.record->interval - push.DataAge(pass.now, deps_.clock.Steady()));
  }
  if (pass.breaker_opens_in.has_value()) no_later(*pass.breaker_opens_in);
  const double jitter = 1 + kJitter * deps_.random.Uniform();
  const auto next = std::chrono::duration_cast<std::chrono::milliseconds>(wait * jitter) + std::chrono::milliseconds(1);
  return std::max(next, kSoonest);
}

}  // namespace clusterpulse::reconcile
