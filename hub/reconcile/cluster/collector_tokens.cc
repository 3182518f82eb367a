#include "hub/reconcile/cluster/collector_tokens.h"

#include <utility>

#include "common/base/status.h"
#include "hub/reconcile/cluster/credentials.h"

namespace clusterpulse::reconcile {
namespace {

constexpr std::chrono::seconds kUnwatchedFresh{30}, kUnwatchedStream{60};

absl::Status Refused(std::string_view why) { return base::MakeStatus(absl::StatusCode::kUnauthenticated, "{}", why); }

}  // namespace

CollectorTokens::CollectorTokens(kube::KubeApi& hub, Sources sources, Options options, const base::Clock& clock,
                                 log::Logger log)
    : hub_(hub), sources_(std::move(sources)), options_(std::move(options)), clock_(clock), log_(std::move(log)) {}

CollectorTokens::Known& CollectorTokens::KnownLocked(const ClusterConnection& connection) const {
  Known& known = known_[connection.meta.name];
  if (known.uid != connection.meta.uid) known = Known{connection.meta.uid, {}, false};
  return known;
}

absl::StatusOr<ingest::Credential> CollectorTokens::Authenticate(const std::string& cluster, std::string_view token) {
  if (!sources_.synced()) return absl::UnavailableError("the hub has not listed its objects yet");
  if (token.empty()) return Refused("no token");
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

bool CollectorTokens::IsValid(const std::string& cluster, const ingest::Credential& credential) const {
  const std::optional<ClusterConnection> connection = sources_.connection(cluster);
  if (!connection.has_value()) return false;
  const std::optional<TokenSecret> own = sources_.token_secret(TokenSecretKey(connection->key()));
  if (!credential.bootstrap) {
    return own.has_value() && own->IsFor(connection->meta.uid) && Equal(*own->digest, credential.digest);
  }
  if (!options_.accept_bootstrap || UsedOwn(*connection, own)) return false;
  base::MutexLock lock(mu_);
  const std::optional<Bootstrap>& bootstrap = KnownLocked(*connection).bootstrap;
  return bootstrap.has_value() && IsCurrent(*bootstrap, connection->secret(), kUnwatchedStream) &&
         bootstrap->digest.has_value() && Equal(*bootstrap->digest, credential.digest);
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
  if (secret.used) return;
  const absl::Status marked = MarkTokenUsed(hub_, TokenSecretKey(connection.key()), {.timeout = options_.call_timeout});
  // Tried again with the next stream.
  if (!marked.ok()) {
    log_.Warn(
        "cannot remember that a cluster used its own token: its bootstrap token is accepted again after a restart",
        {{"cluster", connection.meta.name}, {"error", log::ToText(marked)}});
  }
}

bool CollectorTokens::IsCurrent(const Bootstrap& bootstrap, const kube::ObjectKey& secret,
                                std::chrono::seconds unwatched) const {
  if (bootstrap.secret != secret) return false;
  if (secret.ns == options_.hub_namespace) {
    return bootstrap.version.has_value() && sources_.secret_version(secret) == bootstrap.version;
  }
  return clock_.Steady() - bootstrap.read_at < unwatched;
}

absl::StatusOr<std::optional<TokenDigest>> CollectorTokens::BootstrapDigest(const ClusterConnection& connection) {
  const kube::ObjectKey key = connection.secret();
  if (!kube::IsPathSegment(key.name) || !kube::IsPathSegment(key.ns)) return std::optional<TokenDigest>();
  {
    base::MutexLock lock(mu_);
    const std::optional<Bootstrap>& kept = KnownLocked(connection).bootstrap;
    if (kept.has_value() && IsCurrent(*kept, key, kUnwatchedFresh)) return kept->digest;
  }
  // The version first: a change between the two is noticed by the next comparison.
  const bool watched = key.ns == options_.hub_namespace;
  const std::optional<std::string> version = watched ? sources_.secret_version(key) : std::nullopt;
  if (watched && !version.has_value()) return std::optional<TokenDigest>();
  Bootstrap read{key, version, clock_.Steady(), {}};
  const absl::StatusOr<SecretContent> content = ReadSecret(hub_, key, {.timeout = options_.call_timeout});
  if (content.ok()) {
    read.digest = DigestOf(content->credentials.token);
  } else if (!kube::IsNotFound(content.status()) && content.status().code() != absl::StatusCode::kInvalidArgument) {
    return base::Unavailable("the Secret of spec.credentialsRef cannot be read: {}", base::Message(content.status()));
  }
  base::MutexLock lock(mu_);
  KnownLocked(connection).bootstrap = read;
  return read.digest;
}

}  // namespace clusterpulse::reconcile
