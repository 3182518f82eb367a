// Preloaded into a program (LD_PRELOAD), this has its calendar clock off by the seconds that the file WRONG_CLOCK holds
// (8 bytes, as this machine has integers), which may change at any time. Its steady clock is as it is. For tests only.
//
// faketime does the same, but not to programs with an allocator that asks for the time before the first constructor.
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <ctime>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

namespace {

// Without allocating: it may be the allocator that asks.
const volatile std::int64_t* MapOffset() {
  const char* const file = std::getenv("WRONG_CLOCK");
  const int fd = file != nullptr ? static_cast<int>(::syscall(SYS_openat, AT_FDCWD, file, O_RDONLY | O_CLOEXEC)) : -1;
  if (fd < 0) return nullptr;
  void* const mapped = ::mmap(nullptr, sizeof(std::int64_t), PROT_READ, MAP_SHARED, fd, 0);
  ::syscall(SYS_close, fd);
  return mapped != MAP_FAILED ? static_cast<const volatile std::int64_t*>(mapped) : nullptr;
}

std::int64_t Offset() {
  static const volatile std::int64_t* const offset = MapOffset();
  return offset != nullptr ? *offset : 0;
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* now) noexcept {
  if (::syscall(SYS_clock_gettime, clock, now) != 0) return -1;
  if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) now->tv_sec += Offset();
  return 0;
}

int gettimeofday(timeval* now, void*) noexcept {
  timespec precise{};
  if (clock_gettime(CLOCK_REALTIME, &precise) != 0) return -1;
  *now = {.tv_sec = precise.tv_sec, .tv_usec = precise.tv_nsec / 1000};
  return 0;
}

std::time_t time(std::time_t* now) noexcept {
  timespec precise{};
  clock_gettime(CLOCK_REALTIME, &precise);
  if (now != nullptr) *now = precise.tv_sec;
  return precise.tv_sec;
}

}  // extern "C"
