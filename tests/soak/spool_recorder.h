#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/mutex.h"
#include "common/base/stop_signal.h"

namespace clusterpulse::testing {

// Remembers what collectors produced: a batch is in the spool before it is sent, so a second name (a hard link) of
// every segment keeps all of them, also when the collector has removed its own. One thread looks for new segments; a
// segment lives for seconds at least. Constructing starts it, the destructor ends it. Thread-safe.
class SpoolRecorder {
 public:
  SpoolRecorder();
  ~SpoolRecorder();
  SpoolRecorder(const SpoolRecorder&) = delete;
  SpoolRecorder& operator=(const SpoolRecorder&) = delete;

  // From now on, in the directory "SPOOL_DIR.recorded" beside it. The spool need not be there yet.
  void Watch(const std::string& cluster, const std::string& spool_dir);
  // Looks at once, then says which segments there have ever been, by the order of their coming.
  std::vector<std::string> Segments(const std::string& cluster);

 private:
  struct Spool {
    std::string dir;
    std::map<std::pair<std::uint64_t, std::uint64_t>, std::string> segments;  // by device and inode
    std::vector<std::string> order;
  };
  void Look();
  void LookLocked(Spool& spool) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  base::Mutex mu_;
  std::map<std::string, Spool> spools_ ABSL_GUARDED_BY(mu_);
  base::StopSignal stop_;
  std::jthread thread_;  // last: uses the others
};

}  // namespace clusterpulse::testing
