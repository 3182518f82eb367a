#include "hub/app/connect.h"

#include "common/base/status.h"
#include "common/json/value.h"
#include "hub/reconcile/cluster/token_secret.h"

namespace clusterpulse::app {
namespace {

// Upstream's contract of the credentials Secret: token, ca.crt; insecureSkipTLSVerify is ours.
json::Value SecretData(const kube::ConnectionConfig& target, const std::string& token) {
  json::Value::Object data{{"token", token}};
  if (!target.ca_pem.empty()) data.emplace("ca.crt", target.ca_pem);
  if (target.insecure_skip_tls_verify) data.emplace("insecureSkipTLSVerify", "true");
  return data;
}

absl::Status Apply(kube::KubeApi& hub, const kube::ResourceType& type, const ConnectRequest& request,
                   const std::string& name, json::Value::Object members, std::ostream& out, std::stop_token stop) {
  members.emplace("apiVersion", type.ApiVersion());
  members.emplace("kind", type.kind);
  members.emplace("metadata", json::Value::Object{{"name", name}, {"namespace", request.ns}});
  const auto applied =
      hub.Patch(type, {request.ns, name}, kube::PatchType::kServerApply, json::Value(std::move(members)).Dump(),
                {.field_manager = "clusterpulse-hub-connect", .force = true}, {.stop = stop});
  const std::string what = type.kind + " " + request.ns + "/" + name;
  RETURN_IF_ERROR(base::Annotate(applied.status(), "applying " + what));
  out << what << " applied\n";
  return absl::OkStatus();
}

// The token with which the hub may read the cluster.
absl::StatusOr<std::string> TokenOf(const kube::ConnectionConfig& target) {
  std::string token = target.token;
  if (!target.token_file.empty()) {
    ASSIGN_OR_RETURN(token, kube::ReadSmallFile(target.token_file, 64 << 10));
  }
  if (token.empty()) {
    return base::InvalidArgument(
        "{} has no bearer token: make a service account with read rights on the cluster and a kubeconfig with its "
        "token",
        target.source);
  }
  if (!target.tls_server_name.empty() || !target.proxy_url.empty()) {
    return base::InvalidArgument("{} sets {}, which a ClusterConnection cannot express", target.source,
                                 target.proxy_url.empty() ? "tls-server-name" : "proxy-url");
  }
  return token;
}

}  // namespace

absl::Status ConnectCluster(kube::KubeApi& hub, const ConnectRequest& request, std::ostream& out,
                            std::stop_token stop) {
  const kube::ConnectionConfig& target = request.target;
  const std::string secret = request.name + "-credentials";
  const absl::StatusOr<std::string> token = TokenOf(target);
  if (token.ok()) {
    RETURN_IF_ERROR(Apply(hub, kube::kSecrets, request, secret,
                          {{"type", "Opaque"}, {"stringData", SecretData(target, *token)}}, out, stop));
  } else if (request.push) {
    out << "no Secret applied; only with one the hub can read the cluster while its collector is lost: "
        << base::Message(token.status()) << "\n";
  } else {
    return token.status();
  }
  json::Value::Object spec{{"endpoint", target.server},
                           {"credentialsRef", json::Value::Object{{"name", secret}}},
                           {"collectionMode", request.push ? "push" : "pull"}};
  if (!request.ingester_address.empty()) spec.emplace("ingesterAddress", request.ingester_address);
  RETURN_IF_ERROR(Apply(hub, kube::kClusterConnections, request, request.name, {{"spec", std::move(spec)}}, out, stop));
  if (request.push) {
    out << "next: run a collector in the cluster (deploy/samples/collector.yaml) with CLUSTER_NAME=" << request.name
        << " and the token of Secret " << reconcile::TokenSecretKey({request.ns, request.name}).ToString()
        << ", which the hub makes\n";
  }
  return absl::OkStatus();
}

}  // namespace clusterpulse::app
