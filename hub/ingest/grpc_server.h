#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include <absl/status/statusor.h>

#include "common/log/logger.h"
#include "hub/ingest/stream_pool.h"

namespace clusterpulse::ingest {

// The gRPC side of the streams: the only code of the hub that includes gRPC. Serves wire::kConnectMethod with messages
// as bytes, and grpc.health.v1 (overall and for the service; not serving at first); nothing else, no reflection.
//
// Callbacks run on gRPC's threads; each hands its event to the stream and returns. Compressed messages are refused
// (UNIMPLEMENTED, as upstream does), those above 4 MiB too (RESOURCE_EXHAUSTED). A connection has at most 16 calls at a
// time; more wait at the client. When all of them together exceed max_buffers gRPC reads less, then breaks calls off.
// Thread-safe.
class GrpcServer {
 public:
  struct Options {
    std::string address = "[::]";   // IPv4 too
    int port = 0;                   // 0: any that is free
    std::string tls_cert, tls_key;  // PEM files, read again whenever they change; both empty: no TLS
    std::chrono::milliseconds keepalive_time{30000}, keepalive_timeout{10000}, min_client_ping_interval{10000};
    std::chrono::milliseconds handshake_limit{10000};    // until a connection speaks HTTP/2
    std::chrono::milliseconds idle_limit{60000};         // of a connection without a call
    std::int64_t max_buffers = std::int64_t{512} << 20;  // bytes of gRPC's own: connections, and messages on their way
  };

  // Listens and serves. `pool` is borrowed and must outlive this. kInvalidArgument: certificate and key cannot be used;
  // kUnavailable: the port cannot be had.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const Options& options, StreamPool& pool, log::Logger log);
  // REQUIRES: Shutdown was called.
  ~GrpcServer();

  int port() const;
  void SetServing(bool serving);
  // Takes no more connections; streams that have not ended at `deadline` are cancelled. Blocks until all have ended,
  // for which the workers of the pool must run.
  void Shutdown(std::chrono::system_clock::time_point deadline);

 private:
  struct State;
  explicit GrpcServer(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace clusterpulse::ingest
