#include "common/base/thread.h"

#include <utility>

#include <pthread.h>

namespace clusterpulse::base {

std::jthread StartThread(const std::string& name, std::function<void()> body) {
  std::jthread thread([body = std::move(body)]() noexcept { body(); });
  pthread_setname_np(thread.native_handle(), name.substr(0, 15).c_str());
  return thread;
}

}  // namespace clusterpulse::base
