#include "tests/common/http/testing/stuck.h"

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include <arpa/inet.h>
#include <dlfcn.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/mutex.h"
#include "common/base/stop_signal.h"

namespace clusterpulse::http {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

struct Lookups {
  base::Mutex mu;
  base::CondVar changed;
  bool stuck ABSL_GUARDED_BY(mu) = false;
  int held ABSL_GUARDED_BY(mu) = 0;
};

Lookups& Held() {
  static Lookups lookups;
  return lookups;
}

// True when the name was held, and is now to fail.
bool Hold(const char* name) {
  Lookups& lookups = Held();
  base::MutexLock lock(lookups.mu);
  if (!lookups.stuck || name == nullptr || std::strcmp(name, StuckResolver::kStuckName) != 0) return false;
  ++lookups.held;
  lookups.changed.NotifyAll();
  while (lookups.stuck) lookups.changed.Wait(lookups.mu);
  --lookups.held;
  lookups.changed.NotifyAll();
  return true;
}

}  // namespace

FullListener::FullListener() {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  filler_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  // A backlog of 0 is room for one connection; the kernel drops the SYN of the next.
  if (::bind(listener_, generic, size) != 0 || ::listen(listener_, 0) != 0 ||
      ::getsockname(listener_, generic, &size) != 0 || ::connect(filler_, generic, size) != 0) {
    std::abort();
  }
  port_ = ntohs(address.sin_port);
  // The connection counts once the listener has it, which the client's side of the handshake does not show.
  pollfd entry{listener_, POLLIN, 0};
  if (::poll(&entry, 1, 10'000) != 1) std::abort();
}

FullListener::~FullListener() {
  ::close(filler_);
  ::close(listener_);
}

bool FullListener::WaitForConnect(milliseconds limit) const {
  // "local:port remote:port state", in hexadecimal; 02 is a SYN that was sent.
  const std::string syn_sent = fmt::format(" 0100007F:{:04X} 02 ", port_);
  const auto deadline = steady_clock::now() + limit;
  base::StopSignal never;
  while (steady_clock::now() < deadline) {
    std::ifstream connections("/proc/self/net/tcp");
    for (std::string line; std::getline(connections, line);) {
      if (line.find(syn_sent) != std::string::npos) return true;
    }
    never.WaitFor(milliseconds(5));
  }
  return false;
}

StuckResolver::StuckResolver() {
  Lookups& lookups = Held();
  base::MutexLock lock(lookups.mu);
  lookups.stuck = true;
}

StuckResolver::~StuckResolver() {
  Lookups& lookups = Held();
  base::MutexLock lock(lookups.mu);
  lookups.stuck = false;
  lookups.changed.NotifyAll();
  while (lookups.held > 0) lookups.changed.Wait(lookups.mu);
}

bool StuckResolver::WaitForLookup(milliseconds limit) {
  Lookups& lookups = Held();
  const auto deadline = steady_clock::now() + limit;
  base::MutexLock lock(lookups.mu);
  while (lookups.held == 0) {
    const auto left = deadline - steady_clock::now();
    if (left <= steady_clock::duration::zero()) return false;
    lookups.changed.WaitFor(lookups.mu, left);
  }
  return true;
}

}  // namespace clusterpulse::http

// In front of the C library's, also for the shared libraries of the program.
extern "C" int getaddrinfo(const char* name, const char* service, const addrinfo* hints, addrinfo** result) {
  static const auto real = reinterpret_cast<decltype(&getaddrinfo)>(::dlsym(RTLD_NEXT, "getaddrinfo"));
  return clusterpulse::http::Hold(name) ? EAI_AGAIN : real(name, service, hints, result);
}
