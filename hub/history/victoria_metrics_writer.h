#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/status.h>

#include "common/base/backoff.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/random.h"
#include "common/base/stop_signal.h"
#include "common/http/client.h"
#include "common/log/logger.h"
#include "common/telemetry/registry.h"
#include "hub/history/durability_watch.h"
#include "hub/history/gzip.h"
#include "hub/history/history_writer.h"
#include "hub/history/line_encoder.h"
#include "hub/history/metrics.h"
#include "hub/history/vm_client.h"
#include "hub/runtime/runnable.h"
#include "hub/runtime/worker_group.h"

namespace clusterpulse::history {

// HistoryWriter on VictoriaMetrics, single node or cluster, by its import of Prometheus' text format.
//
// Flow: Write turns a batch into lines (line_encoder.h) and compresses them on the caller's thread, which costs some
// 0.1 ms for a batch of 50 nodes; what waits in the queue is compressed, so that its 64 MiB hold several million
// samples. `senders` threads put pieces of any clusters together to bodies of up to `body_bytes` of text, or of what
// came within `linger`, and post them, oldest first. One thread looks at the server while anything waits to be taken or
// to become durable (durability_watch.h).
//
// What an answer means:
//   2xx                             accepted
//   none, 408, 429, 5xx             tried again with jittered backoff, or after the server's Retry-After
//   401, 403, 404, other 3xx/405    configuration: tried again slowly; one line in the log, Status() says it
//   400, 413, other 4xx             the body is halved until the piece is found that is at fault, and only its batch is
//                                   refused; and that only when the server takes an empty body: otherwise it refuses
//                                   all there is, which is configuration
// Sent again is always the identical text: VictoriaMetrics keeps one of equal samples (-dedup.minScrapeInterval=1ms).
// What is older than it keeps samples it answers with 204, too, and ignores; so such batches are refused here, as far
// as that time is known: by its flag -retentionPeriod on /metrics, or `retention`.
//
// Find asks the server for raw samples (/api/v1/export), from the thread that looks at it, once what was queued before
// is gone. What it lacks is asked for again until `search_patience` later: what it took last shows after a while.
//
// Lifecycle: Start, Stop, as a runtime::Runnable; everything borrowed outlives it. Before Start, Write fills the queue;
// after Stop has begun, it drops. Stop sends what is queued for as long as the server takes it, at most until its
// limit; then the rest is dropped.
//
// Thread-safe. Bounded: the queue, and what is under way, by `queue_bytes`; a batch that would exceed it is dropped at
// once. Time of tickets and waits is the injected clock's; threads sleep on real time.
class VictoriaMetricsWriter final : public HistoryWriter, public runtime::Runnable {
 public:
  struct Options {
    VmOptions server;
    std::string query_endpoint;  // who answers Find, accessed as `server`; empty: the server
    std::chrono::milliseconds durable_after{10000};
    std::chrono::milliseconds retention{0};           // 0: as the server tells, if it does
    std::size_t queue_bytes = std::size_t{64} << 20;  // over all clusters
    std::size_t body_bytes = std::size_t{1} << 20;    // of text, before compression
    std::chrono::milliseconds linger{250};            // how long a sample may wait for others
    int senders = 2;                                  // requests at once; raise it for a server far away
    std::chrono::milliseconds request_timeout{30000};
    std::chrono::milliseconds look_timeout{5000};
    // VictoriaMetrics remembers for some 10 s that it knows no such series.
    std::chrono::milliseconds search_patience{15000};
    base::Backoff::Options retry{.initial = std::chrono::milliseconds(250), .max = std::chrono::milliseconds(10000)};
    // While it is misconfigured.
    base::Backoff::Options slow_retry{.initial = std::chrono::milliseconds(5000),
                                      .max = std::chrono::milliseconds(60000)};
    telemetry::Registry* registry = nullptr;
  };
  // Errors: those of VmClient::Create.
  static absl::StatusOr<std::unique_ptr<VictoriaMetricsWriter>> Create(Options options, const base::Clock& clock,
                                                                       base::Random& random, log::Logger log);
  // Stops at once.
  ~VictoriaMetricsWriter() override;

  // HistoryWriter
  std::shared_ptr<const Ticket> Write(const model::Batch& batch) override;
  std::shared_ptr<const Ticket> Find(const Sought& sought) override;
  std::chrono::milliseconds DurableAfter() const override { return options_.durable_after; }
  model::DurableMark Durable() const override;
  bool HasRoom() const override;

  // Runnable
  std::string_view name() const override { return "history"; }
  absl::Status Start() override;
  bool Stop(std::chrono::milliseconds limit) override;

  // Why the last request failed; ok when it did not. kUnavailable and the like: it is tried again. kFailedPrecondition:
  // somebody must change the configuration, here or there.
  absl::Status Status() const;

 private:
  // The samples of one batch, in one or more pieces; the ticket is settled with the last. Guarded by mu_.
  struct Parcel {
    std::shared_ptr<Ticket> ticket;
    std::int64_t stamp_ms = 0;  // of all its samples
    std::size_t open_pieces = 0;
    Ticket::Outcome outcome;  // the worst so far
  };
  struct Piece {
    std::string gzip;
    std::size_t text_bytes = 0, samples = 0;
    std::shared_ptr<Parcel> parcel;
    base::SteadyTime queued_at{};
    std::size_t bytes() const;  // of memory
  };
  using Pieces = std::vector<Piece>;
  // What encoding a batch needs; kept for the next.
  struct Workbench {
    LineBuffer lines;
    Gzip gzip;
  };
  struct Search {
    Sought sought;
    std::shared_ptr<Ticket> ticket;
    base::SteadyTime asked_at{};
    std::optional<base::SteadyTime> ready_at;  // what was queued before that is gone since
  };
  struct Answer {
    enum class Kind { kAccepted, kRetry, kMisconfigured, kRefused };
    Kind kind = Kind::kAccepted;
    absl::Status why;  // unless accepted
    std::optional<std::chrono::seconds> retry_after;
  };

