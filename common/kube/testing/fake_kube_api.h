#pragma once

#include <chrono>
#include <list>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/mutex.h"
#include "common/kube/kube_api.h"
#include "common/kube/testing/object_store.h"

namespace clusterpulse::kube {

enum class Verb { kList, kWatch, kGet, kGetPath, kCreate, kReplace, kPatch, kApply, kDelete };

// KubeApi over an ObjectStore, with faults on request and a record of what was called. Thread-safe.
//
//   FakeKubeApi kube;
//   kube.store().Put(kNodes, ...);
//   kube.FailNext(Verb::kList, "pods", absl::UnavailableError("connection refused"), 2);
//   ...
//   CHECK(kube.Count(Verb::kPatch, "clusterconnections") == 1);
//
// Several fakes may share one store: two clients of one server.
//
// Not imitated, beyond what ObjectStore lists: HTTP, TLS and authentication; repeats after 429 and 503 and the client's
// rate limit (a scripted fault reaches the caller as it is); latency (a call answers at once or is held); deadlines of
// calls that are not held. Waits are in real time.
class FakeKubeApi final : public KubeApi {
 public:
  // With a store of its own.
  FakeKubeApi();
  // `store` is borrowed and must outlive this.
  explicit FakeKubeApi(ObjectStore& store) : store_(store) {}

  ObjectStore& store() { return store_; }

  absl::StatusOr<ListPage> List(const ListQuery& query, ItemVisitor visit, const CallOptions& options) override;
  // A bookmark with the newest version precedes the end by time-out, and comes whenever SendBookmark asks for one.
  absl::Status Watch(const WatchQuery& query, WatchVisitor visit, const CallOptions& options) override;
  absl::StatusOr<std::string> Get(const ResourceType& resource, const ObjectKey& key,
                                  const CallOptions& options) override;
  absl::StatusOr<std::string> GetPath(std::string_view path, const CallOptions& options) override;
  absl::StatusOr<std::string> Create(const ResourceType& resource, std::string_view ns, std::string_view body,
                                     const CallOptions& options) override;
  absl::StatusOr<std::string> Replace(const ResourceType& resource, const ObjectKey& key, std::string_view body,
                                      const CallOptions& options) override;
  absl::StatusOr<std::string> Patch(const ResourceType& resource, const ObjectKey& key, PatchType type,
                                    std::string_view body, const PatchOptions& patch,
                                    const CallOptions& options) override;
  absl::Status Delete(const ResourceType& resource, const ObjectKey& key, const DeleteOptions& how,
                      const CallOptions& options) override;

  // --- faults; a resource of "" means every resource, GetPath's "resource" is the path ---

  static constexpr int kForever = -1;
  // The next `times` matching calls fail with `status`, without touching the store.
  void FailNext(Verb verb, std::string resource, absl::Status status, int times = 1);
  // Matching calls wait until Release, their deadline (kDeadlineExceeded) or their stop (kCancelled).
  void Hold(Verb verb, std::string resource);
  void Release();
  // Every watch ends with `status` after it delivered `events` events; 0 or less: no cut.
  void CutWatchesAfter(int events, absl::Status status = absl::UnavailableError("connection lost"));
  // Ends the watches that run now.
  void EndWatches(const absl::Status& status = absl::OkStatus());
  // The watches that run now get a bookmark.
  void SendBookmark();
  // Forgets all faults and lets held calls go on.
  void ClearFaults();

  // --- what was called ---

  struct Call {
    Verb verb = Verb::kGet;
    std::string resource;  // plural; the path for kGetPath
    ObjectKey key;
    std::string subresource;
    std::string body;
    std::string resource_version;  // of lists and watches
  };
  std::vector<Call> calls() const;  // the last 10,000
  int Count(Verb verb, std::string_view resource) const;
  void ClearCalls();
  // Waits until Count reaches `count`; false when `limit` passed first.
  bool WaitForCalls(Verb verb, std::string_view resource, int count,
                    std::chrono::milliseconds limit = std::chrono::seconds(10)) const;
  // Waits until this many watches of the resource run ("" counts all).
  bool WaitForWatches(std::string_view resource, int count,
                      std::chrono::milliseconds limit = std::chrono::seconds(10)) const;

 private:
  struct Fault {
    Verb verb;
    std::string resource;
    absl::Status status;
    int times = 0;
  };
  struct RunningWatch {
    std::string resource;
    std::stop_source wake;  // replaced after each wake-up
    std::optional<absl::Status> end;
    bool bookmark = false;
  };

  // Records the call, then waits while held; the fault that hits it, if any.
  absl::Status Enter(Call call, const CallOptions& options);
  absl::Status RunWatch(const WatchQuery& query, WatchVisitor visit, const CallOptions& options, RunningWatch& running);

  std::unique_ptr<ObjectStore> own_;
  ObjectStore& store_;
  mutable base::Mutex mu_;
  mutable base::CondVar changed_;
  std::vector<Call> calls_ ABSL_GUARDED_BY(mu_);
  std::vector<Fault> faults_ ABSL_GUARDED_BY(mu_);
  std::set<std::pair<Verb, std::string>> held_ ABSL_GUARDED_BY(mu_);
  int cut_after_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Status cut_status_ ABSL_GUARDED_BY(mu_);
  std::list<RunningWatch> watches_ ABSL_GUARDED_BY(mu_);
};

}  // namespace clusterpulse::kube
