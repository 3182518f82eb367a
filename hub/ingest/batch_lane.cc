#include "hub/ingest/batch_lane.h"

#include <algorithm>
#include <utility>

#include "common/base/failpoint.h"
#include "common/base/status.h"
#include "common/base/utf8.h"

namespace clusterpulse::ingest {
namespace {

// A collector that cannot send the rest of a batch for so long will not.
constexpr std::chrono::seconds kPartLimit{60};
// Ages beyond this are no collector's: it sends a batch at least once a day.
constexpr std::chrono::hours kOldest{24};
constexpr std::size_t kLongestName = 253;

// By the hub's clock alone: what the collector's says about times is not looked at, so that a wrong one never makes
// data look newer than when it came.
base::SystemTime DataAt(const model::Batch& batch, bool upstream, base::SystemTime received) {
  if (upstream) return received;
  return received - std::clamp<std::chrono::milliseconds>(batch.age, std::chrono::milliseconds::zero(), kOldest);
}

// Errors that trying again cannot cure.
bool IsLasting(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnimplemented:
      return true;
    default:
      return false;
  }
}

absl::Status ForeignBatch(const std::string& cluster) {
  return base::MakeStatus(absl::StatusCode::kPermissionDenied, "batch of another cluster than {}", cluster);
}
absl::Status NoSeq() { return absl::InvalidArgumentError("a batch without seq"); }
absl::Status NoCredits() { return absl::ResourceExhaustedError("more in flight than the credits allow"); }

}  // namespace

BatchLane::BatchLane(Options options, std::shared_ptr<ClusterWriter> writer, Receipts& receipts,
                     const Services& services)
    : options_(std::move(options)),
      writer_(std::move(writer)),
      receipts_(receipts),
      services_(services),
      state_seq_(options_.state_seq) {}

BatchLane::~BatchLane() { services_.budget.Return(bytes_); }

void BatchLane::Keep(std::size_t bytes) {
  bytes_ += bytes;
  services_.budget.Take(bytes);
}

void BatchLane::Free(std::size_t bytes) {
  bytes_ -= bytes;
  services_.budget.Return(bytes);
}

bool BatchLane::IsForeign(const std::string& cluster) {
  if (cluster == options_.cluster) return false;
  services_.metrics.rejected.Add({"foreign"});
  services_.log.Write(log::Level::kWarn, "a collector sent another cluster's batch",
                      {{"cluster", options_.cluster}, {"claimed", base::CutUtf8(cluster, kLongestName)}});
  return true;
}

absl::Status BatchLane::Take(const wire::BatchHead& head, std::string bytes, Arrival at) {
  const model::Batch& batch = head.batch;
  if (IsForeign(batch.cluster)) return ForeignBatch(options_.cluster);
  const bool upstream = receipts_.upstream();
  if (!upstream && batch.seq == 0) return NoSeq();
  if (!upstream && batch.parts > 1) return TakePart(head, std::move(bytes), at);
  if (!receipts_.Take(bytes.size(), batch.history_only, true)) return NoCredits();

  const BatchRef ref{batch.id, upstream ? ++upstream_seq_ : batch.seq, bytes.size(), batch.collected_at};
  if (upstream && batch.parts > 1) {
    Reject(ref, "parts", "parts were not agreed upon");
    return absl::OkStatus();
  }
  if (const std::string over = OverLimit(head.nodes, head.rows, at.steady); !over.empty()) {
    Reject(ref, "limit", over);
    return absl::OkStatus();
  }
  const base::SystemTime data_at = DataAt(batch, upstream, at.wall);
  const bool history_only = !upstream && batch.history_only;
  Keep(bytes.size());
  Messages messages;
  messages.push_back(std::move(bytes));
  Enqueue({ref, history_only, !batch.gaps.empty(), std::make_shared<const Messages>(std::move(messages)), data_at});
  return absl::OkStatus();
}

void BatchLane::Enqueue(Queued queued) {
  auto at = queue_.end();
  if (!queued.history_only) {
    at = std::find_if(queue_.begin() + (is_writing_ ? 1 : 0), queue_.end(),
                      [](const Queued& other) { return other.history_only; });
  }
  queue_.insert(at, std::move(queued));
}

absl::Status BatchLane::Take(const wire::BadBatch& batch, std::size_t bytes) {
  if (IsForeign(batch.cluster)) return ForeignBatch(options_.cluster);
  if (!receipts_.upstream() && batch.seq == 0) return NoSeq();
  const bool of_assembly = assembly_ && assembly_->ref.seq == batch.seq;
  const bool of_broken = !of_assembly && batch.seq != 0 && batch.seq == broken_seq_;
  if (!receipts_.Take(bytes, false, !of_assembly && !of_broken)) return NoCredits();
  if (of_assembly) BreakAssembly("malformed", base::Message(batch.reason));
  if (of_assembly || of_broken) {
    receipts_.Dropped(bytes);
  } else {
    Reject({batch.id, batch.seq, bytes}, "malformed", base::Message(batch.reason));
  }
  return absl::OkStatus();
}

