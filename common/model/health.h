#pragma once

#include <string_view>

namespace clusterpulse::model {

// Reach of a cluster: can the hub get data from it?
enum class Phase {
  kConnecting,    // not reached yet
  kConnected,     // all lists answer
  kDegraded,      // reached, but a list that is not critical fails
  kDisconnected,  // was reached, is lost
  kError,         // needs a person: spec, credentials, TLS
};
std::string_view ToString(Phase phase);

// State of a cluster, as far as fresh data tells.
enum class Health { kUnknown, kHealthy, kDegraded, kUnhealthy };
// The contract's word: unknown, healthy, degraded, unhealthy.
std::string_view ToString(Health health);

enum class CollectionMode { kPull, kPush };
std::string_view ToString(CollectionMode mode);

}  // namespace clusterpulse::model
