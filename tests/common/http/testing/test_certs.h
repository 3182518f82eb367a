#pragma once

#include <string>
#include <vector>

namespace clusterpulse::http {

struct KeyPair {
  std::string cert_pem, key_pem;
};

struct CertOptions {
  std::string common_name = "test";
  std::vector<std::string> names;                // subjectAltName entries: "DNS:localhost", "IP:127.0.0.1"
  int valid_from_days = -1, valid_to_days = 30;  // from now
};

KeyPair MakeCa(const std::string& common_name);
KeyPair MakeCert(const KeyPair& ca, const CertOptions& options);
// The key of `pair` in PEM, encrypted with a password.
std::string EncryptKey(const KeyPair& pair, const std::string& password);

}  // namespace clusterpulse::http
