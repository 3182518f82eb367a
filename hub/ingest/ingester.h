#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "common/base/clock.h"
#include "common/base/random.h"
#include "common/log/logger.h"
#include "common/telemetry/registry.h"
#include "hub/history/history_writer.h"
#include "hub/ingest/ports.h"
#include "hub/runtime/runnable.h"

namespace clusterpulse::ingest {

// Takes the streams of collectors: the gRPC server, the sessions behind it and the threads they run on.
//
// Lifecycle: Start, once; Stop, from any thread. It stops in this order: no new streams; those that live end with
// UNAVAILABLE "hub is stopping" and say so in their presence; the server; the workers. What was received and is not yet
// stored is sent again by its collector. Everything borrowed must outlive this.
//
// Threads: gRPC's own, which only hand events over; `workers`, which never block; `store_workers`, and a few
// for history, the only ones inside the store and the authenticator, so that a store that hangs delays batches and
// registrations but no stream's life.
class Ingester final : public runtime::Runnable {
 public:
  struct Options {
    std::string hub;      // name of this replica, in presences and Welcome
    std::string version;  // of this program, in Welcome
    std::string address = "[::]";
    int port = 9443;  // 0: any that is free
    // PEM files, read again whenever they change; broken or half-written ones leave the pair before in force. Both
    // empty: no TLS.
    std::string tls_cert, tls_key;
    int workers = 2;
    int store_workers = 8;
    std::size_t max_streams = 10000;                            // beyond: UNAVAILABLE
    std::size_t max_unregistered = 2000;                        // of them, those that nobody has let in yet
    std::int64_t max_in_flight = std::int64_t{256} << 20;       // bytes of batches not yet stored, over all streams
    std::chrono::milliseconds keepalive_time{30000};            // a silent connection is asked for a sign of life,
    std::chrono::milliseconds keepalive_timeout{10000};         // and ended without one
    std::chrono::milliseconds min_client_ping_interval{10000};  // a client that pings more often is turned away
    std::chrono::milliseconds write_limit{60000};               // a peer that takes no message for so long is ended
    std::chrono::milliseconds handshake_limit{10000};           // until a connection speaks HTTP/2
    std::chrono::milliseconds idle_limit{60000};                // of a connection without a call
  };
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

  Ingester(Options options, const Dependencies& dependencies, log::Logger log);
  ~Ingester() override;

  // What grpc.health.v1 answers, for the whole and for the service: whether batches can be stored now. False at first.
  void SetServing(bool serving);
  // The cluster's policy or credentials changed: its streams look at them again. Never blocks; for watch handlers.
  // Without it they look every 30 s.
  void Recheck(const std::string& cluster);
  // The port listened on; 0 before Start.
  int port() const;

  std::string_view name() const override { return "ingester"; }
  // kInvalidArgument: certificate or key cannot be used; kUnavailable: the port cannot be had.
  absl::Status Start() override;
  bool Stop(std::chrono::milliseconds limit) override;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace clusterpulse::ingest
