#pragma once

#include <cstdlib>
#include <sstream>
#include <string>

#include <fmt/format.h>
#include <unistd.h>

#include "tests/support/process.h"

namespace clusterpulse::testing {

// What /proc tells of a process under measurement.

// User and system time so far.
inline double CpuSeconds(int pid) {
  const std::string stat = ReadFile(fmt::format("/proc/{}/stat", pid));
  std::istringstream fields(stat.substr(stat.rfind(')') + 2));
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;
  double user = 0, system = 0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

// A memory line of its status: VmRSS, VmHWM (the peak), RssAnon, RssFile.
inline double StatusMiB(int pid, const std::string& field) {
  const std::string status = ReadFile(fmt::format("/proc/{}/status", pid));
  const auto at = status.find(field + ":");
  return at == std::string::npos ? 0 : std::atof(status.c_str() + at + field.size() + 1) / 1024;
}

}  // namespace clusterpulse::testing
