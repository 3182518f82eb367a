#include "collector/link/grpc_transport.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include <absl/strings/ascii.h>
#include <grpc/support/log.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/client_callback.h>

#include "collector/link/server_name.h"
#include "common/base/mutex.h"
#include "common/base/status.h"
#include "common/http/pem.h"
#include "common/http/url.h"
#include "common/tls/stream.h"
#include "common/wire/grpc_bytes.h"
#include "common/wire/messages.h"

namespace clusterpulse::link {
namespace {

constexpr std::uint16_t kDefaultPort = 9443;
constexpr int kPingAfterMs = 30'000, kPingLimitMs = 10'000;
constexpr std::size_t kMostCaBytes = std::size_t{1} << 20;
constexpr std::size_t kLongestError = 512;

// Once per process, what gRPC has no argument for.
void PrepareGrpc() {
  static const bool once = [] {
    // A proxy it was told to use it passes by when the host ends like an entry here; ProxyFor has decided already.
    if (std::getenv("no_proxy") != nullptr) ::setenv("no_grpc_proxy", "", 1);
    // Failed handshakes go to stderr in a form of its own, with every attempt; OnClosed tells of them. Who sets
    // GRPC_VERBOSITY wants to see them.
    if (std::getenv("GRPC_VERBOSITY") != nullptr) return true;
    gpr_set_log_function([](gpr_log_func_args* args) {
      constexpr char kAssertion[] = "assertion failed";
      if (std::strncmp(args->message, kAssertion, sizeof(kAssertion) - 1) != 0) return;
      std::fprintf(stderr, "%s:%d %s\n", args->file, args->line, args->message);
    });
    return true;
  }();
  (void)once;
}

absl::StatusOr<std::string> ReadCa(const std::string& path) {
  std::error_code error;
  // A pipe would keep us waiting.
  if (!std::filesystem::is_regular_file(path, error)) return base::InvalidArgument("CA file {}: cannot be read", path);
  std::ifstream file(path, std::ios::binary);
  std::string pem(kMostCaBytes + 1, '\0');
  file.read(pem.data(), static_cast<std::streamsize>(pem.size()));
  pem.resize(static_cast<std::size_t>(file.gcount()));
  if (pem.size() > kMostCaBytes) {
    return base::InvalidArgument("CA file {}: more than {} KiB", path, kMostCaBytes >> 10);
  }
  RETURN_IF_ERROR(base::Annotate(http::CheckCaPem(pem), fmt::format("CA file {}", path)));
  return pem;
}

// Judges the peer by a name that is not the one dialled. The chain was verified before.
class ServerNameVerifier final : public grpc::experimental::ExternalCertificateVerifier {
 public:
  explicit ServerNameVerifier(std::string name) : name_(std::move(name)) {}

  bool Verify(grpc::experimental::TlsCustomVerificationCheckRequest* request, std::function<void(grpc::Status)>,
              grpc::Status* sync_status) override {
    const grpc::string_ref pem = request->peer_cert();
    if (!CertificateNames(std::string_view(pem.data(), pem.size()), name_)) {
      *sync_status = grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "the certificate of the hub is not for " + name_);
    }
    return true;
  }
  void Cancel(grpc::experimental::TlsCustomVerificationCheckRequest*) override {}

 private:
  const std::string name_;
};

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeCredentials(const LinkOptions& options) {
  if (!options.tls) return grpc::InsecureChannelCredentials();
  std::string ca;
  if (!options.tls_ca.empty()) {
    ASSIGN_OR_RETURN(ca, ReadCa(options.tls_ca));
  }
  if (options.tls_server_name.empty()) return grpc::SslCredentials({.pem_root_certs = ca});
  // The override argument of plain SslCredentials would change SNI too, by which passthrough routers choose the hub.
  grpc::experimental::TlsChannelCredentialsOptions tls;
  if (!ca.empty()) {
    tls.set_certificate_provider(std::make_shared<grpc::experimental::StaticDataCertificateProvider>(ca));
    tls.watch_root_certs();
  }
  tls.set_verify_server_certs(true);
  tls.set_check_call_host(false);
  tls.set_certificate_verifier(
      grpc::experimental::ExternalCertificateVerifier::Create<ServerNameVerifier>(options.tls_server_name));
  return grpc::experimental::TlsCredentials(tls);
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const LinkOptions& options) {
  ASSIGN_OR_RETURN(const tls::Endpoint endpoint, tls::ParseEndpoint(options.address, kDefaultPort), "address");
  ASSIGN_OR_RETURN(const std::string proxy, ProxyFor(options));
  ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ChannelCredentials> credentials, MakeCredentials(options));
  grpc::ChannelArguments args;
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // otherwise a new channel may take over the old connection
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, static_cast<int>(options.address_limit.count()));  // for each address
  args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kPingAfterMs);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kPingLimitMs);
  args.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  args.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);  // otherwise pings stop after two
  args.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);                // would keep copies of what was sent
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, proxy.empty() ? 0 : 1);
  if (!proxy.empty()) args.SetString(GRPC_ARG_HTTP_PROXY, proxy);
  args.SetMaxReceiveMessageSize(static_cast<int>(wire::kMaxUpstreamMessage));
  args.SetMaxSendMessageSize(-1);
  return grpc::CreateCustomChannel("dns:///" + endpoint.ToString(), credentials, args);
}

