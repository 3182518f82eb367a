#pragma once

#include <memory>
#include <string>
#include <vector>

#include <absl/status/statusor.h>
#include <openssl/ssl.h>

namespace clusterpulse::kubesim {

using TlsContext = std::shared_ptr<SSL_CTX>;

// A certificate authority that lives as long as the process and issues the certificates of one simulated server. A
// plain value apart from its key; thread-safe once made.
class CertificateAuthority {
 public:
  struct Request {
    std::string common_name = "kubesim";
    std::vector<std::string> dns_names{"localhost"};
    std::vector<std::string> addresses{"127.0.0.1", "::1"};
    long valid_from_seconds = -3600, valid_until_seconds = 365 * 86400L;  // relative to now
  };

  static absl::StatusOr<CertificateAuthority> Create(const std::string& name);

  // A new key and certificate, ready to serve with.
  absl::StatusOr<TlsContext> Issue(const Request& request) const;
  const std::string& pem() const { return pem_; }

 private:
  std::shared_ptr<EVP_PKEY> key_;
  std::shared_ptr<X509> certificate_;
  std::string pem_;
};

}  // namespace clusterpulse::kubesim
