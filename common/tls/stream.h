#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include <absl/status/statusor.h>

#include "common/base/clock.h"

namespace clusterpulse::tls {

// How a TLS client judges its peer and shows itself. At least TLS 1.2, always with verification.
struct ClientOptions {
  // Trust anchors, PEM: the text, or else the file; neither: the system's. Files are read at every Connect, so rotated
  // ones take effect with the next connection.
  std::string ca_pem;
  std::string ca_file;
  // Client certificate (chain) and key, PEM files; both or neither.
  std::string cert_file;
  std::string key_file;
  // Name or IP address the peer's certificate must carry; empty: the host that is dialled.
  std::string server_name;
};

struct Endpoint {
  std::string host;  // name, IPv4, or IPv6 without brackets
  std::uint16_t port = 0;
  std::string ToString() const;  // host:port, [v6]:port
};

// "host:port", "[v6]:port", or a host alone with `default_port`. kInvalidArgument otherwise.
absl::StatusOr<Endpoint> ParseEndpoint(std::string_view text, std::uint16_t default_port);

// A TCP connection, with TLS when asked for: the one place that includes OpenSSL for client connections. Confined to
// one thread at a time. Each call blocks until done, until `deadline` (kDeadlineExceeded), or until the stop token
// given to Connect is triggered (kCancelled, from then on always). Everything else that ends the connection is
// kUnavailable, except what needs a person: kUnauthenticated (the peer's certificate is not acceptable) and
// kInvalidArgument (our own PEM files). After an error, save for a Read that ran out of time, only destruction makes
// sense. Never raises SIGPIPE.
class Stream {
 public:
  // Tries every address the name resolves to, in the resolver's order, sharing the time until `deadline`.
  static absl::StatusOr<std::unique_ptr<Stream>> Connect(const Endpoint& endpoint,
                                                         const std::optional<ClientOptions>& tls,
                                                         base::SteadyTime deadline, std::stop_token stop = {});
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Writes all of it.
  absl::Status Write(std::string_view bytes, base::SteadyTime deadline);
  // Reads at least one byte and at most `size`. The peer's orderly end is kUnavailable.
  absl::StatusOr<std::size_t> Read(char* out, std::size_t size, base::SteadyTime deadline);
  // The connection ends with a reset when this is destroyed: what was written and has not arrived by then never does.
  // Otherwise the system goes on sending it for minutes, and the peer may take it after what came over another one.
  void Abort();
  // False when an idle connection is known to be dead (closed, failed or with unexpected bytes). Does not block.
  bool IsQuiet() const;

 private:
  struct State;
  explicit Stream(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace clusterpulse::tls
