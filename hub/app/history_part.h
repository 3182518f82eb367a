#pragma once

#include <memory>

#include <absl/status/statusor.h>

#include "common/base/clock.h"
#include "common/base/random.h"
#include "common/log/logger.h"
#include "common/telemetry/registry.h"
#include "hub/app/config.h"
#include "hub/history/victoria_metrics_writer.h"

namespace clusterpulse::app {

// The store of samples that `config` names, as history::HistoryWriter and as a part with threads for the Manager, to be
// started before whoever writes and stopped after. Null: history is off. Connects to nothing; one that is away is
// waited for. Errors (kInvalidArgument): files with credentials or authorities that cannot be used. The rest is
// borrowed.
absl::StatusOr<std::unique_ptr<history::VictoriaMetricsWriter>> MakeHistory(const Config& config,
                                                                            const base::Clock& clock,
                                                                            base::Random& random,
                                                                            telemetry::Registry& registry,
                                                                            const log::Logger& log);

}  // namespace clusterpulse::app
