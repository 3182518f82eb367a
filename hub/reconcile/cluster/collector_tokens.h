#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/kube/kube_api.h"
#include "hub/ingest/ports.h"
#include "hub/reconcile/cluster/cluster_directory.h"
#include "hub/reconcile/cluster/token_secret.h"

namespace clusterpulse::reconcile {

// Tells whether a token is that of a cluster: its own (token_secret.h), or, as upstream collectors send it, the managed
// cluster's (the bootstrap token, of the Secret of spec.credentialsRef) until the cluster first used its own. That is
// remembered on the token Secret. Tokens are kept as digests only and compared in constant time.
//
// Bootstrap tokens are read when they are shown and kept while the watch says that their Secret is unchanged; of a
// Secret outside the hub's namespace, which is not watched, for 30 s. After that Check does not know, and Verify reads
// again: a stream lives on while the token is the same. A Secret that may not be read has no token for 30 s; after any
// other failure the next read is 5 s later. A wrong token therefore costs no call.
//
// Runs on every replica. Thread-safe; `hub` is called without locks. Bounded by the number of connections: what is
// kept of those that are gone goes when that much again was added.
class CollectorTokens final : public ingest::Authenticator {
 public:
  struct Options {
    std::string hub_namespace;
    bool accept_bootstrap = true;  // INGESTER_BOOTSTRAP_TOKEN
    std::chrono::milliseconds call_timeout{5000};
  };
  // Answered from watch caches.
  struct Sources {
    ConnectionLookup connection;
    TokenSecretLookup token_secret;
    std::function<std::optional<std::string>(const kube::ObjectKey&)> secret_version;  // of watched Secrets
    std::function<bool()> synced;  // false: the above cannot be relied on yet
  };
  // Told the key of a token Secret whose token was used and that does not say so yet (TokenUseMarker). Must not block.
  using OnOwnUse = std::function<void(const kube::ObjectKey& secret)>;
  // `hub` and `clock` are borrowed and must outlive this.
  CollectorTokens(kube::KubeApi& hub, Sources sources, OnOwnUse on_own_use, Options options, const base::Clock& clock);

  absl::StatusOr<ingest::Credential> Authenticate(const std::string& cluster, std::string_view token) override;
  ingest::Validity Check(const std::string& cluster, const ingest::Credential& credential) const override;
  absl::Status Verify(const std::string& cluster, const ingest::Credential& credential) override;

 private:
  struct Bootstrap {
    kube::ObjectKey secret;
    std::optional<std::string> version;  // of the watch when it was read
    base::SteadyTime read_at;
    absl::Status failure;               // to read it: kUnauthenticated (not allowed to) or kUnavailable
    std::optional<TokenDigest> digest;  // absent: the Secret has no usable token
  };
  // What is known beyond the caches of an object.
  struct Known {
    std::string uid;
    std::optional<Bootstrap> bootstrap;
    bool used_own = false;  // seen here; the Secret may not say so yet
  };

  bool UsedOwn(const ClusterConnection& connection, const std::optional<TokenSecret>& secret) const;
  void NoteOwnUse(const ClusterConnection& connection, const TokenSecret& secret);
  bool IsCurrent(const Bootstrap& bootstrap, const kube::ObjectKey& secret) const;
  absl::StatusOr<std::optional<TokenDigest>> BootstrapDigest(const ClusterConnection& connection);
  void ForgetGone();
  Known& KnownLocked(const ClusterConnection& connection) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  kube::KubeApi& hub_;
  const Sources sources_;
  const OnOwnUse on_own_use_;
  const Options options_;
  const base::Clock& clock_;
  mutable base::Mutex mu_;
  mutable std::map<std::string, Known> known_ ABSL_GUARDED_BY(mu_);  // by cluster
  std::size_t forget_at_ ABSL_GUARDED_BY(mu_) = 64;                  // size
};

}  // namespace clusterpulse::reconcile