absl::Status BatchLane::TakePart(const wire::BatchHead& head, std::string bytes, Arrival at) {
  const model::Batch& part = head.batch;
  const bool continues = assembly_ && assembly_->ref.seq == part.seq && part.part == assembly_->messages.size() &&
                         part.parts == assembly_->parts;
  if (assembly_ && !continues) {
    BreakAssembly("parts", assembly_->ref.seq == part.seq ? "its parts came out of order"
                                                          : "another batch in parts began before its last part");
  }
  const std::size_t size = bytes.size();
  const bool is_rest = !continues && part.seq == broken_seq_;
  if (!receipts_.Take(size, part.history_only, !continues && !is_rest)) return NoCredits();
  if (is_rest) {
    receipts_.Dropped(size);
    return absl::OkStatus();
  }
  if (!continues && (part.part != 0 || !options_.parts)) {
    broken_seq_ = part.seq;
    Reject({part.id, part.seq, size}, "parts",
           options_.parts ? "its first part is missing" : "parts were not agreed upon");
    return absl::OkStatus();
  }
  if (!continues) {
    assembly_.emplace(Assembly{.ref = {part.id, part.seq, 0, part.collected_at},
                               .history_only = part.history_only,
                               .has_gaps = !part.gaps.empty(),
                               .parts = part.parts,
                               .data_at = DataAt(part, false, at.wall)});
  }
  Assembly& assembly = *assembly_;
  Keep(size);
  assembly.messages.push_back(std::move(bytes));
  assembly.ref.bytes += size;
  assembly.nodes += head.nodes;
  assembly.rows += head.rows;
  assembly.last_part = at.steady;
  if (assembly.ref.bytes > kMostBatchBytes + kByteSlack) {
    BreakAssembly("too_large", fmt::format("larger than {} bytes", kMostBatchBytes));
  } else if (const std::string over = OverLimit(assembly.nodes, assembly.rows, at.steady); !over.empty()) {
    BreakAssembly("limit", over);
  } else if (assembly.messages.size() == assembly.parts) {
    Enqueue({assembly.ref, assembly.history_only, assembly.has_gaps,
             std::make_shared<const Messages>(std::move(assembly.messages)), assembly.data_at});
    assembly_.reset();
  }
  return absl::OkStatus();
}

void BatchLane::BreakAssembly(std::string_view kind, std::string_view why) {
  const BatchRef ref = assembly_->ref;
  assembly_.reset();
  broken_seq_ = ref.seq;
  Free(ref.bytes);
  Reject(ref, kind, why);
}

void BatchLane::Step(base::SteadyTime now) {
  if (assembly_ && now - assembly_->last_part >= kPartLimit) BreakAssembly("parts", "its parts stopped coming");
}

void BatchLane::WasHeld(base::SteadyTime::duration time) {
  if (assembly_) assembly_->last_part += time;
}

std::optional<base::SteadyTime> BatchLane::next_due() const {
  if (!assembly_) return std::nullopt;
  return assembly_->last_part + kPartLimit;
}

std::string BatchLane::OverLimit(std::size_t nodes, std::size_t rows, base::SteadyTime now) {
  const auto over = [](std::size_t count, std::int32_t most) {
    return most > 0 && count > static_cast<std::size_t>(most);
  };
  std::string why;
  if (over(nodes, limits_.max_nodes)) {
    why = fmt::format("more than {} nodes in a batch", limits_.max_nodes);
  } else if (over(rows, limits_.max_rows)) {
    why = fmt::format("more than {} rows in a batch", limits_.max_rows);
  }
  if (!why.empty()) NoteLimit(why, now);
  return why;
}

void BatchLane::Reject(const BatchRef& ref, std::string_view kind, std::string_view reason) {
  services_.metrics.rejected.Add({kind});
  services_.metrics.batches.Add({"rejected"});
  services_.log.Write(log::Level::kWarn, "batch rejected",
                      {{"cluster", options_.cluster}, {"seq", ref.seq}, {"reason", reason}});
  receipts_.Rejected(ref, reason);
  rejected_.push_back(ref);
}

bool BatchLane::NeedsState(const Queued& queued) const {
  return receipts_.upstream() || (!queued.history_only && queued.ref.seq > state_seq_);
}

bool BatchLane::NeedsSamples(const Queued& queued) const {
  return services_.history != nullptr && (receipts_.upstream() || !receipts_.IsDurable(queued.ref.seq));
}

bool BatchLane::NeedsGaps(const Queued& queued) const {
  return queued.has_gaps && !receipts_.upstream() && !receipts_.IsDurable(queued.ref.seq);
}

bool BatchLane::NeedsMark(const Queued& queued) const {
  return !NeedsState(queued) && !queued.history_only && !receipts_.IsDurable(queued.ref.seq);
}

