#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace clusterpulse::testing {

// A file system of so few bytes (tmpfs) of the test's own, which a test fills up. It is mounted for the calling thread
// alone and for the threads and processes that this starts from then on, so nothing is left behind, however the test
// ends. Confined to one thread.
class SmallDisk {
 public:
  // Null without the rights of root: the caller returns, unless CLUSTERPULSE_REQUIRE_REAL is set, in which case this
  // aborts the test run.
  static std::unique_ptr<SmallDisk> Create(std::uint64_t bytes);
  ~SmallDisk();
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  std::string File(const std::string& name) const { return dir_ + "/" + name; }
  // Takes every byte that is free; gives them back.
  void Fill() const;
  void Free() const;

 private:
  explicit SmallDisk(std::string dir) : dir_(std::move(dir)) {}
  const std::string dir_;
};

}  // namespace clusterpulse::testing
