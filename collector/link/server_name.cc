#include "collector/link/server_name.h"

#include <memory>

#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

namespace clusterpulse::link {

bool CertificateNames(std::string_view pem, const std::string& name) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())),
                                                      &BIO_free);
  const std::unique_ptr<X509, decltype(&X509_free)> cert(
      bio == nullptr ? nullptr : PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr), &X509_free);
  if (cert == nullptr || name.empty()) return false;
  if (X509_check_ip_asc(cert.get(), name.c_str(), 0) == 1) return true;
  constexpr unsigned kFlags = X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS;
  return X509_check_host(cert.get(), name.data(), name.size(), kFlags, nullptr) == 1;
}

}  // namespace clusterpulse::link
