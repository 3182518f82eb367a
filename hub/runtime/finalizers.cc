#include "hub/runtime/finalizers.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/json/cursor.h"
#include "common/json/writer.h"

namespace clusterpulse::runtime {
namespace {

constexpr int kTries = 5;

enum class Change { kAdd, kRemove };

std::string PatchBody(const std::string& resource_version, const std::vector<std::string>& finalizers) {
  std::string body;
  json::Writer w(body);
  w.BeginObject().Key("metadata").BeginObject().Member("resourceVersion", resource_version);
  w.Key("finalizers").BeginArray();
  for (const std::string& finalizer : finalizers) w.String(finalizer);
  w.EndArray().EndObject().EndObject();
  return body;
}

absl::StatusOr<kube::ObjectMeta> GetMeta(kube::KubeApi& api, const kube::ResourceType& resource,
                                         const kube::ObjectKey& key, const kube::CallOptions& options) {
  ASSIGN_OR_RETURN(const std::string object, api.Get(resource, key, options));
  kube::ObjectMeta meta;
  RETURN_IF_ERROR(json::Parser().Parse(object, [&meta](json::Cursor root) {
    return root.ForEachMember([&meta](std::string_view name, json::Cursor value) {
      return name == "metadata" ? kube::ReadMeta(value, kube::MetaParts::kAll, meta) : absl::OkStatus();
    });
  }));
  return meta;
}

absl::StatusOr<bool> ChangeFinalizer(kube::KubeApi& api, const kube::ResourceType& resource,
                                     const kube::ObjectMeta& seen, std::string_view finalizer, Change change,
                                     const kube::CallOptions& options) {
  kube::ObjectMeta meta = seen;
  for (int tries = 1;; ++tries) {
    if (HasFinalizer(meta, finalizer) == (change == Change::kAdd)) return false;
    if (change == Change::kAdd && meta.deleting()) return false;
    std::vector<std::string> finalizers = meta.finalizers;
    if (change == Change::kAdd) {
      finalizers.emplace_back(finalizer);
    } else {
      std::erase(finalizers, finalizer);
    }
    const absl::Status status = api.Patch(resource, meta.key(), kube::PatchType::kMerge,
                                          PatchBody(meta.resource_version, finalizers), {}, options)
                                    .status();
    if (status.ok()) return true;
    if (!kube::IsConflict(status) || tries == kTries) return status;
    ASSIGN_OR_RETURN(meta, GetMeta(api, resource, seen.key(), options));
    if (meta.uid != seen.uid) return absl::NotFoundError("the object was deleted and made again");
  }
}

}  // namespace

bool HasFinalizer(const kube::ObjectMeta& meta, std::string_view finalizer) {
  return std::find(meta.finalizers.begin(), meta.finalizers.end(), finalizer) != meta.finalizers.end();
}

absl::StatusOr<bool> AddFinalizer(kube::KubeApi& api, const kube::ResourceType& resource, const kube::ObjectMeta& meta,
                                  std::string_view finalizer, const kube::CallOptions& options) {
  auto changed = ChangeFinalizer(api, resource, meta, finalizer, Change::kAdd, options);
  if (!changed.ok()) return base::Annotate(changed.status(), fmt::format("adding finalizer {}", finalizer));
  return changed;
}

absl::StatusOr<bool> RemoveFinalizer(kube::KubeApi& api, const kube::ResourceType& resource,
                                     const kube::ObjectMeta& meta, std::string_view finalizer,
                                     const kube::CallOptions& options) {
  auto changed = ChangeFinalizer(api, resource, meta, finalizer, Change::kRemove, options);
  if (kube::IsNotFound(changed.status())) return false;
  if (!changed.ok()) return base::Annotate(changed.status(), fmt::format("removing finalizer {}", finalizer));
  return changed;
}

}  // namespace clusterpulse::runtime
