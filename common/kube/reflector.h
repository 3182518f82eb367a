#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include <absl/status/status.h>

#include "common/base/backoff.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/random.h"
#include "common/base/stop_signal.h"
#include "common/kube/kube_api.h"
#include "common/kube/object_meta.h"
#include "common/log/logger.h"

namespace clusterpulse::kube {

// Where a Reflector puts what it sees. WatchCache (watch_cache.h) is the one of the programs. Every call comes from the
// reflector's thread.
class ReflectorSink {
 public:
  virtual ~ReflectorSink() = default;

  // A list begins (or begins again, dropping an unfinished one): from now on Put marks what is still there.
  virtual void BeginList() = 0;
  // The list is complete: removes what was not Put since BeginList and returns the keys removed.
  virtual std::vector<ObjectKey> EndList() = 0;
  // Stores the projection of an object. Sets `meta` to its name, namespace and version as far as they can be read, also
  // when it fails, and `changed` when readers see a difference.
  virtual absl::Status Put(json::Cursor object, ObjectMeta& meta, bool& changed) = 0;
  // True when it was there.
  virtual bool Erase(const ObjectKey& key) = 0;
  virtual std::vector<ObjectKey> Keys() const = 0;
};

struct ReflectorStats {
  std::uint64_t lists = 0;  // complete ones
  std::uint64_t list_failures = 0;
  std::uint64_t list_restarts = 0;   // begun again within one list, its continue token having expired
  std::uint64_t watches = 0;         // begun
  std::uint64_t watch_failures = 0;  // ended other than cleanly
  std::uint64_t relists = 0;         // versions given up: expired, or the server would not go on from them
  std::uint64_t events = 0;          // without bookmarks
  std::uint64_t bookmarks = 0;
  std::uint64_t bad_objects = 0;  // seen, but could not be projected
  int failures_in_a_row = 0;      // since the server last showed that the sink is current
  std::optional<base::SystemTime> last_event;
};

// Keeps a sink equal to a resource of an API server: lists it in pages, then watches from the list's version, for ever.
//
// - A watch that ends, cleanly or not, goes on from the last version seen; nothing is listed again for that.
// - 410 Gone (and 400, 403, 404, which a watch cannot get past, or five broken or refused answers in a row without
//   progress) gives the version up: the next step lists. The end of a complete list removes what it did not contain, so
//   that a deletion while disconnected is never missed; an incomplete list removes nothing.
// - Failures wait for a jittered exponential backoff (800 ms to 30 s, each up to doubled), which starts again after two
//   minutes without one. A watch that brought news waits only `min_pause`. Lost connections have a backoff of their
//   own, which starts again with each that lasted a while, and the wait is then no longer than that while: a watch cut
//   every second is back within a second, and one in many that is cut at once within a few. So no server behaviour
//   makes a busy loop, and none makes the sink fall behind for long.
// - Lists ask for the newest state (version ""). From the server's cache ("0") they would be cheaper for the server,
//   which ignores the page size then: the whole list of full objects would come as one answer into our memory.
//
// An object that cannot be projected is counted and logged (at most a line a minute); the version moves past it, and
// what the sink knew of it stays: the object exists, and its last readable state is nearer to the truth than its
// absence. Broken JSON (kDataLoss) ends the call instead.
//
// Lifecycle: construct, AddHandler, Start; Stop or the destructor ends the one thread it owns. It cannot be started
// again. `api`, `sink`, the clock and the generator are borrowed and must outlive this. Thread-safe, except as noted.
class Reflector {
 public:
  struct Options {
    ResourceType resource;
    std::string ns;  // empty: all namespaces
    std::string label_selector, field_selector;
    bool metadata_only = false;

    int page_size = 500;
    // For one page, and for the start of a watch.
    std::chrono::milliseconds call_timeout{60000};
    // Watches ask for a random time between these, so that many do not end together.
    std::chrono::seconds min_watch{300}, max_watch{600};
    base::Backoff::Options backoff{};
    std::chrono::milliseconds healthy_after{120000};  // without failures: the backoff starts again
    std::chrono::milliseconds min_pause{100};         // between any two watches; up to doubled
    std::chrono::milliseconds short_watch{500};       // shorter ones without news count as failures

