// Preloaded into a program (LD_PRELOAD), this has its disk fail: while the file that FAULTY_DISK_WHILE names exists,
// what changes a file below the directory FAULTY_DISK_DIR answers EIO. For tests only.
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <dlfcn.h>
#include <sys/types.h>
#include <unistd.h>

namespace {

bool IsFaulty(int fd) {
  static const char* const dir = std::getenv("FAULTY_DISK_DIR");
  static const char* const trigger = std::getenv("FAULTY_DISK_WHILE");
  if (dir == nullptr || trigger == nullptr || ::access(trigger, F_OK) != 0) return false;
  char link[64], path[4096];
  std::snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  const ssize_t size = ::readlink(link, path, sizeof(path));
  const std::size_t prefix = std::strlen(dir);
  return size > 0 && static_cast<std::size_t>(size) > prefix && std::strncmp(path, dir, prefix) == 0;
}

// What the next library has of that name.
template <typename Function>
Function* Real(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

ssize_t pwrite(int fd, const void* bytes, std::size_t count, off_t offset) {
  static auto* const real = Real<ssize_t(int, const void*, std::size_t, off_t)>("pwrite");
  return IsFaulty(fd) ? (errno = EIO, -1) : real(fd, bytes, count, offset);
}

ssize_t pwrite64(int fd, const void* bytes, std::size_t count, off64_t offset) {
  static auto* const real = Real<ssize_t(int, const void*, std::size_t, off64_t)>("pwrite64");
  return IsFaulty(fd) ? (errno = EIO, -1) : real(fd, bytes, count, offset);
}

int fdatasync(int fd) {
  static auto* const real = Real<int(int)>("fdatasync");
  return IsFaulty(fd) ? (errno = EIO, -1) : real(fd);
}

int fallocate(int fd, int mode, off_t offset, off_t size) {
  static auto* const real = Real<int(int, int, off_t, off_t)>("fallocate");
  return IsFaulty(fd) ? (errno = EIO, -1) : real(fd, mode, offset, size);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t size) {
  static auto* const real = Real<int(int, int, off64_t, off64_t)>("fallocate64");
  return IsFaulty(fd) ? (errno = EIO, -1) : real(fd, mode, offset, size);
}

int ftruncate(int fd, off_t size) noexcept {
  static auto* const real = Real<int(int, off_t)>("ftruncate");
  return IsFaulty(fd) ? (errno = EIO, -1) : real(fd, size);
}

}  // extern "C"
