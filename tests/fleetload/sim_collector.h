#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <grpcpp/channel.h>

#include "common/base/mutex.h"
#include "common/model/batch.h"
#include "common/model/seq_set.h"
#include "common/wire/messages.h"

namespace clusterpulse::fleetload {

using SteadyTime = std::chrono::steady_clock::time_point;

// What all collectors of a run have done so far; what must never happen is in `violations`.
struct Counts {
  std::uint64_t connects = 0, welcomes = 0, ended = 0;
  std::uint64_t batches_made = 0, batches_sent = 0, bytes_sent = 0;
  std::uint64_t applied = 0, durable = 0, rejected = 0, replays = 0, upstream_acks = 0, upstream_failures = 0;
  std::uint64_t violations = 0;

  Counts& operator+=(const Counts& more);
};

// One protocol-true collector without a cluster: makes a batch each interval whether connected or not, keeps to the
// hub's credits, sends the newest first and the rest as history, gives up a batch only when it is durable or rejected,
// and checks every acknowledgement against what it sent. The batch of a sequence number is a function of the number, so
// that nothing needs to be kept. Thread-safe; gRPC's threads and the fleet's one timer call it.
class SimCollector : public std::enable_shared_from_this<SimCollector> {
 public:
  struct Options {
    std::string cluster, token, instance;
    int nodes = 50, labels = 20;
    std::chrono::seconds interval{30};
    // Speaks as an upstream collector does: no capabilities, no sequence numbers, its acks are not listened to.
    bool upstream = false;
    // Makes a channel of its own for every connection.
    std::function<std::shared_ptr<grpc::Channel>()> channel;
    // A line about something that must not happen.
    std::function<void(const std::string& line)> report;
  };
  explicit SimCollector(Options options);
  ~SimCollector();

  void Connect();
  // Ends the stream as a crash would: no half-close.
  void Drop();
  // Makes a batch and sends what may be sent.
  void MakeBatch();
  // Encodes the next batch in advance, so that a connect costs this process no more than sending it. While not
  // connected.
  void Prepare();
  // One that the hub must reject.
  void MakeBadBatch();
  void Heartbeat();

  bool connected() const;
  // The hub let the present stream in (upstream: it is connected).
  bool is_welcomed() const;
  // Welcomed, and the first batch applied.
  bool is_live() const;
  // Everything made is durable or rejected.
  bool is_settled() const;
  // Why the last stream ended; empty: none did.
  std::string last_end() const;
  Counts counts() const;
  // The metric sources it was told to run last, and when; zeroes: never.
  struct Configured {
    std::size_t sources = 0;
    SteadyTime at{};
  };
  Configured configured() const;
  // Time from Connect to the first applied batch of the present stream.
  std::optional<std::chrono::nanoseconds> time_to_live() const;

 private:
  class Stream;

  model::Batch BatchOf(std::uint64_t seq) const;
  void OnMessage(const std::shared_ptr<Stream>& from, const std::string& bytes);
  void OnEnd(Stream* stream, const std::string& why);
  // Takes it over and says so, as a collector does whose sources all compile.
  void OnConfig(const model::CollectorConfig& config) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void OnAck(const model::DeliveryAck& ack) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SendMore() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SendBatch(std::uint64_t seq, bool history) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::string Encode(std::uint64_t seq, bool history) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Violation(const std::string& what) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;

  mutable base::Mutex mu_;
  std::shared_ptr<Stream> stream_ ABSL_GUARDED_BY(mu_);
  Counts counts_ ABSL_GUARDED_BY(mu_);
  std::string last_end_ ABSL_GUARDED_BY(mu_);
  Configured configured_ ABSL_GUARDED_BY(mu_);
  std::uint64_t last_seq_ ABSL_GUARDED_BY(mu_) = 0;
  model::SeqSet durable_ ABSL_GUARDED_BY(mu_), rejected_ ABSL_GUARDED_BY(mu_), ever_sent_ ABSL_GUARDED_BY(mu_);
  model::SeqSet bad_ ABSL_GUARDED_BY(mu_);
  std::string prepared_ ABSL_GUARDED_BY(mu_);  // batch prepared_seq_, live
  std::uint64_t prepared_seq_ ABSL_GUARDED_BY(mu_) = 0;

  // Of the present stream.
  bool welcomed_ ABSL_GUARDED_BY(mu_) = false;
  bool live_ ABSL_GUARDED_BY(mu_) = false;
  model::Credits credits_ ABSL_GUARDED_BY(mu_);
  model::SeqSet sent_ ABSL_GUARDED_BY(mu_), answered_ ABSL_GUARDED_BY(mu_);
  std::uint32_t in_flight_ ABSL_GUARDED_BY(mu_) = 0;
  std::uint64_t in_flight_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<std::uint64_t, std::uint64_t> sizes_ ABSL_GUARDED_BY(mu_);  // of what is in flight
  std::uint32_t upstream_pending_ ABSL_GUARDED_BY(mu_) = 0;
  SteadyTime connected_at_ ABSL_GUARDED_BY(mu_){};
  std::optional<std::chrono::nanoseconds> time_to_live_ ABSL_GUARDED_BY(mu_);
};

}  // namespace clusterpulse::fleetload
