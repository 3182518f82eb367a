#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/status.h>

#include "common/json/cursor.h"
#include "common/model/cluster.h"

namespace clusterpulse::survey {

// The parts of a Subscription that the survey uses.
struct Subscription {
  std::string ns, installed_csv;
  std::optional<std::string> approval;  // spec.installPlanApproval
  std::string watch_namespace;          // WATCH_NAMESPACE in spec.config.env; empty: none
};

// The parts of a ClusterServiceVersion that the survey uses: CSVs are hundreds of KiB (icons, descriptions, CRDs).
struct ClusterServiceVersion {
  std::string ns, name, display_name, version, provider, phase;
  std::string created_at, updated_at;
  bool has_spec = false;
  bool lists_install_modes = false;              // spec.installModes is there
  std::vector<std::string> install_modes;        // the supported ones, in order
  std::optional<std::string> target_namespaces;  // annotation olm.targetNamespaces
};

// Both make `out` empty first. Fields of a wrong type count as absent. kDataLoss: broken JSON.
absl::Status ReadSubscription(json::Cursor object, Subscription& out);
absl::Status ReadClusterServiceVersion(json::Cursor object, ClusterServiceVersion& out);

// The operator that `subscription` installed as `csv`. Where it is available: everywhere when the CSV supports
// AllNamespaces; else in the namespaces the Subscription tells it to watch; else in those OLM wrote on the CSV; else
// where it is installed.
model::OlmOperator MakeOperator(const Subscription& subscription, const ClusterServiceVersion& csv);

}  // namespace clusterpulse::survey
