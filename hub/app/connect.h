#pragma once

#include <ostream>
#include <stop_token>
#include <string>

#include <absl/status/status.h>

#include "common/kube/kube_api.h"
#include "common/kube/kube_config.h"

namespace clusterpulse::app {

struct ConnectRequest {
  std::string ns, name;           // of the ClusterConnection; its Secret is NAME-credentials
  kube::ConnectionConfig target;  // the managed cluster, as its kubeconfig says
};

// Registers a managed cluster: server-side applies the Secret (token, ca.crt) and then the ClusterConnection, printing
// a line each. Repeatable: again with another kubeconfig replaces endpoint and credentials. kInvalidArgument: the
// kubeconfig holds no bearer token (the hub has no use for client certificates) or needs what a connection cannot
// express.
absl::Status ConnectCluster(kube::KubeApi& hub, const ConnectRequest& request, std::ostream& out, std::stop_token stop);

}  // namespace clusterpulse::app
