#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/stop_signal.h"
#include "common/kube/object_meta.h"
#include "common/log/logger.h"
#include "common/telemetry/registry.h"
#include "hub/runtime/reconciler.h"
#include "hub/runtime/runnable.h"
#include "hub/runtime/work_queue.h"
#include "hub/runtime/worker_group.h"

namespace clusterpulse::runtime {

// Runs a Reconciler over the keys it is given, with several workers, retries and metrics. What fails, even by an
// exception, is contained: it costs its own key a retry. Outcomes of a pass:
//
//   error                  tried again with backoff (RetryLimiter)
//   kInvalidArgument       terminal: not tried again until the key is enqueued
//   requeue_after > 0      backoff forgotten, again after that time
//   requeue_after <= 0     again with backoff
//   none                   backoff forgotten
//
// Thread-safe. Keys may be enqueued before Start: they wait, once each.
class Controller final : public Runnable {
 public:
  struct Options {
    std::string name;  // label of metrics and log lines
    int workers = 1;
    bool needs_lead = true;
    RetryLimiter::Options retries;
    telemetry::Registry* registry = nullptr;  // borrowed; null: no metrics
  };

  // `reconciler`, `clock` and the registry are borrowed and must outlive this.
  Controller(Options options, Reconciler& reconciler, const base::Clock& clock, log::Logger log);
  ~Controller() override;

  void Enqueue(const kube::ObjectKey& key) { queue_.Add(key); }
  void EnqueueAfter(const kube::ObjectKey& key, std::chrono::nanoseconds delay) { queue_.AddAfter(key, delay); }

  std::string_view name() const override { return options_.name; }
  bool needs_lead() const override { return options_.needs_lead; }
  absl::Status Start() override;
  // Ends running passes by their stop token; keys that wait are dropped.
  bool Stop(std::chrono::milliseconds limit) override;

  // Handles one key that is ready, on the calling thread; false when none is. What tests call instead of Start.
  bool RunOnce();

 private:
  struct Metrics {
    telemetry::Counter success, error, requeue, requeue_after, errors, terminal_errors;
    telemetry::Histogram seconds;
    telemetry::Gauge max_concurrent, active_workers;
  };

  static Metrics MakeMetrics(const Options& options);
  void Handle(const kube::ObjectKey& key);
  absl::StatusOr<Result> CallReconciler(const kube::ObjectKey& key, const log::Logger& log);
  void Failed(const kube::ObjectKey& key, const absl::Status& status, const log::Logger& log);

  const Options options_;
  Reconciler& reconciler_;
  const base::Clock& clock_;
  const log::Logger log_;
  const Metrics metrics_;
  WorkQueue queue_;
  int collector_ = 0;
  base::StopSignal stop_;
  WorkerGroup workers_;
};

// Decides whether a change of an object is worth a pass: true for an object that is new or gone, or whose identity,
// generation, labels, annotations or deletion differ from what was seen last (labels and annotations do not raise the
// generation). Changes of status alone never are. Thread-safe; remembers 40 bytes and the key per object.
class ChangeFilter {
 public:
  // `meta` is null for an object that is gone.
  bool Passes(const kube::ObjectKey& key, const kube::ObjectMeta* meta);

 private:
  struct Fingerprint {
    std::size_t uid, labels, annotations;
    std::int64_t generation;
    bool deleting;
    bool operator==(const Fingerprint&) const = default;
  };

  base::Mutex mu_;
  std::map<kube::ObjectKey, Fingerprint> seen_ ABSL_GUARDED_BY(mu_);
};

using KeyHandler = std::function<void(const kube::ObjectKey& key)>;

// A handler for a watch cache of the controller's own kind: enqueues the keys whose object, as `lookup` finds it in the
// cache, passes a ChangeFilter. `controller` is borrowed and must outlive the handler.
//
//   cache.AddHandler(EnqueueChanged(controller, [&](const kube::ObjectKey& key) -> std::optional<kube::ObjectMeta> {
//     const auto connection = cache.Get(key);
//     return connection ? std::optional(connection->meta) : std::nullopt;
//   }));
KeyHandler EnqueueChanged(Controller& controller,
                          std::function<std::optional<kube::ObjectMeta>(const kube::ObjectKey& key)> lookup);

// A handler for the watch cache of another kind, whose objects concern those of the controller (a Secret its users, an
// owned object its owner): enqueues the keys that `map` gives for the object's key, and those it gave the last time, so
// that an object that is gone, or turned to others, is noticed by those it concerned. Remembers the keys of objects
// that concern any. For one cache; `controller` is borrowed and must outlive the handler.
KeyHandler EnqueueMapped(Controller& controller,
                         std::function<std::vector<kube::ObjectKey>(const kube::ObjectKey& key)> map);

}  // namespace clusterpulse::runtime
