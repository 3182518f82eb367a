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
  bool push = false;              // a collector in the cluster sends, instead of the hub reading it
  std::string ingester_address;   // of the hub as that collector sees it; empty: INGESTER_PUBLIC_ADDRESS of the hub
};

// Registers a managed cluster: server-side applies the Secret (token, ca.crt) and then the ClusterConnection, printing
// a line each, in push mode also what is left to do. Repeatable: again with another kubeconfig or mode replaces
// endpoint, credentials and mode. kInvalidArgument: the kubeconfig holds no bearer token (the hub has no use for client
// certificates) or needs what a connection cannot express. In push mode that is only printed: without a Secret the hub
// cannot read the cluster when its collector is lost.
absl::Status ConnectCluster(kube::KubeApi& hub, const ConnectRequest& request, std::ostream& out, std::stop_token stop);

}  // namespace clusterpulse::app
