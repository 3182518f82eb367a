#pragma once

#include <string>
#include <string_view>

namespace clusterpulse::link {

// True when the certificate (PEM) is for `name`, a DNS name or an IP address, by its subjectAltName entries; wildcards
// count as browsers do. The common name is not looked at, as in Go.
bool CertificateNames(std::string_view pem, const std::string& name);

}  // namespace clusterpulse::link
