#include "common/http/url.h"

#include <catch2/catch.hpp>

#include "common/base/status.h"

namespace clusterpulse::http {
namespace {

TEST_CASE("an address is taken apart") {
  struct Case {
    const char* text;
    const char* origin;
    const char* host;
    const char* path;
  };
  const auto c = GENERATE(values<Case>({
      {"https://Example.COM", "https://example.com:443", "example.com", ""},
      {"http://h", "http://h:80", "h", ""},
      {"https://10.0.0.1:6443/", "https://10.0.0.1:6443", "10.0.0.1", ""},
      {"https://rancher/k8s/clusters/c-1/", "https://rancher:443", "rancher", "/k8s/clusters/c-1"},
      {"https://[fd00::1]:6443", "https://[fd00::1]:6443", "fd00::1", ""},
  }));
  CAPTURE(c.text);
  const auto url = ParseUrl(c.text);
  REQUIRE(url.ok());
  CHECK(url->Origin() == c.origin);
  CHECK(url->host == c.host);
  CHECK(url->path == c.path);
}

TEST_CASE("what is no address of a server is refused") {
  const auto text = GENERATE(values<std::string>(
      {"", "ftp://h", "https://", "https://h:0", "https://h:99999", "https://h:x", "https://h/?a=b", "https://h/#f",
       "https://h /", "https://h\r\nX: y", "not a url", "https://" + std::string(5000, 'a')}));
  CAPTURE(text);
  CHECK(ParseUrl(text).status().code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("a password in an address is refused and not repeated") {
  const auto url = ParseUrl("https://admin:hunter2@h:6443");
  REQUIRE_FALSE(url.ok());
  CHECK(base::Message(url.status()).find("hunter2") == std::string::npos);
}

TEST_CASE("query values are escaped") {
  std::string target = "/api/v1/pods";
  AppendQuery(target, "limit", "500");
  AppendQuery(target, "labelSelector", "app in (a,b),!c=\"ä&\"");
  CHECK(target == "/api/v1/pods?limit=500&labelSelector=app%20in%20%28a%2Cb%29%2C%21c%3D%22%C3%A4%26%22");
}

}  // namespace
}  // namespace clusterpulse::http
