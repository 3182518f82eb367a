#pragma once

#include <string>
#include <string_view>

#include "common/kube/kube_api.h"

namespace clusterpulse::sources {

// Another KubeApi, for tests that change or watch one or two of its calls. It is borrowed and must outlive this.
class ForwardingKubeApi : public kube::KubeApi {
 public:
  explicit ForwardingKubeApi(kube::KubeApi& to) : to_(to) {}

  absl::StatusOr<kube::ListPage> List(const kube::ListQuery& query, kube::ItemVisitor visit,
                                      const kube::CallOptions& options) override {
    return to_.List(query, visit, options);
  }
  absl::Status Watch(const kube::WatchQuery& query, kube::WatchVisitor visit,
                     const kube::CallOptions& options) override {
    return to_.Watch(query, visit, options);
  }
  absl::StatusOr<std::string> Get(const kube::ResourceType& resource, const kube::ObjectKey& key,
                                  const kube::CallOptions& options) override {
    return to_.Get(resource, key, options);
  }
  absl::StatusOr<std::string> GetPath(std::string_view path, const kube::CallOptions& options) override {
    return to_.GetPath(path, options);
  }
  absl::StatusOr<std::string> Create(const kube::ResourceType& resource, std::string_view ns, std::string_view body,
                                     const kube::CallOptions& options) override {
    return to_.Create(resource, ns, body, options);
  }
  absl::StatusOr<std::string> Replace(const kube::ResourceType& resource, const kube::ObjectKey& key,
                                      std::string_view body, const kube::CallOptions& options) override {
    return to_.Replace(resource, key, body, options);
  }
  absl::StatusOr<std::string> Patch(const kube::ResourceType& resource, const kube::ObjectKey& key,
                                    kube::PatchType type, std::string_view body, const kube::PatchOptions& patch,
                                    const kube::CallOptions& options) override {
    return to_.Patch(resource, key, type, body, patch, options);
  }
  absl::Status Delete(const kube::ResourceType& resource, const kube::ObjectKey& key, const kube::DeleteOptions& how,
                      const kube::CallOptions& options) override {
    return to_.Delete(resource, key, how, options);
  }

 private:
  kube::KubeApi& to_;
};

}  // namespace clusterpulse::sources
