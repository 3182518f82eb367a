#pragma once

#include <compare>
#include <string>
#include <string_view>
#include <utility>

namespace clusterpulse::kube {

// Namespace and name of an object; `ns` is empty for cluster-scoped ones.
struct ObjectKey {
  std::string ns, name;

  std::string ToString() const { return ns.empty() ? name : ns + "/" + name; }
  // NOLINTNEXTLINE(modernize-use-nullptr): it means the 0 that a defaulted comparison compares with.
  auto operator<=>(const ObjectKey&) const = default;
  template <typename H>
  friend H AbslHashValue(H h, const ObjectKey& key) {
    return H::combine(std::move(h), key.ns, key.name);
  }
};

// A resource as the API serves it: group, version and plural name (not the kind; discovery maps kinds to these).
struct ResourceType {
  std::string group;  // empty for the core group
  std::string version;
  std::string plural;
  std::string kind;
  bool namespaced = true;

  // "v1" or "group/v1".
  std::string ApiVersion() const { return group.empty() ? version : group + "/" + version; }
  // "/api/v1" or "/apis/group/v1".
  std::string RootPath() const { return (group.empty() ? "/api/" : "/apis/" + group + "/") + version; }
  // Path of the collection; all namespaces when `ns` is empty.
  std::string CollectionPath(std::string_view ns = "") const;
  // Path of one object. REQUIRES: key.ns is set exactly for namespaced types; names need no escaping (checked by
  // callers that take them from outside with IsPathSegment).
  std::string ObjectPath(const ObjectKey& key) const;
  bool operator==(const ResourceType&) const = default;
};

// True for what may stand as a namespace or name in a path: non-empty, at most 253 bytes, no '/', '%', '?', '#',
// control bytes, nor "." or "..".
bool IsPathSegment(std::string_view text);

// The types the programs use.
inline const ResourceType kNodes{"", "v1", "nodes", "Node", false};
inline const ResourceType kPods{"", "v1", "pods", "Pod", true};
inline const ResourceType kNamespaces{"", "v1", "namespaces", "Namespace", false};
inline const ResourceType kSecrets{"", "v1", "secrets", "Secret", true};
inline const ResourceType kEvents{"", "v1", "events", "Event", true};
inline const ResourceType kDeployments{"apps", "v1", "deployments", "Deployment", true};
inline const ResourceType kLeases{"coordination.k8s.io", "v1", "leases", "Lease", true};
inline const ResourceType kCustomResourceDefinitions{"apiextensions.k8s.io", "v1", "customresourcedefinitions",
                                                     "CustomResourceDefinition", false};
inline const ResourceType kClusterConnections{"clusterpulse.io", "v1alpha1", "clusterconnections", "ClusterConnection",
                                              true};
inline const ResourceType kSubscriptions{"operators.coreos.com", "v1alpha1", "subscriptions", "Subscription", true};
inline const ResourceType kClusterServiceVersions{"operators.coreos.com", "v1alpha1", "clusterserviceversions",
                                                  "ClusterServiceVersion", true};
inline const ResourceType kClusterOperators{"config.openshift.io", "v1", "clusteroperators", "ClusterOperator", false};
inline const ResourceType kClusterVersions{"config.openshift.io", "v1", "clusterversions", "ClusterVersion", false};
inline const ResourceType kRoutes{"route.openshift.io", "v1", "routes", "Route", true};

}  // namespace clusterpulse::kube
