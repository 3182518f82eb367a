#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/kube/kube_api.h"

namespace clusterpulse::kube {

struct ServerVersion {
  std::string git_version;   // "v1.29.3+k3s1"
  std::string platform;      // "linux/amd64"
  int major = 0, minor = 0;  // 0 when the server wrote no number
};

// What one API server serves: kinds to resources. Cached; thread-safe; calls block on the network only when the cache
// cannot answer. Two callers that miss at once may both ask.
class Discovery {
 public:
  struct Options {
    std::chrono::milliseconds max_age{600000};     // an answer is asked again after this
    std::chrono::milliseconds min_refresh{10000};  // a miss asks again at most this often per group and version
    std::size_t max_groups = 256;                  // beyond, the least recently fetched is dropped
  };
  // Both borrowed; must outlive this.
  Discovery(KubeApi& api, const base::Clock& clock, Options options) : api_(api), clock_(clock), options_(options) {}

  // The resource that `kind` is served as in `api_version` ("v1", "apps/v1"). kNotFound: the server answered and does
  // not serve it (a CRD that is not installed yet: ask again). kInvalidArgument: no group/version. Other errors are
  // those of KubeApi; while the server cannot be asked, an answer beyond its age is used. `calls`, where it is not
  // null, counts up when the server was asked.
  absl::StatusOr<ResourceType> Find(std::string_view api_version, std::string_view kind, const CallOptions& options,
                                    std::int64_t* calls = nullptr);

  // /version; not cached.
  absl::StatusOr<ServerVersion> Version(const CallOptions& options);

 private:
  struct Group {
    base::SteadyTime fetched{};
    std::map<std::string, ResourceType, std::less<>> by_kind;  // empty when the server does not know the group
  };

  KubeApi& api_;
  const base::Clock& clock_;
  const Options options_;

  base::Mutex mu_;
  std::map<std::string, Group, std::less<>> groups_ ABSL_GUARDED_BY(mu_);  // by apiVersion
};

}  // namespace clusterpulse::kube
