#include "hub/app/connections.h"

#include <algorithm>

#include "common/base/status.h"
#include "common/base/time_format.h"
#include "common/kube/lister.h"
#include "common/kube/object_meta.h"

namespace clusterpulse::app {
namespace {

absl::Status ReadRow(json::Cursor object, ConnectionRow& row) {
  const auto number = [](json::Cursor value, std::optional<std::int64_t>& out) {
    std::int64_t read = 0;
    if (value.Get(read)) out = read;
  };
  return object.ForEachMember([&](std::string_view part, json::Cursor value) -> absl::Status {
    if (part == "metadata") {
      kube::ObjectMeta meta;
      RETURN_IF_ERROR(kube::ReadMeta(value, kube::MetaParts::kIdentity, meta));
      row.key = meta.key();
    } else if (part == "spec") {
      return value.ForEachMember([&](std::string_view key, json::Cursor member) {
        if (key == "collectionMode") member.Get(row.mode);
      });
    } else if (part == "status") {
      return value.ForEachMember([&](std::string_view key, json::Cursor member) {
        if (key == "phase") member.Get(row.phase);
        if (key == "health") member.Get(row.health);
        if (key == "version") member.Get(row.version);
        if (key == "message") member.Get(row.message);
        if (key == "nodes") number(member, row.nodes);
        if (key == "nodesReady") number(member, row.nodes_ready);
        if (key == "pods") number(member, row.pods);
        if (key == "lastSyncTime") {
          std::string text;
          if (member.Get(text)) row.last_sync = base::ParseRfc3339(text);
        }
      });
    }
    return absl::OkStatus();
  });
}

}  // namespace

absl::StatusOr<std::vector<ConnectionRow>> ListConnections(kube::KubeApi& api, const std::string& ns,
                                                           const kube::CallOptions& options) {
  ASSIGN_OR_RETURN(
      auto listed,
      kube::ListInto<ConnectionRow>(api, {.resource = kube::kClusterConnections, .ns = ns}, ReadRow, options),
      "listing ClusterConnections");
  std::vector<ConnectionRow> rows = std::move(listed.items);
  std::sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.key < b.key; });
  return rows;
}

}  // namespace clusterpulse::app
