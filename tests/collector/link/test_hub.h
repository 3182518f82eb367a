#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/model/batch.h"
#include "common/model/delivery.h"
#include "tests/common/http/testing/test_certs.h"

namespace clusterpulse::link {

// A hub on a real gRPC server at loopback, in one of two kinds:
//   - ours: welcomes who registers, joins no parts but keeps them, and acknowledges every batch as applied and, if
//     `makes_durable`, as durable; ends the stream of a collector that half-closes it without an error;
//   - upstream, strictly by the published facts: sends its configuration after the registration if it has one, one Ack
//     for every batch, nothing else; ends the stream with UNKNOWN when something comes before the registration, and
//     when the collector half-closes it.
// Every message is handled in order. Thread-safe.
class TestHub {
 public:
  struct Options {
    bool upstream = false;
    bool makes_durable = true;
    bool reads = true;  // false: it takes the stream and never reads
    std::optional<model::CollectorConfig> config;
    std::optional<http::KeyPair> tls;
    std::string host = "127.0.0.1";  // or "[::1]"
    int port = 0;                    // 0: any
    // Ends every stream at once with this (gRPC's number and text).
    int refuse_code = 0;
    std::string refuse_text;
  };
  struct Seen {
    int streams = 0;  // ever begun
    int open = 0;
    int half_closed = 0;                      // by the collector
    std::vector<std::string> authorizations;  // metadata of each stream; "-": none
    std::vector<model::Registration> registrations;
    std::vector<model::Batch> batches;  // messages: parts count each
    std::vector<model::ConfigReport> reports;
    int heartbeats = 0;
    std::size_t largest_message = 0;
  };

  explicit TestHub(Options options);
  ~TestHub();
  TestHub(const TestHub&) = delete;
  TestHub& operator=(const TestHub&) = delete;

  int port() const;  // 0: it could not listen
  std::string address() const;
  Seen seen() const;
  // Waits up to 10 s until `condition` holds for what was seen.
  bool WaitFor(const std::function<bool(const Seen&)>& condition) const;
  // To every open stream.
  void Say(const std::string& message);
  // The server ends, streams first.
  void Stop();

 private:
  class Service;
  class Stream;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace clusterpulse::link
