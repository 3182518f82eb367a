#include "common/http/url.h"

#include <algorithm>
#include <charconv>
#include <memory>

#include <curl/curl.h>

#include "common/base/status.h"

namespace clusterpulse::http {
namespace {

constexpr std::size_t kMaxUrlBytes = 4096;

std::string Part(CURLU* url, CURLUPart part, unsigned int flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, flags) != CURLUE_OK || text == nullptr) return "";
  std::string out(text);
  curl_free(text);
  return out;
}

}  // namespace

std::string Url::Authority() const {
  const bool is_ipv6 = host.find(':') != std::string::npos;
  return fmt::format("{}{}{}:{}", is_ipv6 ? "[" : "", host, is_ipv6 ? "]" : "", port);
}

absl::StatusOr<Url> ParseUrl(std::string_view text) {
  if (text.empty()) return base::InvalidArgument("the address is empty");
  if (text.size() > kMaxUrlBytes) return base::InvalidArgument("the address is longer than {} bytes", kMaxUrlBytes);
  if (std::any_of(text.begin(), text.end(), [](unsigned char c) { return c <= ' ' || c == 0x7f; })) {
    return base::InvalidArgument("the address has a space or control character in it");
  }
  std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> url(curl_url(), curl_url_cleanup);
  const CURLUcode code = curl_url_set(url.get(), CURLUPART_URL, std::string(text).c_str(), CURLU_NON_SUPPORT_SCHEME);
  if (code != CURLUE_OK) {
    return base::InvalidArgument("the address is no URL of the form https://host:port ({})", curl_url_strerror(code));
  }
  if (!Part(url.get(), CURLUPART_USER).empty() || !Part(url.get(), CURLUPART_PASSWORD).empty()) {
    return base::InvalidArgument("the address has a user name or password in it, which is not supported");
  }
  Url out;
  out.scheme = Part(url.get(), CURLUPART_SCHEME);
  if (out.scheme != "http" && out.scheme != "https") {
    return base::InvalidArgument("the address {} does not begin with https:// or http://", text);
  }
  if (!Part(url.get(), CURLUPART_QUERY).empty() || !Part(url.get(), CURLUPART_FRAGMENT).empty()) {
    return base::InvalidArgument("the address has a query or fragment in it");
  }
  out.host = Part(url.get(), CURLUPART_HOST);
  if (out.host.size() > 2 && out.host.front() == '[') out.host = out.host.substr(1, out.host.size() - 2);
  std::transform(out.host.begin(), out.host.end(), out.host.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  if (out.host.empty()) return base::InvalidArgument("the address {} has no host", text);
  const std::string port = Part(url.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT);
  const auto parsed = std::from_chars(port.data(), port.data() + port.size(), out.port);
  if (parsed.ec != std::errc() || out.port < 1 || out.port > 65535) {
    return base::InvalidArgument("the address {} has no port from 1 to 65535", text);
  }
  out.path = Part(url.get(), CURLUPART_PATH);
  while (!out.path.empty() && out.path.back() == '/') out.path.pop_back();
  return out;
}

std::string EscapeQuery(std::string_view text) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size());
  for (const unsigned char c : text) {
    const bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
                       c == '.' || c == '_' || c == '~';
    if (plain) {
      out.push_back(static_cast<char>(c));
    } else {
      out.append({'%', kHex[c >> 4], kHex[c & 15]});
    }
  }
  return out;
}

void AppendQuery(std::string& target, std::string_view name, std::string_view value) {
  target.push_back(target.find('?') == std::string::npos ? '?' : '&');
  target.append(EscapeQuery(name)).append("=").append(EscapeQuery(value));
}

}  // namespace clusterpulse::http
