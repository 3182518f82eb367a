#include "hub/reconcile/cluster/credentials.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <absl/strings/escaping.h>

#include "common/base/status.h"
#include "common/json/value.h"
#include "hub/reconcile/cluster/token.h"

namespace clusterpulse::reconcile {
namespace {

absl::StatusOr<std::string> Decode(const json::Value& data, std::string_view key) {
  const std::string_view encoded = data[key].StringOr();
  std::string decoded;
  if (!absl::Base64Unescape(absl::string_view(encoded.data(), encoded.size()), &decoded)) {
    return base::InvalidArgument("key {} is not base64", key);
  }
  return decoded;
}

}  // namespace

absl::StatusOr<SecretContent> ParseSecret(std::string_view json) {
  auto secret = json::Value::Parse(json);
  if (!secret.ok()) return absl::DataLossError("the answer is no Secret");
  const json::Value& data = (*secret)["data"];
  SecretContent content;
  content.resource_version = (*secret)["metadata"]["resourceVersion"].StringOr();

  ASSIGN_OR_RETURN(const std::string token, Decode(data, "token"));
  content.credentials.token = Trim(token);
  if (content.credentials.token.empty()) {
    return base::InvalidArgument("key token is missing or empty: put the cluster's bearer token there");
  }
  // Visible ASCII only: anything else could end the HTTP header the token is sent in.
  if (!std::all_of(content.credentials.token.begin(), content.credentials.token.end(),
                   [](char c) { return c > ' ' && c < 0x7f; })) {
    return base::InvalidArgument("key token holds blanks, line breaks or bytes no token has");
  }
  ASSIGN_OR_RETURN(const std::string ca, Decode(data, "ca.crt"));
  content.credentials.ca_cert = Trim(ca);
  ASSIGN_OR_RETURN(const std::string skip, Decode(data, "insecureSkipTLSVerify"));
  content.credentials.skip_tls_verify = skip == "true";
  return content;
}

absl::StatusOr<SecretContent> ReadSecret(kube::KubeApi& hub, const kube::ObjectKey& key,
                                         const kube::CallOptions& options) {
  ASSIGN_OR_RETURN(const std::string json, hub.Get(kube::kSecrets, key, options));
  return ParseSecret(json);
}

absl::Status ReadSecretVersion(json::Cursor object, kube::ObjectMeta& meta, SecretVersion& out) {
  absl::Status status = object.ForEachMember([&](std::string_view key, json::Cursor value) -> absl::Status {
    return key == "metadata" ? kube::ReadMeta(value, kube::MetaParts::kIdentity, meta) : absl::OkStatus();
  });
  out.resource_version = meta.resource_version;
  return status;
}

}  // namespace clusterpulse::reconcile
