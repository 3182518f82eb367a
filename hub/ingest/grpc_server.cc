#include "hub/ingest/grpc_server.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <utility>

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/log.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/codegen/server_callback_handlers.h>
#include <grpcpp/impl/rpc_service_method.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "common/base/status.h"
#include "common/wire/grpc_bytes.h"
#include "common/wire/messages.h"
#include "hub/ingest/key_pair_files.h"

namespace clusterpulse::ingest {
namespace {

constexpr std::string_view kBearer = "bearer ";
// A collector has one; proxies in between open more connections when they need more.
constexpr int kMostCalls = 16;
// What a peer may send of a message that nobody reads yet.
constexpr int kLookahead = 256 << 10;

std::string ServiceName() {
  std::string_view path = wire::kConnectMethod;
  path.remove_prefix(1);
  return std::string(path.substr(0, path.find('/')));
}

grpc::Status ToGrpc(const absl::Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()), base::Message(status)};
}

// "ipv4:10.0.0.1:443" -> "10.0.0.1:443", "ipv6:%5B::1%5D:443" -> "[::1]:443".
std::string ToAddress(std::string peer) {
  for (const std::string_view scheme : {"ipv4:", "ipv6:"}) {
    if (peer.rfind(scheme, 0) == 0) peer.erase(0, scheme.size());
  }
  for (const auto& [escaped, plain] : {std::pair("%5B", "["), std::pair("%5D", "]"), std::pair("%25", "%")}) {
    if (const std::size_t at = peer.find(escaped); at != std::string::npos) peer.replace(at, 3, plain);
  }
  return peer;
}

std::string BearerOf(const grpc::CallbackServerContext& context) {
  const auto found = context.client_metadata().find("authorization");
  if (found == context.client_metadata().end()) return {};
  const std::string_view value(found->second.data(), found->second.size());
  const bool is_bearer = value.size() > kBearer.size() &&
                         std::equal(kBearer.begin(), kBearer.end(), value.begin(),
                                    [](char a, char b) { return a == (b >= 'A' && b <= 'Z' ? b - 'A' + 'a' : b); });
  return is_bearer ? std::string(value.substr(kBearer.size())) : std::string();
}

// One stream: a session's StreamPeer towards gRPC, and gRPC's reactor towards the session. Owned by both: gRPC's part
// ends with OnDone, which comes after Finish.
class Call final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>, public StreamPeer {
 public:
  static Call* Start(StreamPool& pool, grpc::CallbackServerContext& context) {
    auto call = std::make_shared<Call>(context);
    call->self_ = call;
    // gRPC holds operations back until this returns, so no callback finds stream_ unset.
    absl::StatusOr<std::shared_ptr<Stream>> stream = pool.Accept(ToAddress(context.peer()), BearerOf(context), call);
    if (stream.ok()) {
      call->stream_ = *std::move(stream);
    } else {
      static_cast<ServerBidiReactor&>(*call).Finish(ToGrpc(stream.status()));
    }
    return call.get();
  }

  explicit Call(grpc::CallbackServerContext& context) : context_(&context) {}

  void ReadNext() override { StartRead(&in_); }
  void Send(std::string bytes) override {
    out_ = wire::ToBuffer(bytes);
    StartWrite(&out_);
  }
  void Finish(const absl::Status& status) override { ServerBidiReactor::Finish(ToGrpc(status)); }
  void Abort() override {
    const std::lock_guard<std::recursive_mutex> lock(mu_);
    if (context_ != nullptr) context_->TryCancel();
  }

  void OnReadDone(bool ok) override {
    if (stream_ == nullptr) return;
    if (ok) {
      std::string bytes = wire::ToBytes(in_);
      in_.Clear();
      stream_->OnMessage(std::move(bytes));
    } else if (context_->IsCancelled()) {
      stream_->OnGone();
    } else {
      stream_->OnHalfClosed();
    }
  }
  void OnWriteDone(bool ok) override {
    if (stream_ == nullptr) return;
    out_.Clear();
    ok ? stream_->OnWritten() : stream_->OnGone();
  }
  void OnCancel() override {
    if (stream_ != nullptr) stream_->OnGone();
  }
  void OnDone() override {
    {
      const std::lock_guard<std::recursive_mutex> lock(mu_);
      context_ = nullptr;
    }
    const std::shared_ptr<Call> self = std::move(self_);
    if (const std::shared_ptr<Stream> stream = std::move(stream_)) stream->OnClosed();
  }

 private:
  std::shared_ptr<Stream> stream_;
  std::shared_ptr<Call> self_;
  grpc::ByteBuffer in_, out_;
  // Recursive: gRPC may call back, to OnDone at the last, from within TryCancel.
  std::recursive_mutex mu_;
  grpc::CallbackServerContext* context_;
};

// The service of the wire, with messages as bytes: what generated code would be, without the generated code.
class ConnectService final : public grpc::Service {
 public:
  explicit ConnectService(StreamPool& pool) {
    AddMethod(new grpc::internal::RpcServiceMethod(wire::kConnectMethod.data(),
                                                   grpc::internal::RpcMethod::BIDI_STREAMING, nullptr));
    MarkMethodRawCallback(0,
                          new grpc::internal::CallbackBidiHandler<grpc::ByteBuffer, grpc::ByteBuffer>(
                              [&pool](grpc::CallbackServerContext* context) { return Call::Start(pool, *context); }));
  }
};

