#include "collector/link/spool_thread.h"

#include "common/base/thread.h"

namespace clusterpulse::link {

void SpoolThread::Start() {
  if (!thread_.joinable()) thread_ = base::StartThread("spool", [this] { Run(); });
}

void SpoolThread::Stop() {
  {
    base::MutexLock lock(mu_);
    stop_ = true;
    woken_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void SpoolThread::Wake() {
  base::MutexLock lock(mu_);
  wake_ = true;
  woken_.NotifyAll();
}

void SpoolThread::Run() {
  while (true) {
    {
      base::MutexLock lock(mu_);
      while (!wake_ && !stop_) woken_.Wait(mu_);
      if (stop_) return;
      wake_ = false;
    }
    turn_();
  }
}

}  // namespace clusterpulse::link
