#include "tests/collector/link/test_hub.h"

#include <algorithm>
#include <deque>
#include <set>
#include <utility>

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include "common/base/mutex.h"
#include "common/wire/grpc_bytes.h"
#include "common/wire/messages.h"

namespace clusterpulse::link {
class TestHub::Stream final : public grpc::ServerGenericBidiReactor {
 public:
  Stream(State& state, const grpc::GenericCallbackServerContext& context);
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override { End({grpc::StatusCode::CANCELLED, ""}); }
  void OnDone() override;
  void Say(const std::string& message);
  void End(const grpc::Status& status);

 private:
  void Handle(const std::string& bytes);

  State& state_;
  const grpc::GenericCallbackServerContext& context_;
  grpc::ByteBuffer in_;
  base::Mutex mu_;
  grpc::ByteBuffer out_ ABSL_GUARDED_BY(mu_);
  std::deque<std::string> waiting_ ABSL_GUARDED_BY(mu_);
  bool is_writing_ ABSL_GUARDED_BY(mu_) = false, is_ended_ ABSL_GUARDED_BY(mu_) = false;
  bool is_registered_ = false;  // of the reading thread
};

class TestHub::Service final : public grpc::CallbackGenericService {
 public:
  explicit Service(State& state) : state_(state) {}
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
    return new Stream(state_, *context);
  }

 private:
  State& state_;
};

struct TestHub::State {
  explicit State(Options o) : options(std::move(o)), service(*this) {}

  const Options options;
  Service service;
  std::unique_ptr<grpc::Server> server;
  int port = 0;
  mutable base::Mutex mu;
  mutable base::CondVar changed;
  Seen seen ABSL_GUARDED_BY(mu);
  std::set<Stream*> streams ABSL_GUARDED_BY(mu);

  template <typename Change>
  void Note(Change change) {
    base::MutexLock lock(mu);
    change(seen);
    changed.NotifyAll();
  }
};

TestHub::Stream::Stream(State& state, const grpc::GenericCallbackServerContext& context)
    : state_(state), context_(context) {
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find("authorization");
  const std::string authorization =
      found == metadata.end() ? "-" : std::string(found->second.data(), found->second.size());
  {
    base::MutexLock lock(state_.mu);
    state_.streams.insert(this);
    ++state_.seen.streams;
    ++state_.seen.open;
    state_.seen.authorizations.push_back(authorization);
    state_.changed.NotifyAll();
  }
  if (context.method() != wire::kConnectMethod) {
    End({grpc::StatusCode::UNIMPLEMENTED, context.method()});
  } else if (state_.options.refuse_code != 0) {
    End({static_cast<grpc::StatusCode>(state_.options.refuse_code), state_.options.refuse_text});
  } else if (state_.options.reads) {
    StartRead(&in_);
  }
}

void TestHub::Stream::OnReadDone(bool ok) {
  if (!ok) {
    if (!context_.IsCancelled()) state_.Note([](Seen& seen) { ++seen.half_closed; });
    return End(state_.options.upstream ? grpc::Status(grpc::StatusCode::UNKNOWN, "EOF") : grpc::Status());
  }
  Handle(wire::ToBytes(in_));
  StartRead(&in_);
}

