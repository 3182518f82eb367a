#include "common/model/health.h"

#include "common/model/cluster.h"

namespace clusterpulse::model {

std::string_view ToString(NodeStatus status) {
  switch (status) {
    case NodeStatus::kUnknown:
      return "Unknown";
    case NodeStatus::kReady:
      return "Ready";
    case NodeStatus::kNotReady:
      return "NotReady";
    case NodeStatus::kSchedulingDisabled:
      return "SchedulingDisabled";
  }
  return "Unknown";
}

std::string_view ToString(Phase phase) {
  switch (phase) {
    case Phase::kConnecting:
      return "Connecting";
    case Phase::kConnected:
      return "Connected";
    case Phase::kDegraded:
      return "Degraded";
    case Phase::kDisconnected:
      return "Disconnected";
    case Phase::kError:
      return "Error";
  }
  return "Error";
}

std::string_view ToString(Health health) {
  switch (health) {
    case Health::kUnknown:
      return "unknown";
    case Health::kHealthy:
      return "healthy";
    case Health::kDegraded:
      return "degraded";
    case Health::kUnhealthy:
      return "unhealthy";
  }
  return "unknown";
}

std::string_view ToString(CollectionMode mode) {
  switch (mode) {
    case CollectionMode::kPull:
      return "pull";
    case CollectionMode::kPush:
      return "push";
  }
  return "pull";
}

}  // namespace clusterpulse::model
