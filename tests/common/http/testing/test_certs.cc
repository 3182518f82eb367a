#include "tests/common/http/testing/test_certs.h"

#include <atomic>
#include <cstdlib>
#include <memory>

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

namespace clusterpulse::http {
namespace {

struct Free {
  void operator()(BIO* p) const { BIO_free(p); }
  void operator()(X509* p) const { X509_free(p); }
  void operator()(EVP_PKEY* p) const { EVP_PKEY_free(p); }
  void operator()(X509_EXTENSION* p) const { X509_EXTENSION_free(p); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

std::string Text(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return std::string(data, static_cast<std::size_t>(size));
}

Owned<X509> ReadCert(const std::string& pem) {
  const Owned<BIO> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  return Owned<X509>(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
}

Owned<EVP_PKEY> ReadKey(const std::string& pem) {
  const Owned<BIO> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  return Owned<EVP_PKEY>(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
}

void AddExtension(X509* cert, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, cert, nullptr, nullptr, 0);
  const Owned<X509_EXTENSION> extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  if (!extension || X509_add_ext(cert, extension.get(), -1) != 1) std::abort();
}

KeyPair Make(const KeyPair* ca, const CertOptions& options) {
  static std::atomic<long> serial = 1000;
  const Owned<EVP_PKEY> key(EVP_EC_gen("P-256"));
  const Owned<X509> cert(X509_new());
  X509_set_version(cert.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(cert.get()), ++serial);
  X509_time_adj_ex(X509_getm_notBefore(cert.get()), options.valid_from_days, 0, nullptr);
  X509_time_adj_ex(X509_getm_notAfter(cert.get()), options.valid_to_days, 0, nullptr);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(cert.get()), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(options.common_name.c_str()), -1, -1, 0);
  X509_set_pubkey(cert.get(), key.get());
  const Owned<X509> issuer = ca == nullptr ? nullptr : ReadCert(ca->cert_pem);
  const Owned<EVP_PKEY> issuer_key = ca == nullptr ? nullptr : ReadKey(ca->key_pem);
  X509* const signer = issuer ? issuer.get() : cert.get();
  X509_set_issuer_name(cert.get(), X509_get_subject_name(signer));
  AddExtension(cert.get(), signer, NID_basic_constraints, ca == nullptr ? "critical,CA:TRUE" : "CA:FALSE");
  if (ca == nullptr) AddExtension(cert.get(), signer, NID_key_usage, "critical,keyCertSign,cRLSign");
  std::string names;
  for (const std::string& name : options.names) names += (names.empty() ? "" : ",") + name;
  if (!names.empty()) AddExtension(cert.get(), signer, NID_subject_alt_name, names);
  if (X509_sign(cert.get(), issuer_key ? issuer_key.get() : key.get(), EVP_sha256()) == 0) std::abort();

  const Owned<BIO> cert_out(BIO_new(BIO_s_mem()));
  const Owned<BIO> key_out(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(cert_out.get(), cert.get());
  PEM_write_bio_PrivateKey(key_out.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  return {Text(cert_out.get()), Text(key_out.get())};
}

}  // namespace

KeyPair MakeCa(const std::string& common_name) {
  CertOptions options;
  options.common_name = common_name;
  return Make(nullptr, options);
}

KeyPair MakeCert(const KeyPair& ca, const CertOptions& options) { return Make(&ca, options); }

std::string EncryptKey(const KeyPair& pair, const std::string& password) {
  const Owned<EVP_PKEY> key = ReadKey(pair.key_pem);
  const Owned<BIO> out(BIO_new(BIO_s_mem()));
  PEM_write_bio_PrivateKey(out.get(), key.get(), EVP_aes_128_cbc(),
                           reinterpret_cast<const unsigned char*>(password.data()), static_cast<int>(password.size()),
                           nullptr, nullptr);
  return Text(out.get());
}

}  // namespace clusterpulse::http
