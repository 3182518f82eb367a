#pragma once

#include <memory>
#include <string>

#include "common/kube/http_kube_api.h"
#include "hub/reconcile/cluster/client_pool.h"

namespace clusterpulse::reconcile {

// Clients of managed clusters over HTTP, with the limits of `options`. Thread-safe.
class HttpKubeClientFactory final : public KubeClientFactory {
 public:
  // What the options borrow must outlive the clients.
  explicit HttpKubeClientFactory(kube::HttpKubeApi::Options options) : options_(std::move(options)) {}

  absl::StatusOr<std::shared_ptr<kube::KubeApi>> Create(const std::string& cluster,
                                                        const ClientTarget& target) override;
  void Forget(const std::string& cluster) override { options_.metrics.Forget(cluster); }

 private:
  const kube::HttpKubeApi::Options options_;
};

}  // namespace clusterpulse::reconcile
