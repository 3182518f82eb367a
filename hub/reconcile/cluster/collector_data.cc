#include "hub/reconcile/cluster/collector_data.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "common/base/status.h"
#include "common/json/writer.h"
#include "hub/reconcile/cluster/health.h"

namespace clusterpulse::reconcile {
namespace {

using store::ApplyResult;
using store::Presence;
using store::PushRecord;

// What upstream collectors, which do not say, run with.
constexpr std::chrono::seconds kUpstreamInterval{60};

// A little less than the limit: what the leader goes by was written before what we remember.
constexpr std::chrono::seconds kNearlySilent = store::kSilenceLimit - std::chrono::seconds(10);

Facts FactsOf(const model::Batch& batch, const PushContext& context, PushRecord& next) {
  static const std::vector<model::Node> kNoNodes;
  static const std::vector<model::ClusterOperator> kNoOperators;
  const model::ClusterSnapshot& snapshot = batch.snapshot;
  Facts facts = Summarize(snapshot.nodes ? *snapshot.nodes : kNoNodes,
                          snapshot.cluster_operators ? *snapshot.cluster_operators : kNoOperators);
  if (snapshot.nodes.has_value()) {
    next.data_at = std::min(context.data_at, context.now);  // data is never from the future
  } else {
    facts.nodes = next.facts.nodes;
    facts.nodes_not_ready = next.facts.nodes_not_ready;
  }
  if (snapshot.cluster_operators.has_value()) {
    next.cluster_operators_at = std::min(context.data_at, context.now);
  } else if (next.cluster_operators_at.has_value() &&
             !IsStale(context.now - *next.cluster_operators_at, std::max(next.interval, context.operator_interval))) {
    facts.cluster_operators = next.facts.cluster_operators;
  }
  return facts;
}

// For the object's status.
void CarryCounts(const model::ClusterSnapshot& snapshot, PushRecord& next) {
  if (snapshot.counts.has_value()) {
    const std::optional<std::int32_t> deployments = next.counts ? next.counts->deployments : std::nullopt;
    next.counts = snapshot.counts;
    if (!next.counts->deployments.has_value()) next.counts->deployments = deployments;
  }
  if (snapshot.namespaces.has_value()) next.namespaces = static_cast<std::int64_t>(snapshot.namespaces->size());
  if (snapshot.info.has_value()) {
    next.version = snapshot.info->version;
    next.platform = snapshot.info->platform;
  }
}

// What people wait to see in the status; the rest comes with the next pass.
bool ShowsChange(const PushRecord& a, const PushRecord& b) {
  const auto nodes = [](const PushRecord& r) {
    return r.counts ? std::pair(r.counts->nodes, r.counts->nodes_ready) : std::pair(-1, -1);
  };
  return a.health != b.health || a.message != b.message || a.version != b.version || nodes(a) != nodes(b);
}

bool ShowsChange(Presence a, const Presence& b) {
  // What each heartbeat moves.
  a.last_message = b.last_message;
  a.buffered_batches = b.buffered_batches;
  a.buffered_bytes = b.buffered_bytes;
  a.oldest_buffered = b.oldest_buffered;
  a.refused = b.refused;
  return a != b;
}

}  // namespace

PushJudgement JudgeBatch(const model::Batch& batch, const PushContext& context) {
  PushJudgement judgement;
  PushRecord& next = judgement.record;
  if (context.before.has_value()) next = *context.before;
  // Of another replica's clock, or the clock was set back: what is to come would look young until it came.
  next.data_at = std::min(next.data_at, context.now);
  if (next.cluster_operators_at > context.now) next.cluster_operators_at = context.now;
  next.received_at = context.now;
  next.interval = batch.interval.count() > 0 ? batch.interval : context.interval;
  next.facts = FactsOf(batch, context, next);
  CarryCounts(batch.snapshot, next);

  Evidence evidence;
  if (next.data_at != base::SystemTime{}) {
    evidence.facts = next.facts;
    evidence.age = context.now - next.data_at;
  }
  evidence.interval = next.interval;
  if (!context.degraded.empty()) evidence.failed_lists.push_back(context.degraded);
  evidence.ever_reached = true;
  Verdict verdict = JudgeHealth(evidence);
  next.health = verdict.health;
  next.message = std::move(verdict.message);
  judgement.health_changed = context.health_before != next.health;
  return judgement;
}

class PushedClusters::Writer final : public ingest::ClusterWriter {
 public:
  Writer(const PushedClusters& parent, std::string cluster, std::uint64_t epoch)
      : parent_(parent), cluster_(std::move(cluster)), epoch_(epoch) {}

