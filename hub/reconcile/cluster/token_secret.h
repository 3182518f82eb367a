#pragma once

#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>

#include <absl/status/statusor.h>

#include "common/json/cursor.h"
#include "common/kube/kube_api.h"
#include "common/kube/object_meta.h"
#include "hub/reconcile/cluster/cluster_connection.h"
#include "hub/reconcile/cluster/token.h"
#include "hub/runtime/reconciler.h"

// The Secret with the token a cluster's collector shows: made by the leader, watched by every replica, given to the
// collector by whoever deploys it. It belongs to the ClusterConnection and goes with it.
namespace clusterpulse::reconcile {

// "true" on every such Secret: what is watched.
inline constexpr std::string_view kTokenLabel = "clusterpulse.io/collector-token";
inline constexpr std::string_view kTokenSelector = "clusterpulse.io/collector-token=true";
inline constexpr std::string_view kTokenClusterAnnotation = "clusterpulse.io/cluster";
inline constexpr std::string_view kTokenClusterUidAnnotation = "clusterpulse.io/cluster-uid";
// "true" once a collector has used the token: from then on the cluster's bootstrap token is refused.
inline constexpr std::string_view kTokenUsedAnnotation = "clusterpulse.io/collector-token-used";

// What is kept of it: no token, only its digest.
struct TokenSecret {
  std::string resource_version;
  std::string cluster_uid;            // of the ClusterConnection it was made for; empty: an operator made it
  std::optional<TokenDigest> digest;  // absent: it holds no token
  bool used = false;
  bool labelled = false;
  bool operator==(const TokenSecret&) const = default;

  // Whether it may let a collector in for this object: a Secret of an object of the same name that is gone may not.
  bool IsFor(std::string_view uid) const {
    return labelled && digest.has_value() && (cluster_uid.empty() || cluster_uid == uid);
  }
};
using TokenSecretLookup = std::function<std::optional<TokenSecret>(const kube::ObjectKey&)>;

// Project of a kube::WatchCache<TokenSecret>.
absl::Status ReadTokenSecret(json::Cursor object, kube::ObjectMeta& meta, TokenSecret& out);

// In the namespace of the object, called NAME-collector-token.
kube::ObjectKey TokenSecretKey(const kube::ObjectKey& connection);
// The connection whose Secret this would be; nullopt: it is none by its name.
std::optional<kube::ObjectKey> ClusterOfTokenSecret(const kube::ObjectKey& secret);

// Sees to it that the Secret is there and holds a token; one that holds a token for this object is never changed.
// `cached` is what the watch says; unless that is enough, the Secret itself is read. `was_used`: the cluster is known
// to have used a token of its own, which a new Secret then says too. Errors: those of KubeApi, with what to do;
// kFailedPrecondition when a Secret of another kind has the name; kInvalidArgument when the name is too long.
absl::Status EnsureTokenSecret(kube::KubeApi& hub, const ClusterConnection& connection,
                               const std::optional<TokenSecret>& cached, bool was_used,
                               const kube::CallOptions& options);

// Notes on Secrets that their token was used (kTokenUsedAnnotation), whichever replica it let in: a collector that
// waits for that would wait for the hub's API server, and a thousand of them behind each other.
class TokenUseMarker final : public runtime::Reconciler {
 public:
  // `hub` is borrowed. `lookup` answers from a watch cache.
  TokenUseMarker(kube::KubeApi& hub, TokenSecretLookup lookup) : hub_(hub), lookup_(std::move(lookup)) {}

  // Of the key of a Secret whose token was used. Nothing happens when it says so already, or is gone.
  absl::StatusOr<runtime::Result> Reconcile(const kube::ObjectKey& secret, std::stop_token stop) override;

 private:
  kube::KubeApi& hub_;
  const TokenSecretLookup lookup_;
};

}  // namespace clusterpulse::reconcile
