#include "hub/reconcile/metricsource/source_recovery.h"

#include <optional>

#include "common/base/status.h"

namespace clusterpulse::reconcile {

absl::StatusOr<std::vector<std::string>> RecoverVersions(SourceCatalog& catalog, store::SourceState& sources) {
  std::vector<std::string> recovered;
  for (const SourceCatalog::Entry& entry : catalog.WithoutVersion()) {
    const std::size_t slash = entry->id.find('/');
    ASSIGN_OR_RETURN(const std::optional<store::SourceDefinition> stored,
                     sources.ReadDefinition(entry->id.substr(0, slash), entry->id.substr(slash + 1)));
    if (catalog.Recover(entry, stored)) recovered.push_back(entry->id);
  }
  return recovered;
}

}  // namespace clusterpulse::reconcile
