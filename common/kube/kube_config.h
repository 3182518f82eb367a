#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <absl/status/statusor.h>

namespace clusterpulse::kube {

// How to reach one API server, with its secrets: never log it. Made by LoadConnectionConfig for the cluster the program
// runs against, and by hand (endpoint + token + CA) for managed clusters. HttpKubeApi::Create checks it.
struct ConnectionConfig {
  std::string server;  // "https://host:port/prefix"
  std::string tls_server_name;
  std::string ca_pem;  // empty: the system's roots
  bool insecure_skip_tls_verify = false;
  std::string client_cert_pem, client_key_pem;
  std::string token;
  std::string token_file;  // read again when it changes; wins over `token` once it was read
  std::string username, password;
  std::string proxy_url;          // wins over the environment
  std::string default_namespace;  // of the context or service account; empty: not said
  std::string source;             // where this came from, for messages: "in-cluster", "context c of /path"
};

struct LoadOptions {
  std::string kubeconfig;  // --kubeconfig; empty: as below
  std::string context;     // empty: the file's current-context
  // Environment of the process, and the folder Kubernetes mounts; replaced by tests.
  std::function<std::optional<std::string>(const char*)> getenv;
  std::string service_account_dir = "/var/run/secrets/kubernetes.io/serviceaccount";
};

// The first of these that is set decides, and an error in it is final:
//   1. options.kubeconfig: one file;
//   2. KUBECONFIG: files separated by ':', merged, the first to define an entry or the current context wins; files that
//      do not exist are left out as kubectl does, but one must exist;
//   3. in-cluster, when KUBERNETES_SERVICE_HOST and _PORT are set and the service account's token is there;
//   4. ~/.kube/config.
// kInvalidArgument names file, entry and field; kNotFound: nothing of the above is there.
absl::StatusOr<ConnectionConfig> LoadConnectionConfig(const LoadOptions& options);

// A kubeconfig (YAML or JSON, at most 4 MiB) as text. Files it names are relative to `dir` and read too, unless
// `read_files` is false (then their fields are an error): for kubeconfigs from outside. `name` stands in messages.
//
// Understood: contexts (cluster, user, namespace), current-context; server, tls-server-name,
// certificate-authority(-data), insecure-skip-tls-verify (only when written as true), proxy-url;
// client-certificate(-data), client-key(-data), token, tokenFile, username, password. Data wins over the file of the
// same name. exec and auth-provider are refused.
absl::StatusOr<ConnectionConfig> ParseKubeConfig(std::string_view text, std::string_view name, std::string_view dir,
                                                 std::string_view context, bool read_files);

// The content of a small file: kNotFound, kPermissionDenied or kInvalidArgument (larger than `max_bytes`).
absl::StatusOr<std::string> ReadSmallFile(const std::string& path, std::size_t max_bytes);

}  // namespace clusterpulse::kube
