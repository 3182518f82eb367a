#include "hub/runtime/controller.h"

#include <exception>
#include <memory>
#include <utility>

#include <absl/hash/hash.h>

#include "common/base/random.h"
#include "common/base/status.h"
#include "common/base/thread.h"
#include "common/kube/api_error.h"

namespace clusterpulse::runtime {
namespace {

thread_local std::string reconcile_id;

// Failures of a key before its log lines rise to warn: at the default backoff they have lasted for about 1.3 s then.
constexpr int kWarnAfterRetries = 8;

}  // namespace

std::string_view CurrentReconcileId() { return reconcile_id; }

Controller::Metrics Controller::MakeMetrics(const Options& options) {
  Metrics m;
  if (options.registry == nullptr) return m;
  telemetry::Registry& registry = *options.registry;
  const std::string_view name = options.name;
  const auto total = registry.Counters("clusterpulse_hub_reconcile_total", "Passes of a controller by their outcome.",
                                       {"controller", "result"});
  m.success = total.With({name, "success"});
  m.error = total.With({name, "error"});
  m.requeue = total.With({name, "requeue"});
  m.requeue_after = total.With({name, "requeue_after"});
  m.errors =
      registry.Counters("clusterpulse_hub_reconcile_errors_total", "Passes that failed.", {"controller"}).With({name});
  m.terminal_errors =
      registry
          .Counters("clusterpulse_hub_reconcile_terminal_errors_total",
                    "Passes that failed in a way that is not tried again until the object changes.", {"controller"})
          .With({name});
  m.seconds = registry
                  .Histograms("clusterpulse_hub_reconcile_time_seconds", "Time a pass took.",
                              telemetry::LatencyBuckets(), {"controller"})
                  .With({name});
  m.max_concurrent =
      registry.Gauges("clusterpulse_hub_reconcile_max_concurrent", "Workers a controller may use.", {"controller"})
          .With({name});
  m.active_workers =
      registry.Gauges("clusterpulse_hub_reconcile_active_workers", "Workers that run a pass now.", {"controller"})
          .With({name});
  m.max_concurrent.Set(options.workers);
  return m;
}

Controller::Controller(Options options, Reconciler& reconciler, const base::Clock& clock, log::Logger log)
    : options_(std::move(options)),
      reconciler_(reconciler),
      clock_(clock),
      log_(log.With({{"controller", options_.name}})),
      metrics_(MakeMetrics(options_)),
      queue_(clock, options_.retries,
             options_.registry != nullptr ? WorkQueueMetrics::Make(*options_.registry, options_.name)
                                          : WorkQueueMetrics()) {
  if (options_.registry != nullptr) collector_ = options_.registry->AddCollector([this] { queue_.Collect(); });
}

Controller::~Controller() {
  if (options_.registry != nullptr) options_.registry->RemoveCollector(collector_);
  Stop(std::chrono::milliseconds::zero());  // the workers' destructor waits for the rest
}

absl::Status Controller::Start() {
  workers_.Start(options_.workers, options_.name, [this] {
    base::LowerThreadPriority();
    while (const auto key = queue_.Get()) {
      // What still waits at the end is taken out without a pass.
      if (!stop_.stop_requested()) Handle(*key);
      queue_.Done(*key);
    }
  });
  return absl::OkStatus();
}

bool Controller::Stop(std::chrono::milliseconds limit) {
  queue_.ShutDown();
  stop_.RequestStop();
  return workers_.Join(limit);
}

bool Controller::RunOnce() {
  const auto key = queue_.TryGet();
  if (!key) return false;
  Handle(*key);
  queue_.Done(*key);
  return true;
}

void Controller::Handle(const kube::ObjectKey& key) {
  reconcile_id = fmt::format("{:016x}", base::SystemRandom().Next());
  const log::Logger log =
      log_.With({{"namespace", key.ns}, {"name", key.name}, {"reconcile_id", std::string_view(reconcile_id)}});
  metrics_.active_workers.Add(1);
  const base::SteadyTime start = clock_.Steady();
  queue_.DropDelayed(key);
  const absl::StatusOr<Result> result = CallReconciler(key, log);
  metrics_.seconds.Observe(std::chrono::duration<double>(clock_.Steady() - start).count());
  metrics_.active_workers.Add(-1);

  if (!result.ok()) {
    Failed(key, result.status(), log);
  } else if (!result->requeue_after) {
    metrics_.success.Add();
    queue_.Forget(key);
  } else if (*result->requeue_after > std::chrono::milliseconds::zero()) {
    metrics_.requeue_after.Add();
    queue_.Forget(key);
    queue_.AddAfter(key, *result->requeue_after);
  } else {
    metrics_.requeue.Add();
    queue_.AddRateLimited(key);
  }
  reconcile_id.clear();
}

absl::StatusOr<Result> Controller::CallReconciler(const kube::ObjectKey& key, const log::Logger& log) {
  std::string what = "unknown exception";
  try {
    return reconciler_.Reconcile(key, stop_.token());
  } catch (const std::exception& e) {
    what = e.what();
  } catch (...) {
  }
  log.Error("reconcile threw an exception", {{"error", what}});
  return base::Internal("reconcile threw: {}", what);
}

void Controller::Failed(const kube::ObjectKey& key, const absl::Status& status, const log::Logger& log) {
  // Our own stop is no failure of the object's.
  if (status.code() == absl::StatusCode::kCancelled && stop_.stop_requested()) return;
  metrics_.error.Add();
  metrics_.errors.Add();
  // What an API server refuses (an admission webhook's 400 too) may pass later: only our own verdict is terminal.
  if (status.code() == absl::StatusCode::kInvalidArgument && !kube::GetApiError(status).has_value()) {
    metrics_.terminal_errors.Add();
    queue_.Forget(key);
    log.Warn("reconcile failed, not tried again until the object changes", {{"error", log::ToText(status)}});
    return;
  }
  queue_.AddRateLimited(key);
  const int retries = queue_.Retries(key);
  log.Write(retries >= kWarnAfterRetries ? log::Level::kWarn : log::Level::kDebug, "reconcile failed, trying again",
            {{"error", log::ToText(status)}, {"retries", retries}});
}

bool ChangeFilter::Passes(const kube::ObjectKey& key, const kube::ObjectMeta* meta) {
  if (meta == nullptr) {
    base::MutexLock lock(mu_);
    seen_.erase(key);
    return true;
  }
  const Fingerprint now{absl::Hash<std::string>()(meta->uid), absl::Hash<model::Labels>()(meta->labels),
                        absl::Hash<model::Labels>()(meta->annotations), meta->generation, meta->deleting()};
  base::MutexLock lock(mu_);
  const auto [it, is_new] = seen_.try_emplace(key, now);
  if (is_new) return true;
  if (it->second == now) return false;
  it->second = now;
  return true;
}

KeyHandler EnqueueChanged(Controller& controller,
                          std::function<std::optional<kube::ObjectMeta>(const kube::ObjectKey& key)> lookup) {
  return
      [&controller, lookup = std::move(lookup), filter = std::make_shared<ChangeFilter>()](const kube::ObjectKey& key) {
        const std::optional<kube::ObjectMeta> meta = lookup(key);
        if (filter->Passes(key, meta ? &*meta : nullptr)) controller.Enqueue(key);
      };
}

KeyHandler EnqueueMapped(Controller& controller,
                         std::function<std::vector<kube::ObjectKey>(const kube::ObjectKey& key)> map) {
  // Unlocked: a cache calls its handlers one after the other.
  auto known = std::make_shared<std::map<kube::ObjectKey, std::vector<kube::ObjectKey>>>();
  return [&controller, map = std::move(map), known = std::move(known)](const kube::ObjectKey& key) {
    std::vector<kube::ObjectKey> now = map(key);
    for (const kube::ObjectKey& concerned : now) controller.Enqueue(concerned);
    if (const auto before = known->find(key); before != known->end()) {
      for (const kube::ObjectKey& concerned : before->second) controller.Enqueue(concerned);
      known->erase(before);
    }
    if (!now.empty()) known->emplace(key, std::move(now));
  };
}

}  // namespace clusterpulse::runtime
