#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

#include <absl/status/statusor.h>

// Named places at which a test has the process killed, as kill -9 would at exactly that moment: between two steps that
// a crash must not be able to come between unnoticed. For tests only: nothing but the environment variable
// CLUSTERPULSE_FAILPOINT arms one, and the program says so at its start.
//
//   base::FailPoint("spool.appended");                                       // in the code
//   CLUSTERPULSE_FAILPOINT=spool.appended:3 clusterpulse-collector ...       // dies at the third passing
namespace clusterpulse::base {

// All there are, so that a misspelt one is found at the start. docs/testing.md says where each stands.
inline constexpr std::array<std::string_view, 9> kFailPoints{
    "spool.appended",    // collector: a record is written, and not synced
    "spool.synced",      // collector: ... synced, and nobody knows of it
    "spool.rotated",     // collector: a new segment is there, and empty
    "spool.deleting",    // collector: before a segment is removed
    "spool.deleted",     // collector: after that
    "ingest.applied",    // hub: a batch is in the store, and not acknowledged
    "history.accepted",  // hub: the history store took samples, which are not durable
    "position.writing",  // hub: batches are durable, and their position is not written
    "position.written",  // hub: ... written, and not told to the collector
};

struct FailPointPlan {
  std::string_view name;       // of kFailPoints
  std::uint64_t passings = 1;  // it dies at this one
  bool operator==(const FailPointPlan&) const = default;
};
// "NAME" or "NAME:N", N from 1. kInvalidArgument names what is allowed.
absl::StatusOr<FailPointPlan> ParseFailPoint(std::string_view text);

// From now on; in place of what was armed before. Thread-safe.
void ArmFailPoint(const FailPointPlan& plan);
void DisarmFailPoint();

namespace internal {
extern std::atomic<bool> fail_point_armed;
void PassFailPoint(std::string_view name);
}  // namespace internal

// Costs one relaxed load when nothing is armed. Does not return at the passing that was armed. Thread-safe.
inline void FailPoint(std::string_view name) {
  if (internal::fail_point_armed.load(std::memory_order_relaxed)) [[unlikely]]
    internal::PassFailPoint(name);
}

}  // namespace clusterpulse::base