  // `query_client`: null: the same.
  VictoriaMetricsWriter(Options options, std::unique_ptr<VmClient> client, std::unique_ptr<VmClient> query_client,
                        const base::Clock& clock, base::Random& random, log::Logger log);

  // The callers'.
  std::unique_ptr<Workbench> TakeWorkbench();
  void GiveBack(std::unique_ptr<Workbench> workbench);
  // Cuts the lines into pieces and compresses each.
  static Pieces Pack(std::string_view lines, std::size_t samples, Gzip& gzip, const std::shared_ptr<Parcel>& parcel);
  std::shared_ptr<const Ticket> Enqueue(Pieces pieces, Parcel& parcel);
  void CountRefused(const LineEncoder& encoder);
  static std::string Explain(const LineEncoder& encoder);

  // The senders'.
  void Send();
  // Waits for the next body; nullopt at the end.
  std::optional<Pieces> TakeBody();
  // Sends until all pieces are settled.
  void Deliver(Pieces pieces);
  bool MaySendLocked(base::SteadyTime now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Waits until the server may be sent to: the continuity then. Nullopt: give up.
  std::optional<std::uint64_t> WaitForTurn();
  // Waits before the next attempt. False: give up.
  bool WaitBefore(std::chrono::milliseconds wait);
  Answer Post(const std::string& body);
  static Answer Judge(const absl::StatusOr<http::Response>& response, std::string_view text);
  void Note(const Answer& answer);
  void Settle(const Pieces& pieces, const Ticket::Outcome& outcome);
  void SettleLocked(const Piece& piece, const Ticket::Outcome& outcome) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void DropQueueLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void GiveUp();

  // Of the thread that looks at the server.
  void Watch();
  DurabilityWatch::Look LookOnce();
  // Asks for what is sought; after a look that was answered.
  void RunSearches();
  // What came of it; nullopt: nothing yet.
  std::optional<Ticket::Outcome> RunSearch(const Search& search, std::uint64_t continuity);
  // When the oldest of what waits or is under way was queued.
  std::optional<base::SteadyTime> OldestLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The server ignores samples of that time.
  bool IsTooOldLocked(std::int64_t stamp_ms) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::string ExplainTooOldLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool WaitsLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::chrono::milliseconds LookIntervalLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  void Collect();

  // Constant after construction.
  const Options options_;
  const std::unique_ptr<VmClient> client_, query_client_;
  const base::Clock& clock_;
  base::Random& random_;
  const log::Logger log_;
  const Metrics metrics_;
  const std::string empty_body_ = Gzip().Compress("");

  mutable base::Mutex mu_;
  base::CondVar changed_;
  std::deque<Piece> queue_ ABSL_GUARDED_BY(mu_);
  std::size_t queued_text_ ABSL_GUARDED_BY(mu_) = 0;                // of the queue
  std::size_t held_bytes_ ABSL_GUARDED_BY(mu_) = 0;                 // of the queue and of what is under way
  std::multiset<base::SteadyTime> under_way_ ABSL_GUARDED_BY(mu_);  // of each body, when its oldest piece was queued
  bool started_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;  // nothing new; the queue is sent while that works
  bool gave_up_ ABSL_GUARDED_BY(mu_) = false;   // nothing is sent any more
  std::vector<Search> searches_ ABSL_GUARDED_BY(mu_);
  std::chrono::milliseconds retention_ ABSL_GUARDED_BY(mu_);  // zero: not known
  DurabilityWatch watch_ ABSL_GUARDED_BY(mu_);
  std::optional<DurabilityWatch::Look> look_ ABSL_GUARDED_BY(mu_);  // the last
  base::SteadyTime look_after_ ABSL_GUARDED_BY(mu_){};              // nothing is sent without a look since
  bool look_asked_ ABSL_GUARDED_BY(mu_) = false;                    // by a sender that waits for one
  base::SteadyTime last_accepted_ ABSL_GUARDED_BY(mu_){};
  absl::Status status_ ABSL_GUARDED_BY(mu_);
  std::optional<base::SteadyTime> failing_since_ ABSL_GUARDED_BY(mu_);
  bool warned_failing_ ABSL_GUARDED_BY(mu_) = false;
  bool warned_by_time_ ABSL_GUARDED_BY(mu_) = false, warned_retention_ ABSL_GUARDED_BY(mu_) = false;
  bool warned_too_old_ ABSL_GUARDED_BY(mu_) = false, warned_search_ ABSL_GUARDED_BY(mu_) = false;
  bool warned_server_refused_ ABSL_GUARDED_BY(mu_) = false;
  std::array<bool, kRefusals.size()> warned_refused_ ABSL_GUARDED_BY(mu_){};
  std::vector<std::unique_ptr<Workbench>> workbenches_ ABSL_GUARDED_BY(mu_);

  base::StopSignal give_up_;  // ends requests and waits
  int collector_ = 0;
  runtime::WorkerGroup threads_;  // last: uses the others
};

}  // namespace clusterpulse::history
