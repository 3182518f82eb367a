#include "common/base/thread.h"

#include <utility>

#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

namespace clusterpulse::base {

std::jthread StartThread(const std::string& name, std::function<void()> body) {
  std::jthread thread([body = std::move(body)]() noexcept { body(); });
  pthread_setname_np(thread.native_handle(), name.substr(0, 15).c_str());
  return thread;
}

void LowerThreadPriority() {
  constexpr int kNice = 10;
  // On Linux of the thread alone. Always allowed; should a sandbox refuse it, nothing is lost but the preference.
  (void)::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kNice);
}

}  // namespace clusterpulse::base
