#pragma once

#include <string>
#include <vector>

#include <absl/status/statusor.h>

#include "hub/reconcile/metricsource/source_catalog.h"
#include "hub/store/source_state.h"

namespace clusterpulse::reconcile {

// Puts the last valid version of sources that have had none since this process began (SourceCatalog::WithoutVersion)
// back in force, out of the store. Returns the ids of those for which there was one. An error is the store's: some
// sources may not have been looked for yet.
absl::StatusOr<std::vector<std::string>> RecoverVersions(SourceCatalog& catalog, store::SourceState& sources);

}  // namespace clusterpulse::reconcile
