#pragma once

#include <functional>
#include <string_view>
#include <utility>

#include "common/base/stop_signal.h"
#include "common/log/logger.h"
#include "hub/runtime/runnable.h"
#include "hub/runtime/worker_group.h"
#include "hub/store/collector_state.h"

namespace clusterpulse::app {

// Hears, while this replica leads, which clusters' collectors or verdicts changed, and which MetricSources' runs on
// them (store::CollectorState). What is missed costs the time until the object's next pass. One thread, which waits for
// the store; `on_hint` is called from one of the store.
class CollectorHints final : public runtime::Runnable {
 public:
  // `state` is borrowed and must outlive this.
  CollectorHints(store::CollectorState& state, std::function<void(std::string_view hint)> on_hint, log::Logger log)
      : state_(state), on_hint_(std::move(on_hint)), log_(std::move(log)) {}
  ~CollectorHints() override { stop_.RequestStop(); }

  std::string_view name() const override { return "collector hints"; }
  bool needs_lead() const override { return true; }
  absl::Status Start() override;
  bool Stop(std::chrono::milliseconds limit) override;

 private:
  store::CollectorState& state_;
  const std::function<void(std::string_view)> on_hint_;
  const log::Logger log_;
  base::StopSignal stop_;
  runtime::WorkerGroup thread_;
};

}  // namespace clusterpulse::app
