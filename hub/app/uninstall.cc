#include "hub/app/uninstall.h"

#include "common/base/status.h"
#include "common/kube/lister.h"
#include "common/kube/object_meta.h"
#include "hub/reconcile/cluster/cluster_connection.h"
#include "hub/runtime/finalizers.h"

namespace clusterpulse::app {
namespace {

absl::Status ReadObjectMeta(json::Cursor object, kube::ObjectMeta& meta) {
  return object.ForEachMember([&meta](std::string_view key, json::Cursor value) {
    return key == "metadata" ? kube::ReadMeta(value, kube::MetaParts::kAll, meta) : absl::OkStatus();
  });
}

}  // namespace

absl::Status RemoveFinalizers(kube::KubeApi& api, const std::string& ns, std::ostream& out, std::stop_token stop) {
  const kube::CallOptions options{.stop = stop};
  const auto listed = kube::ListInto<kube::ObjectMeta>(
      api, {.resource = kube::kClusterConnections, .ns = ns, .metadata_only = true}, ReadObjectMeta, options);
  if (kube::IsNotFound(listed.status())) {
    out << "no ClusterConnection definition on this cluster: nothing to do\n";
    return absl::OkStatus();
  }
  if (!listed.ok()) return base::Annotate(listed.status(), "listing ClusterConnections");

  std::size_t removed = 0, failed = 0;
  absl::Status first_error;
  for (const kube::ObjectMeta& meta : listed->items) {
    const std::string name = "clusterconnection/" + meta.key().ToString();
    const auto changed =
        runtime::RemoveFinalizer(api, kube::kClusterConnections, meta, reconcile::kCleanupFinalizer, options);
    if (!changed.ok()) {
      ++failed;
      out << name << " failed: " << base::Message(changed.status()) << "\n";
      if (first_error.ok()) first_error = base::Annotate(changed.status(), name);
      if (stop.stop_requested()) return first_error;
    } else if (*changed) {
      ++removed;
      out << name << " finalizer removed\n";
    }
  }
  out << fmt::format("{} ClusterConnections: finalizer removed from {}, {} had none, {} failed\n", listed->items.size(),
                     removed, listed->items.size() - removed - failed, failed);
  return first_error;
}

}  // namespace clusterpulse::app