  absl::StatusOr<ApplyResult> Apply(const store::WriterPosition& position, const model::Batch& batch,
                                    base::SystemTime data_at, const store::DurableBatches& durable) override {
    const base::SystemTime now = deps().clock.Now();
    RETURN_IF_ERROR(Recall(now));
    const PushJudgement judged =
        JudgeBatch(batch, {record_, health_, now, data_at, Interval(), parent_.options_.operator_interval,
                           presence_ ? presence_->degraded : std::string()});
    const PushRecord& record = judged.record;

    const bool lacks_url = batch.snapshot.info.has_value() && batch.snapshot.info->api_url.empty();
    std::optional<ClusterConnection> connection;  // costs a copy of the whole object
    if (lacks_url || judged.health_changed) connection = parent_.connection_(cluster_);
    model::ClusterSnapshot completed;
    const model::ClusterSnapshot* snapshot = &batch.snapshot;
    if (lacks_url && connection.has_value()) {
      // Collectors need not know the address by which the hub knows their cluster.
      completed = batch.snapshot;
      completed.info->api_url = connection->spec.endpoint;
      snapshot = &completed;
    }
    std::optional<store::GapLedger> ledger;
    Recorded recorded;
    if (!batch.gaps.empty()) {
      ASSIGN_OR_RETURN(ledger, deps().clusters.ReadGaps(cluster_));
      recorded = Record(position.instance, batch.gaps, *ledger);
    }
    ASSIGN_OR_RETURN(SourceWrites sources, WritesOfSources(batch, data_at));
    const std::chrono::seconds operator_interval = std::max(record.interval, parent_.options_.operator_interval);
    const store::CollectorState::Batch write{
        *snapshot,
        record,
        durable,
        {record.interval, operator_interval},
        EventsOf(judged, connection),
        !record_.has_value() || ShowsChange(*record_, record) || judged.health_changed || MayBeGivenUp(),
        data_at,
        std::move(sources.writes),
        recorded.changed ? &*ledger : nullptr,
        std::move(sources.news)};
    ASSIGN_OR_RETURN(const ApplyResult result, deps().collectors.Apply(position, write));
    if (result == ApplyResult::kApplied) {
      record_ = record;
      health_ = record.health;
      spoke_at_ = deps().clock.Steady();
      Count(recorded);
    }
    return result;
  }

  absl::StatusOr<ApplyResult> PutDurable(const std::string& instance, const store::DurableBatches& durable) override {
    return deps().collectors.PutDurable(cluster_, epoch_, instance, durable);
  }

  absl::StatusOr<ApplyResult> PutGaps(const ingest::GapNews& news) override {
    // Under our epoch nobody else changes it, but for a leader who believes that the stream is lost.
    ASSIGN_OR_RETURN(store::GapLedger ledger, deps().clusters.ReadGaps(cluster_));
    const Recorded recorded = Record(news.instance, news.gaps, ledger);
    if (news.link.has_value()) ledger.EndLink(*news.link, news.at);
    // The end of a link is written also when none is open: a leader who read before it and opens one only now must find
    // that something was said since.
    if (!recorded.changed && !news.link.has_value()) return ApplyResult::kApplied;
    ASSIGN_OR_RETURN(const ApplyResult result, deps().collectors.PutGaps(cluster_, epoch_, ledger));
    if (result == ApplyResult::kApplied) Count(recorded);
    return result;
  }

  absl::StatusOr<ApplyResult> PutPresence(const Presence& presence) override {
    const bool hint = !presence_.has_value() || ShowsChange(*presence_, presence) || MayBeGivenUp();
    ASSIGN_OR_RETURN(const ApplyResult result, deps().collectors.PutPresence(cluster_, presence, hint));
    if (result == ApplyResult::kApplied) {
      presence_ = presence;
      spoke_at_ = deps().clock.Steady();
    }
    return result;
  }

 private:
  const Dependencies& deps() const { return parent_.deps_; }

