#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "collector/sources/source_set.h"
#include "collector/sources/watched_source.h"
#include "collector/spool/file_system.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/random.h"
#include "common/kube/discovery.h"
#include "common/kube/kube_api.h"
#include "common/log/logger.h"
#include "common/telemetry/registry.h"

namespace clusterpulse::sources {

// Runs the MetricSources that the hub wants (SourceSet: which, when, what they gave) on threads of its own, of which
// there are none before the first source. Each run has its own time, so that a slow source delays others only when
// all threads have one. What is in force is kept on disk, for the next process to begin with.
//
// A source that was listed without trouble, and has few enough objects, is watched from then on (WatchedSource): its
// runs make the rows of what the watch knows, and list only while that cannot be believed.
//
// Construct, Start, Stop (the destructor does). Thread-safe; Apply and Take wait neither for a run nor for the disk.
// `api` and what the options point to is borrowed and must outlive this. Waits take real time.
class SourceRunner {
 public:
  static constexpr int kThreads = 4;
  // Of all that is watched, together. Each has a thread and a connection.
  static constexpr std::size_t kMostWatched = 8, kMostWatchedObjects = 20000, kMostWatchedBytes = std::size_t{16} << 20;

  struct Options {
    // File of definition_file.h; empty: the next process begins without sources.
    std::string path;
    spool::FileSystem* files = nullptr;  // not null with a path
    // A run has ended, or a source was rejected. `is_news`: it should not wait for the next batch; otherwise it may,
    // but after another `interval` it would be replaced. From threads of this and from Apply, without locks; must not
    // block.
    std::function<void(bool is_news, std::chrono::seconds interval)> on_result;
    std::chrono::milliseconds first_retry{500};  // of a list that fails
    bool watches = true;                         // false: always list
    log::Logger log;
    telemetry::Registry* registry = nullptr;
    const base::Clock* clock = &base::SystemClock();
    base::Random* random = &base::SystemRandom();
  };
  SourceRunner(kube::KubeApi& api, Options options);
  ~SourceRunner();
  SourceRunner(const SourceRunner&) = delete;
  SourceRunner& operator=(const SourceRunner&) = delete;

  // Begins with what an earlier process kept. What cannot be used of it is a warning.
  void Start();
  // Returns when the threads have ended: their calls end at once. May be called again.
  void Stop();

  // SourceSet::Apply; returns its problems. Begins at once, if Start was called and Stop was not.
  std::vector<std::string> Apply(const std::vector<std::string>& definitions);
  SourceSet::Taken Take(bool full, bool with_failures, base::SystemTime collected_at) {
    return set_.Take(full, with_failures, collected_at);
  }
  // For liveness.
  base::SteadyTime last_turn() const { return set_.last_turn(); }

 private:
  struct Metrics {
    telemetry::Registry::CounterFamily runs;
    telemetry::Registry::GaugeFamily rows;
    telemetry::Histogram seconds;
    telemetry::Gauge in_force, rejected, watched;
    telemetry::Registry::CounterFamily from_watch;
  };

  SourceSet::Applied Use(const std::vector<std::string>& definitions);
  void Wake();
  void Run();
  bool TakeSaving();
  void Save();
  void Execute(const SourceSet::Run& run);
  // Null: it is not watched.
  std::shared_ptr<WatchedSource> FindWatch(const SourceSet::Run& run);
  // After a run: begins to watch what is worth it, gives up what is not.
  void ConsiderWatch(const SourceSet::Run& run, bool may_watch, std::size_t objects);
  // Of sources that are not in force any more; waits for their threads.
  void DropOldWatches();

  // Constant after construction.
  kube::KubeApi& api_;
  const Options options_;
  Metrics metrics_;

  SourceSet set_;              // synchronises itself
  kube::Discovery discovery_;  // synchronises itself

  base::Mutex mu_;
  base::CondVar woken_;
  std::uint64_t changes_ ABSL_GUARDED_BY(mu_) = 0;  // of what threads look for
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  bool is_unsaved_ ABSL_GUARDED_BY(mu_) = false, is_saving_ ABSL_GUARDED_BY(mu_) = false;
  bool is_damaged_ ABSL_GUARDED_BY(mu_) = false;  // the file
  base::SteadyTime save_at_ ABSL_GUARDED_BY(mu_){};
  std::size_t save_failures_ ABSL_GUARDED_BY(mu_) = 0;  // in a row

  base::Mutex watch_mu_;
  struct Watch {
    std::shared_ptr<const metricsource::Source> source;
    std::shared_ptr<WatchedSource> rows;  // null: given up until `again`
    base::SteadyTime again{};
  };
  std::map<std::string, Watch> watches_ ABSL_GUARDED_BY(watch_mu_);  // by id

  base::Mutex lifecycle_mu_;  // held while joining; taken before mu_
  bool started_ ABSL_GUARDED_BY(lifecycle_mu_) = false, stopped_ ABSL_GUARDED_BY(lifecycle_mu_) = false;
  std::vector<std::jthread> threads_ ABSL_GUARDED_BY(lifecycle_mu_);
};

}  // namespace clusterpulse::sources