std::function<Stored()> BatchLane::NextWrite(base::SteadyTime now) {
  const auto needs_nothing = [this](const Queued& queued) {
    return !NeedsState(queued) && !NeedsSamples(queued) && !NeedsGaps(queued) && !NeedsMark(queued);
  };
  while (!queue_.empty() && needs_nothing(queue_.front())) SettleFront("history", Stored(), now);
  if (queue_.empty()) return {};

  is_writing_ = true;
  const Queued& front = queue_.front();
  const bool state = NeedsState(front), gaps = !state && NeedsGaps(front), mark = !gaps && NeedsMark(front);
  store::WriterPosition position{
      .cluster = options_.cluster, .epoch = options_.epoch, .instance = options_.instance, .seq = front.ref.seq};
  return [&services = services_, writer = writer_, position = std::move(position), messages = front.messages,
          data_at = front.data_at,
          durable =
              store::DurableBatches{receipts_.durable(), receipts_.newest_durable(), receipts_.HeldWith(front.ref)},
          state, gaps, mark, samples = NeedsSamples(front)] {
    Stored stored{.result = store::ApplyResult::kApplied,
                  .state = state || gaps || mark,
                  .continuity = services.data.Durable().continuity};
    absl::StatusOr<model::Batch> batch = DecodeParts(*messages);
    if (!batch.ok()) {
      stored.fault = batch.status();
      return stored;
    }
    const std::size_t sources = batch->sources.size();
    const std::size_t dropped = services.sources != nullptr ? services.sources->Complete(*batch) : sources;
    if (services.sources == nullptr) batch->sources.clear();
    const base::SteadyTime begin = services.clock.Steady();
    if (state) {
      base::FailPoint("position.writing");
      stored.result = writer->Apply(position, *batch, data_at, durable);
      base::FailPoint("position.written");
      base::FailPoint("ingest.applied");
      if (stored.result.ok() && *stored.result == store::ApplyResult::kApplied) stored.durable = durable;
      services.metrics.apply_seconds.Observe(std::chrono::duration<double>(services.clock.Steady() - begin).count());
    } else if (gaps) {
      stored.result = writer->PutGaps({.instance = position.instance, .gaps = batch->gaps});
    } else if (mark) {
      // A store that keeps this has kept all that was written before it.
      stored.result = writer->PutDurable(position.instance, durable);
      if (stored.result.ok() && *stored.result == store::ApplyResult::kApplied) stored.durable = durable;
    }
    if (!stored.result.ok() || *stored.result == store::ApplyResult::kFenced) return stored;
    // Only then: what is tried again would be counted, and fill the queue with the same samples, once more.
    if (dropped > 0) services.metrics.source_results_dropped.Add(static_cast<double>(dropped));
    if (samples) stored.samples = services.history->Write(*batch);
    return stored;
  };
}

absl::StatusOr<store::ApplyResult> BatchLane::OnStored(const Stored& stored, base::SteadyTime now) {
  is_writing_ = false;
  if (!stored.fault.ok()) {
    RejectFront("malformed", base::Message(stored.fault));
    return store::ApplyResult::kRepeated;
  }
  if (!stored.result.ok()) {
    const absl::Status& error = stored.result.status();
    if (IsLasting(error)) {
      services_.log.Write(log::Level::kWarn, "the store refused a batch",
                          {{"cluster", options_.cluster}, {"error", log::ToText(error)}});
      RejectFront("store", "the hub's store refused it");
      return store::ApplyResult::kRepeated;
    }
    if (receipts_.upstream() && services_.budget.full()) {
      RejectFront("no_room", "the hub's store does not answer, and there is no room to hold the batch until it does");
    }
    return error;
  }
  switch (*stored.result) {
    case store::ApplyResult::kApplied:
      SettleFront(NeedsState(queue_.front()) ? "applied" : "history", stored, now);
      break;
    case store::ApplyResult::kRepeated:
      SettleFront("repeated", stored, now);
      break;
    case store::ApplyResult::kFenced:
      break;
  }
  return *stored.result;
}

void BatchLane::SettleFront(std::string_view result, const Stored& stored, base::SteadyTime now) {
  const Queued& front = queue_.front();
  if (!front.history_only) state_seq_ = std::max(state_seq_, front.ref.seq);
  services_.metrics.batches.Add({result});
  receipts_.Applied(front.ref, {.at = now,
                                .state = stored.state,
                                .durable_after = services_.data.DurableAfter(),
                                .continuity = stored.continuity,
                                .samples = stored.samples});
  PopFront();
}

void BatchLane::RejectFront(std::string_view kind, std::string_view reason) {
  Reject(queue_.front().ref, kind, reason);
  PopFront();
}

void BatchLane::PopFront() {
  Free(queue_.front().ref.bytes);
  queue_.pop_front();
}

}  // namespace clusterpulse::ingest
