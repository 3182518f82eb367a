#include "hub/app/collector_hints.h"

namespace clusterpulse::app {
namespace {

constexpr std::chrono::seconds kRetry{10};

}  // namespace

absl::Status CollectorHints::Start() {
  // Subscribing may take as long as a connection attempt.
  thread_.Start(1, "collector-hints", [this] {
    do {
      const auto subscription = state_.Subscribe(on_hint_);
      if (subscription.ok()) return stop_.Wait();  // it reconnects by itself
      log_.Warn("cannot subscribe to hints about collectors: changes show with the clusters' passes",
                {{"error", log::ToText(subscription.status())}});
    } while (!stop_.WaitFor(kRetry));
  });
  return absl::OkStatus();
}

bool CollectorHints::Stop(std::chrono::milliseconds limit) {
  stop_.RequestStop();
  return thread_.Join(limit);
}

}  // namespace clusterpulse::app
