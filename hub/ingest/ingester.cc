#include "hub/ingest/ingester.h"

#include <algorithm>
#include <utility>

#include "common/base/mutex.h"
#include "common/base/status.h"
#include "hub/ingest/grpc_server.h"
#include "hub/ingest/stream_pool.h"

namespace clusterpulse::ingest {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kDestructorLimit{10000};
// What gRPC holds for an idle connection with TLS is 20 to 30 KiB.
constexpr std::int64_t kBuffersPerStream = std::int64_t{32} << 10;

}  // namespace

struct Ingester::Parts {
  Parts(Options o, const Dependencies& dependencies, log::Logger l)
      : options(std::move(o)),
        log(std::move(l)),
        pool({.hub = options.hub,
              .version = options.version,
              .workers = options.workers,
              .store_workers = options.store_workers,
              .max_streams = options.max_streams,
              .max_unregistered = options.max_unregistered,
              .max_in_flight = options.max_in_flight,
              .write_limit = options.write_limit},
             {dependencies.clusters, dependencies.authenticator, dependencies.data, dependencies.clock,
              dependencies.random, dependencies.registry, dependencies.history, dependencies.sources},
             log) {}

  const Options options;
  const log::Logger log;
  StreamPool pool;

  mutable base::Mutex mu;
  base::CondVar changed;
  enum class Phase { kNew, kServing, kEnding, kEnded } phase ABSL_GUARDED_BY(mu) = Phase::kNew;
  bool serving ABSL_GUARDED_BY(mu) = false;
  std::unique_ptr<GrpcServer> server ABSL_GUARDED_BY(mu);
};

Ingester::Ingester(Options options, const Dependencies& dependencies, log::Logger log)
    : parts_(std::make_unique<Parts>(std::move(options), dependencies, std::move(log))) {}

Ingester::~Ingester() { Stop(kDestructorLimit); }

absl::Status Ingester::Start() {
  Parts& p = *parts_;
  p.pool.Start();
  auto server = GrpcServer::Start(
      {.address = p.options.address,
       .port = p.options.port,
       .tls_cert = p.options.tls_cert,
       .tls_key = p.options.tls_key,
       .keepalive_time = p.options.keepalive_time,
       .keepalive_timeout = p.options.keepalive_timeout,
       .min_client_ping_interval = p.options.min_client_ping_interval,
       .handshake_limit = p.options.handshake_limit,
       .idle_limit = p.options.idle_limit,
       .max_buffers = p.options.max_in_flight + kBuffersPerStream * static_cast<std::int64_t>(p.options.max_streams)},
      p.pool, p.log);
  if (!server.ok()) return base::Annotate(server.status(), "ingester");
  const bool tls = !p.options.tls_cert.empty();
  p.log.Info("ingester listens", {{"port", (*server)->port()}, {"tls", tls}});
  base::MutexLock lock(p.mu);
  (*server)->SetServing(p.serving);
  p.server = *std::move(server);
  p.phase = Parts::Phase::kServing;
  return absl::OkStatus();
}

void Ingester::SetServing(bool serving) {
  base::MutexLock lock(parts_->mu);
  parts_->serving = serving;
  if (parts_->phase == Parts::Phase::kServing) parts_->server->SetServing(serving);
}

void Ingester::Recheck(const std::string& cluster) { parts_->pool.Recheck(cluster); }

int Ingester::port() const {
  base::MutexLock lock(parts_->mu);
  return parts_->server != nullptr ? parts_->server->port() : 0;
}

bool Ingester::Stop(milliseconds limit) {
  Parts& p = *parts_;
  const auto deadline = std::chrono::steady_clock::now() + limit;
  const auto left = [deadline] {
    return std::max(std::chrono::duration_cast<milliseconds>(deadline - std::chrono::steady_clock::now()),
                    milliseconds::zero());
  };
  // What is told to end now still goes out through the server. A quarter of the time is kept for what follows.
  const bool streams_ended = p.pool.EndStreams(limit * 3 / 4);
  if (!streams_ended && limit == milliseconds::zero()) return false;

  GrpcServer* server = nullptr;
  {
    base::MutexLock lock(p.mu);
    if (p.phase == Parts::Phase::kServing) {
      p.phase = Parts::Phase::kEnding;
      server = p.server.get();
    }
    while (server == nullptr && p.phase == Parts::Phase::kEnding) {
      if (left() == milliseconds::zero()) return false;
      p.changed.WaitFor(p.mu, left());
    }
  }
  if (server != nullptr) {
    // Streams whose end could not be written are cancelled with it.
    server->Shutdown(std::chrono::system_clock::now() + left());
    base::MutexLock lock(p.mu);
    p.server = nullptr;
    p.phase = Parts::Phase::kEnded;
    p.changed.NotifyAll();
  }
  return p.pool.Stop(left());
}

}  // namespace clusterpulse::ingest