// TLS with a pair of files that is asked for anew at every handshake. gRPC's own TlsServerCredentials are not used:
// 1.51 frees the pair in force before it looks at the new one, and a broken file then ends the process.
class ReloadingTls final : public grpc::ServerCredentials {
 public:
  // `files` is borrowed and must outlive the server: gRPC keeps the function longer than this.
  explicit ReloadingTls(KeyPairFiles& files)
      : credentials_(grpc_ssl_server_credentials_create_with_options(
            grpc_ssl_server_credentials_create_options_using_config_fetcher(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
                                                                            &ReloadingTls::Fetch, &files))) {}
  ~ReloadingTls() override { grpc_server_credentials_release(credentials_); }

  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>& /*processor*/) override {}

 private:
  static grpc_ssl_certificate_config_reload_status Fetch(void* files, grpc_ssl_server_certificate_config** config) {
    const std::optional<KeyPairFiles::Pair> pair = static_cast<KeyPairFiles*>(files)->TakeChanged();
    if (!pair) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    const grpc_ssl_pem_key_cert_pair pem{pair->key.c_str(), pair->cert.c_str()};
    // It insists on authorities for clients, which it then does not ask: any certificate will do.
    *config = grpc_ssl_server_certificate_config_create(pair->cert.c_str(), &pem, 1);
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  grpc_server_credentials* const credentials_;
};

// What gRPC itself has to say (failed handshakes, mostly) goes to the log of the server started last, a few lines a
// second: gRPC's hook is one function for the process.
class GrpcLog {
 public:
  static void Set(std::shared_ptr<const PeerLog> log) {
    GrpcLog& self = Get();
    const base::MutexLock lock(self.mu_);
    self.log_ = std::move(log);
    gpr_set_log_function(&GrpcLog::Write);
  }
  static void Unset(const std::shared_ptr<const PeerLog>& log) {
    GrpcLog& self = Get();
    const base::MutexLock lock(self.mu_);
    if (self.log_ != log) return;
    self.log_ = nullptr;
    gpr_set_log_function(nullptr);
  }

 private:
  static GrpcLog& Get() {
    static GrpcLog* const self = new GrpcLog;  // gRPC's threads may log until the process ends
    return *self;
  }
  static void Write(gpr_log_func_args* args) {
    std::shared_ptr<const PeerLog> log;
    {
      GrpcLog& self = Get();
      const base::MutexLock lock(self.mu_);
      log = self.log_;
    }
    const log::Level level = args->severity == GPR_LOG_SEVERITY_DEBUG ? log::Level::kDebug : log::Level::kWarn;
    if (log != nullptr) log->Write(level, "grpc", {{"error", std::string_view(args->message)}});
  }

  base::Mutex mu_;
  std::shared_ptr<const PeerLog> log_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

struct GrpcServer::State {
  explicit State(StreamPool& pool) : service(pool) {}

  ConnectService service;
  std::optional<KeyPairFiles> files;
  std::shared_ptr<const PeerLog> log;
  int port = 0;
  std::unique_ptr<grpc::Server> server;  // last: uses the others
};

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(const Options& options, StreamPool& pool,
                                                              log::Logger log) {
  if (options.tls_cert.empty() != options.tls_key.empty()) {
    return base::InvalidArgument("certificate and key belong together: set both or neither");
  }
  auto state = std::make_unique<State>(pool);
  std::shared_ptr<grpc::ServerCredentials> credentials;
  if (options.tls_cert.empty()) {
    credentials = grpc::InsecureServerCredentials();
  } else {
    state->files.emplace(options.tls_cert, options.tls_key, log);
    RETURN_IF_ERROR(state->files->Load());
    credentials = std::make_shared<ReloadingTls>(*state->files);
  }

  state->log = std::make_shared<const PeerLog>(std::move(log), base::SystemClock());
  GrpcLog::Set(state->log);
  grpc::EnableDefaultHealthCheckService(true);
  const auto ms = [](std::chrono::milliseconds d) { return static_cast<int>(d.count()); };
  grpc::ServerBuilder builder;
  builder.SetResourceQuota(grpc::ResourceQuota("ingester").Resize(static_cast<std::size_t>(options.max_buffers)));
  builder.RegisterService(&state->service)
      .SetMaxReceiveMessageSize(static_cast<int>(wire::kMaxUpstreamMessage))
      .SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false)
      .SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false)
      .AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, ms(options.keepalive_time))
      .AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, ms(options.keepalive_timeout))
      .AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1)
      .AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, ms(options.min_client_ping_interval))
      .AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0)
      .AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMostCalls)
      // A usual batch arrives whole. What gRPC would find out by measuring costs a ping with every one of them.
      .AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kLookahead)
      .AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0)
      .AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, ms(options.handshake_limit))
      .AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, ms(options.idle_limit))
      // One listening socket: two would fetch certificates at once, which gRPC does not guard. It also makes a port
      // that is taken an error.
      .AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0)
      .AddListeningPort(fmt::format("{}:{}", options.address, options.port), std::move(credentials), &state->port);
  state->server = builder.BuildAndStart();
  if (state->server == nullptr || state->port <= 0) {
    GrpcLog::Unset(state->log);
    return base::Unavailable("cannot listen on {}:{}", options.address, options.port);
  }
  std::unique_ptr<GrpcServer> server(new GrpcServer(std::move(state)));
  server->SetServing(false);
  return server;
}

GrpcServer::GrpcServer(std::unique_ptr<State> state) : state_(std::move(state)) {}

GrpcServer::~GrpcServer() {
  state_->server.reset();
  GrpcLog::Unset(state_->log);
}

int GrpcServer::port() const { return state_->port; }

void GrpcServer::SetServing(bool serving) {
  grpc::HealthCheckServiceInterface* const health = state_->server->GetHealthCheckService();
  if (health == nullptr) return;
  health->SetServingStatus("", serving);
  health->SetServingStatus(ServiceName(), serving);
}

void GrpcServer::Shutdown(std::chrono::system_clock::time_point deadline) { state_->server->Shutdown(deadline); }

}  // namespace clusterpulse::ingest
