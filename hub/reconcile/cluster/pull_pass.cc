#include <algorithm>
#include <utility>

#include "common/base/status.h"
#include "common/base/time_format.h"
#include "hub/reconcile/cluster/cluster_pass.h"

// ClusterReconciler: passes that read the cluster.
namespace clusterpulse::reconcile {
namespace {

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
                                    "Circuit breaker of the cluster: 0 closed, 1 half-open, 2 open", {"cluster"})),
      gaps(GapCounter::Make(&registry)) {}

absl::StatusOr<runtime::Result> ClusterReconciler::LivePull(Pass& pass) {
  Cluster& cluster = pass.cluster;
  cluster.push = {};
  BeginLive(pass);
  if (pass.store.ok() && pass.connection.status["collectorStatus"].IsObject()) {
    // Was in push mode, and may be again: what its collector left must not speak then.
    pass.store = WriteAs(pass, store::WriterRole::kData,
                         [&](const store::WriterPosition& position) { return deps_.collectors.Drop(position); });
    cluster.samples.link_ended = true;
  }
  if (pass.superseded) return runtime::Result{kHubTrouble};
  pass.failure = Observe(pass);
  if (pass.stop.stop_requested()) return absl::CancelledError("the hub is stopping");

  pass.verdict = JudgeHealth(PullEvidence(pass));
  FindGaps(pass);

  if (pass.store.ok()) pass.store = pass.has_data() ? StoreData(pass) : StoreFailure(pass);
  if (absl::IsCancelled(pass.store) && pass.stop.stop_requested()) return pass.store;
  if (pass.superseded) return runtime::Result{kHubTrouble};
  if (pass.has_data()) WriteSamples(pass);  // also what the state store does not take

  Findings findings = FindingsOf(pass);
  findings.push_unavailable = pass.judgement.mode == model::CollectionMode::kPush;
  if (deps_.history == nullptr) {
    findings.gaps.emplace();
  } else if (pass.store.ok() && cluster.samples.looked) {
    findings.gaps = cluster.samples.ledger.Summary();
    pass.gap_news = cluster.gap_watch.Look(SaidGaps(pass), cluster.samples.ledger, GapWatch::Reader::kHub);
  }
  const bool published = Report(pass, findings);
  AnnounceGaps(pass);

  const std::chrono::milliseconds next = NextRun(pass);
  cluster.passed_before = true;
  if (published && pass.store.ok()) return runtime::Result{next};
  return runtime::Result{std::min<std::chrono::milliseconds>(next, kHubTrouble)};
}

