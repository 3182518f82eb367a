#include "common/http/pem.h"

#include <memory>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "common/base/status.h"

namespace clusterpulse::http {
namespace {

constexpr std::size_t kMaxPemBytes = 4 << 20;

struct Free {
  void operator()(BIO* bio) const { BIO_free(bio); }
  void operator()(X509* cert) const { X509_free(cert); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

Owned<BIO> Reader(std::string_view pem) {
  return Owned<BIO>(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

// Without it OpenSSL would ask the terminal for the password of an encrypted key.
int NoPassword(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return 0;
}

}  // namespace

absl::Status CheckCaPem(std::string_view pem) {
  if (pem.size() > kMaxPemBytes)
    return base::InvalidArgument("the CA certificates are larger than {} bytes", kMaxPemBytes);
  const Owned<BIO> bio = Reader(pem);
  int found = 0;
  while (Owned<X509> cert{PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)}) ++found;
  const unsigned long error = ERR_peek_last_error();
  ERR_clear_error();
  if (found == 0) return base::InvalidArgument("the CA certificates hold no readable PEM certificate");
  if (ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) != PEM_R_NO_START_LINE) {
    return base::InvalidArgument("the CA certificates are damaged after certificate {}", found);
  }
  return absl::OkStatus();
}

absl::Status CheckClientPem(std::string_view cert_pem, std::string_view key_pem) {
  if (cert_pem.size() > kMaxPemBytes || key_pem.size() > kMaxPemBytes) {
    return base::InvalidArgument("the client certificate or key is larger than {} bytes", kMaxPemBytes);
  }
  const Owned<BIO> cert_bio = Reader(cert_pem);
  const Owned<X509> cert(PEM_read_bio_X509(cert_bio.get(), nullptr, nullptr, nullptr));
  const Owned<BIO> key_bio = Reader(key_pem);
  bool encrypted = false;
  const Owned<EVP_PKEY> key(PEM_read_bio_PrivateKey(key_bio.get(), nullptr, NoPassword, &encrypted));
  ERR_clear_error();
  if (!cert) return base::InvalidArgument("the client certificate is no readable PEM certificate");
  if (encrypted) return base::InvalidArgument("the client key is encrypted, which is not supported");
  if (!key) return base::InvalidArgument("the client key is no readable PEM private key");
  const bool fits = X509_check_private_key(cert.get(), key.get()) == 1;
  ERR_clear_error();
  if (!fits) return base::InvalidArgument("the client key does not belong to the client certificate");
  return absl::OkStatus();
}

}  // namespace clusterpulse::http
