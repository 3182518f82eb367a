#include <atomic>
#include <memory>

#include <catch2/catch.hpp>
#include <openssl/ssl.h>

#include "common/base/status.h"
#include "common/http/client.h"
#include "tests/common/http/testing/raw_server.h"
#include "tests/common/http/testing/test_certs.h"
#include "tests/common/http/testing/tls_server.h"

namespace clusterpulse::http {
namespace {

using Code = absl::StatusCode;

struct Pki {
  KeyPair ca = MakeCa("test-ca"), other_ca = MakeCa("other-ca");
  KeyPair server = MakeCert(ca, {"server", {"DNS:localhost", "IP:127.0.0.1"}});
  KeyPair client = MakeCert(ca, {"client-1", {}});
};

struct Outcome {
  absl::Status status;
  std::string body;
  std::string message() const { return base::Message(status); }
};

std::unique_ptr<Client> MakeClient(const std::string& url, TlsOptions tls, const std::string& proxy = "") {
  Client::Options options;
  options.base_url = url;
  options.tls = std::move(tls);
  options.proxy_settings = {};
  options.proxy_url = proxy;
  auto client = Client::Create(options);
  REQUIRE(client.ok());
  return *std::move(client);
}

Outcome Get(Client& client) {
  json::Buffer body;
  const auto response = client.Fetch({"GET", "/x"}, body, Limits());
  return {response.status(), std::string(body.view())};
}

Outcome Get(const std::string& url, TlsOptions tls, const std::string& proxy = "") {
  return Get(*MakeClient(url, std::move(tls), proxy));
}

TlsOptions Trust(const KeyPair& ca) {
  TlsOptions tls;
  tls.ca_pem = ca.cert_pem;
  return tls;
}

TEST_CASE("a server whose certificate is right is trusted") {
  const Pki pki;
  const TlsServer server(pki.server);
  CHECK(Get(server.url(), Trust(pki.ca)).message() == "");
  CHECK(Get(server.url("localhost"), Trust(pki.ca)).message() == "");
  TlsOptions both;
  both.ca_pem = pki.other_ca.cert_pem + pki.ca.cert_pem;
  CHECK(Get(server.url(), both).message() == "");
}

TEST_CASE("a server whose certificate is wrong is refused with the reason") {
  const Pki pki;
  struct Case {
    const char* name;
    KeyPair cert;
    TlsOptions tls;
    const char* words;
  };
  const std::vector<Case> cases{
      {"another CA", pki.server, Trust(pki.other_ca), "is not trusted: unable to get local issuer certificate"},
      {"the system's roots", pki.server, {}, "is not trusted: unable to get local issuer certificate"},
      {"expired", MakeCert(pki.ca, {"s", {"IP:127.0.0.1"}, -10, -1}), Trust(pki.ca),
       "is not trusted: certificate has expired"},
      {"not yet valid", MakeCert(pki.ca, {"s", {"IP:127.0.0.1"}, 1, 10}), Trust(pki.ca),
       "is not trusted: certificate is not yet valid"},
      {"another name", MakeCert(pki.ca, {"s", {"DNS:elsewhere"}}), Trust(pki.ca), "is for another name"},
      {"no name", MakeCert(pki.ca, {"elsewhere", {}}), Trust(pki.ca), "is for another name"},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      const TlsServer server(c.cert);
      const Outcome out = Get(server.url(), c.tls);
      CHECK(out.status.code() == Code::kUnauthenticated);
      CHECK(out.message().find("the certificate of " + server.url()) != std::string::npos);
      CAPTURE(out.message());
      CHECK(out.message().find(c.words) != std::string::npos);
      // Only what is written turns the check off.
      TlsOptions off;
      off.insecure_skip_verify = true;
      CHECK(Get(server.url(), off).message() == "");
    }
  }
}

TEST_CASE("what is wrong behind a kept connection that broke is named, not how it broke") {
  const Pki pki;
  const TlsServer good(pki.server);
  struct Case {
    const char* name;
    KeyPair cert;
    const char* words;
  };
  const std::vector<Case> cases{
      {"another CA", MakeCert(pki.other_ca, {"s", {"IP:127.0.0.1"}}), "is not trusted: unable to get local issuer"},
      {"expired", MakeCert(pki.ca, {"s", {"IP:127.0.0.1"}, -10, -1}), "is not trusted: certificate has expired"},
      {"another name", MakeCert(pki.ca, {"s", {"DNS:elsewhere"}}), "is for another name"},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      const TlsServer bad(c.cert);
      std::atomic<bool> changed = false;
      RawServer front([&](RawServer::Connection& connection, int index) {
        connection.RelayTo(index == 0 ? good.port() : bad.port(), [&] { return changed && index == 0; });
        connection.Reset();
      });
      const auto client = MakeClient("https://127.0.0.1:" + std::to_string(front.port()), Trust(pki.ca));
      REQUIRE(Get(*client).message() == "");
      changed = true;
      const Outcome out = Get(*client);
      CAPTURE(out.message());
      CHECK(front.connections() == 2);
      CHECK(out.status.code() == Code::kUnauthenticated);
      CHECK(out.message().find(c.words) != std::string::npos);
    }
  }
}

