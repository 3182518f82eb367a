#include "hub/runtime/manager.h"

#include <algorithm>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "common/base/status.h"
#include "common/base/thread.h"

namespace clusterpulse::runtime {
namespace {

using std::chrono::milliseconds;
using State = LeaderElector::State;

// What is left of a limit; never negative.
class Budget {
 public:
  explicit Budget(milliseconds limit) : deadline_(std::chrono::steady_clock::now() + limit) {}
  milliseconds Left() const {
    return std::max(std::chrono::duration_cast<milliseconds>(deadline_ - std::chrono::steady_clock::now()),
                    milliseconds::zero());
  }

 private:
  const std::chrono::steady_clock::time_point deadline_;
};

}  // namespace

Manager::Manager(Options options, LeaderElector* elector, log::Logger log)
    : options_(options), elector_(elector), log_(std::move(log)) {}

absl::Status Manager::Run(std::stop_token stop) {
  const std::stop_callback wake(stop, [this] {
    base::MutexLock lock(mu_);
    stop_ = true;
    changed_.NotifyAll();
  });

  std::optional<std::jthread> elector_thread;
  bool lost = false;
  absl::Status status = StartAll(stop);
  if (status.ok()) {
    if (elector_ != nullptr) {
      elector_thread = base::StartThread("elector", [this] { HoldLease(); });
    } else {
      base::MutexLock lock(mu_);
      lead_ = State::kLeading;
    }
    bool led = false;
    while (status.ok()) {
      {
        base::MutexLock lock(mu_);
        while (!stop_ && lead_ != State::kLost && (led || lead_ == State::kFollowing)) changed_.Wait(mu_);
        lost = lead_ == State::kLost;
        if (stop_ || lost) break;
      }
      led = true;
      status = StartLed();
    }
  }
  // A stop while parts started is no failure.
  if (status.code() == absl::StatusCode::kCancelled && stop.stop_requested()) status = absl::OkStatus();
  if (lost) status = absl::AbortedError("lost the lead");
  if (!status.ok()) log_.Error("stopping", {{"error", log::ToText(status)}});

  absl::Status stopped = StopAll(lost ? std::min(options_.lost_stop_limit, options_.stop_limit) : options_.stop_limit);
  if (elector_thread) {
    elector_stop_.RequestStop();
    elector_thread->join();
    // What needs the lead may still run: then the lease must run out by itself.
    if (stopped.ok()) {
      if (const absl::Status released = elector_->Release(options_.release_limit); !released.ok()) {
        log_.Warn("the lease runs out by itself", {{"error", log::ToText(released)}});
      }
    }
  }
  return stopped.ok() ? status : stopped;
}

absl::Status Manager::Start(Runnable& runnable) {
  started_.push_back(&runnable);
  return base::Annotate(runnable.Start(), fmt::format("starting {}", runnable.name()));
}

absl::Status Manager::StartAll(std::stop_token stop) {
  const Budget budget(options_.ready_limit);
  for (Runnable* runnable : runnables_) {
    if (!runnable->needs_lead()) RETURN_IF_ERROR(Start(*runnable));
  }
  for (Runnable* runnable : runnables_) {
    if (runnable->needs_lead()) continue;
    RETURN_IF_ERROR(base::Annotate(runnable->WaitReady(budget.Left(), stop),
                                   fmt::format("waiting for {} to be ready", runnable->name())));
  }
  return absl::OkStatus();
}

absl::Status Manager::StartLed() {
  for (Runnable* runnable : runnables_) {
    if (runnable->needs_lead()) RETURN_IF_ERROR(Start(*runnable));
  }
  return absl::OkStatus();
}

void Manager::HoldLease() {
  std::chrono::nanoseconds wait{0};
  while (!elector_stop_.WaitFor(wait)) {
    wait = elector_->Step(elector_stop_.token());
    base::MutexLock lock(mu_);
    lead_ = elector_->state();
    changed_.NotifyAll();
    if (lead_ == State::kLost) return;
  }
}

absl::Status Manager::StopAll(milliseconds limit) {
  const Budget budget(limit);
  std::vector<Runnable*> order(started_.rbegin(), started_.rend());
  // Those that need the lead are asked all at once and waited for afterwards.
  for (Runnable* runnable : order) {
    if (runnable->needs_lead()) runnable->Stop(milliseconds::zero());
  }
  std::string late;
  for (Runnable* runnable : order) {
    if (runnable->Stop(budget.Left())) continue;
    if (!late.empty()) late.append(", ");
    late.append(runnable->name());
  }
  if (late.empty()) return absl::OkStatus();
  absl::Status status =
      base::MakeStatus(absl::StatusCode::kDeadlineExceeded, "did not stop within {} ms: {}", limit.count(), late);
  log_.Error("stop took too long", {{"error", log::ToText(status)}});
  return status;
}

}  // namespace clusterpulse::runtime
