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
  explicit TlsServer(const KeyPair& pair, const std::string& client_ca_pem = "");
  ~TlsServer();
  int port() const;
  std::string url(const std::string& host = "127.0.0.1") const {
    return "https://" + host + ":" + std::to_string(port());
  }

 private:
  struct Core;
  std::unique_ptr<Core> core_;
};

}  // namespace clusterpulse::http
