#include "tests/soak/spool_recorder.h"

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/thread.h"

namespace clusterpulse::testing {

namespace fs = std::filesystem;

SpoolRecorder::SpoolRecorder() {
  thread_ = base::StartThread("spool-recorder", [this] {
    while (!stop_.WaitFor(std::chrono::milliseconds(20))) Look();
  });
}

SpoolRecorder::~SpoolRecorder() { stop_.RequestStop(); }

void SpoolRecorder::Watch(const std::string& cluster, const std::string& spool_dir) {
  fs::create_directories(spool_dir + ".recorded");
  base::MutexLock lock(mu_);
  spools_[cluster].dir = spool_dir;
}

std::vector<std::string> SpoolRecorder::Segments(const std::string& cluster) {
  base::MutexLock lock(mu_);
  Spool& spool = spools_[cluster];
  LookLocked(spool);
  return spool.order;
}

void SpoolRecorder::Look() {
  base::MutexLock lock(mu_);
  for (auto& [cluster, spool] : spools_) LookLocked(spool);
}

void SpoolRecorder::LookLocked(Spool& spool) {
  std::error_code error;  // a directory that is not there yet, a segment that has just gone
  for (auto entry = fs::directory_iterator(spool.dir, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    if (entry->path().extension() != ".seg") continue;
    struct stat file {};
    if (::stat(entry->path().c_str(), &file) != 0) continue;
    const std::pair<std::uint64_t, std::uint64_t> key(file.st_dev, file.st_ino);
    if (spool.segments.contains(key)) continue;
    // The inode is not used again while it has this name.
    const std::string kept =
        fmt::format("{}.recorded/{}.{}", spool.dir, file.st_ino, entry->path().filename().string());
    if (::link(entry->path().c_str(), kept.c_str()) != 0) {
      if (errno == ENOENT) continue;
      std::fprintf(stderr, "cannot record %s: %s\n", entry->path().c_str(), std::strerror(errno));
      std::abort();
    }
    // Another file may have taken the name meanwhile.
    if (::stat(kept.c_str(), &file) != 0 || std::pair<std::uint64_t, std::uint64_t>(file.st_dev, file.st_ino) != key) {
      ::unlink(kept.c_str());
      continue;
    }
    spool.segments.emplace(key, kept);
    spool.order.push_back(kept);
  }
}

}  // namespace clusterpulse::testing
