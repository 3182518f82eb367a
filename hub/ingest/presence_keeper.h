#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/clock.h"
#include "common/model/delivery.h"
#include "hub/store/presence.h"

namespace clusterpulse::ingest {

// What a stream says about its collector, and when that is written again: on a heartbeat, at most every 25 s; on what
// people wait for (configuration, limits, what cannot be read), at most every second; and every 30 s in any case, so
// that a stream which was fenced finds out. Confined to one thread; time is an argument.
class PresenceKeeper {
 public:
  // `presence` was written at `now`.
  PresenceKeeper(store::Presence presence, base::SteadyTime now);

  // A message of any kind came.
  void OnMessage(base::SystemTime at) { presence_.last_message = at; }
  void OnHeartbeat(const model::Heartbeat& heartbeat);
  void OnConfigReport(const model::ConfigReport& report);
  // 0: not told.
  void SetInterval(std::chrono::seconds interval);
  void SetLimited(std::string_view what);
  // Due at once from now on.
  void End(std::string_view reason, base::SystemTime at);

  // When it is to be written next.
  base::SteadyTime due() const;
  // What to write; `is_held`: the hub itself does not read the stream now, so that its silence says nothing. Written or
  // Failed says what came of it.
  store::Presence Take(bool is_held, base::SystemTime now);
  void Written(base::SteadyTime now);
  void Failed();

  const store::Presence& presence() const { return presence_; }

 private:
  template <typename T>
  void Change(T& member, T value) {
    if (member == value) return;
    member = std::move(value);
    changed_ = true;
  }

  store::Presence presence_;
  base::SteadyTime written_, heartbeat_written_;
  bool changed_ = false, heard_ = false;              // since the last Take
  bool taken_changed_ = false, taken_heard_ = false;  // what that one had
  bool ended_ = false;
};

}  // namespace clusterpulse::ingest
