#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include <absl/status/status.h>

#include "common/wire/messages.h"

namespace clusterpulse::testing {

class RawClient;

// How a client reaches the server.
struct ClientOptions {
  std::string target;  // "localhost:PORT"
  std::string ca_pem;  // empty: no TLS
  bool compressed = false;
  std::chrono::milliseconds keepalive_time{30000}, keepalive_timeout{10000};
  const RawClient* same_connection = nullptr;  // borrowed while the client is made; the rest is then that one's
};

// One stream to the ingester over real gRPC, with messages as bytes. Every call waits at most `kLimit`. Confined to one
// thread.
class RawClient {
 public:
  static constexpr std::chrono::seconds kLimit{20};

  // A connection of its own, unless the options say otherwise.
  explicit RawClient(const ClientOptions& options, const std::string& bearer = "");
  ~RawClient();  // cancels
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  // False: the stream is over, or the message is not on its way in time.
  bool Send(std::string bytes, std::chrono::milliseconds limit = kLimit);
  template <typename T>
  bool Send(const T& message) {
    return Send(wire::Encode(message));
  }
  // The next message. Nullopt: the stream is over, or nothing came in time.
  std::optional<wire::FromHub> Receive(std::chrono::milliseconds limit = kLimit);
  // The next message that is a T; others are skipped.
  template <typename T>
  std::optional<T> Await(std::chrono::milliseconds limit = kLimit) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (true) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      if (left <= std::chrono::milliseconds::zero()) return std::nullopt;
      std::optional<wire::FromHub> message = Receive(left);
      if (!message) return std::nullopt;
      if (T* match = std::get_if<T>(&*message)) return std::move(*match);
    }
  }
  // Sends nothing more.
  void HalfClose();
  void Cancel();
  // Waits for the end; kDeadlineExceeded "still open" when it does not come.
  absl::Status Finish(std::chrono::milliseconds limit = kLimit);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// grpc.health.v1: true when serving, false when not, an error otherwise.
absl::Status CheckHealth(const ClientOptions& options, const std::string& service, bool& serving);

}  // namespace clusterpulse::testing
