#pragma once

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
#include "common/log/logger.h"
#include "common/telemetry/registry.h"
#include "hub/ingest/flight_budget.h"
#include "hub/ingest/metrics.h"
#include "hub/ingest/peer_log.h"
#include "hub/ingest/ports.h"
#include "hub/ingest/services.h"
#include "hub/ingest/session.h"
#include "hub/ingest/stream_peer.h"
#include "hub/runtime/controller.h"

namespace clusterpulse::ingest {

class StreamPool;

// One stream as the transport sees it: takes what happens there and never blocks. Thread-safe. Events after OnClosed
// are dropped.
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

  template <typename Change>
  void Post(Change change);

  StreamPool& pool_;
  const std::uint64_t id_;
  const kube::ObjectKey key_;
  const std::shared_ptr<StreamPeer> peer_;
  Session session_;          // of the worker that has the key
  bool registered_ = false;  // likewise: no longer counted as unregistered

  base::Mutex mu_;
  Events events_ ABSL_GUARDED_BY(mu_);
  Job job_ ABSL_GUARDED_BY(mu_);
};

// All streams of this replica and the workers that run them: each event marks its stream, a worker takes the marked
// ones and lets the session do what is due; jobs of sessions run on workers of their own, so that a store that hangs
// takes those and nothing else. Both are Controllers with the stream as key: one worker a stream at a time, in turn.
//
// Lifecycle: Start; EndStreams, while the transport still works; Stop. Thread-safe. Transports must be gone before
// this.
class StreamPool final : public LocalStreams {
 public:
  struct Options {
    std::string hub, version;
    int workers = 2;
    int store_workers = 8;
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
    telemetry::Registry* registry = nullptr;  // null: no metrics
  };

  StreamPool(const Options& options, const Dependencies& dependencies, const log::Logger& log);
  ~StreamPool() override;

  // A new stream from `address` with the token of its metadata (empty: none). kUnavailable: the hub is stopping, or has
  // as many as it takes, of all or of those that are not let in; the caller ends the stream with that.
  absl::StatusOr<std::shared_ptr<Stream>> Accept(std::string address, std::string bearer,
                                                 std::shared_ptr<StreamPeer> peer);
  // The cluster's policy or credentials changed.
  void Recheck(const std::string& cluster);

  absl::Status Start();
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
  class Reconciler final : public runtime::Reconciler {
   public:
    using Pass = runtime::Result (StreamPool::*)(Stream&);
    Reconciler(StreamPool& pool, Pass pass) : pool_(pool), pass_(pass) {}
    absl::StatusOr<runtime::Result> Reconcile(const kube::ObjectKey& key, std::stop_token stop) override;

   private:
    StreamPool& pool_;
    const Pass pass_;
  };
  struct Holder {
    std::uint64_t epoch = 0, stream = 0;
  };

  runtime::Result Step(Stream& stream);
  runtime::Result RunJob(Stream& stream);
  std::shared_ptr<Stream> Find(std::uint64_t id) const;
  Now now() const { return {clock_.Steady(), clock_.Now()}; }

  const Options options_;
  const base::Clock& clock_;
  const Metrics metrics_;
  const PeerLog log_;
  FlightBudget budget_;
  const Services services_;

  mutable base::Mutex mu_;
  base::CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false, stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::uint64_t last_id_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<std::uint64_t, std::shared_ptr<Stream>> streams_ ABSL_GUARDED_BY(mu_);
  std::size_t unregistered_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<std::string, Holder, std::less<>> holders_ ABSL_GUARDED_BY(mu_);

  // Last: their workers use the others.
  Reconciler step_, job_;
  runtime::Controller sessions_, jobs_;
};

}  // namespace clusterpulse::ingest
