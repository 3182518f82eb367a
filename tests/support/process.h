#pragma once

#include <chrono>
#include <csignal>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <absl/status/statusor.h>

namespace clusterpulse::testing {

// A program started by a test, in a process group of its own. The destructor kills the group, so nothing outlives the
// test; when the test itself is killed, or the thread that called Start ends, the program is killed too. Confined to
// one thread.
class ChildProcess {
 public:
  struct Options {
    std::vector<std::string> argv;           // argv[0] is looked up in PATH
    std::map<std::string, std::string> env;  // added to (and replacing) the test's own
    std::vector<std::string> unset;          // removed from it
    std::string output;                      // file that takes stdout and stderr (appended); empty: inherited
  };
  static absl::StatusOr<ChildProcess> Start(const Options& options);

  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&& other) noexcept;
  ~ChildProcess();

  int pid() const { return pid_; }
  bool running();
  void Signal(int signal);
  // Waits for the end. The exit code, or 128 + signal; nullopt when it still runs after `limit`.
  std::optional<int> Wait(std::chrono::milliseconds limit);
  // SIGTERM, wait, then SIGKILL. The exit code as above.
  int Stop(std::chrono::milliseconds limit = std::chrono::seconds(10));
  void Kill9() {
    Signal(SIGKILL);
    Wait(std::chrono::seconds(5));
  }

 private:
  ChildProcess() = default;
  int pid_ = -1;
  std::optional<int> exit_code_;
};

struct CommandResult {
  int exit_code = -1;  // 124 when the limit ran out
  std::string out;     // stdout and stderr together
};
// Runs a command to its end.
CommandResult RunCommand(const std::vector<std::string>& argv, std::map<std::string, std::string> env = {},
                         std::chrono::milliseconds limit = std::chrono::seconds(30));

// Polls `condition` every 20 ms until it holds or `limit` ran out; says whether it held. For what other processes do;
// inside one process wait on the thing itself.
bool Eventually(std::chrono::milliseconds limit, const std::function<bool()>& condition);

// A directory of the test's own, removed with all it holds.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

std::string ReadFile(const std::string& path);
void WriteFile(const std::string& path, const std::string& content);
// A TCP port of 127.0.0.1 that was free a moment ago.
int FreePort();
// Folder of the built programs (build/bin): that of the running test.
std::string BinDir();

}  // namespace clusterpulse::testing
