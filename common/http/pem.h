#pragma once

#include <string_view>

#include <absl/status/status.h>

namespace clusterpulse::http {

// Checks of TLS material before it is used, so that a bad Secret or file is named when it is read and not by a failed
// handshake later. kInvalidArgument says what is wrong; nothing of the material is repeated.

// One or more PEM certificates.
absl::Status CheckCaPem(std::string_view pem);
// A PEM certificate (chain, own certificate first) and its unencrypted private key.
absl::Status CheckClientPem(std::string_view cert_pem, std::string_view key_pem);

}  // namespace clusterpulse::http
