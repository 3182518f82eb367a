#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

#include "common/base/clock.h"
#include "common/http/proxy.h"
#include "common/model/delivery.h"

namespace clusterpulse::link {

struct LinkOptions {
  std::string address;  // of the hub, host:port
  std::string cluster;
  // Read anew for each stream. An error counts as a failed attempt; empty: no credential is sent.
  std::function<absl::StatusOr<std::string>()> token;
  std::string version;

  bool tls = false;
  std::string tls_ca;           // PEM file, read at each connect; empty: the system's roots
  std::string tls_server_name;  // checked in place of the host of `address`; SNI stays that host
  http::ProxySettings proxy = http::ProxySettings::FromEnvironment();

  std::chrono::seconds heartbeat{30};
  // Of the addresses behind a name each has so long to answer, handshake included, before the next is tried. Not less
  // than what a hub needs that a thousand collectors come back to at once.
  std::chrono::milliseconds address_limit{10000};
  std::chrono::milliseconds connect_limit{60000};    // until the first message is on its way: several addresses
  std::chrono::milliseconds welcome_limit{2000};     // a hub that is silent longer is served as an upstream hub
  std::chrono::milliseconds full_batch_limit{2000};  // after connecting, other batches wait so long for the full one
  std::chrono::milliseconds write_limit{120000};     // a hub that takes no message for so long is gone
  std::chrono::milliseconds drain_limit{5000};       // at Stop, for what is kept to be sent and applied
  std::chrono::milliseconds end_limit{1000};         // then, for a hub of ours to end the stream
};

// Called on the link's thread, one at a time, never under a lock. They must not block: heartbeats would be late.
struct LinkCallbacks {
  // The hub needs all state anew; the owner adds a full batch at once. After a connect (a hub of ours sent its Welcome,
  // or 2 s passed without one), when nothing else is sent until then, or for full_batch_limit; when a hub asks for
  // batches again whose state it may have lost; and, at most once an interval, when state went that it never got.
  std::function<void()> on_full_batch;
  // Puts a configuration into force; returns what of it could not be used, for a person. Comes again, unchanged, with
  // every connect.
  std::function<std::vector<std::string>(const model::CollectorConfig&)> on_config;
  // Fills uptime, degraded, last_collection and interval; the link adds the rest.
  std::function<model::Heartbeat()> heartbeat;
};

enum class LinkState {
  kIdle,
  kConnecting,
  kRegistering,
  kWaiting,  // registered with a hub that has not answered: served as an upstream hub, which may be silent for long
  kStreaming,
  kLeaving,  // has told a hub of ours that nothing more comes
  kBackingOff,
  kStopped
};
std::string_view ToString(LinkState state);

struct LinkStatus {
  LinkState state = LinkState::kIdle;
  base::SystemTime since{};  // in this state
  absl::Status last_error;   // why the last stream, or attempt to get one, ended; ok: none did
  // Of this stream, or of the last one while backing off.
  std::string hub;        // the replica, if a hub of ours
  bool upstream = false;  // it is an upstream hub: it acknowledged or configured without a Welcome
  // Last turn of the link's loop with nothing overdue from the transport; for liveness.
  base::SteadyTime last_turn{};
};

}  // namespace clusterpulse::link
