#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/clock.h"

namespace clusterpulse::store {

// A stream that is silent for so long counts as lost.
inline constexpr std::chrono::seconds kSilenceLimit{90};
// Presence::end_reason of a collector of ours that was stopped, and told the hub.
inline constexpr std::string_view kCollectorEnded = "the collector ended";

// What the hub replicas know of a cluster's collector (cluster:C:collector, ours). Written by the replica that holds
// its stream, under the stream's epoch; read by the leader, which writes the object's status from it, and by the
// replica the collector connects to next.
struct Presence {
  std::string hub;       // replica that holds, or held, the stream
  std::string instance;  // the collector's; of an upstream collector: made up by the hub for each stream
  std::string peer;      // its address
  std::string version;
  bool upstream = false;
  std::uint64_t epoch = 0;
  base::SystemTime connected_at{};
  base::SystemTime last_message{};           // written at most every few seconds; data documents tell later ones
  std::optional<base::SystemTime> ended_at;  // absent: the stream lives, as far as its replica does
  std::string end_reason;
  std::chrono::seconds interval{0};  // as the collector reported
  std::string config_hash;           // in force there
  std::vector<std::string> config_problems;

  // The stream that this one took the place of while it lived; it is kept out for a while.
  struct Rival {
    std::string instance, peer;
    base::SystemTime at{};
    bool operator==(const Rival&) const = default;
  };
  std::optional<Rival> superseded;
  std::optional<Rival> refused;  // the last that was kept out

  std::string limited;   // which limit was hit lately, in words; empty: none
  std::string degraded;  // what the collector cannot read, in its words
  std::int32_t buffered_batches = 0;
  std::uint64_t buffered_bytes = 0;
  std::optional<base::SystemTime> oldest_buffered;
  bool operator==(const Presence&) const = default;
};

}  // namespace clusterpulse::store