  // What the batch holds of MetricSources; `data_at`: when it was collected, by the hub's clock.
  struct SourceWrites {
    std::vector<store::Write> writes;
    std::vector<std::string> news;  // those whose status shows a change
  };
  absl::StatusOr<SourceWrites> WritesOfSources(const model::Batch& batch, base::SystemTime data_at) const {
    SourceWrites all;
    if (deps().sources == nullptr) return all;
    for (const model::SourceResult& result : batch.sources) {
      ASSIGN_OR_RETURN(
          store::SourceState::ResultWrite write,
          deps().sources->WriteOf(cluster_, result,
                                  std::chrono::time_point_cast<base::SystemTime::duration>(data_at - result.age),
                                  deps().source_results->Interval(result.source)));
      std::move(write.writes.begin(), write.writes.end(), std::back_inserter(all.writes));
      if (write.is_news) all.news.push_back(result.source);
    }
    return all;
  }

  struct Recorded {
    bool changed = false;                 // the ledger
    std::vector<model::GapCause> causes;  // of the holes that are new, and not only longer than before
  };
  static Recorded Record(const std::string& instance, const std::vector<model::Gap>& gaps, store::GapLedger& ledger) {
    Recorded recorded;
    for (const model::Gap& gap : gaps) {
      const store::GapLedger::Told told = ledger.Record(instance, gap);
      recorded.changed |= told != store::GapLedger::Told::kKnown;
      if (told == store::GapLedger::Told::kNew) recorded.causes.push_back(gap.cause);
    }
    return recorded;
  }
  void Count(const Recorded& recorded) const {
    for (const model::GapCause cause : recorded.causes) parent_.gaps_.Add(cause);
  }

  std::chrono::seconds Interval() const {
    return presence_.has_value() && presence_->interval.count() > 0 ? presence_->interval : kUpstreamInterval;
  }

  // The stream was silent for so long that the leader may have called it lost.
  bool MayBeGivenUp() const { return deps().clock.Steady() - spoke_at_ >= kNearlySilent; }

  // What was known before this stream; and again after a silence in which the leader may have said something else.
  absl::Status Recall(base::SystemTime now) {
    if (recalled_ && (!record_.has_value() || !IsStale(now - record_->received_at, record_->interval))) {
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(std::optional<PushRecord> record, deps().collectors.ReadRecord(cluster_));
    ASSIGN_OR_RETURN(health_, deps().clusters.ReadHealth(cluster_));
    record_ = std::move(record);
    recalled_ = true;
    return absl::OkStatus();
  }

  static std::vector<store::ClusterEvent> EventsOf(const PushJudgement& judged,
                                                   const std::optional<ClusterConnection>& connection) {
    if (!judged.health_changed) return {};
    std::string data;
    json::Writer writer(data);
    writer.BeginObject();
    writer.Member("display_name", connection ? connection->spec.display_name : std::string());
    writer.Member("health", model::ToString(judged.record.health)).Member("source", "collector-push").EndObject();
    return {{"cluster.reconciled", std::move(data)}};
  }

  const PushedClusters& parent_;
  const std::string cluster_;
  const std::uint64_t epoch_;
  base::SteadyTime spoke_at_ = deps().clock.Steady();  // last
  bool recalled_ = false;
  std::optional<PushRecord> record_;     // as stored
  std::optional<model::Health> health_;  // as readers see it
  std::optional<Presence> presence_;     // as written by this stream
};

absl::StatusOr<ingest::Position> PushedClusters::ReadPosition(const std::string& cluster) {
  ASSIGN_OR_RETURN(store::StoredPosition stored, deps_.collectors.ReadPosition(cluster));
  return ingest::Position{stored.epoch, std::move(stored.instance), stored.state_seq, std::move(stored.durable)};
}

absl::StatusOr<std::unique_ptr<ingest::ClusterWriter>> PushedClusters::TakeOver(const std::string& cluster,
                                                                                std::uint64_t& epoch) {
  ASSIGN_OR_RETURN(epoch, deps_.clusters.AcquireEpoch(cluster));
  return std::unique_ptr<ingest::ClusterWriter>(std::make_unique<Writer>(*this, cluster, epoch));
}

absl::StatusOr<std::optional<Presence>> PushedClusters::ReadPresence(const std::string& cluster) {
  ASSIGN_OR_RETURN(store::CollectorState::Seen seen, deps_.collectors.Read(cluster));
  return std::move(seen.presence);
}

absl::Status PushedClusters::NoteRefused(const std::string& cluster, const Presence::Rival& rival) {
  return deps_.collectors.NoteRefused(cluster, rival);
}

}  // namespace clusterpulse::reconcile
