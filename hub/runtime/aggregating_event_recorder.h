#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/random.h"
#include "common/base/stop_signal.h"
#include "common/kube/kube_api.h"
#include "common/log/logger.h"
#include "common/telemetry/registry.h"
#include "hub/runtime/event_correlator.h"
#include "hub/runtime/event_recorder.h"
#include "hub/runtime/runnable.h"
#include "hub/runtime/worker_group.h"

namespace clusterpulse::runtime {

// Writes core/v1 Events through a KubeApi from a thread of its own. Repeats, similar messages and floods become few
// writes (EventCorrelator). Delivery is best effort: a write the server cannot take now is tried `tries` times, one it
// refuses is dropped; what waits meanwhile fills the queue, and what finds it full is dropped. Stop sends what is left,
// one try each, until the first failure or the drain limit.
//
// Record is thread-safe; Step is confined to one thread.
class AggregatingEventRecorder final : public EventRecorder, public Runnable {
 public:
  struct Options {
    std::string component = "clusterpulse-hub";  // the Events' source
    std::string instance;                        // their reporting instance: the pod's name
    std::size_t queue = 1000;
    int tries = 12;
    std::chrono::milliseconds retry_period{10000};  // the first wait is a random part of it
    std::chrono::milliseconds call_timeout{10000};
    std::chrono::milliseconds drain_limit{3000};  // for sending what is left, after Stop
    EventCorrelator::Options correlator;
    telemetry::Registry* registry = nullptr;  // borrowed; null: no metrics
  };
  // All borrowed; must outlive this.
  AggregatingEventRecorder(Options options, kube::KubeApi& api, const base::Clock& clock, base::Random& random,
                           log::Logger log);
  ~AggregatingEventRecorder() override;

  void Record(const ObjectRef& about, EventType type, std::string_view reason, std::string_view message) override;

  std::string_view name() const override { return "event-recorder"; }
  absl::Status Start() override;
  bool Stop(std::chrono::milliseconds limit) override;

  // Sends the next write, or tries the last one again. Returns how long to wait before the next call; absent when
  // nothing is left to do. What the thread of Start loops over; tests call it instead.
  std::optional<std::chrono::nanoseconds> Step();

 private:
  enum class Sent { kYes, kRefused, kRetry };

  void Loop();
  void Drain();
  std::optional<Occurrence> Pop();
  Sent Send(EventWrite& write, std::chrono::milliseconds timeout, std::stop_token stop);
  absl::Status Create(const EventWrite& write, const kube::CallOptions& options);
  absl::Status Patch(const EventWrite& write, const kube::CallOptions& options);

  const Options options_;
  kube::KubeApi& api_;
  const base::Clock& clock_;
  base::Random& random_;
  const log::Logger log_;
  telemetry::Counter created_, updated_, muted_, dropped_, refused_, failed_;

  // Used by Step alone.
  EventCorrelator correlator_;
  std::optional<EventWrite> pending_;  // to be tried again
  int tries_ = 0;

  base::Mutex mu_;
  base::CondVar changed_;
  std::deque<Occurrence> queue_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;

  base::StopSignal stop_;
  WorkerGroup thread_;
};

}  // namespace clusterpulse::runtime
