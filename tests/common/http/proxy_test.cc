#include "common/http/proxy.h"

#include <map>

#include <catch2/catch.hpp>

#include "common/base/status.h"

namespace clusterpulse::http {
namespace {

TEST_CASE("which proxy a request goes through") {
  struct Case {
    const char* target;
    const char* no_proxy;
    const char* expected;
  };
  constexpr const char* kHttps = "http://secure:3128";
  constexpr const char* kHttp = "http://plain:3128";
  const auto c = GENERATE_COPY(values<Case>({
      {"https://api.example.com:6443", "", kHttps},
      {"http://api.example.com", "", kHttp},
      // never for this machine
      {"https://localhost:6443", "", ""},
      {"https://127.0.0.1:6443", "", ""},
      {"https://127.8.9.10", "", ""},
      {"https://[::1]:6443", "", ""},
      // addresses of the cluster are nothing special
      {"https://10.96.0.1:443", "", kHttps},
      {"https://kubernetes.default.svc", "", kHttps},
      {"https://kubernetes.default.svc", "localhost,.svc,.cluster.local", ""},
      // names
      {"https://api.example.com", "example.com", ""},
      {"https://example.com", "example.com", ""},
      {"https://badexample.com", "example.com", kHttps},
      {"https://api.example.com", ".example.com", ""},
      {"https://example.com", ".example.com", kHttps},
      {"https://api.example.com", "*.example.com", ""},
      {"https://example.com", "*.example.com", kHttps},
      {"https://API.Example.com", " Example.COM ", ""},
      {"https://other", "a,,b, *", ""},
      {"https://other", " , ,", kHttps},
      // ports
      {"https://example.com:6443", "example.com:6443", ""},
      {"https://example.com:443", "example.com:6443", kHttps},
      {"https://example.com", "example.com:443", ""},
      {"https://10.0.0.1:6443", "10.0.0.1:6443", ""},
      {"https://10.0.0.1:6443", "10.0.0.1:443", kHttps},
      {"https://[fd00::1]:6443", "[fd00::1]:6443", ""},
      {"https://[fd00::1]:6443", "[fd00::1]:443", kHttps},
      // addresses and networks
      {"https://10.0.0.1", "10.0.0.1", ""},
      {"https://10.0.0.2", "10.0.0.1", kHttps},
      {"https://10.96.12.1", "10.96.0.0/12", ""},
      {"https://10.112.0.1", "10.96.0.0/12", kHttps},
      {"https://10.96.12.1", "10.96.12.1/32", ""},
      {"https://10.96.12.1", "0.0.0.0/0", ""},
      {"https://10.96.12.1", "10.96.0.0/33", kHttps},
      {"https://10.96.12.1", "10.96.0.0/x", kHttps},
      {"https://[fd00:1::5]", "fd00::/8", ""},
      {"https://[fe00:1::5]", "fd00::/8", kHttps},
      {"https://[fd00::1]", "fd00:0:0::1", ""},
      {"https://10.0.0.1", "::/0", kHttps},
      {"https://name", "10.0.0.0/8", kHttps},
  }));
  CAPTURE(c.target, c.no_proxy);
  const auto url = ParseUrl(c.target);
  REQUIRE(url.ok());
  CHECK(ChooseProxy(*url, {kHttp, kHttps, c.no_proxy}) == c.expected);
}

TEST_CASE("one kind of proxy does not stand in for the other") {
  CHECK(ChooseProxy(*ParseUrl("https://h"), {"http://plain", "", ""}).empty());
  CHECK(ChooseProxy(*ParseUrl("http://h"), {"", "http://secure", ""}).empty());
}

TEST_CASE("proxies are read from the environment in both cases, upper case first") {
  std::map<std::string, std::string> env{
      {"HTTPS_PROXY", "upper"}, {"https_proxy", "lower"}, {"http_proxy", "lower"}, {"NO_PROXY", ""}, {"no_proxy", "x"}};
  const auto settings = ProxySettings::From([&](const char* name) -> std::optional<std::string> {
    const auto found = env.find(name);
    return found == env.end() ? std::nullopt : std::optional<std::string>(found->second);
  });
  CHECK(settings.https_proxy == "upper");
  CHECK(settings.http_proxy == "lower");
  CHECK(settings.no_proxy == "x");
}

TEST_CASE("proxy addresses are checked and named without their password") {
  struct Case {
    const char* text;
    const char* url;
    const char* name;
  };
  const auto c = GENERATE(values<Case>({
      {"proxy:3128", "http://proxy:3128/", "http://proxy:3128"},
      {"http://proxy", "http://proxy:80/", "http://proxy:80"},
      {"https://u:p@proxy:8443", "https://u:p@proxy:8443/", "https://proxy:8443"},
      {"socks5://proxy", "socks5h://proxy:1080/", "socks5://proxy:1080"},
      {"http://[::1]:3128", "http://[::1]:3128/", "http://[::1]:3128"},
  }));
  CAPTURE(c.text);
  const auto proxy = ParseProxy(c.text);
  REQUIRE(proxy.ok());
  CHECK(proxy->url == c.url);
  CHECK(proxy->name == c.name);
}

TEST_CASE("a proxy address that is none is refused without repeating it") {
  const auto text = GENERATE(as<std::string>(), "ftp://u:hunter2@p", "http://", "http://u:hunter2@p:99999999");
  const auto proxy = ParseProxy(text);
  REQUIRE(proxy.status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(base::Message(proxy.status()).find("hunter2") == std::string::npos);
}

}  // namespace
}  // namespace clusterpulse::http
