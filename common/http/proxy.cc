#include "common/http/proxy.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <memory>

#include <arpa/inet.h>
#include <curl/curl.h>

#include "common/base/status.h"

namespace clusterpulse::http {
namespace {

// An address in 16 bytes; IPv4 is mapped into IPv6.
using Address = std::array<unsigned char, 16>;

struct ParsedAddress {
  Address bytes{};
  bool is_ipv4 = false;
};

std::optional<ParsedAddress> ParseAddress(const std::string& text) {
  ParsedAddress out;
  if (in_addr v4{}; inet_pton(AF_INET, text.c_str(), &v4) == 1) {
    out.is_ipv4 = true;
    out.bytes[10] = out.bytes[11] = 0xff;
    std::copy_n(reinterpret_cast<const unsigned char*>(&v4), 4, out.bytes.begin() + 12);
    return out;
  }
  if (in6_addr v6{}; inet_pton(AF_INET6, text.c_str(), &v6) == 1) {
    std::copy_n(reinterpret_cast<const unsigned char*>(&v6), 16, out.bytes.begin());
    out.is_ipv4 = IN6_IS_ADDR_V4MAPPED(&v6) != 0;
    return out;
  }
  return std::nullopt;
}

bool IsLoopback(const ParsedAddress& address) {
  if (address.is_ipv4) return address.bytes[12] == 127;
  Address loopback{};
  loopback[15] = 1;
  return address.bytes == loopback;
}

std::optional<int> ParseNumber(std::string_view text, int max) {
  int value = -1;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size() || value < 0 || value > max) {
    return std::nullopt;
  }
  return value;
}

bool InCidr(const ParsedAddress& address, std::string_view cidr, std::size_t slash) {
  const auto network = ParseAddress(std::string(cidr.substr(0, slash)));
  if (!network || network->is_ipv4 != address.is_ipv4) return false;
  const auto bits = ParseNumber(cidr.substr(slash + 1), network->is_ipv4 ? 32 : 128);
  if (!bits) return false;
  int left = *bits + (network->is_ipv4 ? 96 : 0);
  for (std::size_t i = 0; i < 16 && left > 0; ++i, left -= 8) {
    const unsigned mask = left >= 8 ? 0xffu : (0xffu << (8 - left)) & 0xffu;
    if ((network->bytes[i] & mask) != (address.bytes[i] & mask)) return false;
  }
  return true;
}

std::string Lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return out;
}

std::string_view Trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

// Splits "host:port", "[v6]:port" and "[v6]"; anything else is a host alone.
void SplitPort(std::string_view entry, std::string_view& host, std::optional<int>& port) {
  host = entry;
  if (!entry.empty() && entry.front() == '[') {
    const auto close = entry.find(']');
    if (close == std::string_view::npos) return;
    host = entry.substr(1, close - 1);
    if (close + 1 < entry.size() && entry[close + 1] == ':') port = ParseNumber(entry.substr(close + 2), 65535);
    return;
  }
  const auto colon = entry.find(':');
  if (colon == std::string_view::npos || entry.find(':', colon + 1) != std::string_view::npos) return;
  host = entry.substr(0, colon);
  port = ParseNumber(entry.substr(colon + 1), 65535);
}

bool Matches(std::string_view entry, const Url& target, const std::optional<ParsedAddress>& address) {
  if (entry == "*") return true;
  if (const auto slash = entry.find('/'); slash != std::string_view::npos) {
    return address && InCidr(*address, entry, slash);
  }
  std::string_view host;
  std::optional<int> port;
  SplitPort(entry, host, port);
  if (host.empty() || (port && *port != target.port)) return false;
  if (const auto wanted = ParseAddress(std::string(host))) return address && address->bytes == wanted->bytes;
  if (host.substr(0, 2) == "*.") host.remove_prefix(1);
  const bool only_subdomains = host.front() == '.';
  if (!only_subdomains && target.host == host) return true;
  const std::string suffix = only_subdomains ? std::string(host) : "." + std::string(host);
  return target.host.size() > suffix.size() &&
         target.host.compare(target.host.size() - suffix.size(), suffix.size(), suffix) == 0;
}

}  // namespace

ProxySettings ProxySettings::FromEnvironment() {
  return From([](const char* name) -> std::optional<std::string> {
    const char* value = std::getenv(name);
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  });
}

ProxySettings ProxySettings::From(const std::function<std::optional<std::string>(const char*)>& get) {
  const auto any = [&get](const char* upper, const char* lower) {
    if (auto value = get(upper); value && !value->empty()) return *value;
    return get(lower).value_or("");
  };
  return {any("HTTP_PROXY", "http_proxy"), any("HTTPS_PROXY", "https_proxy"), any("NO_PROXY", "no_proxy")};
}

std::string ChooseProxy(const Url& target, const ProxySettings& settings) {
  const std::string& proxy = target.scheme == "https" ? settings.https_proxy : settings.http_proxy;
  if (proxy.empty() || target.host == "localhost") return "";
  const auto address = ParseAddress(target.host);
  if (address && IsLoopback(*address)) return "";
  const std::string no_proxy = Lower(settings.no_proxy);
  for (std::string_view rest = no_proxy; !rest.empty();) {
    const auto comma = rest.find(',');
    const std::string_view entry = Trim(rest.substr(0, comma));
    if (!entry.empty() && Matches(entry, target, address)) return "";
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
  }
  return proxy;
}

absl::StatusOr<Proxy> ParseProxy(std::string_view text) {
  std::string address(text);
  if (address.find("://") == std::string::npos) address.insert(0, "http://");
  std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> url(curl_url(), curl_url_cleanup);
  const auto part = [&url](CURLUPart which, unsigned int flags) {
    char* found = nullptr;
    if (curl_url_get(url.get(), which, &found, flags) != CURLUE_OK || found == nullptr) return std::string();
    std::string out(found);
    curl_free(found);
    return out;
  };
  if (curl_url_set(url.get(), CURLUPART_URL, address.c_str(), CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK) {
    return base::InvalidArgument("the proxy address is no URL of the form http://host:port");
  }
  const std::string scheme = part(CURLUPART_SCHEME, 0);
  const std::string host = part(CURLUPART_HOST, 0);
  if (scheme != "http" && scheme != "https" && scheme != "socks5" && scheme != "socks5h") {
    return base::InvalidArgument("the proxy address has the scheme {}; supported: http, https, socks5, socks5h",
                                 scheme);
  }
  if (host.empty()) return base::InvalidArgument("the proxy address has no host");
  std::string port = part(CURLUPART_PORT, 0);
  if (port.empty()) {
    // libcurl would take 1080 for every kind.
    port = scheme == "http" ? "80" : scheme == "https" ? "443" : "1080";
    curl_url_set(url.get(), CURLUPART_PORT, port.c_str(), 0);
  }
  if (scheme == "socks5") curl_url_set(url.get(), CURLUPART_SCHEME, "socks5h", CURLU_NON_SUPPORT_SCHEME);
  return Proxy{part(CURLUPART_URL, CURLU_NON_SUPPORT_SCHEME), fmt::format("{}://{}:{}", scheme, host, port)};
}

}  // namespace clusterpulse::http
