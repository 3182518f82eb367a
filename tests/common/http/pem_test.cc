#include "common/http/pem.h"

#include <catch2/catch.hpp>

#include "common/base/status.h"
#include "tests/common/http/testing/test_certs.h"

namespace clusterpulse::http {
namespace {

std::string Why(const absl::Status& status) {
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  return base::Message(status);
}

TEST_CASE("CA certificates are read") {
  const KeyPair ca = MakeCa("a"), other = MakeCa("b");
  CHECK(CheckCaPem(ca.cert_pem).ok());
  CHECK(CheckCaPem("# comment\n" + ca.cert_pem + "\n" + other.cert_pem).ok());
  CHECK(Why(CheckCaPem("")).find("no readable") != std::string::npos);
  CHECK(Why(CheckCaPem("hello")).find("no readable") != std::string::npos);
  CHECK(Why(CheckCaPem(ca.key_pem)).find("no readable") != std::string::npos);
  CHECK(Why(CheckCaPem(ca.cert_pem.substr(0, ca.cert_pem.size() / 2))).find("no readable") != std::string::npos);
  std::string damaged = other.cert_pem;
  damaged[damaged.size() / 2] = '!';
  CHECK(Why(CheckCaPem(ca.cert_pem + damaged)).find("after certificate 1") != std::string::npos);
}

TEST_CASE("a client certificate needs its own unencrypted key") {
  const KeyPair ca = MakeCa("a");
  const KeyPair pair = MakeCert(ca, {}), other = MakeCert(ca, {});
  CHECK(CheckClientPem(pair.cert_pem, pair.key_pem).ok());
  CHECK(CheckClientPem(pair.cert_pem + ca.cert_pem, pair.key_pem).ok());
  CHECK(Why(CheckClientPem(pair.cert_pem, other.key_pem)).find("does not belong") != std::string::npos);
  CHECK(Why(CheckClientPem("x", pair.key_pem)).find("certificate is no readable") != std::string::npos);
  CHECK(Why(CheckClientPem(pair.cert_pem, "x")).find("key is no readable") != std::string::npos);
  CHECK(Why(CheckClientPem(pair.cert_pem, EncryptKey(pair, "pw"))).find("encrypted") != std::string::npos);
}

}  // namespace
}  // namespace clusterpulse::http
