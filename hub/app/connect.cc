#include "hub/app/connect.h"

#include "common/base/status.h"
#include "common/json/value.h"

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

}  // namespace

absl::Status ConnectCluster(kube::KubeApi& hub, const ConnectRequest& request, std::ostream& out,
                            std::stop_token stop) {
  const kube::ConnectionConfig& target = request.target;
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
  const std::string secret = request.name + "-credentials";
  RETURN_IF_ERROR(Apply(hub, kube::kSecrets, request, secret,
                        {{"type", "Opaque"}, {"stringData", SecretData(target, token)}}, out, stop));
  return Apply(hub, kube::kClusterConnections, request, request.name,
               {{"spec", json::Value::Object{{"endpoint", target.server},
                                             {"credentialsRef", json::Value::Object{{"name", secret}}}}}},
               out, stop);
}

}  // namespace clusterpulse::app
