#include "hub/store/collector_state.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "common/base/status.h"
#include "common/base/time_format.h"
#include "hub/store/collector_documents.h"
#include "hub/store/keys.h"

namespace clusterpulse::store {
namespace {

// Longer than a collector that was kept out waits before it tries again.
constexpr std::chrono::seconds kRefusedTtl{600};

std::uint64_t Number(const std::map<std::string, std::string>& fields, const std::string& name) {
  std::uint64_t value = 0;
  if (const auto found = fields.find(name); found != fields.end()) {
    std::from_chars(found->second.data(), found->second.data() + found->second.size(), value);
  }
  return value;
}

std::string Text(const std::map<std::string, std::string>& fields, const std::string& name) {
  const auto found = fields.find(name);
  return found == fields.end() ? std::string() : found->second;
}

HashSet PositionOf(const std::string& cluster, const DurableBatches& durable) {
  HashSet position{keys::Writer(cluster, WriterRole::kData),
                   {{std::string(keys::kWriterDurable), documents::OfDurable(durable.position)}},
                   {}};
  if (durable.newest != base::SystemTime{}) {
    position.fields.emplace_back(keys::kWriterDurableAt, base::FormatNanos(durable.newest));
  }
  if (durable.held.has_value()) position.fields.emplace_back(keys::kWriterHeld, documents::OfHeld(*durable.held));
  return position;
}

WriterPosition Unnumbered(const std::string& cluster, std::uint64_t epoch) {
  return {cluster, epoch, {}, 0, WriterRole::kData};
}

}  // namespace

Write CollectorState::Hint(const std::string& what) const {
  return Publish{keys::CollectorHints(hub_namespace_), what};
}

absl::StatusOr<StoredPosition> CollectorState::ReadPosition(const std::string& cluster) {
  ASSIGN_OR_RETURN(const auto fields, store_.HashGetAll(keys::Writer(cluster, WriterRole::kData)));
  StoredPosition position{.epoch = Number(fields, "epoch"),
                          .instance = Text(fields, "instance"),
                          .state_seq = Number(fields, "state_seq"),
                          .gaps_revision = Number(fields, std::string(keys::kWriterGapsRevision))};
  position.durable.position = documents::ReadDurable(Text(fields, std::string(keys::kWriterDurable)));
  position.durable.newest =
      base::ParseRfc3339(Text(fields, std::string(keys::kWriterDurableAt))).value_or(base::SystemTime{});
  const HeldSamples held = documents::ReadHeld(Text(fields, std::string(keys::kWriterHeld)));
  if (held.batches > 0) position.durable.held = held;
  return position;
}

absl::StatusOr<ApplyResult> CollectorState::Apply(const WriterPosition& position, const Batch& batch) {
  const std::string& cluster = position.cluster;
  std::vector<Write> beside = batch.beside;
  beside.push_back(SetString{keys::Push(cluster), documents::OfPushRecord(batch.record), {}});
  if (batch.gaps != nullptr) clusters_.PutGaps(cluster, *batch.gaps, beside);
  if (batch.hint) beside.push_back(Hint(cluster));
  for (const std::string& source : batch.source_news) beside.push_back(Hint(source));
  // In the chunk that moves the position, if there are several: the numbers are those of the instance it moves to.
  beside.push_back(PositionOf(cluster, batch.durable));
  return clusters_.Apply(position, batch.snapshot, {batch.record.health, batch.record.message}, batch.cadence,
                         batch.events, std::move(beside), batch.data_at);
}

absl::StatusOr<ApplyResult> CollectorState::PutDurable(const std::string& cluster, std::uint64_t epoch,
                                                       const std::string& instance, const DurableBatches& durable) {
  // Behind the fence only this writer moves the position, so that it may be read first.
  ASSIGN_OR_RETURN(const StoredPosition before, ReadPosition(cluster));
  HashSet position = PositionOf(cluster, durable);
  if (before.instance != instance) {
    position.fields.emplace_back("instance", instance);
    position.fields.emplace_back("state_seq", "0");
  }
  return clusters_.WriteAs(Unnumbered(cluster, epoch), {std::move(position)});
}

absl::StatusOr<ApplyResult> CollectorState::PutGaps(const std::string& cluster, std::uint64_t epoch, GapLedger& gaps) {
  std::vector<Write> writes;
  clusters_.PutGaps(cluster, gaps, writes);
  return clusters_.WriteAs(Unnumbered(cluster, epoch), writes);
}

absl::StatusOr<ApplyResult> CollectorState::PutPresence(const std::string& cluster, const Presence& presence,
                                                        bool hint) {
  std::vector<Write> writes{SetString{keys::Collector(cluster), documents::OfPresence(presence), {}},
                            SetAdd{keys::ClustersOfHub(hub_namespace_), {cluster}}};
  if (hint) writes.push_back(Hint(cluster));
  return clusters_.WriteAs(Unnumbered(cluster, presence.epoch), writes);
}

absl::StatusOr<CollectorState::Seen> CollectorState::Read(const std::string& cluster) {
  Seen seen;
  ASSIGN_OR_RETURN(const auto texts, store_.GetMany({keys::Push(cluster), keys::Collector(cluster),
                                                     keys::CollectorRefused(cluster), keys::Gaps(cluster)}));
  const auto& [record, presence, refused, gaps] = std::tie(texts[0], texts[1], texts[2], texts[3]);
  if (gaps.has_value()) seen.gaps = *gaps;
  if (record.has_value()) seen.record = documents::ReadPushRecord(*record);
  if (presence.has_value()) seen.presence = documents::ReadPresence(*presence);
  if (!seen.presence.has_value()) return seen;
  seen.beat_at = seen.presence->last_message;
  if (seen.record.has_value()) {
    seen.presence->last_message = std::max(seen.presence->last_message, seen.record->received_at);
  }
  if (refused.has_value()) seen.presence->refused = documents::ReadRival(*refused);
  return seen;
}

absl::StatusOr<std::optional<PushRecord>> CollectorState::ReadRecord(const std::string& cluster) {
  ASSIGN_OR_RETURN(const auto text, store_.Get(keys::Push(cluster)));
  return text.has_value() ? documents::ReadPushRecord(*text) : std::nullopt;
}

absl::Status CollectorState::NoteRefused(const std::string& cluster, const Presence::Rival& rival) {
  return store_.Commit(
      {SetString{keys::CollectorRefused(cluster), documents::OfRival(rival), kRefusedTtl}, Hint(cluster)});
}

absl::StatusOr<ApplyResult> CollectorState::Drop(const WriterPosition& position) {
  return clusters_.WriteAs(position, {Delete{keys::Push(position.cluster)}, Delete{keys::Collector(position.cluster)},
                                      Delete{keys::CollectorRefused(position.cluster)}});
}

absl::StatusOr<std::unique_ptr<Subscription>> CollectorState::Subscribe(
    std::function<void(std::string_view hint)> on_hint) {
  return store_.Subscribe(keys::CollectorHints(hub_namespace_), std::move(on_hint));
}

}  // namespace clusterpulse::store
