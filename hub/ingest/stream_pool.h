#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include <absl/status/statusor.h>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/random.h"
#include "common/base/token_bucket.h"
#include "common/log/logger.h"
#include "common/telemetry/registry.h"
#include "hub/ingest/flight_budget.h"
#include "hub/ingest/metrics.h"
#include "hub/ingest/peer_log.h"
#include "hub/ingest/ports.h"
#include "hub/ingest/services.h"
#include "hub/ingest/session.h"
#include "hub/ingest/stream_peer.h"
#include "hub/runtime/work_queue.h"
#include "hub/runtime/worker_group.h"

namespace clusterpulse::ingest {

class StreamPool;

// One stream as the transport sees it: takes what happens there and never blocks. Thread-safe. Events after OnClosed
// are dropped. The session takes its step on the thread that brings the event, unless it is in one, on whatever thread:
// that one goes on then. So the transport may call this from within a call of its StreamPeer.
class Stream {
 public:
  Stream(StreamPool& pool, Session::Info info, std::shared_ptr<StreamPeer> peer, const Services& services);

  void OnMessage(std::string bytes);  // answers ReadNext
  void OnWritten();                   // what was sent is on its way
  void OnHalfClosed();                // the peer sends nothing more
  void OnGone();                      // the peer is gone
  void OnClosed();                    // Finish was carried out: the last event

 private:
  friend class StreamPool;

  // Changes the events, and takes the steps that are due unless another thread does.
  template <typename Change>
  void Post(Change change);
  // The same on a worker, for callers with business of their own.
  template <typename Change>
  void PostLater(Change change);

  StreamPool& pool_;
  const std::uint64_t id_;
  const kube::ObjectKey key_;
  const std::shared_ptr<StreamPeer> peer_;
  // Of the thread that set stepping_:
  Session session_;
  bool registered_ = false;                             // no longer counted as unregistered
  base::SteadyTime first_job_at_{};                     // once it is let in
  base::SteadyTime wake_at_ = base::SteadyTime::max();  // asked for

  base::Mutex mu_;
  bool stepping_ ABSL_GUARDED_BY(mu_) = false;
  bool due_ ABSL_GUARDED_BY(mu_) = false;    // a step is
  bool woken_ ABSL_GUARDED_BY(mu_) = false;  // by time
  Events events_ ABSL_GUARDED_BY(mu_);
  Job job_ ABSL_GUARDED_BY(mu_);
};

// All streams of this replica and the workers that run them. A session's step is short and is taken where its event
// comes from (Stream), or by a worker when its time has come: handing a batch from thread to thread costs more than the
// step. Jobs of sessions run on workers of their own, so that a store that hangs takes those and nothing else; and
// those that let a collector in on others than those that write. The latter have low priority, and the first data of a
// collector waits a moment when many are let in at once, up to 1.5 s when it is some hundreds: when a thousand come
// back and the processor is short, data is late, and not handshakes, registrations and heartbeats. History has few
// workers of its own, which come last: it is taken at the rate that what is live leaves.
//
// Lifecycle: Start; EndStreams, while the transport still works; Stop. Thread-safe. Transports must be gone before
// this.
class StreamPool final : public LocalStreams {
 public:
  struct Options {
    std::string hub, version;
    int workers = 2;  // for what time brings
    int admission_workers = 4;
    int store_workers = 8;
    int history_workers = 2;
    std::size_t max_streams = 10000;
    std::size_t max_unregistered = 2000;  // of them, those that nobody has let in yet
    std::int64_t max_in_flight = std::int64_t{256} << 20;
    std::chrono::milliseconds write_limit{60000};
  };
  // Borrowed.
  struct Dependencies {
    const ClusterDirectory& clusters;
    Authenticator& authenticator;
    CollectorData& data;
    const base::Clock& clock;
    base::Random& random;
    telemetry::Registry* registry = nullptr;    // null: no metrics
    history::HistoryWriter* history = nullptr;  // null: off
    const SourceResults* sources = nullptr;     // null: no metric sources
  };

  StreamPool(const Options& options, const Dependencies& dependencies, const log::Logger& log);
  ~StreamPool() override;

  // A new stream from `address` with the token of its metadata (empty: none). kUnavailable: the hub is stopping, or has
  // as many as it takes, of all or of those that are not let in; the caller ends the stream with that.
  absl::StatusOr<std::shared_ptr<Stream>> Accept(std::string address, std::string bearer,
                                                 std::shared_ptr<StreamPeer> peer);
  // The cluster's policy or credentials changed.
  void Recheck(const std::string& cluster);

  void Start();
  // Ends every stream, takes no new one, and waits at most `limit` until all are over, which they are when Stop was
  // called. True when none is left.
  bool EndStreams(std::chrono::milliseconds limit);
  // Ends the workers. True when they have ended within `limit`.
  bool Stop(std::chrono::milliseconds limit);

  bool Has(const std::string& cluster, std::uint64_t epoch) const override;
  bool Claim(const std::string& cluster, std::uint64_t epoch, std::uint64_t stream, const std::string& who) override;
  void Release(const std::string& cluster, std::uint64_t stream) override;

  std::size_t size() const;
  // One step or one job on the calling thread; false: nothing was ready. What tests call instead of Start.
  bool RunOnce();

 private:
  friend class Stream;
  using Pass = void (StreamPool::*)(Stream&);
  struct Holder {
    std::uint64_t epoch = 0, stream = 0;
  };

  // Takes keys until the queue is shut down.
  void Work(runtime::WorkQueue& queue, Pass pass);
  void Handle(const kube::ObjectKey& key, Pass pass);
  void Wake(Stream& stream);
  // Takes steps until none is due. REQUIRES: the caller set stepping_.
  void TakeSteps(Stream& stream);
  void Step(Stream& stream, Events events);
  void RunJob(Stream& stream);
  std::shared_ptr<Stream> Find(std::uint64_t id) const;
  Now now() const { return {clock_.Steady(), clock_.Now()}; }

  const Options options_;
  const base::Clock& clock_;
  const Metrics metrics_;
  const PeerLog log_;
  FlightBudget budget_;
  base::TokenBucket let_in_;  // empty: many come at once
  const Services services_;

  mutable base::Mutex mu_;
  base::CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false, stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::uint64_t last_id_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<std::uint64_t, std::shared_ptr<Stream>> streams_ ABSL_GUARDED_BY(mu_);
  std::size_t unregistered_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<std::string, Holder, std::less<>> holders_ ABSL_GUARDED_BY(mu_);

  std::atomic<bool> ended_ = false;  // Stop was called
  telemetry::Registry* const registry_;
  int collector_ = 0;
  runtime::WorkQueue wakes_, admissions_, jobs_, history_jobs_;
  runtime::WorkerGroup workers_;  // last: they use the others
};

}  // namespace clusterpulse::ingest
