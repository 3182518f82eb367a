// Peak memory of reading a cluster of 10,000 pods over HTTP, over what the process has when idle. Server and reader are
// processes of their own; every round is a fresh reader. The last line is the median.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/http/server.h"
#include "common/kube/http_kube_api.h"
#include "common/kube/kube_config.h"
#include "common/survey/survey.h"
#include "tests/bench/pod_pages.h"

namespace clusterpulse {
namespace {

constexpr int kPods = 10000, kPageSize = 500;
constexpr double kMustMiB = 16, kAimMiB = 8;

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "survey_memory_bench: %s\n", what.c_str());
  std::exit(1);
}

// A line of /proc/self/status, in KiB.
long StatusKiB(const std::string& name) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(name + ":", 0) == 0) return std::strtol(line.c_str() + name.size() + 1, nullptr, 10);
  }
  Fail("no " + name + " in /proc/self/status");
}

// Runs `body` in a process of its own and waits until it passes a number back; it may go on after that.
template <typename Body>
pid_t Start(Body&& body, long& number) {
  int pipe_ends[2];
  if (pipe(pipe_ends) != 0) Fail("no pipe");
  const pid_t pid = fork();
  if (pid < 0) Fail("cannot fork");
  if (pid == 0) {
    close(pipe_ends[0]);
    body([&](long value) {
      if (write(pipe_ends[1], &value, sizeof value) != sizeof value) std::_Exit(1);
    });
    std::_Exit(0);
  }
  close(pipe_ends[1]);
  const bool answered = read(pipe_ends[0], &number, sizeof number) == sizeof number;
  close(pipe_ends[0]);
  if (!answered) Fail("a process ended without an answer");
  return pid;
}

template <typename Answer>
void Serve(Answer&& answer) {
  std::vector<std::string> pages;
  for (int first = 0; first < kPods; first += kPageSize) pages.push_back(bench::MakePodPage(first, kPageSize, kPods));
  const auto pods = [&pages](const http::ServerRequest& request) {
    const auto token = request.query.find("continue");
    const int first = token == request.query.end() ? 0 : std::atoi(token->second.c_str());
    return http::ServerReply{.content_type = "application/json",
                             .body = pages.at(static_cast<std::size_t>(first / kPageSize)),
                             .headers = {}};
  };
  const auto nodes = [](const http::ServerRequest&) {
    return http::ServerReply{.content_type = "application/json",
                             .body = R"({"kind":"NodeList","metadata":{"resourceVersion":"1"},"items":[]})",
                             .headers = {}};
  };
  const auto server =
      http::Server::Start({.address = "127.0.0.1:0"}, {{"GET", "/api/v1/pods", pods}, {"GET", "/api/v1/nodes", nodes}});
  if (!server.ok()) Fail(base::Message(server.status()));
  answer((*server)->port());
  while (true) pause();
}

template <typename Answer>
void Measure(long port, Answer&& answer) {
  const auto api = kube::HttpKubeApi::Create({.server = fmt::format("http://127.0.0.1:{}", port)}, {});
  if (!api.ok()) Fail(base::Message(api.status()));
  const kube::CallOptions options;
  // Idle is after the first request: libraries have loaded and the connection is up.
  const auto warm = (*api)->List(
      {.resource = kube::kNodes}, [](json::Cursor) { return absl::OkStatus(); }, options);
  if (!warm.ok()) Fail(base::Message(warm.status()));
  const long idle = StatusKiB("VmRSS");
  std::ofstream("/proc/self/clear_refs") << "5";  // the peak starts here
  const auto read = survey::ReadNodes(**api, options);
  if (!read.ok()) Fail(base::Message(read.status()));
  if (read->counts.pods != kPods || read->unreadable != survey::Unreadable{}) Fail("wrong result");
  answer(StatusKiB("VmHWM") - idle);
}

}  // namespace
}  // namespace clusterpulse

int main(int argc, char** argv) {
  using namespace clusterpulse;
  signal(SIGPIPE, SIG_IGN);
  const bool is_smoke = argc > 1 && std::strncmp(argv[1], "--benchmark_min_time", 20) == 0;
  long port = 0;
  const pid_t server = Start([](auto&& answer) { Serve(answer); }, port);
  std::vector<long> peaks(is_smoke ? 1 : 5);
  for (long& peak : peaks) {
    const pid_t reader = Start([port](auto&& answer) { Measure(port, answer); }, peak);
    waitpid(reader, nullptr, 0);
    std::printf("peak over idle: %.2f MiB\n", static_cast<double>(peak) / 1024);
  }
  kill(server, SIGKILL);
  waitpid(server, nullptr, 0);
  std::sort(peaks.begin(), peaks.end());
  const double median = static_cast<double>(peaks[peaks.size() / 2]) / 1024;
  std::printf("pods_list_memory: %d pods: peak RSS over idle %.2f MiB (must <= %.0f, aim %.0f)\n", kPods, median,
              kMustMiB, kAimMiB);
  return median <= kMustMiB ? 0 : 1;
}
