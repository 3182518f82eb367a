#include "tests/hub/ingest/raw_client.h"

#include <deque>
#include <utility>

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include "common/base/mutex.h"
#include "common/wire/grpc_bytes.h"

namespace clusterpulse::testing {
namespace {

using std::chrono::milliseconds;

std::shared_ptr<grpc::Channel> MakeChannel(const ClientOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, static_cast<int>(options.keepalive_time.count()));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, static_cast<int>(options.keepalive_timeout.count()));
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetMaxReceiveMessageSize(-1);
  if (options.compressed) arguments.SetCompressionAlgorithm(GRPC_COMPRESS_GZIP);
  auto credentials = options.ca_pem.empty() ? grpc::InsecureChannelCredentials()
                                            : grpc::SslCredentials({.pem_root_certs = options.ca_pem});
  return grpc::CreateCustomChannel(options.target, credentials, arguments);
}

absl::Status StillOpen() { return absl::DeadlineExceededError("still open"); }

absl::Status ToAbsl(const grpc::Status& status) {
  return {static_cast<absl::StatusCode>(status.error_code()), status.error_message()};
}

}  // namespace

struct RawClient::State final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
  void OnReadDone(bool ok) override {
    base::MutexLock lock(mu);
    reading = false;
    if (ok) received.push_back(wire::ToBytes(in));
    read_ended |= !ok;
    changed.NotifyAll();
  }
  void OnWriteDone(bool ok) override {
    base::MutexLock lock(mu);
    writing = false;
    write_failed |= !ok;
    changed.NotifyAll();
  }
  void OnDone(const grpc::Status& status) override {
    base::MutexLock lock(mu);
    done = ToAbsl(status);
    changed.NotifyAll();
  }

  std::shared_ptr<grpc::Channel> channel;
  grpc::ClientContext context;
  grpc::ByteBuffer in, out;

  base::Mutex mu;
  base::CondVar changed;
  std::deque<std::string> received ABSL_GUARDED_BY(mu);
  bool reading ABSL_GUARDED_BY(mu) = false, read_ended ABSL_GUARDED_BY(mu) = false;
  bool writing ABSL_GUARDED_BY(mu) = false, write_failed ABSL_GUARDED_BY(mu) = false;
  bool held ABSL_GUARDED_BY(mu) = true;
  std::optional<absl::Status> done ABSL_GUARDED_BY(mu);

  // Waits for `condition`, which is called under the lock.
  template <typename Condition>
  bool Wait(milliseconds limit, Condition condition) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (!condition()) {
      const auto left = deadline - std::chrono::steady_clock::now();
      if (left <= std::chrono::nanoseconds::zero()) return false;
      changed.WaitFor(mu, left);
    }
    return true;
  }
  void Release() {
    {
      base::MutexLock lock(mu);
      if (!std::exchange(held, false)) return;
    }
    RemoveHold();
  }
};

RawClient::RawClient(const ClientOptions& options, const std::string& bearer) : state_(std::make_unique<State>()) {
  state_->channel =
      options.same_connection != nullptr ? options.same_connection->state_->channel : MakeChannel(options);
  if (!bearer.empty()) state_->context.AddMetadata("authorization", "Bearer " + bearer);
  grpc::GenericStub stub(state_->channel);
  stub.PrepareBidiStreamingCall(&state_->context, std::string(wire::kConnectMethod), {}, state_.get());
  state_->AddHold();  // operations start outside of reactions
  state_->StartCall();
}

RawClient::~RawClient() {
  Cancel();
  // A stream that does not end even so is leaked: gRPC still uses it. Nothing of it may be destroyed on gRPC's threads:
  // the last connection of the process would wait there for the thread it is on.
  if (Finish() == StillOpen()) (void)state_.release();
}

bool RawClient::Send(std::string bytes, milliseconds limit) {
  State& s = *state_;
  {
    base::MutexLock lock(s.mu);
    if (s.write_failed || s.done || !s.held) return false;
    s.writing = true;
  }
  s.out = wire::ToBuffer(bytes);
  s.StartWrite(&s.out);
  base::MutexLock lock(s.mu);
  return s.Wait(limit, [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return !s.writing; }) && !s.write_failed;
}

std::optional<wire::FromHub> RawClient::Receive(milliseconds limit) {
  State& s = *state_;
  bool start = false;
  {
    base::MutexLock lock(s.mu);
    start = s.received.empty() && !s.reading && !s.read_ended && s.held;
    s.reading |= start;
  }
  if (start) s.StartRead(&s.in);
  base::MutexLock lock(s.mu);
  s.Wait(limit, [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return !s.received.empty() || s.read_ended; });
  if (s.received.empty()) return std::nullopt;
  const std::string bytes = std::move(s.received.front());
  s.received.pop_front();
  auto message = wire::DecodeFromHub(bytes);
  if (!message.ok()) return std::nullopt;
  return *std::move(message);
}

void RawClient::HalfClose() { state_->StartWritesDone(); }

void RawClient::Cancel() { state_->context.TryCancel(); }

absl::Status RawClient::Finish(milliseconds limit) {
  State& s = *state_;
  // The end is told only after what was sent is read.
  const auto deadline = std::chrono::steady_clock::now() + limit;
  const auto left = [&] {
    return std::chrono::duration_cast<milliseconds>(deadline - std::chrono::steady_clock::now());
  };
  while (Receive(left())) {
  }
  {
    base::MutexLock lock(s.mu);
    if (!s.read_ended && !s.done) return StillOpen();
  }
  s.Release();
  base::MutexLock lock(s.mu);
  if (!s.Wait(left(), [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return s.done.has_value(); })) {
    return StillOpen();
  }
  return *s.done;
}

absl::Status CheckHealth(const ClientOptions& options, const std::string& service, bool& serving) {
  grpc::GenericStub stub(MakeChannel(options));
  std::string request;
  if (!service.empty()) request = std::string("\x0a") + static_cast<char>(service.size()) + service;
  const grpc::ByteBuffer out = wire::ToBuffer(request);
  grpc::ByteBuffer in;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + RawClient::kLimit);
  base::Mutex mu;
  base::CondVar changed;
  std::optional<grpc::Status> done;
  stub.UnaryCall(&context, "/grpc.health.v1.Health/Check", {}, &out, &in, [&](grpc::Status status) {
    base::MutexLock lock(mu);
    done = std::move(status);
    changed.NotifyAll();
  });
  base::MutexLock lock(mu);
  while (!done) changed.Wait(mu);  // the call has a deadline
  if (!done->ok()) return ToAbsl(*done);
  const std::string answer = wire::ToBytes(in);
  serving = answer == std::string("\x08\x01");
  if (!serving && answer != std::string("\x08\x02")) return absl::DataLossError("an answer that is none");
  return absl::OkStatus();
}

}  // namespace clusterpulse::testing
