#pragma once

#include <string>
#include <string_view>

#include <absl/status/statusor.h>

namespace clusterpulse::http {

// An http or https address without secrets in it.
struct Url {
  std::string scheme;  // "http" or "https"
  std::string host;    // lower case; an IPv6 address without brackets
  int port = 0;        // always set
  std::string path;    // empty, or "/prefix" without a slash at its end

  // "host:port", IPv6 in brackets.
  std::string Authority() const;
  // "https://host:port".
  std::string Origin() const { return scheme + "://" + Authority(); }
};

// "https://host[:port][/prefix]". kInvalidArgument says what is wrong; user, query and fragment are refused (the text
// is not repeated then: it may hold a password).
absl::StatusOr<Url> ParseUrl(std::string_view text);

// Percent-encodes everything but letters, digits and "-._~": fit for a value in a query.
std::string EscapeQuery(std::string_view text);

// Appends "?name=value" or "&name=value", escaped. An empty value is written too.
void AppendQuery(std::string& target, std::string_view name, std::string_view value);

}  // namespace clusterpulse::http
