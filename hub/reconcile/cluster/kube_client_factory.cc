#include "hub/reconcile/cluster/kube_client_factory.h"

#include <utility>

#include "common/base/status.h"

namespace clusterpulse::reconcile {

absl::StatusOr<std::shared_ptr<kube::KubeApi>> HttpKubeClientFactory::Create(const std::string& cluster,
                                                                             const ClientTarget& target) {
  kube::ConnectionConfig config;
  config.server = target.endpoint;
  config.token = target.credentials.token;
  config.ca_pem = target.credentials.ca_cert;
  config.insecure_skip_tls_verify = target.credentials.skip_tls_verify;
  config.source = "ClusterConnection " + cluster;
  // Verification and an own CA exclude each other; the Secret's explicit "true" wins.
  if (config.insecure_skip_tls_verify) config.ca_pem.clear();
  kube::HttpKubeApi::Options options = options_;
  options.cluster = cluster;
  ASSIGN_OR_RETURN(std::unique_ptr<kube::HttpKubeApi> api,
                   kube::HttpKubeApi::Create(std::move(config), std::move(options)));
  return std::shared_ptr<kube::KubeApi>(std::move(api));
}

}  // namespace clusterpulse::reconcile
