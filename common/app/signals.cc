#include "common/app/signals.h"

#include <cerrno>
#include <csignal>
#include <thread>
#include <utility>

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/thread.h"

namespace clusterpulse::app {
namespace {

sigset_t StopSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

class Handler final : public SignalHandler {
 public:
  Handler(base::StopSignal& stop, Options options, int signals, int wake)
      : stop_(stop), options_(std::move(options)), signals_(signals), wake_(wake) {
    thread_ = base::StartThread("signals", [this] { Loop(); });
  }
  ~Handler() override {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(wake_, &one, sizeof(one));  // an eventfd takes one always
    thread_.join();
    ::close(signals_);
    ::close(wake_);
  }

 private:
  void Loop() {
    bool stopping = false;
    base::SteadyTime deadline{};
    while (true) {
      int timeout = -1;
      if (stopping) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - base::SystemClock().Steady());
        if (left.count() <= 0) End("the clean stop took longer than allowed");
        timeout = static_cast<int>(left.count());
      }
      pollfd fds[2] = {{signals_, POLLIN, 0}, {wake_, POLLIN, 0}};
      const int ready = ::poll(fds, 2, timeout);
      if (ready < 0 && errno != EINTR) End("waiting for signals failed");
      if (ready <= 0) continue;
      if (fds[1].revents != 0) return;
      // Both at once when both are there.
      signalfd_siginfo info[2] = {};
      const ssize_t size = ::read(signals_, info, sizeof(info));
      if (size <= 0) continue;
      if (stopping || size == sizeof(info)) End("a second signal came during the stop");
      stopping = true;
      deadline = base::SystemClock().Steady() + options_.limit;
      stop_.RequestStop();
    }
  }

  [[noreturn]] void End(const char* reason) {
    if (options_.on_abrupt_end) options_.on_abrupt_end(reason);
    ::_exit(1);
  }

  base::StopSignal& stop_;
  const Options options_;
  const int signals_, wake_;
  std::jthread thread_;
};

}  // namespace

void BlockSignals() {
  const sigset_t set = StopSignals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

absl::StatusOr<std::unique_ptr<SignalHandler>> SignalHandler::Start(base::StopSignal& stop, Options options) {
  const sigset_t set = StopSignals();
  const int signals = ::signalfd(-1, &set, SFD_CLOEXEC);
  const int wake = ::eventfd(0, EFD_CLOEXEC);
  if (signals < 0 || wake < 0) {
    if (signals >= 0) ::close(signals);
    if (wake >= 0) ::close(wake);
    return absl::ResourceExhaustedError("no file descriptors for signals");
  }
  return std::make_unique<Handler>(stop, std::move(options), signals, wake);
}

}  // namespace clusterpulse::app
