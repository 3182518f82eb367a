#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include <absl/status/status.h>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/token_bucket.h"
#include "common/json/value.h"
#include "common/kube/kube_api.h"

namespace clusterpulse::runtime {

// What one object's status should be.
struct StatusUpdate {
  kube::ResourceType resource;
  kube::ObjectKey key;
  json::Value current;  // .status as last seen in the cache
  // The top-level members we own, each as a whole; members of `current` that are not named here are left alone, null
  // removes. Nulls further down count as absent.
  json::Value desired;
  // Top-level members of `desired` that may lag (times, counters): written with any other change, alone at most once
  // per routine_interval.
  std::vector<std::string> routine;
  std::chrono::milliseconds routine_interval{30000};
};

// Writes status subresources sparingly: one merge patch at once when a member that is not routine differs, routine
// members at most once an interval, nothing when nothing differs. At most `per_second` patches over all objects: urgent
// ones wait for their turn, routine ones are skipped until the next pass. Thread-safe; one call at a time for the same
// object.
class StatusWriter {
 public:
  struct Options {
    double per_second = 20;
    double burst = 1;
    std::string field_manager = "clusterpulse-hub";
    std::chrono::milliseconds call_timeout{30000};
    // How long a `current` that lacks our last write is taken for out of date; after that somebody else changed it, and
    // it is written again.
    std::chrono::milliseconds stale_limit{10000};
  };
  // All borrowed; must outlive this.
  StatusWriter(kube::KubeApi& api, const base::Clock& clock, Options options);

  // Blocks while an urgent patch waits for its turn; `stop` ends that with kCancelled. An object that is gone
  // (kNotFound) is ok. What was written, and what the server made of it, is remembered: neither a stale `current` nor a
  // server that prunes or completes a member causes a second patch. Errors are the API's; the next call tries again.
  absl::Status Write(const StatusUpdate& update, std::stop_token stop);
  // Drops what is remembered of an object that was deleted.
  void Forget(const kube::ResourceType& resource, const kube::ObjectKey& key);

 private:
  // What we know of an object from our own writes.
  struct Written {
    json::Value sent;      // members as we last wanted them
    json::Value got;       // the same members as the server answered
    base::SteadyTime at;   // of the last write
    bool arrived = false;  // `current` has shown the last write
  };

  json::Value Changes(const StatusUpdate& update, Written& known, base::SteadyTime now) const;
  absl::Status AwaitTurn(std::stop_token stop);

  kube::KubeApi& api_;
  const base::Clock& clock_;
  const Options options_;
  base::TokenBucket bucket_;
  base::Mutex mu_;
  std::map<std::string, Written> written_ ABSL_GUARDED_BY(mu_);
};

}  // namespace clusterpulse::runtime