    log::Logger log;
    const base::Clock* clock = &base::SystemClock();
    base::Random* random = &base::SystemRandom();
  };

  // "This key changed or vanished": look at the cache for which.
  using Handler = std::function<void(const ObjectKey& key)>;

  Reflector(KubeApi& api, ReflectorSink& sink, Options options);
  ~Reflector();
  Reflector(const Reflector&) = delete;
  Reflector& operator=(const Reflector&) = delete;

  // Both idempotent. Stop returns when the thread has ended; not to be called from a handler.
  void Start();
  void Stop();

  // Handlers are called in order of addition, on the reflector's thread, without locks, after the sink has changed. One
  // that is added later is first called once for every key there is, soon (a running watch is interrupted and resumed
  // for it; a running list is finished first). It cannot be removed: what it captures must live until Stop has
  // returned.
  void AddHandler(Handler handler);

  // True from the end of the first complete list, when its handlers have been called.
  bool HasSynced() const;
  // Blocks until synced (true), or until `limit` passed, `stop` was requested or Stop was called (false).
  bool WaitForSync(std::chrono::nanoseconds limit, std::stop_token stop = {});

  ReflectorStats stats() const;
  // Time since the server last showed that the sink is current: a complete list, an event, a bookmark or a clean end of
  // a watch. Servers send bookmarks about once a minute; without them it may reach max_watch while all is well.
  // Nullopt: never.
  std::optional<std::chrono::nanoseconds> SinceKnownGood() const;
  // Why it is failing; ok when the last call went well.
  absl::Status LastError() const;

  // One list or one watch on the calling thread; returns how long to wait before the next. What the thread does in its
  // loop, for tests. REQUIRES: Start was not called.
  std::chrono::nanoseconds Step();

 private:
  void Run();
  std::chrono::nanoseconds ListOnce();
  std::chrono::nanoseconds WatchOnce();
  std::chrono::nanoseconds AfterWatch(const absl::Status& status, bool progress, std::chrono::nanoseconds lived);
  std::chrono::nanoseconds Relist();
  absl::Status OnObject(json::Cursor object);
  absl::Status OnEvent(WatchEventType type, json::Cursor object);
  void OnBadObject(const absl::Status& why);
  void OnFailure(std::string_view what, const absl::Status& why);
  void OnGood();
  std::chrono::milliseconds NextBackoff(base::Backoff& backoff);
  std::chrono::nanoseconds ShortPause();
  void Notify(const ObjectKey& key);
  void DeliverPending();
  // A fresh signal that ends with stop_ and that AddHandler requests.
  std::shared_ptr<base::StopSignal> ArmWake();

  // Constant after construction.
  KubeApi& api_;
  ReflectorSink& sink_;
  const Options options_;

  // Confined to the reflector's thread.
  base::Backoff backoff_, lost_backoff_;  // of answers; of connections that were lost
  std::optional<base::SteadyTime> last_failure_;
  std::string version_;  // watch from here; empty: list first
  int stuck_ = 0;        // watches in a row that the server refused or broke, without progress
  ObjectMeta meta_;      // reused for every object
  std::vector<Handler> handlers_;
  std::optional<base::SteadyTime> bad_object_logged_, failure_logged_;
  std::uint64_t bad_objects_unlogged_ = 0;

  base::StopSignal stop_;  // synchronises itself

  base::Mutex lifecycle_mu_;  // held while joining; taken before mu_
  bool started_ ABSL_GUARDED_BY(lifecycle_mu_) = false;
  std::jthread thread_ ABSL_GUARDED_BY(lifecycle_mu_);

  mutable base::Mutex mu_;
  base::CondVar synced_changed_;
  bool synced_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<Handler> pending_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<base::StopSignal> wake_ ABSL_GUARDED_BY(mu_);
  ReflectorStats stats_ ABSL_GUARDED_BY(mu_);
  std::optional<base::SteadyTime> last_good_ ABSL_GUARDED_BY(mu_);
  absl::Status last_error_ ABSL_GUARDED_BY(mu_);
};

}  // namespace clusterpulse::kube
