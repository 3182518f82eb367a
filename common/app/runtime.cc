#include "common/app/runtime.h"

#include <absl/synchronization/mutex.h>
#include <malloc.h>

namespace clusterpulse::app {
namespace {

// Fixed: otherwise it grows with what is freed, and pages of lists stay with the heap.
constexpr int kMmapThreshold = 128 << 10;

}  // namespace

void TuneRuntime(int arenas) {
  ::mallopt(M_MMAP_THRESHOLD, kMmapThreshold);
  ::mallopt(M_ARENA_MAX, arenas);
  // Debian builds Abseil with its debugging aids, and gRPC locks a lot: the search for cycles took 2 % of the hub.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
}

}  // namespace clusterpulse::app
