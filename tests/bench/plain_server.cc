// plain_server CERT_FILE KEY_FILE: what gRPC itself costs. A bidi callback server that does nothing but receive, decode
// and acknowledge, with the TLS, the channel arguments and the allocator settings of the hub's ingester. Speaks enough
// of the protocol for a collector: Welcome after the registration, an ack that says applied and durable for every
// numbered batch. Prints its port, serves until SIGTERM.
#include <csignal>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>

#include <google/protobuf/arena.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <pthread.h>

#include "clusterpulse/collector/v1/collector.pb.h"
#include "common/app/runtime.h"

namespace {

namespace pb = clusterpulse::collector::v1;

class Stream final : public grpc::ServerGenericBidiReactor {
 public:
  Stream() { StartRead(&in_); }

  void OnReadDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::OK);
    google::protobuf::Arena arena;
    auto* const request = google::protobuf::Arena::CreateMessage<pb::ConnectRequest>(&arena);
    if (!grpc::SerializationTraits<pb::ConnectRequest>::Deserialize(&in_, request).ok()) {
      return Finish({grpc::StatusCode::INTERNAL, "malformed"});
    }
    auto* const response = google::protobuf::Arena::CreateMessage<pb::ConnectResponse>(&arena);
    if (request->has_register_()) {
      pb::Welcome& welcome = *response->mutable_welcome();
      welcome.set_hub("plain");
      welcome.set_epoch(1);
      welcome.set_durable_low(request->register_().durable_low());
      welcome.set_credit_batches(16);
      welcome.set_credit_bytes(4 << 20);
      for (const std::string& capability : request->register_().capabilities()) welcome.add_capabilities(capability);
    } else if (request->metrics().seq() > 0) {
      const std::uint64_t seq = request->metrics().seq();
      pb::DeliveryAck& ack = *response->mutable_delivery_ack();
      pb::SeqRange& applied = *ack.add_applied();
      applied.set_first(seq);
      applied.set_last(seq);
      ack.set_durable_low(seq);  // they come in order
    } else {
      return StartRead(&in_);  // a heartbeat
    }
    bool own_buffer = false;
    if (!grpc::SerializationTraits<pb::ConnectResponse>::Serialize(*response, &out_, &own_buffer).ok()) {
      return Finish({grpc::StatusCode::INTERNAL, "cannot be encoded"});
    }
    StartWrite(&out_);
  }
  // The next message is read when the answer to this one is out.
  void OnWriteDone(bool ok) override { ok ? StartRead(&in_) : Finish(grpc::Status::OK); }
  void OnDone() override { delete this; }

 private:
  grpc::ByteBuffer in_, out_;
};

class Service final : public grpc::CallbackGenericService {
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* /*context*/) override {
    return new Stream;
  }
};

std::string Read(const char* path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

int main(int argc, char** argv) {
  clusterpulse::app::TuneRuntime();  // as hub/main.cc
  if (argc != 3) {
    std::fprintf(stderr, "usage: plain_server CERT_FILE KEY_FILE\n");
    return 2;
  }
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  grpc::SslServerCredentialsOptions tls;
  tls.pem_key_cert_pairs.push_back({Read(argv[2]), Read(argv[1])});
  Service service;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.RegisterCallbackGenericService(&service)
      .SetMaxReceiveMessageSize(4 << 20)
      .SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false)
      .SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false)
      .AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 20000)
      .AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 8000)
      .AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1)
      .AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10000)
      .AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0)
      .AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 256 << 10)
      .AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0)
      .AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0)
      .AddListeningPort("127.0.0.1:0", grpc::SslServerCredentials(tls), &port);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) return 1;
  std::printf("port %d\n", port);
  std::fflush(stdout);
  int signal = 0;
  sigwait(&signals, &signal);
  server->Shutdown(std::chrono::system_clock::now());
  server->Wait();
  return 0;
}
