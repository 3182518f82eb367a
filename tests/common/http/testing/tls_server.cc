#include "tests/common/http/testing/tls_server.h"

#include <cstdlib>
#include <thread>

#include <httplib.h>
#include <openssl/pem.h>

#include "tests/support/process.h"

namespace clusterpulse::http {
namespace {

BIO* Reader(const std::string& pem) { return BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())); }

X509* ReadCert(const std::string& pem) {
  BIO* bio = Reader(pem);
  X509* cert = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  return cert;
}

EVP_PKEY* ReadKey(const std::string& pem) {
  BIO* bio = Reader(pem);
  EVP_PKEY* key = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  return key;
}

// This version and no other, whatever OpenSSL's configuration says. Version 0: as configured.
void Restrict(SSL_CTX& context, int only_version) {
  if (only_version == 0) return;
  SSL_CTX_set_security_level(&context, 0);  // TLS 1.1 signs with SHA-1
  SSL_CTX_set_cipher_list(&context, "ALL:@SECLEVEL=0");
  SSL_CTX_set_min_proto_version(&context, only_version);
  SSL_CTX_set_max_proto_version(&context, only_version);
}

bool Configure(SSL_CTX& context, X509* cert, EVP_PKEY* key, const std::string& client_ca_pem, int only_version) {
  Restrict(context, only_version);
  if (!client_ca_pem.empty()) {
    X509_STORE* store = X509_STORE_new();
    X509* ca = ReadCert(client_ca_pem);
    X509_STORE_add_cert(store, ca);
    X509_free(ca);
    SSL_CTX_set_cert_store(&context, store);
    SSL_CTX_set_verify(&context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    SSL_CTX_set_max_proto_version(&context, TLS1_2_VERSION);
  }
  return SSL_CTX_use_certificate(&context, cert) == 1 && SSL_CTX_use_PrivateKey(&context, key) == 1;
}

}  // namespace

struct TlsServer::Core {
  X509* cert;
  EVP_PKEY* key;
  httplib::SSLServer server;
  int port = 0;
  std::jthread thread;

  Core(const KeyPair& pair, const std::string& client_ca_pem, int only_version)
      : cert(ReadCert(pair.cert_pem)),
        key(ReadKey(pair.key_pem)),
        server([&](SSL_CTX& context) { return Configure(context, cert, key, client_ca_pem, only_version); }) {}
  ~Core() {
    server.stop();
    if (thread.joinable()) thread.join();
    X509_free(cert);
    EVP_PKEY_free(key);
  }
};

TlsServer::TlsServer(const KeyPair& pair, const std::string& client_ca_pem, int only_version)
    : core_(std::make_unique<Core>(pair, client_ca_pem, only_version)) {
  core_->server.Get(".*", [](const httplib::Request& in, httplib::Response& out) {
    std::string subject;
    if (X509* peer = SSL_get1_peer_certificate(in.ssl)) {
      char name[256] = {};
      X509_NAME_get_text_by_NID(X509_get_subject_name(peer), NID_commonName, name, sizeof(name));
      subject = name;
      X509_free(peer);
    }
    out.set_content("{\"host\":\"" + in.get_header_value("Host") + "\",\"subject\":\"" + subject + "\"}",
                    "application/json");
  });
  core_->server.set_keep_alive_max_count(100);
  core_->port = core_->server.bind_to_any_port("127.0.0.1");
  if (core_->port < 0) std::abort();
  core_->thread = std::jthread([core = core_.get()] { core->server.listen_after_bind(); });
  while (!core_->server.is_running()) std::this_thread::yield();
}

TlsServer::~TlsServer() = default;

int TlsServer::port() const { return core_->port; }

bool Handshakes(int port, int only_version) {
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  Restrict(*context, only_version);
  BIO* bio = BIO_new_ssl_connect(context);
  BIO_set_conn_hostname(bio, ("127.0.0.1:" + std::to_string(port)).c_str());
  const bool done = BIO_do_handshake(bio) == 1;
  BIO_free_all(bio);
  SSL_CTX_free(context);
  return done;
}

std::string RunWithOldTls(const std::string& spec) {
  const testing::TempDir dir;
  testing::WriteFile(dir.File("openssl.cnf"),
                     "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = old\n"
                     "[old]\nMinProtocol = TLSv1\nCipherString = ALL:@SECLEVEL=0\n");
  const auto result =
      testing::RunCommand({"/proc/self/exe", spec, "--warn", "NoTests"}, {{"OPENSSL_CONF", dir.File("openssl.cnf")}});
  return result.exit_code == 0 ? "" : result.out;
}

}  // namespace clusterpulse::http
