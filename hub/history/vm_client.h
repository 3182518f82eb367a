#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "common/base/mutex.h"
#include "common/http/client.h"
#include "common/http/proxy.h"
#include "common/json/buffer.h"
#include "common/log/logger.h"

namespace clusterpulse::history {

// Where VictoriaMetrics is and who we are there.
struct VmOptions {
  // Base URL. A path is kept: "http://vm:8428", "https://proxy/vm" (-http.pathPrefix), and of a cluster
  // "http://vminsert:8480/insert/0/prometheus" ("/prometheus" may be left out).
  std::string endpoint;
  // Basic authentication, both or neither; or a bearer token, alone. The files are read again when they change; blanks
  // and newlines at their ends are not part of the secret.
  std::string username, password_file;
  std::string bearer_token_file;
  // PEM file of the authorities that its certificate is checked against, instead of the system's; read again when it
  // changes. Only with https.
  std::string tls_ca_file;
  http::ProxySettings proxy = http::ProxySettings::FromEnvironment();
  std::string user_agent = "clusterpulse";
};

// Requests to one VictoriaMetrics with the credentials of the moment. A file that became unreadable leaves what it held
// before in force, with one warning. Thread-safe; each call blocks as http::Client says.
class VmClient {
 public:
  // kInvalidArgument: a bad address, files that are unreadable or empty, credentials that do not fit together.
  static absl::StatusOr<std::unique_ptr<VmClient>> Create(VmOptions options, log::Logger log);
  ~VmClient();

  // `request.target` is appended to the endpoint: "/api/v1/import/prometheus". Errors: those of http::Client::Fetch.
  absl::StatusOr<http::Response> Fetch(http::Request request, json::Buffer& body, const http::Limits& limits);
  // What the server tells about itself: /metrics beside the endpoint, of a cluster at the root of the host.
  absl::StatusOr<http::Response> FetchMetrics(json::Buffer& body, const http::Limits& limits);

  // For log lines.
  const std::string& endpoint() const { return endpoint_; }

 private:
  class SecretFile;
  VmClient(VmOptions options, log::Logger log);
  absl::Status Load();
  // Of now; the client is made anew when its authorities changed.
  struct Session {
    std::shared_ptr<http::Client> client;
    std::string authorization;  // empty: none
  };
  Session Current();
  absl::StatusOr<http::Response> Send(http::Request& request, json::Buffer& body, const http::Limits& limits);
  absl::StatusOr<std::shared_ptr<http::Client>> MakeClient(const std::string& ca_pem) const;

  // Constant after Create.
  const VmOptions options_;
  const log::Logger log_;
  std::string endpoint_, origin_, prefix_, metrics_target_;

  base::Mutex mu_;  // held while the files are looked at
  std::unique_ptr<SecretFile> secret_ ABSL_GUARDED_BY(mu_), ca_ ABSL_GUARDED_BY(mu_);  // null: not used
  std::shared_ptr<http::Client> client_ ABSL_GUARDED_BY(mu_);
};

// The parts of an endpoint as VmOptions describes it. kInvalidArgument: it is no such address.
struct VmPaths {
  std::string origin;   // "http://vm:8428"
  std::string prefix;   // of every request; empty, or with a slash in front and none behind
  std::string metrics;  // "/metrics"
};
absl::StatusOr<VmPaths> ParseVmEndpoint(std::string_view endpoint);

}  // namespace clusterpulse::history
