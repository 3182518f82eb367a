#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/kube/discovery.h"
#include "common/kube/kube_api.h"
#include "hub/history/history_writer.h"

namespace clusterpulse::reconcile {

// The clusters that this hub reads itself and whose last pass reached them, for others that have something to read
// there: with the client of that pass, and the epoch under which it writes; and from them to the passes, what they
// wrote to the history. Thread-safe.
class ReachedClusters {
 public:
  struct Cluster {
    std::shared_ptr<kube::KubeApi> api;
    std::shared_ptr<kube::Discovery> discovery;  // of api
    std::uint64_t epoch = 0;                     // of the writer in the role kData
  };

  // `clock` is borrowed and must outlive this.
  explicit ReachedClusters(const base::Clock& clock) : clock_(clock) {}

  // Called after each Reached, from the thread of the pass. REQUIRES: before the first pass.
  void OnReached(std::function<void(const std::string& cluster)> handler) { handler_ = std::move(handler); }

  std::optional<Cluster> Find(const std::string& cluster) const;

  // Samples that were read there at `at`: the cluster's pass looks what becomes of them.
  struct Samples {
    base::SystemTime at{};
    std::shared_ptr<const history::Ticket> ticket;
  };
  // Beyond kMostSamples, which no pass looks for in hours, the oldest go.
  static constexpr std::size_t kMostSamples = 1000;
  void AddSamples(const std::string& cluster, Samples samples);

  // For the passes.
  void Reached(const std::string& cluster, const std::shared_ptr<kube::KubeApi>& api, std::uint64_t epoch);
  void Lost(const std::string& cluster);
  // Those that were added since the last call.
  std::vector<Samples> TakeSamples(const std::string& cluster);
  void Forget(const std::string& cluster);

 private:
  const base::Clock& clock_;
  std::function<void(const std::string&)> handler_;
  mutable base::Mutex mu_;
  std::map<std::string, Cluster, std::less<>> clusters_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, std::vector<Samples>> samples_ ABSL_GUARDED_BY(mu_);
};

}  // namespace clusterpulse::reconcile