absl::Status CheckToken(const std::string& token) {
  // gRPC ends the process over a header value it cannot send.
  const bool is_text = std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c <= '~'; });
  return is_text ? absl::OkStatus() : absl::InvalidArgumentError("the token holds characters that no token has");
}

// One stream and its connection. gRPC calls the On... methods on threads of its own; OnDone is the last.
class Call final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  Call(std::shared_ptr<grpc::Channel> channel, const std::string& token, HubTransport::Events& events)
      : channel_(std::move(channel)), stub_(channel_), events_(events) {
    if (!token.empty()) context_.AddMetadata("authorization", "Bearer " + token);
    stub_.PrepareBidiStreamingCall(&context_, std::string(wire::kConnectMethod), {}, this);
    AddHold();  // while operations may still be started: until is_over_
    StartCall();
  }

  void Write(std::string message) {
    // gRPC lets go of the bytes when they are on the wire.
    auto* const bytes = new std::string(std::move(message));
    const grpc::Slice slice(
        bytes->data(), bytes->size(), [](void* owned) { delete static_cast<std::string*>(owned); }, bytes);
    out_ = grpc::ByteBuffer(&slice, 1);
    WhileOpen([this] { StartWrite(&out_); });
  }
  void Receive() {
    WhileOpen([this] { StartRead(&in_); });
  }
  void HalfClose() {
    WhileOpen([this] { StartWritesDone(); });
  }
  void Cancel() {
    context_.TryCancel();
    End();
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return;  // the read fails too
    events_.OnWritten();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return End();
    std::string bytes = wire::ToBytes(in_);
    in_.Clear();
    events_.OnMessage(std::move(bytes));
  }
  void OnDone(const grpc::Status& status) override {
    events_.OnClosed(absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                                  status.error_message().substr(0, kLongestError)));
  }

 private:
  template <typename Start>
  void WhileOpen(Start start) {
    {
      base::MutexLock lock(mu_);
      if (is_over_) return;
      AddHold();
    }
    start();
    RemoveHold();
  }
  // No operation is started any more.
  void End() {
    {
      base::MutexLock lock(mu_);
      if (std::exchange(is_over_, true)) return;
    }
    RemoveHold();
  }

  const std::shared_ptr<grpc::Channel> channel_;
  grpc::GenericStub stub_;
  HubTransport::Events& events_;
  grpc::ClientContext context_;
  grpc::ByteBuffer out_, in_;  // of the operation under way

  base::Mutex mu_;
  bool is_over_ ABSL_GUARDED_BY(mu_) = false;
};

class GrpcTransport final : public HubTransport {
 public:
  explicit GrpcTransport(const LinkOptions& options) : options_(options) { PrepareGrpc(); }

  void Open(const std::string& token, Events& events) override {
    absl::Status status = CheckToken(token);
    if (status.ok()) {
      auto channel = MakeChannel(options_);
      status = channel.status();
      if (status.ok()) call_ = std::make_unique<Call>(*std::move(channel), token, events);
    }
    if (!status.ok()) events.OnClosed(std::move(status));
  }
  void Write(std::string message) override {
    if (call_ != nullptr) call_->Write(std::move(message));
  }
  void Receive() override {
    if (call_ != nullptr) call_->Receive();
  }
  void HalfClose() override {
    if (call_ != nullptr) call_->HalfClose();
  }
  void Cancel() override {
    if (call_ != nullptr) call_->Cancel();
  }
  void Release() override { call_.reset(); }

 private:
  const LinkOptions options_;
  std::unique_ptr<Call> call_;
};

}  // namespace

absl::StatusOr<std::string> ProxyFor(const LinkOptions& options) {
  ASSIGN_OR_RETURN(const tls::Endpoint endpoint, tls::ParseEndpoint(options.address, kDefaultPort), "address");
  http::Url target{.scheme = "https", .host = absl::AsciiStrToLower(endpoint.host), .port = endpoint.port};
  if (!options.tls && options.proxy.https_proxy.empty()) target.scheme = "http";
  const std::string chosen = http::ChooseProxy(target, options.proxy);
  if (chosen.empty()) return chosen;
  ASSIGN_OR_RETURN(const http::Proxy proxy, http::ParseProxy(chosen));
  if (proxy.name.rfind("http://", 0) != 0) {
    return base::InvalidArgument("proxy {}: the stream to the hub can only use http proxies", proxy.name);
  }
  return proxy.url;
}

std::unique_ptr<HubTransport> MakeGrpcTransport(const LinkOptions& options) {
  return std::make_unique<GrpcTransport>(options);
}

}  // namespace clusterpulse::link
