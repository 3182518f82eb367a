#include "common/app/runtime.h"

#include <absl/synchronization/mutex.h>
#include <malloc.h>

// What jemalloc, in a program that has it, reads before main: two arenas keep what stays in few places; what is freed
// goes back to the system after a second, and pages of lists at once.
extern "C" {
extern const char* malloc_conf;
const char* malloc_conf = "narenas:2,dirty_decay_ms:1000,muzzy_decay_ms:0,oversize_threshold:262144";
}

namespace clusterpulse::app {
namespace {

// The C library's own malloc: one heap, and pages of lists straight from and to the system. Not fixed, the threshold
// grows with what is freed.
constexpr int kArenas = 1, kMmapThreshold = 128 << 10;

}  // namespace

void TuneRuntime() {
  ::mallopt(M_MMAP_THRESHOLD, kMmapThreshold);
  ::mallopt(M_ARENA_MAX, kArenas);
  // Debian builds Abseil with its debugging aids, and gRPC locks a lot: the search for cycles took 2 % of the hub.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
}

}  // namespace clusterpulse::app
