#pragma once

#include <memory>
#include <string>

#include "tests/common/http/testing/test_certs.h"

namespace clusterpulse::http {

// An HTTPS server on 127.0.0.1 that answers every GET with {"host": its Host header, "subject": of the client's
// certificate}.
class TlsServer {
 public:
  // With `client_ca_pem` clients need a certificate of that CA; TLS is then 1.2, where a refusal is part of the
  // handshake (in 1.3 the alert races with the reset).
  explicit TlsServer(const KeyPair& pair, const std::string& client_ca_pem = "") : TlsServer(pair, client_ca_pem, 0) {}
  // Offers one version only, old ones too: TLS1_1_VERSION and the like.
  TlsServer(const KeyPair& pair, int only_version) : TlsServer(pair, "", only_version) {}
  ~TlsServer();
  int port() const;
  std::string url(const std::string& host = "127.0.0.1") const {
    return "https://" + host + ":" + std::to_string(port());
  }

 private:
  struct Core;
  TlsServer(const KeyPair& pair, const std::string& client_ca_pem, int only_version);
  std::unique_ptr<Core> core_;
};

// Whether the server on this port of 127.0.0.1 completes a handshake with a client that speaks this version only,
// however old, and trusts everybody.
bool Handshakes(int port, int only_version);

// Runs the test cases `spec` of this program in a process whose OpenSSL is configured to speak TLS 1.0 and 1.1: what is
// refused there is refused by our code, not by the system's configuration. Ok, or what the process printed.
std::string RunWithOldTls(const std::string& spec);

}  // namespace clusterpulse::http
