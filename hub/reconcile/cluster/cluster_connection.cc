#include "hub/reconcile/cluster/cluster_connection.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "common/base/status.h"

namespace clusterpulse::reconcile {
namespace {

constexpr std::chrono::seconds kShortestInterval{30};
constexpr std::chrono::seconds kLongestTest{30};
constexpr std::size_t kLongestEndpoint = 2048;
constexpr std::size_t kLongestHost = 253;

absl::Status ReadCredentialsRef(json::Cursor object, ClusterConnectionSpec& out) {
  return object.ForEachMember([&](std::string_view key, json::Cursor value) {
    if (key == "name") value.Get(out.credentials_name);
    if (key == "namespace") value.Get(out.credentials_namespace);
  });
}

absl::Status ReadMonitoring(json::Cursor object, ClusterConnectionSpec& out) {
  return object.ForEachMember([&](std::string_view key, json::Cursor value) {
    if (key == "interval") value.Get(out.interval_seconds);
    if (key == "timeout") value.Get(out.timeout_seconds);
  });
}

absl::Status ReadSpec(json::Cursor object, ClusterConnectionSpec& out) {
  return object.ForEachMember([&](std::string_view key, json::Cursor value) -> absl::Status {
    if (key == "displayName") value.Get(out.display_name);
    if (key == "endpoint") value.Get(out.endpoint);
    if (key == "collectionMode") value.Get(out.collection_mode);
    if (key == "ingesterAddress") value.Get(out.ingester_address);
    if (key == "collectorVersion") value.Get(out.collector_version);
    if (key == "credentialsRef") return ReadCredentialsRef(value, out);
    if (key == "labels") return kube::ReadLabels(value, out.labels);
    if (key == "monitoring") return ReadMonitoring(value, out);
    return absl::OkStatus();
  });
}

bool IsHostCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

bool IsAddressCharacter(char c) {
  return (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || (c >= '0' && c <= '9') || c == ':' || c == '.';
}

// Host and optional port of a URL, square brackets around an IPv6 address.
absl::Status CheckAuthority(std::string_view authority) {
  std::string_view host = authority;
  std::string_view port;
  if (authority.starts_with('[')) {
    const auto end = authority.find(']');
    if (end == std::string_view::npos) return base::InvalidArgument("'[' of the address is not closed");
    host = authority.substr(1, end - 1);
    port = authority.substr(end + 1);
    if (!std::all_of(host.begin(), host.end(), IsAddressCharacter) || host.find(':') == std::string_view::npos) {
      return base::InvalidArgument("'{}' is no IPv6 address", host);
    }
    if (!port.empty() && !port.starts_with(':')) return base::InvalidArgument("only a port may follow the address");
  } else if (const auto colon = authority.find(':'); colon != std::string_view::npos) {
    host = authority.substr(0, colon);
    port = authority.substr(colon);
    if (port.find(':', 1) != std::string_view::npos) {
      return base::InvalidArgument("an IPv6 address stands in brackets, as in https://[fd00::1]:6443");
    }
  }
  if (host.empty()) return base::InvalidArgument("it names no host");
  if (!authority.starts_with('[') &&
      (host.size() > kLongestHost || !std::all_of(host.begin(), host.end(), IsHostCharacter))) {
    return base::InvalidArgument("'{}' is no host name", host);
  }
  if (!port.empty()) {
    port.remove_prefix(1);
    int number = 0;
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
    if (error != std::errc() || end != port.data() + port.size() || number < 1 || number > 65535) {
      return base::InvalidArgument("port '{}' is not within 1..65535", port);
    }
  }
  return absl::OkStatus();
}

// 32-bit fields in the schema; what does not fit a duration of a lifetime is cut.
std::chrono::seconds Seconds(std::int64_t value, std::chrono::seconds fallback) {
  if (value <= 0) return fallback;
  return std::chrono::seconds(std::min<std::int64_t>(value, std::numeric_limits<std::int32_t>::max()));
}

}  // namespace

absl::Status ReadClusterConnection(json::Cursor object, kube::ObjectMeta& meta, ClusterConnection& out) {
  out = ClusterConnection();
  absl::Status status = object.ForEachMember([&](std::string_view key, json::Cursor value) -> absl::Status {
    if (key == "metadata") return kube::ReadMeta(value, kube::MetaParts::kAll, out.meta);
    if (key == "spec") return ReadSpec(value, out.spec);
    if (key == "status") {
      ASSIGN_OR_RETURN(const std::string_view raw, value.Raw());
      // A status nobody can read is none: the next pass writes it anew.
      if (auto parsed = json::Value::Parse(raw); parsed.ok()) out.status = *std::move(parsed);
    }
    return absl::OkStatus();
  });
  meta = out.meta;
  return status;
}

std::string_view Annotation(const ClusterConnection& connection, std::string_view name) {
  return connection.meta.annotations.Find(name).value_or("");
}

bool IsPaused(const ClusterConnection& connection) { return Annotation(connection, kPausedAnnotation) == "true"; }

bool SkipsCleanup(const ClusterConnection& connection) {
  const std::optional<std::string_view> value = connection.meta.annotations.Find(kSkipCleanupAnnotation);
  return value.has_value() && *value != "false";
}

absl::StatusOr<std::string> NormalizeEndpoint(std::string_view endpoint) {
  if (endpoint.empty()) return base::InvalidArgument("it is empty");
  if (endpoint.size() > kLongestEndpoint) return base::InvalidArgument("it is longer than {} bytes", kLongestEndpoint);
  if (std::any_of(endpoint.begin(), endpoint.end(),
                  [](char c) { return static_cast<unsigned char>(c) <= ' ' || c == 0x7f || c == '\\'; })) {
    return base::InvalidArgument("it holds blanks, backslashes or control characters");
  }
  std::string scheme = "https";
  std::string_view rest = endpoint;
  if (const auto at = endpoint.find("://"); at != std::string_view::npos) {
    scheme.assign(endpoint.substr(0, at));
    std::transform(scheme.begin(), scheme.end(), scheme.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    if (scheme != "https" && scheme != "http") {
      return base::InvalidArgument("scheme '{}' is not https or http", scheme);
    }
    rest.remove_prefix(at + 3);
  }
  if (rest.find_first_of("?#") != std::string_view::npos) {
    return base::InvalidArgument("a query or fragment is not allowed");
  }
  const auto slash = rest.find('/');
  const std::string_view authority = rest.substr(0, slash);
  if (authority.find('@') != std::string_view::npos) {
    // The text is not repeated: it may hold a password.
    return base::InvalidArgument("user information is not allowed, credentials belong into the Secret");
  }
  RETURN_IF_ERROR(CheckAuthority(authority));
  while (rest.ends_with('/')) rest.remove_suffix(1);
  return fmt::format("{}://{}", scheme, rest);
}

Judgement JudgeSpec(const ClusterConnectionSpec& spec, const Timing& defaults) {
  Judgement judgement;
  if (auto endpoint = NormalizeEndpoint(spec.endpoint); endpoint.ok()) {
    judgement.endpoint = *std::move(endpoint);
  } else {
    judgement.problems.push_back(fmt::format("spec.endpoint must be a URL such as https://10.42.0.11:6443: {}",
                                             base::Message(endpoint.status())));
  }
  if (spec.credentials_name.empty()) {
    judgement.problems.emplace_back("spec.credentialsRef.name is missing: name the Secret that holds the token");
  } else if (!kube::IsPathSegment(spec.credentials_name)) {
    judgement.problems.emplace_back("spec.credentialsRef.name is not the name of a Secret");
  }
  if (!spec.credentials_namespace.empty() && !kube::IsPathSegment(spec.credentials_namespace)) {
    judgement.problems.emplace_back("spec.credentialsRef.namespace is not the name of a namespace");
  }
  if (spec.collection_mode == "push") {
    judgement.mode = model::CollectionMode::kPush;
  } else if (!spec.collection_mode.empty() && spec.collection_mode != "pull") {
    judgement.problems.emplace_back("spec.collectionMode must be pull or push");
  }
  judgement.timing.interval = std::max(kShortestInterval, Seconds(spec.interval_seconds, defaults.interval));
  judgement.timing.timeout = std::min(kLongestTest, Seconds(spec.timeout_seconds, defaults.timeout));
  return judgement;
}

}  // namespace clusterpulse::reconcile
