#pragma once

#include <cstdlib>
#include <ctime>
#include <string>

#include <fmt/format.h>

#include "tests/support/process.h"

namespace clusterpulse::testing {

// What the kernel tells of a process under measurement.

// User and system time of all its threads so far, to the nanosecond; 0: it has ended.
inline double CpuSeconds(int pid) {
  clockid_t clock{};
  timespec time{};
  if (::clock_getcpuclockid(pid, &clock) != 0 || ::clock_gettime(clock, &time) != 0) return 0;
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

// A memory line of its status: VmRSS, VmHWM (the peak), RssAnon, RssFile.
inline double StatusMiB(int pid, const std::string& field) {
  const std::string status = ReadFile(fmt::format("/proc/{}/status", pid));
  const auto at = status.find(field + ":");
  return at == std::string::npos ? 0 : std::atof(status.c_str() + at + field.size() + 1) / 1024;
}

}  // namespace clusterpulse::testing
