#include "hub/reconcile/cluster/reached_clusters.h"

#include <tuple>
#include <utility>

namespace clusterpulse::reconcile {

std::optional<ReachedClusters::Cluster> ReachedClusters::Find(const std::string& cluster) const {
  base::MutexLock lock(mu_);
  const auto found = clusters_.find(cluster);
  return found == clusters_.end() ? std::nullopt : std::optional(found->second);
}

void ReachedClusters::Reached(const std::string& cluster, const std::shared_ptr<kube::KubeApi>& api,
                              std::uint64_t epoch) {
  {
    base::MutexLock lock(mu_);
    Cluster& known = clusters_[cluster];
    if (known.api != api) {
      known.api = api;
      // Keeps the client alive for as long as somebody asks through it.
      const auto discovery = std::make_shared<std::pair<std::shared_ptr<kube::KubeApi>, kube::Discovery>>(
          std::piecewise_construct, std::forward_as_tuple(api),
          std::forward_as_tuple(*api, clock_, kube::Discovery::Options()));
      known.discovery = std::shared_ptr<kube::Discovery>(discovery, &discovery->second);
    }
    known.epoch = epoch;
  }
  if (handler_) handler_(cluster);
}

void ReachedClusters::Lost(const std::string& cluster) {
  base::MutexLock lock(mu_);
  clusters_.erase(cluster);
}

void ReachedClusters::Forget(const std::string& cluster) {
  base::MutexLock lock(mu_);
  clusters_.erase(cluster);
  samples_.erase(cluster);
}

void ReachedClusters::AddSamples(const std::string& cluster, Samples samples) {
  base::MutexLock lock(mu_);
  std::vector<Samples>& all = samples_[cluster];
  if (all.size() == kMostSamples) all.erase(all.begin());
  all.push_back(std::move(samples));
}

std::vector<ReachedClusters::Samples> ReachedClusters::TakeSamples(const std::string& cluster) {
  base::MutexLock lock(mu_);
  const auto found = samples_.find(cluster);
  if (found == samples_.end()) return {};
  std::vector<Samples> taken = std::move(found->second);
  samples_.erase(found);
  return taken;
}

}  // namespace clusterpulse::reconcile
