// The `metricsource` commands as a shell has them: signals, pipes, what cannot be written.
#include <algorithm>
#include <csignal>
#include <filesystem>
#include <iterator>
#include <string>
#include <vector>

#include <catch2/catch.hpp>
#include <fmt/format.h>
#include <sys/stat.h>

#include "tests/support/process.h"

namespace clusterpulse::testing {
namespace {

using namespace std::chrono_literals;

constexpr const char* kSource = R"(apiVersion: clusterpulse.io/v1alpha1
kind: MetricSource
metadata: {name: pods}
spec:
  source: {apiVersion: v1, kind: Pod}
  fields: [{name: phase, path: .status.phase}]
  rbac: {resourceTypeName: pod}
)";

// A folder with a source, and what a shell says of a script in which $hub is the program and $file the source.
struct Shell {
  TempDir dir;
  std::string file = dir.File("pods.yaml");

  Shell() { WriteFile(file, kSource); }
  std::string Run(const std::string& script) const {
    return RunCommand({"bash", "-c", "cd " + dir.path() + "\n" + script + "\necho \"code $?\""},
                      {{"hub", BinDir() + "/clusterpulse-hub"}, {"file", "pods.yaml"}})
        .out;
  }
};

TEST_CASE("a source may come from standard input or a pipe") {
  const Shell shell;
  for (const char* script : {"$hub metricsource check - < $file", "cat $file | $hub metricsource check -",
                             "$hub metricsource check <(cat $file)"}) {
    CAPTURE(script);
    const std::string said = shell.Run(script);
    CAPTURE(said);
    CHECK(said.find(": clusterpulse/pods: ok, 1 field, 0 computed, 0 aggregations, hash ") != std::string::npos);
    CHECK(said.ends_with("\ncode 0\n"));
  }
  CHECK(shell.Run("$hub metricsource check - < /dev/null") ==
        "clusterpulse-hub: standard input: there is nothing in it\ncode 1\n");
  CHECK(shell.Run("$hub metricsource check - < /dev/zero") ==
        "clusterpulse-hub: standard input: larger than 4194304 bytes\ncode 1\n");
}

TEST_CASE("an answer that cannot be written is an error, one that nobody reads is no noise") {
  const Shell shell;
  CHECK(shell.Run("$hub metricsource check $file > /dev/full") ==
        "clusterpulse-hub: standard output: cannot be written: No space left on device\ncode 1\n");
  // A pipe whose reader has gone before anything is written.
  CHECK(shell.Run("exec 3> >(exit 0); wait $!; $hub metricsource check $file >&3 3>&-") == "code 1\n");
}

TEST_CASE("a signal ends the wait for a file") {
  const Shell shell;
  const std::string pipe = shell.dir.File("pipe");
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  for (const char* command : {"check", "try"}) {
    for (const int signal : {SIGINT, SIGTERM}) {
      CAPTURE(command, signal);
      const std::string log = shell.dir.File(fmt::format("{}-{}", command, signal));
      auto process =
          ChildProcess::Start({.argv = {BinDir() + "/clusterpulse-hub", "metricsource", command, pipe}, .output = log});
      REQUIRE(process.ok());
      const std::filesystem::path threads = fmt::format("/proc/{}/task", process->pid());
      REQUIRE(Eventually(10s, [&] {
        std::error_code error;
        return std::distance(std::filesystem::directory_iterator(threads, error), {}) > 1;
      }));
      process->Signal(signal);
      CHECK(process->Wait(10s) == 1);
      CHECK(ReadFile(log) == "");
    }
  }
}

TEST_CASE("a signal ends a run whose server cannot be reached, in one line") {
  const Shell shell;
  const std::string config = shell.dir.File("kubeconfig"), log = shell.dir.File("log");
  WriteFile(config, fmt::format("apiVersion: v1\nkind: Config\ncurrent-context: c\n"
                                "contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n"
                                "clusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:{}'}}}}]\n"
                                "users: [{{name: u, user: {{token: hunter2}}}}]\n",
                                FreePort()));
  std::string source = kSource;
  source.replace(source.find("  rbac:"), 0, "  collection: {retryAttempts: 10, timeoutSeconds: 60}\n");
  WriteFile(shell.file, source);
  auto process = ChildProcess::Start(
      {.argv = {BinDir() + "/clusterpulse-hub", "metricsource", "try", shell.file, "--kubeconfig", config},
       .output = log});
  REQUIRE(process.ok());
  REQUIRE(Eventually(20s, [&] { return ReadFile(log).find(" API calls after 2 s\n") != std::string::npos; }));
  process->Signal(SIGINT);
  CHECK(process->Wait(10s) == 1);
  const std::string said = ReadFile(log);
  CAPTURE(said);
  CHECK(said.find("\nclusterpulse-hub: clusterpulse/pods: Stopped: ") != std::string::npos);
  CHECK(said.find("hunter2") == std::string::npos);
  CHECK(std::count(said.begin(), said.end(), '\n') == 2);
}

}  // namespace
}  // namespace clusterpulse::testing
