#include "common/app/process_metrics.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

#include <sys/resource.h>
#include <unistd.h>

#include "common/app/version.h"

namespace clusterpulse::app {
namespace {

std::string ReadAll(const char* path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Fields of /proc/self/stat behind the program's name, which may hold blanks: [0] is field 3 of proc(5).
std::vector<double> StatFields() {
  const std::string text = ReadAll("/proc/self/stat");
  const auto name_end = text.rfind(')');
  if (name_end == std::string::npos) return {};
  std::istringstream in(text.substr(name_end + 2));
  std::string state;
  in >> state;
  std::vector<double> fields = {0};
  double value = 0;
  while (in >> value) fields.push_back(value);
  return fields;
}

double BootTime() {
  std::ifstream file("/proc/stat");
  std::string word;
  while (file >> word) {
    double seconds = 0;
    if (word == "btime" && file >> seconds) return seconds;
  }
  return 0;
}

}  // namespace

ProcessMetrics::ProcessMetrics(telemetry::Registry& registry, const std::string& prefix) : registry_(registry) {
  cpu_seconds_ = registry.Counters("process_cpu_seconds_total", "CPU time of the process, user and system.").With({});
  resident_bytes_ = registry.Gauges("process_resident_memory_bytes", "Memory of the process that is in RAM.").With({});
  virtual_bytes_ = registry.Gauges("process_virtual_memory_bytes", "Address space of the process.").With({});
  open_fds_ = registry.Gauges("process_open_fds", "File descriptors in use.").With({});
  max_fds_ = registry.Gauges("process_max_fds", "File descriptors allowed.").With({});
  threads_ = registry.Gauges("process_threads", "Threads of the process.").With({});
  start_time_ = registry.Gauges("process_start_time_seconds", "When the process started, in Unix time.").With({});
  registry.Gauges(prefix + "_build_info", "Always 1; the labels say what runs.", {"version", "revision", "compiler"})
      .With({kVersion, kRevision, kCompiler})
      .Set(1);
  collector_ = registry.AddCollector([this] { Collect(); });
}

ProcessMetrics::~ProcessMetrics() { registry_.RemoveCollector(collector_); }

void ProcessMetrics::Collect() {
  // Numbers of proc(5) fields: utime 14, stime 15, num_threads 20, starttime 22, vsize 23, rss 24.
  constexpr std::size_t kFirst = 3;
  const std::vector<double> fields = StatFields();
  if (fields.size() > 24 - kFirst) {
    const double ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
    const double cpu = (fields[14 - kFirst] + fields[15 - kFirst]) / ticks;
    cpu_seconds_.Add(std::max(0.0, cpu - cpu_seconds_.Value()));
    threads_.Set(fields[20 - kFirst]);
    start_time_.Set(BootTime() + fields[22 - kFirst] / ticks);
    virtual_bytes_.Set(fields[23 - kFirst]);
    resident_bytes_.Set(fields[24 - kFirst] * static_cast<double>(::sysconf(_SC_PAGESIZE)));
  }
  std::error_code error;
  int fds = 0;
  for (std::filesystem::directory_iterator it("/proc/self/fd", error), end; !error && it != end; it.increment(error)) {
    ++fds;
  }
  if (fds > 0) open_fds_.Set(fds - 1);  // one of them is the listing itself
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) max_fds_.Set(static_cast<double>(limit.rlim_cur));
}

}  // namespace clusterpulse::app
