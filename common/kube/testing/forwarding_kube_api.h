#pragma once

#include <string>
#include <string_view>

#include "common/kube/kube_api.h"

namespace clusterpulse::kube {

// Another KubeApi, for tests that change or watch one or two of its calls. It is borrowed and must outlive this.
class ForwardingKubeApi : public KubeApi {
 public:
  explicit ForwardingKubeApi(KubeApi& to) : to_(to) {}

  absl::StatusOr<ListPage> List(const ListQuery& query, ItemVisitor visit, const CallOptions& options) override {
    return to_.List(query, visit, options);
  }
  absl::Status Watch(const WatchQuery& query, WatchVisitor visit, const CallOptions& options) override {
    return to_.Watch(query, visit, options);
  }
  absl::StatusOr<std::string> Get(const ResourceType& resource, const ObjectKey& key,
                                  const CallOptions& options) override {
    return to_.Get(resource, key, options);
  }
  absl::StatusOr<std::string> GetPath(std::string_view path, const CallOptions& options) override {
    return to_.GetPath(path, options);
  }
  absl::StatusOr<std::string> Create(const ResourceType& resource, std::string_view ns, std::string_view body,
                                     const CallOptions& options) override {
    return to_.Create(resource, ns, body, options);
  }
  absl::StatusOr<std::string> Replace(const ResourceType& resource, const ObjectKey& key, std::string_view body,
                                      const CallOptions& options) override {
    return to_.Replace(resource, key, body, options);
  }
  absl::StatusOr<std::string> Patch(const ResourceType& resource, const ObjectKey& key, PatchType type,
                                    std::string_view body, const PatchOptions& patch,
                                    const CallOptions& options) override {
    return to_.Patch(resource, key, type, body, patch, options);
  }
  absl::Status Delete(const ResourceType& resource, const ObjectKey& key, const DeleteOptions& how,
                      const CallOptions& options) override {
    return to_.Delete(resource, key, how, options);
  }

 private:
  KubeApi& to_;
};

}  // namespace clusterpulse::kube
