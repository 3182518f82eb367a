#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <absl/status/statusor.h>

#include "common/http/url.h"

namespace clusterpulse::http {

// What the environment says about proxies. Upper case wins over lower case.
struct ProxySettings {
  std::string http_proxy, https_proxy, no_proxy;

  // HTTP_PROXY, HTTPS_PROXY and NO_PROXY of this process.
  static ProxySettings FromEnvironment();
  // The same from `get`, which returns nullopt for an unset variable.
  static ProxySettings From(const std::function<std::optional<std::string>(const char*)>& get);
};

// The proxy for requests to `target`, or "" for none. As Go's net/http, which other Kubernetes clients use:
//   - https targets use https_proxy, http targets http_proxy; neither falls back to the other;
//   - localhost and loopback addresses never use one;
//   - no_proxy is a comma list of "*", addresses, CIDRs, "host", ".host" and "*.host", each (but CIDRs) perhaps with a
//     ":port"; "host" covers its subdomains too, ".host" and "*.host" only these; CIDRs match addresses, never names.
// Nothing is resolved: addresses of the cluster the program runs in need a no_proxy entry as with every other client.
std::string ChooseProxy(const Url& target, const ProxySettings& settings);

struct Proxy {
  std::string url;   // as libcurl takes it; may hold a password: never print it
  std::string name;  // "scheme://host:port", for messages
};
// Checks a proxy address: http, https, socks5 or socks5h; without a scheme it is http. socks5 resolves names at the
// proxy, as Go does. kInvalidArgument does not repeat the text.
absl::StatusOr<Proxy> ParseProxy(std::string_view text);

}  // namespace clusterpulse::http