TEST_CASE("client certificates are shown, and their refusal is named") {
  const Pki pki;
  const TlsServer server(pki.server, pki.ca.cert_pem);
  TlsOptions tls = Trust(pki.ca);
  const Outcome without = Get(server.url(), tls);
  CAPTURE(without.message());
  CHECK(without.status.code() == Code::kUnauthenticated);
  tls.client_cert_pem = pki.client.cert_pem;
  tls.client_key_pem = pki.client.key_pem;
  const Outcome out = Get(server.url(), tls);
  CHECK(out.message() == "");
  CHECK(out.body.find("\"subject\":\"client-1\"") != std::string::npos);
  const KeyPair foreign = MakeCert(pki.other_ca, {"client-1", {}});
  tls.client_cert_pem = foreign.cert_pem;
  tls.client_key_pem = foreign.key_pem;
  const Outcome refused = Get(server.url(), tls);
  CAPTURE(refused.message());
  CHECK(refused.status.code() == Code::kUnauthenticated);
}

TEST_CASE("TLS 1.2 is the oldest that is spoken, whatever OpenSSL is configured to allow") {
  CHECK(RunWithOldTls("[old-tls]") == "");
}

TEST_CASE("a server of one TLS version only", "[.][old-tls]") {
  const Pki pki;
  struct Case {
    int version;
    bool is_spoken;
  };
  const auto c = GENERATE(
      values<Case>({{TLS1_VERSION, false}, {TLS1_1_VERSION, false}, {TLS1_2_VERSION, true}, {TLS1_3_VERSION, true}}));
  CAPTURE(c.version);
  const TlsServer server(pki.server, c.version);
  REQUIRE(Handshakes(server.port(), c.version));  // it is not the server that refuses
  const Outcome out = Get(server.url(), Trust(pki.ca));
  CAPTURE(out.message());
  CHECK(out.status.code() == (c.is_spoken ? Code::kOk : Code::kUnauthenticated));
  CHECK((out.message().find("TLS with " + server.url() + " was refused") != std::string::npos) == !c.is_spoken);
}

TEST_CASE("another TLS name is asked for and checked while the host stays") {
  const Pki pki;
  const TlsServer server(MakeCert(pki.ca, {"s", {"DNS:api.internal"}}));
  TlsOptions tls = Trust(pki.ca);
  CHECK(Get(server.url(), tls).status.code() == Code::kUnauthenticated);
  tls.server_name = "api.internal";
  const Outcome out = Get(server.url(), tls);
  CHECK(out.message() == "");
  CHECK(out.body.find("\"host\":\"127.0.0.1:" + std::to_string(server.port())) != std::string::npos);

  RawServer proxy([](RawServer::Connection& c, int) {
    c.ReadRequest();
    c.Answer("", 403);
  });
  CHECK_FALSE(Get("https://10.1.2.3:6443", tls, proxy.url()).status.ok());
  CHECK(proxy.requests().at(0).rfind("CONNECT 10.1.2.3:6443 ", 0) == 0);
}

TEST_CASE("what is no TLS is told apart from a broken connection") {
  const Pki pki;
  RawServer plain([](RawServer::Connection& c, int) {
    c.Write("HTTP/1.1 400 Bad Request\r\n\r\n");
    c.WaitForEnd();
  });
  Outcome out = Get("https://127.0.0.1:" + std::to_string(plain.port()), Trust(pki.ca));
  CHECK(out.status.code() == Code::kUnauthenticated);
  CHECK(out.message().find("does not speak TLS") != std::string::npos);

  RawServer broken([](RawServer::Connection&, int) {});
  out = Get("https://127.0.0.1:" + std::to_string(broken.port()), Trust(pki.ca));
  CAPTURE(out.message());
  CHECK(out.status.code() == Code::kUnavailable);
}

}  // namespace
}  // namespace clusterpulse::http