Evidence ClusterReconciler::PullEvidence(const Pass& pass) const {
  const Cluster& cluster = pass.cluster;
  Evidence evidence;
  evidence.failure = pass.failure;
  evidence.facts = cluster.facts;
  if (cluster.facts_read.has_value()) evidence.age = deps_.clock.Steady() - *cluster.facts_read;
  evidence.interval = pass.judgement.timing.interval;
  evidence.failed_lists = pass.pull.failed_lists;
  evidence.ever_reached = cluster.ever_reached;
  return evidence;
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
  pass.client = client.api;
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

void ClusterReconciler::WriteSamples(Pass& pass) {
  if (deps_.history == nullptr) return;
  Cluster::Samples& samples = pass.cluster.samples;
  // The snapshot of a large cluster is not copied.
  model::Batch batch;
  batch.cluster = pass.name();
  batch.seq = ++samples.count;  // a list that was not read, or failed, is not an empty one
  batch.collected_at = pass.now;
  batch.snapshot = std::move(pass.pull.snapshot);
  samples.waits.Add(batch.seq, std::min(samples.last.value_or(pass.now), pass.now), pass.now,
                    deps_.history->Write(batch), deps_.clock.Steady());
  pass.pull.snapshot = std::move(batch.snapshot);
  samples.last = pass.now;
}

void ClusterReconciler::FindGaps(Pass& pass) {
  if (deps_.history == nullptr) return;
  Cluster::Samples& samples = pass.cluster.samples;
  const auto note = [&samples](const model::Gap& gap) {
    if (!samples.gaps.empty() && samples.gaps.back().cause == gap.cause && gap.from <= samples.gaps.back().to) {
      samples.gaps.back().to = std::max(samples.gaps.back().to, gap.to);
    } else if (samples.gaps.size() < store::GapLedger::kMostEntries) {
      samples.gaps.push_back(gap);
    }
  };
  if (deps_.reached != nullptr) {
    for (ReachedClusters::Samples& beside : deps_.reached->TakeSamples(pass.name())) {
      samples.waits.AddBeside(std::min(samples.last.value_or(beside.at), beside.at), beside.at,
                              std::move(beside.ticket), deps_.clock.Steady());
    }
  }
  for (const ingest::SampleWaits::News& news : samples.waits.Step(deps_.clock.Steady())) {
    if (news.fate == ingest::SampleWaits::Fate::kDurable) continue;
    const bool is_refused = news.fate == ingest::SampleWaits::Fate::kRefused;
    note({.from = news.from,
          .to = news.to,
          .cause = is_refused ? model::GapCause::kRejected : model::GapCause::kStoreDown});
  }
  // In a collector's place the hub reads by the way: what is missing is the collector's.
  if (pass.is_push || (!pass.attempted && !pass.failure.has_value())) return;
  const std::optional<base::SystemTime> since = samples.last.has_value() ? samples.last : pass.cluster.last_sync;
  if (pass.failure.has_value()) {
    // One hole, whatever else stands in the way meanwhile; before the first data there is no history to have one.
    if (samples.outage.has_value() || !since.has_value()) return;
    const bool listed = pass.attempted && pass.pull.failed_at == Step::kReadNodes;
    samples.outage = {listed ? model::GapCause::kListFailed : model::GapCause::kLinkDown, std::min(*since, pass.now)};
  } else if (samples.outage.has_value()) {
    note({.from = samples.outage->from, .to = pass.now, .cause = samples.outage->cause});
    samples.outage.reset();
  } else if (since.has_value() && IsStale(pass.now - *since, pass.judgement.timing.interval)) {
    // Nobody read it: it was paused, or no hub ran.
    note({.from = *since, .to = pass.now, .cause = model::GapCause::kCollectorDown});
  }
}

absl::Status ClusterReconciler::LookAtSamples(Pass& pass) {
  Cluster::Samples& samples = pass.cluster.samples;
  if (samples.looked) return absl::OkStatus();
  ASSIGN_OR_RETURN(const store::StoredPosition position, deps_.collectors.ReadPosition(pass.name()));
  ASSIGN_OR_RETURN(samples.ledger, deps_.store.ReadGaps(pass.name()));
  if (const auto& held = position.durable.held; held.has_value()) {
    samples.waits.AddHeld(*held, deps_.history->Find({pass.name(), held->since, held->until, held->batches}),
                          deps_.clock.Steady());
  }
  samples.looked = true;
  return absl::OkStatus();
}

store::HeldSamples ClusterReconciler::HeldNow(const Pass& pass) const {
  const Cluster::Samples& samples = pass.cluster.samples;
  store::HeldSamples held = samples.waits.Held();
  if (pass.has_data()) held.Add({std::min(samples.last.value_or(pass.now), pass.now), pass.now, 1});
  return held;
}

bool ClusterReconciler::LacksOutage(const Pass& pass) const {
  const Cluster::Samples& samples = pass.cluster.samples;
  if (deps_.history == nullptr || pass.is_push || !samples.looked) return false;
  return samples.outage.has_value() != (samples.ledger.open_link() != nullptr);
}

absl::StatusOr<ClusterReconciler::GapWrite> ClusterReconciler::GapWrites(Pass& pass) {
  const Cluster::Samples& samples = pass.cluster.samples;
  GapWrite out;
  if (deps_.history != nullptr) {
    RETURN_IF_ERROR(LookAtSamples(pass));
    // In one step with the holes of what is not held any more.
    store::ClusterState::PutHeld(pass.name(), HeldNow(pass), out.writes);
  }
  const bool opens_link = LosesLink(pass), lacks_outage = LacksOutage(pass);
  if (samples.gaps.empty() && !samples.link_ended && !opens_link && !lacks_outage) return out;
  ASSIGN_OR_RETURN(out.ledger, deps_.store.ReadGaps(pass.name()));
  store::GapLedger& ledger = out.ledger;
  const auto open = [&](bool is_new, model::GapCause cause) {
    if (is_new) out.told.push_back(cause);
    out.changed |= is_new;
  };
  // What could not be read, by whom, does not matter: it is over.
  std::optional<base::SystemTime> ended;
  const bool is_read = lacks_outage && !samples.outage.has_value();
  if (const store::KnownGap* link = ledger.open_link(); link != nullptr && (samples.link_ended || is_read)) {
    ended = link->from;
    out.changed |= ledger.EndLink(store::GapLedger::LinkEnd::kLost, pass.now);
  }
  for (const model::Gap& gap : samples.gaps) {
    // No hub ran for a while that the cluster could not be read in.
    if (ended.has_value() && gap.cause == model::GapCause::kCollectorDown && *ended <= gap.from) continue;
    const store::GapLedger::Told news = ledger.Record({}, gap);
    out.changed |= news != store::GapLedger::Told::kKnown;
    if (news == store::GapLedger::Told::kNew) out.told.push_back(gap.cause);
  }
  if (lacks_outage && samples.outage.has_value()) {
    open(ledger.OpenLink(samples.outage->from, false, samples.outage->cause), samples.outage->cause);
  }
  if (opens_link) open(OpenLink(pass, ledger), model::GapCause::kLinkDown);
  if (out.changed) deps_.store.PutGaps(pass.name(), ledger, out.writes);
  return out;
}

absl::Status ClusterReconciler::StoreFailure(Pass& pass) {
  Cluster& cluster = pass.cluster;
  // Without a new attempt there is nothing new to say.
  if (!pass.attempted && cluster.stored == pass.to_report() && pass.breaker_opens_in.has_value() &&
      !LacksOutage(pass)) {
    return absl::OkStatus();
  }
  return StoreSnapshot(pass, model::ClusterSnapshot());  // an empty one: data stays as it is
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
