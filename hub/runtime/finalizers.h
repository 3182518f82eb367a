#pragma once

#include <string_view>

#include <absl/status/statusor.h>

#include "common/kube/kube_api.h"
#include "common/kube/object_meta.h"

namespace clusterpulse::runtime {

bool HasFinalizer(const kube::ObjectMeta& meta, std::string_view finalizer);

// Both change metadata.finalizers by a merge patch that holds only for the version it was based on. `meta` is the
// object as last seen; when it is out of date, the object is read again, a few times. True when the object was changed,
// false when there was nothing to do; so calling again does nothing. kNotFound: the object is gone, or another one of
// the same name is in its place (to remove: false). kAborted: it kept changing; other errors are the API's.

// Never adds to an object that is being deleted: API servers refuse that. False then.
absl::StatusOr<bool> AddFinalizer(kube::KubeApi& api, const kube::ResourceType& resource, const kube::ObjectMeta& meta,
                                  std::string_view finalizer, const kube::CallOptions& options);
absl::StatusOr<bool> RemoveFinalizer(kube::KubeApi& api, const kube::ResourceType& resource,
                                     const kube::ObjectMeta& meta, std::string_view finalizer,
                                     const kube::CallOptions& options);

}  // namespace clusterpulse::runtime