void TestHub::Stream::Handle(const std::string& bytes) {
  const auto decoded = wire::DecodeFromCollector(bytes);
  if (!decoded.ok()) return End({grpc::StatusCode::INTERNAL, "malformed"});
  state_.Note([&](Seen& seen) { seen.largest_message = std::max(seen.largest_message, bytes.size()); });
  const Options& options = state_.options;
  if (const auto* registration = std::get_if<model::Registration>(&*decoded)) {
    is_registered_ = true;
    state_.Note([&](Seen& seen) { seen.registrations.push_back(*registration); });
    if (options.upstream) {
      if (options.config.has_value()) Say(wire::Encode(*options.config));
    } else {
      Say(wire::Encode(model::Welcome{.hub = "test-hub",
                                      .version = "0",
                                      .epoch = 1,
                                      .credits = {16, 4 << 20},
                                      .capabilities = {true, true, true},
                                      .max_message_bytes = 4 << 20,
                                      .max_batch_bytes = 32 << 20,
                                      .config = options.config.value_or(model::CollectorConfig())}));
    }
    return;
  }
  if (!is_registered_) return End({grpc::StatusCode::UNKNOWN, "metrics received before registration"});
  if (const auto* batch = std::get_if<model::Batch>(&*decoded)) {
    // Before the answer: whoever sees what follows from it finds the batch noted.
    state_.Note([&](Seen& seen) { seen.batches.push_back(*batch); });
    const bool is_complete = batch->parts == 0 || batch->part + 1 == batch->parts;
    if (options.upstream) {
      Say(wire::Encode(model::UpstreamAck{.batch_id = batch->id}));
    } else if (is_complete) {
      model::DeliveryAck ack{.applied = {{batch->seq, batch->seq}}};
      if (options.makes_durable) ack.durable.ranges = {{batch->seq, batch->seq}};
      Say(wire::Encode(ack));
    }
  } else if (const auto* report = std::get_if<model::ConfigReport>(&*decoded)) {
    state_.Note([&](Seen& seen) { seen.reports.push_back(*report); });
  } else if (std::holds_alternative<model::Heartbeat>(*decoded)) {
    state_.Note([](Seen& seen) { ++seen.heartbeats; });
  }
}

void TestHub::Stream::Say(const std::string& message) {
  base::MutexLock lock(mu_);
  if (is_ended_) return;
  waiting_.push_back(message);
  if (is_writing_) return;
  is_writing_ = true;
  out_ = wire::ToBuffer(waiting_.front());
  StartWrite(&out_);
}

void TestHub::Stream::OnWriteDone(bool ok) {
  base::MutexLock lock(mu_);
  waiting_.pop_front();
  is_writing_ = false;
  if (!ok || is_ended_ || waiting_.empty()) return;
  is_writing_ = true;
  out_ = wire::ToBuffer(waiting_.front());
  StartWrite(&out_);
}

void TestHub::Stream::End(const grpc::Status& status) {
  base::MutexLock lock(mu_);
  if (std::exchange(is_ended_, true)) return;
  Finish(status);
}

void TestHub::Stream::OnDone() {
  {
    base::MutexLock lock(state_.mu);
    state_.streams.erase(this);
    --state_.seen.open;
    state_.changed.NotifyAll();
  }
  delete this;
}

TestHub::TestHub(Options options) : state_(std::make_unique<State>(std::move(options))) {
  const Options& o = state_->options;
  std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials();
  if (o.tls.has_value()) {
    grpc::SslServerCredentialsOptions tls;
    tls.pem_key_cert_pairs.push_back({o.tls->key_pem, o.tls->cert_pem});
    credentials = grpc::SslServerCredentials(tls);
  }
  grpc::ServerBuilder builder;
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddListeningPort(o.host + ":" + std::to_string(o.port), credentials, &state_->port);
  builder.RegisterCallbackGenericService(&state_->service);
  state_->server = builder.BuildAndStart();
}

TestHub::~TestHub() { Stop(); }

void TestHub::Stop() {
  if (state_->server == nullptr) return;
  state_->server->Shutdown(std::chrono::system_clock::now());  // cancels what is open
  state_->server->Wait();
  state_->server.reset();
}

int TestHub::port() const { return state_->port; }
std::string TestHub::address() const { return state_->options.host + ":" + std::to_string(state_->port); }

TestHub::Seen TestHub::seen() const {
  base::MutexLock lock(state_->mu);
  return state_->seen;
}

bool TestHub::WaitFor(const std::function<bool(const Seen&)>& condition) const {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  base::MutexLock lock(state_->mu);
  while (!condition(state_->seen)) {
    const auto now = std::chrono::steady_clock::now();
    if (now >= until) return false;
    state_->changed.WaitFor(state_->mu, until - now);
  }
  return true;
}

void TestHub::Say(const std::string& message) {
  base::MutexLock lock(state_->mu);
  for (Stream* const stream : state_->streams) stream->Say(message);
}

}  // namespace clusterpulse::link
