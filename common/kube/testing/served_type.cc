#include "common/kube/testing/served_type.h"

#include <algorithm>
#include <cctype>

namespace clusterpulse::kube {
namespace {

enum Traits : unsigned { kPlain = 0, kStatus = 1, kGeneration = 2 };

ServedType Make(ResourceType resource, unsigned traits = kPlain, std::vector<std::string> short_names = {},
                std::vector<std::string> fields = {}) {
  ServedType type;
  type.singular = resource.kind;
  std::transform(type.singular.begin(), type.singular.end(), type.singular.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  type.resource = std::move(resource);
  type.short_names = std::move(short_names);
  type.has_status = (traits & kStatus) != 0;
  type.has_generation = (traits & kGeneration) != 0;
  type.fields = std::move(fields);
  return type;
}

constexpr unsigned kWorkload = kStatus | kGeneration;

}  // namespace

const std::vector<ServedType>& BuiltInTypes() {
  static const std::string rbac = "rbac.authorization.k8s.io";
  static const std::vector<ServedType> types{
      Make(kNamespaces, kStatus, {"ns"}, {"status.phase"}),
      Make(kNodes, kStatus, {"no"}, {"spec.unschedulable"}),
      Make(kPods, kStatus, {"po"}, {"spec.nodeName", "status.phase", "spec.serviceAccountName"}),
      Make(kSecrets, kPlain, {}, {"type"}),
      Make(kEvents, kPlain, {"ev"},
           {"involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
            "involvedObject.apiVersion", "involvedObject.fieldPath", "reason", "type"}),
      Make({"", "v1", "configmaps", "ConfigMap", true}, kPlain, {"cm"}),
      Make({"", "v1", "services", "Service", true}, kStatus, {"svc"}),
      Make({"", "v1", "endpoints", "Endpoints", true}, kPlain, {"ep"}),
      Make({"", "v1", "serviceaccounts", "ServiceAccount", true}, kPlain, {"sa"}),
      Make({"", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", true}, kStatus, {"pvc"}),
      Make({"", "v1", "persistentvolumes", "PersistentVolume", false}, kStatus, {"pv"}),
      Make({"", "v1", "limitranges", "LimitRange", true}, kPlain, {"limits"}),
      Make({"", "v1", "resourcequotas", "ResourceQuota", true}, kStatus, {"quota"}),
      Make({"", "v1", "replicationcontrollers", "ReplicationController", true}, kWorkload, {"rc"}),
      Make(kDeployments, kWorkload, {"deploy"}),
      Make({"apps", "v1", "replicasets", "ReplicaSet", true}, kWorkload, {"rs"}),
      Make({"apps", "v1", "statefulsets", "StatefulSet", true}, kWorkload, {"sts"}),
      Make({"apps", "v1", "daemonsets", "DaemonSet", true}, kWorkload, {"ds"}),
      Make({"batch", "v1", "jobs", "Job", true}, kWorkload),
      Make({"networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", true}, kGeneration, {"netpol"}),
      Make({"policy", "v1beta1", "poddisruptionbudgets", "PodDisruptionBudget", true}, kWorkload, {"pdb"}),
      Make(kLeases),
      Make({rbac, "v1", "roles", "Role", true}),
      Make({rbac, "v1", "rolebindings", "RoleBinding", true}),
      Make({rbac, "v1", "clusterroles", "ClusterRole", false}),
      Make({rbac, "v1", "clusterrolebindings", "ClusterRoleBinding", false}),
      Make(kCustomResourceDefinitions, kWorkload, {"crd", "crds"}),
  };
  return types;
}

const std::vector<ServedType>& OpenShiftTypes() {
  static const std::vector<ServedType> types{
      Make(kClusterOperators, kWorkload, {"co"}),
      Make(kClusterVersions, kWorkload),
      Make(kRoutes, kStatus),
  };
  return types;
}

const std::vector<ServedType>& OperatorLifecycleTypes() {
  static const std::vector<ServedType> types{
      Make(kSubscriptions, kWorkload, {"sub", "subs"}),
      Make(kClusterServiceVersions, kWorkload, {"csv", "csvs"}),
  };
  return types;
}

}  // namespace clusterpulse::kube
