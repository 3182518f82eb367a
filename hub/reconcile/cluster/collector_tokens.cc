#include "hub/reconcile/cluster/collector_tokens.h"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "hub/reconcile/cluster/credentials.h"

namespace clusterpulse::reconcile {
namespace {

// How long what was read counts without a watch, and how long after a failure nothing is read.
constexpr std::chrono::seconds kUnwatchedFresh{30}, kNextRead{5};

absl::Status Refused(std::string_view why) { return base::MakeStatus(absl::StatusCode::kUnauthenticated, "{}", why); }

}  // namespace

CollectorTokens::CollectorTokens(kube::KubeApi& hub, Sources sources, OnOwnUse on_own_use, Options options,
                                 const base::Clock& clock)
    : hub_(hub),
      sources_(std::move(sources)),
      on_own_use_(std::move(on_own_use)),
      options_(std::move(options)),
      clock_(clock) {}

CollectorTokens::Known& CollectorTokens::KnownLocked(const ClusterConnection& connection) const {
  Known& known = known_[connection.meta.name];
  if (known.uid != connection.meta.uid) known = Known{connection.meta.uid, {}, false};
  return known;
}

absl::StatusOr<ingest::Credential> CollectorTokens::Authenticate(const std::string& cluster, std::string_view token) {
  if (!sources_.synced()) return absl::UnavailableError("the hub has not listed its objects yet");
  if (token.empty()) return Refused("no token");
  ForgetGone();
  const std::optional<ClusterConnection> connection = sources_.connection(cluster);
  if (!connection.has_value()) {
    base::MutexLock lock(mu_);
    known_.erase(cluster);
    return Refused("there is no such cluster");
  }
  const TokenDigest shown = DigestOf(token);
  const std::optional<TokenSecret> own = sources_.token_secret(TokenSecretKey(connection->key()));
  if (own.has_value() && own->IsFor(connection->meta.uid) && Equal(*own->digest, shown)) {
    NoteOwnUse(*connection, *own);
    return ingest::Credential{shown, false};
  }
  if (!options_.accept_bootstrap) return Refused("not the cluster's token");
  if (UsedOwn(*connection, own)) {
    return Refused("not the cluster's token (its own was used before, its bootstrap token is refused since)");
  }
  ASSIGN_OR_RETURN(const std::optional<TokenDigest> bootstrap, BootstrapDigest(*connection));
  if (!bootstrap.has_value() || !Equal(*bootstrap, shown)) return Refused("not the cluster's token");
  return ingest::Credential{shown, true};
}

ingest::Validity CollectorTokens::Check(const std::string& cluster, const ingest::Credential& credential) const {
  using ingest::Validity;
  const std::optional<ClusterConnection> connection = sources_.connection(cluster);
  if (!connection.has_value()) return Validity::kRevoked;
  const std::optional<TokenSecret> own = sources_.token_secret(TokenSecretKey(connection->key()));
  const auto is = [](bool valid) { return valid ? Validity::kValid : Validity::kRevoked; };
  if (!credential.bootstrap) {
    return is(own.has_value() && own->IsFor(connection->meta.uid) && Equal(*own->digest, credential.digest));
  }
  if (!options_.accept_bootstrap || UsedOwn(*connection, own)) return Validity::kRevoked;
  base::MutexLock lock(mu_);
  const std::optional<Bootstrap>& bootstrap = KnownLocked(*connection).bootstrap;
  if (!bootstrap.has_value() || !bootstrap->failure.ok() || !IsCurrent(*bootstrap, connection->secret())) {
    return Validity::kUnknown;
  }
  return is(bootstrap->digest.has_value() && Equal(*bootstrap->digest, credential.digest));
}

absl::Status CollectorTokens::Verify(const std::string& cluster, const ingest::Credential& credential) {
  const ingest::Validity known = Check(cluster, credential);
  const std::optional<ClusterConnection> connection = sources_.connection(cluster);
  if (known == ingest::Validity::kValid) return absl::OkStatus();
  if (known == ingest::Validity::kRevoked || !connection.has_value()) return Refused("no longer the cluster's token");
  ASSIGN_OR_RETURN(const std::optional<TokenDigest> bootstrap, BootstrapDigest(*connection));
  if (!bootstrap.has_value() || !Equal(*bootstrap, credential.digest)) return Refused("no longer the cluster's token");
  return absl::OkStatus();
}

void CollectorTokens::ForgetGone() {
  std::vector<std::string> names;
  {
    base::MutexLock lock(mu_);
    if (known_.size() < forget_at_) return;
    for (const auto& [name, known] : known_) names.push_back(name);
  }
  const auto is_gone = [this](const std::string& name) { return !sources_.connection(name).has_value(); };
  names.erase(std::remove_if(names.begin(), names.end(), std::not_fn(is_gone)), names.end());
  base::MutexLock lock(mu_);
  for (const std::string& name : names) known_.erase(name);
  forget_at_ = 64 + 2 * known_.size();
}

bool CollectorTokens::UsedOwn(const ClusterConnection& connection, const std::optional<TokenSecret>& secret) const {
  if (secret.has_value() && secret->used && secret->IsFor(connection.meta.uid)) return true;
  base::MutexLock lock(mu_);
  return KnownLocked(connection).used_own;
}

void CollectorTokens::NoteOwnUse(const ClusterConnection& connection, const TokenSecret& secret) {
  {
    base::MutexLock lock(mu_);
    KnownLocked(connection).used_own = true;
  }
  if (!secret.used) on_own_use_(TokenSecretKey(connection.key()));
}

bool CollectorTokens::IsCurrent(const Bootstrap& bootstrap, const kube::ObjectKey& secret) const {
  if (bootstrap.secret != secret) return false;
  const auto age = clock_.Steady() - bootstrap.read_at;
  if (!bootstrap.failure.ok()) return age < (absl::IsUnauthenticated(bootstrap.failure) ? kUnwatchedFresh : kNextRead);
  if (secret.ns != options_.hub_namespace) return age < kUnwatchedFresh;
  return bootstrap.version.has_value() && sources_.secret_version(secret) == bootstrap.version;
}

absl::StatusOr<std::optional<TokenDigest>> CollectorTokens::BootstrapDigest(const ClusterConnection& connection) {
  const kube::ObjectKey key = connection.secret();
  if (!kube::IsPathSegment(key.name) || !kube::IsPathSegment(key.ns)) return std::optional<TokenDigest>();
  // The version first: a change between the two is noticed by the next comparison.
  const bool watched = key.ns == options_.hub_namespace;
  Bootstrap read{key, watched ? sources_.secret_version(key) : std::nullopt, clock_.Steady(), {}, {}};
  {
    base::MutexLock lock(mu_);
    std::optional<Bootstrap>& kept = KnownLocked(connection).bootstrap;
    if (kept.has_value() && IsCurrent(*kept, key)) {
      RETURN_IF_ERROR(kept->failure);
      return kept->digest;
    }
    if (watched && !read.version.has_value()) return std::optional<TokenDigest>();
    // For whoever comes meanwhile: one call at a time.
    kept = read;
    kept->failure = absl::UnavailableError("the Secret of spec.credentialsRef is being read");
  }
  const absl::StatusOr<SecretContent> content = ReadSecret(hub_, key, {.timeout = options_.call_timeout});
  if (content.ok()) {
    read.digest = DigestOf(content->credentials.token);
  } else if (absl::IsPermissionDenied(content.status())) {
    read.failure = Refused("not the cluster's token (the hub may not read the Secret of spec.credentialsRef)");
  } else if (!kube::IsNotFound(content.status()) && !absl::IsInvalidArgument(content.status())) {
    read.failure =
        base::Unavailable("the Secret of spec.credentialsRef cannot be read: {}", base::Message(content.status()));
  }
  read.read_at = clock_.Steady();
  base::MutexLock lock(mu_);
  KnownLocked(connection).bootstrap = read;
  RETURN_IF_ERROR(read.failure);
  return read.digest;
}

}  // namespace clusterpulse::reconcile
