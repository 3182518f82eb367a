#include "collector/link/hub_link.h"

#include <algorithm>
#include <utility>

#include "common/base/thread.h"

namespace clusterpulse::link {
namespace {

// Of a Stop's limit, for a stream that must be broken off.
constexpr std::chrono::milliseconds kBreakLimit{500};
constexpr std::chrono::nanoseconds kLongestWait = std::chrono::minutes(1);

}  // namespace

HubLink::HubLink(Options options, Callbacks callbacks, Outbox& outbox, std::unique_ptr<HubTransport> transport,
                 const base::Clock& clock, base::Random& random, log::Logger log, telemetry::Registry* registry)
    : clock_(clock),
      stop_limit_(options.drain_limit + options.end_limit),
      transport_(std::move(transport)),
      machine_(std::move(options), std::move(callbacks), outbox, *transport_, *this, clock, random, std::move(log),
               registry,
               [this](const LinkStatus& status) {
                 base::MutexLock lock(mu_);
                 status_ = status;
               }),
      status_(machine_.status()) {}

HubLink::~HubLink() {
  {
    base::MutexLock lock(mu_);
    stop_ = std::chrono::milliseconds(0);
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void HubLink::Start() {
  base::MutexLock lock(mu_);
  if (stop_.has_value() || thread_.joinable()) return;
  is_running_ = true;
  thread_ = base::StartThread("hub-link", [this] { Run(); });
}

bool HubLink::Stop(std::chrono::milliseconds limit) {
  const base::SteadyTime until = clock_.Steady() + limit;
  base::MutexLock lock(mu_);
  const std::chrono::milliseconds stop = limit > kBreakLimit ? std::min(stop_limit_, limit - kBreakLimit)
                                         : limit.count() > 0 ? limit / 2
                                                             : stop_limit_;
  stop_ = std::min(stop_.value_or(stop), stop);
  changed_.NotifyAll();
  while (is_running_) {
    const base::SteadyTime now = clock_.Steady();
    if (now >= until) break;
    changed_.WaitFor(mu_, until - now);
  }
  return !is_running_;
}

void HubLink::BatchAdded() {
  base::MutexLock lock(mu_);
  batch_added_ = true;
  changed_.NotifyAll();
}

LinkStatus HubLink::status() const {
  base::MutexLock lock(mu_);
  return status_;
}

void HubLink::Push(Event event) {
  base::MutexLock lock(mu_);
  events_.push_back(std::move(event));
  changed_.NotifyAll();  // under the lock: after the last event this may be destroyed as soon as it is free
}

void HubLink::Run() {
  std::optional<std::chrono::milliseconds> stop;
  for (;;) {
    const base::SteadyTime next = machine_.Step();
    if (machine_.status().state == LinkState::kStopped) break;
    std::vector<Event> events;
    {
      base::MutexLock lock(mu_);
      while (events_.empty() && !batch_added_ && stop_ == stop) {
        const std::chrono::nanoseconds wait = next - clock_.Steady();
        if (wait.count() <= 0) break;
        changed_.WaitFor(mu_, std::min(wait, kLongestWait));
      }
      batch_added_ = false;
      events.swap(events_);
      stop = stop_;
    }
    if (stop.has_value()) machine_.Stop(*stop);
    for (Event& event : events) {
      if (auto* const bytes = std::get_if<std::string>(&event)) {
        machine_.OnMessage(*bytes);
      } else if (auto* const closed = std::get_if<Closed>(&event)) {
        machine_.OnClosed(closed->status);
      } else {
        machine_.OnWritten();
      }
    }
  }
  base::MutexLock lock(mu_);
  is_running_ = false;
  changed_.NotifyAll();
}

}  // namespace clusterpulse::link
