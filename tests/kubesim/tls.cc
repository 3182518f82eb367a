#include "tests/kubesim/tls.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "common/base/status.h"

namespace clusterpulse::kubesim {
namespace {

absl::Status OpenSslError(std::string_view what) {
  char text[256] = "";
  ERR_error_string_n(ERR_get_error(), text, sizeof text);
  return base::Internal("{}: {}", what, text);
}

using Certificate = std::shared_ptr<X509>;

absl::Status SetRandomSerial(X509* certificate) {
  unsigned char bytes[16];
  if (RAND_bytes(bytes, sizeof bytes) != 1) return OpenSslError("drawing a serial number");
  bytes[0] &= 0x7f;
  const std::unique_ptr<BIGNUM, decltype(&BN_free)> number(BN_bin2bn(bytes, sizeof bytes, nullptr), BN_free);
  BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate));
  return absl::OkStatus();
}

absl::Status AddExtension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  if (extension == nullptr) return OpenSslError("making a certificate extension");
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
  return absl::OkStatus();
}

// A certificate with everything but extensions and signature.
absl::StatusOr<Certificate> Draft(const std::string& common_name, EVP_PKEY* key, long from, long until) {
  Certificate certificate(X509_new(), X509_free);
  if (certificate == nullptr) return OpenSslError("making a certificate");
  X509_set_version(certificate.get(), 2);
  RETURN_IF_ERROR(SetRandomSerial(certificate.get()));
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), from);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), until);
  X509_set_pubkey(certificate.get(), key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(common_name.c_str()), -1, -1, 0);
  return certificate;
}

absl::StatusOr<std::shared_ptr<EVP_PKEY>> NewKey() {
  std::shared_ptr<EVP_PKEY> key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  if (key == nullptr) return OpenSslError("making a key");
  return key;
}

}  // namespace

absl::StatusOr<CertificateAuthority> CertificateAuthority::Create(const std::string& name) {
  CertificateAuthority ca;
  ASSIGN_OR_RETURN(ca.key_, NewKey());
  ASSIGN_OR_RETURN(ca.certificate_, Draft(name, ca.key_.get(), -3600, 3650 * 86400L));
  X509* certificate = ca.certificate_.get();
  X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
  RETURN_IF_ERROR(AddExtension(certificate, certificate, NID_basic_constraints, "critical,CA:TRUE"));
  RETURN_IF_ERROR(AddExtension(certificate, certificate, NID_key_usage, "critical,keyCertSign,cRLSign"));
  RETURN_IF_ERROR(AddExtension(certificate, certificate, NID_subject_key_identifier, "hash"));
  if (X509_sign(certificate, ca.key_.get(), EVP_sha256()) == 0) return OpenSslError("signing the CA");
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new(BIO_s_mem()), BIO_free);
  PEM_write_bio_X509(bio.get(), certificate);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  ca.pem_.assign(data, static_cast<std::size_t>(size));
  return ca;
}

absl::StatusOr<TlsContext> CertificateAuthority::Issue(const Request& request) const {
  ASSIGN_OR_RETURN(const auto key, NewKey());
  ASSIGN_OR_RETURN(const Certificate certificate,
                   Draft(request.common_name, key.get(), request.valid_from_seconds, request.valid_until_seconds));
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate_.get()));
  std::string names;
  for (const auto& name : request.dns_names) names += fmt::format("{}DNS:{}", names.empty() ? "" : ",", name);
  for (const auto& address : request.addresses) names += fmt::format("{}IP:{}", names.empty() ? "" : ",", address);
  RETURN_IF_ERROR(AddExtension(certificate.get(), certificate_.get(), NID_subject_alt_name, names));
  RETURN_IF_ERROR(AddExtension(certificate.get(), certificate_.get(), NID_ext_key_usage, "serverAuth"));
  RETURN_IF_ERROR(AddExtension(certificate.get(), certificate_.get(), NID_authority_key_identifier, "keyid"));
  if (X509_sign(certificate.get(), key_.get(), EVP_sha256()) == 0) return OpenSslError("signing a certificate");

  TlsContext context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  if (context == nullptr || SSL_CTX_use_certificate(context.get(), certificate.get()) != 1 ||
      SSL_CTX_use_PrivateKey(context.get(), key.get()) != 1) {
    return OpenSslError("making a TLS context");
  }
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_mode(context.get(), SSL_MODE_AUTO_RETRY);
  // A client whose certificate changed must not get in with an old session.
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context.get(), 0);
  return context;
}

}  // namespace clusterpulse::kubesim
