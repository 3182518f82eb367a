#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <absl/status/statusor.h>

#include "common/base/clock.h"
#include "common/model/batch.h"
#include "common/wire/messages.h"
#include "hub/ingest/parts.h"
#include "hub/ingest/ports.h"
#include "hub/ingest/receipts.h"
#include "hub/ingest/services.h"

namespace clusterpulse::ingest {

// What came of writing a batch.
struct Stored {
  absl::StatusOr<store::ApplyResult> result = store::ApplyResult::kRepeated;
  absl::Status fault;                            // of the batch itself: the store was not asked
  bool state = false;                            // the store was asked, and what follows is about it
  std::uint64_t continuity = 0;                  // before the write
  std::optional<store::DurableBatches> durable;  // written with the state
  std::shared_ptr<const history::Ticket> samples;
};

// The way of one stream's batches from the wire to the stores: checks them against what the policy allows, joins parts,
// keeps those that wait, as bytes (a tenth of what they are decoded), and says what to write next. A batch is decoded
// by the job that writes it. One is being written at a time, in the order they came, but live ones before history: what
// drains after an outage must not hold up what is new. What cannot be written now stays,
// and is tried again for as long as the stream lives. The samples of a batch that is not durable yet go to the history
// store, which never holds anything up, once its state is in the state store; of an older batch they are all there is.
//
// Results of MetricSources that nobody asked of the cluster are dropped and counted.
//
// Confined to one thread, but for the jobs it hands out: they block, run anywhere, one at a time, and their result
// comes back by OnStored. Time is an argument. Bounded by the credits (Receipts), which it is told of every batch.
class BatchLane {
 public:
  struct Options {
    std::string cluster, instance;
    std::uint64_t epoch = 0;
    std::uint64_t state_seq = 0;  // of `instance`, written last
    bool parts = false;           // agreed upon
  };
  struct Arrival {
    base::SteadyTime steady;
    base::SystemTime wall;
  };

  BatchLane(Options options, std::shared_ptr<ClusterWriter> writer, Receipts& receipts, const Services& services);
  ~BatchLane();

  void SetLimits(const Limits& limits) { limits_ = limits; }

  // A message with a batch came. An error is for the peer and ends the stream: kPermissionDenied (another cluster's),
  // kResourceExhausted (beyond its credits), kInvalidArgument (cannot be answered). `bytes` are the message.
  absl::Status Take(const wire::BatchHead& head, std::string bytes, Arrival at);
  absl::Status Take(const wire::BadBatch& batch, std::size_t bytes);

  // Settles what needs no write and gives the next write; empty: nothing to write now. After an error of the store the
  // same again: the caller decides when.
  std::function<Stored()> NextWrite(base::SteadyTime now);
  // REQUIRES: the write that NextWrite gave has ended. Returns what it says about the store and the writer: with an
  // error or kFenced the batch stays.
  absl::StatusOr<store::ApplyResult> OnStored(const Stored& stored, base::SteadyTime now);
  // Gives up a batch in parts whose parts stopped coming. To be called while the stream is read; for how long it was
  // not, because the hub decided so, WasHeld says before.
  void Step(base::SteadyTime now);
  void WasHeld(base::SteadyTime::duration time);
  std::optional<base::SteadyTime> next_due() const;

  // Of the instance; written last.
  std::uint64_t state_seq() const { return state_seq_; }
  // Those that were rejected since it was last asked.
  std::vector<BatchRef> TakeRejected() { return std::exchange(rejected_, {}); }

  // Nothing waits or is being written.
  bool empty() const { return queue_.empty(); }
  // What is to be written next, or is being written, is history. REQUIRES: !empty().
  bool is_history_next() const { return queue_.front().history_only; }
  // Bytes kept.
  std::size_t bytes() const { return bytes_; }
  // Which limit was hit last, in words, and when; empty: none was.
  struct Limited {
    std::string what;
    base::SteadyTime at;
  };
  const Limited& limited() const { return limited_; }
  void NoteLimit(std::string what, base::SteadyTime now) { limited_ = {std::move(what), now}; }
  void ForgetLimit() { limited_ = {}; }

 private:
  using Messages = std::vector<std::string>;
  struct Queued {
    BatchRef ref;
    bool history_only = false;
    bool has_gaps = false;                     // it tells of holes
    std::shared_ptr<const Messages> messages;  // as they came
    base::SystemTime data_at;
  };
  // A batch in parts that is on its way.
  struct Assembly {
    BatchRef ref;
    bool history_only = false, has_gaps = false;
    std::uint32_t parts = 0;
    Messages messages;
    std::size_t nodes = 0, rows = 0;
    base::SystemTime data_at;
    base::SteadyTime last_part;
  };

  void Enqueue(Queued queued);
  bool IsForeign(const std::string& cluster);
  absl::Status TakePart(const wire::BatchHead& head, std::string bytes, Arrival at);
  void BreakAssembly(std::string_view kind, std::string_view why);
  // Empty: within. Otherwise why not, which is also noted.
  std::string OverLimit(std::size_t nodes, std::size_t rows, base::SteadyTime now);
  void Reject(const BatchRef& ref, std::string_view kind, std::string_view reason);
  bool NeedsState(const Queued& queued) const;
  bool NeedsSamples(const Queued& queued) const;
  bool NeedsGaps(const Queued& queued) const;
  // Its state is in the store already, written by a stream before this one, which may not have lived to see it survive.
  bool NeedsMark(const Queued& queued) const;
  void SettleFront(std::string_view result, const Stored& stored, base::SteadyTime now);
  void RejectFront(std::string_view kind, std::string_view reason);
  void PopFront();
  void Keep(std::size_t bytes);
  void Free(std::size_t bytes);

  const Options options_;
  const std::shared_ptr<ClusterWriter> writer_;
  Receipts& receipts_;
  const Services& services_;
  Limits limits_;
  std::deque<Queued> queue_;
  bool is_writing_ = false;  // the first
  std::optional<Assembly> assembly_;
  std::uint64_t broken_seq_ = 0;  // of the assembly rejected last: the rest of its parts may still come
  std::vector<BatchRef> rejected_;
  std::size_t bytes_ = 0;
  std::uint64_t state_seq_;
  std::uint64_t upstream_seq_ = 0;  // numbers given to an upstream collector's batches
  Limited limited_;
};

}  // namespace clusterpulse::ingest
