#include "hub/reconcile/cluster/token_secret.h"

#include <utility>

#include <absl/strings/escaping.h>
#include <fmt/format.h>

#include "common/base/status.h"
#include "common/json/value.h"

namespace clusterpulse::reconcile {
namespace {

using json::Value;

constexpr std::string_view kSuffix = "-collector-token";
constexpr std::string_view kFieldManager = "clusterpulse-hub";
constexpr std::chrono::milliseconds kMarkLimit{5000};

std::string Base64(std::string_view text) { return absl::Base64Escape(absl::string_view(text.data(), text.size())); }

// The members that make a Secret one of ours, with a fresh token.
Value Content(const ClusterConnection& connection, bool was_used) {
  Value object;
  Value& meta = object.Mutable("metadata");
  meta.Mutable("labels").Mutable(kTokenLabel) = "true";
  Value& annotations = meta.Mutable("annotations");
  annotations.Mutable(kTokenClusterAnnotation) = connection.meta.name;
  annotations.Mutable(kTokenClusterUidAnnotation) = connection.meta.uid;
  annotations.Mutable(kTokenUsedAnnotation) = was_used ? Value("true") : Value();
  Value owner;
  owner.Mutable("apiVersion") = kube::kClusterConnections.ApiVersion();
  owner.Mutable("kind") = kube::kClusterConnections.kind;
  owner.Mutable("name") = connection.meta.name;
  owner.Mutable("uid") = connection.meta.uid;
  meta.Mutable("ownerReferences") = Value::Array{std::move(owner)};
  object.Mutable("data").Mutable("token") = Base64(NewToken());
  return object;
}

absl::Status Explain(const absl::Status& status, const kube::ObjectKey& key) {
  if (absl::IsPermissionDenied(status)) {
    return base::MakeStatus(status.code(),
                            "the hub may not make Secret {}: grant it get, create and patch on secrets in namespace {} "
                            "({})",
                            key.ToString(), key.ns, base::Message(status));
  }
  return base::Annotate(status, fmt::format("Secret {}", key.ToString()));
}

absl::StatusOr<TokenSecret> Parse(std::string_view text) {
  TokenSecret secret;
  kube::ObjectMeta meta;
  RETURN_IF_ERROR(
      json::Parser().Parse(text, [&](json::Cursor object) { return ReadTokenSecret(object, meta, secret); }));
  return secret;
}

absl::Status Make(kube::KubeApi& hub, const ClusterConnection& connection, const kube::ObjectKey& key, bool was_used,
                  const kube::CallOptions& options) {
  Value secret = Content(connection, was_used);
  secret.Mutable("apiVersion") = "v1";
  secret.Mutable("kind") = "Secret";
  secret.Mutable("type") = "Opaque";
  secret.Mutable("metadata").Mutable("name") = key.name;
  secret.Mutable("metadata").Mutable("namespace") = key.ns;
  if (!was_used) secret.Mutable("metadata").Mutable("annotations").Erase(kTokenUsedAnnotation);
  return hub.Create(kube::kSecrets, key.ns, secret.Dump(), options).status();
}

}  // namespace

absl::Status ReadTokenSecret(json::Cursor object, kube::ObjectMeta& meta, TokenSecret& out) {
  out = TokenSecret();
  RETURN_IF_ERROR(object.ForEachMember([&](std::string_view part, json::Cursor value) -> absl::Status {
    if (part == "metadata") return kube::ReadMeta(value, kube::MetaParts::kAll, meta);
    if (part != "data") return absl::OkStatus();
    return value.ForEachMember([&](std::string_view key, json::Cursor member) {
      std::string_view encoded;
      if (key != "token" || !member.Get(encoded)) return;
      std::string token;
      if (!absl::Base64Unescape(absl::string_view(encoded.data(), encoded.size()), &token)) return;
      if (const std::string_view trimmed = Trim(token); !trimmed.empty()) out.digest = DigestOf(trimmed);
    });
  }));
  out.resource_version = meta.resource_version;
  out.labelled = meta.labels.Find(kTokenLabel) == "true";
  out.cluster_uid = meta.annotations.Find(kTokenClusterUidAnnotation).value_or("");
  out.used = meta.annotations.Find(kTokenUsedAnnotation) == "true";
  return absl::OkStatus();
}

kube::ObjectKey TokenSecretKey(const kube::ObjectKey& connection) {
  return {connection.ns, connection.name + std::string(kSuffix)};
}

std::optional<kube::ObjectKey> ClusterOfTokenSecret(const kube::ObjectKey& secret) {
  if (!secret.name.ends_with(kSuffix) || secret.name.size() == kSuffix.size()) return std::nullopt;
  return kube::ObjectKey{secret.ns, secret.name.substr(0, secret.name.size() - kSuffix.size())};
}

absl::Status EnsureTokenSecret(kube::KubeApi& hub, const ClusterConnection& connection,
                               const std::optional<TokenSecret>& cached, bool was_used,
                               const kube::CallOptions& options) {
  if (cached.has_value() && cached->IsFor(connection.meta.uid)) return absl::OkStatus();
  const kube::ObjectKey key = TokenSecretKey(connection.key());
  if (!kube::IsPathSegment(key.name)) {
    return base::InvalidArgument("Secret {} cannot be made: the cluster's name is too long", key.ToString());
  }
  const auto text = hub.Get(kube::kSecrets, key, options);
  if (kube::IsNotFound(text.status())) return Explain(Make(hub, connection, key, was_used, options), key);
  if (!text.ok()) return Explain(text.status(), key);
  const auto present = Parse(*text);
  if (!present.ok()) return Explain(present.status(), key);
  if (!present->labelled) {
    return base::MakeStatus(absl::StatusCode::kFailedPrecondition,
                            "Secret {} is not one of ours: delete it, or set the label {} if it holds this cluster's "
                            "token",
                            key.ToString(), kTokenSelector);
  }
  if (present->IsFor(connection.meta.uid)) return absl::OkStatus();  // the cache lags behind
  // Emptied, or of an object that is gone. Only if nobody else has put a token there meanwhile.
  Value patch = Content(connection, was_used || (present->used && present->cluster_uid == connection.meta.uid));
  patch.Mutable("metadata").Mutable("resourceVersion") = present->resource_version;
  return Explain(hub.Patch(kube::kSecrets, key, kube::PatchType::kMerge, patch.Dump(),
                           {.field_manager = std::string(kFieldManager)}, options)
                     .status(),
                 key);
}

absl::StatusOr<runtime::Result> TokenUseMarker::Reconcile(const kube::ObjectKey& secret, std::stop_token stop) {
  const std::optional<TokenSecret> known = lookup_(secret);
  if (!known.has_value() || known->used) return runtime::Result();
  Value patch;
  patch.Mutable("metadata").Mutable("annotations").Mutable(kTokenUsedAnnotation) = "true";
  const auto patched =
      hub_.Patch(kube::kSecrets, secret, kube::PatchType::kMerge, patch.Dump(),
                 {.field_manager = std::string(kFieldManager)}, {.timeout = kMarkLimit, .stop = std::move(stop)});
  if (kube::IsNotFound(patched.status())) return runtime::Result();
  RETURN_IF_ERROR(Explain(patched.status(), secret));
  return runtime::Result();
}

}  // namespace clusterpulse::reconcile
