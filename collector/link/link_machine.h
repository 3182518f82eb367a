#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <absl/status/status.h>

#include "collector/link/hub_transport.h"
#include "collector/link/link_options.h"
#include "collector/link/outbox.h"
#include "common/base/backoff.h"
#include "common/base/clock.h"
#include "common/base/random.h"
#include "common/base/token_bucket.h"
#include "common/log/logger.h"
#include "common/model/delivery.h"
#include "common/telemetry/registry.h"
#include "common/wire/messages.h"

namespace clusterpulse::link {

// The collector's side of the protocol (delivery.md 3 and 6) as a plain object: events in, calls to a HubTransport out.
//
//   idle -> connecting -> registering -> [waiting ->] streaming      any of these -> backing off -> connecting
//
//   stopping: streaming -> [leaving ->] stopped                      any other -> stopped
//
// Connecting lasts until the registration is on its way. Registering ends with the Welcome of a hub of ours, or with an
// acknowledgement or a configuration without one, which makes it an upstream hub. After 2 s of silence it may be one,
// or a hub of ours that is slow: waiting, it is served as an upstream hub until it says what it is. A Welcome counts
// whenever it comes. There is at most one write at a time: a configuration report, else a due heartbeat, then what the
// outbox wants sent, at the pace the hub's configuration allows. Whatever ends a stream, the wait that follows is drawn
// from 0 to 1, 2, 4 ... s, at most min(60 s, interval); at most 5 minutes when the hub refused the credential or is an
// upstream hub. Only an acknowledgement makes it begin at 1 s again.
//
// What a hub sends that breaks the protocol ends the stream; what it sends too early or too late is ignored.
//
// Confined to one thread; owns none. The transport's events are to be handed to OnWritten, OnMessage and OnClosed, each
// followed by Step. All references are borrowed.
class LinkMachine {
 public:
  // `events` is only handed on to the transport. `registry` may be null. `publish` is told the status whenever it
  // changed, before the owner's callbacks that follow from it.
  LinkMachine(LinkOptions options, LinkCallbacks callbacks, Outbox& outbox, HubTransport& transport,
              HubTransport::Events& events, const base::Clock& clock, base::Random& random, log::Logger log,
              telemetry::Registry* registry, std::function<void(const LinkStatus&)> publish = nullptr);

  // Does what is due. To be called at first, after every event and Stop, when the outbox has something new, and at the
  // returned time.
  base::SteadyTime Step();
  void OnWritten();
  void OnMessage(std::string_view bytes);
  void OnClosed(const absl::Status& status);
  // Ends the stream when all that is not on disk was sent and applied, or when `limit` (an earlier call's, if shorter)
  // is over but for end_limit, at most half of it, in which a hub of ours is to end the stream: so it tells a collector
  // that ended from one that was lost. Opens none. The end is reached when status().state is kStopped.
  void Stop(std::chrono::milliseconds limit);

  const LinkStatus& status() const { return status_; }

 private:
  void SetState(LinkState state);
  void Publish() const;
  void Connect();
  void Pump();
  bool MaySendNew();
  // REQUIRES: stopping.
  bool IsDrained() const;
  // Begins the end of the stream if it is time to; true when nothing more is to be sent. REQUIRES: stopping.
  bool Leave();
  void Write(std::string message);
  base::SteadyTime NextStep() const;
  // Ends the stream because of `why`; OnClosed completes it.
  void Break(absl::Status why);
  // The stream, or the attempt to get one, is over.
  void Ended(const absl::Status& why);
  std::chrono::milliseconds LongestWait(const absl::Status& why) const;

  void On(const wire::Unknown&) {}
  void On(const model::Welcome& welcome);
  void On(const model::DeliveryAck& ack);
  void On(const model::Replay& replay);
  void On(const model::CollectorConfig& config);
  void On(const model::UpstreamAck& ack);
  void ProveUpstream();
  // From registering to `state`, in which batches are sent.
  void BeginSending(LinkState state);
  void Established();
  void Apply(const model::CollectorConfig& config);
  void Progress();
  model::Heartbeat Heartbeat();

  const LinkOptions options_;
  const LinkCallbacks callbacks_;
  Outbox& outbox_;
  HubTransport& transport_;
  HubTransport::Events& events_;
  const base::Clock& clock_;
  const log::Logger log_;
  const std::function<void(const LinkStatus&)> publish_;
  telemetry::Gauge connected_, backoff_seconds_;
  telemetry::Counter connects_, failures_total_;

  LinkStatus status_;
  base::Backoff backoff_;
  base::TokenBucket warnings_{1.0 / 600, 1};
  int failures_ = 0;                             // since the last acknowledgement
  std::chrono::seconds interval_{0};             // between two batches, as the owner told last
  std::string config_hash_;                      // of what is in force
  std::int64_t max_bytes_per_second_ = 0;        // the same; 0: any
  std::optional<base::SteadyTime> drain_until_;  // set: stopping
  base::SteadyTime stop_until_;                  // then: the stream is broken off

  // Of this stream or wait.
  base::SteadyTime deadline_;                    // of the state: connect, welcome, leave or next attempt
  std::optional<absl::Status> break_reason_;     // set: cancelled, waiting for OnClosed
  std::optional<base::SteadyTime> write_began_;  // set: a write is under way
  model::Capabilities capabilities_;             // what both sides have
  bool is_ours_ = false;
  std::optional<model::ConfigReport> report_;  // to be sent
  // Batches wait until the last three of these; another full one because of lost state is asked for from the second on.
  base::SteadyTime next_heartbeat_, refill_from_, full_batch_until_, hold_until_, pace_until_;
  std::uint64_t full_batches_before_ = 0;  // when the stream was established
};

}  // namespace clusterpulse::link
