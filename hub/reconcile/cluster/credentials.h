#pragma once

#include <string>
#include <string_view>

#include <absl/status/statusor.h>

#include "common/json/cursor.h"
#include "common/kube/kube_api.h"
#include "common/kube/object_meta.h"

namespace clusterpulse::reconcile {

// What the Secret of a connection holds. Secret: never logged, never in a status.
struct Credentials {
  std::string token;    // without the blanks and newlines around it that files bring
  std::string ca_cert;  // PEM; empty: the system's roots
  // Secret key insecureSkipTLSVerify; only the exact value "true" turns verification off.
  bool skip_tls_verify = false;
  bool operator==(const Credentials&) const = default;
};

struct SecretContent {
  Credentials credentials;
  std::string resource_version;
};

// Reads keys token, ca.crt and insecureSkipTLSVerify out of a Secret as JSON. kInvalidArgument names the key that is
// missing or unusable.
absl::StatusOr<SecretContent> ParseSecret(std::string_view json);

// GETs and parses. Errors: those of KubeApi and ParseSecret.
absl::StatusOr<SecretContent> ReadSecret(kube::KubeApi& hub, const kube::ObjectKey& key,
                                         const kube::CallOptions& options);

// What a watch cache keeps of a Secret: enough to know that it changed. For a WatchCache with metadata_only, so that
// the values of Secrets nobody refers to never come here.
struct SecretVersion {
  std::string resource_version;
  bool operator==(const SecretVersion&) const = default;
};
absl::Status ReadSecretVersion(json::Cursor object, kube::ObjectMeta& meta, SecretVersion& out);

}  // namespace clusterpulse::reconcile
