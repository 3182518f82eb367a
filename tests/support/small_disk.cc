#include "tests/support/small_disk.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

namespace clusterpulse::testing {

std::unique_ptr<SmallDisk> SmallDisk::Create(std::uint64_t bytes) {
  std::string dir = (std::filesystem::temp_directory_path() / "clusterpulse-disk.XXXXXX").string();
  if (::mkdtemp(dir.data()) == nullptr) std::abort();
  // What is mounted is seen by nobody else.
  const bool mounted =
      ::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
      ::mount("small-disk", dir.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, fmt::format("size={}", bytes).c_str()) == 0;
  if (mounted) return std::unique_ptr<SmallDisk>(new SmallDisk(std::move(dir)));
  std::fprintf(stderr, "SKIPPED: no disk of the test's own (%s), tests that fill one do not run\n",
               std::strerror(errno));
  ::rmdir(dir.c_str());
  if (std::getenv("CLUSTERPULSE_REQUIRE_REAL") != nullptr) std::abort();
  return nullptr;
}

SmallDisk::~SmallDisk() {
  ::umount2(dir_.c_str(), MNT_DETACH);  // best effort: it ends with the process anyway
  ::rmdir(dir_.c_str());
}

void SmallDisk::Fill() const {
  const int fd = ::open(File("ballast").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) std::abort();
  ::lseek(fd, 0, SEEK_END);
  const std::string block(4096, 'x');
  while (::write(fd, block.data(), block.size()) > 0) continue;
  ::close(fd);
}

void SmallDisk::Free() const { ::unlink(File("ballast").c_str()); }

}  // namespace clusterpulse::testing
