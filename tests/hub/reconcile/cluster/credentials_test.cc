#include "hub/reconcile/cluster/credentials.h"

#include <absl/strings/escaping.h>
#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "common/base/status.h"

namespace clusterpulse::reconcile {
namespace {

std::string Base64(const std::string& text) { return absl::Base64Escape(text); }

std::string Secret(const std::string& data) {
  return R"({"kind":"Secret","metadata":{"name":"s","resourceVersion":"42"},"data":{)" + data + "}}";
}

TEST_CASE("token, CA and version are read, blanks around a token are not part of it") {
  const auto content = ParseSecret(Secret(fmt::format(R"("token":"{}","ca.crt":"{}")", Base64(" abc.def-1\n"),
                                                      Base64("-----BEGIN-----\nx\n-----END-----\n"))));
  REQUIRE(content.ok());
  CHECK(content->credentials.token == "abc.def-1");
  CHECK(content->credentials.ca_cert == "-----BEGIN-----\nx\n-----END-----");
  CHECK_FALSE(content->credentials.skip_tls_verify);
  CHECK(content->resource_version == "42");
}

TEST_CASE("only the exact word true turns certificate verification off, not the absence of a CA") {
  struct Case {
    const char* value;
    bool expected;
  };
  for (const Case& c : {Case{"true", true}, Case{"True", false}, Case{"true\n", false}, Case{"1", false},
                        Case{"yes", false}, Case{"", false}}) {
    CAPTURE(c.value);
    const auto content =
        ParseSecret(Secret(fmt::format(R"("token":"{}","insecureSkipTLSVerify":"{}")", Base64("t"), Base64(c.value))));
    REQUIRE(content.ok());
    CHECK(content->credentials.skip_tls_verify == c.expected);
  }
  CHECK_FALSE(ParseSecret(Secret(R"("token":"dA==")"))->credentials.skip_tls_verify);
}

TEST_CASE("a Secret that cannot be used names the key") {
  struct Case {
    const char* name;
    std::string secret;
    absl::StatusCode code;
    const char* says;
  };
  const Case cases[] = {
      {"no data", R"({"metadata":{"name":"s"}})", absl::StatusCode::kInvalidArgument, "key token is missing"},
      {"no token", Secret(R"("password":"eA==")"), absl::StatusCode::kInvalidArgument, "key token is missing"},
      {"empty token", Secret(R"("token":"")"), absl::StatusCode::kInvalidArgument, "key token is missing"},
      {"blank token", Secret(fmt::format(R"("token":"{}")", Base64(" \n"))), absl::StatusCode::kInvalidArgument,
       "key token is missing"},
      {"header injection", Secret(fmt::format(R"("token":"{}")", Base64("a\r\nX: y"))),
       absl::StatusCode::kInvalidArgument, "line breaks"},
      {"not base64", Secret(R"("token":"!!!")"), absl::StatusCode::kInvalidArgument, "key token is not base64"},
      {"CA not base64", Secret(R"("token":"dA==","ca.crt":"!")"), absl::StatusCode::kInvalidArgument,
       "key ca.crt is not base64"},
      {"no JSON", "{", absl::StatusCode::kDataLoss, "no Secret"},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      const auto content = ParseSecret(c.secret);
      REQUIRE_FALSE(content.ok());
      CHECK(content.status().code() == c.code);
      CHECK_THAT(base::Message(content.status()), Catch::Contains(c.says));
    }
  }
}

TEST_CASE("the version of a Secret is read from its metadata alone") {
  SecretVersion version;
  kube::ObjectMeta meta;
  json::Parser parser;
  REQUIRE(parser
              .Parse(R"({"metadata":{"name":"s","namespace":"hub","resourceVersion":"7"}})",
                     [&](json::Cursor c) { return ReadSecretVersion(c, meta, version); })
              .ok());
  CHECK(version.resource_version == "7");
  CHECK(meta.key() == kube::ObjectKey{"hub", "s"});
}

}  // namespace
}  // namespace clusterpulse::reconcile
