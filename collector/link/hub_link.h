#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "collector/link/hub_transport.h"
#include "collector/link/link_machine.h"
#include "collector/link/outbox.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/random.h"
#include "common/log/logger.h"
#include "common/telemetry/registry.h"

namespace clusterpulse::link {

// Holds the stream to the hub for the life of the program: connects, registers, sends what the outbox has, heartbeats,
// and takes acknowledgements and configuration. The decisions are LinkMachine's; this is the thread around it.
//
// Thread-safe. Start once; Stop (the destructor does, without waiting for anything to be applied) from any thread but
// the link's own. `outbox`, `clock`, `random` and `registry` are borrowed and must outlive this. Waits take real time.
class HubLink final : private HubTransport::Events {
 public:
  using Options = LinkOptions;
  using Callbacks = LinkCallbacks;

  // `transport`: MakeGrpcTransport(options) of grpc_transport.h.
  HubLink(Options options, Callbacks callbacks, Outbox& outbox, std::unique_ptr<HubTransport> transport,
          const base::Clock& clock, base::Random& random, log::Logger log = {},
          telemetry::Registry* registry = nullptr);
  ~HubLink();
  HubLink(const HubLink&) = delete;
  HubLink& operator=(const HubLink&) = delete;

  void Start();
  // Asks it to end and waits at most `limit` (zero: only asks). While the stream is up, what the outbox keeps has up to
  // 5 s within `limit` to be sent and applied, and the hub a second to end the stream. True when it has ended. May be
  // called again.
  bool Stop(std::chrono::milliseconds limit);
  // There is something new in the outbox.
  void BatchAdded();

  // As it is now, also within callbacks.
  LinkStatus status() const;

 private:
  struct Written {};
  struct Closed {
    absl::Status status;
  };
  // At most one of each kind at a time: HubTransport gives no more than it was asked for.
  using Event = std::variant<Written, std::string, Closed>;

  void OnWritten() override { Push(Written()); }
  void OnMessage(std::string bytes) override { Push(std::move(bytes)); }
  void OnClosed(absl::Status status) override { Push(Closed{std::move(status)}); }
  void Push(Event event);
  void Run();

  // Constant after construction.
  const base::Clock& clock_;
  const std::chrono::milliseconds stop_limit_;  // of the machine's Stop, without a shorter one
  const std::unique_ptr<HubTransport> transport_;

  LinkMachine machine_;  // of the thread

  mutable base::Mutex mu_;
  base::CondVar changed_;
  std::vector<Event> events_ ABSL_GUARDED_BY(mu_);
  bool batch_added_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<std::chrono::milliseconds> stop_ ABSL_GUARDED_BY(mu_);  // the machine's limit; set: asked to stop
  bool is_running_ ABSL_GUARDED_BY(mu_) = false;
  LinkStatus status_ ABSL_GUARDED_BY(mu_);

  std::jthread thread_;  // last: uses the others
};

}  // namespace clusterpulse::link
